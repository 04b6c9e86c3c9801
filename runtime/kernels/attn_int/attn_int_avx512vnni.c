/* Attention in codes for AVX-512 with VNNI: VPDPBUSD sums products of four pairs of unsigned and signed bytes in each of 16
 * lanes, so codes of 16 bits are split into two bytes and a sum is 256 times that of the high bytes plus that of the low ones.
 *   - keys: (4 groups of tokens, ld/4, 16 tokens, 4 coordinates), levels + 128; ld = cdim rounded up to 64
 *   - queries: high bytes (ld), low bytes (ld), both signed
 *   - values: (cdim/16, 16 quads of tokens, 16 coordinates, 4 tokens)
 *   - weights: high bytes (RT_INT_SPAN), low bytes (RT_INT_SPAN), both unsigned
 *
 * AMX (attn_int/attn_int_amx.c) shares these layouts.
 */
#include "kernels/attn_int/attn_int_avx512.h"

#include <math.h>
#include <string.h>

enum { SPAN = RT_INT_SPAN };

INLINE __m512i quad(const uint8_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

/* ---- tiles ---- */

static void keys(const int8_t *levels, size_t cdim, void *tile) {
    int_pack_keys(levels, cdim, _mm512_set1_epi8((char)0x80), tile);
}

/* 16 coordinates at a time: their 16 x 16 quads, transposed. a[j] gets quads 4x .. 4x+3 of coordinates j, 4+j, 8+j and 12+j,
 * each in a quarter of its own, straight from memory: shuffles have one port, loads two. */
static void vals(const int8_t *levels, size_t cdim, void *tile) {
    char *out = tile;
    for (size_t i = 0; i < cdim; i += 16, levels += 16 * 64)
        for (size_t x = 0; x < 64; x += 16, out += 4 * 64) {
            __m512i a[4], b[4];
            for (size_t j = 0; j < 4; j++)
                a[j] = load_quarters(levels + 64 * j + x, 4 * 64);
            for (int j = 0; j < 4; j += 2) {
                b[j] = _mm512_unpacklo_epi32(a[j], a[j + 1]);
                b[j + 1] = _mm512_unpackhi_epi32(a[j], a[j + 1]);
            }
            for (int j = 0; j < 2; j++) {
                _mm512_storeu_si512(out + 128 * j, _mm512_unpacklo_epi64(b[j], b[j + 2]));
                _mm512_storeu_si512(out + 128 * j + 64, _mm512_unpackhi_epi64(b[j], b[j + 2]));
            }
        }
}

/* ---- scores ---- */

static float query(const float *w, size_t cdim, void *code) {
    const size_t ld = (cdim + 63) / 64 * 64;
    __m512i top = _mm512_setzero_si512();
    for (size_t i = 0; i < cdim; i += 16) /* as integers: NaN is above Inf */
        top = _mm512_max_epi32(top, _mm512_castps_si512(_mm512_abs_ps(_mm512_loadu_ps(w + i))));
    float amax = _mm512_cvtss_f32(_mm512_castsi512_ps(_mm512_set1_epi32(_mm512_reduce_max_epi32(top))));
    bool some = amax >= 0x1p-100f && amax < INFINITY;
    __m512 inv = _mm512_set1_ps(some ? RT_INT_QUERY / amax : 0);
    char *out = code;
    memset(out, 0, 2 * ld);
    for (size_t i = 0; i < cdim && some; i += 16) {
        __m512i c = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(w + i), inv));
        __m512i high = _mm512_srai_epi32(_mm512_add_epi32(c, _mm512_set1_epi32(128)), 8);
        _mm_storeu_si128((__m128i *)(out + i), _mm512_cvtepi32_epi8(high));
        _mm_storeu_si128((__m128i *)(out + ld + i), _mm512_cvtepi32_epi8(c));
    }
    return amax < INFINITY ? (some ? amax / RT_INT_QUERY : 0) : NAN;
}

