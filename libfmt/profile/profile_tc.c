/* Calibrated heads of a profile: memory, rounding to storage precision, checks. */
#include "base/fp16.h"
#include "profile/profile_internal.h"

#include <math.h>
#include <stdlib.h>

enum { BASIS_MIN_EXP = -24, BASIS_MAX_EXP = 5 }; /* a step of 2^-24 is the smallest f16; 1023 * 2^5 is below the largest */

kv_status prof_tc_alloc(prof_tc *t, uint32_t dim, kv_err *err) {
    if (dim < 1 || dim > PROF_MAX_DIM)
        return kv_fail(err, KV_ERANGE, "profile: head width %u is outside 1..%d", dim, PROF_MAX_DIM);
    *t = (prof_tc){.dim = dim};
    t->bits = calloc(dim, sizeof *t->bits);
    t->mean = calloc(dim, sizeof *t->mean);
    t->basis = calloc((size_t)dim * dim, sizeof *t->basis);
    t->sigma = calloc(dim, sizeof *t->sigma);
    t->step = calloc(PROF_MAX_BITS + 1, sizeof *t->step);
    t->levels = calloc(TRELLIS_LEVELS, sizeof *t->levels);
    if (t->bits && t->mean && t->basis && t->sigma && t->step && t->levels)
        return KV_OK;
    prof_tc_free(t);
    return kv_fail(err, KV_ENOMEM, "profile: out of memory");
}

void prof_tc_free(prof_tc *t) {
    free(t->bits);
    free(t->mean);
    free(t->basis);
    free(t->sigma);
    free(t->step);
    free(t->levels);
    *t = (prof_tc){0};
}

uint32_t prof_tc_vector_bits(const prof_tc *t) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < t->dim; i++)
        sum += t->bits[i];
    return sum + TRELLIS_GAIN_BITS;
}

/* ---- rows of a basis ---- */

bool prof_row_exp(const float *row, uint32_t dim, int *exp) {
    float most = 0;
    for (uint32_t i = 0; i < dim; i++) {
        if (!isfinite(row[i]))
            return false;
        most = fmaxf(most, fabsf(row[i]));
    }
    int e;
    frexpf(most, &e); /* most < 2^e */
    e -= PROF_BASIS_BITS;
    e += rintf(ldexpf(most, -e)) == 1 << PROF_BASIS_BITS; /* it would be rounded up to a number of one bit more */
    *exp = e < BASIS_MIN_EXP ? BASIS_MIN_EXP : e;
    return most > 0 && e <= BASIS_MAX_EXP;
}

/* A row is integers below 2^PROF_BASIS_BITS times a power of two. */
static void round_row(float *row, uint32_t dim) {
    int e;
    if (!prof_row_exp(row, dim, &e))
        return;
    for (uint32_t i = 0; i < dim; i++)
        row[i] = ldexpf(rintf(ldexpf(row[i], -e)), e) + 0.0f; /* + 0: no negative zeros */
}

void prof_tc_round(prof_tc *t) {
    for (uint32_t i = 0; i < t->dim; i++) {
        round_row(t->basis + (size_t)i * t->dim, t->dim);
        t->sigma[i] = fp16_to_fp32(fp16_from_fp32(t->sigma[i]));
    }
    for (int b = 0; t->dim && b <= PROF_MAX_BITS; b++)
        t->step[b] = fp16_to_fp32(fp16_from_fp32(t->step[b]));
}

static kv_status bad(const char *where, const char *path, const char *what, uint32_t i, kv_err *err) {
    return kv_fail(err, KV_ERANGE, "%s: %s: coefficient %u: %s", where, path, i, what);
}

kv_status prof_tc_check(const prof_tc *t, uint32_t dim, const char *where, const char *path, kv_err *err) {
    if (t->dim != dim || !t->bits || !t->mean || !t->basis || !t->sigma || !t->step || !t->levels)
        return kv_fail(err, KV_ERANGE, "%s: %s: has no transform of width %u", where, path, dim);
    for (uint32_t i = 0; i < dim; i++) {
        int e;
        if (t->bits[i] > PROF_MAX_BITS || (i > 0 && t->bits[i] > t->bits[i - 1]))
            return bad(where, path, "bits must be at most 6 and never rise", i, err);
        if (!isfinite(t->mean[i]))
            return bad(where, path, "mean is not finite", i, err);
        if (!(t->sigma[i] > 0) || !isfinite(t->sigma[i]))
            return bad(where, path, "sigma must be above 0 and finite", i, err);
        if (!prof_row_exp(t->basis + (size_t)i * dim, dim, &e))
            return bad(where, path, "row of the basis is zero, not finite or above 32736", i, err);
        float step = t->step[t->bits[i]];
        if (t->bits[i] && (!(step > 0) || !isfinite(step)))
            return bad(where, path, "the step of its levels must be above 0 and finite", i, err);
    }
    unsigned falling = trellis_falling(t->levels);
    if (falling)
        return kv_fail(err, KV_ERANGE, "%s: %s: levels of %u bits must not fall within a window", where, path, falling);
    return KV_OK;
}
