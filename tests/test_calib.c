/* Statistics and solving on tokens drawn from a known distribution: moments are what they must be for any batching, the
 * transform diagonalises what it claims to in the metric of the gradients, the stored codec reaches the signal-to-noise ratio
 * that theory promises, bits go where gradients are large, and nothing depends on threads. */
#include "calib_internal.h"
#include "linalg.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "machine/team.h"

enum { LAYERS = 2, HEADS = 4, KV = 2, DIM = 20, TOKENS = 6000, SINKS = 4 }; /* DIM: no multiple of the tiles */

typedef struct data {
    float *k, *v, *dk, *dv, *entropy;
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
    const size_t n = TOKENS * KV * DIM * sizeof(float);
    data d = {malloc(n), malloc(n), malloc(n), malloc(n), malloc(TOKENS * HEADS * sizeof(float))};
    for (uint32_t t = 0; t < TOKENS; t++) {
        for (uint32_t h = 0; h < HEADS; h++)
            d.entropy[t * HEADS + h] = (float)(h + 1) * 0.5f;
        for (uint32_t h = 0; h < KV; h++) {
            float sink = t < SINKS ? 1000 : 1; /* sinks must not count */
            size_t at = (t * KV + h) * DIM;
            draw(d.k + at, &seed, 2 * sink, 100);
            draw(d.v + at, &seed, 0.05f * sink, 0);
            draw(d.dk + at, &seed, 0.01f * (float)(1 + h) * sink, 0.001f);
            draw(d.dv + at, &seed, 0.3f * sink, 0);
        }
    }
    return d;
}

static void free_data(data *d) {
    free(d->k);
    free(d->v);
    free(d->dk);
    free(d->dv);
    free(d->entropy);
}

static void share(const void *team, size_t n, size_t grain, cal_piece *run, void *arg) {
    rt_team_for((rt_team *)team, n, grain, run, arg);
}

/* Teams last as long as the tests. */
static cal_team team_of(int n_threads) {
    enum { MOST = 8 };
    static rt_team *teams[MOST + 1];
    assert_in_range(n_threads, 1, MOST);
    if (n_threads > 1 && !teams[n_threads])
        assert_int_equal(rt_team_new(n_threads, RT_WAIT_AUTO, &teams[n_threads], NULL), KV_OK);
    return (cal_team){share, teams[n_threads]};
}

/* Of the second half of a chunk, entropy counts. */
static cal_stats *gather(const data *d, uint32_t batch, int n_threads) {
    const cal_shape shape = {LAYERS, HEADS, KV, DIM, SINKS, 2048, TOKENS, NULL, NULL, NULL};
    cal_stats *s = NULL;
    assert_int_equal(cal_stats_new(&shape, &s, NULL), KV_OK);
    for (uint32_t t = 0; t < TOKENS; t += batch)
        for (uint32_t l = 0; l < LAYERS; l++) {
            const size_t at = (size_t)t * KV * DIM;
            cal_stats_add(s,
                          &(cal_batch){.layer = l,
                                       .n = TOKENS - t < batch ? TOKENS - t : batch,
                                       .pos0 = t,
                                       .entropy_from = TOKENS / 2,
                                       .k = d->k + at,
                                       .v = d->v + at,
                                       .dk = d->dk + at,
                                       .dv = d->dv + at,
                                       .entropy = d->entropy + (size_t)t * HEADS},
                          team_of(n_threads));
        }
    return s;
}

static cal_cfg config(double bits, int n_threads) {
    cal_cfg cfg = CAL_CFG_DEFAULT;
    cfg.bits = bits;
    cfg.team = team_of(n_threads);
    cfg.search = rt_kernels_for(rt_cpu_detect())->tc_search;
    return cfg;
}

static prof *solve_with(const cal_stats *s, const cal_cfg *cfg) {
    prof *p = NULL;
    assert_int_equal(prof_new(LAYERS, HEADS, KV, DIM, &p, NULL), KV_OK);
    p->calib_ctx = 1024;
    assert_int_equal(cal_solve(s, cfg, p, NULL, NULL, NULL), KV_OK);
    return p;
}

static prof *solve(const cal_stats *s, double bits, int n_threads) {
    const cal_cfg cfg = config(bits, n_threads);
    return solve_with(s, &cfg);
}

