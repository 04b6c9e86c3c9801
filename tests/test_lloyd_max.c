/* Optimal quantisers against published figures and against a density whose quantiser anyone can write down. */
#include "quant/lloyd_max.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Max 1960, table 1: mean squared error and outermost level of 2, 4, 8 and 16 levels. */
static void lloyd_max_of_the_normal_equals_published_tables(void **state) {
    (void)state;
    static const double want[][2] = {{0.3634, 0.7980}, {0.1175, 1.510}, {0.03454, 2.152}, {0.009497, 2.733}};
    for (uint32_t b = 1; b <= 4; b++) {
        uint32_t n = 1u << b;
        double c[16], error = lloyd_max_normal(n, c);
        assert_float_equal(error, want[b - 1][0], 0.0001);
        assert_float_equal(c[n - 1], want[b - 1][1], 0.001);
        for (uint32_t i = 0; i < n; i++)
            assert_float_equal(c[i], -c[n - 1 - i], 1e-7);
    }
}

/* Uniform on [2, 2 + width). */
static void uniform_below(const void *arg, double x, double *mass, double *moment) {
    double width = *(const double *)arg, end = fmin(x, 2 + width);
    *mass = (end - 2) / width;
    *moment = (end * end - 4) / 2 / width;
}

static void lloyd_max_of_a_uniform_density_has_equal_steps(void **state) {
    (void)state;
    double width = 3, c[5] = {2.1, 2.2, 2.3, 2.4, 4.9}, second = (125 - 8) / 3.0 / 3;
    double energy = lloyd_max(uniform_below, &width, 5, c);
    for (int i = 0; i < 5; i++)
        assert_float_equal(c[i], 2 + (i + 0.5) * 0.6, 1e-6);
    assert_float_equal(second - energy, 0.6 * 0.6 / 12, 1e-7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lloyd_max_of_the_normal_equals_published_tables),
        cmocka_unit_test(lloyd_max_of_a_uniform_density_has_equal_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
