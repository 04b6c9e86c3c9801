/* The trellis quantiser: gains, the search against all possible codes and against itself, and what it gains on scalar
 * quantisers. What codes stand for is worked out here from the words of trellis.h, in double. */
#include "cache_fixture.h"
#include "calib_internal.h"
#include "profile_fixture.h"
#include "quant/lloyd_max.h"

#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { GROUP = TRELLIS_GROUP, TRIALS = TRELLIS_TRIALS, MAX_N = 64 };

/* A codebook with its arrays: bits as given, levels of any kind. */
typedef struct book {
    trellis_book b;
    uint8_t bits[MAX_N];
    float scale[MAX_N], inverse[MAX_N], square[MAX_N], step[PROF_MAX_BITS + 1];
    trellis_weight weight[MAX_N];
    int8_t levels[TRELLIS_LEVELS];
} book;

static void book_init(book *k, size_t n) {
    memset(k, 0, sizeof *k);
    k->b = (trellis_book){n, k->bits, k->scale, k->levels, k->inverse, k->square, k->weight};
    for (size_t i = 0; i < n; i++)
        k->scale[i] = 1;
}

static void search(book *k, const float *z, size_t ldz, size_t n, const float *trial, uint8_t *gain, uint8_t *codes) {
    trellis_weigh(k->b.n, k->bits, k->scale, k->inverse, k->square, k->weight);
    trellis_search(&k->b, z, ldz, n, trial, gain, codes, GROUP);
}

static void random_levels(book *k, uint64_t *seed) {
    for (int i = 0; i < TRELLIS_LEVELS; i++)
        k->levels[i] = (int8_t)(rnd(seed) * 255 - 127);
    fixture_sort_levels(k->levels);
}

/* What codes (one every `stride`) stand for, as error against z; every code must have its bits. */
static double error_of(const trellis_book *b, const float *z, double gain, const uint8_t *codes, size_t stride) {
    unsigned path = 0;
    double sum = 0;
    for (size_t i = 0; i < b->n; i++) {
        unsigned code = codes[i * stride];
        assert_true(code < 1u << b->bits[i]);
        path = (path << 1 | (code & 1)) & 15;
        double level = b->levels[(8u << b->bits[i]) - 16 + (code >> 1) * 16 + path];
        sum += pow(z[i] - gain * b->scale[i] * level, 2);
    }
    return sum;
}

/* ---- gains ---- */

static void trellis_gains_are_small_floats(void **state) {
    (void)state;
    assert_true(trellis_gain(0) == 0);
    assert_true(trellis_gain(TRELLIS_UNIT) == 1);
    for (unsigned c = 1; c < 256; c++) {
        const float g = trellis_gain((uint8_t)c), below = trellis_gain((uint8_t)(c - 1));
        assert_true(g > below && (double)g == tc_gain(c));
        assert_int_equal(trellis_gain_code(g), c);
        assert_int_equal(trellis_gain_code(0.501f * g + 0.499f * below), c); /* the nearest */
        assert_int_equal(trellis_gain_code(0.499f * g + 0.501f * below), c - 1);
    }
    static const float none[] = {0, -1, -INFINITY, NAN}, most[] = {33, 1e30f, INFINITY};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(trellis_gain_code(none[i]), 0);
    for (size_t i = 0; i < sizeof most / sizeof *most; i++)
        assert_int_equal(trellis_gain_code(most[i]), 255);
}

/* What trellis.h says, in double. */
static void trellis_trials_follow_size_and_largest(void **state) {
    (void)state;
    uint64_t seed = 9;
    for (size_t n = 1; n <= MAX_N; n++)
        for (int e = -3; e <= 5; e++) {
            float z[MAX_N], inv_sigma[MAX_N], trial[TRIALS];
            double sum = 0, most = 0;
            for (size_t i = 0; i < n; i++) {
                inv_sigma[i] = (float)exp2(4 * rnd(&seed));
                z[i] = (float)ldexp(rnd_normal(&seed), e) / inv_sigma[i];
                double r = fabs((double)z[i] * inv_sigma[i]);
                sum += r * r;
                most = fmax(most, r);
            }
            trellis_trials(n, z, inv_sigma, trial);
            const double rms = sqrt(sum / (double)n), centre = 2.0 / 3 * rms * pow(most / rms, 3.0 / 8);
            const double least = tc_gain(1), greatest = tc_gain(255);
            assert_float_equal(trial[0] / fmin(greatest, fmax(least, centre * exp2(-1 / 8.0))), 1, 0.01);
            assert_float_equal(trial[1] / fmin(greatest, fmax(least, centre * exp2(1 / 8.0))), 1, 0.01);
        }
}

