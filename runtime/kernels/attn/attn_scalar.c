/* Attention and cache decoding, scalar: the definition that the vector variants are held to, bit for bit. */
#include "base/fp16.h"
#include "kernels/attn/attn_plain.h"

#include <math.h>
#include <string.h>

static void scores(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds) {
    for (size_t i = 0; i < n_q; i++) {
        float *row = s + i * lds;
        memset(row, 0, 64 * sizeof *row);
        for (size_t c = 0; c < dim; c++)
            for (int t = 0; t < 64; t++)
                row[t] = fmaf(q[i * dim + c], kt[c * 64 + t], row[t]);
    }
}

static void values(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o) {
    for (size_t i = 0; i < n_q; i++)
        for (size_t t = 0; t < n; t++)
            for (size_t c = 0; c < dim; c++)
                o[i * dim + c] = fmaf(p[i * ldp + t], v[t * dim + c], o[i * dim + c]);
}

static void f16_load(const uint16_t *src, size_t n, float *dst) {
    for (size_t i = 0; i < n; i++)
        dst[i] = fp16_to_fp32(src[i]);
}

static void f16_store(const float *src, size_t n, uint16_t *dst) {
    for (size_t i = 0; i < n; i++)
        dst[i] = fp16_from_fp32(src[i]);
}

void rt_attn_scalar(rt_kernels *k) {
    attn_plain(k);
    k->attn_scores = scores;
    k->attn_values = values;
    k->f16_load = f16_load;
    k->f16_store = f16_store;
}
