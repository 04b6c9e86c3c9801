/* The FFN of layers that have experts. Shared by forward.c and backward.c. */
#ifndef RT_EXPERTS_H
#define RT_EXPERTS_H

#include "model/rows.h"

/* Which experts n rows go to, sorted by expert. */
typedef struct rt_routes {
    float *logits;    /* (n, n_expert) of the router */
    float *weight;    /* (n, n_used) of those chosen, best first */
    uint32_t *expert; /* (n, n_used) */
    uint32_t *first, *row,
        *k; /* (n_expert + 1) where an expert's begin among (n * n_used) rows, and which choice of theirs it is */
} rt_routes;

/* Scratch memory for n rows, (n, ...) each. */
typedef struct rt_moe {
    rt_routes routes;
    float *x, *y; /* n_embd: what an expert reads, what it answers */
} rt_moe;

/* Floats of scratch memory; with base: hand it out. */
size_t experts_lay_out(const rt_hparams *hp, size_t n, float *base, rt_moe *to);

/* Choose experts for rows x (n, n_embd). */
void experts_route(const rt_model *m, const rt_exec *e, const rt_layer *y, rt_act *a, const float *x, uint32_t n,
                   rt_routes *to);
/* out (n, n_embd) = what experts make of x (n, n_embd), normed; not where x is. gate, up (n, widest expert): scratch. */
void experts_run(const rt_model *m, const rt_exec *e, const rt_layer *y, rt_act *a, const float *x, uint32_t n, rt_moe *s,
                 float *gate, float *up, float *out);
/* The sigmoid that weighs the shared expert for row x (n_embd). */
float experts_shared_weight(const rt_model *m, const rt_layer *y, const float *x);
/* Rows of x (., n_embd), one after the other, that go to an expert; and back: y += weight times each. */
void experts_gather(const rt_hparams *hp, const rt_routes *r, uint32_t expert, const float *x, float *to);

#endif
