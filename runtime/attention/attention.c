/* Attention over the cache.
 *
 * A query's answer is built from partial softmaxes over fixed ranges of KV_RANGE positions, merged in order; inside a range,
 * tiles of KV_BLOCK positions are taken in order, first what the query reads encoded, then what it reads in f16. Masks depend
 * on the query, tile borders on absolute positions only, and a masked token adds exact zeros. So the bits of the answer depend
 * neither on the batch nor on the number of threads, although the work is cut up in two ways:
 *   prefill  items (KV head, some tokens): a tile is decoded once for all their query heads
 *   decode   items (KV head, range): threads share even a single head
 * Queries are scaled first and, where the codec says so, projected into its space once; sums of values are reconstructed once.
 */
#include "attention/tile.h"

#include <float.h>
#include <math.h>
#include <string.h>

static acc acc_at(const kv_cache *c, float *mem, size_t rows) {
    return (acc){mem, mem + rows, mem + 2 * rows, mem + 3 * rows, mem + 4 * rows, mem + rows * (4 + (size_t)c->dim)};
}

/* Empty. What has no weight need not be zero; o and oc say what must be. */
static void acc_reset(const tile *t, const acc *a, bool o, bool oc) {
    memset(a->sum, 0, 3 * t->rows * sizeof *a->sum);
    for (size_t r = 0; r < t->rows; r++)
        a->m[r] = -INFINITY;
    if (o)
        memset(a->o, 0, (size_t)t->rows * t->j->c->dim * sizeof *a->o);
    if (oc)
        memset(a->oc, 0, (size_t)t->rows * t->v->coder.cdim * sizeof *a->oc);
}

static float exp_one(const rt_kernels *k, float x, float max) {
    return k->exp_sum(&x, 1, max);
}

/* What the sums of row r become when m is the greatest score; returns the factor. */
static float acc_raise(const tile *t, const acc *a, uint32_t r, float m) {
    if (a->m[r] == m)
        return 1;
    float f = a->m[r] > -INFINITY ? exp_one(t->j->k, a->m[r], m) : 0, by = a->m[r] - m;
    if (f != 1.0f) {
        a->dev[r] = f > 0 ? f * fmaf(by, a->sum[r], a->dev[r]) : 0;
        a->sum[r] *= f;
        a->body[r] *= f;
    }
    a->m[r] = m;
    return f;
}

/* x = x * was + y * by; y NULL: none. */
static void add_values(const rt_kernels *k, float *x, float was, const float *y, float by, size_t n) {
    if (y)
        k->blend(x, was, y, by, n);
    else if (was != 1)
        k->blend(x, was, x, 0, n);
}

/* acc_raise with the values. */
static void acc_rescale(const tile *t, const acc *a, uint32_t r, float m) {
    const size_t dim = t->j->c->dim, cdim = t->v->coder.cdim;
    const bool empty = a->m[r] == -INFINITY, coded = a->body[r] != 0;
    const float f = acc_raise(t, a, r, m);
    if (empty)
        return;
    add_values(t->j->k, a->o + r * dim, f, NULL, 0, dim);
    if (coded)
        add_values(t->j->k, a->oc + r * cdim, f, NULL, 0, cdim);
}

/* Add `part`, whose tokens come after those of `total`. */
static void acc_merge(const tile *t, const acc *total, const acc *part) {
    const size_t dim = t->j->c->dim, cdim = t->v->coder.cdim;
    for (uint32_t r = 0; r < t->rows; r++) {
        if (part->m[r] == -INFINITY)
            continue;
        const float *o = part->body[r] != part->sum[r] ? part->o + r * dim : NULL;
        const float *oc = part->body[r] != 0 ? part->oc + r * cdim : NULL;
        const float m = fmaxf(total->m[r], part->m[r]), was = acc_raise(t, total, r, m), by = acc_raise(t, part, r, m);
        add_values(t->j->k, total->o + r * dim, was, o, by, dim);
        add_values(t->j->k, total->oc + r * cdim, was, oc, by, cdim);
        total->sum[r] += part->sum[r];
        total->body[r] += part->body[r];
        total->dev[r] += part->dev[r];
    }
}

