#include "cache/cache_file.h"

#include "cache/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- what it says of itself ---- */

void kv_cache_stamp(const kv_cache *c, char out[33]) {
    snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, c->stamp[0], c->stamp[1]);
}

/* The name of what most streams of a side are stored as, if it is the same for all. */
static const char *codec_of(const kv_cache *c, uint32_t side) {
    const kv_codec *first = NULL;
    for (uint32_t i = 0; i < c->n_layer; i++)
        for (uint32_t s = side; kv_stores(&c->layers[i]) && s < 2 * c->layers[i].n_kv_head; s += 2) {
            const kv_codec *ops = c->layers[i].streams[s].coder.ops;
            if (first && ops != first)
                return "mixed";
            first = ops;
        }
    for (int i = 0; i < KV_CODEC_COUNT; i++)
        if (first && kv_codec_get((kv_codec_id)i) == first)
            return kv_codec_names[i].name;
    return "nothing";
}

void kv_cache_words(const kv_cache *c, char *out, size_t size) {
    const kv_cache_info info = kv_cache_get_info(c);
    uint32_t window = 0, sinks = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        window = l->n_kv_head ? max_u32(window, l->group == KV_BATCH ? l->window + KV_BATCH - 1 : l->window) : window;
        sinks = max_u32(sinks, l->sinks);
    }
    int n = snprintf(out, size, "K %s %.2f bits, V %s %.2f bits", codec_of(c, 0), info.bits_k, codec_of(c, 1), info.bits_v);
    if (window && n > 0 && (size_t)n < size)
        n += snprintf(out + n, size - (size_t)n, ", window %u, sinks %u", window, sinks);
    if (info.most < c->n_ctx && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, ", %s to %.0f tokens", kv_policy(c)->name, info.most);
}

uint64_t kv_cache_f16_bytes(const kv_cache *c, uint32_t tokens) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        if (kv_stores(l)) {
            const uint32_t held = l->swa ? min_u32(tokens, l->swa) : tokens;
            bytes += (uint64_t)held * c->dim * 2 * l->n_kv_head * sizeof(uint16_t);
        }
    }
    return bytes;
}

/* ---- blocks ---- */

/* Blocks of a stream that hold something. Those of sliding layers are a checkpoint's matter. */
static uint32_t blocks_of(const kv_layer *l, uint32_t stream, uint32_t len) {
    const uint32_t shift = l->heads[stream / 2].shift, stored = kv_lossy(&l->streams[stream]) ? kv_encoded(l, len) : len;
    return l->swa || stored <= shift ? 0 : kv_blocks(stored - shift);
}

/* Rows of sinks are there from the first token on. */
static size_t sink_bytes(const kv_layer *l) {
    return l->sink_elems * sizeof *l->sink;
}

kv_status kv_cache_write(const kv_cache *c, uint32_t layer, kv_write write, void *user, kv_err *err) {
    const kv_layer *l = &c->layers[layer];
    kv_status st = KV_OK;
    if (!kv_stores(l))
        return KV_OK;
    if (sink_bytes(l))
        st = write(user, l->sink, sink_bytes(l), err);
    for (uint32_t s = 0; s < 2 * l->n_kv_head && !st; s++) {
        const kv_stream *stream = &l->streams[s];
        const uint32_t n = blocks_of(l, s, c->len), base = min_u32(n, stream->n_base);
        const size_t bytes = stream->coder.block_bytes;
        if (base)
            st = write(user, stream->base, base * bytes, err);
        if (!st && n > base)
            st = write(user, kv_body_block(l, stream, base), (n - base) * bytes, err);
    }
    return st;
}

/* The blocks of one stream, from `from`. Whole ones stay there. */
static void take_stream(kv_layer *l, uint32_t s, uint32_t n, uint32_t len, const uint8_t *from) {
    kv_stream *stream = &l->streams[s];
    const size_t bytes = stream->coder.block_bytes;
    const uint32_t whole = (kv_lossy(stream) ? kv_encoded(l, len) : len) / KV_BLOCK;
    if (!l->evicts) {
        stream->base = from;
        stream->n_base = min_u32(n, whole);
    }
    for (uint32_t b = stream->n_base; b < n; b++)
        memcpy(kv_body_block(l, stream, b), from + b * bytes, bytes);
}

/* Heads are in place already, so it is known how much there must be. */
static bool take_layer(kv_layer *l, const kv_piece *piece, uint32_t len) {
    size_t bytes = sink_bytes(l), at = bytes;
    for (uint32_t s = 0; s < 2 * l->n_kv_head; s++) {
        if (blocks_of(l, s, len) > l->streams[s].cap)
            return false;
        bytes += blocks_of(l, s, len) * l->streams[s].coder.block_bytes;
    }
    if (bytes != piece->bytes || (bytes && !piece->data))
        return false;
    if (at)
        memcpy(l->sink, piece->data, at);
    for (uint32_t s = 0; s < 2 * l->n_kv_head; s++) {
        const uint32_t n = blocks_of(l, s, len);
        take_stream(l, s, n, len, (const uint8_t *)piece->data + at);
        at += n * l->streams[s].coder.block_bytes;
    }
    return true;
}

kv_status kv_cache_restore(kv_cache *c, const kv_piece *layers, const kv_checkpoint *at, kv_err *err) {
    kv_checkpoint_restore(c, at);
    for (uint32_t i = 0; i < c->n_layer; i++)
        if (kv_stores(&c->layers[i]) && !take_layer(&c->layers[i], &layers[i], c->len))
            return kv_fail(err, KV_EFORMAT, "what is there of layer %u is not of this cache", i);
    return KV_OK;
}
