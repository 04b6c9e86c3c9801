/* What a layer holds, and in which state: for people. */
#include "cache/state.h"

/* All that is held is exact. */
static bool is_exact(const kv_layer *l) {
    for (uint32_t i = 0; i < 2 * l->n_kv_head; i++)
        if (kv_lossy(&l->streams[i]))
            return false;
    return true;
}

kv_layer_info kv_cache_get_layer(const kv_cache *c, uint32_t layer) {
    const kv_layer *l = &c->layers[layer];
    kv_layer_info info = {.n_kv_head = l->n_kv_head, .stores = kv_stores(l), .slides = l->swa != 0};
    info.bytes = ((size_t)l->ring_cap * l->f16_elems + l->sink_elems) * sizeof *l->ring;
    if (!kv_stores(l))
        return info;
    info.bytes += l->body_bytes;
    info.bytes_f16 = min_u32(l->body_cap, kv_blocks(c->n_ctx)) * c->f16[0].block_bytes * 2 * l->n_kv_head;
    const double sinks = min_u32(l->sinks, c->len), encoded = max_u32(kv_encoded(l, c->len), (uint32_t)sinks);
    const double past = l->swa && c->len > l->swa ? c->len - l->swa : 0;
    double held = 0;
    for (uint32_t h = 0; h < l->n_kv_head; h++)
        held += (double)kv_held(l, &l->heads[h], c->len) / l->n_kv_head;
    info.exact = is_exact(l);
    info.evicted = c->len - held;
    info.sinks = sinks;
    info.window = info.exact ? 0 : c->len - encoded;
    info.past = past > 0 && past < held - info.window ? past : past > 0 ? held - info.window : 0;
    info.body = held - sinks - info.window - info.past;
    if (info.body < 0) { /* a window that is wider than the model's own */
        info.past += info.body;
        info.body = 0;
    }
    return info;
}
