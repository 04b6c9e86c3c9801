#include "cache/cache_file.h"

#include "cache/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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

static uint32_t stored(const kv_layer *l, uint32_t stream, uint32_t len) {
    return kv_lossy(&l->streams[stream]) ? kv_encoded(l, len) : len;
}

uint32_t kv_blocks_held(const kv_layer *l, uint32_t stream, uint32_t len) {
    const uint32_t shift = l->heads[stream / 2].shift, n = stored(l, stream, len);
    return l->swa || n <= shift ? 0 : kv_blocks(n - shift);
}

uint32_t kv_blocks_whole(const kv_layer *l, uint32_t stream, uint32_t len) {
    return l->swa || l->evicts ? 0 : stored(l, stream, len) / KV_BLOCK;
}

/* Rows of sinks are there from the first token on. */
static size_t sink_bytes(const kv_layer *l) {
    return l->sink_elems * sizeof *l->sink;
}

/* ---- pieces ---- */

/* Of a layer: its sinks, then its streams. */
static uint32_t pieces_of(const kv_layer *l) {
    return kv_stores(l) ? 1 + 2 * l->n_kv_head : 0;
}

uint32_t kv_cache_pieces(const kv_cache *c) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_layer; i++)
        n += pieces_of(&c->layers[i]);
    return n;
}

typedef struct place {
    const kv_layer *layer;
    const kv_stream *stream; /* NULL: sinks */
    uint32_t blocks;
    size_t bytes;
} place;

static place place_of(const kv_cache *c, uint32_t piece) {
    const kv_layer *l = c->layers;
    while (piece >= pieces_of(l))
        piece -= pieces_of(l++);
    if (!piece)
        return (place){.layer = l, .bytes = sink_bytes(l)};
    const uint32_t n = kv_blocks_held(l, piece - 1, c->len);
    return (place){l, &l->streams[piece - 1], n, n * l->streams[piece - 1].coder.block_bytes};
}

size_t kv_cache_piece_most(const kv_cache *c, uint32_t piece) {
    const place p = place_of(c, piece);
    return !p.stream ? p.bytes : p.layer->evicts ? p.layer->body_bytes : p.stream->cap * p.stream->coder.block_bytes;
}

kv_status kv_cache_write(const kv_cache *c, uint32_t piece, kv_write write, void *user, kv_err *err) {
    const place p = place_of(c, piece);
    kv_status st = KV_OK;
    if (!p.stream)
        return p.bytes ? write(user, p.layer->sink, p.bytes, err) : KV_OK;
    const size_t bytes = p.stream->coder.block_bytes;
    for (uint32_t b = 0, end; b < p.blocks && !st; b = end) { /* what lies side by side */
        end = b < p.stream->n_base ? min_u32(kv_base_of(p.stream, b)->end, p.stream->n_base) : p.blocks;
        end = min_u32(end, p.blocks);
        st = write(user, kv_body_block(p.layer, p.stream, b), (end - b) * bytes, err);
    }
    return st;
}

/* Where a layer lets go of tokens, its slots are not those of the text. */
static kv_kinds kinds_for(const kv_layer *l, const kv_kinds *kinds) {
    return l->evicts ? (kv_kinds){.n = 1} : *kinds;
}

uint8_t *kv_cache_pack(const kv_cache *c, uint32_t piece, const kv_kinds *kinds, size_t *bytes, size_t *whole) {
    const place p = place_of(c, piece);
    *bytes = 0;
    *whole = p.bytes;
    if (!p.blocks || !p.stream->coder.ops->pack)
        return NULL;
    const uint8_t **blocks = malloc(p.blocks * sizeof *blocks);
    uint8_t *out = malloc(p.bytes);
    for (uint32_t b = 0; blocks && b < p.blocks; b++)
        blocks[b] = kv_body_block(p.layer, p.stream, b);
    const kv_kinds k = kinds_for(p.layer, kinds);
    if (blocks && out)
        *bytes = p.stream->coder.ops->pack(&p.stream->coder, &k, blocks, p.blocks, out, p.bytes);
    free(blocks);
    if (!*bytes) {
        free(out);
        return NULL;
    }
    return out;
}

kv_status kv_cache_unpack(const kv_cache *c, uint32_t piece, const kv_kinds *kinds, const void *packed, size_t bytes, void *to,
                          size_t whole, kv_err *err) {
    const place p = place_of(c, piece);
    const kv_coder *coder = p.stream ? &p.stream->coder : NULL;
    if (!coder || !coder->ops->unpack || whole % coder->block_bytes || whole / coder->block_bytes > UINT32_MAX)
        return kv_fail(err, KV_EFORMAT, "packed codes where there are none");
    const kv_kinds k = kinds_for(p.layer, kinds);
    return coder->ops->unpack(coder, &k, packed, bytes, to, (uint32_t)(whole / coder->block_bytes), err);
}

/* ---- taking them back ---- */

/* The blocks of one stream, from `from`. Whole ones stay there. */
static void take_stream(kv_layer *l, uint32_t s, uint32_t n, uint32_t len, const uint8_t *from) {
    kv_stream *stream = &l->streams[s];
    const size_t bytes = stream->coder.block_bytes;
    stream->n_base = min_u32(n, kv_blocks_whole(l, s, len));
    stream->base[0] = (kv_base){stream->n_base, from};
    for (uint32_t b = stream->n_base; b < n; b++)
        memcpy(kv_body_block(l, stream, b), from + b * bytes, bytes);
}

/* Heads are in place already, so it is known how much there must be. */
static bool fits(const kv_piece *p, size_t bytes) {
    return p->bytes == bytes && (p->data || !bytes);
}

static bool take_layer(kv_layer *l, const kv_piece *pieces, uint32_t len) {
    if (!fits(&pieces[0], sink_bytes(l)))
        return false;
    for (uint32_t s = 0; s < 2 * l->n_kv_head; s++) {
        const uint32_t n = kv_blocks_held(l, s, len);
        if (n > l->streams[s].cap || !fits(&pieces[1 + s], n * l->streams[s].coder.block_bytes))
            return false;
    }
    if (sink_bytes(l))
        memcpy(l->sink, pieces[0].data, sink_bytes(l));
    for (uint32_t s = 0; s < 2 * l->n_kv_head; s++)
        take_stream(l, s, kv_blocks_held(l, s, len), len, pieces[1 + s].data);
    return true;
}

kv_status kv_cache_restore(kv_cache *c, const kv_piece *pieces, const kv_checkpoint *at, kv_err *err) {
    kv_checkpoint_restore(c, at);
    for (uint32_t i = 0; i < c->n_layer; pieces += pieces_of(&c->layers[i]), i++)
        if (kv_stores(&c->layers[i]) && !take_layer(&c->layers[i], pieces, c->len))
            return kv_fail(err, KV_EFORMAT, "what is there of layer %u is not of this cache", i);
    return KV_OK;
}
