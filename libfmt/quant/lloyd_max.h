/* Optimal scalar quantisers of a known density (Max 1960, Lloyd 1982), shared by the codecs that need no calibration and by the
 * calibrator as a start. Computed by iteration: there is no table to trust. */
#ifndef KV_LLOYD_MAX_H
#define KV_LLOYD_MAX_H

#include <stdint.h>

/* Probability mass and first moment of a density below x, which may be infinite. */
typedef void lloyd_below(const void *arg, double x, double *mass, double *moment);

/* Lloyd's iteration on a density: borders halfway between levels, levels at the means of their cells, until nothing moves.
 *   c  (n) rising start values inside the support -> levels, rising
 * Returns the sum of mass times squared level over the cells: E[x^2] minus this is the mean squared error. */
double lloyd_max(lloyd_below *below, const void *arg, uint32_t n, double *c);

/* The quantiser of the standard normal distribution with n levels; returns its mean squared error. */
double lloyd_max_normal(uint32_t n, double *c);

#endif