/* Second moment of n vectors of one head, past the sinks, about their mean, or about zero; full matrix. */
static void moments(const float *all, uint32_t head, bool centred, double *c) {
    const float *x = all + (SINKS * KV + head) * DIM;
    const uint32_t n = TOKENS - SINKS, stride = KV * DIM;
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

/* w = analysis^T analysis: what an error costs, but for a factor. */
static void metric_of(const cal_transform *t, double *w) {
    double ft[DIM * DIM];
    for (uint32_t i = 0; i < DIM; i++)
        for (uint32_t j = 0; j < DIM; j++)
            ft[j * DIM + i] = t->analysis[i * DIM + j];
    la_mul_t(DIM, ft, ft, w);
}

static cal_transform transform_of(const cal_stats *s, uint32_t head, bool v, double damp) {
    cal_transform t;
    assert_int_equal(cal_transform_new(DIM, &t, NULL), KV_OK);
    assert_int_equal((v ? cal_transform_v : cal_transform_k)(&s->heads[head], s->pad, damp, &t, NULL), KV_OK);
    return t;
}

/* ---- statistics ---- */

static void calib_sums_do_not_depend_on_threads(void **state) {
    (void)state;
    data d = make_data(1);
    cal_stats *a = gather(&d, 1000, 1), *b = gather(&d, 1000, 3);
    size_t mat = (size_t)a->pad * a->pad * sizeof(double);
    for (uint32_t i = 0; i < LAYERS * KV; i++) {
        assert_memory_equal(a->heads[i].gk, b->heads[i].gk, mat);
        assert_memory_equal(a->heads[i].gv, b->heads[i].gv, mat);
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
    assert_int_equal(h->n, TOKENS - SINKS);
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

/* ---- transforms ---- */

/* analysis C analysis^T = diag(lambda) for the true covariance C (keys have an offset of 100 times their deviation), and
 * synthesis is the inverse of analysis. */
static void check_diagonal(const cal_transform *t, const double *c) {
    double fc[DIM * DIM], out[DIM * DIM];
    la_mul(DIM, t->analysis, c, fc);
    la_mul_t(DIM, fc, t->analysis, out);
    assert_float_equal(t->lambda[0], 1, 1e-12);
    for (uint32_t i = 0; i < DIM; i++) {
        assert_true(i == 0 || t->lambda[i] <= t->lambda[i - 1]);
        for (uint32_t j = 0; j < DIM; j++) {
            double sum = 0;
            for (uint32_t k = 0; k < DIM; k++)
                sum += t->analysis[i * DIM + k] * t->synthesis[j * DIM + k];
            assert_float_equal(sum, i == j, 1e-9);
            assert_float_equal(out[i * DIM + j], i == j ? t->lambda[i] : 0, 1e-4);
        }
    }
}

static void calib_transforms_diagonalise(void **state) {
    (void)state;
    data d = make_data(3);
    cal_stats *s = gather(&d, 512, 1);
    double c[DIM * DIM];
    for (uint32_t head = 0; head < KV; head++) {
        cal_transform k = transform_of(s, head, false, 0.3), v = transform_of(s, head, true, 0.3);
        moments(d.k, head, true, c);
        check_diagonal(&k, c);
        moments(d.v, head, false, c);
        check_diagonal(&v, c);
        cal_transform_free(&k);
        cal_transform_free(&v);
    }
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
    cal_transform t = transform_of(s, 0, false, 1e-4);
    for (uint32_t i = 0; i < DIM; i++)
        assert_float_equal(t.mean[i], mean[i], 1e-5);
    moments(d.k, 0, true, c);
    la_mul(DIM, t.analysis, c, fc);
    la_mul_t(DIM, fc, t.analysis, out);
    for (uint32_t i = 0; i < DIM; i++)
        assert_float_equal(out[i * DIM + i], t.lambda[i], 1e-5);
    cal_transform_free(&t);
    cal_stats_free(s);
    free_data(&d);
}

/* Second moment about zero of one head's gradients, whose lengths count to some power, in the scale that they have at full
 * length. */
static void fisher(const float *all, uint32_t head, double power, double *f) {
    float *raised = malloc(TOKENS * KV * DIM * sizeof *raised);
    double square = 0, trace = 0;
    for (uint32_t i = 0; i < TOKENS * KV; i++) {
        double length = 0;
        for (uint32_t j = 0; j < DIM; j++)
            length += (double)all[i * DIM + j] * (double)all[i * DIM + j];
        for (uint32_t j = 0; j < DIM; j++)
            raised[i * DIM + j] = length > 0 ? all[i * DIM + j] / (float)pow(length, (1 - power) / 2) : 0;
        if (i / KV >= SINKS && i % KV == head)
            square += length / (TOKENS - SINKS);
    }
    moments(raised, head, false, f);
    free(raised);
    for (uint32_t i = 0; i < DIM; i++)
        trace += f[i * DIM + i];
    for (uint32_t i = 0; i < DIM * DIM; i++)
        f[i] *= square / trace;
}

/* cost * analysis^T analysis = (F + damp * mean eigenvalue of F) / 2: an error e of a key or value costs e^T F e / 2 nats, F
 * the Fisher information (gradients are taken about zero, though here they have a mean). */
static void check_metric(const data *d, const cal_stats *s, double power) {
    for (uint32_t unit = 0; unit < 2 * KV; unit++)
        for (double damp = 1e-9; damp < 1; damp += 0.3) {
            const cal_head *h = &s->heads[unit / 2];
            cal_transform t = transform_of(s, unit / 2, unit % 2, damp);
            double f[DIM * DIM], w[DIM * DIM], mean = 0, got = unit % 2 ? h->gv_power.p : h->gk_power.p;
            assert_float_equal(got, power, 0.08 * power);
            fisher(unit % 2 ? d->dv : d->dk, unit / 2, got, f);
            metric_of(&t, w);
            for (uint32_t i = 0; i < DIM; i++)
                mean += f[i * DIM + i] / DIM;
            for (uint32_t i = 0; i < DIM; i++)
                for (uint32_t j = 0; j < DIM; j++)
                    assert_float_equal(t.cost * w[i * DIM + j], (f[i * DIM + j] + (i == j) * damp * mean) / 2, 1e-4 * mean);
            cal_transform_free(&t);
        }
}

static void calib_metric_is_the_fisher_information(void **state) {
    (void)state;
    data d = make_data(4);
    cal_stats *s = gather(&d, 512, 1);
    check_metric(&d, s, 1);
    cal_stats_free(s);
    free_data(&d);
}

/* Lengths of 1 that are made log-normal with deviation 1.5 and 10 tokens for each dimension wanted of 6,000: power 0.61. Some
 * tokens nobody reads. */
static void calib_tames_heavy_tails(void **state) {
    (void)state;
    uint32_t seed = 77;
    data d = make_data(5);
    for (uint32_t i = 0; i < TOKENS * KV; i++)
        for (int side = 0; side < 2; side++) {
            float *g = (side ? d.dv : d.dk) + i * DIM, square = 0;
            for (uint32_t j = 0; j < DIM; j++)
                square += g[j] * g[j];
            const float by = i % 7 == 3 ? 0 : expf(1.5f * normal(&seed)) / sqrtf(square);
            for (uint32_t j = 0; j < DIM; j++)
                g[j] *= by;
        }
    cal_stats *s = gather(&d, 2000, 1);
    check_metric(&d, s, sqrt(log(6000.0 / (10 * DIM)) / 4) / 1.5);
    cal_stats_free(s);
    free_data(&d);
}

/* ---- codecs ---- */

/* z of one vector; analysis is what the profile's basis is the inverse of. */
static void coefficients(const cal_transform *t, const float *x, float *z) {
    for (uint32_t i = 0; i < DIM; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < DIM; j++)
            sum += t->analysis[i * DIM + j] * ((double)x[j] - t->mean[j]);
        z[i] = (float)sum;
    }
}

/* Encode x as the runtime does; out = what it decodes to. */
static void code(const prof_tc *tc, const cal_transform *t, const float *x, double *out) {
    float z[DIM], scale[DIM], inverse[DIM], square[DIM], inv_sigma[DIM], trial[TRELLIS_TRIALS];
    trellis_weight weight[DIM];
    size_t n = 0;
    for (uint32_t i = 0; i < DIM; i++)
        out[i] = tc->mean[i];
    for (coefficients(t, x, z); n < DIM && tc->bits[n]; n++) {
        scale[n] = tc->sigma[n] * tc->step[tc->bits[n]];
        inv_sigma[n] = 1 / tc->sigma[n];
    }
    const trellis_book book = {n, tc->bits, scale, tc->levels, inverse, square, weight};
    trellis_weigh(n, tc->bits, scale, inverse, square, weight);
    uint8_t gain, codes[DIM * TRELLIS_GROUP];
    trellis_trials(n, z, inv_sigma, trial);
    rt_kernels_for(rt_cpu_detect())->tc_search(&book, z, DIM, 1, trial, &gain, codes, TRELLIS_GROUP);
    unsigned path = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned c = codes[i * TRELLIS_GROUP];
        path = (path << 1 | (c & 1)) & 15;
        double value = (double)trellis_gain(gain) * scale[i] * tc->levels[trellis_table(tc->bits[i]) + c / 2 * 16 + path];
        for (uint32_t j = 0; j < DIM; j++)
            out[j] += value * tc->basis[i * DIM + j];
    }
}

/* Mean e^T W e over every fourth token; W NULL: |e|^2. */
static double error_of(const prof_tc *tc, const cal_transform *t, const float *x, uint32_t head, const double *w) {
    double sum = 0, out[DIM], e[DIM];
    for (uint32_t n = SINKS; n < TOKENS; n += 4) {
        const float *one = x + ((size_t)n * KV + head) * DIM;
        code(tc, t, one, out);
        for (uint32_t i = 0; i < DIM; i++)
            e[i] = one[i] - out[i];
        for (uint32_t i = 0; i < DIM; i++)
            for (uint32_t j = 0; j < DIM; j++)
                sum += w ? e[i] * w[i * DIM + j] * e[j] : i == j ? e[i] * e[i] : 0;
    }
    return 4 * sum / (TOKENS - SINKS);
}

/* What no code of so many bits can beat: Shannon's bound for normally distributed coefficients. */
static double least_error(const cal_transform *t, uint32_t bits) {
    double log_sum = -2.0 * bits;
    for (uint32_t i = 0; i < DIM; i++)
        log_sum += log2(t->lambda[i]);
    return DIM * exp2(log_sum / DIM);
}

/* Theory says that a vector costs sum lambda_i D(b_i), in the metric. Fitted levels and the gain must get at least close to it
 * on tokens that were not used for fitting, through the rounded numbers of the profile. */
static void calib_codecs_reach_theory(void **state) {
    (void)state;
    data d = make_data(5), fresh = make_data(6);
    cal_stats *s = gather(&d, 512, 1);
    const cal_cfg cfg = config(4, 1);
    prof *p = solve_with(s, &cfg);
    cal_gauss *g = malloc(sizeof *g);
    assert_int_equal(cal_gauss_init(g, cfg.search, NULL), KV_OK);
    for (int v = 0; v < 2; v++) {
        cal_transform t = transform_of(s, 1, v, cfg.damp);
        const prof_tc *tc = &(v ? &p->layers[0].v : &p->layers[0].k)->heads[1];
        double w[DIM * DIM], want = 0;
        metric_of(&t, w);
        for (uint32_t i = 0; i < DIM; i++)
            want += t.lambda[i] * g->distortion[tc->bits[i]];
        double noise = error_of(tc, &t, v ? fresh.v : fresh.k, 1, w);
        assert_true(noise < 1.1 * want);
        assert_true(noise > least_error(&t, prof_tc_vector_bits(tc))); /* else the figure is wrong */
        cal_transform_free(&t);
    }
    free(g);
    prof_free(p);
    cal_stats_free(s);
    free_data(&d);
    free_data(&fresh);
}

/* Bits that coefficients of head 0 gain, on average over those that have some, but not all, before and after. */
static double gained(const prof_kv *before, const prof_kv *after) {
    double sum = 0, n = 0;
    for (uint32_t i = 0; i < DIM; i++) {
        const int b = before->heads[0].bits[i], a = after->heads[0].bits[i];
        if (b > 0 && b < PROF_MAX_BITS && a > 0 && a < PROF_MAX_BITS)
            sum += a - b, n++;
    }
    assert_true(n >= 4);
    return sum / n;
}

/* Keys that count four times as much get a bit more than values that do not. */
static void calib_weight_of_keys_moves_bits(void **state) {
    (void)state;
    data d = make_data(17);
    cal_stats *s = gather(&d, 512, 1);
    cal_cfg cfg = config(3, 1);
    cfg.key_weight = 1;
    prof *even = solve_with(s, &cfg);
    cfg.key_weight = 4;
    prof *keys = solve_with(s, &cfg);
    for (uint32_t l = 0; l < LAYERS; l++) {
        const prof_layer *a = &even->layers[l], *b = &keys->layers[l];
        assert_float_equal(gained(&a->k, &b->k) - gained(&a->v, &b->v), 1, 0.25);
    }
    prof_free(even);
    prof_free(keys);
    cal_stats_free(s);
    free_data(&d);
}

static uint32_t bits_of(const prof_tc *t) {
    return prof_tc_vector_bits(t) - TRELLIS_GAIN_BITS;
}

/* All of model and text the same but for the gradients of one head, ten times those of another: at equal loss per bit it gets
 * log2(10) bits more per coefficient, times the exponent. Whole bits make it come out only on average, over coefficients
 * that have neither none nor all of them. */
static void calib_larger_gradients_get_more_bits(void **state) {
    (void)state;
    data d = make_data(13);
    for (uint32_t t = 0; t < TOKENS; t++) {
        float *from = d.k + (size_t)t * KV * DIM, *grad = d.dk + (size_t)t * KV * DIM;
        memcpy(from + DIM, from, DIM * sizeof *from);
        for (uint32_t i = 0; i < DIM; i++)
            grad[DIM + i] = 10 * grad[i];
    }
    memset(d.dv, 0, TOKENS * KV * DIM * sizeof *d.dv); /* values cost nothing: all bits go to keys */
    cal_stats *s = gather(&d, 512, 1);
    for (double exponent = 0.5; exponent <= 1; exponent += 0.25) {
        cal_cfg cfg = config(1.75, 1);
        cfg.exponent = exponent;
        prof *p = solve_with(s, &cfg);
        for (uint32_t l = 0; l < LAYERS; l++) {
            const prof_tc *k = p->layers[l].k.heads, *v = p->layers[l].v.heads;
            int more = 0, coded = 0;
            for (uint32_t i = 0; i < DIM; i++)
                if (k[0].bits[i] > 0 && k[1].bits[i] < PROF_MAX_BITS)
                    more += k[1].bits[i] - k[0].bits[i], coded++;
            assert_true(coded >= 4);
            assert_float_equal((double)more / coded, exponent * log2(10), 0.25);
            assert_int_equal(bits_of(&v[0]) + bits_of(&v[1]), 0);
        }
        prof_free(p);
    }
    cal_stats_free(s);
    free_data(&d);
}

/* Gradients along one direction only, in which keys have little variance: it is coded far better than without them. */
static void calib_directions_of_gradients_matter(void **state) {
    (void)state;
    data d = make_data(14);
    cal_stats *plain, *aimed;
    const uint32_t along = DIM - 1; /* falling spectrum: the smallest */
    for (uint32_t i = 0; i < TOKENS * KV * DIM; i++)
        d.dk[i] = i % DIM == along ? 0.1f : 0.001f * d.dv[i];
    aimed = gather(&d, 512, 1);
    uint32_t seed = 15;
    for (uint32_t i = 0; i < TOKENS * KV * DIM; i++)
        d.dk[i] = 0.02f * normal(&seed); /* all directions alike */
    plain = gather(&d, 512, 1);
    double one[DIM * DIM] = {0}, at[2], all[2];
    one[along * DIM + along] = 1;
    for (int i = 0; i < 2; i++) {
        const cal_cfg cfg = config(3, 1);
        prof *p = solve_with(i ? aimed : plain, &cfg);
        cal_transform t = transform_of(i ? aimed : plain, 0, false, cfg.damp);
        at[i] = error_of(&p->layers[0].k.heads[0], &t, d.k, 0, one);
        all[i] = error_of(&p->layers[0].k.heads[0], &t, d.k, 0, NULL);
        cal_transform_free(&t);
        prof_free(p);
    }
    assert_true(at[1] < at[0] / 10);
    assert_true(all[1] > all[0]); /* others pay for it */
    cal_stats_free(plain);
    cal_stats_free(aimed);
    free_data(&d);
}

/* Values keep no mean, even where they have one: it would be added to tokens that have tiny values. Keys do. */
static void calib_values_keep_no_mean(void **state) {
    (void)state;
    data d = make_data(16);
    for (uint32_t i = 0; i < TOKENS * KV * DIM; i++)
        d.v[i] += 1;
    cal_stats *s = gather(&d, 512, 1);
    prof *p = solve(s, 4, 1);
    for (uint32_t l = 0; l < LAYERS; l++)
        for (uint32_t h = 0; h < KV; h++)
            for (uint32_t i = 0; i < DIM; i++) {
                assert_true(p->layers[l].v.heads[h].mean[i] == 0);
                assert_float_equal(p->layers[l].k.heads[h].mean[i], 100.0 * (i % 3), 2);
            }
    prof_free(p);
    cal_stats_free(s);
    free_data(&d);
}

static void calib_profile_is_valid_and_near_target(void **state) {
    (void)state;
    data d = make_data(7);
    cal_stats *s = gather(&d, 512, 1);
    for (double bits = 1; bits <= 6; bits += 0.81) {
        prof *p = solve(s, bits, 1);
        double sum = 0;
        kv_err err;
        prof_round(p);
        assert_int_equal(prof_check(p, "test", &err), KV_OK);
        for (uint32_t l = 0; l < LAYERS; l++) {
            sum += (p->layers[l].k.bits + p->layers[l].v.bits) / (2 * LAYERS);
            assert_int_equal(p->layers[l].k.codec, KV_TC);
            assert_true(p->layers[l].importance[0] > 0.25 && p->layers[l].importance[0] <= 1);
        }
        assert_true(sum <= bits + 1e-6 && sum > bits - 0.05);
        prof_free(p);
    }
    cal_stats_free(s);
    free_data(&d);
}

/* Rounding to storage precision must not change a profile: what is measured is what is written. */
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
            assert_memory_equal(a->step, b->step, (PROF_MAX_BITS + 1) * sizeof(float));
            assert_memory_equal(a->levels, b->levels, TRELLIS_LEVELS);
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
    cal_budget_by_entropy(NULL, 0.5, p);
    assert_int_equal(p->layers[0].budget, 1000); /* would be more: capped, and the rest shared again */
    assert_int_equal(p->layers[1].budget, 32 + (1000 - 3 * 32) / 2);
    assert_int_equal(p->layers[2].budget, 32 + (1000 - 3 * 32) / 4);
    assert_int_equal(p->layers[3].budget, p->layers[2].budget);
    p->calib_ctx = 0;
    cal_budget_by_entropy(NULL, 0.5, p);
    assert_int_equal(p->layers[0].budget, 0);
    prof_free(p);
}

