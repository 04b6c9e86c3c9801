/* kvrun pull: gets a model. It is a part of kvrun-net, which kvrun becomes (become.h). */
#ifndef KVRUN_PULL_MAIN_H
#define KVRUN_PULL_MAIN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pull_options {
    const char *what, *sha256, *out, *from;
    int64_t max, retries, timeout;
    bool json, quiet;
} pull_options;

/* cmd_pull.c. As cli_parse: -1 to go on, else the exit code. */
int pull_parse(pull_options *o, int argc, char **argv);
extern const char pull_tool[]; /* how messages begin */

/* pull_main.c. Returns the exit code. */
int pull_main(int argc, char **argv);

#endif
