/* Packed weight matrices and quantised activations, as mat.c, mat_pack.c and the kernels share them.
 *
 * A matrix is cut into tiles of 16 rows. Inside a tile a 32-bit lane is a row, and the four bytes of a lane are four
 * consecutive columns (a "quad"): the operand of VPDPBUSD, whose other operand is a quad of activations, broadcast. So one
 * 64-byte vector is 16 rows x 4 columns, eight of them ("quads" 0..7) are a block of 32 columns, and sums over columns never
 * leave their lane.
 *
 *   tile:   codes of all blocks | scale records | padding to 64 bytes
 *   codes of a block, one plane after the other; byte i = 4*row + j stands for column 4*quad + j:
 *     4-bit plane  4 vectors: vector v holds quad v in its low nibbles and quad v+4 in its high ones
 *     2-bit plane  2 vectors: vector v holds quads 4v..4v+3 in its bits 0-1, 2-3, 4-5, 6-7
 *     1-bit plane  1 vector: bit k is quad k
 *     8-bit plane  8 vectors
 *     bits 2: "2"; 3: "2" then "1" (bit 2); 4: "4"; 5: "4" then "1" (bit 4); 6: "4" then "2" (bits 4-5); 8: "8"
 *   scale record, one per block of 32, or for superblock formats one per 256 columns:
 *     f16 d[16] (MXFP4: bf16), then f16 m[16] (dmin for superblocks) where the format has minima; or, where groups have 16
 *     columns and no scales below d, a second f16 d[16]; then with sub-scales
 *     group 32 with minima: per group u8 sc[16], u8 m[16];  group 16 with minima: per group u8[16], sc low nibble, m high;
 *     without minima: per group i8 sc[16]
 * Codes are unsigned: signed ones are stored plus `offset`. Where they are looked up, a code is the index of one of 16 values,
 * to which the kernel adds `offset`; the values are those of the matrix, whose type shares its format with others.
 * Rows past the end of the last tile are zeros.
 *
 * Order of sums, the same in every kernel. For row r and token t, acc starts at 0; for each block of 32 columns in order:
 *     f_g = the exact integer sum of (code - offset) * q over group g        (one group of 32, or two of 16)
 *     w_g = d, or unit * d * sc (with sub-scales; unit is 1 but for looked-up superblocks); each exact in f32
 *     o_g = m (minima of a block), -(dmin * m) (of a group); each exact
 *     s_g = (float) sum of q over group g
 *     u   = w_0 * f_0;  two groups: u = fma(w_1, f_1, u);  minima: u = fma(o_g, s_g, u) for each group
 *     acc = fma(u, d_activation, acc)
 * w_0 * f_0 is computed as fma(w_0, M + f_0, -M w_0), M = RT_MAT_MAGIC: integer sums that start at the bits of M are the floats
 * M + f as they stand, and since these and M w are exact (w has at most 20 significant bits), the result is the same, save that
 * the conversion is for free. (It differs for w of 2^104 and more, which MXFP4 could write: NaN.)
 */
#ifndef RT_MAT_FORMAT_H
#define RT_MAT_FORMAT_H

#include "gguf/qtype.h"
#include "kernels/kernels.h"

#define RT_MAT_MAGIC 0x1.8p23f

/* What sets a format apart. */
enum {
    RT_MIN = 1,    /* minima */
    RT_SUPER = 2,  /* a scale record for 256 columns */
    RT_SUB = 4,    /* with scales of its groups */
    RT_LOOKUP = 8, /* codes are looked up; the magnitude of values is at most `offset` */
    RT_BF16 = 16,  /* d is bf16 */
};

/* name, code bits, group, offset, traits. Most are called after the one type that they hold; which types share the last four
 * is in mat/mat_pack.c. */
#define RT_MAT_FORMAT_TABLE(X)                                                                                                 \
    X(Q4_0, 4, 32, 8, 0)                                                                                                       \
    X(Q4_1, 4, 32, 0, RT_MIN)                                                                                                  \
    X(Q5_0, 5, 32, 16, 0)                                                                                                      \
    X(Q5_1, 5, 32, 0, RT_MIN)                                                                                                  \
    X(Q8_0, 8, 32, 128, 0)                                                                                                     \
    X(IQ4_NL, 4, 32, 128, RT_LOOKUP)                                                                                           \
    X(MXFP4, 4, 32, 12, RT_LOOKUP | RT_BF16)                                                                                   \
    X(NVFP4, 4, 16, 12, RT_LOOKUP)                                                                                             \
    X(Q2_K, 2, 16, 0, RT_SUPER | RT_SUB | RT_MIN)                                                                              \
    X(Q3_K, 3, 16, 4, RT_SUPER | RT_SUB)                                                                                       \
    X(Q4_K, 4, 32, 0, RT_SUPER | RT_SUB | RT_MIN)                                                                              \
    X(Q5_K, 5, 32, 0, RT_SUPER | RT_SUB | RT_MIN)                                                                              \
    X(Q6_K, 6, 16, 32, RT_SUPER | RT_SUB)                                                                                      \
    X(IQ4_XS, 4, 32, 128, RT_SUPER | RT_SUB | RT_LOOKUP)                                                                       \
    X(IQ3, 4, 32, 62, RT_SUPER | RT_SUB | RT_LOOKUP)                                                                           \
    X(IQ2, 3, 16, 43, RT_SUPER | RT_SUB | RT_LOOKUP)                                                                           \
    X(IQ1, 3, 16, 9, RT_SUPER | RT_SUB | RT_LOOKUP)                                                                            \
    X(TERNARY, 2, 32, 1, RT_SUPER)

