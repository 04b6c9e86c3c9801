/* Documents that a model reads once: into a session, into a .kv file, and questions about them. */
#ifndef KVRUN_READING_H
#define KVRUN_READING_H

#include "document/document.h"
#include "kvrun/engine.h"
#include "kvrun/remember.h"
#include "measure/ask.h"
#include "session/store.h"

/* How to read. All borrowed. */
typedef struct reading {
    engine *e;
    int64_t ctx;         /* tokens of context, as --ctx says; -1: as many as document and some questions take */
    const char *partial; /* a file for what was read when reading stops midway, and to go on from; NULL: nothing is kept */
    bool quiet;          /* no progress bar */
    remember *memory;    /* what was read before need not be read again, and what is read now is kept there; or NULL */
} reading;

/* The tokens of a document as the model sees it, up to where a question follows. Free with ask_ids_free. */
kv_status reading_ids(const engine *e, const document *d, ask_ids *ids, kv_err *err);

/* A session that has read so many ids. KV_ERANGE: they do not fit (says how many there are, what the model was trained for,
 * what the cache would take, and what helps); KV_ECANCEL: after Ctrl-C. Where a partial file is of the same model, cache and
 * beginning, reading goes on from it; it is removed once all is read. *out: caller frees with rt_session_free. */
kv_status reading_session(const reading *r, const char *what, const ask_ids *ids, rt_session **out, kv_err *err);

/* Read a document and write it to a .kv file. *tokens: how many it took. */
typedef struct reading_result {
    uint32_t tokens, n_ctx;
    uint64_t bytes, bytes_f16;
    double seconds;
} reading_result;
kv_status reading_to_file(const reading *r, const document *d, const char *title, const char *out, bool packed,
                          reading_result *result, kv_err *err);
/* The same with what a .kv file holds in front of it; out may be that file. */
kv_status reading_append(const reading *r, const document *d, const char *from, const char *out, bool packed,
                         reading_result *result, kv_err *err);

#endif
