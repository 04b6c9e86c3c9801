/* The few matrix operations that calibration needs, on small square row-major matrices of doubles. The only user of LAPACK.
 * Results do not depend on the number of threads: the library's own threading is off and every sum has a fixed order.
 */
#ifndef CAL_LINALG_H
#define CAL_LINALG_H

#include "base/status.h"

#include <stdint.h>

/* Make LAPACK run on the calling thread only. Call once before la_eigh is used, and before any threads of ours start. */
void la_single_thread(void);

/* Eigenvalues and orthonormal eigenvectors of a symmetric matrix.
 *   a (n, n)  in: the matrix, of which the upper triangle is read; out: row i is the eigenvector of w[i]
 *   w (n)     eigenvalues, falling
 * The component of largest magnitude of every eigenvector is positive, so that the answer is one and not one of 2^n.
 * KV_ERANGE: NaN or Inf in a, or no convergence; KV_ENOMEM. */
kv_status la_eigh(uint32_t n, double *a, double *w, kv_err *err);

/* c = a b, and c = a b^T; all (n, n). c must not overlap a or b. */
void la_mul(uint32_t n, const double *a, const double *b, double *c);
void la_mul_t(uint32_t n, const double *a, const double *b, double *c);

#endif
