/* int8 products of AVX2, with VNNI where the including file is compiled with it. Layouts and the order of sums: mat/format.h.
 *
 * Half a tile (8 rows) x 32 columns is decoded into eight registers and multiplied with up to 16 tokens, some of them side by
 * side: a product waits for the one before it, and older processors keep too few of them in flight to find other work by
 * themselves.
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
#ifdef __AVXVNNI__
    SIDE = 4, /* tokens side by side */
#else
    SIDE = 2,
#endif
    AHEAD = 4096, /* bytes to prefetch ahead, at least */
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
    __m256i c = field(load(p + k % 4 * 64), -(k / 4 * 4), 15);
    if (f.id == RT_FMT_IQ4_NL) {
        const __m256i values = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)qt_iq4nl_values));
        c = _mm256_shuffle_epi8(is_signed(f) ? values : flip(values), c);
    }
    return c;
}

/* Quad k of a block, 8 rows of which start at p: (row, 4) codes. */
INLINE __m256i load_quad(rt_fmt f, const uint8_t *p, int k) {
    __m256i c = low_codes(f, p, k);
    if (f.bits == 3)
        c = _mm256_or_si256(c, field(load(p + 128), 2 - k, 1 << 2));
    if (f.bits == 5)
        c = _mm256_or_si256(c, field(load(p + 256), 4 - k, 1 << 4));
    if (f.bits == 6)
        c = _mm256_or_si256(c, field(load(p + 256 + k / 4 * 64), 4 - k % 4 * 2, 3 << 4));
    return c;
}

INLINE __m256 load_half(const uint8_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
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
    if (f.super && !f.min) {
        s.w = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(sub))));
    } else if (f.super) {
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

/* Half a block of eight rows: its quads where several tokens share them, else NULL, and they are decoded as they are used,
 * which saves registers. */
typedef struct half {
    const __m256i *quads;
    const uint8_t *codes;
} half;

INLINE __m256i quad_of(rt_fmt f, half h, int k) {
    return h.quads ? h.quads[k] : load_quad(f, h.codes, k);
}

INLINE float sum_of(rt_fmt f, const rt_act_block *x, int g) {
    return f.group == 32 ? x->sum : x->sum2[g];
}

/* What one accumulator adds up of a block: half of its rows, for one token. */
typedef struct part {
    half h;
    const scales *g; /* of the groups */
    const rt_act_block *x;
} part;

/* M, and what the offset of the codes adds to a sum taken off, where they are multiplied with it. */
INLINE __m256i start_of_sum(rt_fmt f, const rt_act_block *x, int g) {
    const __m256 magic = _mm256_set1_ps(RT_MAT_MAGIC);
    if (f.min || is_signed(f))
        return _mm256_castps_si256(magic);
    return _mm256_castps_si256(_mm256_fmadd_ps(_mm256_set1_ps((float)-f.offset), _mm256_set1_ps(sum_of(f, x, g)), magic));
}

#ifdef __AVXVNNI__

/* Add the products of quads first .. last-1 to n sums, side by side. */
INLINE void add_products(rt_fmt f, const part *p, int n, int first, int last, __m256i *sum) {
#pragma GCC unroll 8
    for (int k = first; k < last; k++)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++)
            sum[i] = _mm256_dpbusd_avx_epi32(sum[i], quad_of(f, p[i].h, k), broadcast_quad(p[i].x->q + 4 * k));
}

#else

/* 16-bit pair sums of one quad. */
INLINE __m256i quad_pairs(rt_fmt f, __m256i quad, const int8_t *q) {
    const __m256i x = broadcast_quad(q);
    if (is_signed(f))
        return _mm256_maddubs_epi16(_mm256_abs_epi8(quad), _mm256_sign_epi8(x, quad));
    return _mm256_maddubs_epi16(quad, x);
}