/* 128 times the sum of a row's codes: what the + 128 of the levels adds to a score. */
INLINE int32_t surplus(const uint8_t *code, size_t cdim) {
    const size_t ld = (cdim + 63) / 64 * 64;
    const __m512i each = _mm512_set1_epi8((char)128);
    __m512i high = _mm512_setzero_si512(), low = high;
    for (size_t i = 0; i < ld; i += 64) {
        high = _mm512_dpbusd_epi32(high, each, _mm512_loadu_si512(code + i));
        low = _mm512_dpbusd_epi32(low, each, _mm512_loadu_si512(code + ld + i));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
}

/* 32 tokens from `tile` on. */
INLINE void scores_block(const int rows, const uint8_t *code, const int32_t *extra, size_t cdim, const uint8_t *tile,
                         const float *scale, const float *bias, const float *gain, float *s) {
    const size_t ld = (cdim + 63) / 64 * 64, row = rt_int_row(cdim);
    __m512i high[4][2], low[4][2];
    for (int r = 0; r < rows; r++) {
        high[r][0] = high[r][1] = _mm512_setzero_si512();
        low[r][0] = low[r][1] = _mm512_set1_epi32(-extra[r]);
    }
    for (size_t i = 0; i < cdim; i += 4, tile += 64) {
        __m512i k0 = _mm512_loadu_si512(tile), k1 = _mm512_loadu_si512(tile + int_key_group(cdim));
        for (int r = 0; r < rows; r++) {
            __m512i h = quad(code + (size_t)r * row + i), l = quad(code + (size_t)r * row + ld + i);
            high[r][0] = _mm512_dpbusd_epi32(high[r][0], k0, h);
            high[r][1] = _mm512_dpbusd_epi32(high[r][1], k1, h);
            low[r][0] = _mm512_dpbusd_epi32(low[r][0], k0, l);
            low[r][1] = _mm512_dpbusd_epi32(low[r][1], k1, l);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 2; j++) {
            __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high[r][j], 8), low[r][j]));
            __m512 by = _mm512_mul_ps(_mm512_set1_ps(scale[r]), _mm512_loadu_ps(gain + 16 * j));
            _mm512_storeu_ps(s + (size_t)r * SPAN + 16 * j, _mm512_fmadd_ps(sum, by, _mm512_set1_ps(bias[r])));
        }
}

/* Up to 4 rows. */
INLINE void scores_rows(const int rows, const uint8_t *code, size_t cdim, const uint8_t *tiles, size_t n_tile,
                        const float *scale, const float *bias, const float *gain, float *s) {
    int32_t extra[4];
    for (int r = 0; r < rows; r++)
        extra[r] = surplus(code + (size_t)r * rt_int_row(cdim), cdim);
    for (size_t t = 0; t < 64 * n_tile; t += 32)
        scores_block(rows, code, extra, cdim, tiles + t / 64 * rt_int_tile(cdim) + t % 64 / 16 * int_key_group(cdim), scale,
                     bias, gain + t, s + t);
}

static void scores(const void *code, size_t n_q, size_t cdim, const void *tiles, size_t n_tile, const float *scale,
                   const float *bias, const float *gain, float *s) {
    for (size_t r = 0; r < n_q; r += 4) {
        const uint8_t *c = (const uint8_t *)code + r * rt_int_row(cdim);
#define SCORES(rows) scores_rows(rows, c, cdim, tiles, n_tile, scale + r, bias + r, gain, s + r * SPAN)
        switch (n_q - r) {
        case 1:
            SCORES(1);
            break;
        case 2:
            SCORES(2);
            break;
        case 3:
            SCORES(3);
            break;
        default:
            SCORES(4);
        }
    }
}

/* ---- weights ---- */

/* 2^x for x <= 0, 0 below 2^-100; NaN stays. */
INLINE __m512 exp2_neg(__m512 x) {
    const __m512 magic = _mm512_set1_ps(0x1.8p23f);
    __m512 t = _mm512_add_ps(x, magic), r = _mm512_sub_ps(x, _mm512_sub_ps(t, magic)), p = _mm512_set1_ps(0x1.3a02d2p-7f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.c9fc48p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ec0378p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e12cp-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    __mmask16 some = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-100), _CMP_NLT_UQ);
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_maskz_add_epi32(some, _mm512_castps_si512(p), n));
}

INLINE float fold(__m512 v) {
    __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)));
}

