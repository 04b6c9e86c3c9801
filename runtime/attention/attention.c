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

const float *kv_load_body(const tile *t, const kv_stream *stream, uint32_t t0, uint32_t n) {
    return stream->coder.ops->decode(&stream->coder, t->j->k, kv_body_block(t->j->layer, stream, t0 / KV_BLOCK), n, t->s->tile);
}

static const float *load(const tile *t, const kv_stream *stream, uint32_t t0, uint32_t n, bool coded) {
    return coded ? kv_load_body(t, stream, t0, n) : load_f16(t, stream, t0, n, t->s->tile);
}

float kv_deviation(const rt_kernels *k, const float *s, uint32_t n, float m) {
    float e[KV_BLOCK];
    double sum = 0;
    memcpy(e, s, n * sizeof *e);
    k->exp_sum(e, n, m);
    for (uint32_t i = 0; i < n; i++)
        if (e[i] > 0)
            sum += (double)e[i] * ((double)s[i] - m);
    return (float)sum;
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

void kv_project_queries(const tile *t, uint32_t frame) {
    const kv_scratch *s = t->s;
    const kv_coder *k = &t->k->coder;
    const float *q = s->q;
    if (frame) {
        memcpy(s->qf, q, (size_t)t->rows * k->dim * sizeof *q);
        kv_rotate_back(t->j->c, t->j->layer, t->j->k, frame, s->qf, t->rows);
        q = s->qf;
    }
    k->ops->query(k, t->j->k, q, t->rows, s->qc, s->bias);
}

/* Rows first .. first+n-1 of the queries, rotated for a frame. */
static const float *coded_queries(tile *t, uint32_t first, uint32_t frame) {
    if (t->frame != frame)
        kv_project_queries(t, t->frame = frame);
    return t->s->qc + (size_t)first * t->k->coder.cdim;
}

/* Where keys of several frames meet in a block, each frame's queries are scored against all of it, and its columns are kept. */
static const float *score_block(tile *t, uint32_t first, uint32_t n, uint32_t t0, const float *kt, float *s, size_t lds) {
    const rt_kernels *k = t->j->k;
    const size_t dim = t->k->coder.cdim;
    uint32_t slot = max_u32(t0, t->h->first), stop = t0 + KV_BLOCK, end = stop;
    const uint32_t frame = t->k->framed ? kv_frame_of(t->j->c, t->h, slot, &end) : 0;
    if (!t->k->coder.ops->query) {
        k->attn_scores(t->s->q + first * dim, n, dim, kt, s, lds);
        return t->s->no_bias + first;
    }
    if (end >= stop) {
        k->attn_scores(coded_queries(t, first, frame), n, dim, kt, s, lds);
        return t->s->bias + first;
    }
    for (float *mix = t->s->mix; slot < stop; slot = end) {
        const float *q = coded_queries(t, first, kv_frame_of(t->j->c, t->h, slot, &end));
        end = min_u32(end, stop);
        k->attn_scores(q, n, dim, kt, mix, KV_BLOCK);
        for (uint32_t r = 0; r < n; r++)
            for (uint32_t i = slot - t0; i < end - t0; i++)
                s[r * lds + i] = mix[(size_t)r * KV_BLOCK + i] + t->s->bias[first + r];
    }
    return t->s->no_bias + first;
}

const float *kv_score_block(tile *t, uint32_t first, uint32_t n, uint32_t t0, const float *kt, float *s, size_t lds) {
    const float *bias = score_block(t, first, n, t0, kt, s, lds), *mass = kv_tile_masses(t);
    for (uint32_t r = 0; mass && r < n; r++)
        for (uint32_t i = 0; i < KV_BLOCK; i++)
            s[r * lds + i] += mass[t0 + i];
    return bias;
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
        t->j->k->attn_scores(s->q + (size_t)first * dim, rows, dim, kt, weights, KV_BLOCK);
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

void kv_tile_init(tile *t, const kv_job *j, int thread, uint32_t head, uint32_t first, uint32_t n) {
    const kv_cache *c = j->c;
    t->j = j;
    t->s = &c->scratch[thread];
    t->head = head;
    t->k = &j->layer->streams[2 * head];
    t->v = &j->layer->streams[2 * head + 1];
    t->h = &j->layer->heads[head];
    t->first = first;
    t->pos = j->pos + first - t->h->shift;
    t->n = n;
    t->group = c->n_head / c->n_kv_head;
    t->rows = n * t->group;
    t->frame = UINT32_MAX;
    memset(t->coded, 0xff, sizeof t->coded);
}

void kv_tile_queries(const tile *t) {
    const kv_cache *c = t->j->c;
    size_t len = (size_t)t->group * c->dim;
    for (uint32_t i = 0; i < t->n; i++) {
        const float *src = t->j->q + ((size_t)(t->first + i) * c->n_head + (size_t)t->head * t->group) * c->dim;
        for (size_t d = 0; d < len; d++)
            t->s->q[i * len + d] = src[d] * t->j->scale;
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
        size_t row = (size_t)(t->first + r / t->group) * c->n_head + (size_t)t->head * t->group + r % t->group;
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

/* A call's attention, cut up. */
typedef struct share {
    const kv_job *j;
    uint32_t n_tok;         /* tokens of an item; decode: 1 */
    uint32_t n_range, step; /* decode: most ranges of a head, and how many of them an item takes */
} share;

/* Prefill: each item (tokens, KV head) goes through its ranges alone. Later tokens have more to read, so they go first. */
static void attend_tiles(void *arg, int thread, size_t from, size_t end) {
    const share *s = arg;
    const kv_job *j = s->j;
    const kv_cache *c = j->c;
    const uint32_t n_tile = (j->n + s->n_tok - 1) / s->n_tok;
    for (size_t i = from; i < end; i++) {
        const uint32_t first = (n_tile - 1 - (uint32_t)(i / c->n_kv_head)) * s->n_tok;
        tile t;
        kv_tile_init(&t, j, thread, (uint32_t)(i % c->n_kv_head), first, min_u32(s->n_tok, j->n - first));
        kv_tile_queries(&t);
        acc total = acc_at(c, t.s->total, t.rows), part = acc_at(c, t.s->part, t.rows);
        acc_reset(&t, &total, true, true);
        for (uint32_t r = kv_first_seen(j->layer, t.pos) / KV_RANGE; r <= (t.pos + t.n - 1) / KV_RANGE; r++) {
            attend_range(&t, &part, r);
            acc_merge(&t, &total, &part);
        }
        tile_finish(&t, &total);
    }
}

/* Ranges that the query of a call of one token reads of a head, from *first on. */
static uint32_t ranges_of(const kv_job *j, uint32_t head, uint32_t *first) {
    const uint32_t pos = j->pos - j->layer->heads[head].shift;
    *first = kv_first_seen(j->layer, pos) / KV_RANGE;
    return pos / KV_RANGE + 1 - *first;
}

static float *part_at(const share *s, uint32_t head, uint32_t range) {
    const kv_cache *c = s->j->c;
    return c->parts + ((size_t)head * s->n_range + range) * kv_acc_floats(c, c->n_head / c->n_kv_head);
}

/* Decode: one token, items (KV head, some ranges). */
static void attend_ranges(void *arg, int thread, size_t from, size_t end) {
    const share *s = arg;
    const uint32_t steps = (s->n_range + s->step - 1) / s->step;
    for (size_t i = from; i < end; i++) {
        uint32_t first, head = (uint32_t)i / steps, lo = (uint32_t)i % steps * s->step;
        const uint32_t hi = min_u32(lo + s->step, ranges_of(s->j, head, &first));
        if (lo >= hi)
            continue;
        tile t;
        kv_tile_init(&t, s->j, thread, head, 0, 1);
        kv_tile_queries(&t);
        for (uint32_t r = lo; r < hi; r++) {
            acc part = acc_at(s->j->c, part_at(s, head, r), t.rows);
            attend_range(&t, &part, first + r);
        }
    }
}

/* Then each head's parts are merged. */
static void merge_ranges(void *arg, int thread, size_t from, size_t end) {
    const share *s = arg;
    for (uint32_t head = (uint32_t)from; head < end; head++) {
        uint32_t first;
        tile t;
        kv_tile_init(&t, s->j, thread, head, 0, 1);
        acc total = acc_at(s->j->c, t.s->total, t.rows);
        acc_reset(&t, &total, true, true);
        for (uint32_t r = 0; r < ranges_of(s->j, head, &first); r++) {
            acc part = acc_at(s->j->c, part_at(s, head, r), t.rows);
            acc_merge(&t, &total, &part);
        }
        tile_finish(&t, &total);
    }
}

/* One token: ranges are shared out, two at a time where there are enough of them, since they share the codes of their queries.
 */
static void decode(const kv_job *j, const rt_exec *e) {
    const uint32_t n_head = j->c->n_kv_head;
    share s = {.j = j, .n_tok = 1};
    for (uint32_t first, head = 0; head < n_head; head++)
        s.n_range = max_u32(s.n_range, ranges_of(j, head, &first));
    s.step = s.n_range * n_head >= 8 * (uint32_t)e->n_threads ? 2 : 1;
    rt_for(e, (size_t)((s.n_range + s.step - 1) / s.step) * n_head, 1, attend_ranges, &s);
    rt_for(e, n_head, s.n_range > 1 ? 1 : n_head, merge_ranges, &s);
}

static void prefill(const kv_job *j, const rt_exec *e) {
    const kv_cache *c = j->c;
    const uint32_t group = c->n_head / c->n_kv_head, fit = group < KV_ROWS ? KV_ROWS / group : 1;
    share s = {.j = j, .n_tok = max_u32(1, min_u32(fit, j->n * c->n_kv_head / (4 * (uint32_t)e->n_threads)))};
    rt_for(e, (size_t)((j->n + s.n_tok - 1) / s.n_tok) * c->n_kv_head, 1, attend_tiles, &s);
}

/* NaN fails the comparison, Inf is above any limit. */
static bool storable(const float *x, size_t n, float limit) {
    bool good = true;
    for (size_t i = 0; i < n; i++)
        good &= fabsf(x[i]) <= limit;
    return good;
}

static kv_status check_call(const kv_cache *c, uint32_t layer, const float *k, const float *v, uint32_t n, kv_err *err) {
    if (layer >= c->n_layer || !n || n > c->n_batch)
        return kv_fail(err, KV_EINVAL, "cache: layer %u or batch of %u tokens outside 0..%u and 1..%u", layer, n,
                       c->n_layer - 1, c->n_batch);
    if (n > c->n_ctx - c->len)
        return kv_fail(err, KV_ERANGE, "cache: the context of %u tokens is full: %u held, %u more do not fit", c->n_ctx, c->len,
                       n);
    size_t size = (size_t)n * c->n_kv_head * c->dim;
    if (!storable(k, size, c->limit) || !storable(v, size, c->limit))
        return kv_fail(err, KV_ERANGE, "cache: layer %u, tokens %u to %u: a key or value is NaN, infinite or above %g", layer,
                       c->len, c->len + n - 1, (double)c->limit);
    return KV_OK;
}

/* Store some tokens and attend. */
static void attend(const rt_exec *exec, kv_job *j) {
    rt_exec e = *exec;
    if ((uint64_t)j->n * (j->pos + j->n) < 2 * KV_BLOCK)
        e.team = NULL; /* less work than asking for help */
    kv_put_plan(j);
    kv_put(j, &e);
    if (j->n == 1)
        decode(j, &e);
    else
        prefill(j, &e);
    kv_settle(j, &e);
    if (j->layer->evicts && kv_observes(j->c))
        kv_observe(j, &e);
}

kv_status kv_attend(kv_cache *c, const rt_exec *e, uint32_t layer, const float *q, const float *k, const float *v, uint32_t n,
                    float scale, float *out, float *lse, float *entropy, kv_err *err) {
    kv_status st = check_call(c, layer, k, v, n, err);
    if (st)
        return st;
    st = kv_layer_rewind(c, &c->layers[layer], c->len, false, err); /* a batch that failed half-way left tokens behind */
    if (st)
        return st;
    kv_layer *l = &c->layers[layer];
    const size_t kv = (size_t)c->n_kv_head * c->dim, qs = (size_t)c->n_head * c->dim;
    float *sums = lse ? lse : c->lse;
    for (uint32_t at = 0, step; at < n; at += step) {
        const uint32_t pos = c->len + at;
        step = min_u32(n - at, l->evicts ? kv_next_eviction(c, l) - pos : n);
        kv_job j = {.c = c,
                    .layer = l,
                    .k = e->k,
                    .pos = pos,
                    .n = step,
                    .q = q + at * qs,
                    .key = k + at * kv,
                    .val = v + at * kv,
                    .scale = scale,
                    .out = out + at * qs,
                    .lse = sums ? sums + (size_t)at * c->n_head : NULL,
                    .entropy = entropy ? entropy + (size_t)at * c->n_head : NULL};
        attend(e, &j);
        for (uint32_t h = 0; h < c->n_kv_head; h++)
            c->reads += l->swa ? 0 : (double)step * kv_held(l, &l->heads[h], pos) + (double)step * (step + 1) / 2;
        if (l->evicts && kv_next_eviction(c, l) == pos + step)
            kv_evict(&j, e);
    }
    return KV_OK;
}
