/* Intervals and p values of paired answers against figures computed by other means:
 *
 *   import numpy as np
 *   from scipy.optimize import minimize_scalar, brentq
 *   from scipy.stats import norm, binomtest
 *   z = norm.ppf(.975)
 *   def score(n, won, lost, d):  # the likelihood is maximised numerically; nothing of Tango's algebra
 *       nll = lambda q: -sum(k * np.log(max(p, 1e-300)) for k, p in ((won, q + d), (lost, q), (n - won - lost, 1 - 2*q - d)) if
 * k) q = minimize_scalar(nll, bounds=(max(0, -d), (1 - d) / 2), method="bounded", options=dict(xatol=1e-14)).x return ((won -
 * lost) / n - d) / np.sqrt(max((2*q + d - d*d) / n, 1e-300)) x = (won - lost) / n lo = brentq(lambda d: score(n, won, lost, d)
 * - z, -1 + 1e-9, x - 1e-12) hi = brentq(lambda d: score(n, won, lost, d) + z, x + 1e-12, 1 - 1e-9) p = binomtest(min(won,
 * lost), won + lost, .5).pvalue
 *
 * 1 and 7 of 21 is the example of Fagerland, Lydersen and Laake (2014), who give -0.517 to -0.026. */
#include "measure/paired.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void paired_agrees_with_scipy(void **state) {
    (void)state;
    static const struct {
        uint32_t n, won, lost;
        double lo, hi, p;
    } known[] = {
        {322, 5, 19, -0.0768537, -0.0148855, 0.0066107512},
        {420, 0, 0, -0.0090634, 0.0090634, 1},
        {420, 9, 8, -0.0185386, 0.0236748, 1},
        {420, 0, 6, -0.0308126, -0.0050928, 0.03125},
        {21, 1, 7, -0.5172323, -0.0260030, 0.0703125},
        {44, 3, 1, -0.0613065, 0.1643134, 0.625},
        {50, 0, 50, -1, -0.8573048, 1.7763568e-15},
        {1, 0, 1, -1, 0.5869014, 1},
        {1000, 40, 0, 0.0295110, 0.0540096, 1.8189894e-12},
        {400, 200, 200, -0.0975310, 0.0975310, 1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const paired p = {known[i].n, known[i].lost, known[i].won};
        double lo, hi;
        paired_interval(p, &lo, &hi);
        if (fabs(lo - known[i].lo) > 2e-7 || fabs(hi - known[i].hi) > 2e-7)
            fail_msg("%u won and %u lost of %u: %.7f to %.7f", p.won, p.lost, p.n, lo, hi);
        if (fabs(paired_p(p) - known[i].p) > 1e-7 * known[i].p)
            fail_msg("%u won and %u lost: p = %.10g", p.won, p.lost, paired_p(p));
        assert_true(fabs(paired_difference(p) - ((double)p.won - p.lost) / p.n) < 1e-15);
    }
}

/* Whichever of the two comes first. */
static void paired_is_symmetric(void **state) {
    (void)state;
    for (uint32_t won = 0; won < 12; won++)
        for (uint32_t lost = 0; lost < 12; lost++) {
            double lo, hi, lo2, hi2;
            paired_interval((paired){30, lost, won}, &lo, &hi);
            paired_interval((paired){30, won, lost}, &lo2, &hi2);
            assert_true(fabs(lo + hi2) < 1e-12 && fabs(hi + lo2) < 1e-12 && lo <= hi);
            assert_true(paired_p((paired){30, lost, won}) == paired_p((paired){30, won, lost}));
            /* At a difference of 0 it is McNemar's test. */
            const double d = (double)won - lost, z = won + lost ? d / sqrt((double)won + lost) : 0;
            assert_true((lo > 0) == (z > 1.959963984540054) && (hi < 0) == (z < -1.959963984540054));
        }
}

static void paired_of_nothing(void **state) {
    (void)state;
    double lo, hi;
    paired_interval((paired){0}, &lo, &hi);
    assert_true(lo == -1 && hi == 1 && isnan(paired_difference((paired){0})) && paired_p((paired){0}) == 1);
}

/* What the default number of questions promises: 420 of them, 4 % of which differ, tell 2 points apart. */
static void paired_default_tells_two_points(void **state) {
    (void)state;
    double lo, hi;
    paired_interval((paired){420, 8, 9}, &lo, &hi);
    assert_true(hi - lo <= 2 * 0.0215);
    paired_interval((paired){420, 13, 4}, &lo, &hi);
    assert_true(hi < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paired_agrees_with_scipy),
        cmocka_unit_test(paired_is_symmetric),
        cmocka_unit_test(paired_of_nothing),
        cmocka_unit_test(paired_default_tells_two_points),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