/* Add the products of quads first .. last-1 to n sums, side by side. */
INLINE void add_products(rt_fmt f, const part *p, int n, int first, int last, __m256i *sum) {
    /* quads whose pair sums, each at most 2 * 127 * the largest code, add up to less than 2^15 */
    const int run = is_signed(f) ? 1 : f.bits == 6 ? 2 : f.bits == 5 ? 4 : 8;
    __m256i pairs[SIDE];
#pragma GCC unroll 8
    for (int k = first; k < last; k += run) {
        const int end = k + run < last ? k + run : last;
#pragma GCC unroll 8
        for (int j = k; j < end; j++)
#pragma GCC unroll 2
            for (int i = 0; i < n; i++) {
                const __m256i pair = quad_pairs(f, quad_of(f, p[i].h, j), p[i].x->q + 4 * j);
                pairs[i] = j > k ? _mm256_add_epi16(pairs[i], pair) : pair;
            }
#pragma GCC unroll 2
        for (int i = 0; i < n; i++)
            sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(pairs[i], _mm256_set1_epi16(1)));
    }
}

#endif

/* Of n parts, side by side: M + the sum of (code - offset) * q over group g. */
INLINE void dots(rt_fmt f, const part *p, int n, int g, __m256 *out) {
    const int first = g * f.group / 4;
    __m256i sum[SIDE];
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        sum[i] = start_of_sum(f, p[i].x, g);
    add_products(f, p, n, first, first + f.group / 4, sum);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        out[i] = _mm256_castsi256_ps(sum[i]);
}

/* Add n parts to their accumulators. */
INLINE void steps(rt_fmt f, const part *p, int n, __m256 *acc) {
    __m256 u[SIDE], d[SIDE];
    dots(f, p, n, 0, d);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        u[i] = _mm256_fmadd_ps(p[i].g[0].w, d[i], p[i].g[0].c);
    if (f.group == 16) {
        dots(f, p, n, 1, d);
#pragma GCC unroll 4
        for (int i = 0; i < n; i++)
            u[i] = _mm256_fmadd_ps(p[i].g[1].w, _mm256_sub_ps(d[i], _mm256_set1_ps(RT_MAT_MAGIC)), u[i]);
    }
    if (f.min)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++)
            u[i] = _mm256_fmadd_ps(p[i].g[0].o, _mm256_set1_ps(sum_of(f, p[i].x, 0)), u[i]);
    if (f.min && f.group == 16)
#pragma GCC unroll 4
        for (int i = 0; i < n; i++)
            u[i] = _mm256_fmadd_ps(p[i].g[1].o, _mm256_set1_ps(sum_of(f, p[i].x, 1)), u[i]);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++)
        acc[i] = _mm256_fmadd_ps(u[i], _mm256_set1_ps(p[i].x->d), acc[i]);
}

INLINE void store_rows(float *y, __m256 v, size_t n) {
    if (n >= LANES)
        _mm256_storeu_ps(y, v);
    else
        _mm256_maskstore_ps(y, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)), v);
}

/* How far ahead to ask for weights where a single token makes memory the limit: whole tiles, since codes and scales are read
 * side by side but lie one behind the other; unless a tile is larger than what the second cache would hold for us. */
INLINE size_t prefetch_distance(const rt_mat_tiles *m) {
    return m->tile_bytes > 8 * AHEAD ? AHEAD : (AHEAD + m->tile_bytes - 1) / m->tile_bytes * m->tile_bytes;
}

INLINE void prefetch(const uint8_t *p, size_t bytes) {
    for (size_t line = 0; line < bytes; line += 64)
        _mm_prefetch((const char *)p + line, _MM_HINT_T0);
}

/* One block and tokens from t on, `side` at a time, of n. Returns the first that is left. */
INLINE size_t abreast(const int side, rt_fmt f, const __m256i *quads, const scales *g, const rt_act_block *x, size_t t,
                      size_t n, __m256 *acc) {
    for (; t + (size_t)side <= n; t += (size_t)side) {
        part p[SIDE];
#pragma GCC unroll 4
        for (int i = 0; i < side; i++)
            p[i] = (part){{quads, NULL}, g, x + t + i};
        steps(f, p, side, acc + t);
    }
    return t;
}

