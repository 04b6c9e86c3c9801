/* f32 and f16. Element (t, c) of a block is number c*64 + t for K and t*dim + c for V, so that a tile is decoded with straight
 * loads in the order that attention wants. */
#include "codec/codec.h"

static size_t at(const kv_coder *c, uint32_t slot, uint32_t i) {
    return c->side == KV_SIDE_K ? (size_t)i * KV_BLOCK + slot : (size_t)slot * c->dim + i;
}

static kv_status float_init(kv_coder *c, size_t elem) {
    kv_coder_part(c, c->side == KV_SIDE_K ? KV_PART_COLS : KV_PART_ROWS, c->dim, elem);
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

const kv_codec kv_codec_f32 = {.exact = true, .init = f32_init, .encode = f32_encode, .decode = f32_decode};
const kv_codec kv_codec_f16 = {.exact = true, .init = f16_init, .encode = f16_encode, .decode = f16_decode};
