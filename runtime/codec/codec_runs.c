/* llama.cpp's cache types: runs of 32 elements along head_dim under one scale, or a scale and a minimum (*least*).
 *
 * Layout of a block (dim = head_dim, 64 slots): codes, then f16 scales, then f16 minima: (dim/32, 64) each for K, (64, dim/32)
 * for V. Codes of 8 bits are bytes: element (t, c) is number c*64 + t for K and t*dim + c for V. Of smaller ones the low four
 * bits come first, (dim * 32) bytes: for K, byte c*32 + j holds tokens j (low) and j + 32 (high); for V, byte j of a run holds
 * its elements j and j + 16. Then the fifth bits, (dim * 8) bytes: for K, bit t of 64-bit word c; for V, bit e of a row.
 * Rounding is that of ggml's reference quantisers, so codes and scales equal those of llama.cpp's cache types; but a scale
 * whose inverse is no float counts as 0, which it is anyhow in f16.
 */
#include "base/fp16.h"
#include "codec/codec.h"
#include "gguf/qtype.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { RUN = 32 }; /* elements per scale */

typedef struct kind {
    const char *name;
    unsigned bits;        /* A code has so many: 4, 5 or 8. */
    bool has_least;       /* Elements are counted from a minimum. */
    int8_t first;         /* Code 0 stands for this many scales, and the others count up from there, */
    const int8_t *levels; /* or each code stands for what this says. */
    void (*fit)(const float *x, uint8_t *code, float *scale, float *least); /* of one run; least comes in as 0 */
} kind;

/* ---- fitting a run ---- */

static float inverse(float d) {
    return fabsf(d) >= FLT_MIN ? 1 / d : 0;
}

/* The element of greatest magnitude; 0 where all are 0. */
static float top_of(const float *x) {
    float most = 0, top = 0;
    for (int i = 0; i < RUN; i++)
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            top = x[i];
        }
    return top;
}

/* Halves round away from zero, as roundf does: adding the largest float below 0.5 and cutting off gives just that for
 * |x| < 2^22, and vectorises. */
static void q8_0_fit(const float *x, uint8_t *code, float *scale, float *least) {
    (void)least;
    float most = 0;
    for (int i = 0; i < RUN; i++) {
        float a = fabsf(x[i]);
        most = a > most ? a : most;
    }
    *scale = most / 127;
    const float inv = inverse(*scale);
    for (int i = 0; i < RUN; i++) {
        float r = x[i] * inv;
        code[i] = (uint8_t)(int8_t)(int)(r + copysignf(0x1.fffffep-2f, r));
    }
}

/* The element of greatest magnitude becomes code 0 exactly (minus `half` scales). */
static void fit_signed(const float *x, int half, uint8_t *code, float *scale) {
    *scale = top_of(x) / (float)-half;
    const float inv = inverse(*scale);
    for (int i = 0; i < RUN; i++) {
        int c = (int)(x[i] * inv + ((float)half + 0.5f));
        code[i] = (uint8_t)(c >= 2 * half ? 2 * half - 1 : c);
    }
}

static void q4_0_fit(const float *x, uint8_t *code, float *scale, float *least) {
    (void)least;
    fit_signed(x, 8, code, scale);
}

static void q5_0_fit(const float *x, uint8_t *code, float *scale, float *least) {
    (void)least;
    fit_signed(x, 16, code, scale);
}

