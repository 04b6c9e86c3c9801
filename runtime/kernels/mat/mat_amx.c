/* int8 products of many tokens with AMX. Layouts and the order of sums: mat/format.h.
 *
 * TDPBSSD multiplies 16 tokens x 32 columns with a block of 32 columns x 16 rows, which lies in memory just as a packed tile
 * does once its codes are bytes. What costs is the rest: a block's 256 sums must leave the tile registers and be scaled, since
 * every block has scales of its own. So
 *   - four sums are made side by side, of four tiles of rows, or of two where a block has two groups of 16 columns;
 *   - a chunk of 128 columns of these tiles is unpacked to bytes and floats once, and meets all tokens; accumulators wait in y;
 *   - sums start at the bits of RT_MAT_MAGIC, hence come out as floats;
 *   - all sums of a chunk are made, then scaled: while tiles are multiplied, the second FMA port of a core stands still, so
 * that turns of either kind are faster than a mixture. Tokens past the last full group of 16 go the way of mat_avx512.h.
 */
#include "kernels/amx.h"
#include "kernels/mat/mat_avx512.h"

enum {
    CHUNK = 4,                                /* blocks at a time; divides a superblock */
    ABREAST_SUMS = 4,                         /* sums of a block: tiles x groups */
    SUM_FLOATS = RT_TOK_GROUP * RT_TILE_ROWS, /* of one sum: (token, row) */
};

/* A block of 16 rows, unpacked. */
typedef struct wide {
    __m512i quads[8]; /* code - offset, (quad, row, 4) */
    scales g[2];
} wide;

/* Tile registers: 0-3 sums, 4-5 tokens (one for each group of columns), 6-7 rows. */
static void configure(rt_fmt f) {
    const uint16_t group = (uint16_t)f.group, bytes[8] = {64, 64, 64, 64, group, group, 64, 64};
    const uint8_t quads = (uint8_t)(f.group / 4), rows[8] = {16, 16, 16, 16, 16, 16, quads, quads};
    amx_shape(rows, bytes);
}

/* Blocks first .. first+blocks-1 of a tile; they share a scale record if any two of them do. */
INLINE void unpack(rt_fmt f, const rt_mat_tiles *m, size_t tile, size_t first, size_t blocks, wide *out) {
    const size_t per_rec = rt_fmt_block_cols(f) / 32;
    const __m512i values = load_values(f, m);
    const uint8_t *codes = rt_tile_codes(m, tile) + first * rt_fmt_code_bytes(f);
    const uint8_t *rec = rt_tile_scales(m, tile, f) + first / per_rec * rt_fmt_scale_bytes(f);
    for (size_t b = first % per_rec; blocks > 0; b++, blocks--, out++, codes += rt_fmt_code_bytes(f)) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            out->quads[k] = _mm512_sub_epi8(load_quad(f, values, codes, k), _mm512_set1_epi8((char)f.offset));
        block_scales(f, m, rec, f.super ? b : 0, out->g);
        rec += f.super ? 0 : rt_fmt_scale_bytes(f);
    }
}

/* Sum c of a block from tile registers a and b; the one before goes to memory now, so that nothing waits for a product. */
#define SUM(c, a, b, quads, before)                                                                                            \
    do {                                                                                                                       \
        if (before)                                                                                                            \
            _tile_stored(c, before, 64);                                                                                       \
        _tile_loadd(c, magic, 0);                                                                                              \
        _tile_loadd(b, quads, 64);                                                                                             \
        _tile_dpbssd(c, a, b);                                                                                                 \
    } while (0)

/* Sums of 16 tokens and n <= ABREAST_SUMS groups in each of some blocks: (blocks, ABREAST_SUMS, token, row). */
INLINE void multiply(rt_fmt f, const wide (*w)[CHUNK], int n, const rt_act_block *x, size_t blocks, float *sums) {
    static const _Alignas(64) float magic[16] = {
        RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC,
        RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC, RT_MAT_MAGIC};
    float *out[ABREAST_SUMS] = {0};
    for (size_t b = 0; b < blocks; b++, x += RT_TOK_GROUP) {
        _tile_loadd(4, x->q, sizeof *x);
        if (f.group == 16) {
            _tile_loadd(5, x->q + 16, sizeof *x);
            SUM(0, 4, 6, w[0][b].quads, out[0]);
            SUM(1, 5, 7, w[0][b].quads + 4, out[1]);
            if (n > 2) {
                SUM(2, 4, 6, w[1][b].quads, out[2]);
                SUM(3, 5, 7, w[1][b].quads + 4, out[3]);
            }
        } else {
            SUM(0, 4, 6, w[0][b].quads, out[0]);
            if (n > 1)
                SUM(1, 4, 7, w[1][b].quads, out[1]);
            if (n > 2)
                SUM(2, 4, 6, w[2][b].quads, out[2]);
            if (n > 3)
                SUM(3, 4, 7, w[3][b].quads, out[3]);
        }
        for (int i = 0; i < ABREAST_SUMS; i++, sums += SUM_FLOATS)
            out[i] = sums;
    }
    _tile_stored(0, out[0], 64);
    if (n > 1)
        _tile_stored(1, out[1], 64);
    if (n > 2)
        _tile_stored(2, out[2], 64);
    if (n > 3)
        _tile_stored(3, out[3], 64);
}

