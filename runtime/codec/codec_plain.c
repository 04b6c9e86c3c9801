/* Codecs without calibration: f32, f16, and llama.cpp's q8_0 and q4_0 (blocks of 32 along head_dim).
 *
 * Layout of a block (dim = head_dim, 64 slots); element (t, c) is number c*64 + t for K and t*dim + c for V, so that a tile is
 * decoded with straight loads in the order that attention wants:
 *   f32, f16  (dim * 64) elements
 *   q8_0      (dim * 64) int8, then scales f16: (dim/32, 64) for K, (64, dim/32) for V
 *   q4_0      (dim * 32) bytes, then the same scales. K: byte c*32 + j holds tokens j (low) and j + 32 (high); V: byte j of a
 *             run of 32 elements holds elements j and j + 16
 * Rounding is that of ggml's reference quantisers, so codes and scales equal those of llama.cpp's cache types; but a scale
 * whose inverse is no float counts as 0, which it is anyhow in f16.
 */
#include "base/fp16.h"
#include "codec/codec.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { RUN = 32 }; /* elements per scale */

static size_t at(const kv_coder *c, uint32_t slot, uint32_t i) {
    return c->side == KV_SIDE_K ? (size_t)i * KV_BLOCK + slot : (size_t)slot * c->dim + i;
}

/* ---- f32, f16 ---- */

static void elements(kv_coder *c, size_t count, size_t size) {
    kv_coder_part(c, c->side == KV_SIDE_K ? KV_PART_COLS : KV_PART_ROWS, count, size);
}

static kv_status float_init(kv_coder *c, size_t elem) {
    elements(c, c->dim, elem);
    c->bits = 8.0 * (double)elem;
    return KV_OK;
}

static kv_status f32_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc, (void)err;
    return float_init(c, sizeof(float));
}

static void f32_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                       void *scratch) {
    (void)k, (void)scratch;
    float *dst = (float *)block;
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < c->dim; i++)
            dst[at(c, slot + t, i)] = x[(size_t)t * c->dim + i];
}

static const float *f32_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    (void)c, (void)k, (void)n, (void)tile;
    return (const float *)block;
}

static kv_status f16_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc, (void)err;
    return float_init(c, sizeof(uint16_t));
}

static void f16_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                       void *scratch) {
    (void)scratch;
    uint16_t row[PROF_MAX_DIM], *dst = (uint16_t *)block;
    for (uint32_t t = 0; t < n; t++) {
        k->f16_store(x + (size_t)t * c->dim, c->dim, row);
        for (uint32_t i = 0; i < c->dim; i++)
            dst[at(c, slot + t, i)] = row[i];
    }
}

static const float *f16_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    k->f16_load((const uint16_t *)block, (size_t)c->dim * (c->side == KV_SIDE_K ? KV_BLOCK : n), tile);
    return tile;
}

/* ---- q8_0, q4_0 ---- */

static kv_status quant_init(kv_coder *c, unsigned bits, const char *name, kv_err *err) {
    if (c->dim % RUN)
        return kv_fail(err, KV_EINVAL, "codec %s wants a head_dim that is a multiple of %d, not %u; use f16", name, RUN,
                       c->dim);
    if (bits == 4 && c->side == KV_SIDE_K)
        kv_coder_part(c, KV_PART_HALVES, c->dim, 1);
    else
        elements(c, (size_t)c->dim * bits / 8, 1);
    elements(c, c->dim / RUN, sizeof(uint16_t));
    c->bits = bits + 16.0 / RUN;
    return KV_OK;
}

static uint16_t *scale_at(const kv_coder *c, uint8_t *scales, uint32_t slot, uint32_t run) {
    return (uint16_t *)scales + (c->side == KV_SIDE_K ? (size_t)run * KV_BLOCK + slot : (size_t)slot * (c->dim / RUN) + run);
}

/* The f32 scales of the first n slots, in the order they are stored. */
static void load_scales(const kv_coder *c, const rt_kernels *k, const uint8_t *scales, uint32_t n, float *d) {
    size_t runs = c->dim / RUN;
    k->f16_load((const uint16_t *)scales, runs * (c->side == KV_SIDE_K ? KV_BLOCK : n), d);
}

static kv_status q8_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    return quant_init(c, 8, "q8_0", err);
}

/* One run; returns the scale. Halves round away from zero, as roundf does: adding the largest float below 0.5 and cutting off
 * gives just that for |x| < 2^22, and vectorises. */
