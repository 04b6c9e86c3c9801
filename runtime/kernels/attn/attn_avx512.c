/* Attention and cache decoding for AVX-512 (F, BW, VL, DQ). Lanes run over independent outputs, sums in the order of
 * attn_scalar.c. Products keep a block of query rows times four vectors in registers.
 */
#include "kernels/attn/attn_plain.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- products ---- */

INLINE void scores_block(const int rows, const float *q, size_t dim, const float *kt, float *s, size_t lds) {
    __m512 a[6][4];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 4; j++)
            a[r][j] = _mm512_setzero_ps();
    for (size_t c = 0; c < dim; c++, kt += 64) {
        __m512 k[4];
        for (int j = 0; j < 4; j++)
            k[j] = _mm512_loadu_ps(kt + 16 * j);
        for (int r = 0; r < rows; r++) {
            __m512 x = _mm512_set1_ps(q[(size_t)r * dim + c]);
            for (int j = 0; j < 4; j++)
                a[r][j] = _mm512_fmadd_ps(x, k[j], a[r][j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 4; j++)
            _mm512_storeu_ps(s + (size_t)r * lds + 16 * j, a[r][j]);
}

static void scores(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds) {
    for (; n_q >= 6; n_q -= 6, q += 6 * dim, s += 6 * lds)
        scores_block(6, q, dim, kt, s, lds);
    switch (n_q) {
    case 5:
        scores_block(5, q, dim, kt, s, lds);
        break;
    case 4:
        scores_block(4, q, dim, kt, s, lds);
        break;
    case 3:
        scores_block(3, q, dim, kt, s, lds);
        break;
    case 2:
        scores_block(2, q, dim, kt, s, lds);
        break;
    case 1:
        scores_block(1, q, dim, kt, s, lds);
    }
}

/* vecs vectors of columns; the last one under mask m. */
INLINE void values_block(const int rows, const int vecs, __mmask16 m, const float *p, size_t ldp, size_t n, const float *v,
                         size_t dim, float *o) {
    __m512 a[6][4];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            a[r][j] = _mm512_maskz_loadu_ps(j == vecs - 1 ? m : 0xffff, o + (size_t)r * dim + 16 * j);
    for (size_t t = 0; t < n; t++, v += dim) {
        __m512 x[4];
        for (int j = 0; j < vecs; j++)
            x[j] = _mm512_maskz_loadu_ps(j == vecs - 1 ? m : 0xffff, v + 16 * j);
        for (int r = 0; r < rows; r++) {
            __m512 w = _mm512_set1_ps(p[(size_t)r * ldp + t]);
            for (int j = 0; j < vecs; j++)
                a[r][j] = _mm512_fmadd_ps(w, x[j], a[r][j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            _mm512_mask_storeu_ps(o + (size_t)r * dim + 16 * j, j == vecs - 1 ? m : 0xffff, a[r][j]);
}

INLINE void values_cols(const int rows, const float *p, size_t ldp, size_t n, const float *v, size_t dim, float *o) {
    size_t c = 0;
    for (; c + 64 <= dim; c += 64)
        values_block(rows, 4, 0xffff, p, ldp, n, v + c, dim, o + c);
    for (; c + 32 <= dim; c += 32)
        values_block(rows, 2, 0xffff, p, ldp, n, v + c, dim, o + c);
    for (; c < dim; c += 16)
        values_block(rows, 1, (__mmask16)(dim - c < 16 ? (1u << (dim - c)) - 1 : 0xffff), p, ldp, n, v + c, dim, o + c);
}

static void values(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o) {
    for (; n_q >= 6; n_q -= 6, p += 6 * ldp, o += 6 * dim)
        values_cols(6, p, ldp, n, v, dim, o);
    switch (n_q) {
    case 5:
        values_cols(5, p, ldp, n, v, dim, o);
        break;
    case 4:
        values_cols(4, p, ldp, n, v, dim, o);
        break;
    case 3:
        values_cols(3, p, ldp, n, v, dim, o);
        break;
    case 2:
        values_cols(2, p, ldp, n, v, dim, o);
        break;
    case 1:
        values_cols(1, p, ldp, n, v, dim, o);
    }
}

/* ---- half precision ---- */

static void f16_load(const uint16_t *src, size_t n, float *dst) {
    for (size_t i = 0; i < n; i += 16) {
        if (i % 32 == 0)
            __builtin_prefetch(src + i + F16_AHEAD, 0, 2);
        __mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffff);
        _mm512_mask_storeu_ps(dst + i, m, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, src + i)));
    }
}

static void f16_store(const float *src, size_t n, uint16_t *dst) {
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffff);
        __m256i h = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(m, src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(dst + i, m, h);
    }
}

void rt_attn_avx512(rt_kernels *k) {
    attn_plain(k);
    k->attn_scores = scores;
    k->attn_values = values;
    k->f16_load = f16_load;
    k->f16_store = f16_store;
}
