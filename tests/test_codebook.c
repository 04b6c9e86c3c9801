/* Trellis codebooks: those of the normal distribution against the bounds of theory, and those fitted to samples: gain over the
 * normal ones where the samples are not normal, few samples, constant samples. */
#include "cache_fixture.h"
#include "calib_internal.h"
#include "quant/lloyd_max.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static cal_gauss gauss; /* filled once by the group's setup */

static trellis_search_fn *fast(void) {
    return rt_kernels_for(rt_cpu_detect())->tc_search;
}

static int setup(void **state) {
    (void)state;
    return cal_gauss_init(&gauss, fast(), NULL);
}

enum { DIM = 16, N = 4096 };

/* One codec of DIM coefficients, `bits` each, sigma as given. */
static prof_tc codec(uint8_t bits, float sigma) {
    prof_tc t = {0};
    assert_int_equal(prof_tc_alloc(&t, DIM, NULL), KV_OK);
    for (uint32_t i = 0; i < DIM; i++)
        t.bits[i] = bits, t.sigma[i] = sigma;
    return t;
}

static void drop(prof_tc *t) {
    free(t->bits);
    free(t->mean);
    free(t->basis);
    free(t->sigma);
    free(t->step);
    free(t->levels);
}

static void fit(const float *z, uint32_t n, prof_tc *t) {
    assert_int_equal(cal_fit_levels(&gauss, fast(), z, n, t, NULL), KV_OK);
}

/* Steps are f16 numbers above 0, and levels of every table use the whole range of a byte and rise within a window. */
static void assert_stored(const prof_tc *t) {
    for (unsigned b = 1; b <= PROF_MAX_BITS; b++) {
        int most = 0;
        assert_true(t->step[b] > 0 && isfinite(t->step[b]) && t->step[b] == to_f16(t->step[b]));
        for (size_t i = trellis_table(b); i < trellis_table(b + 1); i++) {
            most = abs(t->levels[i]) > most ? abs(t->levels[i]) : most;
            assert_true(i < trellis_table(b) + TRELLIS_WINDOWS || t->levels[i] >= t->levels[i - TRELLIS_WINDOWS]);
        }
        assert_int_equal(most, 127);
    }
}

/* Mean squared error of samples z (n, DIM) as the runtime would code them. */
static double error_of(const prof_tc *t, const float *z, uint32_t n) {
    float scale[DIM], inverse[DIM], square[DIM], inv_sigma[DIM], trial[TRELLIS_TRIALS];
    trellis_weight weight[DIM];
    uint8_t gain, codes[DIM * TRELLIS_GROUP];
    const trellis_book book = {DIM, t->bits, scale, t->levels, inverse, square, weight};
    double sum = 0;
    for (uint32_t i = 0; i < DIM; i++) {
        scale[i] = t->sigma[i] * t->step[t->bits[i]];
        inv_sigma[i] = 1 / t->sigma[i];
    }
    trellis_weigh(DIM, t->bits, scale, inverse, square, weight);
    for (uint32_t s = 0; s < n; s++, z += DIM) {
        unsigned path = 0;
        trellis_trials(DIM, z, inv_sigma, trial);
        fast()(&book, z, DIM, 1, trial, &gain, codes, TRELLIS_GROUP);
        for (uint32_t i = 0; i < DIM; i++) {
            unsigned code = codes[i * TRELLIS_GROUP];
            path = (path << 1 | (code & 1)) & 15;
            sum += pow(z[i] - tc_gain(gain) * scale[i] * t->levels[(8u << t->bits[i]) - 16 + code / 2 * 16 + path], 2);
        }
    }
    return sum / ((double)n * DIM);
}