/* What the query at pos sees of the tile at t0: encoded, or else at full precision. Slots [sinks, first) hold nothing. */
static uint64_t visible(const tile *t, uint32_t pos, uint32_t t0, bool body) {
    const kv_layer *l = t->j->layer;
    const uint32_t coded = kv_encoded(l, pos + 1);
    uint64_t all = kv_span(t0, kv_first_seen(l, pos), pos + 1);
    return all & (body ? kv_span(t0, t->h->first, coded) : ~kv_span(t0, l->sinks, coded));
}

/* The tile at t0 from f16 copies, in model space. Tokens that are neither sinks nor in the ring come out as anything finite:
 * they are masked. */
static const float *load_f16(const tile *t, const kv_stream *stream, uint32_t t0, uint32_t n, float *dst) {
    const kv_job *j = t->j;
    const kv_cache *c = j->c;
    const kv_layer *l = j->layer;
    bool key = stream->coder.side == KV_SIDE_K;
    if (l->ring_cap && t0 + n > l->sinks)
        kv_f16_tile(j, stream, t0 + t->h->shift, n, dst);
    else if (key) /* sinks alone, some columns of a tile */
        memset(dst, 0, (size_t)c->dim * KV_BLOCK * sizeof *dst);
    for (uint32_t i = t0; i < min_u32(l->sinks, t0 + n); i++) {
        float row[PROF_MAX_DIM];
        j->k->f16_load(l->sink + stream->sink_off + (size_t)i * c->dim, c->dim, row);
        if (key)
            for (uint32_t d = 0; d < c->dim; d++)
                dst[(size_t)d * KV_BLOCK + (i - t0)] = row[d];
        else
            memcpy(dst + (size_t)(i - t0) * c->dim, row, c->dim * sizeof *row);
    }
    return dst;
}

static const float *load(const tile *t, const kv_stream *stream, uint32_t t0, uint32_t n, bool coded) {
    return coded ? kv_load_body(t, stream, t0, n) : load_f16(t, stream, t0, n, t->s->tile);
}

/* Scores of n tokens and the bias of each row -> weights in rows first .. last-1, with the running maximum and sum brought up
 * to date. */
static void softmax(const tile *t, const acc *a, uint32_t first, uint32_t last, uint32_t n, const float *bias, bool project_v) {
    const rt_kernels *k = t->j->k;
    uint64_t all = n < 64 ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0;
    for (uint32_t r = first; r < last; r++) {
        float *s = t->s->s + (size_t)r * KV_BLOCK;
        uint64_t mask = t->mask[r / t->group];
        if (!mask) {
            memset(s, 0, n * sizeof *s);
            continue;
        }
        for (uint64_t hide = all & ~mask; hide; hide &= hide - 1)
            s[__builtin_ctzll(hide)] = -INFINITY;
        float top = k->max(s, n) + bias[r - first];
        if (top > a->m[r])
            acc_rescale(t, a, r, top);
        float m = a->m[r] - bias[r - first];
        if (t->j->entropy)
            a->dev[r] += kv_deviation(k, s, n, m);
        float sum = k->exp_sum(s, n, m);
        a->sum[r] += sum;
        if (project_v)
            a->body[r] += sum;
    }
}

