/* int8 products of AVX2, with VNNI where the including file is compiled with it. Layouts and the order of sums: mat/format.h.
 *
 * Both halves of a tile (2 x 8 rows) and up to 4 tokens have their sums side by side, in registers: then each load of codes or
 * activations serves several products, and none of them waits for another. A quad is decoded as these tokens use it. Where
 * there are many, some blocks are decoded first, then all tokens meet them, 4 at a time.
 *
 * Without VNNI, VPMADDUBSW adds pairs of products in 16 bits: codes of up to 6 bits can add several quads there before they
 * must be widened, as many as stay below 2^15. Full bytes would saturate; they are multiplied as signed numbers, |code - 128|
 * times q with the sign moved over, which stays below 2 * 128 * 127. All of it is exact.
 */
#ifndef RT_MAT_AVX2_H
#define RT_MAT_AVX2_H

#include "kernels/mat/format.h"

#include <immintrin.h>
#include <string.h>

/* Formats and token counts are constants after inlining: one loop nest for each. */
#define INLINE static inline __attribute__((always_inline))

enum {
    LANES = 8,
    HALVES = 2, /* of a tile */
    TOKS = 4,   /* tokens side by side */
    MANY = 12,  /* tokens for which decoding first pays */
    CHUNK = 8,  /* blocks that are decoded first: a superblock */
};

INLINE __m256i load(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

/* v * 2^n, bytes. */
INLINE __m256i doubled(__m256i v, int n) {
#pragma GCC unroll 8
    for (int i = 0; i < n; i++)
        v = _mm256_add_epi8(v, v);
    return v;
}

/* Shift the bytes' fields left (right where n < 0) and keep those under the mask: n and mask are such that no bit crosses.
 * Shifts have fewer ports than additions and comparisons, which do where bits move left or are alone. */
INLINE __m256i field(__m256i v, int n, int mask) {
    const __m256i keep = _mm256_set1_epi8((char)mask);
    if (n >= 0)
        return _mm256_and_si256(doubled(v, n), keep);
    if (mask & (mask - 1))
        return _mm256_and_si256(_mm256_srli_epi16(v, -n), keep);
    const int bit = __builtin_ctz((unsigned)mask) - n;
    return _mm256_and_si256(_mm256_cmpgt_epi8(_mm256_setzero_si256(), doubled(v, 7 - bit)), keep);
}

/* Whether codes are multiplied as signed numbers: those of 8 bits, less 128, where full bytes would saturate. */
INLINE bool is_signed(rt_fmt f) {
#ifdef __AVXVNNI__
    (void)f;
    return false;
#else
    return f.offset == 128;
#endif
}

/* Bytes less 128, or back. */
INLINE __m256i flip(__m256i v) {
    return _mm256_xor_si256(v, _mm256_set1_epi8((char)0x80));
}

INLINE __m256i low_codes(rt_fmt f, const uint8_t *p, int k) {
    if (f.bits == 8)
        return is_signed(f) ? flip(load(p + k * 64)) : load(p + k * 64);
    if (f.bits < 4)
        return field(load(p + k / 4 * 64), -(k % 4 * 2), 3);
    return field(load(p + k % 4 * 64), -(k / 4 * 4), 15);
}

/* What codes are looked up in, if they are; twice. */
INLINE __m256i load_values(rt_fmt f, const rt_mat_tiles *m) {
    if (!f.lookup)
        return _mm256_setzero_si256();
    const __m256i values = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)m->values));
    return is_signed(f) ? values : _mm256_add_epi8(values, _mm256_set1_epi8((char)f.offset));
}

/* Quad k of a block, 8 rows of which start at p: (row, 4) codes. */
INLINE __m256i load_quad(rt_fmt f, __m256i values, const uint8_t *p, int k) {
    __m256i c = low_codes(f, p, k);
    if (f.bits == 3)
        c = _mm256_or_si256(c, field(load(p + 128), 2 - k, 1 << 2));
    if (f.bits == 5)
        c = _mm256_or_si256(c, field(load(p + 256), 4 - k, 1 << 4));
    if (f.bits == 6)
        c = _mm256_or_si256(c, field(load(p + 256 + k / 4 * 64), 4 - k % 4 * 2, 3 << 4));
    return f.lookup ? _mm256_shuffle_epi8(values, c) : c;
}

