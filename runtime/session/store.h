/* Sessions in .kv files (libfmt/context/context_file.h), and back. */
#ifndef RT_STORE_H
#define RT_STORE_H

#include "context/context_file.h"
#include "session/session.h"

typedef struct rt_save_cfg {
    const char *title;   /* or NULL */
    const char *program; /* that writes it, for people */
    bool packed;
    bool lean;        /* without the places to go back to */
    bool cache;       /* it can be made again: atomic_file_as_cache */
    const char *chat; /* what section CTX_CHAT is to hold; or NULL */
} rt_save_cfg;

/* Read what was not read yet, and write all that the session holds. KV_EINVAL: it is empty; KV_EIO, KV_ENOMEM, KV_ECANCEL. */
kv_status rt_session_save(rt_session *s, const char *path, const rt_save_cfg *cfg, kv_progress progress, void *user,
                          kv_err *err);

/* A session that goes on where the one stood that was written. The file is used where it lies, until the session is freed, and
 * need not keep its name. cfg: as of rt_session_new; its fields that do not say anything (-1, 0, NULL) are those of the file,
 * where the profile of cfg applies if one did. p: of a pool; or NULL. KV_EMISMATCH: another model, profile or cache; errors of
 * ctx_file_open and rt_session_new. */
kv_status rt_session_open(const rt_model *m, rt_pool *p, const rt_ctx_cfg *cfg, const char *path, kv_progress progress,
                          void *user, rt_session **out, kv_err *err);

/* The same into a session that is empty, from a file whose cache has the stamp of the session's. KV_EINVAL: it is not empty;
 * KV_ERANGE: the file holds more than the session has room for; others as above. On failure it is empty. about: what the file
 * says of itself; or NULL. */
kv_status rt_session_load(rt_session *s, const char *path, kv_progress progress, void *user, ctx_about *about, kv_err *err);

/* What a session's file holds in section CTX_CHAT, borrowed until the session takes another one or is freed. *chat NULL:
 * nothing, or the session is of no file. KV_EFORMAT: it is longer than it can be; KV_ENOMEM. */
kv_status rt_session_chat(const rt_session *s, const char **chat, size_t *len, kv_err *err);

/* Of a file that is open: the lengths that one can go back to, in rising order; the last is all of it. KV_EFORMAT. */
kv_status rt_stored_places(ctx_file *f, const ctx_about *about, uint32_t len[RT_CHECKPOINTS], uint32_t *n, kv_err *err);
/* Of a file that is open: the ids, borrowed, (about->n_tokens). KV_EFORMAT. */
kv_status rt_stored_ids(ctx_file *f, const ctx_about *about, const int32_t **ids, kv_err *err);
/* KV_EMISMATCH: it is of another model. */
kv_status rt_stored_fits(const ctx_file *f, const ctx_about *about, const rt_model *m, kv_err *err);

#endif
