/* What session.c, store.c and store_pieces.c share. */
#ifndef RT_SESSION_INTERNAL_H
#define RT_SESSION_INTERNAL_H

#include "cache/cache_file.h"
#include "context/context_file.h"
#include "session/session.h"

#include <stdatomic.h>

struct rt_session {
    const rt_model *m;
    rt_ctx_cfg cfg; /* as it was asked for */
    rt_ctx *ctx;
    tok_writer text;
    int32_t *ids; /* the context has read the first rt_ctx_len of them */
    size_t n, cap;
    float *logits; /* (n_vocab) */
    bool fresh;    /* these belong to the last id, and everything is read */
    /* Ids that were read beyond the last one, in the hope that they will be said. The context is so far ahead then, or further:
     * those that were not are still in it until something is read. */
    int32_t guess[RT_GUESSES];
    uint32_t n_guess, n_right; /* so many; and how many of them were said */
    float *rows;  /* (RT_GUESSES + 1, n_vocab) logits after the last id that was read before, and after each; or NULL */
    bool endless; /* where the context is full, so many ids are forgotten, from `keep` on; */
    uint32_t keep, gone;
    uint64_t forgotten; /* how many were */
    ctx_file *file;     /* that it came from, and that the cache still uses; or NULL */
    atomic_uint refs;   /* its owner, and sessions that use its blocks */
    uint32_t lent;      /* of so many first tokens, where there are such */
    rt_session *lender; /* whose blocks the cache uses; or NULL */
};

/* session.c: nothing is read beyond the last id; where that takes going further back, it is to be read again. */
void rt_session_leave_guesses(rt_session *s);
/* session.c: where the cache is empty, it uses nobody's blocks any more. */
void rt_session_give_back(rt_session *s);

/* ---- store_pieces.c ---- */

/* The pieces of the cache into a file, a section each. KV_EIO, KV_ENOMEM, KV_ECANCEL. */
kv_status rt_store_pieces(const rt_session *s, bool packed, ctx_writer *w, kv_progress progress, void *user, kv_err *err);
/* And where they lie, pieces (kv_cache_pieces), of a file whose ids the session has taken; its threads unpack them. They live
 * as long as the file. KV_EFORMAT, KV_ENOMEM. */
kv_status rt_stored_pieces(const rt_session *s, ctx_file *f, kv_piece *pieces, kv_err *err);

#endif
