/* Rows times a number, without touching codes: where the scales of a type lie. */
#include "gguf/qtype_internal.h"

#include "base/fp16.h"

#include <math.h>
#include <stddef.h>

enum { MOST = 2 };

typedef enum scale_kind { SCALE_F16, SCALE_BF16, SCALE_F32 } scale_kind;

/* Scales of a block; n 0: the type has others than these. */
typedef struct scales {
    uint8_t n;
    scale_kind kind;
    uint16_t at[MOST]; /* bytes into the block */
} scales;

#define ONE(block, d)                                                                                                          \
    {                                                                                                                          \
        1, SCALE_F16, {                                                                                                        \
            offsetof(block, d)                                                                                                 \
        }                                                                                                                      \
    }
#define TWO(block, d, m)                                                                                                       \
    {                                                                                                                          \
        2, SCALE_F16, {                                                                                                        \
            offsetof(block, d), offsetof(block, m)                                                                             \
        }                                                                                                                      \
    }

static const scales table[] = {
    [QT_F32] = {1, SCALE_F32, {0}},  [QT_F16] = {1, SCALE_F16, {0}},    [QT_BF16] = {1, SCALE_BF16, {0}},
    [QT_Q4_0] = ONE(qt_q4_0, d),     [QT_Q4_1] = TWO(qt_q4_1, d, m),    [QT_Q5_0] = ONE(qt_q5_0, d),
    [QT_Q5_1] = TWO(qt_q5_1, d, m),  [QT_Q8_0] = ONE(qt_q8_0, d),       [QT_Q2_K] = TWO(qt_q2_k, d, dmin),
    [QT_Q3_K] = ONE(qt_q3_k, d),     [QT_Q4_K] = TWO(qt_q4_k, d, dmin), [QT_Q5_K] = TWO(qt_q5_k, d, dmin),
    [QT_Q6_K] = ONE(qt_q6_k, d),     [QT_IQ4_NL] = ONE(qt_iq4_nl, d),   [QT_IQ4_XS] = ONE(qt_iq4_xs, d),
    [QT_IQ3_S] = ONE(qt_iq3_s, d),   [QT_IQ3_XXS] = ONE(qt_iq3_xxs, d), [QT_IQ2_S] = ONE(qt_iq2_s, d),
    [QT_IQ2_XS] = ONE(qt_iq2_xs, d), [QT_IQ2_XXS] = ONE(qt_iq2_xxs, d), [QT_IQ1_S] = ONE(qt_iq1_s, d),
    [QT_TQ1_0] = ONE(qt_tq1_0, d),   [QT_TQ2_0] = ONE(qt_tq2_0, d),
};

static const scales *scales_of(const qtype_info *t) {
    static const scales none = {0};
    return t->id < sizeof table / sizeof *table ? &table[t->id] : &none;
}

size_t qtype_n_scales(const qtype_info *t, size_t n) {
    return n / t->block_elems * scales_of(t)->n;
}

static uint32_t load(const uint8_t *at, scale_kind kind) {
    uint32_t bits = 0;
    memcpy(&bits, at, kind == SCALE_F32 ? 4 : 2);
    return bits;
}

static void store(uint8_t *at, scale_kind kind, uint32_t bits) {
    memcpy(at, &bits, kind == SCALE_F32 ? 4 : 2);
}

static float value(uint32_t bits, scale_kind kind) {
    return kind == SCALE_F32   ? fp32_from_bits(bits)
           : kind == SCALE_F16 ? fp16_to_fp32((uint16_t)bits)
                               : bf16_to_fp32((uint16_t)bits);
}

static uint32_t bits_of(float v, scale_kind kind) {
    return kind == SCALE_F32 ? fp32_bits(v) : kind == SCALE_F16 ? fp16_from_fp32(v) : bf16_from_fp32(v);
}

void qtype_scales_get(const qtype_info *t, const void *data, size_t n, uint32_t *bits) {
    const scales *s = scales_of(t);
    const uint8_t *block = data;
    for (size_t i = 0; i < n / t->block_elems; i++, block += t->block_bytes)
        for (int j = 0; j < s->n; j++)
            *bits++ = load(block + s->at[j], s->kind);
}

void qtype_scales_set(const qtype_info *t, void *data, size_t n, const uint32_t *bits) {
    const scales *s = scales_of(t);
    uint8_t *block = data;
    for (size_t i = 0; i < n / t->block_elems; i++, block += t->block_bytes)
        for (int j = 0; j < s->n; j++)
            store(block + s->at[j], s->kind, *bits++);
}

void qtype_multiply(const qtype_info *t, void *data, size_t n, double by) {
    const scales *s = scales_of(t);
    uint8_t *block = data;
    for (size_t i = 0; i < n / t->block_elems; i++, block += t->block_bytes)
        for (int j = 0; j < s->n; j++) {
            uint8_t *at = block + s->at[j];
            store(at, s->kind, bits_of((float)((double)value(load(at, s->kind), s->kind) * by), s->kind));
        }
}

void qtype_scale_room(const qtype_info *t, const void *data, size_t n, int *least, int *most) {
    static const int first[] = {[SCALE_F16] = -14, [SCALE_BF16] = -126, [SCALE_F32] = -126},
                     last[] = {[SCALE_F16] = 15, [SCALE_BF16] = 127, [SCALE_F32] = 127}; /* exponents of normal numbers */
    const scales *s = scales_of(t);
    const uint8_t *block = data;
    *least = first[s->kind] - last[s->kind];
    *most = -*least;
    for (size_t i = 0; i < n / t->block_elems; i++, block += t->block_bytes)
        for (int j = 0; j < s->n; j++) {
            const float v = value(load(block + s->at[j], s->kind), s->kind);
            if (v == 0 || !isfinite(v))
                continue;
            const int e = ilogbf(v), up = last[s->kind] - 1 - e, down = first[s->kind] - e;
            *most = up < *most ? up : *most;
            if (t->block_elems > 1 && e >= first[s->kind])
                *least = down > *least ? down : *least;
        }
    *most = *most < 0 ? 0 : *most;
}
