/* int8 products of AVX-512, with VNNI where the including file is compiled with it. Layouts and the order of sums:
 * mat/format.h.
 *
 * A block of 16 rows x 32 columns is decoded into eight registers and multiplied with up to 16 tokens, whose accumulators stay
 * in registers from the first column to the last. Every activation quad is a broadcast memory operand.
 *
 * Without VNNI, VPMADDUBSW adds pairs of products in 16 bits: codes of up to 6 bits can add several quads there before they
 * must be widened, as many as stay below 2^15. Full bytes would saturate; they are multiplied as |code - 128| times q with the
 * sign moved over, which stays below 2 * 128 * 127. All of it is exact.
 */
#ifndef RT_MAT_AVX512_H
#define RT_MAT_AVX512_H

#include "kernels/mat/format.h"

#include <immintrin.h>
#include <string.h>

/* Formats and token counts are constants after inlining: one loop nest for each. */
#define INLINE static inline __attribute__((always_inline))

enum {
    ABREAST = 4, /* tokens whose sums run side by side */
};

/* Shift the bytes' fields left (right where n < 0) and keep those under the mask: n and mask are such that no bit crosses. */
INLINE __m512i field(__m512i v, int n, int mask) {
    __m512i shifted = n > 0 ? _mm512_slli_epi16(v, (unsigned)n) : n < 0 ? _mm512_srli_epi16(v, (unsigned)-n) : v;
    return _mm512_and_si512(shifted, _mm512_set1_epi8((char)mask));
}

INLINE __m512i low_codes(rt_fmt f, const uint8_t *p, int k) {
    if (f.bits == 8)
        return _mm512_loadu_si512(p + k * 64);
    if (f.bits < 4)
        return field(_mm512_loadu_si512(p + k / 4 * 64), -(k % 4 * 2), 3);
    return field(_mm512_loadu_si512(p + k % 4 * 64), -(k / 4 * 4), 15);
}

/* What codes are looked up in, if they are; four times. */
INLINE __m512i load_values(rt_fmt f, const rt_mat_tiles *m) {
    if (!f.lookup)
        return _mm512_setzero_si512();
    const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)m->values));
    return _mm512_add_epi8(values, _mm512_set1_epi8((char)f.offset));
}

/* Quad k of a block: (row, 4) codes. */
INLINE __m512i load_quad(rt_fmt f, __m512i values, const uint8_t *p, int k) {
    __m512i c = low_codes(f, p, k);
    if (f.bits == 3)
        c = _mm512_or_si512(c, field(_mm512_loadu_si512(p + 128), 2 - k, 1 << 2));
    if (f.bits == 5)
        c = _mm512_or_si512(c, field(_mm512_loadu_si512(p + 256), 4 - k, 1 << 4));
    if (f.bits == 6)
        c = _mm512_or_si512(c, field(_mm512_loadu_si512(p + 256 + k / 4 * 64), 4 - k % 4 * 2, 3 << 4));
    return f.lookup ? _mm512_shuffle_epi8(values, c) : c;
}

INLINE __m512 load_half(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* d of 16 rows, in a format's own precision. */
INLINE __m512 load_d(rt_fmt f, const rt_mat_tiles *m, const uint8_t *p) {
    if (f.bf16)
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
    return f.lookup && f.sub ? _mm512_mul_ps(load_half(p), _mm512_set1_ps(m->unit)) : load_half(p);
}

/* Of the 16 rows in one group of columns: w and o as in mat/format.h, c = -M w. */
typedef struct scales {
    __m512 w, o, c;
} scales;

/* Group g of a record whose halves are d and m. */
INLINE scales load_scales(rt_fmt f, const uint8_t *rec, size_t g, __m512 d, __m512 m) {
    const uint8_t *sub = rec + (f.min ? 64 : 32) + g * rt_fmt_sub_bytes(f);
    scales s = {d, m, m};
    if (f.sub && !f.min) {
        s.w = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)sub))));
    } else if (f.sub) {
        __m512i sc = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)sub)), mi;
        if (f.group == 16) {
            mi = _mm512_srli_epi32(sc, 4);
            sc = _mm512_and_si512(sc, _mm512_set1_epi32(15));
        } else {
            mi = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(sub + 16)));
        }
        s.w = _mm512_mul_ps(d, _mm512_cvtepi32_ps(sc));
        s.o = _mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), m), _mm512_cvtepi32_ps(mi));
    }
    s.c = _mm512_mul_ps(s.w, _mm512_set1_ps(-RT_MAT_MAGIC));
    return s;
}

