/* Rotating keys to where they stand after a shift. */
#include "cache/shift.h"

#include <math.h>
#include <string.h>

/* ---- working memory ---- */

/* Hands out pieces of one allocation; with at == NULL only counts. */
static void *piece(uint8_t *at, size_t *used, size_t count, size_t size) {
    uint8_t *p = at ? at + *used : NULL;
    *used += (count * size + 63) / 64 * 64;
    return p;
}

static size_t lay_out(const kv_cache *c, uint8_t *at, kv_space *s) {
    size_t used = 0, blocks = 0, scratch = 0, ring = 0, cdim = c->cdim, dim = c->dim;
    for (uint32_t i = 0; i < c->n_layer; i++) {
        const kv_layer *l = &c->layers[i];
        ring = max_u32((uint32_t)ring, l->ring_cap);
        for (uint32_t k = 0; kv_stores(l) && k < 2 * l->n_kv_head; k++) {
            const kv_coder *coder = &l->streams[k].coder;
            const size_t bytes = l->streams[k].cap * coder->block_bytes;
            blocks = bytes > blocks ? bytes : blocks;
            scratch = coder->scratch > scratch ? coder->scratch : scratch;
        }
    }
    s->blocks = piece(at, &used, blocks, 1);
    s->tile = piece(at, &used, KV_BLOCK * cdim, sizeof(float));
    s->x = piece(at, &used, KV_BLOCK * dim, sizeof(float));
    s->unit = piece(at, &used, dim * dim, sizeof(float));
    s->image = piece(at, &used, dim * cdim, sizeof(float));
    s->offset = piece(at, &used, dim, sizeof(float));
    s->cosine = piece(at, &used, c->rope.n_rot / 2, sizeof(float));
    s->sine = piece(at, &used, c->rope.n_rot / 2, sizeof(float));
    s->copies = piece(at, &used, ring * dim, sizeof(uint16_t));
    s->scratch = piece(at, &used, scratch, 1);
    return used;
}

size_t kv_space_bytes(const kv_cache *c) {
    kv_space s;
    return lay_out(c, NULL, &s);
}

kv_space kv_space_at(const kv_cache *c, const rt_kernels *k, uint8_t *at) {
    kv_space s = {.c = c, .k = k};
    lay_out(c, at, &s);
    return s;
}

/* ---- rotations ---- */

/* Those of n positions back; false: the layer has none. */
static bool set_angles(const kv_space *s, const kv_layer *l, uint32_t n) {
    const uint32_t half = s->c->rope.n_rot / 2;
    const float *inv_freq = s->c->rope.inv_freq ? s->c->rope.inv_freq + (size_t)l->rope * half : NULL;
    bool some = false;
    for (uint32_t i = 0; inv_freq && i < half; i++) {
        const double angle = (double)n * inv_freq[i];
        s->cosine[i] = (float)cos(angle);
        s->sine[i] = (float)-sin(angle);
        some |= inv_freq[i] != 0;
    }
    return some;
}

/* n vectors; what is stored must stay in the range of f16. */
static void turn(const kv_space *s, float *x, uint32_t n) {
    const kv_cache *c = s->c;
    s->k->rope(x, n, c->dim, c->rope.n_rot, s->cosine, s->sine, c->rope.neox);
    for (size_t i = 0; i < (size_t)n * c->dim; i++)
        x[i] = fminf(fmaxf(x[i], -c->limit), c->limit);
}

/* What unit vectors are in the coded space of keys: with q the query, q.x = image(q).tile + offset. */
static void set_image(const kv_space *s, const kv_coder *coder) {
    const uint32_t dim = s->c->dim;
    memset(s->unit, 0, (size_t)dim * dim * sizeof *s->unit);
    for (uint32_t i = 0; i < dim; i++)
        s->unit[(size_t)i * dim + i] = 1;
    coder->ops->query(coder, s->k, s->unit, dim, s->image, s->offset);
}

/* The first n slots of a block in model space -> s->x. */
static void read_keys(const kv_space *s, const kv_coder *coder, const uint8_t *block, uint32_t n) {
    const uint32_t dim = s->c->dim, cdim = coder->cdim;
    const float *tile = coder->ops->decode(coder, s->k, block, n, s->tile);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < dim; i++) {
            float sum = coder->ops->query ? s->offset[i] : tile[i * KV_BLOCK + t];
            for (uint32_t d = 0; coder->ops->query && d < cdim; d++)
                sum += s->image[(size_t)i * cdim + d] * tile[d * KV_BLOCK + t];
            s->x[(size_t)t * dim + i] = sum;
        }
}

void kv_turn_back(const kv_space *s, const kv_layer *l, const kv_stream *stream, uint32_t n, uint32_t from, uint32_t end) {
    const kv_coder *coder = &stream->coder;
    if (coder->side != KV_SIDE_K || stream->framed || from >= end || !set_angles(s, l, n))
        return;
    if (coder->ops->query)
        set_image(s, coder);
    for (uint32_t b = from / KV_BLOCK; b * KV_BLOCK < end; b++) {
        uint8_t *block = s->blocks + b * coder->block_bytes;
        const uint32_t lo = max_u32(from, b * KV_BLOCK) % KV_BLOCK, hi = min_u32(end - b * KV_BLOCK, KV_BLOCK);
        float *x = s->x + (size_t)lo * s->c->dim;
        read_keys(s, coder, block, hi);
        turn(s, x, hi - lo);
        kv_coder_clear(coder, block, lo);
        coder->ops->encode(coder, s->k, block, lo, hi - lo, x, s->scratch);
    }
}

void kv_shift_ring(const kv_space *s, kv_layer *l, const kv_stream *stream, uint32_t t, uint32_t n) {
    const uint32_t dim = s->c->dim, held = s->c->len - t;
    uint16_t row[PROF_MAX_DIM];
    kv_f16_save(s->c, l, stream, t, held, s->copies);
    if (stream->coder.side == KV_SIDE_K && set_angles(s, l, n))
        for (uint32_t j = 0; j < held; j++) {
            for (uint32_t i = 0; i < dim; i++)
                row[i] = s->copies[(size_t)i * held + j];
            s->k->f16_load(row, dim, s->x);
            turn(s, s->x, 1);
            s->k->f16_store(s->x, dim, row);
            for (uint32_t i = 0; i < dim; i++)
                s->copies[(size_t)i * held + j] = row[i];
        }
    kv_f16_restore(s->c, l, stream, t - n, held, s->copies);
}
