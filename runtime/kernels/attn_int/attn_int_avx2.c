/* Attention in codes for AVX2 without VNNI: attn_int/attn_int_avx2.h. */
#include "kernels/attn_int/attn_int_avx2.h"

#include <math.h>

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

/* ---- queries ---- */

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
    __m256 inv = _mm256_set1_ps(some ? RT_INT_QUERY / amax : 0);
    memset(out, 0, cdim * sizeof *out);
    for (size_t i = 0; i < cdim && some; i += 16) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(w + i), inv));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(w + i + 8), inv));
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8));
    }
    return amax < INFINITY ? (some ? amax / RT_INT_QUERY : 0) : NAN;
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

void rt_attn_int_avx2(rt_kernels *k) {
    k->int_keys = keys;
    k->int_query = query;
    k->int_scores = scores;
    k->int_weights = weights;
    k->int_values = values;
}
