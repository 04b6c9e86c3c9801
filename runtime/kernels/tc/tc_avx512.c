/* Codec tc for AVX-512 (F, BW, VL, DQ): a plane of a block is a mask over its 64 tokens, and all 64 windows live in one
 * register. */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- encoding: transform ---- */

#include "kernels/tc/tc_project_avx512.h"
#define p_add(sum, a, b) _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
#include "kernels/tc/tc_project.h"

/* ---- encoding: search ---- */

enum { VECTORS = 2 };
typedef __m512i vec;
typedef __mmask32 vmask, path;
typedef uint64_t apart;
#define v_row(p)        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(p)))
#define v_wide(p)       _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(p)))
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

/* Entries idx of n numbers, n a power of two; bits of idx above do no harm. */
INLINE __m512i look_up(const unsigned n, const int16_t *from, __m512i idx) {
    __m512i x[1 << (TRELLIS_MAX_BITS - 1)];
    if (n <= 32)
        return _mm512_permutexvar_epi16(idx, _mm512_loadu_si512(from));
    for (unsigned i = 0; i < n / 64; i++)
        x[i] = _mm512_permutex2var_epi16(_mm512_loadu_si512(from + 64 * i), idx, _mm512_loadu_si512(from + 64 * i + 32));
    for (unsigned left = n / 64, bit = 64; left > 1; left /= 2, bit *= 2) {
        const __mmask32 odd = _mm512_test_epi16_mask(idx, _mm512_set1_epi16((short)bit));
        for (unsigned i = 0; i < left / 2; i++)
            x[i] = _mm512_mask_mov_epi16(x[2 * i], odd, x[2 * i + 1]);
    }
    return x[0];
}

/* Down the tree: a row of it is looked up as a whole, by node and window. */
enum { CODES_AT_ONCE = 32 };
INLINE void find_some(const unsigned bits, const int16_t *row, const int16_t *border, const float *y, float inv,
                      const uint8_t *window, uint8_t *code, int16_t *level) {
    const __m512i w = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)window)), one = _mm512_set1_epi16(1);
    const __m256i low = _mm512_cvtepi32_epi16(quantise(_mm512_loadu_ps(y), inv));
    const __m512i r =
        _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm512_cvtepi32_epi16(quantise(_mm512_loadu_ps(y + 16), inv)), 1);
    __m512i which = _mm512_setzero_si512(), at = w;
    for (unsigned left = 1; left < 1u << (bits - 1); left *= 2) {
        const __m512i b = look_up(left * TRELLIS_WINDOWS, border + left * TRELLIS_WINDOWS, at);
        which = _mm512_add_epi16(which, which);
        which = _mm512_mask_add_epi16(which, _mm512_cmpgt_epi16_mask(r, b), which, one);
        at = _mm512_or_si512(_mm512_slli_epi16(which, 4), w);
    }
    _mm512_storeu_si512(level, look_up(TRELLIS_WINDOWS << (bits - 1), row, at));
    which = _mm512_or_si512(_mm512_add_epi16(which, which), _mm512_and_si512(w, one));
    _mm256_storeu_si256((__m256i *)code, _mm512_cvtepi16_epi8(which));
}

#include "kernels/tc/tc_search.h"

/* ---- encoding: one vector by itself, as answers bring them ----
 * A register holds all 16 windows of both trials: those that lead into states by one way, then those by the other. The states
 * that they lead into lie there twice. */

INLINE uint32_t step_one(vec d, vec *cost) {
    const __m512i twice = _mm512_set_epi64(0x0f0e0f0e0d0c0d0c, 0x0b0a0b0a09080908, 0x0706070605040504, 0x0302030201000100,
                                           0x0f0e0f0e0d0c0d0c, 0x0b0a0b0a09080908, 0x0706070605040504, 0x0302030201000100);
    const __m512i sum = v_add(_mm512_shuffle_epi8(*cost, twice), d);
    *cost = v_min(sum, _mm512_permutex_epi64(sum, 0x4e));
    return v_taken(sum, *cost);
}

INLINE void walk_one(const unsigned bits, const trellis_weight *weight, const tables *t, const int16_t *r, size_t i, size_t end,
                     vec *cost, path *taken) {
    const int16_t *level = t->level + trellis_table(bits), *border = t->border + trellis_table(bits);
    const __m512i each = _mm512_set_epi64(0x0302030203020302, 0x0302030203020302, 0x0302030203020302, 0x0302030203020302,
                                          0x0100010001000100, 0x0100010001000100, 0x0100010001000100, 0x0100010001000100);
    for (; i < end; i++) {
        int32_t both;
        memcpy(&both, r + i * SLOTS, sizeof both);
        const vec x = _mm512_shuffle_epi8(_mm512_set1_epi32(both), each);
        taken[i * PATHS] = step_one(error(nearest(true, bits, level, border, x), weight + i), cost);
    }
}

/* False: sums were stopped, so it takes coarser weights. */
static bool find_path_of_one(const trellis_book *b, const tables *t, const float *z, const float *trial, group *p) {
    const float inv[SLOTS] = {1 / trial[0], 1 / trial[1], 1 / trial[0], 1 / trial[1]};
    int16_t r[(TRELLIS_MAX_DIM + PAD) * SLOTS];
    uint16_t all[SLOTS * TRELLIS_STATES], cost[TRELLIS_TRIALS], state[TRELLIS_TRIALS];
    vec c = v_row(origin);
    scale(b->n, z, b->inverse, p->y[0]);
    for (size_t i = 0; i < b->n; i += 16)
        quantise_slots(p->y[0] + i, p->y[0] + i, inv, r + i * SLOTS);
    for (size_t run = 0, i = 0; run < t->runs; i = t->end[run++]) {
#define WALK_ONE(n) walk_one(n, b->weight, t, r, i, t->end[run], &c, p->taken)
        BY_BITS(b->bits[i], WALK_ONE)
    }
    v_store(all, c);
    for (size_t j = 0; j < TRELLIS_TRIALS; j++)
        find_least(all + 2 * j * TRELLIS_STATES, cost + j, state + j);
    const size_t best = better(cost, trial);
    p->state[0] = state[best];
    p->shift[0] = (uint32_t)best * 16;
    p->trial[0] = trial[best];
    return cost[best] < TRELLIS_DEAR;
}

static void search(const trellis_book *b, const float *z, size_t ldz, size_t n, const float *trial, uint8_t *gain,
                   uint8_t *codes, size_t ldc) {
    if (ldc > 1) {
        tc_search(b, z, ldz, n, trial, gain, codes, ldc);
        return;
    }
    tables t;
    group p;
    fill_tables(b, &t);
    if (!find_path_of_one(b, &t, z, trial, &p))
        search_few(b, &t, false, z, ldz, 1, trial, &p, 0);
    finish_one(b, &t, &p, gain, codes);
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
    k->tc_trials = trials;
    k->tc_search = search;
    k->tc_levels = levels;
    k->tc_gains = gains;
}
