/* Codec tc for AVX2: the plan of tc_avx512.c with half the lanes; masks are bytes of all ones. */
#include "kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- encoding ---- */

enum { LANES = 8 };
typedef __m256 vec;
typedef __m256i ivec;
typedef __m256 vmask;
#define v_load(p)       _mm256_loadu_ps(p)
#define v_set(x)        _mm256_set1_ps(x)
#define v_sub(a, b)     _mm256_sub_ps(a, b)
#define v_store(p, x)   _mm256_storeu_ps(p, x)
#define v_fma(a, b, c)  _mm256_fmadd_ps(a, b, c)
#define v_mul(a, b)     _mm256_mul_ps(a, b)
#define v_abs(a)        _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define v_nearer(a, d)  _mm256_min_ps(v_abs(a), d) /* the lesser of |a| and d >= 0 */
#define v_less(a, b)    _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define v_pick(m, a, b) _mm256_blendv_ps(a, b, m)
#define i_load(p)       _mm256_loadu_si256((const __m256i *)(p))
#define i_store(p, x)   _mm256_storeu_si256((__m256i *)(p), x)
#define i_set(x)        _mm256_set1_epi32(x)
#define i_sub(a, b)     _mm256_sub_epi32(a, b)
#define i_or(a, b)      _mm256_or_si256(a, b)
#define i_and(a, b)     _mm256_and_si256(a, b)
#define i_pick(m, a, b) _mm256_blendv_epi8(a, b, _mm256_castps_si256(m))
#define i_flag(a, m, x) _mm256_or_si256(a, _mm256_and_si256(_mm256_castps_si256(m), _mm256_set1_epi32(x)))
#define i_twice(a)      _mm256_slli_epi32(a, 1)
#define i_eights(a)     _mm256_slli_epi32(a, 3)
#define i_half(a)       _mm256_srli_epi32(a, 1)
#define i_shift(a, n)   _mm256_srlv_epi32(a, n)

INLINE void i_bytes(uint8_t *p, ivec x) {
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
}

/* Entry idx of 16 floats, by its low four bits. */
INLINE __m256 look_up16(const float *table, __m256i idx) {
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), idx);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), idx);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(idx, 28)));
}

/* 2 node, one more where `right`. */
INLINE ivec i_child(ivec node, vmask right) {
    return _mm256_sub_epi32(_mm256_add_epi32(node, node), _mm256_castps_si256(right));
}

INLINE vec look_up(const unsigned width, const float *table, ivec idx) {
    if (width == 8)
        return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), idx);
    if (width == 16)
        return look_up16(table, idx);
    __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(idx, 27)); /* sign: the fifth bit */
    return _mm256_blendv_ps(look_up16(table, idx), look_up16(table + 16, idx), high);
}

/* 1 / g, or 0 where g is not above 0. */
INLINE vec v_recip(vec g) {
    __m256 some = _mm256_cmp_ps(g, _mm256_setzero_ps(), _CMP_GT_OQ);
    return _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(1), g));
}

#include "tc_search.h"

/* ---- decoding ---- */

/* 32 bits of a plane -> 32 bytes, `bit` where set. */
INLINE __m256i spread(uint32_t plane, char bit) {
    const __m256i from = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i select = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)plane), from), select);
    return _mm256_and_si256(_mm256_cmpeq_epi8(x, select), _mm256_set1_epi8(bit));
}

/* Levels of one dimension for half of the tokens, as bytes; window moves on. */
INLINE __m256i decode_levels(const unsigned bits, const int8_t *table, const uint64_t *planes, int half, __m256i *window) {
    __m256i row[1 << (TRELLIS_MAX_BITS - 1)], w = _mm256_add_epi8(*window, *window);
    w = _mm256_or_si256(w, spread((uint32_t)(planes[0] >> 32 * half), 1));
    w = *window = _mm256_and_si256(w, _mm256_set1_epi8(TRELLIS_WINDOWS - 1));
    for (int p = 0; p < 1 << (bits - 1); p++) {
        __m128i levels = _mm_loadu_si128((const __m128i *)(table + p * TRELLIS_WINDOWS));
        row[p] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), w);
    }
    for (unsigned p = 1; p < bits; p++) { /* halve the rows by the next bit of every token's code */
        __m256i mask = spread((uint32_t)(planes[p] >> 32 * half), (char)-1);
        for (int j = 0; j < 1 << (bits - 1 - p); j++)
            row[j] = _mm256_blendv_epi8(row[2 * j], row[2 * j + 1], mask);
    }
    return row[0];
}

static void levels(const trellis_book *b, const uint64_t *planes, int8_t *out) {
    __m256i window[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++, out += RT_ATTN_TILE) {
        const int8_t *table = b->levels + trellis_table(b->bits[i]);
        for (int half = 0; half < 2; half++) {
#define DECODE(n) i_store(out + 32 * half, decode_levels(n, table, planes, half, &window[half]))
            BY_BITS(b->bits[i], DECODE)
        }
    }
}

/* A step of an octave, and the octave added to its exponent. */
static void gains(const uint8_t *code, float *gain) {
    const __m256 steps = _mm256_loadu_ps(trellis_steps);
    for (int t = 0; t < RT_ATTN_TILE; t += 8) {
        __m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(code + t)));
        __m256i octave = _mm256_sub_epi32(_mm256_srli_epi32(c, 3), _mm256_set1_epi32(TRELLIS_UNIT / 8));
        __m256i step = _mm256_castps_si256(_mm256_permutevar8x32_ps(steps, c)); /* by the low three bits */
        __m256i none = _mm256_cmpeq_epi32(c, _mm256_setzero_si256());
        i_store(gain + t, _mm256_andnot_si256(none, _mm256_add_epi32(step, _mm256_slli_epi32(octave, 23))));
    }
}

void rt_tc_avx2(rt_kernels *k) {
    k->tc_search = tc_search;
    k->tc_levels = levels;
    k->tc_gains = gains;
}
