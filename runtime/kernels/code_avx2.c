/* Attention in codes for AVX2: VPMADDWD sums two products of 16 bits in each of 8 lanes.
 *   keys     (cdim/2, 64 tokens, 2 coordinates) levels of 16 bits
 *   values   (cdim, 64 tokens) levels as they come: lanes hold different tokens and are added up at the end
 *   queries, weights: codes of 16 bits in order
 */
#include "by_rows.h"
#include "kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { SPAN = RT_CODE_SPAN };

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

/* ---- tiles ---- */

static void keys(const int8_t *levels, size_t cdim, void *tile) {
    __m256i *out = tile;
    for (size_t i = 0; i < cdim; i += 2, levels += 2 * 64)
        for (int t = 0; t < 64; t += 16) {
            __m128i a = _mm_loadu_si128((const __m128i *)(levels + t)), b = _mm_loadu_si128((const __m128i *)(levels + 64 + t));
            _mm256_storeu_si256(out++, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
            _mm256_storeu_si256(out++, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)));
        }
}

/* ---- scores ---- */

static float query(const float *w, size_t cdim, void *code) {
    const __m256i no_sign = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256();
    int32_t each[8];
    float amax;
    int16_t *out = code;
    for (size_t i = 0; i < cdim; i += 8) /* as integers: NaN is above Inf */
        top = _mm256_max_epi32(top, _mm256_and_si256(load(w + i), no_sign));
    _mm256_storeu_si256((__m256i *)each, top);
    for (int i = 1; i < 8; i++)
        each[0] = each[i] > each[0] ? each[i] : each[0];
    memcpy(&amax, &each[0], sizeof amax);
    bool some = amax >= 0x1p-100f && amax < INFINITY;
    __m256 inv = _mm256_set1_ps(some ? RT_CODE_QUERY / amax : 0);
    memset(out, 0, cdim * sizeof *out);
    for (size_t i = 0; i < cdim && some; i += 16) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(w + i), inv));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(w + i + 8), inv));
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8));
    }
    return amax < INFINITY ? (some ? amax / RT_CODE_QUERY : 0) : NAN;
}

/* 16 tokens from `tile` on. */
INLINE void scores_block(const int rows, const int16_t *code, size_t cdim, const int16_t *tile, const float *scale,
                         const float *bias, const float *gain, float *s) {
    const size_t row = rt_code_row(cdim) / sizeof *code;
    __m256i sum[ROWS][2];
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_setzero_si256();
    for (size_t i = 0; i < cdim; i += 2, tile += 128) {
        __m256i k0 = load(tile), k1 = load(tile + 16);
        for (int r = 0; r < rows; r++) {
            __m256i c = pair(code + (size_t)r * row + i);
            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(c, k0));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(c, k1));
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
        const int16_t *tile = (const int16_t *)((const char *)tiles + t / 64 * rt_code_tile(cdim)) + t % 64 * 2;
        for (size_t r = 0; r < n_q; r += ROWS) {
            const int16_t *c = (const int16_t *)((const char *)code + r * rt_code_row(cdim));
            BY_ROWS(n_q - r, scores_block, c, cdim, tile, scale + r, bias + r, gain + t, s + r * SPAN + t);
        }
    }
}

/* ---- weights ---- */

/* 2^x for x <= 0, 0 below 2^-100; NaN stays. */
INLINE __m256 exp2_neg(__m256 x) {
    const __m256 magic = _mm256_set1_ps(0x1.8p23f);
    __m256 t = _mm256_add_ps(x, magic), r = _mm256_sub_ps(x, _mm256_sub_ps(t, magic)), p = _mm256_set1_ps(0x1.3a02d2p-7f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.c9fc48p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.ec0378p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.62e12cp-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1));
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    __m256 some = _mm256_cmp_ps(x, _mm256_set1_ps(-100), _CMP_NLT_UQ);
    return _mm256_and_ps(some, _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n)));
}

INLINE float fold(__m256 a) {
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

static float weights(float *s, size_t from, size_t to, const float *gain, void *p, float *top) {
    const size_t lo = from & ~(size_t)63, hi = (to + 63) & ~(size_t)63;
    for (size_t t = lo; t < from; t++)
        s[t] = -INFINITY;
    for (size_t t = to; t < hi; t++)
        s[t] = -INFINITY;
    __m256 most = _mm256_set1_ps(-INFINITY), sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    float each[8];
    for (size_t t = lo; t < hi; t += 8)
        most = _mm256_max_ps(_mm256_loadu_ps(s + t), most);
    _mm256_storeu_ps(each, most);
    for (int i = 1; i < 8; i++)
        each[0] = each[i] > each[0] ? each[i] : each[0];
    *top = each[0];
    for (size_t t = lo; t < hi; t += 32) { /* powers take long: four vectors side by side */
        __m256 e[4];
        __m256i c[4];
        for (int j = 0; j < 4; j++)
            e[j] = exp2_neg(_mm256_sub_ps(_mm256_loadu_ps(s + t + 8 * j), _mm256_set1_ps(*top)));
        for (int j = 0; j < 4; j++) {
            sum[j % 2] = _mm256_add_ps(sum[j % 2], e[j]);
            c[j] = _mm256_cvtps_epi32(_mm256_mul_ps(e[j], _mm256_loadu_ps(gain + t + 8 * j)));
        }
        for (int j = 0; j < 4; j += 2)
            _mm256_storeu_si256((__m256i *)((int16_t *)p + t + 8 * j),
                                _mm256_permute4x64_epi64(_mm256_packs_epi32(c[j], c[j + 1]), 0xd8));
    }
    return fold(_mm256_add_ps(sum[0], sum[1]));
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
        const int8_t *v = tiles + n * rt_code_tile(cdim);
        const int16_t *w = p + 64 * n;
/* Unrolled, gcc adds products up in an order that needs more registers than there are. */
#pragma GCC unroll 1
        for (size_t t = 0; t < 64; t += 16) {
            __m256i v0 = levels16(v + t), v1 = levels16(v + 64 + t);
            for (int r = 0; r < rows; r++) {
                __m256i x = load(w + (size_t)r * SPAN + t);
                sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(x, v0));
                sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(x, v1));
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

void rt_code_avx2(rt_kernels *k) {
    k->code_keys = keys;
    k->code_query = query;
    k->code_scores = scores;
    k->code_weights = weights;
    k->code_values = values;
}
