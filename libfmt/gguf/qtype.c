/* The table of tensor types, and the types whose blocks hold one scale (and perhaps one minimum).
 *
 * Nibbles lie low half first: byte i holds element i in its low four bits and element i + 16 in its high four.
 * The order of float operations is part of the definition, (d * q) + m with a rounding after each: results equal those of the
 * Python package `gguf` bit for bit. Superblock types are in qtype_k.c and qtype_iq.c.
 * Source of MXFP4: OCP Microscaling Formats (MX) Specification 1.0. Its scales have exponents alone; those of NVFP4 are floats
 * of 4 and 3 bits. Both are halved, since values are doubled.
 */
#include "base/fp16.h"
#include "gguf/qtype_internal.h"

const int8_t qt_iq4nl_values[16] = QT_IQ4NL_VALUES;
const int8_t qt_fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void dequant_f32(const void *src, float *dst, size_t n) {
    memcpy(dst, src, n * sizeof *dst);
}

static void dequant_f16(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n; i++) {
        QT_LOAD(uint16_t, h, src, i);
        dst[i] = fp16_to_fp32(h);
    }
}

static void dequant_bf16(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n; i++) {
        QT_LOAD(uint16_t, h, src, i);
        dst[i] = bf16_to_fp32(h);
    }
}

static void dequant_q4_0(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / 32; i++, dst += 32) {
        QT_LOAD(qt_q4_0, b, src, i);
        float d = fp16_to_fp32(b.d);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)((b.qs[j] & 15) - 8);
            dst[j + 16] = d * (float)((b.qs[j] >> 4) - 8);
        }
    }
}

static void dequant_q4_1(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / 32; i++, dst += 32) {
        QT_LOAD(qt_q4_1, b, src, i);
        float d = fp16_to_fp32(b.d), m = fp16_to_fp32(b.m);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)(b.qs[j] & 15) + m;
            dst[j + 16] = d * (float)(b.qs[j] >> 4) + m;
        }
    }
}

/* The five bits of element j + 16 * half. */
static int q5_code(const uint8_t qs[16], uint32_t qh, int j, int half) {
    return (qs[j] >> 4 * half & 15) | (int)(qh >> (j + 16 * half) & 1) << 4;
}

static void dequant_q5_0(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / 32; i++, dst += 32) {
        QT_LOAD(qt_q5_0, b, src, i);
        QT_LOAD(uint32_t, qh, b.qh, 0);
        float d = fp16_to_fp32(b.d);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)(q5_code(b.qs, qh, j, 0) - 16);
            dst[j + 16] = d * (float)(q5_code(b.qs, qh, j, 1) - 16);
        }
    }
}

static void dequant_q5_1(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / 32; i++, dst += 32) {
        QT_LOAD(qt_q5_1, b, src, i);
        QT_LOAD(uint32_t, qh, b.qh, 0);
        float d = fp16_to_fp32(b.d), m = fp16_to_fp32(b.m);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)q5_code(b.qs, qh, j, 0) + m;
            dst[j + 16] = d * (float)q5_code(b.qs, qh, j, 1) + m;
        }
    }
}

static void dequant_q8_0(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / 32; i++, dst += 32) {
        QT_LOAD(qt_q8_0, b, src, i);
        float d = fp16_to_fp32(b.d);
        for (int j = 0; j < 32; j++)
            dst[j] = d * (float)b.qs[j];
    }
}

static void dequant_iq4_nl(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / 32; i++, dst += 32) {
        QT_LOAD(qt_iq4_nl, b, src, i);
        float d = fp16_to_fp32(b.d);
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)qt_iq4nl_values[b.qs[j] & 15];
            dst[j + 16] = d * (float)qt_iq4nl_values[b.qs[j] >> 4];
        }
    }
}

uint16_t qt_e8m0_bf16(uint8_t scale) {
    return (uint16_t)(scale < 2 ? 0x20 << scale : (scale - 1) << 7); /* 2^-128 and 2^-127 are subnormal */
}

static void dequant_mxfp4(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / 32; i++, dst += 32) {
        QT_LOAD(qt_mxfp4, b, src, i);
        float d = bf16_to_fp32(qt_e8m0_bf16(b.e));
        for (int j = 0; j < 16; j++) {
            dst[j] = d * (float)qt_fp4_values[b.qs[j] & 15];
            dst[j + 16] = d * (float)qt_fp4_values[b.qs[j] >> 4];
        }
    }
}

