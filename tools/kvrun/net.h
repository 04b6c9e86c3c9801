/* Subcommands that ask others over the network: pull, client. They are done by a program of its own, kvrun-net, which kvrun
 * becomes: libcurl brings two dozen libraries along, and who only runs models need not load them. kvrun has read the options
 * before, kvrun-net reads them again; the first word is the subcommand.
 */
#ifndef KVRUN_NET_H
#define KVRUN_NET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pull_options {
    const char *what, *sha256, *out, *from;
    int64_t max, retries, timeout;
    bool json, quiet;
} pull_options;

typedef struct client_options {
    const char *text, *url, *key, *key_file, *model, *system, *context;
    int64_t n, seed;
    double temp;
    bool thoughts, quiet;
} client_options;

/* cmd_net.c. As cli_parse: -1 to go on, else the exit code. */
int pull_parse(pull_options *o, int argc, char **argv);
int client_parse(client_options *o, int argc, char **argv);
/* pull_run.c, client_run.c. Return the exit code. */
int pull_run(const pull_options *o);
int client_run(const client_options *o);

extern const char pull_tool[], client_tool[]; /* how messages begin */

#endif
