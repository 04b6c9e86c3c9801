/* Vector kernels for AVX2: 16 floats are two registers. The algorithms are in vec_body.h. */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct v16 {
    __m256 lo, hi;
} v16;

/* Lanes below n: all ones. */
static inline __m256i mask(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline __m256i mask_hi(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15));
}

#define EACH(op, a, b) ((v16){op((a).lo, (b).lo), op((a).hi, (b).hi)})

static inline v16 v_set(float a) {
    return (v16){_mm256_set1_ps(a), _mm256_set1_ps(a)};
}

static inline v16 v_load(const float *p, size_t n) {
    if (n == 16)
        return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
    return (v16){_mm256_maskload_ps(p, mask(n)), n > 8 ? _mm256_maskload_ps(p + 8, mask_hi(n)) : _mm256_setzero_ps()};
}

static inline __m128i load_halves(const uint16_t *p) {
    return _mm_loadu_si128((const __m128i *)p);
}

static inline v16 v_load_f16(const uint16_t *p) {
    return (v16){_mm256_cvtph_ps(load_halves(p)), _mm256_cvtph_ps(load_halves(p + 8))};
}

static inline __m256 widen_bf16(__m128i h) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static inline v16 v_load_bf16(const uint16_t *p) {
    return (v16){widen_bf16(load_halves(p)), widen_bf16(load_halves(p + 8))};
}

static inline void v_store(float *p, v16 a, size_t n) {
    if (n == 16) {
        _mm256_storeu_ps(p, a.lo);
        _mm256_storeu_ps(p + 8, a.hi);
        return;
    }
    _mm256_maskstore_ps(p, mask(n), a.lo);
    if (n > 8)
        _mm256_maskstore_ps(p + 8, mask_hi(n), a.hi);
}

static inline v16 v_add(v16 a, v16 b) {
    return EACH(_mm256_add_ps, a, b);
}

static inline v16 v_sub(v16 a, v16 b) {
    return EACH(_mm256_sub_ps, a, b);
}

static inline v16 v_mul(v16 a, v16 b) {
    return EACH(_mm256_mul_ps, a, b);
}

static inline v16 v_div(v16 a, v16 b) {
    return EACH(_mm256_div_ps, a, b);
}

static inline v16 v_fma(v16 a, v16 b, v16 c) {
    return (v16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

static inline v16 v_max(v16 a, v16 b) {
    return EACH(_mm256_max_ps, a, b);
}

static inline v16 v_min(v16 a, v16 b) {
    return EACH(_mm256_min_ps, a, b);
}

static inline v16 v_down(v16 a, int h) {
    switch (h) {
    case 8:
        return (v16){a.hi, a.hi};
    case 4:
        return (v16){_mm256_permute2f128_ps(a.lo, a.lo, 1), a.hi};
    case 2:
        return (v16){_mm256_permute_ps(a.lo, 0x4e), a.hi};
    default:
        return (v16){_mm256_permute_ps(a.lo, 0xb1), a.hi};
    }
}

static inline float v_lane0(v16 a) {
    return _mm256_cvtss_f32(a.lo);
}

static inline v16 v_first(v16 a, v16 b, size_t n) {
    return (v16){_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(mask(n))),
                 _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(mask_hi(n)))};
}

static inline __m256 scale8(__m256 a, __m256 t) {
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(_mm256_set1_ps(0x1.8p23f)));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(n, 23), _mm256_set1_epi32(0x3f800000))));
}

static inline v16 v_scale(v16 a, v16 t) {
    return EACH(scale8, a, t);
}

static inline v16 v_clear_below(v16 a, v16 x, float f) {
    const __m256 limit = _mm256_set1_ps(f);
    return (v16){_mm256_andnot_ps(_mm256_cmp_ps(x.lo, limit, _CMP_LT_OQ), a.lo),
                 _mm256_andnot_ps(_mm256_cmp_ps(x.hi, limit, _CMP_LT_OQ), a.hi)};
}

#define VEC_FILL rt_vec_avx2
#include "kernels/vec/vec_body.h"
