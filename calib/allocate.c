/* Which coefficient gets how many bits. docs/codec.md, section 3. */
#include "calib_internal.h"

#include <math.h>
#include <string.h>

uint32_t cal_alloc_bits(const cal_gauss *g, const double *lambda, uint32_t dim, double exponent, uint32_t total,
                        uint8_t *bits) {
    double gain[PROF_MAX_DIM], weight[PROF_MAX_DIM];
    memset(bits, 0, dim);
    for (uint32_t i = 0; i < dim; i++) {
        weight[i] = pow(lambda[i], exponent);
        gain[i] = weight[i] * (g->distortion[0] - g->distortion[1]);
    }
    /* Distortion falls by less with every bit, so taking the best next bit each time is optimal. */
    for (uint32_t given = 0; given < total; given++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < dim; i++)
            if (gain[i] > gain[best]) /* on equal gains the first, so that bits never rise */
                best = i;
        if (gain[best] < 0)
            return given;
        uint8_t b = ++bits[best];
        gain[best] = b < PROF_MAX_BITS ? weight[best] * (g->distortion[b] - g->distortion[b + 1]) : -1;
    }
    return total;
}

uint32_t cal_rate(double bits, uint32_t dim, uint32_t u) {
    const double gain_bits = 16;
    double want = fmin(bits * dim - gain_bits, (double)dim * PROF_MAX_BITS);
    if (want < 1)
        return 1;
    /* The sum over units 0..u is floor((u + 1) * want): never above the target, and less than one bit below it in all. */
    return (uint32_t)(floor((u + 1) * want) - floor(u * want));
}