/* One tile, one of its two kinds of tokens, all rows that see any. */
static void attend_pass(tile *t, const acc *a, uint32_t t0, bool body) {
    const kv_scratch *s = t->s;
    const kv_codec *vc = t->v->coder.ops;
    uint64_t any = 0;
    uint32_t first = t->n, last = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        any |= t->mask[i] = visible(t, t->pos + i, t0, body);
        if (t->mask[i]) {
            first = min_u32(first, i);
            last = i + 1;
        }
    }
    if (!any)
        return;
    first *= t->group;
    last *= t->group;
    uint32_t n = 64 - (uint32_t)__builtin_clzll(any), dim = t->j->c->dim;
    bool coded_k = body || !kv_lossy(t->k), coded_v = body || !kv_lossy(t->v);
    bool project_v = coded_v && vc->output;
    const size_t vdim = project_v ? t->v->coder.cdim : dim, rows = last - first;
    float *weights = s->s + (size_t)first * KV_BLOCK;
    const float *kt = load(t, t->k, t0, n, coded_k);
    const float *bias = s->no_bias + first;
    if (coded_k)
        bias = kv_score_block(t, first, last - first, t0, kt, weights, KV_BLOCK);
    else
        kv_capped_scores(t, s->q + (size_t)first * dim, (uint32_t)rows, dim, kt, weights, KV_BLOCK);
    softmax(t, a, first, last, n, bias, project_v);
    const float *v = load(t, t->v, t0, n, coded_v);
    t->j->k->attn_values(weights, KV_BLOCK, rows, n, v, vdim, (project_v ? a->oc : a->o) + first * vdim);
}

static void attend_range(tile *t, const acc *a, uint32_t range) {
    const kv_layer *l = t->j->layer;
    const bool in_codes = kv_in_codes(t);
    uint32_t lo = max_u32(range * KV_RANGE, kv_first_seen(l, t->pos) & ~(uint32_t)(KV_BLOCK - 1));
    uint32_t hi = min_u32((range + 1) * KV_RANGE, t->pos + t->n), coded = kv_encoded(l, t->pos + 1);
    acc_reset(t, a, true, !in_codes);
    if (in_codes)
        kv_attend_int(t, a, range);
    for (uint32_t t0 = lo; t0 < hi; t0 += KV_BLOCK) {
        if (!in_codes)
            attend_pass(t, a, t0, true);
        if (t0 < l->sinks || t0 + KV_BLOCK > coded)
            attend_pass(t, a, t0, false);
    }
}

/* Whether any row has values in coded space. */
static bool any_coded(const tile *t, const acc *a) {
    bool some = false;
    for (uint32_t r = 0; r < t->rows; r++)
        some |= a->body[r] != 0;
    return some;
}

static void tile_finish(const tile *t, const acc *a) {
    const kv_job *j = t->j;
    const kv_cache *c = j->c;
    const kv_coder *v = &t->v->coder;
    if (v->ops->output && any_coded(t, a))
        v->ops->output(v, j->k, a->oc, a->body, t->rows, a->o);
    for (uint32_t r = 0; r < t->rows; r++) {
        size_t row = (size_t)(t->first + r / t->group) * j->layer->n_head + (size_t)t->head * t->group + r % t->group;
        float inv = 1.0f / a->sum[r];
        for (uint32_t d = 0; d < c->dim; d++)
            j->out[row * c->dim + d] = a->o[(size_t)r * c->dim + d] * inv;
        double log_sum = log((double)a->sum[r]);
        if (j->lse)
            j->lse[row] = (float)(a->m[r] + log_sum);
        if (j->entropy)
            j->entropy[row] = (float)fmax(0, log_sum - (double)a->dev[r] / a->sum[r]);
    }
}

/* Prefill, and decode where there are heads enough: piece (tokens, KV head) goes through its ranges alone. Later tokens have
 * more to read, so they go first. */
static void attend_tile(const kv_job *j, int thread, size_t i) {
    const kv_cache *c = j->c;
    const uint32_t n_kv = j->layer->n_kv_head, n_tile = (j->n + j->tile_tok - 1) / j->tile_tok;
    const uint32_t first = (n_tile - 1 - (uint32_t)(i / n_kv)) * j->tile_tok;
    tile t;
    kv_tile_init(&t, j, thread, (uint32_t)(i % n_kv), first, min_u32(j->tile_tok, j->n - first));
    kv_tile_queries(&t);
    acc total = acc_at(c, t.s->total, t.rows), part = acc_at(c, t.s->part, t.rows);
    acc_reset(&t, &total, true, true);
    for (uint32_t r = kv_first_seen(j->layer, t.pos) / KV_RANGE; r <= (t.pos + t.n - 1) / KV_RANGE; r++) {
        attend_range(&t, &part, r);
        acc_merge(&t, &total, &part);
    }
    tile_finish(&t, &total);
}

