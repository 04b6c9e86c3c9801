/* Attention to encoded tokens straight from their int8 levels, for heads whose K and V codecs have them (kv_codec.levels).
 *
 * A range of KV_RANGE positions is one step, without a running maximum: its blocks are decoded once for all query rows at hand;
 * then 16 rows at a time take their scores against the whole range, weights relative to the greatest of these, and sums of
 * values. Products are sums of integers, so exact (kernels.h, attn_int_*). What a row reads of the range is an interval; scales
 * depend on that interval and on the row alone, hence neither on the batch nor on the other rows.
 * Scores are in bits here (natural ones times log2 e).
 */
#include "attention/tile.h"

#include "kernels/cap.h"

#include <math.h>
#include <string.h>

enum { ROWS = 16 };
_Static_assert((int)KV_RANGE == (int)RT_INT_SPAN && (int)KV_BLOCK == (int)RT_ATTN_TILE &&
                   (int)ROWS * (int)KV_RANGE <= (int)KV_ROWS * (int)KV_BLOCK,
               "rows of scores fit into kv_scratch.s");

static const float log2_e = 0x1.715476p0f, ln_2 = 0x1.62e43p-1f;

/* Encoded slots from .. to-1 of the range at base that the query at pos reads; none where from >= to. */
typedef struct reads {
    uint32_t from, to; /* relative to base */
} reads;

static reads reads_of(const tile *t, uint32_t pos, uint32_t base) {
    const kv_layer *l = t->j->layer;
    uint32_t from = max_u32(max_u32(t->h->first, kv_first_seen(l, pos)), base);
    return (reads){from - base, min_u32(max_u32(kv_encoded(l, pos + 1), base) - base, KV_RANGE)};
}

/* A stream's blocks b0 .. b1-1 of the range at base: their tiles and gains. */
static void decode(const tile *t, const kv_stream *stream, uint32_t base, uint32_t b0, uint32_t b1, uint8_t *tiles,
                   float *gain) {
    const rt_kernels *k = t->j->k;
    const kv_coder *c = &stream->coder;
    void (*const pack)(const int8_t *, size_t, void *) = c->side == KV_SIDE_K ? k->int_keys : k->int_vals;
    const size_t size = rt_int_tile(c->cdim), ld = pack ? (size_t)c->cdim * KV_BLOCK : size;
    for (uint32_t b = b0, n; b < b1; b += n) {
        const uint8_t *blocks[KV_LEVEL_BLOCKS];
        for (n = 0; n < KV_LEVEL_BLOCKS && b + n < b1; n++)
            blocks[n] = kv_body_block(t->j->layer, stream, base / KV_BLOCK + b + n);
        int8_t *levels = pack ? t->s->levels : (int8_t *)tiles + b * size;
        c->ops->levels(c, k, blocks, n, levels, ld, gain + b * KV_BLOCK);
        for (uint32_t i = 0; pack && i < n; i++)
            pack(levels + i * ld, c->cdim, tiles + (b + i) * size);
    }
}

/* RoPE frame of a slot, and where its run ends. */
static uint32_t frame_of(const tile *t, uint32_t slot, uint32_t *end) {
    *end = UINT32_MAX;
    return t->k->framed ? kv_frame_of(t->j->c, t->h, slot, end) : 0;
}

/* The codes of all queries for a frame; returns where they are in the scratch memory. */
static uint32_t int_queries(tile *t, uint32_t frame) {
    const kv_scratch *s = t->s;
    const size_t cdim = t->k->coder.cdim;
    const uint32_t slot = frame % t->j->c->code_slots;
    if (t->coded[slot] == frame)
        return slot;
    kv_project_queries(t, frame);
    for (uint32_t r = 0; r < t->rows; r++) {
        size_t at = (size_t)slot * t->j->c->rows + r;
        s->cscale[at] = log2_e * t->j->k->int_query(s->qc + r * cdim, cdim, s->code + at * rt_int_row(cdim));
        s->cbias[at] = log2_e * s->bias[r];
    }
    t->coded[slot] = frame;
    return slot;
}

void kv_int_keys(const tile *t, uint32_t base, uint32_t b0, uint32_t b1) {
    decode(t, t->k, base, b0, b1, t->s->ktile, t->s->kgain);
}

/* Scores of n rows from r0 on, rotated for a frame, against blocks b0 .. b1-1. */
static void score(tile *t, uint32_t frame, uint32_t r0, uint32_t n, uint32_t b0, uint32_t b1) {
    const kv_scratch *s = t->s;
    const size_t cdim = t->k->coder.cdim, at = (size_t)int_queries(t, frame) * t->j->c->rows + r0;
    t->j->k->int_scores(s->code + at * rt_int_row(cdim), n, cdim, s->ktile + b0 * rt_int_tile(cdim), b1 - b0, s->cscale + at,
                        s->cbias + at, s->kgain + b0 * KV_BLOCK, s->s + b0 * KV_BLOCK);
}

/* The same against a block in which frames meet, from slot on: each frame's queries are scored against all of it, and its
 * columns are kept. */
static void score_mixed(tile *t, uint32_t base, uint32_t slot, uint32_t r0, uint32_t n, uint32_t b) {
    const uint32_t start = base + b * KV_BLOCK, stop = start + KV_BLOCK;
    float *row = t->s->s + b * KV_BLOCK, *mix = t->s->mix;
    for (uint32_t end; slot < stop; slot = end) {
        score(t, frame_of(t, slot, &end), r0, n, b, b + 1);
        end = min_u32(end, stop);
        for (uint32_t r = 0; r < n; r++)
            memcpy(mix + r * KV_BLOCK + (slot - start), row + (size_t)r * KV_RANGE + (slot - start),
                   (end - slot) * sizeof *mix);
    }
    for (uint32_t r = 0; r < n; r++)
        memcpy(row + (size_t)r * KV_RANGE, mix + r * KV_BLOCK, KV_BLOCK * sizeof *mix);
}

