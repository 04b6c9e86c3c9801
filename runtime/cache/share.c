/* Two caches that begin alike: the second uses whole blocks of the first where they lie. Those never change: what comes later
 * is written behind them, and going back stays behind them as long as somebody uses them (session/share.c sees to that).
 *
 * A cache that shares may be shared from in turn: its bases are taken over, and its own blocks become one more. Where that
 * would be too many, the rest is copied.
 */
#include "cache/cache_file.h"
#include "cache/state.h"
#include "machine/memory.h"

#include <string.h>

/* The first n blocks of a stream, `whole` of which may stay where they are. */
static void take_stream(const kv_layer *to, uint32_t index, const kv_layer *from, uint32_t n, uint32_t whole) {
    kv_stream *stream = &to->streams[index];
    const kv_stream *other = &from->streams[index];
    uint32_t bases = 0;
    stream->n_base = 0;
    while (stream->n_base < whole && bases < KV_BASES) {
        const uint32_t b = stream->n_base;
        const kv_base own = {whole, from->body + other->body_off};
        stream->base[bases] = b < other->n_base ? *kv_base_of(other, b) : own;
        stream->n_base = min_u32(whole, b < other->n_base ? min_u32(stream->base[bases].end, other->n_base) : whole);
        stream->base[bases++].end = stream->n_base;
    }
    for (uint32_t b = stream->n_base; b < n; b++)
        memcpy(kv_body_block(to, stream, b), kv_body_block(from, other, b), stream->coder.block_bytes);
}

static bool has_room(const kv_cache *c) {
    for (uint32_t i = 0; i < c->n_layer; i++)
        for (uint32_t s = 0; kv_stores(&c->layers[i]) && s < 2 * c->layers[i].n_kv_head; s++)
            if (kv_blocks_held(&c->layers[i], s, c->len) > c->layers[i].streams[s].cap)
                return false;
    return true;
}

kv_status kv_cache_share(kv_cache *c, const kv_cache *from, const kv_checkpoint *at, kv_err *err) {
    const uint32_t len = kv_checkpoint_len(at);
    if (!kv_checkpoint_reached(at, from) || c->stamp[0] != from->stamp[0] || c->stamp[1] != from->stamp[1])
        return kv_fail(err, KV_EINVAL, "cache: %u tokens cannot be shared, as they are no longer there", len);
    if (len > c->n_ctx)
        return kv_fail(err, KV_ERANGE, "cache: %u tokens do not fit into %u", len, c->n_ctx);
    kv_cache_clear(c);
    kv_checkpoint_restore(c, at);
    if (!has_room(c)) {
        kv_cache_clear(c);
        return kv_fail(err, KV_ERANGE, "cache: there is no room for what %u tokens have left", len);
    }
    for (uint32_t i = 0; i < c->n_layer; i++) {
        kv_layer *l = &c->layers[i];
        const kv_layer *other = &from->layers[i];
        if (!kv_stores(l))
            continue;
        if (l->sink_elems)
            memcpy(l->sink, other->sink, l->sink_elems * sizeof *l->sink);
        for (uint32_t s = 0; !l->swa && s < 2 * l->n_kv_head; s++)
            take_stream(l, s, other, kv_blocks_held(l, s, len), kv_blocks_whole(l, s, len));
        if (!l->swa)
            kv_layer_forget(l, len); /* what `from` has in the last block that came later */
    }
    c->shifts = from->shifts;
    return KV_OK;
}

void kv_cache_leave_shared(kv_cache *c, uint32_t n) {
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        if (!kv_stores(l) || l->evicts || l->swa)
            continue;
        for (uint32_t s = 0; s < 2 * l->n_kv_head; s++) {
            const kv_stream *stream = &l->streams[s];
            const uint32_t first = min_u32(kv_blocks(n), stream->cap);
            const size_t bytes = stream->coder.block_bytes;
            rt_give_pages_back(l->body + stream->body_off + first * bytes, (stream->cap - first) * bytes);
        }
    }
}

void kv_cache_used(const kv_cache *c, uint64_t *own, uint64_t *elsewhere) {
    *own = *elsewhere = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        const uint32_t len = c->len;
        *own += (uint64_t)min_u32(len, l->ring_cap) * l->f16_elems * sizeof *l->ring;
        if (!kv_stores(l) || !len)
            continue;
        *own += l->sink_elems * sizeof *l->sink;
        for (uint32_t s = 0; s < 2 * l->n_kv_head; s++) {
            const kv_stream *stream = &l->streams[s];
            const uint32_t n = l->swa ? min_u32(kv_blocks(len), stream->cap) : kv_blocks_held(l, s, len);
            const uint32_t base = min_u32(n, stream->n_base);
            *elsewhere += (uint64_t)base * stream->coder.block_bytes;
            *own += (uint64_t)(n - base) * stream->coder.block_bytes;
        }
    }
}

void kv_cache_states(const kv_cache *c, double *exact, double *encoded) {
    uint32_t n = 0;
    *exact = *encoded = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        const uint32_t end = kv_encoded(l, c->len);
        for (uint32_t h = 0; kv_stores(l) && !l->swa && h < l->n_kv_head; h++, n++) {
            const uint32_t held = kv_held(l, &l->heads[h], c->len);
            const uint32_t whole = l->f16_elems ? min_u32(held, c->len - end + min_u32(l->sinks, end)) : held;
            *exact += whole;
            *encoded += held - whole;
        }
    }
    *exact /= n ? n : 1;
    *encoded /= n ? n : 1;
}
