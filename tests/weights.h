/* Random quantised weights and activations for tests of matrix kernels. */
#ifndef TEST_WEIGHTS_H
#define TEST_WEIGHTS_H

#include "base/fp16.h"
#include "gguf/gguf.h"

#include <stdlib.h>

static inline uint32_t rnd(uint64_t *s) {
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 32);
}

static inline float rnd_float(uint64_t *s) { /* [-1, 1) */
    return (float)(int32_t)rnd(s) * 0x1p-31f;
}

/* Where the f16 fields of a block are, so that they can be given finite values: every other byte may be anything, but for types
 * that weights_scale knows. */
typedef struct weight_type {
    qtype type;
    int n_half, half[2];
} weight_type;

static const weight_type weight_types[] = {
    {QT_Q4_0, 1, {0, 0}},   {QT_Q4_1, 2, {0, 2}},    {QT_Q5_0, 1, {0, 0}},   {QT_Q5_1, 2, {0, 2}},    {QT_Q8_0, 1, {0, 0}},
    {QT_IQ4_NL, 1, {0, 0}}, {QT_Q2_K, 2, {80, 82}},  {QT_Q3_K, 1, {108, 0}}, {QT_Q4_K, 2, {0, 2}},    {QT_Q5_K, 2, {0, 2}},
    {QT_Q6_K, 1, {208, 0}}, {QT_IQ4_XS, 1, {0, 0}},  {QT_IQ3_S, 1, {0, 0}},  {QT_IQ3_XXS, 1, {0, 0}}, {QT_IQ2_S, 1, {0, 0}},
    {QT_IQ2_XS, 1, {0, 0}}, {QT_IQ2_XXS, 1, {0, 0}}, {QT_IQ1_M, 0, {0, 0}},  {QT_IQ1_S, 1, {0, 0}},   {QT_TQ1_0, 1, {52, 0}},
    {QT_TQ2_0, 1, {64, 0}}, {QT_MXFP4, 0, {0, 0}},   {QT_NVFP4, 0, {0, 0}},  {QT_F16, 1, {0, 0}},     {QT_BF16, 0, {0, 0}},
    {QT_F32, 0, {0, 0}},
};
enum { N_WEIGHT_TYPES = sizeof weight_types / sizeof *weight_types, N_QUANT_TYPES = N_WEIGHT_TYPES - 3 };

/* Give all scales of a block that are floats a value of about f: |f| <= 1, not zero. */
static inline void weights_scale(const weight_type *w, float f, uint8_t *block) {
    const uint16_t half = fp16_from_fp32(f);
    for (int h = 0; h < w->n_half; h++)
        memcpy(block + w->half[h], &half, sizeof half);
    for (int i = 0; i < 4 && w->type == QT_IQ1_M; i++) /* four bits each, in the upper nibbles of four numbers */
        block[49 + 2 * i] = (uint8_t)((block[49 + 2 * i] & 15) | (half >> 4 * i & 15) << 4);
    if (w->type == QT_MXFP4)
        block[0] = (uint8_t)(125 - half % 4);
    if (w->type == QT_F32)
        memcpy(block, &f, sizeof f);
    const uint16_t bf = bf16_from_fp32(f);
    if (w->type == QT_BF16)
        memcpy(block, &bf, sizeof bf);
}

/* A tensor of random weights of about unit size; free((void *)t.data). */
static inline gguf_tensor weights_random(const weight_type *w, size_t rows, size_t cols, uint64_t seed) {
    gguf_tensor t = {.name = {"random", 6}, .type = qtype_get(w->type), .n_dims = 2, .dims = {cols, rows, 1, 1}};
    t.nbytes = rows * (cols / t.type->block_elems) * t.type->block_bytes;
    uint8_t *data = malloc(t.nbytes);
    t.data = data;
    for (size_t i = 0; i < t.nbytes; i += t.type->block_bytes) {
        uint8_t *block = data + i;
        for (uint32_t j = 0; j < t.type->block_bytes; j++)
            block[j] = (uint8_t)rnd(&seed);
        weights_scale(w, rnd_float(&seed), block);
    }
    return t;
}

static inline float *floats_random(size_t n, uint64_t seed) {
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = rnd_float(&seed);
    return x;
}

#endif