static void fit_between(const float *x, int most, uint8_t *code, float *scale, float *least) {
    float lo = x[0], hi = x[0];
    for (int i = 1; i < RUN; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    *least = lo;
    *scale = (hi - lo) / (float)most;
    const float inv = inverse(*scale);
    for (int i = 0; i < RUN; i++) {
        int c = (int)((x[i] - lo) * inv + 0.5f);
        code[i] = (uint8_t)(c > most ? most : c);
    }
}

static void q4_1_fit(const float *x, uint8_t *code, float *scale, float *least) {
    fit_between(x, 15, code, scale, least);
}

static void q5_1_fit(const float *x, uint8_t *code, float *scale, float *least) {
    fit_between(x, 31, code, scale, least);
}

/* Of two levels alike near, the upper one. */
static uint8_t nearest(const int8_t *levels, float x) {
    uint8_t at = 0;
    while (at < 15 && x - (float)levels[at] >= (float)levels[at + 1] - x)
        at++;
    return at;
}

/* The element of greatest magnitude is put on level 0, which gives the codes; the scale is then what loses least by squares
 * that are weighted with squares. */
static void iq4_nl_fit(const float *x, uint8_t *code, float *scale, float *least) {
    (void)least;
    const int8_t *levels = qt_iq4nl_values;
    const float inv = inverse(top_of(x) / (float)levels[0]);
    float xq = 0, qq = 0;
    for (int i = 0; i < RUN; i++) {
        code[i] = nearest(levels, x[i] * inv);
        const float q = levels[code[i]], w = x[i] * x[i];
        xq += w * q * x[i];
        qq += w * q * q;
    }
    *scale = qq >= FLT_MIN ? xq / qq : 0;
}

static const kind q8_0 = {.name = "q8_0", .bits = 8, .fit = q8_0_fit};
static const kind q4_0 = {.name = "q4_0", .bits = 4, .first = -8, .fit = q4_0_fit};
static const kind q4_1 = {.name = "q4_1", .bits = 4, .has_least = true, .fit = q4_1_fit};
static const kind q5_0 = {.name = "q5_0", .bits = 5, .first = -16, .fit = q5_0_fit};
static const kind q5_1 = {.name = "q5_1", .bits = 5, .has_least = true, .fit = q5_1_fit};
static const kind iq4_nl = {.name = "iq4_nl", .bits = 4, .levels = qt_iq4nl_values, .fit = iq4_nl_fit};

/* ---- blocks ---- */

static bool is_key(const kv_coder *c) {
    return c->side == KV_SIDE_K;
}

static void elements(kv_coder *c, size_t count, size_t size) {
    kv_coder_part(c, is_key(c) ? KV_PART_COLS : KV_PART_ROWS, count, size);
}

static kv_status init(kv_coder *c, const kind *as, kv_err *err) {
    if (c->dim % RUN)
        return kv_fail(err, KV_EINVAL, "codec %s wants a head_dim that is a multiple of %d, not %u; use f16", as->name, RUN,
                       c->dim);
    if (as->bits == 8)
        elements(c, c->dim, 1);
    else if (is_key(c))
        kv_coder_part(c, KV_PART_HALVES, c->dim, 1);
    else
        elements(c, c->dim / 2, 1);
    if (as->bits == 5 && is_key(c))
        kv_coder_part(c, KV_PART_PLANES, c->dim, 0);
    else if (as->bits == 5)
        elements(c, c->dim / 8, 1);
    elements(c, c->dim / RUN, sizeof(uint16_t));
    if (as->has_least)
        elements(c, c->dim / RUN, sizeof(uint16_t));
    c->bits = as->bits + (as->has_least ? 32.0 : 16.0) / RUN;
    return KV_OK;
}

/* Where the fifth bits, the scales and the minima begin. */
static size_t high_at(const kv_coder *c) {
    return (size_t)c->dim * KV_BLOCK / 2;
}

static size_t scales_at(const kv_coder *c, const kind *as) {
    return (size_t)c->dim * KV_BLOCK * as->bits / 8;
}

static size_t leasts_at(const kv_coder *c, const kind *as) {
    return scales_at(c, as) + (size_t)c->dim / RUN * KV_BLOCK * sizeof(uint16_t);
}

static void put_f16(const kv_coder *c, uint8_t *column, uint32_t slot, uint32_t run, float x) {
    const uint16_t h = fp16_from_fp32(x);
    const size_t i = is_key(c) ? (size_t)run * KV_BLOCK + slot : (size_t)slot * (c->dim / RUN) + run;
    memcpy(column + i * sizeof h, &h, sizeof h);
}

/* The f32 numbers of the first n slots, in the order they are stored. */
static void load_f16(const kv_coder *c, const rt_kernels *k, const uint8_t *column, uint32_t n, float *out) {
    k->f16_load((const uint16_t *)column, (size_t)c->dim / RUN * (is_key(c) ? KV_BLOCK : n), out);
}

static void put_bits(uint8_t *at, unsigned shift, unsigned mask, unsigned value) {
    *at = (uint8_t)((*at & ~(mask << shift)) | value << shift);
}

static void put(const kv_coder *c, const kind *as, uint8_t *block, uint32_t slot, uint32_t i, unsigned code) {
    if (as->bits == 8) {
        block[is_key(c) ? (size_t)i * KV_BLOCK + slot : (size_t)slot * c->dim + i] = (uint8_t)code;
        return;
    }
    if (is_key(c))
        put_bits(block + (size_t)i * 32 + slot % 32, slot / 32 * 4, 15, code & 15);
    else
        put_bits(block + (size_t)slot * c->dim / 2 + i / RUN * 16 + i % 16, i % RUN / 16 * 4, 15, code & 15);
    if (as->bits == 5) {
        const size_t bit = is_key(c) ? (size_t)i * KV_BLOCK + slot : (size_t)slot * c->dim + i;
        put_bits(block + high_at(c) + bit / 8, bit % 8, 1, code >> 4);
    }
}

static void encode(const kv_coder *c, const kind *as, uint8_t *block, uint32_t slot, uint32_t n, const float *x) {
    for (uint32_t t = slot; t < slot + n; t++)
        for (uint32_t i = 0; i < c->dim; i += RUN, x += RUN) {
            uint8_t code[RUN];
            float scale, least = 0;
            as->fit(x, code, &scale, &least);
            put_f16(c, block + scales_at(c, as), t, i / RUN, scale);
            if (as->has_least)
                put_f16(c, block + leasts_at(c, as), t, i / RUN, least);
            for (uint32_t j = 0; j < RUN; j++)
                put(c, as, block, t, i + j, code[j]);
        }
}

/* 0x10 in byte i where bit i is set. */
static uint64_t sixteens(uint8_t bits) {
    const uint64_t one_each = bits * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
    return (one_each + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 3 & UINT64_C(0x1010101010101010);
}

/* 2 * half codes of 4 or 5 bits, in bytes whose halves they share, as multiples of the scale. */
static void unpack(const kind *as, const uint8_t *low, const uint8_t *high, uint32_t half, int8_t *out) {
    for (uint32_t j = 0; j < half; j++) {
        out[j] = (int8_t)(low[j] & 15);
        out[half + j] = (int8_t)(low[j] >> 4);
    }
    for (uint32_t j = 0; as->bits == 5 && j < half / 4; j++) {
        uint64_t eight;
        memcpy(&eight, out + j * 8, 8);
        eight |= sixteens(high[j]);
        memcpy(out + j * 8, &eight, 8);
    }
    for (uint32_t j = 0; j < 2 * half; j++)
        out[j] = as->levels ? as->levels[out[j]] : (int8_t)(out[j] + as->first);
}

/* Add to every element the minimum of its run. */
static void add_least(const kv_coder *c, const float *least, uint32_t n, float *tile) {
    const uint32_t runs = c->dim / RUN;
    if (is_key(c))
        for (uint32_t i = 0; i < c->dim; i++)
            for (uint32_t t = 0; t < KV_BLOCK; t++)
                tile[i * KV_BLOCK + t] += least[i / RUN * KV_BLOCK + t];
    else
        for (uint32_t r = 0; r < n * runs; r++)
            for (uint32_t j = 0; j < RUN; j++)
                tile[r * RUN + j] += least[r];
}

static const float *decode(const kv_coder *c, const rt_kernels *k, const kind *as, const uint8_t *block, uint32_t n,
                           float *tile) {
    float d[PROF_MAX_DIM / RUN * KV_BLOCK];
    int8_t level[PROF_MAX_DIM * KV_BLOCK];
    const int8_t *q = as->bits == 8 ? (const int8_t *)block : level;
    const size_t runs = c->dim / RUN;
    const uint8_t *high = block + high_at(c);
    load_f16(c, k, block + scales_at(c, as), n, d);
    if (is_key(c)) {
        for (uint32_t i = 0; q == level && i < c->dim; i++)
            unpack(as, block + i * KV_BLOCK / 2, high + i * KV_BLOCK / 8, KV_BLOCK / 2, level + i * KV_BLOCK);
        for (size_t r = 0; r < runs; r++)
            k->q8_cols(q + r * RUN * KV_BLOCK, d + r * KV_BLOCK, RUN, tile + r * RUN * KV_BLOCK);
    } else {
        for (size_t r = 0; q == level && r < runs * n; r++)
            unpack(as, block + r * RUN / 2, high + r * RUN / 8, RUN / 2, level + r * RUN);
        k->q8_runs(q, d, runs * n, tile);
    }
    if (as->has_least) {
        load_f16(c, k, block + leasts_at(c, as), n, d);
        add_least(c, d, n, tile);
    }
    return tile;
}

/* q4_0 has kernels of its own. */
static const float *q4_0_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    float d[PROF_MAX_DIM / RUN * KV_BLOCK];
    const size_t runs = c->dim / RUN;
    load_f16(c, k, block + scales_at(c, &q4_0), n, d);
    if (is_key(c))
        for (size_t r = 0; r < runs; r++)
            k->q4_cols(block + r * RUN * 32, d + r * KV_BLOCK, RUN, tile + r * RUN * KV_BLOCK);
    else
        k->q4_runs(block, d, runs * n, tile);
    return tile;
}

#define CODEC(of, how)                                                                                                         \
    static kv_status of##_init(kv_coder *c, const prof_tc *tc, kv_err *err) {                                                  \
        (void)tc;                                                                                                              \
        return init(c, &of, err);                                                                                              \
    }                                                                                                                          \
    static void of##_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x, \
                            void *scratch) {                                                                                   \
        (void)k, (void)scratch;                                                                                                \
        encode(c, &of, block, slot, n, x);                                                                                     \
    }                                                                                                                          \
    const kv_codec kv_codec_##of = {.init = of##_init, .encode = of##_encode, .decode = how};
#define DECODED(of)                                                                                                            \
    static const float *of##_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {   \
        return decode(c, k, &of, block, n, tile);                                                                              \
    }                                                                                                                          \
    CODEC(of, of##_decode)

DECODED(q8_0)
CODEC(q4_0, q4_0_decode)
DECODED(q4_1)
DECODED(q5_0)
DECODED(q5_1)
DECODED(iq4_nl)
