/* Matrix kernels for AVX-512 with VNNI. Layouts and the order of sums: mat_internal.h.
 *
 * A block of 16 rows x 32 columns is decoded into eight registers and multiplied with up to 16 tokens, whose accumulators stay
 * in registers from the first column to the last. Every activation quad is a broadcast memory operand of VPDPBUSD.
 */
#include "../mat_internal.h"

#include <immintrin.h>
#include <string.h>

/* Formats and token counts are constants after inlining: one loop nest for each. */
#define INLINE static inline __attribute__((always_inline))

enum {
    ABREAST = 4,  /* tokens whose sums run side by side */
    AHEAD = 2048, /* bytes to prefetch ahead */
};

static void act_quant(const float *x, size_t n, rt_act_block *out, size_t stride) {
    const __m512i abs = _mm512_set1_epi32(0x7fffffff);
    const __m512 magic = _mm512_set1_ps(0x1.8p23f);
    for (size_t b = 0; b < n / RT_KBLOCK; b++, x += RT_KBLOCK, out += stride) {
        __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
        __m512i a0 = _mm512_and_epi32(_mm512_castps_si512(x0), abs), a1 = _mm512_and_epi32(_mm512_castps_si512(x1), abs);
        float amax = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(_mm512_max_epi32(a0, a1)))));
        bool zero = amax < 0x1p-100f;
        __m512 inv = _mm512_set1_ps(zero ? 0.0f : 127.0f / amax);
        out->d = zero ? 0.0f : amax / 127.0f;
        __m128i q0 = _mm512_cvtepi32_epi8(_mm512_castps_si512(_mm512_add_ps(_mm512_mul_ps(x0, inv), magic)));
        __m128i q1 = _mm512_cvtepi32_epi8(_mm512_castps_si512(_mm512_add_ps(_mm512_mul_ps(x1, inv), magic)));
        int s0 = _mm512_reduce_add_epi32(_mm512_cvtepi8_epi32(q0)), s1 = _mm512_reduce_add_epi32(_mm512_cvtepi8_epi32(q1));
        out->sum = (float)(s0 + s1);
        out->sum2[0] = (float)s0;
        out->sum2[1] = (float)s1;
        _mm_storeu_si128((__m128i *)out->q, q0);
        _mm_storeu_si128((__m128i *)(out->q + 16), q1);
    }
}

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
    __m512i c = field(_mm512_loadu_si512(p + k % 4 * 64), -(k / 4 * 4), 15);
    if (f.id == RT_FMT_IQ4_NL) {
        __m128i values = _mm_loadu_si128((const __m128i *)qt_iq4nl_values);
        c = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_xor_si128(values, _mm_set1_epi8((char)0x80))), c);
    }
    return c;
}

/* Quad k of a block: (row, 4) codes. */
INLINE __m512i load_quad(rt_fmt f, const uint8_t *p, int k) {
    __m512i c = low_codes(f, p, k);
    if (f.bits == 3)
        c = _mm512_or_si512(c, field(_mm512_loadu_si512(p + 128), 2 - k, 1 << 2));
    if (f.bits == 5)
        c = _mm512_or_si512(c, field(_mm512_loadu_si512(p + 256), 4 - k, 1 << 4));
    if (f.bits == 6)
        c = _mm512_or_si512(c, field(_mm512_loadu_si512(p + 256 + k / 4 * 64), 4 - k % 4 * 2, 3 << 4));
    return c;
}

INLINE __m512 load_half(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* Scale and offset of group g of a record whose halves are d and m. */
INLINE void load_scale(rt_fmt f, const uint8_t *rec, size_t g, __m512 d, __m512 m, __m512 *w, __m512 *o) {
    const uint8_t *sub = rec + (f.min ? 64 : 32) + g * rt_fmt_sub_bytes(f);
    if (!f.super) {
        *w = d;
        *o = m;
    } else if (!f.min) {
        *w = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)sub))));
    } else {
        __m512i sc = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)sub)), mi;
        if (f.group == 16) {
            mi = _mm512_srli_epi32(sc, 4);
            sc = _mm512_and_si512(sc, _mm512_set1_epi32(15));
        } else {
            mi = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(sub + 16)));
        }
        *w = _mm512_mul_ps(d, _mm512_cvtepi32_ps(sc));
        *o = _mm512_mul_ps(_mm512_sub_ps(_mm512_setzero_ps(), m), _mm512_cvtepi32_ps(mi));
    }
    if (!f.min)
        *o = _mm512_mul_ps(*w, _mm512_set1_ps((float)-f.offset));
}

