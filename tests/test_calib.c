/* Statistics and solving on tokens drawn from a known distribution: moments are what they must be for any batching, the
 * transform diagonalises what it claims to, the stored codec reaches the signal-to-noise ratio that theory promises, and
 * nothing depends on threads. */
#include "calib_internal.h"
#include "linalg.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 2, HEADS = 4, KV = 2, DIM = 20, TOKENS = 6000, SINKS = 4 }; /* DIM: no multiple of the tiles */

typedef struct data {
    float *q, *k, *v, *entropy;
} data;

static double uniform(uint32_t *x) {
    *x = *x * 1664525u + 1013904223u;
    return (*x + 0.5) / 4294967296.0;
}

static float normal(uint32_t *x) {
    double u = uniform(x), v = uniform(x);
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

/* A smooth correlated vector with falling spectrum, scaled, with an offset. */
static void draw(float *x, uint32_t *seed, float scale, float offset) {
    float last = 0;
    for (uint32_t i = 0; i < DIM; i++) {
        last = 0.8f * last + normal(seed);
        x[i] = offset * (float)(i % 3) + scale * last * expf(-0.1f * (float)i);
    }
}

static data make_data(uint32_t seed) {
    data d = {malloc(TOKENS * HEADS * DIM * sizeof(float)), malloc(TOKENS * KV * DIM * sizeof(float)),
              malloc(TOKENS * KV * DIM * sizeof(float)), malloc(TOKENS * HEADS * sizeof(float))};
    for (uint32_t t = 0; t < TOKENS; t++) {
        for (uint32_t h = 0; h < HEADS; h++) {
            draw(d.q + (t * HEADS + h) * DIM, &seed, 1 + (float)h, 0.3f);
            d.entropy[t * HEADS + h] = (float)(h + 1) * 0.5f;
        }
        for (uint32_t h = 0; h < KV; h++) {
            float sink = t < SINKS ? 1000 : 1; /* sinks must not count */
            draw(d.k + (t * KV + h) * DIM, &seed, 2 * sink, 100);
            draw(d.v + (t * KV + h) * DIM, &seed, 0.05f * sink, 0);
        }
    }
    return d;
}

static void free_data(data *d) {
    free(d->q);
    free(d->k);
    free(d->v);
    free(d->entropy);
}

static cal_stats *gather(const data *d, uint32_t batch, int n_threads) {
    const cal_shape shape = {LAYERS, HEADS, KV, DIM, SINKS, 2048, TOKENS};
    cal_stats *s = NULL;
    assert_int_equal(cal_stats_new(&shape, &s, NULL), KV_OK);
    for (uint32_t t = 0; t < TOKENS; t += batch) {
        uint32_t n = TOKENS - t < batch ? TOKENS - t : batch;
        for (uint32_t l = 0; l < LAYERS; l++)
            cal_stats_add(s, l, d->q + (size_t)t * HEADS * DIM, d->k + (size_t)t * KV * DIM, d->v + (size_t)t * KV * DIM,
                          d->entropy + (size_t)t * HEADS, n, t, TOKENS / 2, n_threads);
    }
    return s;
}

static prof *solve(const cal_stats *s, double bits, int n_threads) {
    prof *p = NULL;
    const cal_cfg cfg = {.bits = bits, .alpha = 0.5, .damp = 1e-4, .n_threads = n_threads};
    assert_int_equal(prof_new(LAYERS, HEADS, KV, DIM, &p, NULL), KV_OK);
    p->calib_ctx = 1024;
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, NULL), KV_OK);
    return p;
}

/* Second moment of x (n vectors of one head, stride floats apart) about its mean, or about zero; full matrix. */
static void moments(const float *x, size_t stride, uint32_t n, bool centred, double *c) {
    double mean[DIM] = {0};
    memset(c, 0, DIM * DIM * sizeof *c);
    for (uint32_t t = 0; centred && t < n; t++)
        for (uint32_t i = 0; i < DIM; i++)
            mean[i] += (double)x[t * stride + i] / n;
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < DIM; i++)
            for (uint32_t j = 0; j < DIM; j++)
                c[i * DIM + j] += (x[t * stride + i] - mean[i]) * (x[t * stride + j] - mean[j]) / n;
}