static float weights(float *s, size_t from, size_t to, const float *gain, void *p, float *top) {
    const size_t lo = from & ~(size_t)63, hi = (to + 63) & ~(size_t)63;
    const __m512i byte = _mm512_set1_epi16(255);
    for (size_t t = lo; t < from; t++)
        s[t] = -INFINITY;
    for (size_t t = to; t < hi; t++)
        s[t] = -INFINITY;
    __m512 most[2], sum = _mm512_setzero_ps();
    most[0] = most[1] = _mm512_set1_ps(-INFINITY);
    for (size_t t = lo; t < hi; t += 32)
        for (int j = 0; j < 2; j++)
            most[j] = _mm512_max_ps(_mm512_loadu_ps(s + t + 16 * j), most[j]);
    *top = _mm512_reduce_max_ps(_mm512_max_ps(most[0], most[1]));
    for (size_t t = lo; t < hi; t += 64) {
        __m512i c[4];
        for (size_t j = 0; j < 4; j++) {
            __m512 e = exp2_neg(_mm512_sub_ps(_mm512_loadu_ps(s + t + 16 * j), _mm512_set1_ps(*top)));
            sum = _mm512_add_ps(sum, e);
            c[j] = _mm512_cvtps_epi32(_mm512_mul_ps(e, _mm512_loadu_ps(gain + t + 16 * j)));
        }
        __m512i a = _mm512_packs_epi32(c[0], c[1]), b = _mm512_packs_epi32(c[2], c[3]);
        __m512i high = _mm512_packus_epi16(_mm512_srli_epi16(a, 8), _mm512_srli_epi16(b, 8));
        __m512i low = _mm512_packus_epi16(_mm512_and_si512(a, byte), _mm512_and_si512(b, byte));
        _mm512_storeu_si512((char *)p + t, swap4x4(high));
        _mm512_storeu_si512((char *)p + SPAN + t, swap4x4(low));
    }
    return fold(sum);
}

/* ---- values ---- */

/* Coordinates 0 .. 16 vecs - 1 of `tile`. */
INLINE void values_block(const int rows, const int vecs, const uint8_t *p, size_t cdim, const uint8_t *tile, size_t first,
                         size_t last, const float *scale, float *o) {
    __m512i high[4][2], low[4][2];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            high[r][j] = low[r][j] = _mm512_setzero_si512();
    tile += first * rt_int_tile(cdim);
    for (size_t n = first; n < last; n++, tile += rt_int_tile(cdim))
        for (size_t q = 0; q < 16; q++) {
            __m512i v[2];
            for (int j = 0; j < vecs; j++)
                v[j] = _mm512_loadu_si512(tile + 64 * q + CODE_REGISTER * (size_t)j);
            for (int r = 0; r < rows; r++) {
                const uint8_t *at = p + (size_t)r * 2 * SPAN + 64 * n + 4 * q;
                __m512i h = quad(at), l = quad(at + SPAN);
                for (int j = 0; j < vecs; j++) {
                    high[r][j] = _mm512_dpbusd_epi32(high[r][j], h, v[j]);
                    low[r][j] = _mm512_dpbusd_epi32(low[r][j], l, v[j]);
                }
            }
        }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++) {
            __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high[r][j], 8), low[r][j]);
            _mm512_storeu_ps(o + (size_t)r * cdim + 16 * j, _mm512_mul_ps(_mm512_set1_ps(scale[r]), _mm512_cvtepi32_ps(sum)));
        }
}

INLINE void values_rows(const int rows, const uint8_t *p, size_t cdim, const uint8_t *tiles, size_t first, size_t last,
                        const float *scale, float *o) {
    for (size_t i = 0; i + 32 <= cdim; i += 32)
        values_block(rows, 2, p, cdim, tiles + i / 16 * CODE_REGISTER, first, last, scale, o + i);
    if (cdim % 32)
        values_block(rows, 1, p, cdim, tiles + (cdim / 16 - 1) * CODE_REGISTER, first, last, scale, o + cdim - 16);
}

static void values(const void *weight, size_t n_q, size_t cdim, const void *tiles, size_t first, size_t last,
                   const float *scale, float *o) {
    const uint8_t *p = weight;
    for (; n_q >= 4; n_q -= 4, p += 4 * 2 * SPAN, scale += 4, o += 4 * cdim)
        values_rows(4, p, cdim, tiles, first, last, scale, o);
    switch (n_q) {
    case 1:
        values_rows(1, p, cdim, tiles, first, last, scale, o);
        break;
    case 2:
        values_rows(2, p, cdim, tiles, first, last, scale, o);
        break;
    case 3:
        values_rows(3, p, cdim, tiles, first, last, scale, o);
    }
}

void rt_attn_int_avx512vnni(rt_kernels *k) {
    k->int_keys = keys;
    k->int_vals = vals;
    k->int_query = query;
    k->int_scores = scores;
    k->int_weights = weights;
    k->int_values = values;
}
