/* Bits per coefficient: sums, order, limits, and that no exchange of one bit between two coefficients would be better. */
#include "calib_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { DIM = 64 };
static cal_gauss gauss; /* filled once by the group's setup */

static int setup(void **state) {
    (void)state;
    cal_gauss_init(&gauss);
    return 0;
}

static void spectrum(double *lambda) {
    for (uint32_t i = 0; i < DIM; i++)
        lambda[i] = exp2(-0.15 * i);
}

static uint32_t total(const uint8_t *bits) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < DIM; i++)
        sum += bits[i];
    return sum;
}

static double loss(const double *lambda, const uint8_t *bits) {
    double sum = 0;
    for (uint32_t i = 0; i < DIM; i++)
        sum += lambda[i] * gauss.distortion[bits[i]];
    return sum;
}

static void allocate_gives_all_and_never_rises(void **state) {
    (void)state;
    double lambda[DIM];
    uint8_t bits[DIM];
    spectrum(lambda);
    for (uint32_t want = 1; want <= DIM * PROF_MAX_BITS; want += 7) {
        assert_int_equal(cal_alloc_bits(&gauss, lambda, DIM, 1, want, bits), want);
        assert_int_equal(total(bits), want);
        for (uint32_t i = 1; i < DIM; i++)
            assert_true(bits[i] <= bits[i - 1]);
    }
}

static void allocate_no_exchange_is_better(void **state) {
    (void)state;
    double lambda[DIM];
    uint8_t bits[DIM];
    spectrum(lambda);
    cal_alloc_bits(&gauss, lambda, DIM, 1, 200, bits);
    double best = loss(lambda, bits);
    for (uint32_t from = 0; from < DIM; from++)
        for (uint32_t to = 0; to < DIM; to++)
            if (bits[from] && bits[to] < PROF_MAX_BITS && from != to) {
                bits[from]--, bits[to]++;
                assert_true(loss(lambda, bits) >= best);
                bits[from]++, bits[to]--;
            }
}

static void allocate_equal_variances_get_equal_bits(void **state) {
    (void)state;
    double lambda[DIM];
    uint8_t bits[DIM];
    for (uint32_t i = 0; i < DIM; i++)
        lambda[i] = 1;
    cal_alloc_bits(&gauss, lambda, DIM, 1, 3 * DIM + 1, bits);
    assert_int_equal(bits[0], 4);
    for (uint32_t i = 1; i < DIM; i++)
        assert_int_equal(bits[i], 3);
}

static void allocate_exponent_evens_out(void **state) {
    (void)state;
    double lambda[DIM];
    uint8_t sharp[DIM], soft[DIM];
    spectrum(lambda);
    cal_alloc_bits(&gauss, lambda, DIM, 1, 200, sharp);
    cal_alloc_bits(&gauss, lambda, DIM, 0.5, 200, soft);
    assert_true(sharp[0] - sharp[DIM - 1] > soft[0] - soft[DIM - 1]);
}

static void allocate_stops_when_full(void **state) {
    (void)state;
    double lambda[DIM];
    uint8_t bits[DIM];
    spectrum(lambda);
    assert_int_equal(cal_alloc_bits(&gauss, lambda, DIM, 1, 10000, bits), DIM * PROF_MAX_BITS);
    for (uint32_t i = 0; i < DIM; i++)
        assert_int_equal(bits[i], PROF_MAX_BITS);
}

/* Whatever the target, the average over units is just below it, and units differ by a bit at most. */
static void allocate_rates_hit_the_average_from_below(void **state) {
    (void)state;
    for (double bits = 2; bits < 6; bits += 0.137) {
        uint32_t sum = 0, units = 60, least = UINT32_MAX, most = 0;
        for (uint32_t u = 0; u < units; u++) {
            uint32_t r = cal_rate(bits, DIM, u);
            sum += r;
            least = r < least ? r : least;
            most = r > most ? r : most;
        }
        double want = (bits * DIM - 16) * units;
        assert_true(sum <= want && sum > want - 1 - 1e-6);
        assert_true(most - least <= 1);
    }
}

static void allocate_rate_stays_in_range(void **state) {
    (void)state;
    assert_int_equal(cal_rate(0.01, DIM, 5), 1);
    assert_int_equal(cal_rate(100, DIM, 5), DIM * PROF_MAX_BITS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocate_gives_all_and_never_rises),
        cmocka_unit_test(allocate_no_exchange_is_better),
        cmocka_unit_test(allocate_equal_variances_get_equal_bits),
        cmocka_unit_test(allocate_exponent_evens_out),
        cmocka_unit_test(allocate_stops_when_full),
        cmocka_unit_test(allocate_rates_hit_the_average_from_below),
        cmocka_unit_test(allocate_rate_stays_in_range),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
