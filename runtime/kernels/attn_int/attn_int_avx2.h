/* Attention in codes for registers of 256 bits, with VNNI where the including file is compiled with it: products of 16 bits,
 * two of which are summed in each of 8 lanes.
 *   - keys: (cdim/2, 64 tokens, 2 coordinates) levels of 16 bits
 *   - values: (cdim, 64 tokens) levels as they come; lanes hold different tokens and are added up at the end
 *   - queries, weights: codes of 16 bits in order
 */
#ifndef RT_CODE_AVX2_H
#define RT_CODE_AVX2_H

#include "kernels/by_rows.h"
#include "kernels/kernels.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { SPAN = RT_INT_SPAN };

/* sum + a.low * b.low + a.high * b.high */
INLINE __m256i add_pairs(__m256i sum, __m256i a, __m256i b) {
#ifdef __AVXVNNI__
    return _mm256_dpwssd_avx_epi32(sum, a, b);
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
#endif
}

INLINE __m256i pair(const int16_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
}

INLINE __m256i load(const void *p) {
    return _mm256_loadu_si256(p);
}

/* 16 levels, widened. */
INLINE __m256i levels16(const int8_t *p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
}

/* ---- scores ---- */

/* 16 tokens from `tile` on. */
INLINE void scores_block(const int rows, const int16_t *code, size_t cdim, const int16_t *tile, const float *scale,
                         const float *bias, const float *gain, float *s) {
    const size_t row = rt_int_row(cdim) / sizeof *code;
    __m256i sum[ROWS][2];
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t i = 0; i < cdim; i += 2, tile += 128) {
        __m256i k0 = load(tile), k1 = load(tile + 16);
        for (int r = 0; r < rows; r++) {
            __m256i c = pair(code + (size_t)r * row + i);
            sum[r][0] = add_pairs(sum[r][0], c, k0);
            sum[r][1] = add_pairs(sum[r][1], c, k1);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 2; j++) {
            __m256 by = _mm256_mul_ps(_mm256_set1_ps(scale[r]), _mm256_loadu_ps(gain + 8 * j));
            _mm256_storeu_ps(s + (size_t)r * SPAN + 8 * j,
                             _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][j]), by, _mm256_set1_ps(bias[r])));
        }
}

static void scores(const void *code, size_t n_q, size_t cdim, const void *tiles, size_t n_tile, const float *scale,
                   const float *bias, const float *gain, float *s) {
    for (size_t t = 0; t < 64 * n_tile; t += 16) {
        const int16_t *tile = (const int16_t *)((const char *)tiles + t / 64 * rt_int_tile(cdim)) + t % 64 * 2;
        for (size_t r = 0; r < n_q; r += ROWS) {
            const int16_t *c = (const int16_t *)((const char *)code + r * rt_int_row(cdim));
            BY_ROWS(n_q - r, scores_block, c, cdim, tile, scale + r, bias + r, gain + t, s + r * SPAN + t);
        }
    }
}

/* ---- values ---- */

enum { COORDS = 2 };

/* The sums of four vectors' lanes. */
INLINE __m128i folds(__m256i a, __m256i b, __m256i c, __m256i d) {
    __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    __m256i all = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
}

/* Two coordinates from `tiles` on. */
INLINE void values_block(const int rows, const int16_t *p, size_t cdim, const int8_t *tiles, size_t first, size_t last,
                         const float *scale, float *o) {
    __m256i sum[ROWS][COORDS];
    for (int r = 0; r < ROWS; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t n = first; n < last; n++) {
        const int8_t *v = tiles + n * rt_int_tile(cdim);
        const int16_t *w = p + 64 * n;
/* Unrolled, gcc adds products up in an order that needs more registers than there are. */
#pragma GCC unroll 1
        for (size_t t = 0; t < 64; t += 16) {
            __m256i v0 = levels16(v + t), v1 = levels16(v + 64 + t);
            for (int r = 0; r < rows; r++) {
                __m256i x = load(w + (size_t)r * SPAN + t);
                sum[r][0] = add_pairs(sum[r][0], x, v0);
                sum[r][1] = add_pairs(sum[r][1], x, v1);
            }
        }
    }
    for (int r = 0; r < rows; r += 2) {
        const float s0 = scale[r], s1 = r + 1 < rows ? scale[r + 1] : 0;
        __m128 y =
            _mm_mul_ps(_mm_setr_ps(s0, s0, s1, s1), _mm_cvtepi32_ps(folds(sum[r][0], sum[r][1], sum[r + 1][0], sum[r + 1][1])));
        _mm_storel_pi((__m64 *)(o + (size_t)r * cdim), y);
        if (r + 1 < rows)
            _mm_storeh_pi((__m64 *)(o + (size_t)(r + 1) * cdim), y);
    }
}

static void values(const void *weight, size_t n_q, size_t cdim, const void *tiles, size_t first, size_t last,
                   const float *scale, float *o) {
    const int16_t *p = weight;
    for (size_t i = 0; i < cdim; i += COORDS) {
        const int8_t *at = (const int8_t *)tiles + 64 * i;
        for (size_t r = 0; r < n_q; r += ROWS)
            BY_ROWS(n_q - r, values_block, p + r * SPAN, cdim, at, first, last, scale + r, o + r * cdim + i);
    }
}

#endif
