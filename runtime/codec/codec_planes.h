/* Small codes as bit planes: a code of b bits takes b words per block, bit t of each belongs to slot t, lowest bit of the code
 * first. Any number of bits packs without waste, and whichever slots a batch brings are set with two operations per word. */
#ifndef RT_CODEC_PLANES_H
#define RT_CODEC_PLANES_H

#include "codec/codec.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Bits of n slots from slot on. n >= 1. */
static inline uint64_t kv_planes_mask(uint32_t slot, uint32_t n) {
    return (n < KV_BLOCK ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0) << slot;
}

/* Bits p of 16 codes. The multiplication moves bit 8j to bit 56 + j. */
static inline uint64_t kv_planes_gather(const uint8_t *codes, unsigned p) {
#if defined(__SSE2__)
    __m128i x = _mm_loadu_si128((const __m128i *)codes);
    return (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_sll_epi16(x, _mm_cvtsi32_si128(7 - (int)p)));
#else
    uint64_t x[2];
    memcpy(x, codes, 16);
    for (int i = 0; i < 2; i++)
        x[i] = (x[i] >> p & 0x0101010101010101u) * 0x0102040810204080u >> 56;
    return x[0] | x[1] << 8;
#endif
}

/* Set slots slot .. slot+n-1 to codes[0 .. n-1]; codes has KV_BLOCK bytes, zero from n on. */
static inline void kv_planes_put(uint64_t *planes, unsigned bits, uint32_t slot, uint32_t n, const uint8_t *codes) {
    uint64_t keep = ~kv_planes_mask(slot, n);
    if (n == 1) { /* as in decode: nothing to gather */
        for (unsigned p = 0; p < bits; p++)
            planes[p] = (planes[p] & keep) | (uint64_t)(codes[0] >> p & 1) << slot;
        return;
    }
    for (unsigned p = 0; p < bits; p++) {
        uint64_t word = 0;
        for (uint32_t t = 0; t < n; t += 16)
            word |= kv_planes_gather(codes + t, p) << t;
        planes[p] = (planes[p] & keep) | word << slot;
    }
}

/* All KV_BLOCK codes. A byte is spread to 8 bytes of 0 or 1: copy it to each, keep one bit of each, carry that to the top. */
static inline void kv_planes_get(const uint64_t *planes, unsigned bits, uint8_t *codes) {
    for (uint32_t t = 0; t < KV_BLOCK; t += 8) {
        uint64_t out = 0;
        for (unsigned p = 0; p < bits; p++) {
            uint64_t spread = (planes[p] >> t & 255) * 0x0101010101010101u & 0x8040201008040201u;
            out |= ((spread + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u) << p;
        }
        memcpy(codes + t, &out, 8);
    }
}

#endif