/* Ranges that the query of a call of one token reads of a head, from *first on. */
static uint32_t ranges_of(const kv_job *j, uint32_t head, uint32_t *first) {
    const uint32_t pos = j->pos - j->layer->heads[head].shift;
    *first = kv_first_seen(j->layer, pos) / KV_RANGE;
    return pos / KV_RANGE + 1 - *first;
}

static float *part_at(const kv_job *j, uint32_t head, uint32_t range) {
    return j->parts + ((size_t)head * j->n_range + range) * kv_acc_floats(j->c, kv_group(j->layer));
}

/* Decode: piece (KV head, some ranges). */
static void attend_ranges(const kv_job *j, int thread, size_t i) {
    const uint32_t steps = (j->n_range + j->range_step - 1) / j->range_step;
    uint32_t first, head = (uint32_t)i / steps, lo = (uint32_t)i % steps * j->range_step;
    const uint32_t hi = min_u32(lo + j->range_step, ranges_of(j, head, &first));
    if (lo >= hi)
        return;
    tile t;
    kv_tile_init(&t, j, thread, head, 0, 1);
    kv_tile_queries(&t);
    for (uint32_t r = lo; r < hi; r++) {
        acc part = acc_at(j->c, part_at(j, head, r), t.rows);
        attend_range(&t, &part, first + r);
    }
}

static size_t count_attended(const kv_job *j) {
    const size_t heads = j->layer->n_kv_head;
    return j->n_range ? heads * ((j->n_range + j->range_step - 1) / j->range_step)
                      : heads * ((j->n + j->tile_tok - 1) / j->tile_tok);
}

static void attend_piece(const kv_job *j, int thread, size_t i) {
    (j->n_range ? attend_ranges : attend_tile)(j, thread, i);
}

static size_t count_merged(const kv_job *j) {
    return j->n_range ? j->layer->n_kv_head : 0;
}

/* Then each head's parts are merged. */
static void merge_piece(const kv_job *j, int thread, size_t head) {
    uint32_t first;
    tile t;
    kv_tile_init(&t, j, thread, (uint32_t)head, 0, 1);
    acc total = acc_at(j->c, t.s->total, t.rows);
    acc_reset(&t, &total, true, true);
    for (uint32_t r = 0; r < ranges_of(j, t.head, &first); r++) {
        acc part = acc_at(j->c, part_at(j, t.head, r), t.rows);
        acc_merge(&t, &total, &part);
    }
    tile_finish(&t, &total);
}

const kv_stage kv_read = {count_attended, attend_piece}, kv_merge = {count_merged, merge_piece};

void kv_cut_up(kv_work *w) {
    const uint32_t n_threads = (uint32_t)w->exec.n_threads;
    uint64_t heads = 0, tokens = 0;
    float *parts = w->parts;
    for (uint32_t i = 0; i < w->n_jobs; i++) {
        heads += w->jobs[i].n == 1 ? w->jobs[i].layer->n_kv_head : 0;
        tokens += (uint64_t)w->jobs[i].n * w->jobs[i].layer->n_kv_head;
    }
    for (uint32_t i = 0; i < w->n_jobs; i++) {
        kv_job *j = &w->jobs[i];
        const uint32_t n_head = j->layer->n_kv_head, group = kv_group(j->layer), fit = group < KV_ROWS ? KV_ROWS / group : 1;
        const uint64_t share = tokens / (4 * n_threads);
        j->tile_tok = share < fit ? max_u32(1, (uint32_t)share) : fit;
        j->n_range = 0;
        if (j->n > 1 || (w->n_jobs > 1 && heads >= KV_SPLIT_HEADS * n_threads))
            continue;
        for (uint32_t first, head = 0; head < n_head; head++)
            j->n_range = max_u32(j->n_range, ranges_of(j, head, &first));
        j->range_step = j->n_range * n_head >= 8 * n_threads ? 2 : 1;
        j->parts = parts;
        parts += (size_t)n_head * j->n_range * kv_acc_floats(j->c, group);
    }
}
