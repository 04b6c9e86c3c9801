/* Solve all heads: moments -> transform -> bits -> codebooks -> profile. Bits are shared out over all heads at once.
 * docs/codec.md.
 */
#include "base/fp16.h"
#include "calib_internal.h"
#include "linalg.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Coefficients of n samples: z (n, dim). Doubles narrowed once: fixed order, no threads. */
static void project(const cal_transform *t, const float *x, uint32_t n, float *z) {
    uint32_t d = t->dim;
    for (uint32_t s = 0; s < n; s++) {
        float c[PROF_MAX_DIM];
        for (uint32_t j = 0; j < d; j++)
            c[j] = (float)((double)x[(size_t)s * d + j] - t->mean[j]);
        for (uint32_t i = 0; i < d; i++) {
            const double *a = t->analysis + (size_t)i * d;
            double sum = 0;
            for (uint32_t j = 0; j < d; j++)
                sum += a[j] * (double)c[j];
            z[(size_t)s * d + i] = (float)sum;
        }
    }
}

/* The parts of a stored codec that the transform decides. */
static kv_status keep_transform(const cal_transform *t, prof_tc *tc, kv_err *err) {
    uint32_t d = t->dim;
    kv_status st = prof_tc_alloc(tc, d, err);
    if (st)
        return st;
    for (uint32_t i = 0; i < d; i++) {
        tc->sigma[i] = fp16_to_fp32(fp16_from_fp32((float)sqrt(t->lambda[i])));
        tc->mean[i] = (float)t->mean[i];
    }
    for (size_t i = 0; i < (size_t)d * d; i++)
        tc->basis[i] = (float)t->synthesis[i];
    return KV_OK;
}

/* Share of the score variance in the leading quarter of the key coefficients. */
static float importance(const cal_transform *t) {
    double head = 0, all = 0;
    for (uint32_t i = 0; i < t->dim; i++) {
        all += t->lambda[i];
        if (i < (t->dim + 3) / 4)
            head += t->lambda[i];
    }
    return (float)(head / all);
}

/* ---- all heads ---- */

/* A unit is the K or the V of one KV head: 2 * head + (V), heads counted over all layers. */
typedef struct solver {
    const cal_stats *s;
    const cal_cfg *cfg;
    prof *p;
    cal_gauss gauss;
    cal_transform *transform; /* (units) */
    double *weight;           /* (units, dim) what a coefficient loses without any bits, for sharing them out */
    uint8_t *bits;            /* (units, dim) */
} solver;

static prof_tc *codec_of(const solver *r, uint32_t unit) {
    uint32_t head = unit / 2, layer = head / r->p->n_kv_head;
    prof_layer *l = &r->p->layers[layer];
    return &(unit % 2 ? l->v : l->k).heads[head % r->p->n_kv_head];
}

/* Layers with fewer heads than others leave units unused. */
static bool is_unused(const solver *r, uint32_t unit) {
    const uint32_t head = unit / 2, n = r->p->n_kv_head;
    return head % n >= cal_kv_heads(&r->s->shape, head / n);
}

static kv_status find_transform(solver *r, uint32_t unit, kv_err *err) {
    if (is_unused(r, unit))
        return KV_OK;
    const cal_head *h = &r->s->heads[unit / 2];
    cal_transform *t = &r->transform[unit];
    kv_status st = cal_transform_new(r->p->head_dim, t, err);
    if (!st)
        st = (unit % 2 ? cal_transform_v : cal_transform_k)(h, r->s->pad, r->cfg->damp, t, err);
    if (st)
        return st;
    if (unit % 2 == 0)
        r->p->layers[unit / 2 / r->p->n_kv_head].importance[unit / 2 % r->p->n_kv_head] = importance(t);
    const double weight = unit % 2 ? 1 : r->cfg->key_weight;
    for (uint32_t i = 0; i < t->dim; i++)
        r->weight[(size_t)unit * t->dim + i] = weight * pow(t->cost * t->lambda[i], r->cfg->exponent);
    return keep_transform(t, codec_of(r, unit), err);
}