/* A head whose keys never change, values that are all zero, and no gradients: still a valid profile. */
static void calib_degenerate_heads_are_valid(void **state) {
    (void)state;
    data d = make_data(10);
    memset(d.dv, 0, TOKENS * KV * DIM * sizeof *d.dv);
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
    const cal_shape bad = {LAYERS, HEADS, 3, DIM, SINKS, 10, TOKENS, NULL, NULL, NULL},
                    empty = {LAYERS, HEADS, KV, DIM, SINKS, 10, TOKENS, NULL, NULL, NULL};
    cal_stats *s = NULL;
    prof *p = NULL;
    cal_cfg cfg = config(4, 2);
    double seen = -1;
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
    cfg.bits = 0.4; /* just the gain */
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, &err), KV_ERANGE);
    cfg.bits = 4;
    cfg.damp = 0;
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, &err), KV_ERANGE);
    cfg.damp = 0.3;
    cfg.exponent = NAN;
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, &err), KV_ERANGE);
    cfg.exponent = 1;
    cfg.key_weight = 0;
    assert_int_equal(cal_solve(s, &cfg, p, NULL, NULL, &err), KV_ERANGE);
    cfg.key_weight = 1;
    assert_int_equal(cal_solve(s, &cfg, p, stop_at_once, &seen, &err), KV_ECANCEL);
    assert_true(seen >= 0 && seen < 1);
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
        cmocka_unit_test(calib_transforms_diagonalise),
        cmocka_unit_test(calib_large_key_offsets_cost_nothing),
        cmocka_unit_test(calib_metric_is_the_fisher_information),
        cmocka_unit_test(calib_tames_heavy_tails),
        cmocka_unit_test(calib_codecs_reach_theory),
        cmocka_unit_test(calib_larger_gradients_get_more_bits),
        cmocka_unit_test(calib_weight_of_keys_moves_bits),
        cmocka_unit_test(calib_directions_of_gradients_matter),
        cmocka_unit_test(calib_values_keep_no_mean),
        cmocka_unit_test(calib_profile_is_valid_and_near_target),
        cmocka_unit_test(calib_profile_is_already_rounded),
        cmocka_unit_test(calib_entropy_in_bits_of_the_second_half),
        cmocka_unit_test(calib_budget_follows_width_and_keeps_the_average),
        cmocka_unit_test(calib_degenerate_heads_are_valid),
        cmocka_unit_test(calib_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
