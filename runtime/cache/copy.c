/* Copying what one cache holds into another of the same kind. */
#include "cache/state.h"

#include <string.h>

static bool same_shape(const kv_cache *a, const kv_cache *b) {
    bool same = a->n_layer == b->n_layer && a->n_kv_head == b->n_kv_head && a->dim == b->dim;
    for (uint32_t i = 0; same && i < a->n_layer; i++) {
        const kv_layer *x = &a->layers[i], *y = &b->layers[i];
        same = x->n_kv_head == y->n_kv_head && x->borrows == y->borrows && x->body_cap == y->body_cap &&
               x->body_bytes == y->body_bytes && x->ring_cap == y->ring_cap && x->f16_elems == y->f16_elems &&
               x->sink_elems == y->sink_elems && x->window == y->window && x->sinks == y->sinks;
        for (uint32_t j = 0; same && j < 2 * x->n_kv_head; j++)
            same = x->streams[j].coder.ops == y->streams[j].coder.ops;
    }
    return same;
}

/* A head's place and its blocks. Those that were never reached stay as they are: one is zeroed when its first token is
 * written. */
static void copy_head(const kv_cache *c, kv_layer *dst, const kv_layer *src, uint32_t head, uint32_t len) {
    const kv_head *from = &src->heads[head];
    kv_head *to = &dst->heads[head];
    uint32_t *frames = to->frames;
    if (frames && from->cut)
        memcpy(frames, from->frames, ((from->cut - 1) / c->frame + 1) * sizeof *frames);
    *to = *from;
    to->frames = frames;
    kv_place_head(c, dst, head, src->streams[2 * head].cap, src->streams[2 * head].body_off);
    const uint32_t reached = min_u32(kv_blocks(len - from->shift), src->streams[2 * head].cap);
    for (uint32_t i = 2 * head; i < 2 * head + 2; i++) {
        dst->streams[i].n_base = 0;
        for (uint32_t b = 0; b < reached; b++)
            memcpy(kv_body_block(dst, &dst->streams[i], b), kv_body_block(src, &src->streams[i], b),
                   src->streams[i].coder.block_bytes);
    }
    const size_t floats = kv_head_block_bytes(c, src, head) - src->streams[2 * head].coder.block_bytes -
                          src->streams[2 * head + 1].coder.block_bytes;
    if (floats)
        memcpy(dst->body + to->score_off, src->body + from->score_off, src->streams[2 * head].cap * floats);
}

kv_status kv_cache_copy(kv_cache *to, const kv_cache *from, kv_err *err) {
    if (!same_shape(to, from))
        return kv_fail(err, KV_EINVAL, "cache: a copy needs a cache of the same configuration");
    for (uint32_t i = 0; i < from->n_layer; i++) {
        const kv_layer *src = &from->layers[i];
        kv_layer *dst = &to->layers[i];
        if (src->n_kv_head && src->end != from->len)
            return kv_fail(err, KV_EINVAL, "cache: layer %u is in the middle of a batch", i);
        for (uint32_t h = 0; !src->borrows && h < src->n_kv_head; h++)
            copy_head(from, dst, src, h, from->len);
        if (src->ring)
            memcpy(dst->ring, src->ring, (size_t)src->ring_cap * src->f16_elems * sizeof *dst->ring);
        if (src->sink && !src->borrows)
            memcpy(dst->sink, src->sink, src->sink_elems * sizeof *src->sink);
        dst->end = src->end;
        dst->evicted = src->evicted;
        dst->body_lo = src->body_lo;
        dst->ring_lo = src->ring_lo;
    }
    to->reads = from->reads;
    to->shifts = from->shifts;
    to->len = from->len;
    return KV_OK;
}