static void calib_sums_do_not_depend_on_threads(void **state) {
    (void)state;
    data d = make_data(1);
    cal_stats *a = gather(&d, 1000, 1), *b = gather(&d, 1000, 3);
    size_t mat = (size_t)a->pad * a->pad * sizeof(double);
    for (uint32_t i = 0; i < LAYERS * KV; i++) {
        assert_memory_equal(a->heads[i].qq, b->heads[i].qq, mat);
        assert_memory_equal(a->heads[i].kk, b->heads[i].kk, mat);
        assert_memory_equal(a->heads[i].vv, b->heads[i].vv, mat);
        assert_int_equal(a->heads[i].n_samp, b->heads[i].n_samp);
        assert_memory_equal(a->heads[i].k_samp, b->heads[i].k_samp, a->heads[i].n_samp * DIM * sizeof(float));
    }
    cal_stats_free(a);
    cal_stats_free(b);
    free_data(&d);
}

static void calib_samples_are_spread_and_skip_sinks(void **state) {
    (void)state;
    data d = make_data(2);
    cal_stats *s = gather(&d, 777, 1);
    const cal_head *h = &s->heads[1];
    assert_int_equal(h->n_kv, TOKENS - SINKS);
    assert_int_equal(h->n_q, TOKENS * (HEADS / KV));
    assert_in_range(h->n_samp, 2046, 2048);
    assert_memory_equal(h->v_samp, d.v + (SINKS * KV + 1) * DIM, DIM * sizeof(float));
    const float *last = h->v_samp + (h->n_samp - 1) * DIM;
    bool found = false;
    for (uint32_t t = TOKENS - 4; t < TOKENS; t++)
        found |= !memcmp(last, d.v + ((size_t)t * KV + 1) * DIM, DIM * sizeof(float));
    assert_true(found);
    cal_stats_free(s);
    free_data(&d);
}

/* analysis C analysis^T = diag(lambda) for the true covariance C (keys have an offset of 100 times their deviation), and
 * synthesis is the inverse of analysis; squared coefficients weigh errors by W = M^1/2. */
static void calib_key_transform_diagonalises(void **state) {
    (void)state;
    data d = make_data(3);
    cal_stats *s = gather(&d, 512, 1);
    cal_transform t;
    double c[DIM * DIM], fc[DIM * DIM], out[DIM * DIM];
    assert_int_equal(cal_transform_new(DIM, &t, NULL), KV_OK);
    assert_int_equal(cal_transform_k(&s->heads[0], s->pad, 0.5, 1e-4, &t, NULL), KV_OK);
    moments(d.k + SINKS * KV * DIM, KV * DIM, TOKENS - SINKS, true, c);
    la_mul(DIM, t.analysis, c, fc);
    la_mul_t(DIM, fc, t.analysis, out);
    assert_float_equal(t.lambda[0], 1, 1e-12);
    for (uint32_t i = 0; i < DIM; i++)
        for (uint32_t j = 0; j < DIM; j++)
            assert_float_equal(out[i * DIM + j], i == j ? t.lambda[i] : 0, 1e-4);
    for (uint32_t i = 0; i < DIM; i++)
        for (uint32_t j = 0; j < DIM; j++) {
            double sum = 0;
            for (uint32_t k = 0; k < DIM; k++)
                sum += t.analysis[i * DIM + k] * t.synthesis[j * DIM + k];
            assert_float_equal(sum, i == j, 1e-9);
        }
    cal_transform_free(&t);
    cal_stats_free(s);
    free_data(&d);
}

/* Keys whose mean is 1000 times their deviation, as large as trained models have it: neither mean nor variances may suffer. */
static void calib_large_key_offsets_cost_nothing(void **state) {
    (void)state;
    data d = make_data(12);
    double mean[DIM] = {0}, c[DIM * DIM], fc[DIM * DIM], out[DIM * DIM];
    const uint32_t body = TOKENS - SINKS;
    for (uint32_t i = 0; i < TOKENS * KV * DIM; i++)
        d.k[i] += i % DIM == 5 ? 3000 : 0;
    const float *k = d.k + SINKS * KV * DIM;
    for (uint32_t t = 0; t < body; t++)
        for (uint32_t i = 0; i < DIM; i++)
            mean[i] += (double)k[t * KV * DIM + i] / body;
    cal_stats *s = gather(&d, 512, 1);
    cal_transform t;
    assert_int_equal(cal_transform_new(DIM, &t, NULL), KV_OK);
    assert_int_equal(cal_transform_k(&s->heads[0], s->pad, 0.5, 1e-4, &t, NULL), KV_OK);
    for (uint32_t i = 0; i < DIM; i++)
        assert_float_equal(t.mean[i], mean[i], 1e-5);
    moments(k, KV * DIM, body, true, c);
    la_mul(DIM, t.analysis, c, fc);
    la_mul_t(DIM, fc, t.analysis, out);
    for (uint32_t i = 0; i < DIM; i++)
        assert_float_equal(out[i * DIM + i], t.lambda[i], 1e-5);
    cal_transform_free(&t);
    cal_stats_free(s);
    free_data(&d);
}

