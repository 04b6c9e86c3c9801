#include "codec/codec_rotate.h"
#include "base/splitmix64.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_DIM = 32 };

kv_status kv_rotation_new(kv_coder *c, size_t size, uint32_t span, uint64_t seed, const char *codec, kv_err *err) {
    if (!span) {
        span = c->dim;
        if (span < LEAST_DIM || span & (span - 1))
            return kv_fail(
                err, KV_EINVAL,
                "codec %s rotates the whole head and wants a head_dim that is a power of two from %d on, not %u; use "
                "q8_0 or kivi4",
                codec, LEAST_DIM, c->dim);
    }
    kv_rotation *r = c->state = calloc(1, size);
    if (!r)
        return kv_fail(err, KV_ENOMEM, "no memory for codec %s", codec);
    r->dim = c->dim;
    r->span = span;
    for (uint32_t i = 0; i < r->dim; i++)
        r->sign[i] = (seed && splitmix64(&seed) >> 63 ? -1.0f : 1.0f) / sqrtf((float)span);
    return KV_OK;
}

void kv_rotation_free(kv_coder *c) {
    free(c->state);
}

/* Butterflies of size 1, 2, 4 .. span / 2 on each run, in place. */
static void hadamard(const kv_rotation *r, float *x) {
    for (uint32_t run = 0; run < r->dim; run += r->span)
        for (uint32_t half = 1; half < r->span; half *= 2)
            for (uint32_t i = run; i < run + r->span; i += 2 * half)
                for (uint32_t j = i; j < i + half; j++) {
                    float a = x[j], b = x[j + half];
                    x[j] = a + b;
                    x[j + half] = a - b;
                }
}

void kv_rotate(const kv_rotation *r, const float *x, uint32_t n, float *y) {
    for (; n; n--, x += r->dim, y += r->dim) {
        for (uint32_t i = 0; i < r->dim; i++)
            y[i] = x[i] * r->sign[i];
        hadamard(r, y);
    }
}

void kv_rotate_back(const kv_rotation *r, const float *x, uint32_t n, float *y) {
    for (; n; n--, x += r->dim, y += r->dim) {
        memmove(y, x, r->dim * sizeof *y);
        hadamard(r, y);
        for (uint32_t i = 0; i < r->dim; i++)
            y[i] *= r->sign[i];
    }
}

void kv_rotated_query(const kv_coder *c, const rt_kernels *k, const float *q, uint32_t n, float *qc, float *bias) {
    (void)k;
    kv_rotate(c->state, q, n, qc);
    memset(bias, 0, n * sizeof *bias);
}

void kv_rotated_output(const kv_coder *c, const rt_kernels *k, const float *oc, const float *weight, uint32_t n, float *out) {
    (void)k, (void)weight;
    float x[PROF_MAX_DIM];
    for (; n; n--, oc += c->dim, out += c->dim) {
        kv_rotate_back(c->state, oc, 1, x);
        for (uint32_t i = 0; i < c->dim; i++)
            out[i] += x[i];
    }
}
