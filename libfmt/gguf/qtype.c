/* The table of tensor types, and the types whose blocks hold one scale (and perhaps one minimum).
 *
 * Nibbles lie low half first: byte i holds element i in its low four bits and element i + 16 in its high four.
 * The order of float operations is part of the definition, (d * q) + m with a rounding after each: results equal those of the
 * Python package `gguf` bit for bit. Superblock types are in qtype_k.c.
 */
#include "base/fp16.h"
#include "gguf/qtype_internal.h"

const int8_t qt_iq4nl_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

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
    ROW(IQ4_NL, 32, qt_iq4_nl, dequant_iq4_nl)

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
