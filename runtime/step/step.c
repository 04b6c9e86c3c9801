/* One layer's step: tokens of any number of caches are stored, those that leave a window encoded, queries attend, and heads
 * beyond their budget let go of tokens. An eviction may fall between two tokens of a call; so it goes in rounds, in each of
 * which every cache takes the tokens up to its next one. Within a round all caches do the same thing at the same time, piece by
 * piece.
 */
#include "step/step.h"

#include "attention/tile.h"
#include "evict/evict.h"

#include <math.h>

/* NaN fails the comparison, Inf is above any limit. */
static bool storable(const float *x, size_t n, float limit) {
    bool good = true;
    for (size_t i = 0; i < n; i++)
        good &= fabsf(x[i]) <= limit;
    return good;
}

static kv_status check_part(const kv_work *w, const kv_rows *p, uint32_t layer, const float *k, const float *v, kv_err *err) {
    const kv_cache *c = p->c;
    if (layer >= c->n_layer || !c->layers[layer].n_kv_head || !p->n || p->n > c->n_batch || p->first + p->n > w->n_batch)
        return kv_fail(err, KV_EINVAL, "cache: layer %u or batch of %u tokens outside 0..%u and 1..%u", layer, p->n,
                       c->n_layer - 1, min_u32(c->n_batch, w->n_batch));
    if (p->n > c->n_ctx - c->len)
        return kv_fail(err, KV_ERANGE, "cache: the context of %u tokens is full: %u held, %u more do not fit", c->n_ctx, c->len,
                       p->n);
    const size_t row = (size_t)c->layers[layer].n_kv_head * c->dim, at = p->first * row, size = p->n * row;
    if (!storable(k + at, size, c->limit) || !storable(v + at, size, c->limit))
        return kv_fail(err, KV_ERANGE, "cache: layer %u, tokens %u to %u: a key or value is NaN, infinite or above %g", layer,
                       c->len, c->len + p->n - 1, (double)c->limit);
    return KV_OK;
}

/* A round: store and attend. */
static void attend(kv_work *w) {
    rt_team *team = w->exec.team;
    uint64_t reads = 0;
    w->passing_taken = 0;
    w->passing_spare = kv_passing_tokens(w->n_batch);
    for (uint32_t i = 0; i < w->n_jobs; i++) {
        w->passing_spare -= w->jobs[i].n;
        reads += (uint64_t)w->jobs[i].n * (w->jobs[i].pos + w->jobs[i].n);
    }
    for (uint32_t i = 0; i < w->n_jobs; i++)
        kv_put_plan(&w->jobs[i]);
    kv_cut_up(w);
    if (reads < 2 * KV_BLOCK)
        w->exec.team = NULL; /* less work than asking for help */
    const kv_stage *const stages[] = {&kv_store, &kv_encode, &kv_read, &kv_merge, &kv_settle, &kv_observe};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        kv_run(w, stages[i]);
    w->exec.team = team;
}

static void finish_job(const kv_job *j) {
    const kv_layer *l = j->layer;
    for (uint32_t h = 0; h < l->n_kv_head; h++)
        j->c->reads +=
            l->swa || l->borrows ? 0 : (double)j->n * kv_held(l, &l->heads[h], j->pos) + (double)j->n * (j->n + 1) / 2;
    if (l->evicts && kv_next_eviction(l) == j->pos + j->n)
        kv_evict(j);
}

kv_status kv_attend(kv_work *w, const kv_rows *parts, uint32_t n_parts, uint32_t layer, const float *q, const float *k,
                    const float *v, float scale, float *out, float *lse, float *entropy, kv_err *err) {
    kv_status st;
    for (uint32_t i = 0; i < n_parts; i++) {
        kv_cache *c = parts[i].c;
        if ((st = check_part(w, &parts[i], layer, k, v, err)) ||
            (st = kv_layer_rewind(c, &c->layers[layer], c->len, false,
                                  err))) /* a batch that failed half-way left tokens behind */
            return st;
        w->done[i] = 0;
    }
    do {
        w->n_jobs = 0;
        for (uint32_t i = 0; i < n_parts; i++) {
            kv_cache *c = parts[i].c;
            kv_layer *l = &c->layers[layer];
            const uint32_t left = parts[i].n - w->done[i], pos = c->len + w->done[i], row = parts[i].first + w->done[i];
            const size_t kv = (size_t)row * l->n_kv_head * c->dim, qs = (size_t)row * l->n_head * c->dim;
            float *sums = lse ? lse : kv_observes(c) && l->evicts ? w->lse : NULL;
            if (!left)
                continue;
            w->jobs[w->n_jobs] = (kv_job){.c = c,
                                          .w = w,
                                          .layer = l,
                                          .k = w->exec.k,
                                          .pos = pos,
                                          .n = min_u32(left, l->evicts ? kv_next_eviction(l) - pos : left),
                                          .q = q + qs,
                                          .key = k + kv,
                                          .val = v + kv,
                                          .scale = scale,
                                          .out = out + qs,
                                          .lse = sums ? sums + (size_t)row * l->n_head : NULL,
                                          .entropy = entropy ? entropy + (size_t)row * l->n_head : NULL};
            w->done[i] += w->jobs[w->n_jobs++].n;
        }
        if (w->n_jobs)
            attend(w);
        for (uint32_t i = 0; i < w->n_jobs; i++)
            finish_job(&w->jobs[i]);
    } while (w->n_jobs);
    return KV_OK;
}
