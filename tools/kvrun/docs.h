/* kvrun docs: what its actions share. */
#ifndef KVRUN_DOCS_H
#define KVRUN_DOCS_H

#include "cli/cli_cache.h"
#include "library/library.h"

/* As the command line says it. words: what follows the action. */
typedef struct docs_options {
    const char *action, *name, *as, *about, *by;
    cli_strs words;
    int64_t ctx, n, most, seed;
    double temp;
    bool again, json, quiet;
    cli_cache cache;
    cli_machine machine;
} docs_options;

/* The actions that need a model, which the first word names: all that the library has to do with models is here. *stopped:
 * after Ctrl-C during an answer. */
kv_status docs_add(const docs_options *o, kv_err *err);
kv_status docs_ask(const docs_options *o, bool *stopped, kv_err *err);

#endif