/* Sums of code * q over quads first..last-1 for ABREAST tokens: side by side, so that no instruction waits for the one before.
 */
INLINE void dot(const __m512i *quads, const rt_act_block *x, int toks, int first, int last, __m512i *sum) {
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        sum[t] = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int k = first; k < last; k++)
#pragma GCC unroll 4
        for (int t = 0; t < toks; t++) {
            int four;
            memcpy(&four, x[t].q + 4 * k, sizeof four);
            sum[t] = _mm512_dpbusd_epi32(sum[t], quads[k], _mm512_set1_epi32(four));
        }
}

/* One block and up to ABREAST tokens. */
INLINE void step(rt_fmt f, const __m512i *quads, const __m512 *w, const __m512 *o, const rt_act_block *x, int toks,
                 __m512 *acc) {
    __m512i sum[ABREAST];
    __m512 u[ABREAST];
    dot(quads, x, toks, 0, f.group / 4, sum);
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++)
        u[t] = _mm512_mul_ps(w[0], _mm512_cvtepi32_ps(sum[t]));
    if (f.group == 16)
        dot(quads, x, toks, 4, 8, sum);
#pragma GCC unroll 4
    for (int t = 0; t < toks; t++) {
        if (f.group == 32) {
            u[t] = _mm512_fmadd_ps(o[0], _mm512_set1_ps(x[t].sum), u[t]);
        } else {
            u[t] = _mm512_fmadd_ps(w[1], _mm512_cvtepi32_ps(sum[t]), u[t]);
            u[t] = _mm512_fmadd_ps(o[0], _mm512_set1_ps(x[t].sum2[0]), u[t]);
            u[t] = _mm512_fmadd_ps(o[1], _mm512_set1_ps(x[t].sum2[1]), u[t]);
        }
        acc[t] = _mm512_fmadd_ps(u[t], _mm512_set1_ps(x[t].d), acc[t]);
    }
}

/* One tile and `toks` tokens of a group of n. */
INLINE void tile_toks(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n, int toks, float *y,
                      size_t ldy) {
    const uint8_t *codes = rt_tile_codes(m, tile), *rec = rt_tile_scales(m, tile, f);
    const size_t n_rec = m->cols / rt_fmt_block_cols(f), per_rec = rt_fmt_block_cols(f) / 32;
    __m512 acc[RT_TOK_GROUP];
#pragma GCC unroll 16
    for (int t = 0; t < toks; t++)
        acc[t] = _mm512_setzero_ps();
    for (size_t i = 0; i < n_rec; i++, rec += rt_fmt_scale_bytes(f)) {
        __m512 d = load_half(rec), min = f.min ? load_half(rec + 32) : d;
        for (size_t b = 0; b < per_rec; b++, codes += rt_fmt_code_bytes(f), x += n) {
            __m512i quads[8];
            if (toks == 1) /* bound by memory: ask early, across the page boundaries where the hardware stops */
                for (size_t line = 0; line < rt_fmt_code_bytes(f); line += 64)
                    _mm_prefetch((const char *)codes + AHEAD + line, _MM_HINT_T0);
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                quads[k] = load_quad(f, codes, k);
            __m512 w[2], o[2];
            load_scale(f, rec, f.group == 16 ? 2 * b : b, d, min, &w[0], &o[0]);
            if (f.group == 16)
                load_scale(f, rec, 2 * b + 1, d, min, &w[1], &o[1]);
#pragma GCC unroll 16
            for (int t = 0; t < toks; t += ABREAST)
                step(f, quads, w, o, x + t, toks < ABREAST ? toks : ABREAST, acc + t);
        }
    }
    __mmask16 rows = (__mmask16)((1u << rt_tile_n_rows(m, tile)) - 1);
#pragma GCC unroll 16
    for (int t = 0; t < toks; t++)
        _mm512_mask_storeu_ps(y + (size_t)t * ldy, rows, acc[t]);
}

