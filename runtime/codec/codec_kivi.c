/* kivi2, kivi4: KIVI (Liu, Yuan, Jin, Zhong, Xu, Braverman, Chen, Hu 2024, arXiv 2402.02750).
 *
 * Keys have channels that are large in every token, values have not. So keys are rounded per channel over groups of 32 tokens
 * and values per token over groups of 32 channels, each group asymmetrically: x ~ zero + scale * code, zero the least of the
 * group, scale = range / (2^bits - 1), both in f16: bits + 32/32 per element. Groups of tokens are aligned to absolute
 * positions; until one is complete, its tokens wait in f16 (kv_coder.group). The window plays the part of the paper's residual
 * of recent tokens in full precision. Where sinks reach into a group, it is made of the other tokens.
 *
 * Block: bits planes per coordinate (codec_planes.h); then scales and zero points in f16, two arrays of
 *   keys    (2, dim)     by group of tokens
 *   values  (64, dim/32)
 */
#include "base/fp16.h"
#include "codec/codec.h"
#include "codec/codec_planes.h"

enum { GROUP = KV_PART_GROUP };

static unsigned code_bits(const kv_coder *c) {
    return (unsigned)c->bits - 32 / GROUP;
}

/* Scales and zero points, in all. */
static size_t n_groups(const kv_coder *c) {
    return (size_t)c->dim * KV_BLOCK / GROUP;
}

static uint16_t *scales_at(const kv_coder *c, uint8_t *block) {
    return (uint16_t *)((uint64_t *)block + (size_t)c->dim * code_bits(c));
}

static kv_status kivi_init(kv_coder *c, unsigned bits, const char *name, kv_err *err) {
    bool key = c->side == KV_SIDE_K;
    if (!key && c->dim % GROUP)
        return kv_fail(err, KV_EINVAL, "codec %s wants for values a head_dim that is a multiple of %d, not %u; use f16", name,
                       GROUP, c->dim);
    c->group = key ? GROUP : 1;
    c->bits = bits + 32.0 / GROUP;
    kv_coder_part(c, KV_PART_PLANES, (size_t)c->dim * bits, 8);
    for (int i = 0; i < 2; i++)
        kv_coder_part(c, key ? KV_PART_GROUPS : KV_PART_ROWS, key ? c->dim : c->dim / GROUP, sizeof(uint16_t));
    c->scratch = (size_t)c->dim * KV_BLOCK;
    return KV_OK;
}

static kv_status kivi2_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    return kivi_init(c, 2, "kivi2", err);
}

static kv_status kivi4_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    return kivi_init(c, 4, "kivi4", err);
}

/* One group of n numbers, `stride` apart. Codes are chosen for scale and zero point as stored. */
static void quantise(const float *x, size_t stride, uint32_t n, unsigned top, uint16_t *scale, uint16_t *zero, uint8_t *codes,
                     size_t code_stride) {
    float lo = x[0], hi = x[0];
    for (uint32_t i = 1; i < n; i++) {
        float v = x[i * stride];
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
    }
    *zero = fp16_from_fp32(lo);
    float base = fp16_to_fp32(*zero);
    *scale = fp16_from_fp32(hi > base ? (hi - base) / (float)top : 0);
    float step = fp16_to_fp32(*scale), inv = step > 0 ? 1 / step : 0;
    for (uint32_t i = 0; i < n; i++) {
        float code = (x[i * stride] - base) * inv + 0.5f;
        codes[i * code_stride] = (uint8_t)(code > 0 ? code < (float)top ? (unsigned)code : top : 0);
    }
}

static void encode_keys(const kv_coder *c, uint16_t *scale, uint32_t slot, uint32_t n, const float *x, uint8_t *codes) {
    unsigned top = (1u << code_bits(c)) - 1;
    for (uint32_t t = 0; t < n;) {
        uint32_t g = (slot + t) / GROUP, len = (g + 1) * GROUP - (slot + t);
        for (uint32_t i = 0; i < c->dim; i++)
            quantise(x + (size_t)t * c->dim + i, c->dim, len, top, scale + g * c->dim + i, scale + n_groups(c) + g * c->dim + i,
                     codes + (size_t)i * KV_BLOCK + t, 1);
        t += len;
    }
}

static void encode_values(const kv_coder *c, uint16_t *scale, uint32_t slot, uint32_t n, const float *x, uint8_t *codes) {
    unsigned top = (1u << code_bits(c)) - 1;
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < c->dim; i += GROUP) {
            size_t g = ((size_t)(slot + t) * c->dim + i) / GROUP;
            quantise(x + (size_t)t * c->dim + i, 1, GROUP, top, scale + g, scale + n_groups(c) + g,
                     codes + (size_t)i * KV_BLOCK + t, KV_BLOCK);
        }
}

static void kivi_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                        void *scratch) {
    (void)k;
    uint64_t *planes = (uint64_t *)block;
    uint8_t *codes = scratch; /* (dim, 64) */
    memset(codes, 0, (size_t)c->dim * KV_BLOCK);
    (c->side == KV_SIDE_K ? encode_keys : encode_values)(c, scales_at(c, block), slot, n, x, codes);
    for (uint32_t i = 0; i < c->dim; i++, planes += code_bits(c))
        kv_planes_put(planes, code_bits(c), slot, n, codes + (size_t)i * KV_BLOCK);
}

static const float *decode_keys(const kv_coder *c, const uint64_t *planes, const float *scale, const float *zero, float *tile) {
    uint8_t codes[KV_BLOCK];
    for (uint32_t i = 0; i < c->dim; i++, planes += code_bits(c)) {
        kv_planes_get(planes, code_bits(c), codes);
        for (uint32_t t = 0; t < KV_BLOCK; t++) {
            size_t g = (size_t)(t / GROUP) * c->dim + i;
            tile[(size_t)i * KV_BLOCK + t] = zero[g] + scale[g] * (float)codes[t];
        }
    }
    return tile;
}

static const float *decode_values(const kv_coder *c, const uint64_t *planes, const float *scale, const float *zero, uint32_t n,
                                  float *tile) {
    uint8_t codes[KV_BLOCK];
    for (uint32_t i = 0; i < c->dim; i++, planes += code_bits(c)) {
        kv_planes_get(planes, code_bits(c), codes);
        for (uint32_t t = 0; t < n; t++) {
            size_t e = (size_t)t * c->dim + i;
            tile[e] = zero[e / GROUP] + scale[e / GROUP] * (float)codes[t];
        }
    }
    return tile;
}

static const float *kivi_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    float scale[2 * PROF_MAX_DIM], zero[2 * PROF_MAX_DIM];
    const uint64_t *planes = (const uint64_t *)block;
    const uint16_t *stored = (const uint16_t *)(planes + (size_t)c->dim * code_bits(c));
    k->f16_load(stored, n_groups(c), scale);
    k->f16_load(stored + n_groups(c), n_groups(c), zero);
    return c->side == KV_SIDE_K ? decode_keys(c, planes, scale, zero, tile) : decode_values(c, planes, scale, zero, n, tile);
}

const kv_codec kv_codec_kivi2 = {.init = kivi2_init, .encode = kivi_encode, .decode = kivi_decode};
const kv_codec kv_codec_kivi4 = {.init = kivi4_init, .encode = kivi_encode, .decode = kivi_decode};
