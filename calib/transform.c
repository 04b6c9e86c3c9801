/* Transforms of one head. docs/codec.md, section 2.
 *
 * Keys: C = covariance of k, M = E[q q^T]. With W = (M + damping)^alpha, what counts of an error e in k is e^T W e. So rotate
 * in the metric: W^1/2 C W^1/2 = V L V^T, analysis = V^T W^1/2, synthesis = W^-1/2 V. The coefficients are uncorrelated with
 * variances L, and squared errors of coefficients add up to e^T W e.
 * Values: the same with W = 1 and the second moment about zero.
 *
 * Coefficients are scaled so that the largest variance is 1: sigma, levels and synthesis vectors then fit f16 for any model.
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
    *t = (cal_transform){dim, m, m + mat, m + 5 * mat, m + 5 * mat + dim, m + 2 * mat};
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

/* Metric m (destroyed) -> root = (m + damping)^(alpha/2) and its inverse, scaled to trace = dim before the power. tmp: one
 * matrix. A head without queries gets the identity. */
static kv_status metric_roots(uint32_t d, double *m, double alpha, double damp, double *root, double *inverse, double *tmp,
                              kv_err *err) {
    double w[PROF_MAX_DIM], trace = 0;
    for (uint32_t i = 0; i < d; i++)
        trace += m[i * d + i];
    if (!(trace > 0))
        for (uint32_t i = 0; i < d; i++)
            m[i * d + i] = 1;
    double scale = trace > 0 ? d / trace : 1;
    kv_status st = la_eigh(d, m, w, err);
    if (st)
        return st;
    for (int side = 0; side < 2; side++) {
        double *out = side ? inverse : root, power = side ? -alpha / 2 : alpha / 2;
        /* sum over eigenvectors u of w^power u u^T, as (U^T D)(U^T)^T */
        for (uint32_t i = 0; i < d; i++) {
            double f = pow(fmax(w[i] * scale, 0) + damp, power);
            for (uint32_t j = 0; j < d; j++)
                tmp[j * d + i] = m[i * d + j] * f;
        }
        la_mul(d, tmp, m, out);
    }
    return KV_OK;
}

/* Order of magnitude for f16: divide coefficients by `unit`. */
static void rescale(cal_transform *t) {
    size_t mat = (size_t)t->dim * t->dim;
    double top = t->lambda[0], unit = top > 0 ? sqrt(top) : 1;
    for (size_t i = 0; i < mat; i++)
        t->analysis[i] /= unit, t->synthesis[i] *= unit;
    for (uint32_t i = 0; i < t->dim; i++)
        t->lambda[i] = fmax(top > 0 ? t->lambda[i] / top : 0, LAMBDA_FLOOR);
}

kv_status cal_transform_k(const cal_head *h, uint32_t pad, double alpha, double damp, cal_transform *t, kv_err *err) {
    uint32_t d = t->dim;
    double *cov = t->tmp, *a = cov + (size_t)d * d, *b = a + (size_t)d * d, n = (double)h->n_kv;
    if (!h->n_kv || !h->n_q)
        return kv_fail(err, KV_ERANGE, "calibration: no tokens beyond the sinks");
    unpack(h->qq, pad, d, (double)h->n_q, a);
    kv_status st = metric_roots(d, a, alpha, damp, t->analysis, t->synthesis, b, err);
    if (st)
        return st;
    unpack(h->kk, pad, d, n, cov);
    for (uint32_t i = 0; i < d; i++)
        for (uint32_t j = 0; j < d; j++)
            cov[i * d + j] -= h->k[i] / n * (h->k[j] / n);
    for (uint32_t i = 0; i < d; i++)
        t->mean[i] = (double)h->shift[i] + h->k[i] / n;
    la_mul(d, t->analysis, cov, a);
    la_mul(d, a, t->analysis, b); /* W^1/2 C W^1/2: both factors are symmetric */
    st = la_eigh(d, b, t->lambda, err);
    if (st)
        return st;
    la_mul(d, b, t->analysis, a);
    memcpy(t->analysis, a, (size_t)d * d * sizeof *a);
    la_mul(d, b, t->synthesis, a);
    memcpy(t->synthesis, a, (size_t)d * d * sizeof *a);
    rescale(t);
    return KV_OK;
}

kv_status cal_transform_v(const cal_head *h, uint32_t pad, cal_transform *t, kv_err *err) {
    uint32_t d = t->dim;
    if (!h->n_kv)
        return kv_fail(err, KV_ERANGE, "calibration: no tokens beyond the sinks");
    unpack(h->vv, pad, d, (double)h->n_kv, t->analysis);
    memset(t->mean, 0, d * sizeof *t->mean);
    kv_status st = la_eigh(d, t->analysis, t->lambda, err);
    if (st)
        return st;
    memcpy(t->synthesis, t->analysis, (size_t)d * d * sizeof *t->synthesis);
    rescale(t);
    return KV_OK;
}
