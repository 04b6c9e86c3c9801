/* Gradients of the model's own predictions with respect to every cached key and value.
 *
 * An error e in a cached vector costs about 1/2 e^T F e of KL divergence, F = E[g g^T] the Fisher information, g the gradient
 * of log p(y) for a y drawn from the model's own prediction (Kunstner, Hennig, Balles, arXiv:1905.12558, on why y is drawn and
 * not read off the text). One backward pass gives g for every position at once: gradients of the sum over all predictions,
 * whose terms are independent given the text.
 *
 * The forward part multiplies as the model was loaded (int8 or exact), the backward part always in f32: with an int8 model the
 * gradients are those of the f32 function at slightly rounded activations, which a statistic does not notice.
 */
#ifndef RT_BACKWARD_H
#define RT_BACKWARD_H

#include "model/model.h"

/* What the tap sees of one layer: all borrowed, valid during the call. */
typedef struct rt_backward_view {
    uint32_t layer, n;    /* heads below are the layer's own; layers without attention are not shown */
    const float *q;       /* (n, n_head, head_dim) before RoPE, after the norm where there is one; not scaled */
    const float *k, *v;   /* (n, n_kv_head, head_dim) after RoPE, as a cache would hold them; they and their gradients NULL in
                             a layer that reads those of another: what that one shows is for both */
    const float *dk, *dv; /* (n, n_kv_head, head_dim) gradients of the sum of log p with respect to them, as read by queries
                             that are at least `window` tokens behind them */
    const float *entropy; /* (n, n_head) nats, of the attention */
    const float *cut;     /* (n, n_head, cfg.n_cut) by how much the sum of log p would change, to first order, if this query of
                             this head read cfg.cuts of its keys only: gradient of the output times change of the output. NULL
                             without cuts and in layers whose window slides */
} rt_backward_view;
typedef void (*rt_backward_tap)(void *user, const rt_backward_view *view);

enum { RT_MAX_CUTS = 8 };

/* Zero-initialise, then set what matters. */
typedef struct rt_backward_cfg {
    uint64_t seed;     /* of the draws; position i draws from (seed, i) alone */
    uint32_t frame;    /* k and dk are shown as in RoPE frames of so many positions (cache.h); 0: as they are */
    uint32_t window;   /* what nearer queries make of a key or value does not count in dk and dv: a cache shows them f16 */
    const float *cuts; /* (n_cut <= RT_MAX_CUTS) shares in 0..1 of the keys that a query sees: the first cut_sinks, and the
                          newest, at least itself */
    uint32_t n_cut, cut_sinks;
    const int32_t *targets; /* (n) y to use instead of drawing; -1: this position counts for nothing. NULL: draw all */
    int32_t *drawn;         /* (n) the y that were used, or NULL */
    rt_backward_tap tap;    /* called for every layer, last to first */
    void *tap_user;
    bool (*progress)(void *user, double done); /* or NULL; 0..1, returns false to cancel (KV_ECANCEL) */
    void *progress_user;
} rt_backward_cfg;

/* One sequence of n >= 1 tokens from an empty cache: draw y_i from the prediction after tokens[0..i], back-propagate
 * sum_i log p(y_i).
 * Memory, allocated here and freed before returning, in floats: n (n_embd (n_layer + 5) + 3 n_ff + 9 n_q + 9 n_kv + n_head
 * n_cut), n_q = n_head head_dim and n_kv alike, 6 n_kv more for each layer that others read, and 65 n per thread; in the output
 * layer at most 2^25 for logits (16 n_vocab if that is more), freed before the backward part. SmolLM2-135M, n = 1024: 130 + 134
 * MB; Qwen2.5-0.5B: 204 + 134 MB. Only the layers' inputs are kept: the rest of a layer is computed again. Time grows with n^2
 * in attention. The result depends neither on the number of threads nor on the instruction set. KV_ERANGE: token or target
 * outside the vocabulary; NaN or Inf in a gradient. KV_EINVAL: n == 0, too many cuts. KV_ENOMEM. */
kv_status rt_backward(const rt_model *m, const int32_t *tokens, uint32_t n, const rt_backward_cfg *cfg, kv_err *err);

#endif
