/* Lossless repacking of quantised rows into tiles. Two steps for each scale record (a block of 32, or a superblock of 256) of a
 * row: take the file's block apart into plain codes and scales, then place these in the tile's planes and scale records.
 */
#include "mat/mat_pack.h"

#include <string.h>

/* A file block taken apart. */
typedef struct record {
    uint16_t half[2];   /* d, and m or dmin (f16 bits) */
    uint8_t sub[2][16]; /* K types: scales of the groups; minima (group 32 with minima) */
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

/* Formats are constants after inlining: each gets loops of its own. */
#define INLINE static inline __attribute__((always_inline))

INLINE void take(rt_fmt f, const uint8_t *src, record *r) {
    switch (f.id) {
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
    if (f.min)
        memcpy(rec + 32 + 2 * row, &r->half[1], 2);
    if (!f.super)
        return;
    uint8_t *sub = rec + (f.min ? 64 : 32) + row;
    for (int g = 0; g < 256 / f.group; g++, sub += rt_fmt_sub_bytes(f)) {
        sub[0] = r->sub[0][g];
        if (f.min && f.group == 32)
            sub[16] = r->sub[1][g];
    }
}

const rt_fmt *rt_fmt_of(qtype type) {
#define ROW(name, bits, group, super, min, offset) {RT_FMT_##name, bits, group, super, min, offset},
#define TYPE(name, ...)                            QT_##name,
    static const rt_fmt formats[] = {RT_MAT_FORMAT_TABLE(ROW)};
    static const qtype types[] = {RT_MAT_FORMAT_TABLE(TYPE)};
#undef ROW
#undef TYPE
    for (int i = 0; i < RT_FMT_COUNT; i++)
        if (types[i] == type)
            return &formats[i];
    return NULL;
}

size_t rt_tile_bytes(rt_fmt f, size_t cols) {
    size_t bytes = cols / 32 * rt_fmt_code_bytes(f) + cols / rt_fmt_block_cols(f) * rt_fmt_scale_bytes(f);
    return (bytes + 63) / 64 * 64;
}

/* Record by record, all rows of one before the next: what is being written stays in the first cache. */
INLINE void pack(rt_fmt f, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols, uint8_t *out) {
    const size_t n_rec = cols / rt_fmt_block_cols(f), per_rec = rt_fmt_block_cols(f) / 32, code_bytes = rt_fmt_code_bytes(f);
    const size_t src_bytes = row_bytes / n_rec;
    uint8_t *scales = out + cols / 32 * code_bytes;
    record r = {0};
    for (size_t i = 0; i < n_rec; i++, scales += rt_fmt_scale_bytes(f))
        for (size_t row = 0; row < n_rows; row++) {
            take(f, rows + row * row_bytes + i * src_bytes, &r);
            for (size_t b = 0; b < per_rec; b++)
                put_codes(f, r.code + 32 * b, row, out + (i * per_rec + b) * code_bytes);
            put_scales(f, &r, row, scales);
        }
}

void rt_tile_pack(rt_fmt f, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols, uint8_t *out) {
    const size_t bytes = rt_tile_bytes(f, cols);
    memset(n_rows < RT_TILE_ROWS ? out : out + bytes - 64, 0,
           n_rows < RT_TILE_ROWS ? bytes : 64); /* rows past the end, padding */
    switch (f.id) {
#define PACK(name, bits, group, super, min, offset)                                                                            \
    case RT_FMT_##name:                                                                                                        \
        pack((rt_fmt){RT_FMT_##name, bits, group, super, min, offset}, rows, row_bytes, n_rows, cols, out);                    \
        break;
        RT_MAT_FORMAT_TABLE(PACK)
#undef PACK
    default:
        break;
    }
}