static void trellis_trials_of_any_numbers_are_gains(void **state) {
    (void)state;
    static const float value[] = {0, 1e-45f, 1e-30f, 1e-10f, 1e-3f, 1e3f, 1e10f, 1e19f, 1e30f, FLT_MAX};
    for (size_t v = 0; v < sizeof value / sizeof *value; v++)
        for (size_t n = 0; n <= 17; n++) {
            float z[17], one[17], trial[TRIALS];
            for (size_t i = 0; i < 17; i++) {
                z[i] = i % 2 ? value[v] : -value[v];
                one[i] = 1;
            }
            trellis_trials(n, z, one, trial);
            for (int i = 0; i < TRIALS; i++)
                assert_true((double)trial[i] == tc_gain(n && value[v] > 1 ? 255 : 1));
        }
}

/* ---- search ---- */

/* What fitted levels usually miss by: 64 / 2^bits steps. The search counts in sixteenths of that, which matters to short
 * vectors that can be met much better. */
static double usual_error(const trellis_book *b, double gain) {
    double sum = 0;
    for (size_t i = 0; i < b->n; i++)
        sum += pow(gain * b->scale[i] * 64 / (1 << b->bits[i]), 2);
    return sum;
}

/* The least error of all codes of all dimensions under one gain. */
static double try_all(const trellis_book *b, const float *z, double gain) {
    size_t sum = 0;
    double least = INFINITY;
    for (size_t i = 0; i < b->n; i++)
        sum += b->bits[i];
    for (uint32_t all = 0; all < 1u << sum; all++) {
        uint8_t codes[MAX_N];
        uint32_t rest = all;
        for (size_t i = 0; i < b->n; rest >>= b->bits[i++])
            codes[i] = (uint8_t)(rest & ((1u << b->bits[i]) - 1));
        least = fmin(least, error_of(b, z, gain, codes, 1));
    }
    return least;
}

/* No other gain that can be stored suits these codes better. */
static void assert_refitted(const trellis_book *b, const float *z, uint8_t gain, const uint8_t *codes) {
    const double err = error_of(b, z, tc_gain(gain), codes, GROUP);
    for (unsigned other = 0; other < 256; other++)
        assert_true(err <= error_of(b, z, tc_gain(other), codes, GROUP) * (1 + 1e-5));
}

static void trellis_search_finds_the_best_of_all_codes(void **state) {
    (void)state;
    static const uint8_t cases[][8] = {{1},
                                       {2},
                                       {3},
                                       {1, 1, 1, 1, 1, 1, 1, 1},
                                       {2, 2, 2, 2, 2, 2},
                                       {3, 3, 3, 3},
                                       {3, 3, 2, 2, 1, 1},
                                       {6, 5},
                                       {4, 2, 1, 1, 1},
                                       {1, 3, 2, 4}};
    uint64_t seed = 1;
    double sum = 0, sum_least = 0;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int round = 0; round < 6; round++) {
            book k;
            book_init(&k, strlen((const char *)cases[c]) < 8 ? strlen((const char *)cases[c]) : 8);
            memcpy(k.bits, cases[c], k.b.n);
            random_levels(&k, &seed);
            float z[8], trial[TRIALS];
            uint8_t gain, codes[8 * GROUP];
            for (size_t i = 0; i < k.b.n; i++) {
                k.scale[i] = (float)exp2(6 * rnd(&seed) - 9);
                z[i] = rnd_normal(&seed) * 60 * k.scale[i];
            }
            for (int i = 0; i < TRIALS; i++)
                trial[i] = (float)exp2((26 * rnd(&seed) - 13) / 8);
            search(&k, z, k.b.n, 1, trial, &gain, codes);
            double least = INFINITY, err = INFINITY;
            for (int i = 0; i < TRIALS; i++) {
                least = fmin(least, try_all(&k.b, z, trial[i]));
                err = fmin(err, error_of(&k.b, z, trial[i], codes, GROUP));
            }
            assert_refitted(&k.b, z, gain, codes);
            sum += err / usual_error(&k.b, 1);
            sum_least += least / usual_error(&k.b, 1);
            if (!(err <= least + 0.1 * usual_error(&k.b, fmax(trial[0], trial[1]))))
                fail_msg("case %zu, round %d: error %g, but %g is possible", c, round, err, least);
        }
    assert_true(sum <= sum_least * 1.003);
}

