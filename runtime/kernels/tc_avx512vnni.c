/* Decoding of codec tc for AVX-512 with VBMI and GFNI. A plane is 64 bits, one per token. One byte permutation brings the bytes
 * of a dimension's planes that belong to 8 tokens together; by a product of bit matrices these 8x8 bits are transposed: a byte
 * per token, with the path bit at bit 0 and planes 1 to 4 from bit 4 on, which is where the index into the table of levels has
 * them.
 */
#include "kernels.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* Bits of the codes of 64 tokens. Byte 7 - i of a matrix becomes bit i. Where there are fewer planes, bits of other things come
 * in their place, which no look-up heeds. */
INLINE __m512i gather_bits(const uint64_t *planes) {
    const __m512i group = _mm512_mullo_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_set1_epi64(0x0101010101010101));
    const __m512i index = _mm512_or_si512(group, _mm512_set1_epi64(0x0000000008101820));
    __m512i bytes = _mm512_permutexvar_epi8(index, _mm512_loadu_si512(planes));
    return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64((long long)0x8040201008040201), bytes, 0);
}

INLINE __m512i look_up128(const int8_t *table, __m512i at) {
    return _mm512_permutex2var_epi8(_mm512_loadu_si512(table), at, _mm512_loadu_si512(table + 64));
}

INLINE __m512i look_up256(const int8_t *table, __m512i at) {
    return _mm512_mask_mov_epi8(look_up128(table, at), _mm512_movepi8_mask(at), look_up128(table + 128, at));
}

/* at: window | planes 1 to 4 from bit 4 on. */
INLINE __m512i look_up(unsigned bits, const int8_t *table, const uint64_t *planes, __m512i at) {
    switch (bits) {
    case 1:
        return _mm512_permutexvar_epi8(at, _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table)));
    case 2:
        return _mm512_permutexvar_epi8(at, _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)table)));
    case 3:
        return _mm512_permutexvar_epi8(at, _mm512_loadu_si512(table));
    case 4:
        return look_up128(table, at);
    case 5:
        return look_up256(table, at);
    default:
        return _mm512_mask_mov_epi8(look_up256(table, at), planes[5], look_up256(table + 256, at));
    }
}

static void levels(const trellis_book *b, const uint64_t *planes, int8_t *out) {
    const __m512i one = _mm512_set1_epi8(1), low = _mm512_set1_epi8(TRELLIS_WINDOWS - 1);
    __m512i window = _mm512_setzero_si512(); /* and older path bits above it */
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++, out += RT_ATTN_TILE) {
        __m512i code = gather_bits(planes);
        window = _mm512_ternarylogic_epi32(_mm512_add_epi8(window, window), code, one, 0xd8); /* one ? code : 2 window */
        __m512i at = _mm512_ternarylogic_epi32(window, code, low, 0xe4);                      /* low ? window : code */
        _mm512_storeu_si512(out, look_up(b->bits[i], b->levels + trellis_table(b->bits[i]), planes, at));
    }
}

void rt_tc_avx512vnni(rt_kernels *k) {
    if (__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("gfni"))
        k->tc_levels = levels;
}
