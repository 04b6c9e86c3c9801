/* Which coefficient of which head gets how many bits: one Lagrangian for all. docs/codec.md, section 3.
 *
 * The next bit of a coefficient takes off weight * (D(b) - D(b + 1)), less with every bit, so the best allocation gives every
 * coefficient all bits that take off more than one common price. The price is found by bisection.
 */
#include "calib_internal.h"

#include <math.h>

static uint8_t bits_at(const cal_gauss *g, double weight, double price) {
    uint8_t b = 0;
    while (b < PROF_MAX_BITS && weight * (g->distortion[b] - g->distortion[b + 1]) > price)
        b++;
    return b;
}

static uint64_t spent_at(const cal_gauss *g, const double *weight, size_t n, double price) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += bits_at(g, weight[i], price);
    return sum;
}

void cal_allocate(const cal_gauss *g, const double *weight, size_t n, uint64_t total, uint8_t *bits) {
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, weight[i]);
    double low = -200, high = 1; /* of log2 price / most; nothing costs more than that */
    for (int step = 0; step < 80; step++) {
        double mid = (low + high) / 2;
        *(spent_at(g, weight, n, most * exp2(mid)) > total ? &low : &high) = mid;
    }
    for (size_t i = 0; i < n; i++)
        bits[i] = bits_at(g, weight[i], most * exp2(high));
}
