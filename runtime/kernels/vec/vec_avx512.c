/* Vector kernels for AVX-512. The algorithms are in vec_body.h. */
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef __m512 v16;

static inline __mmask16 mask(size_t n) {
    return (__mmask16)((1u << n) - 1);
}

static inline v16 v_set(float a) {
    return _mm512_set1_ps(a);
}

static inline v16 v_load(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps(mask(n), p);
}

static inline __m256i load_halves(const uint16_t *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline v16 v_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(load_halves(p));
}

static inline v16 v_load_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(p)), 16));
}

static inline void v_store(float *p, v16 a, size_t n) {
    _mm512_mask_storeu_ps(p, mask(n), a);
}

static inline v16 v_add(v16 a, v16 b) {
    return _mm512_add_ps(a, b);
}

static inline v16 v_sub(v16 a, v16 b) {
    return _mm512_sub_ps(a, b);
}

static inline v16 v_mul(v16 a, v16 b) {
    return _mm512_mul_ps(a, b);
}

static inline v16 v_div(v16 a, v16 b) {
    return _mm512_div_ps(a, b);
}

static inline v16 v_fma(v16 a, v16 b, v16 c) {
    return _mm512_fmadd_ps(a, b, c);
}

static inline v16 v_max(v16 a, v16 b) {
    return _mm512_max_ps(a, b);
}

static inline v16 v_min(v16 a, v16 b) {
    return _mm512_min_ps(a, b);
}

static inline v16 v_first(v16 a, v16 b, size_t n) {
    return _mm512_mask_mov_ps(b, mask(n), a);
}

static inline v16 v_down(v16 a, int h) {
    switch (h) {
    case 8:
        return _mm512_shuffle_f32x4(a, a, 0x4e);
    case 4:
        return _mm512_shuffle_f32x4(a, a, 0xb1);
    case 2:
        return _mm512_permute_ps(a, 0x4e);
    default:
        return _mm512_permute_ps(a, 0xb1);
    }
}

static inline float v_lane0(v16 a) {
    return _mm512_cvtss_f32(a);
}

static inline v16 v_scale(v16 a, v16 t) {
    __m512i n = _mm512_sub_epi32(_mm512_castps_si512(t), _mm512_castps_si512(_mm512_set1_ps(0x1.8p23f)));
    return _mm512_mul_ps(a, _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(n, 23), _mm512_set1_epi32(0x3f800000))));
}

static inline v16 v_clear_below(v16 a, v16 x, float f) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(f), _CMP_NLT_UQ), a);
}

#define VEC_FILL rt_vec_avx512
#include "kernels/vec/vec_body.h"
