/* Query tiles: their setup, their queries in every space and frame, and scores against encoded keys. */
#include "attention/tile.h"

#include "kernels/cap.h"

#include <string.h>

void kv_tile_init(tile *t, const kv_job *j, int thread, uint32_t head, uint32_t first, uint32_t n) {
    t->j = j;
    t->s = &j->w->scratch[thread];
    t->head = head;
    t->k = &j->layer->streams[2 * head];
    t->v = &j->layer->streams[2 * head + 1];
    t->h = &j->layer->heads[head];
    t->first = first;
    t->pos = j->pos + first - t->h->shift;
    t->n = n;
    t->group = kv_group(j->layer);
    t->rows = n * t->group;
    t->frame = UINT32_MAX;
    memset(t->coded, 0xff, sizeof t->coded);
}

void kv_tile_queries(const tile *t) {
    const kv_cache *c = t->j->c;
    size_t len = (size_t)t->group * c->dim;
    for (uint32_t i = 0; i < t->n; i++) {
        const float *src = t->j->q + ((size_t)(t->first + i) * t->j->layer->n_head + (size_t)t->head * t->group) * c->dim;
        for (size_t d = 0; d < len; d++)
            t->s->q[i * len + d] = src[d] * t->j->scale;
    }
}

const float *kv_load_body(const tile *t, const kv_stream *stream, uint32_t t0, uint32_t n) {
    return stream->coder.ops->decode(&stream->coder, t->j->k, kv_body_block(t->j->layer, stream, t0 / KV_BLOCK), n, t->s->tile);
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

void kv_capped_scores(const tile *t, const float *q, uint32_t n, size_t dim, const float *kt, float *s, size_t lds) {
    t->j->k->attn_scores(q, n, dim, kt, s, lds);
    for (uint32_t r = 0; t->j->c->cap > 0 && r < n; r++)
        rt_cap(t->j->k, s + r * lds, KV_BLOCK, t->j->c->cap, NULL);
}

/* Where keys of several frames meet in a block, each frame's queries are scored against all of it, and its columns are kept. */
static const float *score_block(tile *t, uint32_t first, uint32_t n, uint32_t t0, const float *kt, float *s, size_t lds) {
    const rt_kernels *k = t->j->k;
    const size_t dim = t->k->coder.cdim;
    uint32_t slot = max_u32(t0, t->h->first), stop = t0 + KV_BLOCK, end = stop;
    const uint32_t frame = t->k->framed ? kv_frame_of(t->j->c, t->h, slot, &end) : 0;
    if (!t->k->coder.ops->query) {
        kv_capped_scores(t, t->s->q + first * dim, n, dim, kt, s, lds);
        return t->s->no_bias + first;
    }
    if (end >= stop && !(t->j->c->cap > 0)) {
        k->attn_scores(coded_queries(t, first, frame), n, dim, kt, s, lds);
        return t->s->bias + first;
    }
    for (float *mix = t->s->mix; slot < stop; slot = end) {
        const float *q = coded_queries(t, first, t->k->framed ? kv_frame_of(t->j->c, t->h, slot, &end) : 0);
        end = min_u32(end, stop);
        k->attn_scores(q, n, dim, kt, mix, KV_BLOCK);
        for (uint32_t r = 0; r < n; r++)
            for (uint32_t i = slot - t0; i < end - t0; i++)
                s[r * lds + i] = mix[(size_t)r * KV_BLOCK + i] + t->s->bias[first + r];
    }
    for (uint32_t r = 0; t->j->c->cap > 0 && r < n; r++)
        rt_cap(k, s + r * lds, KV_BLOCK, t->j->c->cap, NULL);
    return t->s->no_bias + first;
}

const float *kv_score_block(tile *t, uint32_t first, uint32_t n, uint32_t t0, const float *kt, float *s, size_t lds) {
    const float *bias = score_block(t, first, n, t0, kt, s, lds), *mass = kv_tile_masses(t);
    for (uint32_t r = 0; mass && r < n; r++)
        for (uint32_t i = 0; i < KV_BLOCK; i++)
            s[r * lds + i] += mass[t0 + i];
    return bias;
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
