/* Lossless repacking of quantised rows into tiles. Two steps for each scale record (a block of 32, or a superblock of 256) of a
 * row: take the file's block apart into plain codes and scales, then place these in the tile's planes and scale records.
 */
#include "mat/mat_pack.h"

#include <string.h>

/* A file block taken apart. */
typedef struct record {
    uint16_t half[2];   /* d, and m or dmin (f16 bits) */
    uint8_t sub[2][16]; /* superblocks: scales of the groups; minima (group 32 with minima) */
    uint8_t code[256];
} record;

#define LOAD(type, name, src)                                                                                                  \
    type name;                                                                                                                 \
    memcpy(&name, src, sizeof name)

/* Byte i of n holds code i in its low nibble and code i + n in its high one. */
static void split_nibbles(const uint8_t *qs, int n, uint8_t *code) {
    for (int i = 0; i < n; i++) {
        code[i] = qs[i] & 15;
        code[i + n] = qs[i] >> 4;
    }
}

/* Legacy types: f16 d, f16 m where there are minima, four bytes of fifth bits where the codes have five, nibbles. */
static void take_legacy(rt_fmt f, const uint8_t *src, record *r) {
    memcpy(r->half, src, f.min ? 4 : 2);
    src += f.min ? 4 : 2;
    if (f.bits == 8) {
        for (int i = 0; i < 32; i++)
            r->code[i] = (uint8_t)(src[i] ^ 0x80); /* q + 128 */
        return;
    }
    split_nibbles(src + (f.bits == 5 ? 4 : 0), 16, r->code);
    if (f.bits == 5) {
        LOAD(uint32_t, high, src);
        for (int k = 0; k < 8; k++) { /* four bits to a byte each: the products' bits do not meet */
            LOAD(uint32_t, quad, r->code + 4 * k);
            quad |= ((high >> 4 * k & 15) * 0x00204081u & 0x01010101u) << 4;
            memcpy(r->code + 4 * k, &quad, sizeof quad);
        }
    }
}

static void take_q2_k(const uint8_t *src, record *r) {
    LOAD(qt_q2_k, b, src);
    r->half[0] = b.d;
    r->half[1] = b.dmin;
    memcpy(r->sub[0], b.scales, 16);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            r->code[32 * g + i] = b.qs[g / 4 * 32 + i] >> g % 4 * 2 & 3;
}

static void take_q3_k(const uint8_t *src, record *r) {
    LOAD(qt_q3_k, b, src);
    r->half[0] = b.d;
    for (int g = 0; g < 16; g++)
        r->sub[0][g] = (uint8_t)qt_q3_k_scale(b.scales, g);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            r->code[32 * g + i] = (uint8_t)((b.qs[g / 4 * 32 + i] >> g % 4 * 2 & 3) | (b.hmask[i] >> g & 1) << 2);
}

/* Scales and minima of Q4_K and Q5_K, six bits each. */
static void take_scale_min(const uint8_t s[12], record *r) {
    for (int g = 0; g < 8; g++) {
        int scale, min;
        qt_k_scale_min(s, g, &scale, &min);
        r->sub[0][g] = (uint8_t)scale;
        r->sub[1][g] = (uint8_t)min;
    }
}

static void take_q4_k(const uint8_t *src, record *r) {
    LOAD(qt_q4_k, b, src);
    r->half[0] = b.d;
    r->half[1] = b.dmin;
    take_scale_min(b.scales, r);
    for (int g = 0; g < 4; g++)
        split_nibbles(b.qs + 32 * g, 32, r->code + 64 * g);
}

static void take_q5_k(const uint8_t *src, record *r) {
    LOAD(qt_q5_k, b, src);
    r->half[0] = b.d;
    r->half[1] = b.dmin;
    take_scale_min(b.scales, r);
    for (int g = 0; g < 4; g++)
        split_nibbles(b.qs + 32 * g, 32, r->code + 64 * g);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            r->code[32 * g + i] |= (uint8_t)((b.qh[i] >> g & 1) << 4);
}

static void take_q6_k(const uint8_t *src, record *r) {
    LOAD(qt_q6_k, b, src);
    r->half[0] = b.d;
    memcpy(r->sub[0], b.scales, 16);
    for (int h = 0; h < 2; h++)
        split_nibbles(b.ql + 64 * h, 64, r->code + 128 * h);
    for (int g = 0; g < 8; g++)
        for (int i = 0; i < 32; i++)
            r->code[32 * g + i] |= (uint8_t)((b.qh[g / 4 * 32 + i] >> g % 4 * 2 & 3) << 4);
}

static void take_mxfp4(const uint8_t *src, record *r) {
    LOAD(qt_mxfp4, b, src);
    r->half[0] = qt_e8m0_bf16(b.e);
    split_nibbles(b.qs, 16, r->code);
}