uint16_t qt_ue4m3_f16(uint8_t scale) {
    const int exponent = scale >> 3 & 15, mantissa = scale & 7;
    if (exponent == 0)
        return fp16_from_fp32((float)mantissa * 0x1p-10f);
    return scale == 0x7f ? 0 : (uint16_t)((exponent + 7) << 10 | mantissa << 7); /* 0x7f: not a number, counts as zero */
}

static void dequant_nvfp4(const void *src, float *dst, size_t n) {
    for (size_t i = 0; i < n / 64; i++) {
        QT_LOAD(qt_nvfp4, b, src, i);
        for (int g = 0; g < 4; g++, dst += 16) {
            float d = fp16_to_fp32(qt_ue4m3_f16(b.d[g]));
            for (int j = 0; j < 8; j++) {
                dst[j] = d * (float)qt_fp4_values[b.qs[8 * g + j] & 15];
                dst[j + 8] = d * (float)qt_fp4_values[b.qs[8 * g + j] >> 4];
            }
        }
    }
}

/* name, elements per block, what a block is, function */
#define QTYPES(ROW)                                                                                                            \
    ROW(F32, 1, float, dequant_f32)                                                                                            \
    ROW(F16, 1, uint16_t, dequant_f16)                                                                                         \
    ROW(BF16, 1, uint16_t, dequant_bf16)                                                                                       \
    ROW(Q4_0, 32, qt_q4_0, dequant_q4_0)                                                                                       \
    ROW(Q4_1, 32, qt_q4_1, dequant_q4_1)                                                                                       \
    ROW(Q5_0, 32, qt_q5_0, dequant_q5_0)                                                                                       \
    ROW(Q5_1, 32, qt_q5_1, dequant_q5_1)                                                                                       \
    ROW(Q8_0, 32, qt_q8_0, dequant_q8_0)                                                                                       \
    ROW(Q2_K, 256, qt_q2_k, qt_dequant_q2_k)                                                                                   \
    ROW(Q3_K, 256, qt_q3_k, qt_dequant_q3_k)                                                                                   \
    ROW(Q4_K, 256, qt_q4_k, qt_dequant_q4_k)                                                                                   \
    ROW(Q5_K, 256, qt_q5_k, qt_dequant_q5_k)                                                                                   \
    ROW(Q6_K, 256, qt_q6_k, qt_dequant_q6_k)                                                                                   \
    ROW(IQ4_NL, 32, qt_iq4_nl, dequant_iq4_nl)                                                                                 \
    ROW(IQ4_XS, 256, qt_iq4_xs, qt_dequant_iq4_xs)                                                                             \
    ROW(IQ3_S, 256, qt_iq3_s, qt_dequant_iq3_s)                                                                                \
    ROW(IQ3_XXS, 256, qt_iq3_xxs, qt_dequant_iq3_xxs)                                                                          \
    ROW(IQ2_S, 256, qt_iq2_s, qt_dequant_iq2_s)                                                                                \
    ROW(IQ2_XS, 256, qt_iq2_xs, qt_dequant_iq2_xs)                                                                             \
    ROW(IQ2_XXS, 256, qt_iq2_xxs, qt_dequant_iq2_xxs)                                                                          \
    ROW(IQ1_M, 256, qt_iq1_m, qt_dequant_iq1_m)                                                                                \
    ROW(IQ1_S, 256, qt_iq1_s, qt_dequant_iq1_s)                                                                                \
    ROW(TQ1_0, 256, qt_tq1_0, qt_dequant_tq1_0)                                                                                \
    ROW(TQ2_0, 256, qt_tq2_0, qt_dequant_tq2_0)                                                                                \
    ROW(MXFP4, 32, qt_mxfp4, dequant_mxfp4)                                                                                    \
    ROW(NVFP4, 64, qt_nvfp4, dequant_nvfp4)

#define TABLE_ROW(name, elems, block, dequant) [QT_##name] = {QT_##name, #name, elems, sizeof(block), dequant},
static const qtype_info table[] = {QTYPES(TABLE_ROW)};

const qtype_info *qtype_get(uint32_t id) {
    return id < sizeof table / sizeof *table && table[id].name ? &table[id] : NULL;
}

#define LIST_ITEM(name, elems, block, dequant) ", " #name
const char *qtype_list(void) {
    static const char list[] = QTYPES(LIST_ITEM);
    return list + strlen(", ");
}