INLINE __m256 load_half(const uint8_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/* d of 8 rows, in a format's own precision. */
INLINE __m256 load_d(rt_fmt f, const rt_mat_tiles *m, const uint8_t *p) {
    if (f.bf16)
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
    return f.lookup && f.sub ? _mm256_mul_ps(load_half(p), _mm256_set1_ps(m->unit)) : load_half(p);
}

INLINE __m128i load8(const uint8_t *p) {
    return _mm_loadl_epi64((const __m128i *)p);
}

/* Of eight rows in one group of columns: w and o as in mat/format.h, c = -M w. */
typedef struct scales {
    __m256 w, o, c;
} scales;

/* Group g of a record whose halves are d and m; sub-scales are those of the row that rec + row is for. */
INLINE scales load_scales(rt_fmt f, const uint8_t *rec, size_t row, size_t g, __m256 d, __m256 m) {
    const uint8_t *sub = rec + (f.min ? 64 : 32) + g * rt_fmt_sub_bytes(f) + row;
    scales s = {d, m, m};
    if (f.sub && !f.min) {
        s.w = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(sub))));
    } else if (f.sub) {
        __m256i sc = _mm256_cvtepu8_epi32(load8(sub)), mi;
        if (f.group == 16) {
            mi = _mm256_srli_epi32(sc, 4);
            sc = _mm256_and_si256(sc, _mm256_set1_epi32(15));
        } else {
            mi = _mm256_cvtepu8_epi32(load8(sub + 16));
        }
        s.w = _mm256_mul_ps(d, _mm256_cvtepi32_ps(sc));
        s.o = _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), m), _mm256_cvtepi32_ps(mi));
    }
    s.c = _mm256_mul_ps(s.w, _mm256_set1_ps(-RT_MAT_MAGIC));
    return s;
}

INLINE __m256i broadcast_quad(const int8_t *q) {
    int four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
}

/* A block of a tile, with its quads (quad, half) where they are decoded already; else NULL, and they are decoded as they are
 * used. */
typedef struct block {
    __m256i values;
    const uint8_t *codes;
    const __m256i *quads;
    const scales (*g)[2]; /* (half, group) */
} block;

INLINE __m256i quad_of(rt_fmt f, const block *b, int k, int h) {
    return b->quads ? b->quads[k * HALVES + h] : load_quad(f, b->values, b->codes + h * 4 * LANES, k);
}

INLINE float sum_of(rt_fmt f, const rt_act_block *x, int g) {
    return f.group == 32 ? x->sum : x->sum2[g];
}

/* M, and what the offset of the codes adds to a sum taken off, where they are multiplied with it. */
INLINE __m256i start_of_sum(rt_fmt f, const rt_act_block *x, int g) {
    const __m256 magic = _mm256_set1_ps(RT_MAT_MAGIC);
    if (f.min || is_signed(f))
        return _mm256_castps_si256(magic);
    return _mm256_castps_si256(_mm256_fmadd_ps(_mm256_set1_ps((float)-f.offset), _mm256_set1_ps(sum_of(f, x, g)), magic));
}

/* Keep scales out of registers while products are added. */
INLINE void keep_in_memory(scales (*g)[2]) {
    __asm__("" : "+m"(*(scales(*)[HALVES][2])g));
}

/* Keep the sums of the next quad from being made before: there are no registers for that. */
INLINE void in_order(__m256i *v) {
    __asm__("" : "+x"(*v));
}

#ifdef __AVXVNNI__

/* Of `toks` tokens and both halves: M + the sum of (code - offset) * q over group g. */
INLINE void dots(rt_fmt f, const block *b, const rt_act_block *x, int toks, int g, __m256i (*sum)[HALVES]) {
    const int first = g * f.group / 4, last = first + f.group / 4;
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        sum[t][0] = sum[t][1] = start_of_sum(f, x + t, g);
#pragma GCC unroll 8
    for (int k = first; k < last; k++) {
        const __m256i low = quad_of(f, b, k, 0), high = quad_of(f, b, k, 1);
#pragma GCC unroll 4
        for (int t = 0; t < toks; t++) {
            const __m256i q = broadcast_quad(x[t].q + 4 * k);
            sum[t][0] = _mm256_dpbusd_avx_epi32(sum[t][0], low, q);
            sum[t][1] = _mm256_dpbusd_avx_epi32(sum[t][1], high, q);
        }
    }
}

#else

/* 16-bit pair sums of one quad and activations. */
INLINE __m256i quad_pairs(rt_fmt f, __m256i quad, __m256i x) {
    if (is_signed(f))
        return _mm256_maddubs_epi16(_mm256_abs_epi8(quad), _mm256_sign_epi8(x, quad));
    return _mm256_maddubs_epi16(quad, x);
}

