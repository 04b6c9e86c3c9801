/* Codec tc for AVX-512 (F, BW, VL, DQ): a plane of a block is a mask over its 64 tokens, and all 64 windows live in one
 * register. */
#include "kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- encoding: transform ---- */

#include "tc_project_avx512.h"
#define p_add(sum, a, b) _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
#include "tc_project.h"

/* ---- encoding: search ---- */

enum { VECTORS = 2 };
typedef __m512i vec;
typedef __mmask32 vmask, path;
typedef uint64_t apart;
#define v_row(p)        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(p)))
#define v_store(p, x)   _mm512_storeu_si512(p, x)
#define v_first(a)      _mm512_shuffle_epi8(a, each_state(0))
#define v_last(a)       _mm512_shuffle_epi8(a, each_state(TRELLIS_STATES / 2))
#define v_sub(a, b)     _mm512_sub_epi16(a, b)
#define v_abs(a)        _mm512_abs_epi16(a)
#define v_min(a, b)     _mm512_min_epu16(a, b)
#define v_mul(a, b)     _mm512_mullo_epi16(a, b)
#define v_mulh(a, b)    _mm512_mulhi_epu16(a, b)
#define v_add(a, b)     _mm512_adds_epu16(a, b)
#define v_above(a, b)   _mm512_cmpgt_epi16_mask(a, b)
#define v_pick(m, a, b) _mm512_mask_mov_epi16(a, m, b)
#define v_taken(low, x) _mm512_cmpneq_epi16_mask(low, x)

/* Bytes 2s and 2s + 1 for lanes 2s and 2s + 1, s from `from` on. */
INLINE __m512i each_state(int from) {
    const long long a = 0x0302030201000100 + 0x0101010101010101 * (2 * from), b = a + 0x0404040404040404;
    return _mm512_set_epi64(b, a, b, a, b, a, b, a);
}

INLINE vec v_pair(const uint16_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

INLINE vec v_spread(const int16_t *p) {
    int64_t x;
    memcpy(&x, p, sizeof x);
    const __m512i twice = _mm512_set_epi64(0x0706070607060706, 0x0706070607060706, 0x0504050405040504, 0x0504050405040504,
                                           0x0302030203020302, 0x0302030203020302, 0x0100010001000100, 0x0100010001000100);
    return _mm512_shuffle_epi8(_mm512_set1_epi64(x), twice);
}

#define v_none()      _mm512_setzero_si512()
#define v_low(a, b)   _mm512_unpacklo_epi8(a, b)
#define v_high(a, b)  _mm512_unpackhi_epi8(a, b)
#define v_shift(a, n) _mm512_srai_epi16(a, n)

INLINE vec v_rows(const uint8_t *row, const int16_t *at) {
    __m128i x[4];
    for (int i = 0; i < 4; i++)
        x[i] = _mm_loadu_si128((const __m128i *)(row + at[i]));
    __m512i a = _mm512_inserti32x4(_mm512_castsi128_si512(x[0]), x[1], 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(a, x[2], 2), x[3], 3);
}

/* 16 dimensions: where |r| is beyond reach, and where its row is. */
INLINE void find_rows(const int16_t *r, const int16_t *reach, uint64_t *far, int16_t *at) {
    for (int i = 0; i < 2; i++) {
        __m512i x = _mm512_loadu_si512(r + 32 * i);
        __mmask32 m = _mm512_cmpgt_epi16_mask(_mm512_abs_epi16(x), _mm512_loadu_si512(reach + 32 * i));
        _mm512_storeu_si512(far + 8 * i, _mm512_movm_epi16(m));
        _mm512_storeu_si512(at + 32 * i, _mm512_slli_epi16(x, 4));
    }
}

INLINE __m512i quantise(__m512 y, float inv) {
    __m512 r = _mm512_min_ps(_mm512_mul_ps(y, _mm512_set1_ps(inv)), _mm512_set1_ps(TRELLIS_REACH));
    return _mm512_cvtps_epi32(_mm512_max_ps(r, _mm512_set1_ps(-TRELLIS_REACH)));
}

INLINE __m256i quantise16(const float *y, float inv) {
    return _mm512_cvtepi32_epi16(quantise(_mm512_loadu_ps(y), inv));
}

/* 16 dimensions, the slots of each side by side. */
INLINE void quantise_slots(const float *one, const float *other, const float *inv, int16_t *out) {
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const __m512 x = _mm512_loadu_ps(one), y = _mm512_loadu_ps(other);
    __m512i a = quantise(x, inv[0]), b = quantise(y, inv[2]);
    a = _mm512_mask_mov_epi16(a, 0xaaaaaaaa, _mm512_slli_epi32(quantise(x, inv[1]), 16));
    b = _mm512_mask_mov_epi16(b, 0xaaaaaaaa, _mm512_slli_epi32(quantise(y, inv[3]), 16));
    const __m512i lo = _mm512_unpacklo_epi32(a, b), hi = _mm512_unpackhi_epi32(a, b);
    _mm512_storeu_si512(out, _mm512_permutex2var_epi64(lo, first, hi));
    _mm512_storeu_si512(out + 32, _mm512_permutex2var_epi64(lo, last, hi));
}

#define i_look_up(row, idx) _mm256_permutexvar_epi16(idx, _mm256_loadu_si256((const __m256i *)(row)))

#include "tc_search.h"

/* A vector by itself fills half a register. */
static void search(const trellis_book *b, const float *z, size_t ldz, size_t n, const float *trial, uint8_t *gain,
                   uint8_t *codes, size_t ldc) {
    (n > 1 ? tc_search : rt_tc_search_avx2)(b, z, ldz, n, trial, gain, codes, ldc);
}

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

static void levels_of_block(const trellis_book *b, const uint64_t *planes, int8_t *out) {
    __m512i window = _mm512_setzero_si512();
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++, out += RT_ATTN_TILE) {
        const int8_t *table = b->levels + trellis_table(b->bits[i]);
#define DECODE(n) _mm512_storeu_si512(out, decode_levels(n, table, planes, &window))
        BY_BITS(b->bits[i], DECODE)
    }
}

static void levels(const trellis_book *b, const uint64_t *const *planes, size_t n, int8_t *out, size_t ld) {
    for (size_t i = 0; i < n; i++)
        levels_of_block(b, planes[i], out + i * ld);
}

/* trellis_gain. */
static void gains(const uint8_t *code, float *gain) {
    const __m512i first = _mm512_set1_epi32((127 << 5) - TRELLIS_UNIT);
    for (int t = 0; t < RT_ATTN_TILE; t += 16) {
        __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(code + t)));
        __m512i x = _mm512_maskz_add_epi32(_mm512_test_epi32_mask(c, c), c, first);
        _mm512_storeu_si512(gain + t, _mm512_slli_epi32(x, 18));
    }
}

void rt_tc_avx512(rt_kernels *k) {
    k->tc_project = project;
    k->tc_search = search;
    k->tc_levels = levels;
    k->tc_gains = gains;
}