/* Coefficients so large that costs do not fit 16 bits at first: still the right gain, and good codes for the other dimensions.
 */
static void trellis_search_copes_with_outliers(void **state) {
    (void)state;
    enum { N = 8 };
    uint64_t seed = 4;
    book k;
    book_init(&k, N);
    tc_levels(k.step, k.levels);
    memset(k.bits, 2, N);
    for (size_t i = 0; i < N; i++)
        k.scale[i] = k.step[2];
    for (float size = 8; size < 1e4f; size *= 1.5f) {
        float z[N], trial[TRIALS];
        double rms = 0, least = INFINITY, err = INFINITY;
        uint8_t gain, codes[N * GROUP];
        for (size_t i = 0; i < N; i++) {
            z[i] = rnd_normal(&seed) * (i == 3 ? size : 1);
            rms += (double)z[i] * z[i] / N;
        }
        trial[0] = (float)sqrt(rms) / 16; /* far too low, and still */
        trial[1] = trial[0] * 1.2f;
        search(&k, z, N, 1, trial, &gain, codes);
        for (int i = 0; i < TRIALS; i++) {
            least = fmin(least, try_all(&k.b, z, trial[i]));
            err = fmin(err, error_of(&k.b, z, trial[i], codes, GROUP));
        }
        if (!(err <= least * 1.02))
            fail_msg("outlier of %g: error %g, but %g is possible", (double)size, err, least);
    }
}

static void trellis_weights_follow_scales(void **state) {
    (void)state;
    enum { N = 12 };
    book k;
    book_init(&k, N);
    for (size_t i = 0; i < N; i++) {
        k.bits[i] = (uint8_t)(1 + i / 2);
        k.scale[i] = (float)((i % 2 ? 1.5 : 1) * (1 << k.bits[i]) * 0.001);
    }
    trellis_weigh(N, k.bits, k.scale, k.inverse, k.square, k.weight);
    double sum = 0;
    for (size_t i = 0; i < N; i++) {
        const double fine = 1 << trellis_shift(k.bits[i]), unit = k.scale[0] * k.weight[i].factor[0] / k.weight[0].factor[0];
        sum += pow(k.weight[i].factor[0] * fine * 64 / (1 << k.bits[i]), 2);
        assert_float_equal(k.inverse[i] * k.scale[i], fine, 1e-6);
        assert_float_equal(unit * fine / k.scale[i], 1, 0.02); /* a unit counts as much as it is long */
        assert_float_equal(sqrt((double)k.square[i] / k.square[0]) * k.scale[0] * fine / k.scale[i], 1, 1e-5);
        for (int j = 0; j < 2; j++) {
            assert_int_equal(k.weight[i].factor[j], k.weight[i].factor[0]);
            assert_int_equal(k.weight[i].limit[j], 65535 / k.weight[i].factor[0]);
        }
    }
    assert_float_equal(sqrt(sum / N), 1024, 20); /* 1024^2 / 65536 = 16 are counted for what is usual */
    k.scale[0] = 1e30f;                          /* next to it nothing else matters */
    trellis_weigh(N, k.bits, k.scale, k.inverse, k.square, k.weight);
    for (size_t i = 1; i < N; i++)
        assert_int_equal(k.weight[i].factor[0], 1);
    trellis_coarsen(N, k.weight, k.weight);
    for (size_t i = 1; i < N; i++)
        assert_int_equal(k.weight[i].factor[0], 1);
}