/* analysis^T analysis must be M^1/2 up to scale: its square is then M, the second moment of the queries of the group. */
static void calib_key_metric_is_root_of_query_moment(void **state) {
    (void)state;
    data d = make_data(4);
    cal_stats *s = gather(&d, 512, 1);
    cal_transform t;
    double m[DIM * DIM], m1[DIM * DIM], ft[DIM * DIM], w[DIM * DIM], ww[DIM * DIM];
    assert_int_equal(cal_transform_new(DIM, &t, NULL), KV_OK);
    assert_int_equal(cal_transform_k(&s->heads[0], s->pad, 0.5, 1e-12, &t, NULL), KV_OK);
    moments(d.q, HEADS * DIM, TOKENS, false, m);
    moments(d.q + DIM, HEADS * DIM, TOKENS, false, m1);
    for (uint32_t i = 0; i < DIM; i++)
        for (uint32_t j = 0; j < DIM; j++)
            ft[j * DIM + i] = t.analysis[i * DIM + j];
    la_mul_t(DIM, ft, ft, w);
    la_mul(DIM, w, w, ww);
    double scale = ww[0] / (m[0] + m1[0]);
    for (uint32_t i = 0; i < DIM * DIM; i++)
        assert_float_equal(ww[i] / scale, m[i] + m1[i], 1e-3 * (m[0] + m1[0]));
    cal_transform_free(&t);
    cal_stats_free(s);
    free_data(&d);
}

/* Encode x as the runtime would at the rms gain and return signal and error energy about the mean, plain metric. */
static void code(const prof_tc *t, const double *analysis, const float *x, double *signal, double *noise) {
    double z[DIM], gain = 0, rec[DIM];
    uint32_t coded = 0;
    for (uint32_t i = 0; i < DIM; i++) {
        z[i] = 0;
        for (uint32_t j = 0; j < DIM; j++)
            z[i] += analysis[i * DIM + j] * ((double)x[j] - t->mean[j]);
        if (t->bits[i])
            gain += z[i] * z[i] / (t->sigma[i] * t->sigma[i]), coded++;
        rec[i] = t->mean[i];
    }
    gain = sqrt(gain / coded);
    const float *level = t->levels;
    for (uint32_t i = 0; i < coded; level += 1u << t->bits[i++]) {
        double best = INFINITY, value = 0;
        for (uint32_t j = 0; j < 1u << t->bits[i]; j++)
            if (fabs(z[i] - gain * level[j]) < best)
                best = fabs(z[i] - gain * level[j]), value = gain * level[j];
        for (uint32_t j = 0; j < DIM; j++)
            rec[j] += value * t->basis[i * DIM + j];
    }
    for (uint32_t j = 0; j < DIM; j++) {
        *signal += (x[j] - t->mean[j]) * (x[j] - t->mean[j]);
        *noise += (x[j] - rec[j]) * (x[j] - rec[j]);
    }
}

/* Values are coded in the plain metric, so at an even exponent theory says D = sum lambda_i D(b_i). Fitted levels and the gain
 * must get at least close to it on tokens that were not used for fitting, and the profile must hold what was asked for. */