/* Scale the sums of 16 rows and add them up in y. */
INLINE void accumulate(rt_fmt f, const wide *w, const rt_act_block *x, size_t blocks, const float *sums, float *y, size_t ldy,
                       __mmask16 rows, bool first) {
    const bool two = f.group == 16;
    __m512 acc[RT_TOK_GROUP];
#pragma GCC unroll 16
    for (int t = 0; t < RT_TOK_GROUP; t++)
        acc[t] = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows, y + (size_t)t * ldy);
    for (size_t b = 0; b < blocks; b++, x += RT_TOK_GROUP, sums += ABREAST_SUMS * SUM_FLOATS) {
        const scales g0 = w[b].g[0], g1 = w[b].g[1];
#pragma GCC unroll 16
        for (int t = 0; t < RT_TOK_GROUP; t++) {
            const float *f0 = sums + t * RT_TILE_ROWS, *f1 = f0 + SUM_FLOATS;
            __m512 u = _mm512_fmadd_ps(g0.w, _mm512_load_ps(f0), g0.c);
            if (two)
                u = _mm512_fmadd_ps(g1.w, _mm512_sub_ps(_mm512_load_ps(f1), _mm512_set1_ps(RT_MAT_MAGIC)), u);
            if (f.min)
                u = _mm512_fmadd_ps(g0.o, _mm512_set1_ps(two ? x[t].sum2[0] : x[t].sum), u);
            if (f.min && two)
                u = _mm512_fmadd_ps(g1.o, _mm512_set1_ps(x[t].sum2[1]), u);
            acc[t] = _mm512_fmadd_ps(u, _mm512_set1_ps(x[t].d), acc[t]);
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < RT_TOK_GROUP; t++)
        _mm512_mask_storeu_ps(y + (size_t)t * ldy, rows, acc[t]);
}

/* Full groups of tokens and as many tiles as make ABREAST_SUMS sums. */
INLINE void tiles_toks(rt_fmt f, const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok,
                       float *y, size_t ldy) {
    enum { TILES = ABREAST_SUMS };
    const size_t n_blocks = m->cols / 32, groups = 32 / (size_t)f.group;
    _Alignas(64) float sums[CHUNK * ABREAST_SUMS * SUM_FLOATS];
    wide w[TILES][CHUNK];
    for (size_t c = 0; c < n_blocks; c += CHUNK) {
        const size_t blocks = n_blocks - c < CHUNK ? n_blocks - c : CHUNK;
        for (size_t i = 0; i < n_tiles; i++)
            unpack(f, m, tile + i, c, blocks, w[i]);
        __asm__ volatile("" ::: "memory"); /* gcc's _tile_loadd does not say that it reads memory */
        for (size_t t = 0; t < n_tok; t += RT_TOK_GROUP) {
            const rt_act_block *xc = x + t * n_blocks + c * RT_TOK_GROUP;
            multiply(f, (const wide(*)[CHUNK])w, (int)(n_tiles * groups), xc, blocks, sums);
            for (size_t i = 0; i < n_tiles; i++)
                accumulate(f, w[i], xc, blocks, sums + i * groups * SUM_FLOATS, y + t * ldy + i * RT_TILE_ROWS, ldy,
                           (__mmask16)((1u << rt_tile_n_rows(m, tile + i)) - 1), c == 0);
        }
    }
}

INLINE void mat_amx(rt_fmt f, const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok, float *y,
                    size_t ldy) {
    const size_t full = n_tok / RT_TOK_GROUP * RT_TOK_GROUP, step = ABREAST_SUMS * (size_t)f.group / 32;
    if (full > 0) {
        configure(f);
        for (size_t i = 0; i < n_tiles; i += step)
            tiles_toks(f, m, tile + i, n_tiles - i < step ? n_tiles - i : step, x, full, y + i * RT_TILE_ROWS, ldy);
        _tile_release();
    }
    mat_i8(f, m, tile, n_tiles, x + full * (m->cols / 32), n_tok - full, y + full * ldy, ldy);
}

#define MAT_AMX(name, ...)                                                                                                     \
    static void amx_##name(const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok, float *y,  \
                           size_t ldy) {                                                                                       \
        mat_amx((rt_fmt)RT_FMT(name, __VA_ARGS__), m, tile, n_tiles, x, n_tok, y, ldy);                                        \
    }
RT_MAT_FORMAT_TABLE(MAT_AMX)
#undef MAT_AMX

void rt_mat_amx(rt_kernels *k) {
#define ENTRY(name, ...) k->mat_i8[RT_FMT_##name] = amx_##name;
    RT_MAT_FORMAT_TABLE(ENTRY)
#undef ENTRY
}
