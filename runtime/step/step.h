/* One layer's step: what a forward pass asks of the caches. */
#ifndef RT_STEP_H
#define RT_STEP_H

#include "cache/cache.h"

/* Rows first .. first+n-1 of a call are the next n tokens of a cache. */
typedef struct kv_rows {
    kv_cache *c;
    uint32_t first, n;
} kv_rows;

/* Add the tokens of every part (n_parts caches, no two the same) at positions len .. len+n-1 of one layer, and attend with
 * their queries, each to its own cache. k, v (rows, n_kv_head, head_dim) f32, after RoPE;  q (rows, n_head, head_dim) f32;  out
 * (rows, n_head, head_dim) f32 scale: of the scores, 1/sqrt(head_dim) mostly lse, entropy: (rows, n_head) natural-log sum of
 * exp(scaled score) and attention entropy in nats, or NULL Call for layers 0 .. n_layer-1, then kv_cache_commit(c, n) for each.
 * What a cache's rows become does not depend on the other parts. KV_ERANGE: cache full; NaN or Inf in k or v. */
kv_status kv_attend(kv_work *w, const kv_rows *parts, uint32_t n_parts, uint32_t layer, const float *q, const float *k,
                    const float *v, float scale, float *out, float *lse, float *entropy, kv_err *err);

#endif
