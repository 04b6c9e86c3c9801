/* Transforms of one head. docs/codec.md, section 2.
 *
 * An error e of a key costs about e^T F e / 2 nats, F = E[g g^T] the Fisher information, g the key's gradients. With W = F +
 * damping and C = covariance of k, rotate in the metric: W^1/2 C W^1/2 = V L V^T, analysis = V^T W^1/2, synthesis = W^-1/2 V.
 * The coefficients are uncorrelated with variances L, and squared errors of coefficients add up to e^T W e. Values: the same
 * with the second moment about zero for C.
 *
 * Coefficients are scaled so that the largest variance is 1: sigma and synthesis vectors then fit f16 for any model.
 */
#include "calib_internal.h"
#include "linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Variances below this share of the largest count as this: such coefficients are noise, but sigma must stay above 0. */
static const double LAMBDA_FLOOR = 0x1p-24;

kv_status cal_transform_new(uint32_t dim, cal_transform *t, kv_err *err) {
    size_t mat = (size_t)dim * dim;
    double *m = calloc(5 * mat + 2 * dim, sizeof *m);
    if (!m)
        return kv_fail(err, KV_ENOMEM, "calibration: no memory for transforms of %u dimensions", dim);
    *t = (cal_transform){.dim = dim, .analysis = m, .synthesis = m + mat, .tmp = m + 2 * mat, .lambda = m + 5 * mat};
    t->mean = t->lambda + dim;
    return KV_OK;
}

void cal_transform_free(cal_transform *t) {
    free(t->analysis);
    *t = (cal_transform){0};
}

/* out (dim, dim) = both triangles of the padded upper triangle `sum`, divided by n. */
static void unpack(const double *sum, uint32_t pad, uint32_t dim, double n, double *out) {
    for (uint32_t i = 0; i < dim; i++)
        for (uint32_t j = i; j < dim; j++)
            out[i * dim + j] = out[j * dim + i] = sum[(size_t)i * pad + j] / n;
}

/* Metric m (destroyed) -> root = (m + damping)^1/2 and its inverse, of m scaled to trace = dim. tmp: one matrix. A head
 * without gradients gets the identity. */
static kv_status metric_roots(uint32_t d, double *m, double damp, double *root, double *inverse, double *tmp, kv_err *err) {
    double w[PROF_MAX_DIM], trace = 0;
    for (uint32_t i = 0; i < d; i++)
        trace += m[i * d + i];
    if (!(trace > 0))
        for (uint32_t i = 0; i < d; i++)
            m[i * d + i] = 1;
    kv_status st = la_eigh(d, m, w, err);
    if (st)
        return st;
    for (int side = 0; side < 2; side++) {
        double *out = side ? inverse : root, power = side ? -0.5 : 0.5;
        /* sum over eigenvectors u of w^power u u^T, as (U^T D)(U^T)^T */
        for (uint32_t i = 0; i < d; i++) {
            double f = pow(fmax(trace > 0 ? w[i] * d / trace : 1, 0) + damp, power);
            for (uint32_t j = 0; j < d; j++)
                tmp[j * d + i] = m[i * d + j] * f;
        }
        la_mul(d, tmp, m, out);
    }
    return KV_OK;
}

/* Order of magnitude for f16: divide coefficients by their largest deviation. */
static void rescale(cal_transform *t) {
    size_t mat = (size_t)t->dim * t->dim;
    double top = t->lambda[0], unit = top > 0 ? sqrt(top) : 1;
    for (size_t i = 0; i < mat; i++)
        t->analysis[i] /= unit, t->synthesis[i] *= unit;
    for (uint32_t i = 0; i < t->dim; i++)
        t->lambda[i] = fmax(top > 0 ? t->lambda[i] / top : 0, LAMBDA_FLOOR);
    t->cost *= unit * unit;
}

/* cov = tmp[0] (dim, dim), metric from the padded products of gradients g (stats.c), their scale from g2; n tokens. */
static kv_status rotate(const double *g, double g2, uint64_t n, uint32_t pad, double damp, cal_transform *t, kv_err *err) {
    uint32_t d = t->dim;
    double *cov = t->tmp, *a = cov + (size_t)d * d, *b = a + (size_t)d * d;
    unpack(g, pad, d, (double)n, a);
    kv_status st = metric_roots(d, a, damp, t->analysis, t->synthesis, b, err);
    if (st)
        return st;
    la_mul(d, t->analysis, cov, a);
    la_mul(d, a, t->analysis, b); /* W^1/2 C W^1/2: both factors are symmetric */
    st = la_eigh(d, b, t->lambda, err);
    if (st)
        return st;
    la_mul(d, b, t->analysis, a);
    memcpy(t->analysis, a, (size_t)d * d * sizeof *a);
    la_mul(d, b, t->synthesis, a);
    memcpy(t->synthesis, a, (size_t)d * d * sizeof *a);
    t->cost = g2 / (double)n / d / 2;
    rescale(t);
    return KV_OK;
}

static kv_status no_tokens(kv_err *err) {
    return kv_fail(err, KV_ERANGE, "calibration: no tokens beyond the sinks");
}

kv_status cal_transform_k(const cal_head *h, uint32_t pad, double damp, cal_transform *t, kv_err *err) {
    uint32_t d = t->dim;
    double *cov = t->tmp, n = (double)h->n;
    if (!h->n)
        return no_tokens(err);
    unpack(h->kk, pad, d, n, cov);
    for (uint32_t i = 0; i < d; i++)
        for (uint32_t j = 0; j < d; j++)
            cov[i * d + j] -= h->k[i] / n * (h->k[j] / n);
    for (uint32_t i = 0; i < d; i++)
        t->mean[i] = (double)h->shift[i] + h->k[i] / n;
    return rotate(h->gk, h->gk_power.square, h->n, pad, damp, t, err);
}

kv_status cal_transform_v(const cal_head *h, uint32_t pad, double damp, cal_transform *t, kv_err *err) {
    if (!h->n)
        return no_tokens(err);
    unpack(h->vv, pad, t->dim, (double)h->n, t->tmp);
    memset(t->mean, 0, t->dim * sizeof *t->mean);
    return rotate(h->gv, h->gv_power.square, h->n, pad, damp, t, err);
}