/* Of `toks` tokens and both halves: M + the sum of (code - offset) * q over group g. */
INLINE void dots(rt_fmt f, const block *b, const rt_act_block *x, int toks, int g, __m256i (*sum)[HALVES]) {
    /* quads whose pair sums, each at most 2 * 127 * the largest code, add up to less than 2^15 */
    const int fit = INT16_MAX / (2 * 127 * (is_signed(f) ? 128 : rt_fmt_most(f))), run = fit < 8 ? fit : 8;
    const int first = g * f.group / 4, last = first + f.group / 4;
    __m256i pairs[TOKS][HALVES];
#pragma GCC unroll 8
    for (int k = first; k < last; k++) {
        const bool begins = (k - first) % run == 0, ends = (k - first) % run == run - 1 || k == last - 1;
        const __m256i low = quad_of(f, b, k, 0), high = quad_of(f, b, k, 1);
#pragma GCC unroll 4
        for (int t = 0; t < toks; t++) {
            const __m256i q = broadcast_quad(x[t].q + 4 * k), of[HALVES] = {quad_pairs(f, low, q), quad_pairs(f, high, q)};
#pragma GCC unroll 2
            for (int h = 0; h < HALVES; h++) {
                pairs[t][h] = begins ? of[h] : _mm256_add_epi16(pairs[t][h], of[h]);
                in_order(&pairs[t][h]);
                if (ends) {
                    const __m256i four = _mm256_madd_epi16(pairs[t][h], _mm256_set1_epi16(1));
                    sum[t][h] = _mm256_add_epi32(k < first + run ? start_of_sum(f, x + t, g) : sum[t][h], four);
                }
            }
        }
    }
}

#endif

/* Add a block to the accumulators of `toks` tokens and both halves. */
INLINE void steps(rt_fmt f, const block *b, const rt_act_block *x, int toks, __m256 (*acc)[HALVES]) {
    const int n = toks * HALVES;
    __m256i sum[TOKS][HALVES];
    __m256 u[TOKS * HALVES];
    dots(f, b, x, toks, 0, sum);
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        const scales *g = b->g[i % HALVES];
        u[i] = _mm256_fmadd_ps(g->w, _mm256_castsi256_ps(sum[i / HALVES][i % HALVES]), g->c);
    }
    if (f.group == 16) {
        dots(f, b, x, toks, 1, sum);
#pragma GCC unroll 8
        for (int i = 0; i < n; i++) {
            const __m256 of = _mm256_castsi256_ps(sum[i / HALVES][i % HALVES]);
            u[i] = _mm256_fmadd_ps(b->g[i % HALVES][1].w, _mm256_sub_ps(of, _mm256_set1_ps(RT_MAT_MAGIC)), u[i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) {
        const rt_act_block *tok = x + i / HALVES;
        const scales *g = b->g[i % HALVES];
        __m256 *a = &acc[i / HALVES][i % HALVES];
        if (f.min)
            u[i] = _mm256_fmadd_ps(g[0].o, _mm256_set1_ps(sum_of(f, tok, 0)), u[i]);
        if (f.min && f.group == 16)
            u[i] = _mm256_fmadd_ps(g[1].o, _mm256_set1_ps(sum_of(f, tok, 1)), u[i]);
        *a = _mm256_fmadd_ps(u[i], _mm256_set1_ps(tok->d), *a);
    }
}

INLINE void store_rows(float *y, __m256 v, size_t n) {
    if (n >= LANES)
        _mm256_storeu_ps(y, v);
    else
        _mm256_maskstore_ps(y, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)), v);
}

/* Of block b of those that share the scale record rec: (half, group). */
INLINE void block_scales(rt_fmt f, const rt_mat_tiles *m, const uint8_t *rec, size_t b, scales (*g)[2]) {
    const size_t groups = 32 / (size_t)f.group;
#pragma GCC unroll 2
    for (size_t h = 0; h < HALVES; h++) {
        const size_t row = h * LANES;
        const __m256 d = load_d(f, m, rec + 2 * row), min = f.min ? load_half(rec + 32 + 2 * row) : d;
        g[h][0] = load_scales(f, rec, row, groups * b, d, min);
        if (groups == 2)
            g[h][1] = load_scales(f, rec, row, 2 * b + 1, rt_fmt_two_d(f) ? load_half(rec + 32 + 2 * row) : d, min);
    }
}

/* Of `toks` tokens. */
INLINE void store_tile(const rt_mat_tiles *m, size_t tile, const __m256 (*acc)[HALVES], int toks, float *y, size_t ldy) {
    const size_t n_rows = rt_tile_n_rows(m, tile);
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++) {
        store_rows(y + (size_t)t * ldy, acc[t][0], n_rows);
        if (n_rows > LANES)
            store_rows(y + (size_t)t * ldy + LANES, acc[t][1], n_rows - LANES);
    }
}

