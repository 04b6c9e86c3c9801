/* Storing tokens. Work is shared out by (stream, block): blocks are the smallest pieces that threads can write independently.
 *
 * Exact streams are written to the body at once. Lossy streams write f16 copies to the ring (or to the passing buffer, see
 * cache/state.h) and encode from these copies the tokens that have left the window before the first query of this call; with
 * no window there are no copies and tokens are encoded straight from f32. Either way a token is encoded from the same numbers
 * whatever the batch.
 */
#include "cache/state.h"

#include <string.h>

void kv_put_plan(kv_job *j) {
    kv_layer *l = j->layer;
    uint32_t end = j->pos + j->n, last = (end - 1) / KV_BLOCK;
    j->passing = UINT32_MAX;
    if (l->ring_cap && end - kv_encoded(l, j->pos) > l->ring_cap) {
        j->passing = j->pos;
        kv_take_passing(j);
    }
    if (end > l->ring_cap)
        l->ring_lo = max_u32(l->ring_lo, end - l->ring_cap);
    if (last >= l->body_cap)
        l->body_lo = max_u32(l->body_lo, last + 1 - l->body_cap);
    l->end = end;
}

/* Encode tokens from .. end-1 (rows of x, overwritten) into block b of the body; the first token that ever enters a block wipes
 * it. */
static void encode(const kv_job *j, uint32_t stream_index, uint32_t b, uint32_t from, uint32_t end, float *x, void *work) {
    const kv_stream *stream = &j->layer->streams[stream_index];
    const kv_head *head = &j->layer->heads[stream_index / 2];
    const kv_coder *coder = &stream->coder;
    uint8_t *block = kv_body_block(j->layer, stream, b - head->shift / KV_BLOCK);
    uint32_t start = b * KV_BLOCK;
    if (from <= max_u32(start, kv_lossy(stream) ? j->layer->sinks + head->shift : 0))
        memset(block, 0, coder->block_bytes);
    if (stream_index % 2 == 0 && j->layer->evicts && kv_scored(j->c))
        kv_new_scores(j->c, j->layer, head, from - head->shift, end - from, x);
    if (stream->framed)
        kv_rotate_back(j->c, j->layer, j->k, start / j->c->frame, x, end - from);
    coder->ops->encode(coder, j->k, block, from - start, end - from, x, work);
}

/* This call's tokens that fall into block b of one stream. */
static void store(const kv_job *j, uint32_t stream_index, uint32_t b, const kv_scratch *s) {
    const kv_cache *c = j->c;
    const kv_layer *l = j->layer;
    const kv_stream *stream = &l->streams[stream_index];
    uint32_t start = b * KV_BLOCK, from = max_u32(start, j->pos), end = min_u32(start + KV_BLOCK, j->pos + j->n);
    size_t stride = (size_t)l->n_kv_head * c->dim;
    const float *src = (stream_index % 2 ? j->val : j->key) + (from - j->pos) * stride + (size_t)(stream_index / 2) * c->dim;
    if (l->borrows && !l->ring_cap)
        return;
    for (uint32_t t = 0; t < end - from; t++)
        memcpy(s->x + (size_t)t * c->dim, src + t * stride, c->dim * sizeof(float));
    if (l->borrows) { /* all else is stored */
        if (kv_lossy(stream))
            kv_f16_put(j, stream, from, end - from, s->x);
        return;
    }
    if (!kv_lossy(stream)) {
        encode(j, stream_index, b, from, end, s->x, s->work);
        return;
    }
    for (uint32_t t = from; t < min_u32(end, l->sinks); t++)
        j->k->f16_store(s->x + (size_t)(t - from) * c->dim, c->dim, l->sink + stream->sink_off + (size_t)t * c->dim);
    if (l->ring_cap) {
        kv_f16_put(j, stream, from, end - from, s->x);
    } else if (end > l->sinks) {
        uint32_t skip = l->sinks > from ? l->sinks - from : 0;
        encode(j, stream_index, b, from + skip, end, s->x + (size_t)skip * c->dim, s->work);
    }
}

static size_t count_stored(const kv_job *j) {
    return 2 * (size_t)j->layer->n_kv_head * ((j->pos + j->n - 1) / KV_BLOCK + 1 - j->pos / KV_BLOCK);
}

/* Piece (block, stream) of what comes in. */
static void store_piece(const kv_job *j, int thread, size_t i) {
    const uint32_t n_stream = 2 * j->layer->n_kv_head;
    store(j, (uint32_t)(i % n_stream), j->pos / KV_BLOCK + (uint32_t)(i / n_stream), &j->w->scratch[thread]);
}

const kv_stage kv_store = {count_stored, store_piece};

/* What leaves the window with the tokens of this call: [*from, *end) of the layer. */
static bool leaving(const kv_job *j, uint32_t *from, uint32_t *end) {
    const kv_layer *l = j->layer;
    *from = max_u32(kv_encoded(l, j->pos), l->sinks);
    *end = kv_encoded(l, j->pos + j->n);
    return l->ring_cap && *from < *end;
}

static size_t count_leaving(const kv_job *j) {
    uint32_t from, end;
    return leaving(j, &from, &end) && !j->layer->borrows
               ? 2 * (size_t)j->layer->n_kv_head * ((end - 1) / KV_BLOCK + 1 - from / KV_BLOCK)
               : 0;
}

/* Piece (block, stream) of what leaves the window. */
static void encode_piece(const kv_job *j, int thread, size_t i) {
    const kv_layer *l = j->layer;
    const kv_scratch *s = &j->w->scratch[thread];
    const uint32_t n_stream = 2 * j->layer->n_kv_head, index = (uint32_t)(i % n_stream);
    uint32_t from, end;
    leaving(j, &from, &end);
    const uint32_t b = from / KV_BLOCK + (uint32_t)(i / n_stream), lo = max_u32(from, b * KV_BLOCK);
    const uint32_t hi = min_u32(end, (b + 1) * KV_BLOCK);
    if (!kv_lossy(&l->streams[index]))
        return;
    kv_f16_rows(j, &l->streams[index], lo, hi - lo, s->x);
    encode(j, index, b, lo, hi, s->x, s->work);
}

const kv_stage kv_encode = {count_leaving, encode_piece};
