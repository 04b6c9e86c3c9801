/* Attention and cache decoding for NEON: the plan of attn_avx512.c with 32 registers of 4 lanes. */
#include "base/fp16.h"
#include "kernels/attn/attn_plain.h"
#include "kernels/by_rows.h"

#include <arm_neon.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- products ---- */

/* Tokens 0..15 of kt. */
INLINE void scores_block(const int rows, const float *q, size_t dim, const float *kt, float *s, size_t lds) {
    float32x4_t a[ROWS][4];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 4; j++)
            a[r][j] = vdupq_n_f32(0);
    for (size_t c = 0; c < dim; c++, kt += 64) {
        float32x4_t k[4];
        for (int j = 0; j < 4; j++)
            k[j] = vld1q_f32(kt + 4 * j);
        for (int r = 0; r < rows; r++) {
            float32x4_t x = vdupq_n_f32(q[(size_t)r * dim + c]);
            for (int j = 0; j < 4; j++)
                a[r][j] = vfmaq_f32(a[r][j], x, k[j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 4; j++)
            vst1q_f32(s + (size_t)r * lds + 4 * j, a[r][j]);
}

INLINE void scores_rows(const int rows, const float *q, size_t dim, const float *kt, float *s, size_t lds) {
    for (int t = 0; t < 64; t += 16)
        scores_block(rows, q, dim, kt + t, s + t, lds);
}

static void scores(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds) {
    for (size_t r = 0; r < n_q; r += ROWS)
        BY_ROWS(n_q - r, scores_rows, q + r * dim, dim, kt, s + r * lds, lds);
}

/* 4 * vecs columns. */
INLINE void values_block(const int rows, const int vecs, const float *p, size_t ldp, size_t n, const float *v, size_t dim,
                         float *o) {
    float32x4_t a[ROWS][4];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            a[r][j] = vld1q_f32(o + (size_t)r * dim + 4 * j);
    for (size_t t = 0; t < n; t++, v += dim) {
        float32x4_t x[4];
        for (int j = 0; j < vecs; j++)
            x[j] = vld1q_f32(v + 4 * j);
        for (int r = 0; r < rows; r++) {
            float32x4_t w = vdupq_n_f32(p[(size_t)r * ldp + t]);
            for (int j = 0; j < vecs; j++)
                a[r][j] = vfmaq_f32(a[r][j], w, x[j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            vst1q_f32(o + (size_t)r * dim + 4 * j, a[r][j]);
}

INLINE void values_cols(const int rows, const float *p, size_t ldp, size_t n, const float *v, size_t dim, float *o) {
    size_t c = 0;
    for (; c + 16 <= dim; c += 16)
        values_block(rows, 4, p, ldp, n, v + c, dim, o + c);
    for (; c + 4 <= dim; c += 4)
        values_block(rows, 1, p, ldp, n, v + c, dim, o + c);
    for (; c < dim; c++)
        for (int r = 0; r < rows; r++)
            for (size_t t = 0; t < n; t++)
                o[(size_t)r * dim + c] = fmaf(p[(size_t)r * ldp + t], v[t * dim + c], o[(size_t)r * dim + c]);
}

static void values(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o) {
    for (size_t r = 0; r < n_q; r += ROWS)
        BY_ROWS(n_q - r, values_cols, p + r * ldp, ldp, n, v, dim, o + r * dim);
}

/* ---- half precision ---- */

static void f16_load(const uint16_t *src, size_t n, float *dst) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(dst + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(src + i))));
    for (; i < n; i++)
        dst[i] = fp16_to_fp32(src[i]);
}

static void f16_store(const float *src, size_t n, uint16_t *dst) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1_u16(dst + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(src + i))));
    for (; i < n; i++)
        dst[i] = fp16_from_fp32(src[i]);
}

void rt_attn_neon(rt_kernels *k) {
    attn_plain(k);
    k->attn_scores = scores;
    k->attn_values = values;
    k->f16_load = f16_load;
    k->f16_store = f16_store;
}
