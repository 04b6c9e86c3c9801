/* Superblock types: 256 elements, f16 scales for the block, small integer scales for its groups.
 *
 * Low bits: a run of 32 (Q6_K: 64) bytes holds several runs of elements, one in each bit field from the low end up; so byte
 * l of run c gives element l of groups c * k, c * k + 1, ... High bits: byte l holds one field for each run of 32 elements
 * with the same l. The group's scale is multiplied out first, d * sc, then (d * sc) * q - (dmin * m), with a rounding after
 * each step: the order in which the Python package `gguf` computes, and so the same bits.
 */
#include "base/fp16.h"
#include "gguf/qtype_internal.h"

enum { QK = 256 };

void qt_dequant_q2_k(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / QK; i++) {
        QT_LOAD(qt_q2_k, b, src, i);
        float d = fp16_to_fp32(b.d), dmin = fp16_to_fp32(b.dmin);
        for (int g = 0; g < 16; g++) { /* half g / 8, bit field g / 2 % 4, bytes 0..15 or 16..31 */
            float dl = d * (float)(b.scales[g] & 15), ml = dmin * (float)(b.scales[g] >> 4);
            const uint8_t *q = b.qs + g / 8 * 32 + g % 2 * 16;
            int shift = g / 2 % 4 * 2;
            for (int l = 0; l < 16; l++)
                *dst++ = dl * (float)(q[l] >> shift & 3) - ml;
        }
    }
}

/* Sixteen 6-bit scales in 12 bytes: low nibbles in bytes 0..7 (group g and g + 8), high pairs in bytes 8..11. */
int qt_q3_k_scale(const uint8_t s[12], int g) {
    int low = s[g % 8] >> g / 8 * 4 & 15;
    int high = s[8 + g % 4] >> g / 4 * 2 & 3;
    return (low | high << 4) - 32;
}

void qt_dequant_q3_k(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / QK; i++) {
        QT_LOAD(qt_q3_k, b, src, i);
        float d = fp16_to_fp32(b.d);
        for (int g = 0; g < 16; g++) {
            float dl = d * (float)qt_q3_k_scale(b.scales, g);
            const uint8_t *q = b.qs + g / 8 * 32 + g % 2 * 16, *h = b.hmask + g % 2 * 16;
            int shift = g / 2 % 4 * 2, bit = g / 2;
            for (int l = 0; l < 16; l++) /* a clear bit means minus four */
                *dst++ = dl * (float)((q[l] >> shift & 3) - (~h[l] >> bit & 1) * 4);
        }
    }
}

/* Eight 6-bit scales and minima in 12 bytes. Groups 0..3: low six bits of bytes g and g + 4. Groups 4..7: a nibble of byte
 * g + 4 each, topped up with the high two bits of bytes g - 4 and g. */
void qt_k_scale_min(const uint8_t s[12], int g, int *scale, int *min) {
    if (g < 4) {
        *scale = s[g] & 63;
        *min = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
        *min = s[g + 4] >> 4 | s[g] >> 6 << 4;
    }
}

void qt_dequant_q4_k(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / QK; i++) {
        QT_LOAD(qt_q4_k, b, src, i);
        float d = fp16_to_fp32(b.d), dmin = fp16_to_fp32(b.dmin);
        for (int g = 0; g < 8; g++) {
            int scale, min;
            qt_k_scale_min(b.scales, g, &scale, &min);
            float dl = d * (float)scale, ml = dmin * (float)min;
            const uint8_t *q = b.qs + g / 2 * 32;
            int shift = g % 2 * 4;
            for (int l = 0; l < 32; l++)
                *dst++ = dl * (float)(q[l] >> shift & 15) - ml;
        }
    }
}

void qt_dequant_q5_k(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / QK; i++) {
        QT_LOAD(qt_q5_k, b, src, i);
        float d = fp16_to_fp32(b.d), dmin = fp16_to_fp32(b.dmin);
        for (int g = 0; g < 8; g++) {
            int scale, min;
            qt_k_scale_min(b.scales, g, &scale, &min);
            float dl = d * (float)scale, ml = dmin * (float)min;
            const uint8_t *q = b.qs + g / 2 * 32;
            int shift = g % 2 * 4;
            for (int l = 0; l < 32; l++)
                *dst++ = dl * (float)((q[l] >> shift & 15) | (b.qh[l] >> g & 1) << 4) - ml;
        }
    }
}

void qt_dequant_q6_k(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / QK; i++) {
        QT_LOAD(qt_q6_k, b, src, i);
        float d = fp16_to_fp32(b.d);
        for (int g = 0; g < 16; g++) { /* half g / 8; nibble g / 4 % 2 of 64 bytes; bit pair g / 2 % 4 of 32 bytes */
            float dl = d * (float)b.scales[g];
            const uint8_t *ql = b.ql + g / 8 * 64 + g % 4 * 16, *qh = b.qh + g / 8 * 32 + g % 2 * 16;
            int low = g / 4 % 2 * 4, high = g / 2 % 4 * 2;
            for (int l = 0; l < 16; l++)
                *dst++ = dl * (float)(((ql[l] >> low & 15) | (qh[l] >> high & 3) << 4) - 32);
        }
    }
}
