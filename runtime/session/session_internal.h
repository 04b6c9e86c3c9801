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
    bool endless;  /* where the context is full, so many ids are forgotten, from `keep` on; */
    uint32_t keep, gone;
    uint64_t forgotten; /* how many were */
    ctx_file *file;     /* that it came from, and that the cache still uses; or NULL */
};

#endif