static void codebook_normal_tables_reach_theory(void **state) {
    (void)state;
    assert_true(gauss.distortion[0] == 1);
    for (int b = 1; b <= PROF_MAX_BITS; b++) {
        double scalar[1 << PROF_MAX_BITS], limit = pow(4, -b);
        assert_true(gauss.distortion[b] > limit * 1.1);                                       /* rate-distortion theory */
        assert_true(gauss.distortion[b] < lloyd_max_normal(1u << b, scalar) / pow(10, 0.06)); /* by 0.6 dB at least */
    }
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The levels of a table, over all windows, lie like the normal distribution: as many above zero as below, with the same sizes.
 * Only nearly: they are fitted to drawn numbers. */
static void codebook_normal_tables_are_symmetric(void **state) {
    (void)state;
    for (unsigned b = 1; b <= PROF_MAX_BITS; b++) {
        const size_t n = (size_t)TRELLIS_STATES << b;
        float level[TRELLIS_STATES << PROF_MAX_BITS];
        double off = 0;
        memcpy(level, gauss.levels + trellis_table(b), n * sizeof *level);
        qsort(level, n, sizeof *level, by_size);
        for (size_t i = 0; i < n; i++)
            off = fmax(off, fabs((double)level[i] + level[n - 1 - i]));
        assert_true(off < 0.3);
    }
}

/* A two-point mixture is far from normal: fitted levels must be several times better than the normal table, on other samples.
 */
static void codebook_fit_beats_normal_table(void **state) {
    (void)state;
    float *z = malloc(2 * N * DIM * sizeof *z);
    uint64_t seed = 1;
    for (uint32_t i = 0; i < 2 * N * DIM; i++)
        z[i] = (rnd(&seed) < 0.5 ? -1.f : 1.f) + 0.02f * rnd_normal(&seed);
    prof_tc t = codec(2, 1), normal = codec(2, 1);
    fit(z, N, &t);
    fit(z, 0, &normal);
    assert_stored(&t);
    assert_true(error_of(&t, z + N * DIM, N) < 0.02 * error_of(&normal, z + N * DIM, N));
    drop(&t);
    drop(&normal);
    free(z);
}

/* Lloyd's iteration the slow way: every sample against every level. Returns the mean squared error. */
static double plain_lloyd(const float *x, uint32_t n, uint32_t n_levels, float *c) {
    double error = 0;
    for (int round = 0; round < 60; round++) {
        double sum[1 << PROF_MAX_BITS] = {0};
        uint32_t count[1 << PROF_MAX_BITS] = {0};
        error = 0;
        for (uint32_t s = 0; s < n; s++) {
            uint32_t best = 0;
            for (uint32_t j = 1; j < n_levels; j++)
                best = fabsf(x[s] - c[j]) < fabsf(x[s] - c[best]) ? j : best;
            sum[best] += (double)x[s], count[best]++;
            error += pow(x[s] - c[best], 2) / n;
        }
        for (uint32_t j = 0; j < n_levels; j++)
            c[j] = count[j] ? (float)(sum[j] / count[j]) : c[j];
    }
    return error;
}

/* Skewed samples of both signs, far from the start: the fit must be better than the best scalar quantiser, nearly by what the
 * trellis gains on normal ones (1.4 dB). All samples of a token are the same but for their order, so that every token has the
 * same gain, which is no help here: the gain itself is not among those that are tried. */
static void codebook_fit_beats_plain_lloyd_on_skewed_samples(void **state) {
    (void)state;
    enum { BITS = 3, LEVELS = 1 << BITS };
    float *z = malloc(N * DIM * sizeof *z), plain[LEVELS], value[DIM];
    uint64_t seed = 4;
    double energy = 0, scalar[LEVELS];
    for (uint32_t i = 0; i < DIM; i++)
        value[i] = (float)(pow((i + 0.5) / DIM, 3) * (i % 4 ? -3 : 1));
    for (uint32_t s = 0; s < N; s++)
        for (uint32_t i = 0; i < DIM; i++)
            z[s * DIM + i] = value[(i * 5 + s) % DIM] + 0.2f * rnd_normal(&seed);
    for (uint32_t i = 0; i < N * DIM; i++)
        energy += (double)z[i] * z[i] / (N * DIM);
    float sigma = to_f16((float)sqrt(energy));
    prof_tc t = codec(BITS, sigma), normal = codec(BITS, sigma);
    fit(z, N, &t);
    fit(z, 0, &normal);
    lloyd_max_normal(LEVELS, scalar);
    for (uint32_t j = 0; j < LEVELS; j++)
        plain[j] = (float)scalar[j] * sigma;
    double fitted = error_of(&t, z, N);
    assert_true(fitted < 0.7 * error_of(&normal, z, N));
    assert_true(fitted < 0.8 * plain_lloyd(z, N * DIM, LEVELS, plain)); /* 1 dB */
    drop(&t);
    drop(&normal);
    free(z);
}

/* Tokens of very different size: levels must describe the shape alone, so they come out as for equal sizes. */
static void codebook_fit_ignores_token_size(void **state) {
    (void)state;
    float *z = rnd_fill(N * DIM, 2), *big = malloc(N * DIM * sizeof *z);
    for (uint32_t i = 0; i < N * DIM; i++)
        big[i] = z[i] * (float)(1 << i / DIM % 4);
    prof_tc a = codec(3, 1), b = codec(3, 1), normal = codec(3, 1);
    fit(z, N, &a);
    fit(big, N, &b);
    fit(z, 0, &normal);
    assert_memory_equal(a.levels, b.levels, TRELLIS_LEVELS);
    assert_memory_equal(a.step, b.step, (PROF_MAX_BITS + 1) * sizeof *a.step);
    assert_memory_not_equal(a.levels, normal.levels, TRELLIS_LEVELS);
    drop(&a);
    drop(&b);
    drop(&normal);
    free(big);
    free(z);
}

/* Only tables that are in use are fitted; the others stay as they were. */
static void codebook_fits_only_tables_in_use(void **state) {
    (void)state;
    float *z = rnd_fill(N * DIM, 3);
    prof_tc t = codec(2, 1), normal = codec(0, 1);
    for (int i = 0; i < DIM; i++)
        t.bits[i] = i < 4 ? 5 : i < 12 ? 2 : 0;
    fit(z, N, &t);
    fit(z, 0, &normal);
    assert_stored(&t);
    for (unsigned b = 1; b <= PROF_MAX_BITS; b++) {
        size_t from = trellis_table(b), n = trellis_table(b + 1) - from;
        bool used = b == 2 || b == 5;
        assert_int_equal(memcmp(t.levels + from, normal.levels + from, n) != 0, used);
        assert_true(used || t.step[b] == normal.step[b]);
    }
    drop(&t);
    drop(&normal);
    free(z);
}

static void codebook_few_samples_stay_normal(void **state) {
    (void)state;
    float *z = rnd_fill(3 * DIM, 3);
    for (uint32_t n = 0; n <= 3; n++) {
        prof_tc t = codec(4, 0.5f);
        fit(z, n, &t);
        assert_stored(&t);
        for (unsigned b = 1; b <= PROF_MAX_BITS; b++)
            for (size_t i = trellis_table(b); i < trellis_table(b + 1); i++)
                assert_float_equal(t.step[b] * t.levels[i], gauss.levels[i], t.step[b] * 0.6); /* rounding, of the step too */
        drop(&t);
    }
    free(z);
}

static void codebook_constant_and_zero_samples_stay_usable(void **state) {
    (void)state;
    float *z = calloc(N * DIM, sizeof *z);
    for (uint8_t bits = 1; bits <= PROF_MAX_BITS; bits++) {
        prof_tc t = codec(bits, 0x1p-12f);
        fit(z, N, &t);
        assert_stored(&t);
        assert_true(error_of(&t, z, 1) == 0);
        for (uint32_t i = 0; i < N * DIM; i++)
            z[i] = 0.25f;
        fit(z, N, &t);
        assert_stored(&t);
        assert_true(error_of(&t, z, 1) < 1e-3 * 0.25 * 0.25);
        memset(z, 0, N * DIM * sizeof *z);
        drop(&t);
    }
    free(z);
}

static void codebook_no_coded_coefficient(void **state) {
    (void)state;
    float z[DIM] = {1};
    prof_tc t = codec(0, 1);
    fit(z, 1, &t);
    assert_stored(&t);
    drop(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codebook_normal_tables_reach_theory),
        cmocka_unit_test(codebook_normal_tables_are_symmetric),
        cmocka_unit_test(codebook_fit_beats_normal_table),
        cmocka_unit_test(codebook_fit_beats_plain_lloyd_on_skewed_samples),
        cmocka_unit_test(codebook_fit_ignores_token_size),
        cmocka_unit_test(codebook_fits_only_tables_in_use),
        cmocka_unit_test(codebook_few_samples_stay_normal),
        cmocka_unit_test(codebook_constant_and_zero_samples_stay_usable),
        cmocka_unit_test(codebook_no_coded_coefficient),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
