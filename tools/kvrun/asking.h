/* Questions about a document that was read, each as if it were the first; answers on stdout. */
#ifndef KVRUN_ASKING_H
#define KVRUN_ASKING_H

#include "kvrun/engine.h"
#include "kvrun/remember.h"

/* How to ask, as options say it. All borrowed. */
typedef struct asking {
    engine *e;
    const cli_strs *questions;
    int64_t ctx; /* tokens of context; 0: as many as the model was trained for; -1: as the file says, or as it takes */
    int64_t n;   /* most tokens of an answer; -1: until the model is done */
    rt_sampling sampling;
    bool json, quiet;
    remember *memory; /* of documents, or NULL */
    const char *name; /* what the document is called, for JSON; or NULL */
} asking;

/* Questions that are there and not empty: KV_EINVAL. usage: how to give some. */
kv_status asking_check(const cli_strs *questions, const char *usage, kv_err *err);
/* Of a .kv file, errors as of rt_session_open; or of a document, which is read first, as document_read has it. *stopped: after
 * Ctrl-C during an answer. */
kv_status asking_file(const asking *how, const char *path, bool *stopped, kv_err *err);
kv_status asking_document(const asking *how, const char *path, const char *as, bool *stopped, kv_err *err);

#endif