/* Of block b of those that share the scale record rec. */
INLINE void block_scales(rt_fmt f, const rt_mat_tiles *m, const uint8_t *rec, size_t b, scales *g) {
    const size_t groups = 32 / (size_t)f.group;
    const __m512 d = load_d(f, m, rec), min = f.min ? load_half(rec + 32) : d;
    g[0] = load_scales(f, rec, groups * b, d, min);
    if (groups == 2)
        g[1] = load_scales(f, rec, 2 * b + 1, rt_fmt_two_d(f) ? load_half(rec + 32) : d, min);
}

INLINE __m512i broadcast_quad(const int8_t *q) {
    int four;
    memcpy(&four, q, sizeof four);
    return _mm512_set1_epi32(four);
}

#ifdef __AVX512VNNI__

enum { DOT_OFFSET = 0 }; /* what dot takes off the codes of formats whose offset is 128 */

/* RT_MAT_MAGIC (as a float's bits) plus the sums of code * q over quads first..last-1, for ABREAST tokens side by side, so that
 * no instruction waits for the one before. */
INLINE void dot(rt_fmt f, const __m512i *quads, const rt_act_block *x, int toks, int first, int last, __m512i *sum) {
    (void)f;
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        sum[t] = _mm512_castps_si512(_mm512_set1_ps(RT_MAT_MAGIC));
#pragma GCC unroll 8
    for (int k = first; k < last; k++)
#pragma GCC unroll 4
        for (int t = 0; t < toks; t++)
            sum[t] = _mm512_dpbusd_epi32(sum[t], quads[k], broadcast_quad(x[t].q + 4 * k));
}

#else

enum { DOT_OFFSET = 128 };

/* 16-bit pair sums of one quad. */
INLINE __m512i quad_pairs(rt_fmt f, __m512i quad, const int8_t *q) {
    __m512i x = broadcast_quad(q);
    if (f.offset != DOT_OFFSET)
        return _mm512_maddubs_epi16(quad, x);
    quad = _mm512_xor_si512(quad, _mm512_set1_epi8((char)0x80));
    __mmask64 neg = _mm512_movepi8_mask(quad);
    return _mm512_maddubs_epi16(_mm512_abs_epi8(quad), _mm512_mask_sub_epi8(x, neg, _mm512_setzero_si512(), x));
}

INLINE void dot(rt_fmt f, const __m512i *quads, const rt_act_block *x, int toks, int first, int last, __m512i *sum) {
    /* quads whose pair sums, each at most 2 * 127 * the largest code, add up to less than 2^15 */
    const int fit = INT16_MAX / (2 * 127 * (f.offset == DOT_OFFSET ? 128 : rt_fmt_most(f))), run = fit < 8 ? fit : 8;
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++) {
        sum[t] = _mm512_castps_si512(_mm512_set1_ps(RT_MAT_MAGIC));
#pragma GCC unroll 8
        for (int k = first; k < last; k += run) {
            const int end = k + run < last ? k + run : last;
            __m512i pairs = quad_pairs(f, quads[k], x[t].q + 4 * k);
#pragma GCC unroll 8
            for (int i = k + 1; i < end; i++)
                pairs = _mm512_add_epi16(pairs, quad_pairs(f, quads[i], x[t].q + 4 * i));
            sum[t] = _mm512_add_epi32(sum[t], _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
        }
    }
}

#endif

/* M + f of one group, s being its sum of q. */
INLINE __m512 group_sum(rt_fmt f, __m512i sum, float s) {
    if (f.min || f.offset == DOT_OFFSET)
        return _mm512_castsi512_ps(sum);
    return _mm512_fmadd_ps(_mm512_set1_ps((float)-f.offset), _mm512_set1_ps(s), _mm512_castsi512_ps(sum));
}