static void calib_value_codec_reaches_theory(void **state) {
    (void)state;
    data d = make_data(5), fresh = make_data(6);
    cal_stats *s = gather(&d, 512, 1);
    prof *p = solve(s, 4, 1);
    cal_transform t;
    cal_gauss g;
    cal_gauss_init(&g);
    assert_int_equal(cal_transform_new(DIM, &t, NULL), KV_OK);
    assert_int_equal(cal_transform_v(&s->heads[1], s->pad, &t, NULL), KV_OK);
    const prof_tc *tc = &p->layers[0].v.heads[1];
    double signal = 0, noise = 0, want = 0, all = 0;
    for (uint32_t n = SINKS; n < TOKENS; n++)
        code(tc, t.analysis, fresh.v + ((size_t)n * KV + 1) * DIM, &signal, &noise);
    for (uint32_t i = 0; i < DIM; i++)
        want += t.lambda[i] * g.distortion[tc->bits[i]], all += t.lambda[i];
    assert_true(noise / signal < 1.1 * want / all);
    assert_true(noise / signal > 0.5 * want / all); /* better than that cannot be: then the figure is wrong */
    cal_transform_free(&t);
    prof_free(p);
    cal_stats_free(s);
    free_data(&d);
    free_data(&fresh);
}

static void calib_profile_is_valid_and_near_target(void **state) {
    (void)state;
    data d = make_data(7);
    cal_stats *s = gather(&d, 512, 1);
    for (double bits = 2; bits <= 6; bits += 0.81) {
        prof *p = solve(s, bits, 1);
        double sum = 0;
        kv_err err;
        prof_round(p);
        assert_int_equal(prof_check(p, "test", &err), KV_OK);
        for (uint32_t l = 0; l < LAYERS; l++) {
            sum += (p->layers[l].k.bits + p->layers[l].v.bits) / (2 * LAYERS);
            assert_int_equal(p->layers[l].k.codec, KV_TC);
            assert_true(p->layers[l].importance[0] > 0.25 && p->layers[l].importance[0] <= 1);
            for (uint32_t i = 0; i < DIM; i++)
                assert_true(p->layers[l].v.heads[0].mean[i] == 0);
        }
        assert_true(sum <= bits + 1e-6 && sum > bits - 0.05);
        prof_free(p);
    }
    cal_stats_free(s);
    free_data(&d);
}

/* Rounding to f16 must not change a profile: what is measured is what is written. */
static void calib_profile_is_already_rounded(void **state) {
    (void)state;
    data d = make_data(8);
    cal_stats *s = gather(&d, 512, 1);
    prof *p = solve(s, 4, 1), *r = solve(s, 4, 2); /* two threads: the same */
    prof_round(r);
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t h = 0; h < KV * 2; h++) {
            const prof_tc *a = h < KV ? &p->layers[l].k.heads[h] : &p->layers[l].v.heads[h - KV];
            const prof_tc *b = h < KV ? &r->layers[l].k.heads[h] : &r->layers[l].v.heads[h - KV];
            assert_memory_equal(a->bits, b->bits, DIM);
            assert_memory_equal(a->mean, b->mean, DIM * sizeof(float));
            assert_memory_equal(a->basis, b->basis, DIM * DIM * sizeof(float));
            assert_memory_equal(a->sigma, b->sigma, DIM * sizeof(float));
            assert_memory_equal(a->levels, b->levels, prof_tc_n_levels(a) * sizeof(float));
        }
    prof_free(p);
    prof_free(r);
    cal_stats_free(s);
    free_data(&d);
}

static void calib_entropy_in_bits_of_the_second_half(void **state) {
    (void)state;
    data d = make_data(9);
    for (uint32_t i = 0; i < TOKENS / 2 * HEADS; i++)
        d.entropy[i] = 1e6f; /* before entropy_from: must not count */
    cal_stats *s = gather(&d, 512, 1);
    prof *p = solve(s, 4, 1);
    for (uint32_t h = 0; h < HEADS; h++)
        assert_float_equal(p->layers[1].entropy[h], (h + 1) * 0.5 / log(2), 1e-3);
    prof_free(p);
    cal_stats_free(s);
    free_data(&d);
}