static uint16_t q8_run(const float *x, int8_t *q) {
    float amax = 0;
    for (int i = 0; i < RUN; i++) {
        float a = fabsf(x[i]);
        amax = a > amax ? a : amax;
    }
    float d = amax / 127, inv = d >= FLT_MIN ? 1 / d : 0;
    for (int i = 0; i < RUN; i++) {
        float r = x[i] * inv;
        q[i] = (int8_t)(int)(r + copysignf(0x1.fffffep-2f, r));
    }
    return fp16_from_fp32(d);
}

static void q8_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                      void *scratch) {
    (void)k, (void)scratch;
    uint8_t *scales = block + (size_t)c->dim * KV_BLOCK;
    for (uint32_t t = slot; t < slot + n; t++)
        for (uint32_t i = 0; i < c->dim; i += RUN, x += RUN) {
            int8_t q[RUN];
            *scale_at(c, scales, t, i / RUN) = q8_run(x, q);
            for (uint32_t j = 0; j < RUN; j++)
                block[at(c, t, i + j)] = (uint8_t)q[j];
        }
}

static const float *q8_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    float d[PROF_MAX_DIM / RUN * KV_BLOCK];
    const int8_t *q = (const int8_t *)block;
    size_t runs = c->dim / RUN;
    load_scales(c, k, block + (size_t)c->dim * KV_BLOCK, n, d);
    if (c->side == KV_SIDE_V)
        k->q8_runs(q, d, runs * n, tile);
    else
        for (size_t r = 0; r < runs; r++)
            k->q8_cols(q + r * RUN * KV_BLOCK, d + r * KV_BLOCK, RUN, tile + r * RUN * KV_BLOCK);
    return tile;
}

static kv_status q4_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    return quant_init(c, 4, "q4_0", err);
}

/* The element of greatest magnitude becomes code 0 exactly (-8 times the scale). */
static uint16_t q4_run(const float *x, uint8_t *q) {
    float amax = 0, top = 0;
    for (int i = 0; i < RUN; i++)
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            top = x[i];
        }
    float d = top / -8, inv = fabsf(d) >= FLT_MIN ? 1 / d : 0;
    for (int i = 0; i < RUN; i++) {
        int code = (int)(x[i] * inv + 8.5f);
        q[i] = (uint8_t)(code > 15 ? 15 : code);
    }
    return fp16_from_fp32(d);
}

static size_t q4_byte(const kv_coder *c, uint32_t slot, uint32_t i, unsigned *shift) {
    bool key = c->side == KV_SIDE_K;
    *shift = (key ? slot / 32 : i % RUN / 16) * 4;
    return key ? (size_t)i * 32 + slot % 32 : (size_t)slot * c->dim / 2 + i / RUN * 16 + i % 16;
}

static void q4_put(const kv_coder *c, uint8_t *block, uint32_t slot, uint32_t i, unsigned code) {
    unsigned shift;
    uint8_t *b = block + q4_byte(c, slot, i, &shift);
    *b = (uint8_t)((*b & ~(15u << shift)) | code << shift);
}

static void q4_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                      void *scratch) {
    (void)k, (void)scratch;
    uint8_t *scales = block + (size_t)c->dim * KV_BLOCK / 2;
    for (uint32_t t = slot; t < slot + n; t++)
        for (uint32_t i = 0; i < c->dim; i += RUN, x += RUN) {
            uint8_t q[RUN];
            *scale_at(c, scales, t, i / RUN) = q4_run(x, q);
            for (uint32_t j = 0; j < RUN; j++)
                q4_put(c, block, t, i + j, q[j]);
        }
}

static const float *q4_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    float d[PROF_MAX_DIM / RUN * KV_BLOCK];
    size_t runs = c->dim / RUN;
    load_scales(c, k, block + (size_t)c->dim * KV_BLOCK / 2, n, d);
    if (c->side == KV_SIDE_V)
        k->q4_runs(block, d, runs * n, tile);
    else
        for (size_t r = 0; r < runs; r++)
            k->q4_cols(block + r * RUN * 32, d + r * KV_BLOCK, RUN, tile + r * RUN * KV_BLOCK);
    return tile;
}

const kv_codec kv_codec_f32 = {.exact = true, .init = f32_init, .encode = f32_encode, .decode = f32_decode};
const kv_codec kv_codec_f16 = {.exact = true, .init = f16_init, .encode = f16_encode, .decode = f16_decode};
const kv_codec kv_codec_q8_0 = {.init = q8_init, .encode = q8_encode, .decode = q8_decode};
const kv_codec kv_codec_q4_0 = {.init = q4_init, .encode = q4_encode, .decode = q4_decode};
