/* Copying what one cache holds into another of the same kind. */
#include "cache_internal.h"

#include <string.h>

static bool same_shape(const kv_cache *a, const kv_cache *b) {
    bool same = a->n_layer == b->n_layer && a->n_kv_head == b->n_kv_head && a->dim == b->dim;
    for (uint32_t i = 0; same && i < a->n_layer; i++) {
        const kv_layer *x = &a->layers[i], *y = &b->layers[i];
        same = x->body_cap == y->body_cap && x->body_row == y->body_row && x->ring_cap == y->ring_cap &&
               x->ring_row == y->ring_row && x->sink_elems == y->sink_elems && x->window == y->window && x->sinks == y->sinks;
        for (uint32_t j = 0; same && j < 2 * a->n_kv_head; j++)
            same = x->lanes[j].coder.ops == y->lanes[j].coder.ops;
    }
    return same;
}

/* Blocks that were never reached stay as they are: one is zeroed when its first token is written. */
kv_status kv_cache_copy(kv_cache *to, const kv_cache *from, kv_err *err) {
    if (!same_shape(to, from))
        return kv_fail(err, KV_EINVAL, "cache: a copy needs a cache of the same configuration");
    const uint32_t reached = (from->len + KV_BLOCK - 1) / KV_BLOCK;
    for (uint32_t i = 0; i < from->n_layer; i++) {
        const kv_layer *src = &from->layers[i];
        kv_layer *dst = &to->layers[i];
        if (src->end != from->len)
            return kv_fail(err, KV_EINVAL, "cache: layer %u is in the middle of a batch", i);
        if (src->body)
            memcpy(dst->body, src->body, min_u32(reached, src->body_cap) * src->body_row);
        if (src->ring)
            memcpy(dst->ring, src->ring, src->ring_cap * src->ring_row);
        if (src->sink)
            memcpy(dst->sink, src->sink, src->sink_elems * sizeof *src->sink);
        dst->end = src->end;
        dst->body_lo = src->body_lo;
        dst->ring_lo = src->ring_lo;
    }
    to->len = from->len;
    return KV_OK;
}
