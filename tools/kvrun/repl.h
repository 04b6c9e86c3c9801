/* The chat of kvrun: turns from standard input until it ends. At a terminal lines are edited, commands begin with a slash, and
 * Ctrl-C stops an answer; from a pipe, every line is a turn.
 */
#ifndef KVRUN_REPL_H
#define KVRUN_REPL_H

#include "cli/cli_sampling.h"
#include "kvrun/conversation.h"
#include "kvrun/engine.h"

typedef struct repl_cfg {
    const char *tool;
    engine *e;
    gen *g;
    conversation *c;
    cli_sampling *sampling; /* as the command line has it; /set changes it */
    rt_ctx_cfg load;        /* of conversation_load */
    int64_t n_max;          /* most tokens of an answer; -1: until the model is done */
    bool plain, verbose;    /* plain: backslashes of what is set are what they are (--no-escape) */
} repl_cfg;                 /* all borrowed */

/* Returns the exit code. */
int repl_run(const repl_cfg *cfg);

#endif
