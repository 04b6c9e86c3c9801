/* What attention in codes shares between AVX-512 with VNNI and with AMX. */
#ifndef RT_CODE_AVX512_H
#define RT_CODE_AVX512_H

#include "kernels/kernels.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* 16 dwords as a 4x4 matrix of them, transposed. */
INLINE __m512i swap4x4(__m512i a) {
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), a);
}

/* Four times 16 bytes, ld apart. */
INLINE __m512i load_quarters(const int8_t *p, size_t ld) {
    __m512i a = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
    a = _mm512_mask_broadcast_i32x4(a, 0x00f0, _mm_loadu_si128((const __m128i *)(p + ld)));
    a = _mm512_mask_broadcast_i32x4(a, 0x0f00, _mm_loadu_si128((const __m128i *)(p + 2 * ld)));
    return _mm512_mask_broadcast_i32x4(a, 0xf000, _mm_loadu_si128((const __m128i *)(p + 3 * ld)));
}

enum { CODE_REGISTER = 1024 /* bytes of 16 dwords of 16 tokens or coordinates: what a tile register holds */ };

/* Bytes of 16 tokens of a tile of keys. */
INLINE size_t int_key_group(size_t cdim) {
    return (cdim + 63) / 64 * CODE_REGISTER;
}

/* levels (cdim, 64 tokens) ^ flip -> (4 groups of tokens, cdim/4, 16 tokens, 4 coordinates). */
INLINE void int_pack_keys(const int8_t *levels, size_t cdim, __m512i flip, void *tile) {
    const size_t group = int_key_group(cdim);
    char *out = tile;
    for (size_t i = 0; i < cdim; i += 4, levels += 4 * 64, out += 64) {
        __m512i a[4];
        for (int j = 0; j < 4; j++) /* unpacking stays within quarters: move 4 tokens of each to each */
            a[j] = swap4x4(_mm512_xor_si512(_mm512_loadu_si512(levels + 64 * j), flip));
        __m512i lo01 = _mm512_unpacklo_epi8(a[0], a[1]), hi01 = _mm512_unpackhi_epi8(a[0], a[1]);
        __m512i lo23 = _mm512_unpacklo_epi8(a[2], a[3]), hi23 = _mm512_unpackhi_epi8(a[2], a[3]);
        _mm512_storeu_si512(out, _mm512_unpacklo_epi16(lo01, lo23));
        _mm512_storeu_si512(out + group, _mm512_unpackhi_epi16(lo01, lo23));
        _mm512_storeu_si512(out + 2 * group, _mm512_unpacklo_epi16(hi01, hi23));
        _mm512_storeu_si512(out + 3 * group, _mm512_unpackhi_epi16(hi01, hi23));
    }
}

#endif
