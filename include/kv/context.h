/* Contexts that come back: what a session has read, kept in a .kv file.
 *
 * A file holds the ids of the tokens and all that the cache knows of them, as it is in memory; a session that is opened from it
 * goes on as if it had never stopped, to the bit, on whatever processor. It belongs to one model (all tensors, the vocabulary,
 * the hyper-parameters) and to one way of storing the cache: with any other, and where a single byte is not as it was written,
 * nothing is opened.
 */
#ifndef KV_PUBLIC_CONTEXT_H
#define KV_PUBLIC_CONTEXT_H

#include <kv/session.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KV_CONTEXT_PACKED = 1, /* smaller, for keeping and sending; it is unpacked when it is opened */
    KV_CONTEXT_LEAN = 2    /* without the session's checkpoints, but for where it stands */
};

typedef struct kv_context_options {
    size_t size;
    const char *title; /* what was read, the name of a document say; NULL: none. At most 1,000 bytes */
    uint64_t flags;    /* KV_CONTEXT_* */
} kv_context_options;
#define KV_CONTEXT_OPTIONS_INIT                                                                                                \
    { sizeof(kv_context_options), NULL, 0 }

/* Write all that a session holds, which is read first, to a file that appears whole or not at all. options: NULL for all
 * defaults. KV_EINVAL: the session is empty; KV_EIO; KV_ECANCEL. */
KV_API kv_status kv_context_save(kv_session *session, const char *path, const kv_context_options *options, kv_progress progress,
                                 void *user, kv_err *err);

/* A session that holds what a file has. It is used from the file, which other processes share, and copied only where it
 * changes: so the file must not be changed while the session lives (replacing it by another of its name is fine).
 * options: NULL for all defaults; the profile must be that with which it was saved; what else the options say of the cache must
 * be so as well, or is taken from the file where they do not say; n_ctx 0: as many tokens as it was saved with. *out: caller
 * frees with kv_session_free. KV_EFORMAT: not a .kv file, one of another version, or damaged (says where); KV_EMISMATCH: of
 * another model, profile or cache (says which); KV_EIO; KV_ENOMEM. */
KV_API kv_status kv_context_open(const kv_model *model, const char *path, const kv_session_options *options, kv_session **out,
                                 kv_err *err);

typedef struct kv_context_facts {
    size_t size;
    char title[1024], model_name[256], arch[64]; /* empty: it does not say */
    char cache[256];                             /* how keys and values are stored, in words */
    uint64_t bytes;                              /* of the file */
    uint64_t bytes_f16;                          /* what an f16 cache of as many tokens takes */
    int64_t saved;                               /* when; seconds since 1970 */
    uint32_t n_tokens, n_ctx;                    /* held; and most tokens of the session that was saved */
    uint32_t n_checkpoints;                      /* places to go back to */
    uint32_t packed;                             /* 1: it is */
} kv_context_facts;
#define KV_CONTEXT_FACTS_INIT                                                                                                  \
    { sizeof(kv_context_facts), "", "", "", "", 0, 0, 0, 0, 0, 0, 0 }

/* What a file says of itself, without a model; *out needs its size. Sums of what it says are checked, not those of the cache.
 * KV_EFORMAT, KV_EIO. */
KV_API kv_status kv_context_get_facts(const char *path, kv_context_facts *out, kv_err *err);

#ifdef __cplusplus
}
#endif

#endif
