/* Solve all heads: moments -> transform -> bits -> codebooks -> profile. Heads are independent, so threads share them and the
 * result is the same for any number of threads. docs/codec.md.
 */
#include "calib_internal.h"
#include "linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Water-filling on lambda for keys, whose errors count as they are. For values on its square root: large tokens make the
 * variances, but attention likes small ones, whose direction must be right too. */
static const double EXPONENT_K = 1, EXPONENT_V = 0.5;

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

/* From transform and samples to one stored codec. z: (n, dim) scratch. */
static kv_status make_codec(const cal_gauss *g, const cal_transform *t, const float *samp, uint32_t n, double exponent,
                            uint32_t rate, float *z, prof_tc *tc, kv_err *err) {
    uint32_t d = t->dim;
    kv_status st = prof_tc_alloc(tc, d, err);
    if (st)
        return st;
    cal_alloc_bits(g, t->lambda, d, exponent, rate, tc->bits);
    for (uint32_t i = 0; i < d; i++) {
        tc->sigma[i] = (float)sqrt(t->lambda[i]);
        tc->mean[i] = (float)t->mean[i];
    }
    for (size_t i = 0; i < (size_t)d * d; i++)
        tc->basis[i] = (float)t->synthesis[i];
    st = prof_tc_alloc_levels(tc, err);
    if (st)
        return st;
    project(t, samp, n, z);
    return cal_fit_levels(g, z, n, tc, err);
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

/* One KV head of one layer, K and V; unit numbers them for rates. */
static kv_status solve_head(const cal_stats *s, const cal_cfg *cfg, const cal_gauss *g, uint32_t unit, prof *p, kv_err *err) {
    const cal_shape *sh = &s->shape;
    const cal_head *h = &s->heads[unit];
    uint32_t layer = unit / sh->n_kv_head, head = unit % sh->n_kv_head;
    prof_layer *pl = &p->layers[layer];
    cal_transform t = {0};
    float *z = malloc(((size_t)h->n_samp * sh->head_dim + 1) * sizeof *z);
    kv_status st = z ? KV_OK : kv_fail(err, KV_ENOMEM, "calibration: no memory for %u samples", h->n_samp);
    if (!st)
        st = cal_transform_new(sh->head_dim, &t, err);
    if (!st)
        st = cal_transform_k(h, s->pad, cfg->alpha, cfg->damp, &t, err);
    if (!st) {
        pl->importance[head] = importance(&t);
        st = make_codec(g, &t, h->k_samp, h->n_samp, EXPONENT_K, cal_rate(cfg->bits, t.dim, 2 * unit), z, &pl->k.heads[head],
                        err);
    }
    if (!st)
        st = cal_transform_v(h, s->pad, &t, err);
    if (!st)
        st = make_codec(g, &t, h->v_samp, h->n_samp, EXPONENT_V, cal_rate(cfg->bits, t.dim, 2 * unit + 1), z,
                        &pl->v.heads[head], err);
    cal_transform_free(&t);
    free(z);
    return st;
}

static float true_bits(const prof_tc *heads, uint32_t n, uint32_t dim) {
    double sum = 0;
    for (uint32_t h = 0; h < n; h++) {
        sum += 16; /* the gain */
        for (uint32_t i = 0; i < dim; i++)
            sum += heads[h].bits[i];
    }
    return (float)(sum / ((double)n * dim));
}

static void summarise(const cal_stats *s, prof *p) {
    const cal_shape *sh = &s->shape;
    for (uint32_t l = 0; l < sh->n_layer; l++) {
        prof_layer *pl = &p->layers[l];
        pl->k.codec = pl->v.codec = KV_TC;
        pl->k.bits = true_bits(pl->k.heads, sh->n_kv_head, sh->head_dim);
        pl->v.bits = true_bits(pl->v.heads, sh->n_kv_head, sh->head_dim);
        for (uint32_t h = 0; h < sh->n_head; h++) {
            double nats = s->n_entropy[l] ? s->entropy[(size_t)l * sh->n_head + h] / (double)s->n_entropy[l] : 0;
            pl->entropy[h] = (float)(nats / log(2));
        }
    }
    cal_budget(p);
}

static kv_status check(const cal_stats *s, const cal_cfg *cfg, const prof *p, kv_err *err) {
    const cal_shape *sh = &s->shape;
    if (p->n_layer != sh->n_layer || p->n_head != sh->n_head || p->n_kv_head != sh->n_kv_head || p->head_dim != sh->head_dim)
        return kv_fail(err, KV_EINVAL, "calibration: profile and statistics have different shapes");
    if (!(cfg->bits > 16.0 / sh->head_dim) || cfg->bits > 16 || !(cfg->damp > 0) || !(cfg->alpha >= 0 && cfg->alpha <= 1))
        return kv_fail(err, KV_ERANGE, "calibration: bits %g, alpha %g, damping %g out of range", cfg->bits, cfg->alpha,
                       cfg->damp);
    return KV_OK;
}

kv_status cal_solve(const cal_stats *s, const cal_cfg *cfg, prof *p, bool (*progress)(void *user, double done), void *user,
                    kv_err *err) {
    kv_status st = check(s, cfg, p, err);
    if (st)
        return st;
    cal_gauss g;
    cal_gauss_init(&g);
    la_single_thread();
    uint32_t n = s->shape.n_layer * s->shape.n_kv_head, done = 0;
#pragma omp parallel for schedule(dynamic) num_threads(cfg->n_threads > 0 ? cfg->n_threads : 1)
    for (uint32_t u = 0; u < n; u++) {
        kv_status mine;
        kv_err detail;
#pragma omp atomic read
        mine = st;
        if (mine)
            continue;
        mine = solve_head(s, cfg, &g, u, p, &detail);
#pragma omp critical(cal_solve)
        {
            if (!mine && progress && !progress(user, (double)++done / n))
                mine = kv_fail(&detail, KV_ECANCEL, "interrupted");
            if (mine && !st) {
                kv_fail(err, mine, "%s", detail.msg);
#pragma omp atomic write
                st = mine;
            }
        }
    }
    if (st)
        return st;
    summarise(s, p);
    prof_round(p);
    return KV_OK;
}
