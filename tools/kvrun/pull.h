/* kvrun pull. It is a program of its own, kvrun-pull, which kvrun becomes: libcurl brings two dozen libraries along, and who
 * only runs models need not load them. */
#ifndef KVRUN_PULL_H
#define KVRUN_PULL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pull_options {
    const char *what, *sha256, *out, *from;
    int64_t max, retries, timeout;
    bool json, quiet;
} pull_options;

/* pull_options.c. As cli_parse: -1 to go on, else the exit code. */
int pull_parse(pull_options *o, int argc, char **argv);
/* pull_run.c. Returns the exit code. */
int pull_run(const pull_options *o);

extern const char pull_tool[]; /* how messages begin */

#endif
