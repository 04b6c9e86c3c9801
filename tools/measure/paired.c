#include "measure/paired.h"

#include <math.h>

static const double z975 = 1.959963984540054; /* 97.5 % of the standard normal distribution lie below */

double paired_difference(paired p) {
    return p.n ? ((double)p.won - (double)p.lost) / p.n : NAN;
}

/* Tango's statistic of the hypothesis that the difference is d. q is the likeliest share of lost questions if it is: the
 * greater root of A q² + B q + C = 0. */
static double score(paired p, double d) {
    const double n = p.n, b = p.won, c = p.lost;
    const double A = 2 * n, B = -b - c + (2 * n - b + c) * d, C = -c * d * (1 - d);
    const double q = (sqrt(fmax(B * B - 4 * A * C, 0)) - B) / (2 * A);
    const double variance = n * (2 * q + d * (1 - d));
    const double away = b - c - n * d;
    return variance > 0 ? away / sqrt(variance) : away > 0 ? INFINITY : away < 0 ? -INFINITY : 0;
}

/* The statistic falls with d; where it passes `wanted`. */
static double crossing(paired p, double wanted) {
    double lo = -1, hi = 1;
    for (int i = 0; i < 60; i++) {
        const double middle = (lo + hi) / 2;
        *(score(p, middle) > wanted ? &lo : &hi) = middle;
    }
    return (lo + hi) / 2;
}

void paired_interval(paired p, double *lo, double *hi) {
    *lo = -1;
    *hi = 1;
    if (!p.n)
        return;
    *lo = crossing(p, z975);
    *hi = crossing(p, -z975);
}

double paired_p(paired p) {
    const double m = (double)p.won + p.lost, least = p.won < p.lost ? p.won : p.lost;
    double sum = 0;
    for (double k = 0; k <= least; k++)
        sum += exp(lgamma(m + 1) - lgamma(k + 1) - lgamma(m - k + 1) - m * log(2));
    return fmin(2 * sum, 1);
}
