#include "quant/lloyd_max.h"

#include <math.h>

double lloyd_max(lloyd_below *below, const void *arg, uint32_t n, double *c) {
    double energy = 0, moved = 1;
    for (int round = 0; round < 20000 && moved >= 1e-9; round++) {
        double lo_mass = 0, lo_moment = 0;
        energy = moved = 0;
        for (uint32_t i = 0; i < n; i++) {
            double mass, moment;
            below(arg, i + 1 < n ? (c[i] + c[i + 1]) / 2 : INFINITY, &mass, &moment);
            double p = mass - lo_mass, mean = (moment - lo_moment) / p;
            energy += p * mean * mean;
            moved = fmax(moved, fabs(mean - c[i]));
            c[i] = mean;
            lo_mass = mass, lo_moment = moment;
        }
    }
    return energy;
}

static void normal_below(const void *arg, double x, double *mass, double *moment) {
    (void)arg;
    *mass = erfc(-x * 0.7071067811865476) / 2;
    *moment = -exp(-x * x / 2) * 0.3989422804014327; /* minus the density: 1 / sqrt(2 pi) */
}

double lloyd_max_normal(uint32_t n, double *c) {
    double reach = 0.8 + 0.55 * log2(n); /* equal steps through the range that n levels cover: close to the fixed point */
    for (uint32_t i = 0; i < n; i++)
        c[i] = reach * ((2 * i + 1.0) / n - 1);
    return 1 - lloyd_max(normal_below, 0, n, c);
}
