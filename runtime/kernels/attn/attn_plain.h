/* Elementwise kernels in plain C, included by each attn_*.c so that the compiler vectorises them for that file's instruction
 * set. Nothing is summed here, so every set gives the same bits.
 */
#ifndef RT_ATTN_PLAIN_H
#define RT_ATTN_PLAIN_H

#include "kernels/kernels.h"

/* Elements that f16_load asks for ahead, into the second cache: a block of 64 tokens and 64 dimensions. Blocks of a head lie
 * one behind the other. */
enum { F16_AHEAD = 64 * 64 };

static void q8_cols(const int8_t *restrict q, const float *restrict d, size_t rows, float *restrict out) {
    for (size_t r = 0; r < rows; r++, q += 64, out += 64)
        for (int t = 0; t < 64; t++)
            out[t] = (float)q[t] * d[t];
}

static void q8_runs(const int8_t *restrict q, const float *restrict d, size_t runs, float *restrict out) {
    for (size_t r = 0; r < runs; r++, q += 32, out += 32)
        for (int i = 0; i < 32; i++)
            out[i] = (float)q[i] * d[r];
}

static void q4_cols(const uint8_t *restrict q, const float *restrict d, size_t rows, float *restrict out) {
    for (size_t r = 0; r < rows; r++, q += 32, out += 64)
        for (int j = 0; j < 32; j++) {
            out[j] = (float)((q[j] & 15) - 8) * d[j];
            out[j + 32] = (float)((q[j] >> 4) - 8) * d[j + 32];
        }
}

static void q4_runs(const uint8_t *restrict q, const float *restrict d, size_t runs, float *restrict out) {
    for (size_t r = 0; r < runs; r++, q += 16, out += 32)
        for (int j = 0; j < 16; j++) {
            out[j] = (float)((q[j] & 15) - 8) * d[r];
            out[j + 16] = (float)((q[j] >> 4) - 8) * d[r];
        }
}

static inline void attn_plain(rt_kernels *k) {
    k->q8_cols = q8_cols;
    k->q8_runs = q8_runs;
    k->q4_cols = q4_cols;
    k->q4_runs = q4_runs;
}

#endif