/* Long vectors: the search takes the trial that does best by itself, and the same codes and gain as with it alone. */
static void trellis_search_takes_the_best_trial(void **state) {
    (void)state;
    enum { N = 48, VECTORS = 20 };
    uint64_t seed = 2;
    book k;
    float *z = rnd_fill(VECTORS * N, 3);
    for (int bits = 1; bits <= TRELLIS_MAX_BITS; bits++) {
        book_init(&k, N);
        tc_levels(k.step, k.levels);
        memset(k.bits, bits, N);
        for (size_t i = 0; i < N; i++)
            k.scale[i] = k.step[bits];
        float trial[VECTORS * TRIALS];
        uint8_t gain[VECTORS], codes[N * GROUP];
        unsigned chosen = 0;
        for (int i = 0; i < VECTORS * TRIALS; i++)
            trial[i] = (float)exp2((13 * rnd(&seed) - 6) / 8);
        search(&k, z, N, VECTORS, trial, gain, codes);
        for (int t = 0; t < VECTORS; t++) {
            double err[TRIALS];
            unsigned as = 0;
            for (int i = 0; i < TRIALS; i++) {
                const float *one = trial + t * TRIALS + i, same[TRIALS] = {*one, *one};
                uint8_t alone, by[N * GROUP];
                search(&k, z + t * N, N, 1, same, &alone, by);
                err[i] = error_of(&k.b, z + t * N, *one, by, GROUP);
                bool all = alone == gain[t];
                for (int d = 0; d < N; d++)
                    all = all && by[d * GROUP] == codes[d * GROUP + t];
                as |= (unsigned)all << i;
            }
            assert_true(as);
            if (fabs(err[0] - err[1]) > 0.02 * usual_error(&k.b, fmax(trial[t * TRIALS], trial[t * TRIALS + 1])))
                assert_true(as >> (err[1] < err[0]) & 1);
            chosen |= as;
        }
        assert_int_equal(chosen, 3); /* it was not always the same one */
    }
    free(z);
}

static void trellis_search_prefers_the_first_of_equals(void **state) {
    (void)state;
    static const float trial[TRIALS] = {1.25f, 1};
    book k;
    float z[8] = {0};
    uint8_t gain, codes[8 * GROUP];
    book_init(&k, 8); /* all levels 0: every gain has error 0, and none can be refitted */
    memset(k.bits, 2, 8);
    search(&k, z, 8, 1, trial, &gain, codes);
    assert_true(tc_gain(gain) == 1.25);
}

/* Vectors of a group do not see each other, numbers between vectors are not read, gains beyond the last are left alone, and
 * codes there are 0. */
static void trellis_search_keeps_vectors_apart(void **state) {
    (void)state;
    enum { N = 10, LDZ = 13, VECTORS = 5 };
    uint64_t seed = 5;
    book k;
    book_init(&k, N);
    random_levels(&k, &seed);
    memset(k.bits, 3, N);
    float *z = rnd_fill(VECTORS * LDZ, 6);
    float trial[VECTORS * TRIALS];
    uint8_t gain[GROUP], codes[N * GROUP], one_gain, one[N * GROUP];
    for (int i = 0; i < VECTORS * LDZ; i++)
        z[i] = i % LDZ < N ? 50 * z[i] : NAN;
    for (int i = 0; i < VECTORS * TRIALS; i++)
        trial[i] = (float)exp2(2 * rnd(&seed) - 1);
    memset(gain, 77, sizeof gain);
    memset(codes, 77, sizeof codes);
    search(&k, z, LDZ, VECTORS, trial, gain, codes);
    for (int t = 0; t < VECTORS; t++) {
        search(&k, z + t * LDZ, LDZ, 1, trial + t * TRIALS, &one_gain, one);
        assert_int_equal(gain[t], one_gain);
        for (int i = 0; i < N; i++)
            assert_int_equal(codes[i * GROUP + t], one[i * GROUP]);
    }
    for (int t = VECTORS; t < GROUP; t++) {
        assert_int_equal(gain[t], 77);
        for (int i = 0; i < N; i++)
            assert_int_equal(codes[i * GROUP + t], 0);
    }
    free(z);
}

