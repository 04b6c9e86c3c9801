/* The pieces of a layer that work row by row (a row: one token), shared by forward.c and backward.c. Each splits the rows over
 * e's threads; a row's result does not depend on the others.
 */
#ifndef RT_ROWS_H
#define RT_ROWS_H

#include "model/model_internal.h"

/* Rotations of the positions of a batch: cos and sin, (RT_ROPE_KINDS, cap, n_rot/2) each. And what queries are multiplied with
 * because of their position, (cap). */
typedef struct rt_rope {
    float *cos, *sin, *gain;
    uint32_t cap;
} rt_rope;

void rows_embed(const rt_model *m, const rt_exec *e, const int32_t *tokens, uint32_t n, float *x);
/* out (n, dim) = x (n, dim), normed; out may be x. norm->w NULL: as it is. */
void rows_norm(const rt_model *m, const rt_exec *e, const float *x, const rt_norm *norm, uint32_t n, uint32_t dim, float *out);
/* x (n, dim) += y (n, dim) times the model's residual_scale */
void rows_add(const rt_model *m, const rt_exec *e, float *x, const float *y, uint32_t n, uint32_t dim);
/* y (n, rows of w) = w a + bias, for up to ROWS_OUTS of them; bias may be NULL */
enum { ROWS_OUTS = 3 };
typedef struct rows_out {
    const rt_mat *w;
    const float *bias;
    float *y;
} rows_out;
void rows_project(const rt_model *m, const rt_exec *e, const rows_out *outs, size_t n_outs, const rt_act *a, uint32_t n);
/* gate (n, width) = what the FFN of layer y multiplies with `down`; a: its input, normed. up (n, width): scratch. Without `act`
 * gate and up are left as the projections give them; an FFN without a gate has it in gate alone. */
void rows_ffn(const rt_model *m, const rt_exec *e, const rt_layer *y, const rt_act *a, uint32_t n, bool act, float *gate,
              float *up);
/* gate (n, width) = act(gate) * up; up NULL: act(gate) */
void rows_gate(const rt_model *m, const rt_exec *e, float *gate, const float *up, uint32_t n, uint32_t width);
/* Final logits (n, n_vocab): scaled and capped as the model wants. */
void rows_logits(const rt_model *m, const rt_exec *e, float *logits, uint32_t n);

/* x, n vectors of `dim`: as heads of `wide` >= dim, as they are stored, padded with zeros, in place (spread); and back (pack).
 */
void rows_spread(uint32_t dim, uint32_t wide, size_t n, float *x);
void rows_pack(uint32_t dim, uint32_t wide, size_t n, float *x);

/* Rotations of positions pos[0 .. n-1] (NULL: 0 .. n-1), each first rounded down to a multiple of `step`, by inv_freq (n) of
 * the row's sequence (NULL: one of n tokens). */
void rows_rope_fill(const rt_model *m, const rt_exec *e, const uint32_t *pos, const float *const *inv_freq, uint32_t n,
                    uint32_t step, const rt_rope *r);
/* What becomes of the heads of q or k. */
typedef struct rows_head {
    const rt_norm *norm; /* or NULL */
    uint32_t n_head;
    bool query; /* grows with its position, where the model wants that */
} rows_head;
/* Norm and rotate every head of x (n, n_head, key_dim) in place. */
void rows_rotate(const rt_model *m, const rt_exec *e, uint32_t layer, const rt_rope *r, rows_head h, uint32_t n, float *x);
/* Rotate alone, without what RoPE scaling multiplies with; x (n, n_head, head_dim). */
void rows_turn(const rt_model *m, const rt_exec *e, uint32_t layer, const rt_rope *r, uint32_t n_head, uint32_t n, float *x);

#endif
