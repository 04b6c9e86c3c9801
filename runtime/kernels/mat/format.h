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
 *   scale record, one per block of 32, or for K types one per superblock of 256 columns:
 *     f16 d[16], then f16 m[16] (dmin for K types) where the type has minima; then for K types
 *     group 32 with minima: per group u8 sc[16], u8 m[16];  group 16 with minima: per group u8[16], sc low nibble, m high;
 *     group 16 without: per group i8 sc[16]
 * Codes are unsigned: signed ones are stored plus `offset` (IQ4_NL: its table values plus 128, looked up by the kernel).
 * Rows past the end of the last tile are zeros.
 *
 * Order of sums, the same in every kernel. For row r and token t, acc starts at 0; for each block of 32 columns in order:
 *     f_g = the exact integer sum of (code - offset) * q over group g        (one group of 32, or two of 16)
 *     w_g = d (legacy), d * sc (K types; exact in f32)
 *     o_g = m (legacy minima), -(dmin * m) (K minima); each exact
 *     s_g = (float) sum of q over group g
 *     u   = w_0 * f_0;  two groups: u = fma(w_1, f_1, u);  minima: u = fma(o_g, s_g, u) for each group
 *     acc = fma(u, d_activation, acc)
 * w_0 * f_0 is computed as fma(w_0, M + f_0, -M w_0), M = RT_MAT_MAGIC: integer sums that start at the bits of M are the floats
 * M + f as they stand, and since these and M w are exact (w has at most 20 significant bits), the result is the same, save that
 * the conversion is for free. (It differs for infinite w alone: NaN.)
 */
#ifndef RT_MAT_FORMAT_H
#define RT_MAT_FORMAT_H

#include "gguf/qtype.h"
#include "kernels/kernels.h"

#define RT_MAT_MAGIC 0x1.8p23f

/* name, code bits, group, superblock, minima, offset */
#define RT_MAT_FORMAT_TABLE(X)                                                                                                 \
    X(Q4_0, 4, 32, false, false, 8)                                                                                            \
    X(Q4_1, 4, 32, false, true, 0)                                                                                             \
    X(Q5_0, 5, 32, false, false, 16)                                                                                           \
    X(Q5_1, 5, 32, false, true, 0)                                                                                             \
    X(Q8_0, 8, 32, false, false, 128)                                                                                          \
    X(IQ4_NL, 4, 32, false, false, 128)                                                                                        \
    X(Q2_K, 2, 16, true, true, 0)                                                                                              \
    X(Q3_K, 3, 16, true, false, 4)                                                                                             \
    X(Q4_K, 4, 32, true, true, 0)                                                                                              \
    X(Q5_K, 5, 32, true, true, 0)                                                                                              \
    X(Q6_K, 6, 16, true, false, 32)

#define RT_FMT_ENUM(name, ...) RT_FMT_##name,
typedef enum rt_mat_fmt { RT_MAT_FORMAT_TABLE(RT_FMT_ENUM) RT_FMT_COUNT } rt_mat_fmt;
#undef RT_FMT_ENUM
_Static_assert((int)RT_FMT_COUNT == (int)RT_MAT_FORMATS, "kernels.h holds one function per format");

/* One row of the table. Kernels take it by value as a constant, so that each format gets code of its own. */
typedef struct rt_fmt {
    rt_mat_fmt id;
    int bits, group;
    bool super, min;
    int offset;
} rt_fmt;

static inline size_t rt_fmt_code_bytes(rt_fmt f) { /* of one block */
    return (size_t)f.bits * 64;
}

static inline size_t rt_fmt_block_cols(rt_fmt f) { /* columns of one scale record */
    return f.super ? 256 : 32;
}

static inline size_t rt_fmt_sub_bytes(rt_fmt f) { /* sub-scales of one group */
    return f.min && f.group == 32 ? 32 : 16;
}

static inline size_t rt_fmt_scale_bytes(rt_fmt f) { /* one scale record */
    size_t halves = f.min ? 64 : 32;
    return halves + (f.super ? 256 / (size_t)f.group * rt_fmt_sub_bytes(f) : 0);
}

/* A packed matrix as the kernels see it. */
typedef struct rt_mat_tiles {
    rt_fmt fmt;
    const uint8_t *data; /* (n_tiles, tile_bytes), 64-byte aligned */
    size_t rows, cols;
    size_t tile_bytes;
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