static void calib_budget_follows_width_and_keeps_the_average(void **state) {
    (void)state;
    prof *p = NULL;
    assert_int_equal(prof_new(4, 1, 1, 8, &p, NULL), KV_OK);
    const float entropy[] = {9, 4, 3, 3};
    p->calib_ctx = 1000;
    for (uint32_t l = 0; l < 4; l++)
        p->layers[l].entropy[0] = entropy[l];
    cal_budget(p);
    assert_int_equal(p->layers[0].budget, 1000); /* would be more: capped, and the rest shared again */
    assert_int_equal(p->layers[1].budget, 32 + (1000 - 3 * 32) / 2);
    assert_int_equal(p->layers[2].budget, 32 + (1000 - 3 * 32) / 4);
    assert_int_equal(p->layers[3].budget, p->layers[2].budget);
    p->calib_ctx = 0;
    cal_budget(p);
    assert_int_equal(p->layers[0].budget, 0);
    prof_free(p);
}

/* A head whose keys never change, and queries that are all zero: still a valid profile. */
static void calib_degenerate_heads_are_valid(void **state) {
    (void)state;
    data d = make_data(10);
    memset(d.q, 0, TOKENS * HEADS * DIM * sizeof *d.q);
    for (uint32_t t = 0; t < TOKENS; t++)
        memcpy(d.k + (size_t)t * KV * DIM, d.k + SINKS * KV * DIM, KV * DIM * sizeof *d.k);
    memset(d.v, 0, TOKENS * KV * DIM * sizeof *d.v);
    cal_stats *s = gather(&d, 512, 1);
    prof *p = solve(s, 4, 1);
    kv_err err;
    prof_round(p);
    assert_int_equal(prof_check(p, "test", &err), KV_OK);
    prof_free(p);
    cal_stats_free(s);
    free_data(&d);
}

static bool stop_at_once(void *user, double done) {
    *(double *)user = done;
    return false;
}

static void calib_errors(void **state) {
    (void)state;
    data d = make_data(11);
    const cal_shape bad = {LAYERS, HEADS, 3, DIM, SINKS, 10, TOKENS}, empty = {LAYERS, HEADS, KV, DIM, SINKS, 10, TOKENS};
    cal_stats *s = NULL;
    prof *p = NULL;
    cal_cfg cfg = {.bits = 4, .alpha = 0.5, .damp = 1e-4, .n_threads = 2};
    double seen = 0;
    kv_err err;
    assert_int_equal(cal_stats_new(&bad, &s, &err), KV_EINVAL);
    assert_int_equal(cal_stats_new(&empty, &s, &err), KV_OK);
    assert_int_equal(prof_new(LAYERS, HEADS, KV, DIM, &p, NULL), KV_OK);
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, &err), KV_ERANGE); /* no tokens */
    cal_stats_free(s);
    prof_free(p);

    d.k[500 * KV * DIM] = NAN;
    s = gather(&d, 512, 1);
    assert_int_equal(prof_new(LAYERS, HEADS, KV, DIM, &p, NULL), KV_OK);
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, &err), KV_ERANGE);
    prof_free(p);
    cal_stats_free(s);

    d.k[500 * KV * DIM] = 0;
    s = gather(&d, 512, 1);
    assert_int_equal(prof_new(LAYERS, HEADS, KV, DIM, &p, NULL), KV_OK);
    cfg.bits = 0.5; /* not even the gain */
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, &err), KV_ERANGE);
    cfg.bits = 4;
    assert_int_equal(cal_solve(s, &cfg, p, stop_at_once, &seen, &err), KV_ECANCEL);
    assert_true(seen > 0 && seen < 1);
    prof_free(p);
    assert_int_equal(prof_new(LAYERS + 1, HEADS, KV, DIM, &p, NULL), KV_OK);
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, &err), KV_EINVAL);
    prof_free(p);
    cal_stats_free(s);
    free_data(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calib_sums_do_not_depend_on_threads),
        cmocka_unit_test(calib_samples_are_spread_and_skip_sinks),
        cmocka_unit_test(calib_key_transform_diagonalises),
        cmocka_unit_test(calib_large_key_offsets_cost_nothing),
        cmocka_unit_test(calib_key_metric_is_root_of_query_moment),
        cmocka_unit_test(calib_value_codec_reaches_theory),
        cmocka_unit_test(calib_profile_is_valid_and_near_target),
        cmocka_unit_test(calib_profile_is_already_rounded),
        cmocka_unit_test(calib_entropy_in_bits_of_the_second_half),
        cmocka_unit_test(calib_budget_follows_width_and_keeps_the_average),
        cmocka_unit_test(calib_degenerate_heads_are_valid),
        cmocka_unit_test(calib_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