#define RT_FMT_ENUM(name, ...) RT_FMT_##name,
typedef enum rt_mat_fmt { RT_MAT_FORMAT_TABLE(RT_FMT_ENUM) RT_FMT_COUNT } rt_mat_fmt;
#undef RT_FMT_ENUM
_Static_assert((int)RT_FMT_COUNT == (int)RT_MAT_FORMATS, "kernels.h holds one function per format");

/* One row of the table. Kernels take it by value as a constant, so that each format gets code of its own. */
typedef struct rt_fmt {
    rt_mat_fmt id;
    int bits, group, offset;
    bool min, super, sub, lookup, bf16;
} rt_fmt;

/* Of a row of the table. */
#define RT_FMT(name, bits, group, offset, traits)                                                                              \
    {                                                                                                                          \
        RT_FMT_##name, bits, group, offset, ((traits)&RT_MIN) != 0, ((traits)&RT_SUPER) != 0, ((traits)&RT_SUB) != 0,          \
            ((traits)&RT_LOOKUP) != 0, ((traits)&RT_BF16) != 0                                                                 \
    }

static inline size_t rt_fmt_code_bytes(rt_fmt f) { /* of one block */
    return (size_t)f.bits * 64;
}

static inline size_t rt_fmt_block_cols(rt_fmt f) { /* columns of one scale record */
    return f.super ? 256 : 32;
}

static inline size_t rt_fmt_sub_bytes(rt_fmt f) { /* sub-scales of one group */
    return f.min && f.group == 32 ? 32 : 16;
}

static inline bool rt_fmt_two_d(rt_fmt f) { /* in a block, one for each group */
    return f.group == 16 && !f.sub;
}

static inline size_t rt_fmt_scale_bytes(rt_fmt f) { /* one scale record */
    size_t halves = f.min || rt_fmt_two_d(f) ? 64 : 32;
    return halves + (f.sub ? 256 / (size_t)f.group * rt_fmt_sub_bytes(f) : 0);
}

/* The largest code, as it is multiplied: with the offset. */
static inline int rt_fmt_most(rt_fmt f) {
    return f.lookup ? 2 * f.offset : (1 << f.bits) - 1;
}

/* A packed matrix as the kernels see it. */
typedef struct rt_mat_tiles {
    rt_fmt fmt;
    const uint8_t *data; /* (n_tiles, tile_bytes), 64-byte aligned */
    size_t rows, cols;
    size_t tile_bytes;
    const int8_t *values; /* 16, where codes are looked up */
    float unit;           /* of the scales of looked-up superblocks, a power of two */
} rt_mat_tiles;

static inline const uint8_t *rt_tile_codes(const rt_mat_tiles *m, size_t tile) {
    return m->data + tile * m->tile_bytes;
}

static inline const uint8_t *rt_tile_scales(const rt_mat_tiles *m, size_t tile, rt_fmt f) {
    return rt_tile_codes(m, tile) + m->cols / 32 * rt_fmt_code_bytes(f);
}

static inline size_t rt_tile_n_rows(const rt_mat_tiles *m, size_t tile) {
    size_t left = m->rows - tile * RT_TILE_ROWS;
    return left < RT_TILE_ROWS ? left : RT_TILE_ROWS;
}

/* Weights are read once and in order: what will be read RT_AHEAD bytes later is asked for. Into the second cache, which can
 * wait for many more lines at a time than the first; across page boundaries, where the hardware stops; and with the scales,
 * which lie between the codes of one tile and those of the next. */
enum { RT_AHEAD = 24 << 10 };
typedef struct rt_ahead {
    const uint8_t *line, *upto; /* all before is asked for, or will be with this block */
    size_t step;                /* bytes of a block of 32 columns, with its share of the scales */
} rt_ahead;

/* Beside the codes of a tile from its first block on. first: no tokens have passed it yet; later ones find it in the caches. */
static inline rt_ahead rt_ahead_from(rt_fmt f, const uint8_t *codes, bool first) {
    const size_t step = rt_fmt_code_bytes(f) + rt_fmt_scale_bytes(f) / (rt_fmt_block_cols(f) / 32);
    return (rt_ahead){codes + RT_AHEAD, codes + RT_AHEAD, first ? step : 0};
}

static inline void rt_ahead_go(rt_ahead *a) { /* with the next block */
    for (a->upto += a->step; a->line < a->upto; a->line += 64)
        __builtin_prefetch(a->line, 0, 2);
}

/* 32 quantised activations of one token: x[c] ~ d * q[c], |q| <= 127. Sums are of q, exact in f32.
 *
 * A batch lies in groups of 16 tokens (the last one may be shorter): group g, of n tokens, starts at block 16 * g * (cols/32),
 * and holds (cols/32, n) blocks. So the kernel reads the tokens of a group from one stream at constant offsets. */
typedef struct rt_act_block {
    float d;
    float sum;     /* over all 32 */
    float sum2[2]; /* over each half */
    int8_t q[32];
} rt_act_block;
_Static_assert(sizeof(rt_act_block) == 48, "layout");

#endif