static kv_status fit_levels(solver *r, uint32_t unit, kv_err *err) {
    if (is_unused(r, unit))
        return KV_OK;
    const cal_head *h = &r->s->heads[unit / 2];
    const cal_transform *t = &r->transform[unit];
    prof_tc *tc = codec_of(r, unit);
    float *z = malloc(((size_t)h->n_samp * t->dim + 1) * sizeof *z);
    if (!z)
        return kv_fail(err, KV_ENOMEM, "calibration: no memory for %u samples", h->n_samp);
    memcpy(tc->bits, r->bits + (size_t)unit * t->dim, t->dim);
    project(t, unit % 2 ? h->v_samp : h->k_samp, h->n_samp, z);
    kv_status st = cal_fit_levels(&r->gauss, r->cfg->search, z, h->n_samp, tc, err);
    free(z);
    return st;
}

/* Some work on all units. */
typedef struct work_on {
    solver *r;
    uint32_t n;
    kv_status (*work)(solver *, uint32_t, kv_err *);
    kv_progress_part *part;
    pthread_mutex_t lock; /* of what follows */
    uint32_t done;
    kv_status st; /* the first failure */
    kv_err *err;
} work_on;

/* After a unit, or before the first: whether to go on. Progress is told by the calling thread alone. */
static bool note(work_on *r, int thread, kv_status mine, kv_err *detail) {
    pthread_mutex_lock(&r->lock);
    if (!mine && !r->st && !thread && !kv_progress_of_part(r->part, (double)r->done / r->n))
        mine = kv_fail(detail, KV_ECANCEL, "interrupted");
    if (mine && !r->st)
        r->st = kv_fail(r->err, mine, "%s", detail->msg);
    const bool go_on = !r->st;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

static void do_units(void *arg, int thread, size_t first, size_t end) {
    work_on *r = arg;
    kv_err detail = {0};
    for (size_t u = first; u < end && note(r, thread, KV_OK, &detail); u++) {
        const kv_status st = r->work(r->r, (uint32_t)u, &detail);
        pthread_mutex_lock(&r->lock);
        r->done += !st;
        pthread_mutex_unlock(&r->lock);
        if (st)
            note(r, thread, st, &detail);
    }
}

/* Do `work` for all units, shared by the team. Units are independent: the result is the same for any. */
static kv_status for_units(solver *s, uint32_t n, kv_status (*work)(solver *, uint32_t, kv_err *), kv_progress_part *part,
                           kv_err *err) {
    work_on r = {.r = s, .n = n, .work = work, .part = part, .lock = PTHREAD_MUTEX_INITIALIZER, .err = err};
    cal_for(s->cfg->team, n, do_units, &r);
    pthread_mutex_destroy(&r.lock);
    if (!r.st && !kv_progress_of_part(part, 1))
        r.st = kv_fail(err, KV_ECANCEL, "interrupted");
    return r.st;
}

/* Bits of every head, and their mean. */
static kv_status count_bits(prof_kv *kv, uint32_t n_kv_head, uint32_t dim, kv_err *err) {
    double sum = 0;
    if (!n_kv_head)
        return KV_OK;
    kv->codec = KV_TC;
    kv_status st = prof_kv_alloc(kv, n_kv_head, err);
    if (st)
        return st;
    for (uint32_t h = 0; h < n_kv_head; h++) {
        kv->head_bits[h] = (float)prof_tc_vector_bits(&kv->heads[h]) / (float)dim;
        sum += prof_tc_vector_bits(&kv->heads[h]);
    }
    kv->bits = (float)(sum / ((double)n_kv_head * dim));
    return KV_OK;
}

static kv_status keep_queries(const cal_stats *s, uint32_t layer, prof *p, kv_err *err) {
    const size_t n = p->n_kv_head, used = cal_kv_heads(&s->shape, layer), asked = (size_t)CAL_ASKED * p->head_dim;
    if (!s->has_queries || !used || (s->shape.windowed && s->shape.windowed[layer]))
        return KV_OK;
    kv_status st = prof_queries_alloc(p, &p->layers[layer], err);
    for (size_t h = 0; !st && h < used; h++)
        cal_choose_queries(s->asked + (layer * n + h) * asked, p->head_dim,
                           p->layers[layer].queries + h * PROF_QUERIES * p->head_dim);
    return st;
}

static kv_status summarise(const cal_stats *s, prof *p, kv_err *err) {
    kv_status st;
    const cal_shape *sh = &s->shape;
    for (uint32_t l = 0; l < sh->n_layer; l++) {
        prof_layer *pl = &p->layers[l];
        const uint32_t kv = cal_kv_heads(sh, l);
        if ((st = count_bits(&pl->k, kv, sh->head_dim, err)) || (st = count_bits(&pl->v, kv, sh->head_dim, err)) ||
            (st = keep_queries(s, l, p, err)))
            return st;
        for (uint32_t h = 0; h < cal_heads(sh, l); h++) {
            double nats = s->n_entropy[l] ? s->entropy[(size_t)l * sh->n_head + h] / (double)s->n_entropy[l] : 0;
            pl->entropy[h] = (float)(nats / log(2));
        }
    }
    cal_budget_by_entropy(sh->windowed, 0.5, p);
    return KV_OK;
}

static kv_status check(const cal_stats *s, const cal_cfg *cfg, const prof *p, kv_err *err) {
    const cal_shape *sh = &s->shape;
    bool same =
        p->n_layer == sh->n_layer && p->n_head == sh->n_head && p->n_kv_head == sh->n_kv_head && p->head_dim == sh->head_dim;
    for (uint32_t l = 0; same && l < sh->n_layer; l++)
        same = prof_heads(p, l) == cal_heads(sh, l) && prof_kv_heads(p, l) == cal_kv_heads(sh, l);
    if (!same)
        return kv_fail(err, KV_EINVAL, "calibration: profile and statistics have different shapes");
    if (!(cfg->bits > (double)TRELLIS_GAIN_BITS / sh->head_dim) || cfg->bits > 16 || !(cfg->damp > 0) ||
        !(cfg->exponent >= 0 && cfg->exponent <= 1) || !(cfg->key_weight > 0 && cfg->key_weight <= 1e6))
        return kv_fail(err, KV_ERANGE, "calibration: bits %g, damping %g, exponent %g, weight of keys %g out of range",
                       cfg->bits, cfg->damp, cfg->exponent, cfg->key_weight);
    return KV_OK;
}

kv_status cal_solve(const cal_stats *s, const cal_cfg *cfg, prof *p, kv_progress progress, void *user, kv_err *err) {
    kv_status st = check(s, cfg, p, err);
    if (st)
        return st;
    const uint32_t units = 2 * s->shape.n_layer * s->shape.n_kv_head;
    const size_t all = (size_t)units * s->shape.head_dim;
    size_t used = 0;
    for (uint32_t l = 0; l < s->shape.n_layer; l++)
        used += 2 * cal_kv_heads(&s->shape, l);
    const double transforms = 0.2; /* of the time */
    solver r = {.s = s, .cfg = cfg, .p = p};
    r.transform = calloc(units, sizeof *r.transform);
    r.weight = calloc(all, sizeof *r.weight);
    r.bits = calloc(all, sizeof *r.bits);
    if (!r.transform || !r.weight || !r.bits) {
        st = kv_fail(err, KV_ENOMEM, "calibration: out of memory");
        goto done;
    }
    la_single_thread();
    if ((st = cal_gauss_init(&r.gauss, cfg->search, err)) ||
        (st = for_units(&r, units, find_transform, &(kv_progress_part){progress, user, 0, transforms}, err)))
        goto done;
    cal_allocate(&r.gauss, r.weight, all, (uint64_t)(cfg->bits * (double)(used * s->shape.head_dim)) - used * TRELLIS_GAIN_BITS,
                 r.bits);
    if ((st = for_units(&r, units, fit_levels, &(kv_progress_part){progress, user, transforms, 1}, err)))
        goto done;
    if ((st = summarise(s, p, err)))
        goto done;
    prof_round(p);
done:
    for (uint32_t u = 0; r.transform && u < units; u++)
        cal_transform_free(&r.transform[u]);
    free(r.transform);
    free(r.weight);
    free(r.bits);
    return st;
}
