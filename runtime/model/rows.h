/* The pieces of a layer that work row by row (a row: one token), shared by forward.c and backward.c. Each splits the rows over
 * e's threads; a row's result does not depend on the others.
 */
#ifndef RT_ROWS_H
#define RT_ROWS_H

#include "model/model_internal.h"

/* Rotations of the positions of a batch: cos and sin, (2, cap, n_rot/2) each; full layers, then sliding-window layers. */
typedef struct rt_rope {
    float *cos, *sin;
    uint32_t cap;
} rt_rope;

void rows_embed(const rt_model *m, const rt_exec *e, const int32_t *tokens, uint32_t n, float *x);
/* out (n, dim) = RMS norm of x (n, dim); out may be x. */
void rows_norm(const rt_model *m, const rt_exec *e, const float *x, const float *w, uint32_t n, uint32_t dim, float *out);
/* x (n, dim) += y (n, dim) */
void rows_add(const rt_model *m, const rt_exec *e, float *x, const float *y, uint32_t n, uint32_t dim);
/* y (n, rows of w) = w a + bias, for up to ROWS_OUTS of them; bias may be NULL */
enum { ROWS_OUTS = 3 };
typedef struct rows_out {
    const rt_mat *w;
    const float *bias;
    float *y;
} rows_out;
void rows_project(const rt_model *m, const rt_exec *e, const rows_out *outs, size_t n_outs, const rt_act *a, uint32_t n);
/* gate (n, n_ff) = act(gate) * up */
void rows_gate(const rt_model *m, const rt_exec *e, float *gate, const float *up, uint32_t n);
/* Rotations of positions pos[0 .. n-1] (NULL: 0 .. n-1), each first rounded down to a multiple of `step`. */
void rows_rope_fill(const rt_model *m, const rt_exec *e, const uint32_t *pos, uint32_t n, uint32_t step, const rt_rope *r);
/* Norm (norm may be NULL) and rotate every head of q or k, x (n, n_head, head_dim), in place. */
void rows_rotate(const rt_model *m, const rt_exec *e, uint32_t layer, const rt_rope *r, const float *norm, uint32_t n,
                 uint32_t n_head, float *x);

#endif