static void trellis_search_survives_any_finite_vector(void **state) {
    (void)state;
    static const float value[] = {0, 1e-45f, 1e-38f, 1e-10f, 1e10f, 1e19f, 1e30f, FLT_MAX};
    book k;
    book_init(&k, 16);
    tc_levels(k.step, k.levels);
    for (size_t i = 0; i < 16; i++) {
        k.bits[i] = (uint8_t)(6 - i / 3);
        k.scale[i] = k.step[k.bits[i]];
    }
    for (size_t v = 0; v < sizeof value / sizeof *value; v++)
        for (unsigned mask = 1; mask < 1u << 16; mask = mask * 5 + 1) {
            float z[16], one[16], trial[TRIALS];
            uint8_t gain, codes[16 * GROUP];
            for (unsigned i = 0; i < 16; i++) {
                z[i] = mask >> i & 1 ? value[v] : -value[v] / 3;
                one[i] = 1;
            }
            trellis_trials(16, z, one, trial);
            search(&k, z, 16, 1, trial, &gain, codes);
            assert_int_equal(gain, value[v] < 1e-5f ? 0 : 255);
            assert_true(isfinite(error_of(&k.b, z, tc_gain(gain), codes, GROUP)));
        }
}

/* ---- what it is good for ---- */

/* What trellis.h claims, less a tenth of a dB: normally distributed numbers, others than those that levels are fitted to, with
 * levels as they are stored. */
static void trellis_beats_scalar_quantisers(void **state) {
    (void)state;
    enum { N = 64, VECTORS = 1024 };
    static const double least_db[] = {0, 0.6, 1.3, 1.7, 1.9}, bound_db = 6.0206;
    trellis_search_fn *fast = rt_kernels_for(rt_cpu_detect())->tc_search;
    cal_gauss *gauss = malloc(sizeof *gauss);
    assert_int_equal(cal_gauss_init(gauss, fast, NULL), KV_OK);
    float *z = rnd_fill(VECTORS * N, 12345);
    double energy = 0;
    for (int i = 0; i < VECTORS * N; i++)
        energy += (double)z[i] * z[i];
    for (uint8_t bits = 1; bits <= 4; bits++) {
        prof_tc t;
        book k;
        assert_int_equal(prof_tc_alloc(&t, N, NULL), KV_OK);
        memset(t.bits, bits, N);
        for (int i = 0; i < N; i++)
            t.sigma[i] = 1;
        assert_int_equal(cal_fit_levels(gauss, fast, z, 0, &t, NULL), KV_OK); /* no samples: those of the normal distribution */
        book_init(&k, N);
        memcpy(k.bits, t.bits, N);
        memcpy(k.levels, t.levels, TRELLIS_LEVELS);
        for (size_t i = 0; i < N; i++)
            k.scale[i] = t.step[bits];
        trellis_weigh(N, k.bits, k.scale, k.inverse, k.square, k.weight);
        float trial[GROUP * TRIALS];
        uint8_t gain[GROUP], codes[N * GROUP];
        for (int i = 0; i < GROUP * TRIALS; i++)
            trial[i] = 1;
        double err = 0, scalar[16];
        for (int v = 0; v < VECTORS; v += GROUP) {
            fast(&k.b, z + v * N, N, GROUP, trial, gain, codes, GROUP);
            for (int i = 0; i < GROUP; i++)
                err += error_of(&k.b, z + (v + i) * N, 1, codes + i, GROUP);
        }
        double db = 10 * log10(lloyd_max_normal(1u << bits, scalar) / (err / energy));
        if (!(db >= least_db[bits]))
            fail_msg("%d bits: %.3f dB better than a scalar quantiser", bits, db);
        assert_true(-10 * log10(err / energy) < bits * bound_db); /* nothing can be better than that */
        free(t.bits);
        free(t.mean);
        free(t.basis);
        free(t.sigma);
        free(t.step);
        free(t.levels);
    }
    free(z);
    free(gauss);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trellis_gains_are_small_floats),          cmocka_unit_test(trellis_trials_follow_size_and_largest),
        cmocka_unit_test(trellis_trials_of_any_numbers_are_gains), cmocka_unit_test(trellis_search_finds_the_best_of_all_codes),
        cmocka_unit_test(trellis_search_takes_the_best_trial),     cmocka_unit_test(trellis_search_prefers_the_first_of_equals),
        cmocka_unit_test(trellis_search_copes_with_outliers),      cmocka_unit_test(trellis_weights_follow_scales),
        cmocka_unit_test(trellis_search_keeps_vectors_apart),      cmocka_unit_test(trellis_search_survives_any_finite_vector),
        cmocka_unit_test(trellis_beats_scalar_quantisers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