/* One block and up to ABREAST tokens. */
INLINE void step(rt_fmt f, const __m512i *quads, const scales *g, const rt_act_block *x, int toks, __m512 *acc) {
    const int groups = 32 / f.group;
    __m512i sum[ABREAST];
    __m512 u[ABREAST];
    dot(f, quads, x, toks, 0, f.group / 4, sum);
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        u[t] = _mm512_fmadd_ps(g[0].w, group_sum(f, sum[t], groups == 1 ? x[t].sum : x[t].sum2[0]), g[0].c);
    if (groups == 2)
        dot(f, quads, x, toks, 4, 8, sum);
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++) {
        if (groups == 2) {
            __m512 f1 = _mm512_sub_ps(group_sum(f, sum[t], x[t].sum2[1]), _mm512_set1_ps(RT_MAT_MAGIC));
            u[t] = _mm512_fmadd_ps(g[1].w, f1, u[t]);
        }
        if (f.min)
            u[t] = _mm512_fmadd_ps(g[0].o, _mm512_set1_ps(groups == 1 ? x[t].sum : x[t].sum2[0]), u[t]);
        if (f.min && groups == 2)
            u[t] = _mm512_fmadd_ps(g[1].o, _mm512_set1_ps(x[t].sum2[1]), u[t]);
        acc[t] = _mm512_fmadd_ps(u[t], _mm512_set1_ps(x[t].d), acc[t]);
    }
}

/* One tile and `toks` tokens of a group of n: 1, 2, 3 or a multiple of ABREAST. first: the first to pass it. */
INLINE void tile_toks(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n, int toks, float *y,
                      size_t ldy, bool first) {
    const uint8_t *codes = rt_tile_codes(m, tile), *rec = rt_tile_scales(m, tile, f);
    const size_t n_rec = m->cols / rt_fmt_block_cols(f), per_rec = rt_fmt_block_cols(f) / 32;
    rt_ahead ahead = rt_ahead_from(f, codes, first);
    const __m512i values = load_values(f, m);
    __m512 acc[RT_TOK_GROUP];
#pragma GCC unroll 16
    for (int t = 0; t < toks; t++)
        acc[t] = _mm512_setzero_ps();
    for (size_t i = 0; i < n_rec; i++, rec += rt_fmt_scale_bytes(f)) {
        for (size_t b = 0; b < per_rec; b++, codes += rt_fmt_code_bytes(f), x += n) {
            __m512i quads[8];
            rt_ahead_go(&ahead);
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                quads[k] = load_quad(f, values, codes, k);
            scales g[2];
            block_scales(f, m, rec, b, g);
#pragma GCC unroll 16
            for (int t = 0; t < toks; t += ABREAST)
                step(f, quads, g, x + t, toks < ABREAST ? toks : ABREAST, acc + t);
        }
    }
    __mmask16 rows = (__mmask16)((1u << rt_tile_n_rows(m, tile)) - 1);
#pragma GCC unroll 16
    for (int t = 0; t < toks; t++)
        _mm512_mask_storeu_ps(y + (size_t)t * ldy, rows, acc[t]);
}

/* Some tiles and all tokens: groups of 16 first. The first to pass a tile ask for its codes early, across the page boundaries
 * where the hardware stops; few tokens are bound by memory. */
INLINE void mat_i8(rt_fmt f, const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok, float *y,
                   size_t ldy) {
    const size_t n_blocks = m->cols / 32, full = n_tok / RT_TOK_GROUP * RT_TOK_GROUP, n = n_tok - full;
    const rt_act_block *rest = x + full * n_blocks;
    for (size_t i = 0; i < n_tiles; i++, y += RT_TILE_ROWS) {
        size_t t = 0;
        for (; t < full; t += RT_TOK_GROUP)
            tile_toks(f, m, tile + i, x + t * n_blocks, RT_TOK_GROUP, RT_TOK_GROUP, y + t * ldy, ldy, !t);
#define SOME(toks)                                                                                                             \
    if (n_tok - t >= (toks)) {                                                                                                 \
        tile_toks(f, m, tile + i, rest + (t - full), n, toks, y + t * ldy, ldy, !t);                                           \
        t += (toks);                                                                                                           \
    }
        SOME(8)
        SOME(4)
        SOME(3)
        SOME(2)
        SOME(1)
#undef SOME
    }
}

/* A function for each format, and its place in the table k. */
#define MAT_I8(name, ...)                                                                                                      \
    static void mat_##name(const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok, float *y,  \
                           size_t ldy) {                                                                                       \
        mat_i8((rt_fmt)RT_FMT(name, __VA_ARGS__), m, tile, n_tiles, x, n_tok, y, ldy);                                         \
    }
#define MAT_I8_ENTRY(name, ...) k->mat_i8[RT_FMT_##name] = mat_##name;

#endif
