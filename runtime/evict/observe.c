/* What queries give to body slots, beside attention itself: the scores that eviction goes by.
 *
 * A query's weight of a token is exp(score - lse), lse being known once attention is done, so scores are taken a second time,
 * of keys only. Weights are added slot by slot in the order of the queries, whatever the batch. Reads from nearer than `recent`
 * tokens do not count: such tokens stay anyway, and all would get most from their neighbours.
 */
#include "evict/evict.h"

#include "attention/tile.h"

#include <math.h>
#include <string.h>

enum { ROWS = 16 };

static const float ln_2 = 0x1.62e43p-1f;

/* Scores in nats of rows r0 .. r0+n-1 against blocks b0 .. b1-1 of the range at base -> s->s (16, KV_RANGE). */
static void scores(tile *t, uint32_t base, uint32_t r0, uint32_t n, uint32_t b0, uint32_t b1) {
    float *s = t->s->s;
    if (kv_in_codes(t)) {
        kv_int_scores(t, base, r0, n, b0, b1);
        for (uint32_t r = 0; r < n; r++)
            for (uint32_t i = b0 * KV_BLOCK; i < b1 * KV_BLOCK; i++)
                s[r * KV_RANGE + i] *= ln_2;
        return;
    }
    for (uint32_t b = b0; b < b1; b++) {
        float *to = s + b * KV_BLOCK;
        const float *kt = kv_load_body(t, t->k, base + b * KV_BLOCK, KV_BLOCK);
        const float *bias = kv_score_block(t, r0, n, base + b * KV_BLOCK, kt, to, KV_RANGE);
        for (uint32_t r = 0; r < n; r++)
            for (uint32_t i = 0; i < KV_BLOCK; i++)
                to[r * KV_RANGE + i] += bias[r];
    }
}

/* Rows that look at the slots of a head: row r at those below to[r]. */
typedef struct view {
    tile *t;
    const uint32_t *to;
    float *lse; /* of each row */
} view;

/* Call `each` for every row and range, with its scores of slots from .. to-1. */
typedef void row_fn(const view *v, uint32_t row, float *s, uint32_t slot, uint32_t n, float *score);

static void look(const view *v, uint32_t range, row_fn *each, float *score) {
    tile *t = v->t;
    const uint32_t base = range * KV_RANGE, from = max_u32(base, t->h->first);
    uint32_t end = 0;
    for (uint32_t r = 0; r < t->rows; r++)
        end = max_u32(end, min_u32(v->to[r], base + KV_RANGE));
    if (from >= end)
        return;
    const uint32_t b0 = (from - base) / KV_BLOCK, b1 = (end - base + KV_BLOCK - 1) / KV_BLOCK;
    if (kv_in_codes(t))
        kv_int_keys(t, base, b0, b1);
    for (uint32_t r0 = 0; r0 < t->rows; r0 += ROWS) {
        const uint32_t n = min_u32(ROWS, t->rows - r0);
        scores(t, base, r0, n, b0, b1);
        for (uint32_t r = 0; r < n; r++) {
            /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): every row has an end */
            const uint32_t to = min_u32(v->to[r0 + r], base + KV_RANGE);
            if (from < to)
                each(v, r0 + r, t->s->s + (size_t)r * KV_RANGE + (from - base), from, to - from, score);
        }
    }
}

static void add_weights(const view *v, uint32_t row, float *s, uint32_t slot, uint32_t n, float *score) {
    v->t->j->k->exp_sum(s, n, v->lse[row]);
    v->t->j->k->add(score + slot, s, n);
}

/* lse of each row, over what it looks at; -INFINITY at first. */
static void add_to_lse(const view *v, uint32_t row, float *s, uint32_t slot, uint32_t n, float *score) {
    (void)slot, (void)score;
    const rt_kernels *k = v->t->j->k;
    const float was = v->lse[row], top = fmaxf(was, k->max(s, n));
    v->lse[row] = top + (float)log((double)k->exp_sum(s, n, top) + exp((double)was - (double)top));
}

/* Which tokens of a call are observed for a head: those from the returned one on. */
static uint32_t observed_from(const kv_job *j, const kv_head *h) {
    const uint32_t from = kv_votes_from(j->c, h);
    return from > j->pos ? min_u32(from - j->pos, j->n) : 0;
}

