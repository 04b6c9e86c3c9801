/* Codec tc for AVX2: the plan of tc_avx512.c with half the lanes; masks are bytes of all ones. */
#include "kernels/avx2.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- encoding: transform ---- */

#include "kernels/tc/tc_project_avx2.h"
#define p_add(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
#include "kernels/tc/tc_project.h"

/* ---- encoding: search ---- */

enum { VECTORS = 1 };
typedef __m256i vec, vmask;
typedef uint16_t path;
typedef uint32_t apart;
#define v_row(p)        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(p)))
#define v_wide(p)       v_row(p) /* of no use here */
#define v_store(p, x)   _mm256_storeu_si256((__m256i *)(p), x)
#define v_first(a)      _mm256_shuffle_epi8(a, each_state(0))
#define v_last(a)       _mm256_shuffle_epi8(a, each_state(TRELLIS_STATES / 2))
#define v_sub(a, b)     _mm256_sub_epi16(a, b)
#define v_abs(a)        _mm256_abs_epi16(a)
#define v_min(a, b)     _mm256_min_epu16(a, b)
#define v_mul(a, b)     _mm256_mullo_epi16(a, b)
#define v_mulh(a, b)    _mm256_mulhi_epu16(a, b)
#define v_add(a, b)     _mm256_adds_epu16(a, b)
#define v_above(a, b)   _mm256_cmpgt_epi16(a, b)
#define v_pick(m, a, b) _mm256_blendv_epi8(a, b, m)

/* Bytes 2s and 2s + 1 for lanes 2s and 2s + 1, s from `from` on. */
INLINE __m256i each_state(int from) {
    const long long a = 0x0302030201000100 + 0x0101010101010101 * (2 * from), b = a + 0x0404040404040404;
    return _mm256_set_epi64x(b, a, b, a);
}

INLINE vec v_pair(const uint16_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
}

INLINE vec v_spread(const int16_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    const __m256i twice = _mm256_set_epi64x(0x0302030203020302, 0x0302030203020302, 0x0100010001000100, 0x0100010001000100);
    return _mm256_shuffle_epi8(_mm256_set1_epi32(x), twice);
}

INLINE path v_taken(vec low, vec least) {
    __m256i same = _mm256_cmpeq_epi16(low, least);
    return (path)~_mm_movemask_epi8(_mm_packs_epi16(_mm256_castsi256_si128(same), _mm256_extracti128_si256(same, 1)));
}

#define v_none()      _mm256_setzero_si256()
#define v_low(a, b)   _mm256_unpacklo_epi8(a, b)
#define v_high(a, b)  _mm256_unpackhi_epi8(a, b)
#define v_shift(a, n) _mm256_srai_epi16(a, n)

INLINE vec v_rows(const uint8_t *row, const int16_t *at) {
    __m128i x = _mm_loadu_si128((const __m128i *)(row + at[0]));
    __m128i y = _mm_loadu_si128((const __m128i *)(row + at[1]));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(x), y, 1);
}

/* 16 dimensions: where |r| is beyond reach, and where its row is. */
INLINE void find_rows(const int16_t *r, const int16_t *reach, apart *far, int16_t *at) {
    for (int i = 0; i < 2; i++) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(r + 16 * i)),
                to = _mm256_loadu_si256((const __m256i *)(reach + 16 * i));
        _mm256_storeu_si256((__m256i *)(far + 8 * i), _mm256_cmpgt_epi16(_mm256_abs_epi16(x), to));
        _mm256_storeu_si256((__m256i *)(at + 16 * i), _mm256_slli_epi16(x, 4));
    }
}

INLINE __m256i quantise(__m256 y, float inv) {
    __m256 r = _mm256_min_ps(_mm256_mul_ps(y, _mm256_set1_ps(inv)), _mm256_set1_ps(TRELLIS_REACH));
    return _mm256_cvtps_epi32(_mm256_max_ps(r, _mm256_set1_ps(-TRELLIS_REACH)));
}