/* Run by run of blocks in the same frame. */
static void score_runs(tile *t, uint32_t base, uint32_t r0, uint32_t n, uint32_t b0, uint32_t b1) {
    for (uint32_t b = b0, e; b < b1; b = e) {
        uint32_t slot = max_u32(base + b * KV_BLOCK, t->h->first), end, frame = frame_of(t, slot, &end);
        e = min_u32((end - base) / KV_BLOCK, b1);
        if (e > b)
            score(t, frame, r0, n, b, e);
        else
            score_mixed(t, base, slot, r0, n, e++);
    }
}

void kv_int_scores(tile *t, uint32_t base, uint32_t r0, uint32_t n, uint32_t b0, uint32_t b1) {
    const float *mass = kv_tile_masses(t);
    score_runs(t, base, r0, n, b0, b1);
    for (uint32_t r = 0; t->j->c->cap > 0 && r < n; r++)
        rt_cap(t->j->k, t->s->s + r * KV_RANGE + b0 * KV_BLOCK, (size_t)(b1 - b0) * KV_BLOCK, log2_e * t->j->c->cap, NULL);
    for (uint32_t r = 0; mass && r < n; r++)
        for (uint32_t i = b0 * KV_BLOCK; i < b1 * KV_BLOCK; i++)
            t->s->s[r * KV_RANGE + i] += log2_e * mass[base + i];
}

/* Gains of values in an interval, scaled so that no weight exceeds RT_INT_WEIGHT; returns the unit of weights. */
static float unit_of(const tile *t, reads in) {
    const kv_scratch *s = t->s;
    float top = t->j->k->max(s->vgain + in.from, in.to - in.from), inv = top > 0 ? RT_INT_WEIGHT / top : 0;
    for (uint32_t i = in.from & ~(uint32_t)(KV_BLOCK - 1); i < ((in.to + KV_BLOCK - 1) & ~(uint32_t)(KV_BLOCK - 1)); i++)
        s->wgain[i] = s->vgain[i] * inv; /* outside of the interval weights are 0 */
    return top / RT_INT_WEIGHT;
}

static float entropy_term(const tile *t, const float *s, uint32_t b0, uint32_t b1, float m) {
    float each[KV_BLOCK], sum = 0;
    for (uint32_t b = b0; b < b1; b++) {
        for (uint32_t i = 0; i < KV_BLOCK; i++)
            each[i] = s[b * KV_BLOCK + i] * ln_2;
        sum += kv_deviation(t->j->k, each, KV_BLOCK, m);
    }
    return sum;
}

/* Rows r0 .. r0+n-1, n <= ROWS, against blocks b0 .. b1-1, which are all that they read. */
static void attend_rows(tile *t, const acc *a, uint32_t base, uint32_t r0, uint32_t n, uint32_t b0, uint32_t b1) {
    const kv_scratch *s = t->s;
    const rt_kernels *k = t->j->k;
    const size_t p_row = 2 * RT_INT_SPAN, cdim = t->v->coder.cdim;
    float scale[ROWS], unit = 0;
    reads last = {0};
    kv_int_scores(t, base, r0, n, b0, b1);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t r = r0 + i;
        reads in = reads_of(t, t->pos + r / t->group, base);
        scale[i] = 0;
        if (in.from / KV_BLOCK > b0 || in.to <= (b1 - 1) * KV_BLOCK) /* not all tiles will be written */
            memset(s->p + i * p_row, 0, p_row);
        if (in.from >= in.to)
            continue;
        if (in.from != last.from || in.to != last.to)
            unit = unit_of(t, in);
        last = in;
        scale[i] = unit;
        float top, *row = s->s + i * KV_RANGE;
        a->sum[r] = a->body[r] = k->int_weights(row, in.from, in.to, s->wgain, s->p + i * p_row, &top);
        a->m[r] = top * ln_2;
        if (t->j->entropy)
            a->dev[r] = entropy_term(t, row, in.from / KV_BLOCK, (in.to + KV_BLOCK - 1) / KV_BLOCK, a->m[r]);
    }
    k->int_values(s->p, n, cdim, s->vtile, b0, b1, scale, a->oc + r0 * cdim);
}

void kv_attend_int(tile *t, const acc *a, uint32_t range) {
    const uint32_t base = range * KV_RANGE, from = reads_of(t, t->pos, base).from, to = reads_of(t, t->pos + t->n - 1, base).to;
    if (from >= to)
        return;
    const uint32_t b0 = from / KV_BLOCK, b1 = (to + KV_BLOCK - 1) / KV_BLOCK;
    kv_int_keys(t, base, b0, b1);
    decode(t, t->v, base, b0, b1, t->s->vtile, t->s->vgain);
    for (uint32_t r0 = 0; r0 < t->rows; r0 += ROWS) {
        uint32_t n = min_u32(ROWS, t->rows - r0);
        uint32_t lo = reads_of(t, t->pos + r0 / t->group, base).from,
                 hi = reads_of(t, t->pos + (r0 + n - 1) / t->group, base).to;
        if (lo < hi)
            attend_rows(t, a, base, r0, n, lo / KV_BLOCK, (hi + KV_BLOCK - 1) / KV_BLOCK);
    }
}
