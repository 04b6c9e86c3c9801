/* Lloyd-Max tables against Max's (1960) published errors; codebooks fitted to samples: gain over the tables where the samples
 * are not normal, few samples, constant samples. */
#include "calib_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static cal_gauss gauss; /* filled once by the group's setup */

static int setup(void **state) {
    (void)state;
    cal_gauss_init(&gauss);
    return 0;
}

static double uniform(uint32_t *x) {
    *x = *x * 1664525u + 1013904223u;
    return (*x + 0.5) / 4294967296.0;
}

static float normal(uint32_t *x) {
    double u = uniform(x), v = uniform(x);
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

/* One codec of `dim` coefficients, `bits` each, sigma as given. */
static prof_tc codec(uint32_t dim, uint8_t bits, float sigma) {
    prof_tc t = {0};
    assert_int_equal(prof_tc_alloc(&t, dim, NULL), KV_OK);
    for (uint32_t i = 0; i < dim; i++)
        t.bits[i] = bits, t.sigma[i] = sigma;
    assert_int_equal(prof_tc_alloc_levels(&t, NULL), KV_OK);
    return t;
}

static void drop(prof_tc *t) {
    free(t->bits);
    free(t->mean);
    free(t->basis);
    free(t->sigma);
    free(t->levels);
}

static void assert_ascending(const prof_tc *t) {
    const float *c = t->levels;
    for (uint32_t i = 0; i < t->dim; i++)
        for (uint32_t j = 0; j < 1u << t->bits[i] && t->bits[i]; j++, c++) {
            assert_true(isfinite(*c));
            assert_true(j == 0 || c[0] > c[-1]);
        }
}

static void codebook_normal_tables_match_max(void **state) {
    (void)state;
    const double published[] = {1, 0.3634, 0.1175, 0.03454, 0.009497, 0.002499}; /* Max 1960, table I */
    for (int b = 0; b <= 5; b++)
        assert_float_equal(gauss.distortion[b], published[b], published[b] * 3e-3);
    assert_float_equal(gauss.levels[1][1], sqrt(2 / 3.14159265358979), 1e-7);
    assert_float_equal(gauss.levels[2][3], 1.510, 1e-3);
    assert_float_equal(gauss.levels[2][2], 0.4528, 1e-4);
    assert_true(gauss.distortion[6] < gauss.distortion[5] / 3.7);
}

static void codebook_normal_tables_are_symmetric(void **state) {
    (void)state;
    for (int b = 1; b <= PROF_MAX_BITS; b++)
        for (int i = 0; i < 1 << b; i++)
            assert_float_equal(gauss.levels[b][i], -gauss.levels[b][(1 << b) - 1 - i], 1e-7);
}

/* Mean squared error of one coefficient, each sample divided by gain 1. */
static double error_of(const float *levels, uint32_t n_levels, const float *x, uint32_t n) {
    double sum = 0;
    for (uint32_t s = 0; s < n; s++) {
        double best = INFINITY;
        for (uint32_t j = 0; j < n_levels; j++)
            best = fmin(best, ((double)x[s] - levels[j]) * ((double)x[s] - levels[j]));
        sum += best;
    }
    return sum / n;
}

enum { DIM = 16, N = 4096 };

/* A two-point mixture is far from normal: fitted levels must be several times better than the normal table, on other samples.
 */
static void codebook_fit_beats_normal_table(void **state) {
    (void)state;
    float *z = malloc(2 * N * DIM * sizeof *z), x[N];
    uint32_t seed = 1;
    for (uint32_t i = 0; i < 2 * N * DIM; i++)
        z[i] = (uniform(&seed) < 0.5 ? -1.f : 1.f) + 0.02f * normal(&seed);
    prof_tc t = codec(DIM, 2, 1);
    assert_int_equal(cal_fit_levels(&gauss, z, N, &t, NULL), KV_OK);
    assert_ascending(&t);
    for (uint32_t s = 0; s < N; s++)
        x[s] = z[(size_t)(N + s) * DIM + 3];
    float table[4];
    for (int j = 0; j < 4; j++)
        table[j] = (float)gauss.levels[2][j];
    assert_true(error_of(t.levels + 3 * 4, 4, x, N) < 0.2 * error_of(table, 4, x, N));
    drop(&t);
    free(z);
}

/* Lloyd's iteration the slow way: every sample against every level. */
static void plain_lloyd(const float *x, uint32_t n, uint32_t n_levels, float *c) {
    for (int round = 0; round < 60; round++) {
        double sum[CAL_MAX_LEVELS] = {0};
        uint32_t count[CAL_MAX_LEVELS] = {0};
        for (uint32_t s = 0; s < n; s++) {
            uint32_t best = 0;
            for (uint32_t j = 1; j < n_levels; j++)
                best = fabsf(x[s] - c[j]) < fabsf(x[s] - c[best]) ? j : best;
            sum[best] += (double)x[s], count[best]++;
        }
        for (uint32_t j = 0; j < n_levels; j++)
            c[j] = count[j] ? (float)(sum[j] / count[j]) : c[j];
    }
}

/* Skewed samples of both signs, far from the start: the fit must come as close as a plain Lloyd iteration does. All samples of
 * a token are the same but for their order over the coefficients, so that every token has the same gain. */
static void codebook_fit_is_as_good_as_plain_lloyd(void **state) {
    (void)state;
    enum { BITS = 4, LEVELS = 1 << BITS };
    float *z = malloc(N * DIM * sizeof *z), x[N], plain[LEVELS], value[DIM];
    uint32_t seed = 4;
    double energy = 0;
    for (uint32_t i = 0; i < DIM; i++)
        value[i] = (float)(pow((i + 0.5) / DIM, 3) * (i % 4 ? -3 : 1));
    for (uint32_t s = 0; s < N; s++)
        for (uint32_t i = 0; i < DIM; i++)
            z[s * DIM + i] = value[(i + s) % DIM] + 0.05f * normal(&seed);
    for (uint32_t i = 0; i < N * DIM; i++)
        energy += (double)z[i] * z[i] / (N * DIM);
    float sigma = (float)sqrt(energy);
    prof_tc t = codec(DIM, BITS, sigma);
    assert_int_equal(cal_fit_levels(&gauss, z, N, &t, NULL), KV_OK);
    for (uint32_t s = 0; s < N; s++)
        x[s] = z[(size_t)s * DIM];
    for (uint32_t j = 0; j < LEVELS; j++)
        plain[j] = (float)gauss.levels[BITS][j] * sigma;
    plain_lloyd(x, N, LEVELS, plain);
    assert_true(error_of(t.levels, LEVELS, x, N) < 1.1 * error_of(plain, LEVELS, x, N));
    drop(&t);
    free(z);
}

/* Tokens of very different size: levels must describe the shape alone, so they come out as for equal sizes. */
static void codebook_fit_ignores_token_size(void **state) {
    (void)state;
    float *z = malloc(N * DIM * sizeof *z), *big = malloc(N * DIM * sizeof *z);
    uint32_t seed = 2;
    for (uint32_t s = 0; s < N; s++)
        for (uint32_t i = 0; i < DIM; i++) {
            z[s * DIM + i] = normal(&seed);
            big[s * DIM + i] = z[s * DIM + i] * (float)(1 << s % 8);
        }
    prof_tc a = codec(DIM, 3, 1), b = codec(DIM, 3, 1);
    assert_int_equal(cal_fit_levels(&gauss, z, N, &a, NULL), KV_OK);
    assert_int_equal(cal_fit_levels(&gauss, big, N, &b, NULL), KV_OK);
    assert_memory_equal(a.levels, b.levels, DIM * 8 * sizeof(float));
    drop(&a);
    drop(&b);
    free(big);
    free(z);
}

static void codebook_few_samples_stay_normal(void **state) {
    (void)state;
    float z[3 * DIM];
    uint32_t seed = 3;
    for (uint32_t i = 0; i < 3 * DIM; i++)
        z[i] = normal(&seed);
    for (uint32_t n = 0; n <= 3; n++) {
        prof_tc t = codec(DIM, 4, 0.5f);
        assert_int_equal(cal_fit_levels(&gauss, z, n, &t, NULL), KV_OK);
        assert_ascending(&t);
        for (uint32_t j = 0; j < 16; j++)
            assert_float_equal(t.levels[j], 0.5 * gauss.levels[4][j], 1e-3);
        drop(&t);
    }
}

static void codebook_constant_and_zero_samples_stay_ascending(void **state) {
    (void)state;
    float *z = calloc(N * DIM, sizeof *z);
    prof_tc t = codec(DIM, 6, 0x1p-12f);
    assert_int_equal(cal_fit_levels(&gauss, z, N, &t, NULL), KV_OK);
    assert_ascending(&t);
    for (uint32_t i = 0; i < N * DIM; i++)
        z[i] = 0.25f;
    assert_int_equal(cal_fit_levels(&gauss, z, N, &t, NULL), KV_OK);
    assert_ascending(&t);
    drop(&t);
    free(z);
}

static void codebook_no_coded_coefficient(void **state) {
    (void)state;
    float z[DIM] = {1};
    prof_tc t = codec(DIM, 0, 1);
    assert_int_equal(cal_fit_levels(&gauss, z, 1, &t, NULL), KV_OK);
    drop(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codebook_fit_is_as_good_as_plain_lloyd),
        cmocka_unit_test(codebook_normal_tables_match_max),
        cmocka_unit_test(codebook_normal_tables_are_symmetric),
        cmocka_unit_test(codebook_fit_beats_normal_table),
        cmocka_unit_test(codebook_fit_ignores_token_size),
        cmocka_unit_test(codebook_few_samples_stay_normal),
        cmocka_unit_test(codebook_constant_and_zero_samples_stay_ascending),
        cmocka_unit_test(codebook_no_coded_coefficient),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
