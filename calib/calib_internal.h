/* What the files of this folder share. One head is solved in four steps: moments (stats.c) -> transform and spectrum
 * (transform.c) -> bits per coefficient, shared out over all heads at once (allocate.c) -> codebooks (codebook.c); solve.c
 * drives them.
 */
#ifndef CAL_INTERNAL_H
#define CAL_INTERNAL_H

#include "calib.h"

static inline void cal_for(cal_team t, size_t n, cal_piece *run, void *arg) {
    if (t.each)
        t.each(t.team, n, 1, run, arg);
    else
        run(arg, 0, 0, n);
}

/* --- stats.c --- */

/* Gradient power: the power to which the lengths of a head's gradients count (stats.c). */
typedef struct cal_grad_power {
    double p;      /* A gradient of length l counts as one of length l^p, 0 <= p <= 1. */
    double square; /* The squared lengths, as they were before, have this sum. */
} cal_grad_power;

/* Sums over the tokens of one KV head of one layer. Matrices are (pad, pad), pad = head_dim rounded up to 8, upper triangle
 * only. k is measured from `shift`, a vector close to its mean, because keys with a large bias would lose their variance to
 * rounding otherwise; v is measured from zero. */
typedef struct cal_head {
    uint64_t n;              /* So many tokens are in the sums. */
    double *kk;              /* (pad, pad) Products of keys, measured from shift. */
    double *vv;              /* (pad, pad) Products of values. */
    double *gk;              /* (pad, pad) Products of the gradients of keys, after their lengths were raised to gk_power. */
    double *gv;              /* (pad, pad) Products of the gradients of values, after their lengths were raised to gv_power. */
    double *k;               /* (pad) The sum of keys, measured from shift. */
    double *qq;              /* (pad) The squares of all queries that read the head are summed here. */
    cal_grad_power gk_power; /* Lengths of the gradients of keys count to this power. */
    cal_grad_power gv_power; /* Lengths of the gradients of values count to this power. */
    float *shift;            /* (pad) A vector close to the mean of keys. */
    float *k_samp;           /* (n_samp, head_dim) Some keys, evenly spaced over the tokens. */
    float *v_samp;           /* (n_samp, head_dim) The values of the same tokens. */
    uint32_t n_samp;         /* So many samples are there. */
} cal_head;

enum { CAL_ASKED = 256 }; /* So many queries of a KV head are there to choose from. */

struct cal_stats {
    cal_shape shape;     /* The shape is as given, but for n_samples, which are n_tokens at most. */
    uint32_t pad;        /* head_dim is rounded up to this. */
    cal_head *heads;     /* (n_layer, n_kv_head) Each KV head has sums of its own; layers with fewer heads use the first. */
    double *entropy;     /* (n_layer, n_head) Entropies of attention are summed here, nats. */
    uint64_t *n_entropy; /* (n_layer) So many tokens are in these sums. */
    double *doubles;     /* Matrices and vectors of the heads lie here. */
    float *floats;       /* Shifts of the heads lie here. */
    float *samp;         /* Samples of the heads lie here. */
    float *asked;        /* (n_layer, n_kv_head, CAL_ASKED, head_dim) Queries to choose from are kept here (queries.c). */
    bool has_queries;    /* Batches bring queries, for every layer that is to have them. */
};

/* Doubles of a head: four matrices and two vectors. */
static inline size_t cal_head_doubles(const cal_stats *s) {
    return 4 * (size_t)s->pad * s->pad + 2 * s->pad;
}

/* How many samples of a head there are after `seen` tokens. */
uint32_t cal_n_kept(const cal_shape *sh, uint64_t seen);

/* --- transform.c --- */

/* An invertible transform z = analysis (x - mean), x = mean + sum_i z[i] synthesis[i], with uncorrelated coefficients. */
typedef struct cal_transform {
    uint32_t dim;      /* Vectors have so many coordinates: head_dim. */
    double *analysis;  /* (dim, dim) Row i gives coefficient i. */
    double *synthesis; /* (dim, dim) Row i is the synthesis vector of coefficient i. */
    double *lambda;    /* (dim) E[z[i]^2] of each coefficient is falling, > 0; the first is 1 unless all is zero. */
    double *mean;      /* (dim) It is subtracted before analysis. */
    double cost;       /* A squared error of 1 in a coefficient costs so many nats. */
    double *tmp;       /* (3, dim, dim) It is scratch memory. */
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
    float levels[TRELLIS_LEVELS];         /* Levels are in units of the standard deviation. */
    double distortion[PROF_MAX_BITS + 1]; /* The mean squared error of so many bits; that of none is 1. */
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

/* Those of n queries of one KV head's group that are candidates; q (n, n_head, head_dim), after `seen` tokens. group: query
 * heads of a KV head. */
void cal_keep_queries(const cal_shape *sh, uint64_t seen, const float *q, uint32_t n_head, uint32_t group, uint32_t n,
                      uint32_t head, float *asked);
/* PROF_QUERIES of CAL_ASKED queries. */
void cal_choose_queries(const float *asked, uint32_t dim, float *out);

/* --- budget_loss.c --- */

/* Mean loss of a head that reads kv_cuts[cut] of its context, nats. */
double cal_loss(const cal_losses *s, uint32_t layer, uint32_t head, uint32_t cut);

#endif