INLINE __m256i quantise16(const float *y, float inv) {
    __m256i a = quantise(_mm256_loadu_ps(y), inv), b = quantise(_mm256_loadu_ps(y + 8), inv);
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}

/* 16 dimensions, the slots of each side by side. */
INLINE void quantise_slots(const float *y, const float *same, const float *inv, int16_t *out) {
    (void)same;
    for (int half = 0; half < 2; half++, y += 8, out += 16) {
        __m256 x = _mm256_loadu_ps(y);
        __m256i a = quantise(x, inv[0]), b = _mm256_slli_epi32(quantise(x, inv[1]), 16);
        _mm256_storeu_si256((__m256i *)out, _mm256_blend_epi16(a, b, 0xaa));
    }
}

/* Even bytes of a row's numbers serve the even bytes of the answer, odd ones the odd. */
INLINE __m256i i_look_up(const int16_t *row, __m256i idx) {
    const __m128i x = _mm_loadu_si128((const __m128i *)row), y = _mm_loadu_si128((const __m128i *)(row + 8));
    const __m128i low = _mm_set1_epi16(255);
    __m256i even = _mm256_broadcastsi128_si256(_mm_packus_epi16(_mm_and_si128(x, low), _mm_and_si128(y, low)));
    __m256i odd = _mm256_broadcastsi128_si256(_mm_packus_epi16(_mm_srli_epi16(x, 8), _mm_srli_epi16(y, 8)));
    return _mm256_or_si256(_mm256_shuffle_epi8(even, _mm256_or_si256(idx, _mm256_set1_epi16((short)0x8000))),
                           _mm256_shuffle_epi8(odd, _mm256_or_si256(_mm256_slli_epi16(idx, 8), _mm256_set1_epi16(0x80))));
}

/* All borders are counted; they are in the order of their tree, which counting does not mind, and that of rising levels is
 * worked out. */
enum { CODES_AT_ONCE = 16 };
INLINE void find_some(const unsigned bits, const int16_t *row, const int16_t *border, const float *y, float inv,
                      const uint8_t *window, uint8_t *code, int16_t *level) {
    const unsigned width = 1u << (bits - 1);
    const __m256i w = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)window)), r = quantise16(y, inv);
    __m256i which = _mm256_setzero_si256(), l = i_look_up(row, w);
    for (unsigned p = 1; p < width; p++) {
        const unsigned half = p & -p, node = (width + p) / (2 * half);
        const __m256i above = _mm256_cmpgt_epi16(r, i_look_up(border + node * TRELLIS_WINDOWS, w));
        which = _mm256_sub_epi16(which, above);
        l = _mm256_blendv_epi8(l, i_look_up(row + p * TRELLIS_WINDOWS, w), above);
    }
    which = _mm256_or_si256(_mm256_add_epi16(which, which), _mm256_and_si256(w, _mm256_set1_epi16(1)));
    _mm_storeu_si128((__m128i *)code, _mm_packus_epi16(_mm256_castsi256_si128(which), _mm256_extracti128_si256(which, 1)));
    _mm256_storeu_si256((__m256i *)level, l);
}

#include "kernels/tc/tc_search.h"

/* ---- decoding ---- */

enum { HALVES = 2 }; /* of a block: 32 tokens each */

/* One half of a plane -> bytes of all ones where its bits are set. */
INLINE __m256i spread(const uint64_t *plane, int half) {
    const __m256i from = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i select = _mm256_set1_epi64x((long long)0x8040201008040201);
    int32_t bits;
    memcpy(&bits, (const char *)plane + 4 * half, sizeof bits);
    return _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), from), select), select);
}

/* Something of both halves. */
typedef struct halves {
    __m256i of[HALVES];
} halves;

/* A row of levels, looked up by window. */
INLINE halves select_0(const int8_t *table, halves w, const halves *mask) {
    const __m256i row = v_row(table);
    (void)mask;
    return (halves){{_mm256_shuffle_epi8(row, w.of[0]), _mm256_shuffle_epi8(row, w.of[1])}};
}

