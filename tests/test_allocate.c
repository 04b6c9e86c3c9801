/* Bits per coefficient: as good as the best of all allocations, never above the total, in the order of the weights. */
#include "calib_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernels.h"

enum { DIM = 64, MOST = PROF_MAX_BITS };
static cal_gauss gauss; /* filled once by the group's setup */

static int setup(void **state) {
    (void)state;
    return cal_gauss_init(&gauss, rt_kernels_for(rt_cpu_detect())->tc_search, NULL);
}

static double uniform(uint32_t *x) {
    *x = *x * 1664525u + 1013904223u;
    return (*x + 0.5) / 4294967296.0;
}

static void spectrum(double *weight) {
    for (uint32_t i = 0; i < DIM; i++)
        weight[i] = exp2(-0.15 * i);
}

static uint64_t total(const uint8_t *bits, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += bits[i];
    return sum;
}

static double loss(const double *weight, const uint8_t *bits, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += weight[i] * gauss.distortion[bits[i]];
    return sum;
}

/* What the method rests on: every further bit takes off less than the one before. */
static void allocate_distortion_is_convex(void **state) {
    (void)state;
    for (int b = 1; b < MOST; b++)
        assert_true(gauss.distortion[b] - gauss.distortion[b + 1] < gauss.distortion[b - 1] - gauss.distortion[b]);
}

/* The least loss of any allocation of n coefficients with at most `most` bits. */
static double try_all(const double *weight, size_t n, uint64_t most) {
    uint8_t bits[8] = {0};
    double least = INFINITY;
    for (size_t i = 0; i < n;) {
        if (total(bits, n) <= most)
            least = fmin(least, loss(weight, bits, n));
        for (i = 0; i < n && bits[i] == MOST; i++) /* the next one, like a number of n digits */
            bits[i] = 0;
        if (i < n)
            bits[i]++;
    }
    return least;
}

static void allocate_is_the_best_of_all(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (size_t n = 1; n <= 4; n++)
        for (int round = 0; round < 5; round++) {
            double weight[4];
            uint8_t bits[4];
            for (size_t i = 0; i < n; i++)
                weight[i] = exp2(12 * uniform(&seed) - 6);
            for (uint64_t most = 0; most <= n * MOST; most++) {
                cal_allocate(&gauss, weight, n, most, bits);
                assert_true(total(bits, n) <= most);
                assert_float_equal(loss(weight, bits, n), try_all(weight, n, most), 1e-12);
            }
        }
}

static void allocate_gives_all_and_never_rises(void **state) {
    (void)state;
    double weight[DIM];
    uint8_t bits[DIM];
    spectrum(weight);
    for (uint32_t want = 0; want <= DIM * MOST; want++) {
        cal_allocate(&gauss, weight, DIM, want, bits);
        assert_int_equal(total(bits, DIM), want); /* no two weights alike: nothing is left over */
        for (uint32_t i = 1; i < DIM; i++)
            assert_true(bits[i] <= bits[i - 1]);
    }
}

static void allocate_no_exchange_is_better(void **state) {
    (void)state;
    double weight[DIM];
    uint8_t bits[DIM];
    spectrum(weight);
    cal_allocate(&gauss, weight, DIM, 200, bits);
    double best = loss(weight, bits, DIM);
    for (uint32_t from = 0; from < DIM; from++)
        for (uint32_t to = 0; to < DIM; to++)
            if (bits[from] && bits[to] < MOST && from != to) {
                bits[from]--, bits[to]++;
                assert_true(loss(weight, bits, DIM) >= best);
                bits[from]++, bits[to]--;
            }
}

/* Any weights, in no order, many of them alike or zero: at most the total, larger weights never fewer bits, and what is left
 * over would not have been enough for one more bit of all that are alike. */
static void allocate_never_exceeds_the_total(void **state) {
    (void)state;
    uint32_t seed = 7;
    for (int round = 0; round < 300; round++) {
        double weight[DIM], scale = exp2(400 * uniform(&seed) - 200);
        uint8_t bits[DIM];
        for (uint32_t i = 0; i < DIM; i++)
            weight[i] = uniform(&seed) < 0.2 ? 0 : scale * (round % 2 ? exp2(floor(4 * uniform(&seed))) : uniform(&seed));
        uint64_t most = (uint64_t)(uniform(&seed) * DIM * MOST), sum;
        cal_allocate(&gauss, weight, DIM, most, bits);
        sum = total(bits, DIM);
        assert_true(sum <= most);
        for (uint32_t i = 0; i < DIM; i++) {
            uint32_t alike = 0;
            for (uint32_t j = 0; j < DIM; j++) {
                assert_true(weight[j] >= weight[i] || bits[j] <= bits[i]);
                alike += weight[j] == weight[i];
            }
            assert_true(weight[i] > 0 || bits[i] == 0);
            assert_true(round % 2 || weight[i] == 0 || bits[i] == MOST || sum + alike > most);
        }
    }
}

static void allocate_equal_weights_get_equal_bits(void **state) {
    (void)state;
    double weight[DIM];
    uint8_t bits[DIM];
    for (uint32_t i = 0; i < DIM; i++)
        weight[i] = 0.37;
    for (uint32_t over = 0; over < DIM; over++) {
        cal_allocate(&gauss, weight, DIM, 3 * DIM + over, bits);
        for (uint32_t i = 0; i < DIM; i++)
            assert_int_equal(bits[i], 3);
    }
}

/* Only ratios count. */
static void allocate_does_not_see_the_unit(void **state) {
    (void)state;
    double weight[DIM], scaled[DIM];
    uint8_t a[DIM], b[DIM];
    spectrum(weight);
    for (int e = -300; e <= 300; e += 100) {
        for (uint32_t i = 0; i < DIM; i++)
            scaled[i] = ldexp(weight[i], e);
        cal_allocate(&gauss, weight, DIM, 150, a);
        cal_allocate(&gauss, scaled, DIM, 150, b);
        assert_memory_equal(a, b, DIM);
    }
}

static void allocate_stops_when_full(void **state) {
    (void)state;
    double weight[DIM];
    uint8_t bits[DIM];
    spectrum(weight);
    cal_allocate(&gauss, weight, DIM, 10000, bits);
    for (uint32_t i = 0; i < DIM; i++)
        assert_int_equal(bits[i], MOST);
}

/* Where nothing costs anything, or nothing may be spent. */
static void allocate_nothing(void **state) {
    (void)state;
    double weight[DIM] = {0};
    uint8_t bits[DIM];
    memset(bits, 9, DIM);
    cal_allocate(&gauss, weight, DIM, 100, bits);
    assert_int_equal(total(bits, DIM), 0);
    spectrum(weight);
    memset(bits, 9, DIM);
    cal_allocate(&gauss, weight, DIM, 0, bits);
    assert_int_equal(total(bits, DIM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocate_distortion_is_convex),
        cmocka_unit_test(allocate_is_the_best_of_all),
        cmocka_unit_test(allocate_gives_all_and_never_rises),
        cmocka_unit_test(allocate_no_exchange_is_better),
        cmocka_unit_test(allocate_never_exceeds_the_total),
        cmocka_unit_test(allocate_equal_weights_get_equal_bits),
        cmocka_unit_test(allocate_does_not_see_the_unit),
        cmocka_unit_test(allocate_stops_when_full),
        cmocka_unit_test(allocate_nothing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
