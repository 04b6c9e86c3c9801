/* kvrun serve: a server for the programs that people already use. It is a part of kvrun-net, which kvrun becomes (become.h). */
#ifndef KVRUN_SERVE_MAIN_H
#define KVRUN_SERVE_MAIN_H

#include "cli/cli_cache.h"
#include "cli/cli_sampling.h"

typedef struct serve_options {
    const char *model, *models, *alias, *host, *key_file, *contexts, *template;
    cli_strs keys, origins, hosts;
    int64_t port, slots, queue, ctx, n, max_body, context_cache, memory;
    double drain, max_request;
    cli_sampling sampling;
    cli_cache cache;
    cli_machine machine;
    bool open, quiet;
} serve_options;

/* cmd_serve.c. As cli_parse: -1 to go on, else the exit code. */
int serve_parse(serve_options *o, int argc, char **argv);
extern const char serve_tool[]; /* how messages begin */

/* serve_main.c. Returns the exit code. */
int serve_main(int argc, char **argv);

#endif