/* Half `i` of a block of 64: two groups. */
static void take_nvfp4(const uint8_t *src, size_t i, record *r) {
    LOAD(qt_nvfp4, b, src);
    for (size_t g = 0; g < 2; g++) {
        r->half[g] = qt_ue4m3_f16(b.d[2 * i + g]);
        split_nibbles(b.qs + 8 * (2 * i + g), 8, r->code + 16 * g);
    }
}

/* Types that gguf/qtype_iq.c takes apart. */
static void take_coded(rt_fmt f, qtype type, const uint8_t *src, record *r) {
    qt_coded b;
    qt_codes_of(type)->take(src, &b);
    r->half[0] = b.d;
    for (int g = 0; g < 256 / f.group; g++)
        r->sub[0][g] = (uint8_t)b.scale[g * f.group / 16];
    memcpy(r->code, b.code, sizeof r->code);
}

/* Formats are constants after inlining: each gets loops of its own. */
#define INLINE static inline __attribute__((always_inline))

/* Record i of a row, whose file blocks are src_bytes long. */
INLINE void take(rt_fmt f, qtype type, const uint8_t *row, size_t i, size_t src_bytes, record *r) {
    const uint8_t *src = row + i * src_bytes;
    switch (f.id) {
    case RT_FMT_MXFP4:
        take_mxfp4(src, r);
        break;
    case RT_FMT_NVFP4:
        take_nvfp4(row + i / 2 * sizeof(qt_nvfp4), i % 2, r);
        break;
    case RT_FMT_IQ4_XS:
    case RT_FMT_IQ3:
    case RT_FMT_IQ2:
    case RT_FMT_IQ1:
    case RT_FMT_TERNARY:
        take_coded(f, type, src, r);
        break;
    case RT_FMT_Q2_K:
        take_q2_k(src, r);
        break;
    case RT_FMT_Q3_K:
        take_q3_k(src, r);
        break;
    case RT_FMT_Q4_K:
        take_q4_k(src, r);
        break;
    case RT_FMT_Q5_K:
        take_q5_k(src, r);
        break;
    case RT_FMT_Q6_K:
        take_q6_k(src, r);
        break;
    default:
        take_legacy(f, src, r);
    }
}

/* A quad: four codes, the bytes of a lane. q: the eight quads of a block. Each plane gathers from quads `step` apart, `per` of
 * them to a vector, a field of 8 / per bits, which begins at bit `low` of the code. lane: the row's in the plane's first
 * vector. */
INLINE void put_plane(const uint32_t q[8], int per, int step, int low, uint8_t *lane) {
    const int width = 8 / per;
    const uint32_t mask = 0x01010101u * ((1u << width) - 1);
    for (int v = 0; v < 8 / per; v++) {
        uint32_t codes = 0;
        for (int i = 0; i < per; i++)
            codes |= (q[step == 1 ? v * per + i : v + step * i] >> low & mask) << width * i;
        memcpy(lane + v * 64, &codes, sizeof codes);
    }
}

/* Place the 32 codes of one row in a block's planes (mat/format.h). */
INLINE void put_codes(rt_fmt f, const uint8_t *code, size_t row, uint8_t *block) {
    uint8_t *lane = block + 4 * row;
    uint32_t q[8];
    memcpy(q, code, sizeof q);
    if (f.bits == 8)
        for (int k = 0; k < 8; k++)
            memcpy(lane + k * 64, &q[k], sizeof q[k]);
    else if (f.bits >= 4)
        put_plane(q, 2, 4, 0, lane);
    else
        put_plane(q, 4, 1, 0, lane);
    if (f.bits == 3)
        put_plane(q, 8, 1, 2, lane + 128);
    if (f.bits == 5)
        put_plane(q, 8, 1, 4, lane + 256);
    if (f.bits == 6)
        put_plane(q, 4, 1, 4, lane + 256);
}

INLINE void put_scales(rt_fmt f, const record *r, size_t row, uint8_t *rec) {
    memcpy(rec + 2 * row, &r->half[0], 2);
    if (f.min || rt_fmt_two_d(f))
        memcpy(rec + 32 + 2 * row, &r->half[1], 2);
    if (!f.sub)
        return;
    uint8_t *sub = rec + (f.min ? 64 : 32) + row;
    for (int g = 0; g < 256 / f.group; g++, sub += rt_fmt_sub_bytes(f)) {
        sub[0] = r->sub[0][g];
        if (f.min && f.group == 32)
            sub[16] = r->sub[1][g];
    }
}

#define ROW(...) RT_FMT(__VA_ARGS__),
static const rt_fmt formats[] = {RT_MAT_FORMAT_TABLE(ROW)};
#undef ROW

