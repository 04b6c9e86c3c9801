/* Attention of a whole sequence with itself, forward and backward: between backward.c and backward_attn.c. */
#ifndef RT_BACKWARD_INTERNAL_H
#define RT_BACKWARD_INTERNAL_H

#include "backward/backward.h"
#include "kernels/exec.h"

#include <stddef.h>
#include <stdint.h>

/* A matrix of head vectors, laid out twice for the kernels. Tokens are padded with zeros to whole tiles of 64. */
typedef struct attn_pack {
    float *rows; /* (heads, n_pad, dim) */
    float *cols; /* (heads, n_pad/64, dim, 64): tiles, transposed */
} attn_pack;

/* Shape and working memory, reused from layer to layer. */
typedef struct attn_seq {
    uint32_t n, n_pad, n_head, n_kv_head, dim;
    const rt_exec *exec; /* borrowed */
    const struct rt_kernels *k;
    float cap;                    /* of scores; 0: none */
    attn_pack q, d_out, key, val; /* of n_head, n_head, n_kv_head, n_kv_head */
    float *lse, *dot;             /* (n_head, n_pad) log-sum-exp of the scores; out . d_out */
    float *work;                  /* (threads of exec, attn_work) */
} attn_seq;

/* Floats of one thread's working memory: scores of 64 queries and one row more, or four tiles; four tiles of results. */
static inline size_t attn_work(const attn_seq *a) {
    return 65 * (size_t)a->n_pad + 4 * 64 * 64 + 4 * 64 * (size_t)a->dim;
}

/* out (n, n_head, dim), entropy (n, n_head; or NULL) of queries q (n, n_head, dim), keys and values (n, n_kv_head, dim).
 * swa: query i sees key j <= i when i - j < swa; 0: all. Leaves what attn_backward needs in a. */
void attn_forward(attn_seq *a, const float *q, const float *key, const float *val, float scale, uint32_t swa, float *out,
                  float *entropy);
/* Gradients of q, key and val, shaped as these; far_k and far_v are the parts of dk and dv that come from queries at least
 * `window` tokens behind a key. */
typedef struct attn_grad {
    float *dq, *dk, *dv, *far_k, *far_v;
} attn_grad;
/* Outputs of queries that read less: rt_backward_cfg.cuts. */
typedef struct attn_cut {
    const float *shares; /* (n) */
    uint32_t n, sinks;
    float *out; /* (queries, n_head, n) d_out . (output of a query that reads so much - its output) */
} attn_cut;
/* From d_out (n, n_head, dim); after attn_forward with the same scale, swa and out. cut: or NULL; not with swa. */
void attn_backward(attn_seq *a, const float *out, const float *d_out, float scale, uint32_t swa, uint32_t window,
                   const attn_grad *g, const attn_cut *cut);

#endif
