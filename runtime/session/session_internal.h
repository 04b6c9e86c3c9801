/* What session.c and store.c share. */
#ifndef RT_SESSION_INTERNAL_H
#define RT_SESSION_INTERNAL_H

#include "context/context_file.h"
#include "session/session.h"

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
    float *rows;    /* (RT_GUESSES + 1, n_vocab) logits after the last id that was read before, and after each; or NULL */
    ctx_file *file; /* that it came from, and that the cache still uses; or NULL */
};

/* session.c: nothing is read beyond the last id; where that takes going further back, it is to be read again. */
void rt_session_leave_guesses(rt_session *s);

#endif