/* Eight rows of a tile, from `row` on, and the n tokens of a group: a block is decoded once for all of them. */
INLINE void rows_toks(rt_fmt f, const rt_mat_tiles *m, size_t tile, size_t row, const rt_act_block *x, size_t n, float *y,
                      size_t ldy) {
    const uint8_t *codes = rt_tile_codes(m, tile) + 4 * row, *rec = rt_tile_scales(m, tile, f);
    const size_t n_rec = m->cols / rt_fmt_block_cols(f), per_rec = rt_fmt_block_cols(f) / 32;
    const size_t groups = 32 / (size_t)f.group;
    __m256 acc[RT_TOK_GROUP];
    for (size_t t = 0; t < n; t++)
        acc[t] = _mm256_setzero_ps();
    for (size_t i = 0; i < n_rec; i++, rec += rt_fmt_scale_bytes(f)) {
        const __m256 d = load_half(rec + 2 * row), min = f.min ? load_half(rec + 32 + 2 * row) : d;
        for (size_t b = 0; b < per_rec; b++, codes += rt_fmt_code_bytes(f), x += n) {
            __m256i quads[8];
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                quads[k] = load_quad(f, codes, k);
            scales g[2] = {load_scales(f, rec, row, groups * b, d, min)};
            if (groups == 2)
                g[1] = load_scales(f, rec, row, 2 * b + 1, d, min);
            size_t t = abreast(SIDE, f, quads, g, x, 0, n, acc);
            if (SIDE > 2)
                t = abreast(2, f, quads, g, x, t, n, acc);
            abreast(1, f, quads, g, x, t, n, acc);
        }
    }
    const size_t n_rows = rt_tile_n_rows(m, tile) - row;
    for (size_t t = 0; t < n; t++)
        store_rows(y + t * ldy + row, acc[t], n_rows);
}

/* All rows of a tile and one token. */
INLINE void tile_tok(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n, float *y) {
    const uint8_t *codes = rt_tile_codes(m, tile), *rec = rt_tile_scales(m, tile, f);
    const size_t n_rec = m->cols / rt_fmt_block_cols(f), per_rec = rt_fmt_block_cols(f) / 32;
    const size_t groups = 32 / (size_t)f.group, ahead = prefetch_distance(m);
    __m256 acc[HALVES] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < n_rec; i++, rec += rt_fmt_scale_bytes(f)) {
        prefetch(rec + ahead, rt_fmt_scale_bytes(f));
        for (size_t b = 0; b < per_rec; b++, codes += rt_fmt_code_bytes(f), x += n) {
            prefetch(codes + ahead, rt_fmt_code_bytes(f));
            scales g[HALVES][2];
#pragma GCC unroll 2
            for (size_t h = 0; h < HALVES; h++) {
                const size_t row = h * LANES;
                const __m256 d = load_half(rec + 2 * row), min = f.min ? load_half(rec + 32 + 2 * row) : d;
                g[h][0] = load_scales(f, rec, row, groups * b, d, min);
                if (groups == 2)
                    g[h][1] = load_scales(f, rec, row, 2 * b + 1, d, min);
            }
            steps(f, (part[]){{{NULL, codes}, g[0], x}, {{NULL, codes + 4 * LANES}, g[1], x}}, HALVES, acc);
        }
    }
    const size_t n_rows = rt_tile_n_rows(m, tile);
    store_rows(y, acc[0], n_rows);
    if (n_rows > LANES)
        store_rows(y + LANES, acc[1], n_rows - LANES);
}

INLINE void tile_toks(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n_tok, float *y, size_t ldy) {
    size_t n_rows = rt_tile_n_rows(m, tile);
    for (size_t t = 0; t < n_tok; t += RT_TOK_GROUP, x += m->cols / 32 * RT_TOK_GROUP) {
        const size_t n = n_tok - t < RT_TOK_GROUP ? n_tok - t : RT_TOK_GROUP;
        if (n == 1)
            tile_tok(f, m, tile, x, n, y + t * ldy);
        else
            for (size_t row = 0; row < n_rows; row += LANES)
                rows_toks(f, m, tile, row, x, n, y + t * ldy, ldy);
    }
}

/* A function for each format, and its place in the table k. */
#define MAT_I8(name, bits, group, super, min, offset)                                                                          \
    static void mat_##name(const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok, float *y,  \
                           size_t ldy) {                                                                                       \
        for (size_t i = 0; i < n_tiles; i++)                                                                                   \
            tile_toks((rt_fmt){RT_FMT_##name, bits, group, super, min, offset}, m, tile + i, x, n_tok, y + i * RT_TILE_ROWS,   \
                      ldy);                                                                                                    \
    }
#define MAT_I8_ENTRY(name, ...) k->mat_i8[RT_FMT_##name] = mat_##name;

#endif
