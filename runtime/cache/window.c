/* The f16 copies of tokens that are not encoded yet: writing them, reading them, moving them from the passing buffer to the
 * ring. cache/state.h says what is where; any stretch of tokens is at most three runs: ring, its beginning, passing buffer.
 */
#include "cache/state.h"

#include <string.h>

/* Copies of n tokens; element i of the k-th is at[k * token + i * elem]. */
typedef struct run {
    uint16_t *at;
    uint32_t n;
    size_t token, elem;
} run;

/* Those of stream's tokens t, t + 1, ..., at most n, in the ring. */
static run in_ring(const kv_cache *c, const kv_layer *l, const kv_stream *stream, uint32_t t, uint32_t n) {
    const uint32_t cap = l->ring_cap, slot = t % cap;
    const bool key = stream->coder.side == KV_SIDE_K;
    run r = {.n = min_u32(n, cap - slot), .token = key ? 1 : c->dim, .elem = key ? cap : 1};
    r.at = l->ring + (size_t)stream->f16_off * cap + slot * r.token;
    return r;
}

/* The same in the passing buffer. */
static run in_passing(const kv_job *j, const kv_stream *stream, uint32_t t, uint32_t n) {
    const uint32_t cap = j->passing_cap;
    const bool key = stream->coder.side == KV_SIDE_K;
    run r = {.n = n, .token = key ? 1 : j->c->dim, .elem = key ? cap : 1};
    r.at = j->passing_at + (size_t)stream->f16_off * cap + (t - j->passing) * r.token;
    return r;
}

/* During a call. */
static run run_of(const kv_job *j, const kv_stream *stream, uint32_t t, uint32_t n) {
    return t >= j->passing ? in_passing(j, stream, t, n) : in_ring(j->c, j->layer, stream, t, min_u32(n, j->passing - t));
}

void kv_f16_put(const kv_job *j, const kv_stream *stream, uint32_t t, uint32_t n, const float *x) {
    const uint32_t dim = j->c->dim;
    uint16_t row[PROF_MAX_DIM];
    for (run r; n; t += r.n, n -= r.n) {
        r = run_of(j, stream, t, n);
        for (uint32_t k = 0; k < r.n; k++, x += dim) {
            j->k->f16_store(x, dim, row);
            for (uint32_t i = 0; i < dim; i++)
                r.at[k * r.token + i * r.elem] = row[i];
        }
    }
}

static void copy_row(const run *r, uint32_t k, uint32_t dim, uint16_t *row) {
    for (uint32_t i = 0; i < dim; i++)
        row[i] = r->at[k * r->token + i * r->elem];
}

void kv_f16_row(const kv_cache *c, const kv_layer *l, const kv_stream *stream, uint32_t t, uint16_t *row) {
    const run r = in_ring(c, l, stream, t, 1);
    copy_row(&r, 0, c->dim, row);
}

/* Between the ring and copies of n tokens, laid out as a ring of n. */
static void exchange(const kv_cache *c, const kv_layer *l, const kv_stream *stream, uint32_t t, uint32_t n, uint16_t *copy,
                     bool back) {
    const bool key = stream->coder.side == KV_SIDE_K;
    const size_t row = key ? n : 1, elem = key ? 1 : c->dim; /* elements between two of a token, and two tokens of the copy */
    run r;
    for (uint32_t at = 0; at < n; at += r.n) {
        r = in_ring(c, l, stream, t + at, n - at);
        uint16_t *with = copy + at * elem;
        for (uint32_t i = 0; i < (key ? c->dim : 1); i++) {
            const size_t bytes = (key ? r.n : (size_t)r.n * c->dim) * sizeof *with;
            memcpy(back ? r.at + i * r.elem : with + i * row, back ? with + i * row : r.at + i * r.elem, bytes);
        }
    }
}

void kv_f16_save(const kv_cache *c, const kv_layer *l, const kv_stream *stream, uint32_t t, uint32_t n, uint16_t *copy) {
    exchange(c, l, stream, t, n, copy, false);
}

void kv_f16_restore(const kv_cache *c, kv_layer *l, const kv_stream *stream, uint32_t t, uint32_t n, const uint16_t *copy) {
    exchange(c, l, stream, t, n, (uint16_t *)(uintptr_t)copy, true);
}

void kv_f16_rows(const kv_job *j, const kv_stream *stream, uint32_t t, uint32_t n, float *x) {
    const uint32_t dim = j->c->dim;
    uint16_t row[PROF_MAX_DIM];
    for (run r; n; t += r.n, n -= r.n) {
        r = run_of(j, stream, t, n);
        for (uint32_t k = 0; k < r.n; k++, x += dim) {
            copy_row(&r, k, dim, row);
            j->k->f16_load(row, dim, x);
        }
    }
}

void kv_f16_tile(const kv_job *j, const kv_stream *stream, uint32_t t, uint32_t n, float *tile) {
    const uint32_t dim = j->c->dim;
    if (stream->coder.side == KV_SIDE_K)
        n = KV_BLOCK;
    for (run r; n; t += r.n, n -= r.n) {
        r = run_of(j, stream, t, n);
        if (stream->coder.side == KV_SIDE_V) {
            j->k->f16_load(r.at, (size_t)r.n * dim, tile);
            tile += (size_t)r.n * dim;
            continue;
        }
        for (uint32_t i = 0; i < dim; i++)
            j->k->f16_load(r.at + i * r.elem, r.n, tile + (size_t)i * KV_BLOCK);
        tile += r.n;
    }
}

/* The tokens of this call that the ring has room for. */
static void settle(const kv_job *j, const kv_stream *stream) {
    const uint32_t dim = j->c->dim, end = j->pos + j->n;
    uint32_t t = max_u32(j->pos, end > j->layer->ring_cap ? end - j->layer->ring_cap : 0);
    for (run to; t < end; t += to.n) {
        const run from = in_passing(j, stream, t, end - t);
        to = in_ring(j->c, j->layer, stream, t, from.n);
        if (stream->coder.side == KV_SIDE_V)
            memcpy(to.at, from.at, (size_t)to.n * dim * sizeof *to.at);
        else
            for (uint32_t i = 0; i < dim; i++)
                memcpy(to.at + i * to.elem, from.at + i * from.elem, to.n * sizeof *to.at);
    }
}

static size_t count_settled(const kv_job *j) {
    return j->passing == UINT32_MAX ? 0 : 2 * (size_t)j->layer->n_kv_head;
}

static void settle_piece(const kv_job *j, int thread, size_t i) {
    (void)thread;
    if (kv_lossy(&j->layer->streams[i]))
        settle(j, &j->layer->streams[i]);
}

const kv_stage kv_settle = {count_settled, settle_piece};