/* A tile and `toks` <= TOKS tokens of a group of n. */
INLINE void tile_few(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n, int toks, float *y,
                     size_t ldy, bool first) {
    const uint8_t *codes = rt_tile_codes(m, tile), *rec = rt_tile_scales(m, tile, f);
    const size_t n_rec = m->cols / rt_fmt_block_cols(f), per_rec = rt_fmt_block_cols(f) / 32;
    rt_ahead ahead = rt_ahead_from(f, codes, first);
    const __m256i values = load_values(f, m);
    __m256 acc[TOKS][HALVES];
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    for (size_t i = 0; i < n_rec; i++, rec += rt_fmt_scale_bytes(f)) {
        for (size_t b = 0; b < per_rec; b++, codes += rt_fmt_code_bytes(f), x += n) {
            rt_ahead_go(&ahead);
            scales g[HALVES][2];
            block_scales(f, m, rec, b, g);
            if (toks > 1)
                keep_in_memory(g);
            steps(f, &(block){values, codes, NULL, (const scales(*)[2])g}, x, toks, acc);
        }
    }
    store_tile(m, tile, (const __m256(*)[HALVES])acc, toks, y, ldy);
}

/* A tile and `toks` tokens, a multiple of TOKS, of a group of n: CHUNK blocks are decoded at a time. */
INLINE void tile_many(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n, size_t toks, float *y,
                      size_t ldy, bool first) {
    const uint8_t *codes = rt_tile_codes(m, tile), *rec = rt_tile_scales(m, tile, f);
    const size_t n_blocks = m->cols / 32, per_rec = rt_fmt_block_cols(f) / 32;
    rt_ahead ahead = rt_ahead_from(f, codes, first);
    const __m256i values = load_values(f, m);
    __m256 acc[RT_TOK_GROUP][HALVES];
    __m256i quads[CHUNK][8 * HALVES];
    scales g[CHUNK][HALVES][2];
    for (size_t t = 0; t < toks; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_ps();
    for (size_t at = 0; at < n_blocks; at += CHUNK, x += CHUNK * n) {
        const size_t blocks = n_blocks - at < CHUNK ? n_blocks - at : CHUNK;
        for (size_t b = 0; b < blocks; b++, codes += rt_fmt_code_bytes(f)) {
            rt_ahead_go(&ahead);
#pragma GCC unroll 16
            for (int k = 0; k < 8 * HALVES; k++)
                quads[b][k] = load_quad(f, values, codes + k % HALVES * 4 * LANES, k / HALVES);
            block_scales(f, m, rec, b % per_rec, g[b]);
            if ((b + 1) % per_rec == 0)
                rec += rt_fmt_scale_bytes(f);
        }
#pragma GCC unroll 1
        for (size_t t = 0; t < toks; t += TOKS) {
            __m256 own[TOKS][HALVES];
            memcpy(own, acc + t, sizeof own);
            for (size_t b = 0; b < blocks; b++)
                steps(f, &(block){values, NULL, quads[b], (const scales(*)[2])g[b]}, x + b * n + t, TOKS, own);
            memcpy(acc + t, own, sizeof own);
        }
    }
#pragma GCC unroll 1
    for (size_t t = 0; t < toks; t += TOKS)
        store_tile(m, tile, (const __m256(*)[HALVES])acc + t, TOKS, y + t * ldy, ldy);
}

/* A tile is asked for ahead when the first tokens pass; the others find it in the caches. */
INLINE void tile_toks(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n_tok, float *y, size_t ldy) {
    bool first = true;
    for (size_t t = 0; t < n_tok; t += RT_TOK_GROUP, x += m->cols / 32 * RT_TOK_GROUP) {
        const size_t n = n_tok - t < RT_TOK_GROUP ? n_tok - t : RT_TOK_GROUP;
        const size_t left = n % TOKS;
        size_t i = 0;
        if (n >= MANY) {
            i = n - left;
            tile_many(f, m, tile, x, n, i, y + t * ldy, ldy, first);
            first = false;
        }
        for (; n - i >= TOKS; i += TOKS, first = false)
            tile_few(f, m, tile, x + i, n, TOKS, y + (t + i) * ldy, ldy, first);
        if (left == 3)
            tile_few(f, m, tile, x + i, n, 3, y + (t + i) * ldy, ldy, first);
        if (left == 2)
            tile_few(f, m, tile, x + i, n, 2, y + (t + i) * ldy, ldy, first);
        if (left == 1)
            tile_few(f, m, tile, x + i, n, 1, y + (t + i) * ldy, ldy, first);
    }
}

/* A function for each format, and its place in the table k. */
#define MAT_I8(name, ...)                                                                                                      \
    static void mat_##name(const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok, float *y,  \
                           size_t ldy) {                                                                                       \
        for (size_t i = 0; i < n_tiles; i++)                                                                                   \
            tile_toks((rt_fmt)RT_FMT(name, __VA_ARGS__), m, tile + i, x, n_tok, y + i * RT_TILE_ROWS, ldy);                    \
    }
#define MAT_I8_ENTRY(name, ...) k->mat_i8[RT_FMT_##name] = mat_##name;

#endif
