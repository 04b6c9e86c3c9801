/* kvrun client: asks a server. It is a part of kvrun-net, which kvrun becomes (become.h). */
#ifndef KVRUN_CLIENT_MAIN_H
#define KVRUN_CLIENT_MAIN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct client_options {
    const char *text, *url, *key, *key_file, *model, *system, *context;
    int64_t n, seed;
    double temp;
    bool thoughts, quiet;
} client_options;

/* cmd_client.c. As cli_parse: -1 to go on, else the exit code. */
int client_parse(client_options *o, int argc, char **argv);
extern const char client_tool[]; /* how messages begin */

/* client_main.c. Returns the exit code. */
int client_main(int argc, char **argv);

#endif