/* Tokens first .. first+n-1 of the call look at a range. */
static void observe_tile(const kv_job *j, int thread, uint32_t head, uint32_t range, uint32_t first, uint32_t n) {
    const kv_layer *l = j->layer;
    uint32_t to[KV_ROWS];
    float lse[KV_ROWS];
    tile t;
    kv_tile_init(&t, j, thread, head, first, n);
    for (uint32_t r = 0; r < t.rows; r++) {
        const uint32_t pos = t.pos + r / t.group, far = pos + 1 > t.h->recent ? pos + 1 - t.h->recent : 0;
        to[r] = min_u32(kv_encoded(l, pos + 1), far);
        lse[r] = j->lse[(size_t)(first + r / t.group) * l->n_head + (size_t)head * t.group + r % t.group];
    }
    kv_tile_queries(&t);
    look(&(view){&t, to, lse}, range, add_weights, kv_scores(l, t.h));
}

static size_t count_observed(const kv_job *j) {
    uint32_t n_range = 0;
    if (!j->layer->evicts || !kv_observes(j->c))
        return 0;
    for (uint32_t h = 0; h < j->layer->n_kv_head; h++)
        n_range = max_u32(n_range, (j->pos + j->n - j->layer->heads[h].shift + KV_RANGE - 1) / KV_RANGE);
    return (size_t)n_range * j->layer->n_kv_head;
}

/* Piece (range, KV head). */
static void observe_piece(const kv_job *j, int thread, size_t i) {
    const uint32_t step = KV_ROWS / kv_group(j->layer), n_kv = j->layer->n_kv_head;
    const uint32_t head = (uint32_t)(i % n_kv), range = (uint32_t)(i / n_kv);
    const kv_head *h = &j->layer->heads[head];
    for (uint32_t at = observed_from(j, h), n; h->budget && at < j->n; at += n) {
        n = min_u32(step, j->n - at);
        observe_tile(j, thread, head, range, at, n);
    }
}

const kv_stage kv_observe = {count_observed, observe_piece};

/* ---- expected attention ---- */

/* Distances ahead at which a query is put. Its rotation relative to the keys is what changes with distance. */
static const uint32_t ahead[] = {1, 64, 192, 448};
enum { AHEAD = sizeof ahead / sizeof *ahead, EXPECTED_ROWS = PROF_QUERIES * AHEAD };
_Static_assert((int)EXPECTED_ROWS <= (int)KV_ROWS, "a tile takes all of them");

/* The queries of a head's group as they would stand after position `pos`. */
static void put_queries(const tile *t, const float *queries, uint32_t pos, float scale) {
    const kv_cache *c = t->j->c;
    const uint32_t half = c->rope.n_rot / 2;
    float *q = t->s->q;
    for (uint32_t a = 0; a < AHEAD; a++, q += (size_t)PROF_QUERIES * c->dim) {
        float cosine[PROF_MAX_DIM / 2], sine[PROF_MAX_DIM / 2];
        for (uint32_t i = 0; i < half; i++) {
            const double angle = ((double)pos + ahead[a]) * c->rope.inv_freq[t->j->layer->rope * half + i];
            cosine[i] = (float)cos(angle);
            sine[i] = (float)sin(angle);
        }
        for (size_t i = 0; i < (size_t)PROF_QUERIES * c->dim; i++)
            q[i] = queries[i] * scale;
        t->j->k->rope(q, PROF_QUERIES, c->dim, c->rope.n_rot, cosine, sine, c->rope.neox);
    }
}

/* After Devoto, Jeblick, Jégou, *Expected attention* (2025): attention that future queries are expected to pay, from their
 * statistics. There a Gaussian stands for them; here queries that calibration drew, put at several distances. */
void kv_expect(const kv_job *j, int thread, uint32_t head) {
    const kv_cache *c = j->c;
    const kv_layer *l = j->layer;
    const uint32_t layer = (uint32_t)(l - c->layers), len = j->pos + j->n;
    uint32_t to[KV_ROWS];
    float lse[KV_ROWS];
    tile t;
    kv_tile_init(&t, j, thread, head, j->n - 1, 1);
    t.group = 1;
    t.n = t.rows = EXPECTED_ROWS;
    const uint32_t end = kv_encoded(l, len) - t.h->shift;
    for (uint32_t r = 0; r < t.rows; r++) {
        to[r] = end;
        lse[r] = -INFINITY;
    }
    put_queries(&t, c->queries[layer] + (size_t)head * PROF_QUERIES * c->dim, len - 1, j->scale);
    memset(kv_scores(l, t.h), 0, end * sizeof(float));
    const view v = {&t, to, lse};
    for (uint32_t range = 0; range * KV_RANGE < end; range++)
        look(&v, range, add_to_lse, NULL);
    for (uint32_t range = 0; range * KV_RANGE < end; range++)
        look(&v, range, add_weights, kv_scores(l, t.h));
}
