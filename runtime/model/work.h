/* Inside of a workspace and a sequence, shared by forward.c (a step) and seq.c (what it runs on). */
#ifndef RT_WORK_H
#define RT_WORK_H

#include "model/experts.h"
#include "step/step.h"

/* The rows of one step, as the layers see them. */
typedef struct rt_batch {
    uint32_t n, n_parts, n_wanted;
    int32_t *tokens;        /* (n) */
    uint32_t *pos;          /* (n) */
    const float **inv_freq; /* (n) rotations of the row's sequence */
    uint32_t *wanted;       /* (n_wanted) rows whose logits are wanted, rising */
    kv_rows *parts;         /* (n_parts) */
    rt_seq **seqs;          /* (n_parts) */
} rt_batch;

/* Keys and values of a step, (n, n_kv_head, head_dim) each. */
typedef struct rt_kv {
    float *k, *v;
} rt_kv;

struct rt_work {
    const rt_model *m;
    rt_exec exec; /* the model's, with threads of its own */
    kv_work *kv;
    uint32_t n_batch;
    rt_act *act;
    float *scratch; /* one allocation for all that follow */
    float *x, *h, *both, *q, *o, *gate, *up;
    rt_kv *kv_of; /* (n_layer) where each layer's are; layers whose later ones read them too have a place of their own */
    rt_moe moe;
    rt_rope rope;
    rt_batch batch;
    rt_tap tap;
    void *tap_user;
    float *lse, *entropy; /* (n_batch, n_head), while a tap is set */
    float *states;        /* (n_batch, n_embd) of somebody who wants to see them; or NULL */
};

static inline rt_kv rt_kv_of(const rt_work *w, uint32_t layer) {
    return w->kv_of[w->m->hp.kv_layer[layer]];
}

/* A place to go back to. */
typedef struct rt_mark {
    kv_checkpoint *state;
    float *logits; /* (n_vocab) of what comes next there; or NULL */
    bool asked;    /* somebody wanted it; else taken by itself, after so many tokens */
} rt_mark;

struct rt_seq {
    const rt_model *m;
    kv_cache *cache;
    uint32_t n_ctx, n_batch;
    const float *inv_freq;         /* rt_inv_freq of this length */
    int32_t *tokens;               /* (n_ctx) */
    rt_mark marks[RT_CHECKPOINTS]; /* by length */
    uint32_t n_marks, every;       /* tokens between those that are taken by themselves; 0: none are */
};

/* ---- marks.c ---- */

/* Those of more than n tokens are no more; n 0: none is. */
void rt_drop_marks(rt_seq *s, uint32_t n);
/* Tokens were added: take one where it is time. */
void rt_mark_progress(rt_seq *s);

/* ---- forward.c ---- */

/* Run w->batch, whose parts are set up; the rest of it is checked and filled in here. */
kv_status rt_run_batch(rt_work *w, float *logits, kv_err *err);
/* KV_ERANGE: n more tokens do not fit. */
kv_status rt_full(const rt_seq *s, size_t n, kv_err *err);
/* KV_ERANGE where tokens[t] is not in the vocabulary. */
kv_status rt_check_id(const rt_seq *s, const int32_t *tokens, size_t t, kv_err *err);

#endif
