/* Codec tc for AVX-512 (F, BW, VL, DQ): a plane of a block is a mask over its 64 tokens, and all 64 windows live in one
 * register. */
#include "kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- encoding ---- */

enum { LANES = 16 };
typedef __m512 vec;
typedef __m512i ivec;
typedef __mmask16 vmask;
#define v_load(p)             _mm512_loadu_ps(p)
#define v_set(x)              _mm512_set1_ps(x)
#define v_sub(a, b)           _mm512_sub_ps(a, b)
#define v_store(p, x)         _mm512_storeu_ps(p, x)
#define v_fma(a, b, c)        _mm512_fmadd_ps(a, b, c)
#define v_mul(a, b)           _mm512_mul_ps(a, b)
#define v_abs(a)              _mm512_abs_ps(a)
#define v_nearer(a, d)        _mm512_range_ps(a, d, 0xa) /* the lesser of |a| and |d| */
#define v_less(a, b)          _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define v_pick(m, a, b)       _mm512_mask_mov_ps(a, m, b)
#define i_load(p)             _mm512_loadu_si512(p)
#define i_store(p, x)         _mm512_storeu_si512(p, x)
#define i_set(x)              _mm512_set1_epi32(x)
#define i_sub(a, b)           _mm512_sub_epi32(a, b)
#define i_or(a, b)            _mm512_or_si512(a, b)
#define i_and(a, b)           _mm512_and_si512(a, b)
#define i_pick(m, a, b)       _mm512_mask_mov_epi32(a, m, b)
#define i_flag(a, m, x)       _mm512_mask_or_epi32(a, m, a, _mm512_set1_epi32(x))
#define i_twice(a)            _mm512_slli_epi32(a, 1)
#define i_eights(a)           _mm512_slli_epi32(a, 3)
#define i_half(a)             _mm512_srli_epi32(a, 1)
#define i_shift(a, n)         _mm512_srlv_epi32(a, n)
#define i_bytes(p, x)         _mm_storeu_si128((__m128i *)(p), _mm512_cvtepi32_epi8(x))
#define look_up16(table, idx) _mm512_permutexvar_ps(idx, _mm512_loadu_ps(table))

/* 2 node, one more where `right`. */
INLINE ivec i_child(ivec node, vmask right) {
    node = _mm512_add_epi32(node, node);
    return _mm512_mask_or_epi32(node, right, node, _mm512_set1_epi32(1));
}

INLINE vec look_up(const unsigned width, const float *table, ivec idx) {
    if (width == 8)
        return _mm512_permutexvar_ps(idx, _mm512_castps256_ps512(_mm256_loadu_ps(table)));
    return width == 16 ? look_up16(table, idx)
                       : _mm512_permutex2var_ps(_mm512_loadu_ps(table), idx, _mm512_loadu_ps(table + 16));
}

/* 1 / g, or 0 where g is not above 0. */
INLINE vec v_recip(vec g) {
    return _mm512_maskz_div_ps(_mm512_cmp_ps_mask(g, _mm512_setzero_ps(), _CMP_GT_OQ), _mm512_set1_ps(1), g);
}

#include "tc_search.h"

/* ---- decoding ---- */

/* Levels of one dimension, as bytes; window moves on. */
INLINE __m512i decode_levels(const unsigned bits, const int8_t *table, const uint64_t *planes, __m512i *window) {
    __m512i row[1 << (TRELLIS_MAX_BITS - 1)], w = _mm512_add_epi8(*window, *window);
    w = _mm512_and_si512(_mm512_or_si512(w, _mm512_maskz_set1_epi8(planes[0], 1)), _mm512_set1_epi8(TRELLIS_WINDOWS - 1));
    *window = w;
    for (int p = 0; p < 1 << (bits - 1); p++) {
        __m128i levels = _mm_loadu_si128((const __m128i *)(table + p * TRELLIS_WINDOWS));
        row[p] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(levels), w);
    }
    for (unsigned p = 1; p < bits; p++) /* halve the rows by the next bit of every token's code */
        for (int j = 0; j < 1 << (bits - 1 - p); j++)
            row[j] = _mm512_mask_mov_epi8(row[2 * j], planes[p], row[2 * j + 1]);
    return row[0];
}

static void levels(const trellis_book *b, const uint64_t *planes, int8_t *out) {
    __m512i window = _mm512_setzero_si512();
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++, out += RT_ATTN_TILE) {
        const int8_t *table = b->levels + trellis_table(b->bits[i]);
#define DECODE(n) _mm512_storeu_si512(out, decode_levels(n, table, planes, &window))
        BY_BITS(b->bits[i], DECODE)
    }
}

/* A step of an octave, and the octave added to its exponent. */
static void gains(const uint8_t *code, float *gain) {
    const __m512 steps = _mm512_castps256_ps512(_mm256_loadu_ps(trellis_steps));
    for (int t = 0; t < RT_ATTN_TILE; t += 16) {
        __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(code + t)));
        __m512i octave = _mm512_sub_epi32(_mm512_srli_epi32(c, 3), _mm512_set1_epi32(TRELLIS_UNIT / 8));
        __m512i step = _mm512_castps_si512(_mm512_permutexvar_ps(_mm512_and_si512(c, _mm512_set1_epi32(7)), steps));
        __mmask16 some = _mm512_test_epi32_mask(c, c);
        _mm512_storeu_si512(gain + t, _mm512_maskz_add_epi32(some, step, _mm512_slli_epi32(octave, 23)));
    }
}

void rt_tc_avx512(rt_kernels *k) {
    k->tc_search = tc_search;
    k->tc_levels = levels;
    k->tc_gains = gains;
}
