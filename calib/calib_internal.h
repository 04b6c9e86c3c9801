/* What the files of this folder share. One head is solved in four steps: moments (stats.c) -> transform and spectrum
 * (transform.c) -> bits per coefficient, shared out over all heads at once (allocate.c) -> codebooks (codebook.c); solve.c
 * drives them.
 */
#ifndef CAL_INTERNAL_H
#define CAL_INTERNAL_H

#include "calib.h"

/* --- stats.c --- */

/* How gradients were levelled (stats.c): to what power their lengths count, and the sum of squares of these. */
typedef struct cal_level {
    double power, square;
} cal_level;

/* Sums over the tokens of one KV head of one layer. Matrices are (pad, pad), pad = head_dim rounded up to 8, upper triangle
 * only. k is measured from `shift`, a vector close to its mean, because keys with a large bias would lose their variance to
 * rounding otherwise; v is measured from zero. */
typedef struct cal_head {
    uint64_t n;                /* tokens in the sums */
    double *kk, *vv, *gk, *gv; /* products of keys, values and the levelled gradients of both (stats.c) */
    double *k;                 /* (pad) */
    cal_level gk_level, gv_level;
    float *shift;           /* (pad) */
    float *k_samp, *v_samp; /* (n_samp, head_dim), evenly spaced over the tokens */
    uint32_t n_samp;
} cal_head;

enum { CAL_ASKED = 256 }; /* queries of a KV head to choose from */

struct cal_stats {
    cal_shape shape;
    uint32_t pad;
    cal_head *heads;      /* (n_layer, n_kv_head) */
    double *entropy;      /* (n_layer, n_head) sums of nats */
    uint64_t *n_entropy;  /* (n_layer) tokens in them */
    double *doubles;      /* memory behind the heads */
    float *floats, *samp; /* likewise */
    float *asked;         /* (n_layer, n_kv_head, CAL_ASKED, head_dim) queries.c */
    bool has_queries;     /* of every layer that is to have them */
};

/* --- transform.c --- */

/* An invertible transform z = analysis (x - mean), x = mean + sum_i z[i] synthesis[i], with uncorrelated coefficients. */
typedef struct cal_transform {
    uint32_t dim;
    double *analysis;  /* (dim, dim) row-major */
    double *synthesis; /* (dim, dim) row i = synthesis vector of coefficient i */
    double *lambda;    /* (dim) E[z[i]^2], falling, > 0; lambda[0] = 1 unless all is zero */
    double *mean;      /* (dim) */
    double cost;       /* nats that a squared error of 1 in a coefficient costs */
    double *tmp;       /* (3, dim, dim) scratch */
} cal_transform;

kv_status cal_transform_new(uint32_t dim, cal_transform *t, kv_err *err);
void cal_transform_free(cal_transform *t);
/* Keys: covariance about the mean. Values: second moment about zero. In the metric of their gradients, damped. KV_ERANGE:
 * statistics not finite, or no tokens. */
kv_status cal_transform_k(const cal_head *h, uint32_t pad, double damp, cal_transform *t, kv_err *err);
kv_status cal_transform_v(const cal_head *h, uint32_t pad, double damp, cal_transform *t, kv_err *err);

/* --- codebook.c --- */

/* Trellis codebooks for normally distributed coefficients. */
typedef struct cal_gauss {
    float levels[TRELLIS_LEVELS];         /* in units of the standard deviation */
    double distortion[PROF_MAX_BITS + 1]; /* mean squared error by bits; [0] = 1 */
} cal_gauss;

kv_status cal_gauss_init(cal_gauss *g, trellis_search_fn *search, kv_err *err);

/* Fit t->levels and t->step to samples z (n, dim) of its coefficients; bits and sigma are given. Few samples: levels stay near
 * those of a normal distribution. */
kv_status cal_fit_levels(const cal_gauss *g, trellis_search_fn *search, const float *z, uint32_t n, prof_tc *t, kv_err *err);

/* --- allocate.c --- */

/* Bits of n coefficients, at most `total` in all, so that sum weight[i] * distortion[bits[i]] is least. Equal weights get equal
 * bits, so a few of the total may be left over. */
void cal_allocate(const cal_gauss *g, const double *weight, size_t n, uint64_t total, uint8_t *bits);

/* --- queries.c --- */

/* Those of n queries of one KV head's group that are candidates; q (n, n_head, head_dim), after `seen` tokens. */
void cal_keep_queries(const cal_shape *sh, uint64_t seen, const float *q, uint32_t n, uint32_t head, float *asked);
/* PROF_QUERIES of CAL_ASKED queries. */
void cal_choose_queries(const float *asked, uint32_t dim, float *out);

/* --- budget_loss.c --- */

/* Mean loss of a head that reads kv_cuts[cut] of its context, nats. */
double cal_loss(const cal_losses *s, uint32_t layer, uint32_t head, uint32_t cut);

#endif