/* Of 2^n rows, by n bits of every token's code: the highest one chooses between halves of the rows. One after the other, so
 * that few are in registers at a time. */
#define SELECT(n, below)                                                                                                       \
    INLINE halves select_##n(const int8_t *table, halves w, const halves *mask) {                                              \
        const halves x = select_##below(table, w, mask), y = select_##below(table + (TRELLIS_WINDOWS << below), w, mask);      \
        return (halves){{_mm256_blendv_epi8(x.of[0], y.of[0], mask[below].of[0]),                                              \
                         _mm256_blendv_epi8(x.of[1], y.of[1], mask[below].of[1])}};                                            \
    }
SELECT(1, 0)
SELECT(2, 1)
SELECT(3, 2)
SELECT(4, 3)
SELECT(5, 4)
#undef SELECT

/* Levels of one dimension; window moves on. */
INLINE halves decode_levels(const unsigned bits, const int8_t *table, const uint64_t *planes, halves *window) {
    halves mask[TRELLIS_MAX_BITS - 1];
    for (int h = 0; h < HALVES; h++) {
        const __m256i w = _mm256_sub_epi8(_mm256_add_epi8(window->of[h], window->of[h]), spread(planes, h));
        window->of[h] = _mm256_and_si256(w, _mm256_set1_epi8(TRELLIS_WINDOWS - 1));
        for (unsigned p = 1; p < bits; p++)
            mask[p - 1].of[h] = spread(planes + p, h);
    }
    return bits == 1   ? select_0(table, *window, mask)
           : bits == 2 ? select_1(table, *window, mask)
           : bits == 3 ? select_2(table, *window, mask)
           : bits == 4 ? select_3(table, *window, mask)
           : bits == 5 ? select_4(table, *window, mask)
                       : select_5(table, *window, mask);
}

/* The dimensions from i on that have as many bits: no jumps among them. Returns where they end. */
INLINE size_t decode_run(const unsigned bits, const trellis_book *b, size_t i, const uint64_t **planes, halves *window,
                         int8_t *out) {
    const int8_t *table = b->levels + trellis_table(bits);
    halves w = *window;
    for (; i < b->n && b->bits[i] == bits; i++, *planes += bits) {
        const halves level = decode_levels(bits, table, *planes, &w);
        v_store(out + i * RT_ATTN_TILE, level.of[0]);
        v_store(out + i * RT_ATTN_TILE + 32, level.of[1]);
    }
    *window = w;
    return i;
}

static void levels_of_block(const trellis_book *b, const uint64_t *planes, int8_t *out) {
    halves window = {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
    for (size_t i = 0; i < b->n;) {
#define DECODE(n) i = decode_run(n, b, i, &planes, &window, out)
        BY_BITS(b->bits[i], DECODE)
    }
}

static void levels(const trellis_book *b, const uint64_t *const *planes, size_t n, int8_t *out, size_t ld) {
    for (size_t i = 0; i < n; i++)
        levels_of_block(b, planes[i], out + i * ld);
}

/* trellis_gain. */
static void gains(const uint8_t *code, float *gain) {
    const __m256i first = _mm256_set1_epi32((127 << 5) - TRELLIS_UNIT);
    for (int t = 0; t < RT_ATTN_TILE; t += 8) {
        __m256i c = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(code + t)));
        __m256i none = _mm256_cmpeq_epi32(c, _mm256_setzero_si256());
        __m256i x = _mm256_slli_epi32(_mm256_add_epi32(c, first), 18);
        _mm256_storeu_si256((__m256i *)(gain + t), _mm256_andnot_si256(none, x));
    }
}

void rt_tc_avx2(rt_kernels *k) {
    k->tc_project = project;
    k->tc_trials = trials;
    k->tc_search = tc_search;
    k->tc_levels = levels;
    k->tc_gains = gains;
}