INLINE void mat_i8(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n_tok, float *y, size_t ldy) {
    for (; n_tok >= RT_TOK_GROUP; n_tok -= RT_TOK_GROUP, x += m->cols / 32 * RT_TOK_GROUP, y += RT_TOK_GROUP * ldy)
        tile_toks(f, m, tile, x, RT_TOK_GROUP, RT_TOK_GROUP, y, ldy);
    size_t n = n_tok, t = 0;
    for (; n - t >= 4; t += 4)
        tile_toks(f, m, tile, x + t, n, 4, y + t * ldy, ldy);
    for (; t < n; t++)
        tile_toks(f, m, tile, x + t, n, 1, y + t * ldy, ldy);
}

#define MAT(name, bits, group, super, min, offset)                                                                             \
    static void mat_##name(const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n_tok, float *y, size_t ldy) {    \
        mat_i8((rt_fmt){RT_FMT_##name, bits, group, super, min, offset}, m, tile, x, n_tok, y, ldy);                           \
    }
RT_MAT_FORMAT_TABLE(MAT)
#undef MAT

/* A panel's 32 rows and `toks` tokens. */
INLINE void panel_toks(const float *panel, size_t cols, const float *x, size_t ldx, int toks, float *y, size_t ldy,
                       __mmask16 rows0, __mmask16 rows1, bool first) {
    enum { MAX = 12 };
    __m512 acc0[MAX], acc1[MAX];
#pragma GCC unroll 12
    for (int t = 0; t < toks; t++) {
        acc0[t] = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows0, y + (size_t)t * ldy);
        acc1[t] = first ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(rows1, y + (size_t)t * ldy + 16);
    }
    for (size_t c = 0; c < cols; c++, panel += RT_PANEL_ROWS) {
        __m512 w0 = _mm512_loadu_ps(panel), w1 = _mm512_loadu_ps(panel + 16);
#pragma GCC unroll 12
        for (int t = 0; t < toks; t++) {
            __m512 v = _mm512_set1_ps(x[(size_t)t * ldx + c]);
            acc0[t] = _mm512_fmadd_ps(w0, v, acc0[t]);
            acc1[t] = _mm512_fmadd_ps(w1, v, acc1[t]);
        }
    }
#pragma GCC unroll 12
    for (int t = 0; t < toks; t++) {
        _mm512_mask_storeu_ps(y + (size_t)t * ldy, rows0, acc0[t]);
        _mm512_mask_storeu_ps(y + (size_t)t * ldy + 16, rows1, acc1[t]);
    }
}

static void mat_f32(const float *panel, size_t cols, const float *x, size_t ldx, size_t n_tok, float *y, size_t ldy,
                    size_t n_rows, bool first) {
    uint32_t rows = (uint32_t)((1ull << n_rows) - 1);
    __mmask16 rows0 = (__mmask16)rows, rows1 = (__mmask16)(rows >> 16);
    for (; n_tok >= 12; n_tok -= 12, x += 12 * ldx, y += 12 * ldy)
        panel_toks(panel, cols, x, ldx, 12, y, ldy, rows0, rows1, first);
    for (; n_tok >= 4; n_tok -= 4, x += 4 * ldx, y += 4 * ldy)
        panel_toks(panel, cols, x, ldx, 4, y, ldy, rows0, rows1, first);
    for (; n_tok > 0; n_tok--, x += ldx, y += ldy)
        panel_toks(panel, cols, x, ldx, 1, y, ldy, rows0, rows1, first);
}

void rt_mat_avx512(rt_kernels *k) {
    k->act_quant = act_quant;
#define ENTRY(name, ...) k->mat_i8[RT_FMT_##name] = mat_##name;
    RT_MAT_FORMAT_TABLE(ENTRY)
#undef ENTRY
    k->mat_f32 = mat_f32;
}
