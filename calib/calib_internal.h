/* What the files of this folder share. One head is solved in four steps: moments (stats.c) -> transform and spectrum
 * (transform.c) -> bits per coefficient (allocate.c) -> codebooks (codebook.c); solve.c drives them over all heads.
 */
#ifndef CAL_INTERNAL_H
#define CAL_INTERNAL_H

#include "calib.h"

/* --- stats.c --- */

/* Sums over the tokens of one KV head of one layer. Matrices are (pad, pad), pad = head_dim rounded up to 8, upper triangle
 * only. k is measured from `shift`, a vector close to its mean, because keys with a large bias would lose their variance to
 * rounding otherwise; v is measured from zero. */
typedef struct cal_head {
    uint64_t n_q, n_kv; /* vectors in the sums */
    double *qq, *kk, *vv;
    double *k;              /* (pad) */
    float *shift;           /* (pad) */
    float *k_samp, *v_samp; /* (n_samp, head_dim), evenly spaced over the tokens */
    uint32_t n_samp;
} cal_head;

struct cal_stats {
    cal_shape shape;
    uint32_t pad;
    cal_head *heads;      /* (n_layer, n_kv_head) */
    double *entropy;      /* (n_layer, n_head) sums of nats */
    uint64_t *n_entropy;  /* (n_layer) tokens in them */
    double *doubles;      /* memory behind the heads */
    float *floats, *samp; /* likewise */
};

/* --- transform.c --- */

/* An invertible transform z = analysis (x - mean), x = mean + sum_i z[i] synthesis[i], with uncorrelated coefficients. */
typedef struct cal_transform {
    uint32_t dim;
    double *analysis;  /* (dim, dim) row-major */
    double *synthesis; /* (dim, dim) row i = synthesis vector of coefficient i */
    double *lambda;    /* (dim) E[z[i]^2], falling, > 0; lambda[0] = 1 unless all is zero */
    double *mean;      /* (dim) */
    double *tmp;       /* (3, dim, dim) scratch */
} cal_transform;

kv_status cal_transform_new(uint32_t dim, cal_transform *t, kv_err *err);
void cal_transform_free(cal_transform *t);
/* Keys: covariance in the metric of the queries, E[q q^T]^alpha damped. Values: second moment, identity metric, mean zero.
 * KV_ERANGE: statistics not finite, or no tokens. */
kv_status cal_transform_k(const cal_head *h, uint32_t pad, double alpha, double damp, cal_transform *t, kv_err *err);
kv_status cal_transform_v(const cal_head *h, uint32_t pad, cal_transform *t, kv_err *err);

/* --- codebook.c --- */

enum { CAL_MAX_LEVELS = 1 << PROF_MAX_BITS };

/* Lloyd-Max quantisers of the standard normal distribution, by number of bits. */
typedef struct cal_gauss {
    double levels[PROF_MAX_BITS + 1][CAL_MAX_LEVELS];
    double distortion[PROF_MAX_BITS + 1]; /* mean squared error; [0] = 1 */
} cal_gauss;

void cal_gauss_init(cal_gauss *g);

/* Fit t->levels to samples z (n, dim) of its coefficients; bits and sigma are given, levels allocated. Ascending. Few samples:
 * levels stay near those of a normal distribution. */
kv_status cal_fit_levels(const cal_gauss *g, const float *z, uint32_t n, prof_tc *t, kv_err *err);

/* --- allocate.c --- */

/* Bits per coefficient, `total` in all: greedy reverse water-filling on lambda[i]^exponent with the quantiser's distortions.
 * lambda falls, so bits never rise. Returns the bits given: less than total only if all coefficients have PROF_MAX_BITS. */
uint32_t cal_alloc_bits(const cal_gauss *g, const double *lambda, uint32_t dim, double exponent, uint32_t total, uint8_t *bits);

/* Code bits per vector for unit u of n so that the average stays just below bits * dim - (gain bits). */
uint32_t cal_rate(double bits, uint32_t dim, uint32_t u);

/* --- budget.c --- */

/* Sets the budget of every layer of p from its entropy: p->calib_ctx / 2 tokens on average, calib_ctx at most. */
void cal_budget(prof *p);

#endif
