/* Attention and cache decoding for AVX2, FMA and F16C: the plan of attn_avx512.c with 16 registers of 8 lanes. */
#include "attn_plain.h"
#include "fp16.h"

#include <immintrin.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- products ---- */

/* Tokens 0..15 of kt. */
INLINE void scores_block(const int rows, const float *q, size_t dim, const float *kt, float *s, size_t lds) {
    __m256 a[6][2];
    for (int r = 0; r < rows; r++)
        a[r][0] = a[r][1] = _mm256_setzero_ps();
    for (size_t c = 0; c < dim; c++, kt += 64) {
        __m256 k0 = _mm256_loadu_ps(kt), k1 = _mm256_loadu_ps(kt + 8);
        for (int r = 0; r < rows; r++) {
            __m256 x = _mm256_broadcast_ss(q + (size_t)r * dim + c);
            a[r][0] = _mm256_fmadd_ps(x, k0, a[r][0]);
            a[r][1] = _mm256_fmadd_ps(x, k1, a[r][1]);
        }
    }
    for (int r = 0; r < rows; r++) {
        _mm256_storeu_ps(s + (size_t)r * lds, a[r][0]);
        _mm256_storeu_ps(s + (size_t)r * lds + 8, a[r][1]);
    }
}

static void scores(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds) {
    for (; n_q >= 6; n_q -= 6, q += 6 * dim, s += 6 * lds)
        for (int t = 0; t < 64; t += 16)
            scores_block(6, q, dim, kt + t, s + t, lds);
    for (; n_q >= 3; n_q -= 3, q += 3 * dim, s += 3 * lds)
        for (int t = 0; t < 64; t += 16)
            scores_block(3, q, dim, kt + t, s + t, lds);
    for (; n_q; n_q--, q += dim, s += lds)
        for (int t = 0; t < 64; t += 16)
            scores_block(1, q, dim, kt + t, s + t, lds);
}

/* 8 * vecs columns. */
INLINE void values_block(const int rows, const int vecs, const float *p, size_t ldp, size_t n, const float *v, size_t dim,
                         float *o) {
    __m256 a[6][2];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            a[r][j] = _mm256_loadu_ps(o + (size_t)r * dim + 8 * j);
    for (size_t t = 0; t < n; t++, v += dim) {
        __m256 x[2];
        for (int j = 0; j < vecs; j++)
            x[j] = _mm256_loadu_ps(v + 8 * j);
        for (int r = 0; r < rows; r++) {
            __m256 w = _mm256_broadcast_ss(p + (size_t)r * ldp + t);
            for (int j = 0; j < vecs; j++)
                a[r][j] = _mm256_fmadd_ps(w, x[j], a[r][j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            _mm256_storeu_ps(o + (size_t)r * dim + 8 * j, a[r][j]);
}

INLINE void values_cols(const int rows, const float *p, size_t ldp, size_t n, const float *v, size_t dim, float *o) {
    size_t c = 0;
    for (; c + 16 <= dim; c += 16)
        values_block(rows, 2, p, ldp, n, v + c, dim, o + c);
    for (; c + 8 <= dim; c += 8)
        values_block(rows, 1, p, ldp, n, v + c, dim, o + c);
    for (; c < dim; c++)
        for (int r = 0; r < rows; r++)
            for (size_t t = 0; t < n; t++)
                o[(size_t)r * dim + c] = fmaf(p[(size_t)r * ldp + t], v[t * dim + c], o[(size_t)r * dim + c]);
}

static void values(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o) {
    for (; n_q >= 6; n_q -= 6, p += 6 * ldp, o += 6 * dim)
        values_cols(6, p, ldp, n, v, dim, o);
    for (; n_q >= 3; n_q -= 3, p += 3 * ldp, o += 3 * dim)
        values_cols(3, p, ldp, n, v, dim, o);
    for (; n_q; n_q--, p += ldp, o += dim)
        values_cols(1, p, ldp, n, v, dim, o);
}

/* ---- half precision ---- */

static void f16_load(const uint16_t *src, size_t n, float *dst) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
    for (; i < n; i++)
        dst[i] = fp16_to_fp32(src[i]);
}

static void f16_store(const float *src, size_t n, uint16_t *dst) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(dst + i), _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++)
        dst[i] = fp16_from_fp32(src[i]);
}

void rt_attn_avx2(rt_kernels *k) {
    attn_plain(k);
    k->attn_scores = scores;
    k->attn_values = values;
    k->f16_load = f16_load;
    k->f16_store = f16_store;
}