/* What is packed to what, and the values of types that are looked up but not described by qt_codes_of. */
static const struct {
    qtype type;
    rt_mat_fmt fmt;
    const int8_t *values;
} types[] = {
    {QT_Q4_0, RT_FMT_Q4_0, NULL},
    {QT_Q4_1, RT_FMT_Q4_1, NULL},
    {QT_Q5_0, RT_FMT_Q5_0, NULL},
    {QT_Q5_1, RT_FMT_Q5_1, NULL},
    {QT_Q8_0, RT_FMT_Q8_0, NULL},
    {QT_Q2_K, RT_FMT_Q2_K, NULL},
    {QT_Q3_K, RT_FMT_Q3_K, NULL},
    {QT_Q4_K, RT_FMT_Q4_K, NULL},
    {QT_Q5_K, RT_FMT_Q5_K, NULL},
    {QT_Q6_K, RT_FMT_Q6_K, NULL},
    {QT_IQ4_NL, RT_FMT_IQ4_NL, qt_iq4nl_values},
    {QT_MXFP4, RT_FMT_MXFP4, qt_fp4_values},
    {QT_NVFP4, RT_FMT_NVFP4, qt_fp4_values},
    {QT_IQ4_XS, RT_FMT_IQ4_XS, NULL},
    {QT_IQ3_S, RT_FMT_IQ3, NULL},
    {QT_IQ3_XXS, RT_FMT_IQ3, NULL},
    {QT_IQ2_S, RT_FMT_IQ2, NULL},
    {QT_IQ2_XS, RT_FMT_IQ2, NULL},
    {QT_IQ2_XXS, RT_FMT_IQ2, NULL},
    {QT_IQ1_M, RT_FMT_IQ1, NULL},
    {QT_IQ1_S, RT_FMT_IQ1, NULL},
    {QT_TQ1_0, RT_FMT_TERNARY, NULL},
    {QT_TQ2_0, RT_FMT_TERNARY, NULL},
};
enum { N_TYPES = sizeof types / sizeof *types };

const rt_fmt *rt_fmt_of(qtype type) {
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].type == type)
            return &formats[types[i].fmt];
    return NULL;
}

rt_mat_tiles rt_tiles_of(qtype type, size_t rows, size_t cols) {
    const rt_fmt f = *rt_fmt_of(type);
    const qt_codes *c = qt_codes_of(type);
    rt_mat_tiles m = {.fmt = f, .rows = rows, .cols = cols, .tile_bytes = rt_tile_bytes(f, cols), .unit = c ? c->unit : 1};
    m.values = c ? c->values : NULL;
    for (int i = 0; i < N_TYPES && !c; i++)
        if (types[i].type == type)
            m.values = types[i].values;
    return m;
}

size_t rt_tile_bytes(rt_fmt f, size_t cols) {
    size_t bytes = cols / 32 * rt_fmt_code_bytes(f) + cols / rt_fmt_block_cols(f) * rt_fmt_scale_bytes(f);
    return (bytes + 63) / 64 * 64;
}

size_t rt_tile_most_bytes(size_t cols) {
    size_t most = 0;
    for (int i = 0; i < RT_FMT_COUNT; i++)
        if (rt_tile_bytes(formats[i], cols) > most)
            most = rt_tile_bytes(formats[i], cols);
    return most;
}

/* Record by record, all rows of one before the next: what is being written stays in the first cache. */
INLINE void pack(rt_fmt f, qtype type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols, uint8_t *out) {
    const size_t n_rec = cols / rt_fmt_block_cols(f), per_rec = rt_fmt_block_cols(f) / 32, code_bytes = rt_fmt_code_bytes(f);
    const size_t src_bytes = row_bytes / n_rec;
    uint8_t *scales = out + cols / 32 * code_bytes;
    record r = {0};
    for (size_t i = 0; i < n_rec; i++, scales += rt_fmt_scale_bytes(f))
        for (size_t row = 0; row < n_rows; row++) {
            take(f, type, rows + row * row_bytes, i, src_bytes, &r);
            for (size_t b = 0; b < per_rec; b++)
                put_codes(f, r.code + 32 * b, row, out + (i * per_rec + b) * code_bytes);
            put_scales(f, &r, row, scales);
        }
}

void rt_tile_pack(qtype type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols, uint8_t *out) {
    const rt_fmt f = *rt_fmt_of(type);
    const size_t bytes = rt_tile_bytes(f, cols);
    memset(n_rows < RT_TILE_ROWS ? out : out + bytes - 64, 0,
           n_rows < RT_TILE_ROWS ? bytes : 64); /* rows past the end, padding */
    switch (f.id) {
#define PACK(name, ...)                                                                                                        \
    case RT_FMT_##name:                                                                                                        \
        pack((rt_fmt)RT_FMT(name, __VA_ARGS__), type, rows, row_bytes, n_rows, cols, out);                                     \
        break;
        RT_MAT_FORMAT_TABLE(PACK)
#undef PACK
    default:
        break;
    }
}
