/* Decoding of codec tc, scalar: the definition that the vector variants are held to, bit for bit (libfmt/trellis.h). */
#include "kernels.h"

static void levels_of_block(const trellis_book *b, const uint64_t *planes, int8_t *out) {
    uint8_t window[RT_ATTN_TILE] = {0};
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++)
        for (unsigned t = 0; t < RT_ATTN_TILE; t++) {
            unsigned which = 0;
            window[t] = (uint8_t)((window[t] * 2u + (unsigned)(planes[0] >> t & 1)) % TRELLIS_WINDOWS);
            for (unsigned p = 1; p < b->bits[i]; p++)
                which |= (unsigned)(planes[p] >> t & 1) << (p - 1);
            *out++ = b->levels[trellis_table(b->bits[i]) + which * TRELLIS_WINDOWS + window[t]];
        }
}

static void levels(const trellis_book *b, const uint64_t *const *planes, size_t n, int8_t *out, size_t ld) {
    for (size_t i = 0; i < n; i++)
        levels_of_block(b, planes[i], out + i * ld);
}

static void gains(const uint8_t *code, float *gain) {
    for (int t = 0; t < RT_ATTN_TILE; t++)
        gain[t] = trellis_gain(code[t]);
}

void rt_tc_scalar(rt_kernels *k) {
    k->tc_search = trellis_search;
    k->tc_levels = levels;
    k->tc_gains = gains;
}
