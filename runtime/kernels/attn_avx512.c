/* Attention and cache decoding for AVX-512 (F, BW, VL, DQ). Lanes run over independent outputs, sums in the order of
 * attn_scalar.c. Products keep a block of query rows times four vectors in registers.
 */
#include "attn_plain.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- products ---- */

INLINE void scores_block(const int rows, const float *q, size_t dim, const float *kt, float *s, size_t lds) {
    __m512 a[6][4];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 4; j++)
            a[r][j] = _mm512_setzero_ps();
    for (size_t c = 0; c < dim; c++, kt += 64) {
        __m512 k[4];
        for (int j = 0; j < 4; j++)
            k[j] = _mm512_loadu_ps(kt + 16 * j);
        for (int r = 0; r < rows; r++) {
            __m512 x = _mm512_set1_ps(q[(size_t)r * dim + c]);
            for (int j = 0; j < 4; j++)
                a[r][j] = _mm512_fmadd_ps(x, k[j], a[r][j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < 4; j++)
            _mm512_storeu_ps(s + (size_t)r * lds + 16 * j, a[r][j]);
}

static void scores(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds) {
    for (; n_q >= 6; n_q -= 6, q += 6 * dim, s += 6 * lds)
        scores_block(6, q, dim, kt, s, lds);
    switch (n_q) {
    case 5:
        scores_block(5, q, dim, kt, s, lds);
        break;
    case 4:
        scores_block(4, q, dim, kt, s, lds);
        break;
    case 3:
        scores_block(3, q, dim, kt, s, lds);
        break;
    case 2:
        scores_block(2, q, dim, kt, s, lds);
        break;
    case 1:
        scores_block(1, q, dim, kt, s, lds);
    }
}

/* vecs vectors of columns; the last one under mask m. */
INLINE void values_block(const int rows, const int vecs, __mmask16 m, const float *p, size_t ldp, size_t n, const float *v,
                         size_t dim, float *o) {
    __m512 a[6][4];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            a[r][j] = _mm512_maskz_loadu_ps(j == vecs - 1 ? m : 0xffff, o + (size_t)r * dim + 16 * j);
    for (size_t t = 0; t < n; t++, v += dim) {
        __m512 x[4];
        for (int j = 0; j < vecs; j++)
            x[j] = _mm512_maskz_loadu_ps(j == vecs - 1 ? m : 0xffff, v + 16 * j);
        for (int r = 0; r < rows; r++) {
            __m512 w = _mm512_set1_ps(p[(size_t)r * ldp + t]);
            for (int j = 0; j < vecs; j++)
                a[r][j] = _mm512_fmadd_ps(w, x[j], a[r][j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            _mm512_mask_storeu_ps(o + (size_t)r * dim + 16 * j, j == vecs - 1 ? m : 0xffff, a[r][j]);
}

INLINE void values_cols(const int rows, const float *p, size_t ldp, size_t n, const float *v, size_t dim, float *o) {
    size_t c = 0;
    for (; c + 64 <= dim; c += 64)
        values_block(rows, 4, 0xffff, p, ldp, n, v + c, dim, o + c);
    for (; c + 32 <= dim; c += 32)
        values_block(rows, 2, 0xffff, p, ldp, n, v + c, dim, o + c);
    for (; c < dim; c += 16)
        values_block(rows, 1, (__mmask16)(dim - c < 16 ? (1u << (dim - c)) - 1 : 0xffff), p, ldp, n, v + c, dim, o + c);
}

static void values(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o) {
    for (; n_q >= 6; n_q -= 6, p += 6 * ldp, o += 6 * dim)
        values_cols(6, p, ldp, n, v, dim, o);
    switch (n_q) {
    case 5:
        values_cols(5, p, ldp, n, v, dim, o);
        break;
    case 4:
        values_cols(4, p, ldp, n, v, dim, o);
        break;
    case 3:
        values_cols(3, p, ldp, n, v, dim, o);
        break;
    case 2:
        values_cols(2, p, ldp, n, v, dim, o);
        break;
    case 1:
        values_cols(1, p, ldp, n, v, dim, o);
    }
}

/* ---- half precision ---- */

static void f16_load(const uint16_t *src, size_t n, float *dst) {
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffff);
        _mm512_mask_storeu_ps(dst + i, m, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, src + i)));
    }
}

static void f16_store(const float *src, size_t n, uint16_t *dst) {
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = (__mmask16)(n - i < 16 ? (1u << (n - i)) - 1 : 0xffff);
        __m256i h = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(m, src + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(dst + i, m, h);
    }
}

/* ---- transform codec ---- */

/* Entry idx (0 .. 2^bits - 1) of a table of floats. */
INLINE __m512 look_up(unsigned bits, const float *table, __m512i idx) {
    __m512 t0 = _mm512_loadu_ps(table);
    if (bits <= 4)
        return _mm512_permutexvar_ps(idx, t0);
    __m512 low = _mm512_permutex2var_ps(t0, idx, _mm512_loadu_ps(table + 16));
    if (bits == 5)
        return low;
    __m512 high = _mm512_permutex2var_ps(_mm512_loadu_ps(table + 32), idx, _mm512_loadu_ps(table + 48));
    return _mm512_mask_mov_ps(low, _mm512_test_epi32_mask(idx, _mm512_set1_epi32(32)), high);
}

/* Walk down the search tree. The nodes of a depth are a table of their own: permutations look at the low bits of an index
 * only, so a node number serves as it is. */
INLINE __m512i find_code(unsigned bits, const float *mids, __m512 r) {
    const __m512i one = _mm512_set1_epi32(1);
    __m512i node = one;
    __m512 top = _mm512_loadu_ps(mids);
    for (unsigned depth = 0; depth < bits; depth++) {
        __m512 mid = depth < 4    ? _mm512_permutexvar_ps(node, top)
                     : depth == 4 ? _mm512_permutexvar_ps(node, _mm512_loadu_ps(mids + 16))
                                  : _mm512_permutex2var_ps(_mm512_loadu_ps(mids + 32), node, _mm512_loadu_ps(mids + 48));
        __mmask16 right = _mm512_cmp_ps_mask(r, mid, _CMP_GT_OQ);
        node = _mm512_add_epi32(node, node);
        node = _mm512_mask_or_epi32(node, right, node, one);
    }
    return _mm512_sub_epi32(node, _mm512_set1_epi32(1 << bits));
}

/* One dimension of two tokens under all trials; the codes go to out (16). */
INLINE __m512 quant_dim(unsigned bits, const float *levels, const float *mids, __m512 z, __m512 gain, __m512 inv, __m512 err,
                        uint8_t *out) {
    __m512i code = find_code(bits, mids, _mm512_mul_ps(z, inv));
    __m512 d = _mm512_fnmadd_ps(gain, look_up(bits, levels, code), z);
    _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8(code));
    return _mm512_fmadd_ps(d, d, err);
}

static uint8_t least(const float *err) {
    uint8_t best = 0;
    for (uint8_t i = 1; i < RT_TC_TRIALS; i++)
        best = err[i] < err[best] ? i : best;
    return best;
}

/* Lanes are trials: 8 of one token and 8 of the next (of the same one again at the end of an odd run). */
static void tc_quant(const rt_tc_book *b, const float *z, size_t ldz, size_t n, const float *gain, uint8_t *best,
                     uint8_t *codes) {
    uint8_t all[512 * 16];
    for (size_t t = 0; t < n; t += 2) {
        size_t u = t + 1 < n ? t + 1 : t;
        const float *z0 = z + t * ldz, *z1 = z + u * ldz;
        __m512 g = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(gain + t * RT_TC_TRIALS)),
                                      _mm256_loadu_ps(gain + u * RT_TC_TRIALS), 1);
        __mmask16 some = _mm512_cmp_ps_mask(g, _mm512_setzero_ps(), _CMP_GT_OQ);
        __m512 inv = _mm512_maskz_div_ps(some, _mm512_set1_ps(1), g), err = _mm512_setzero_ps();
        for (size_t i = 0; i < b->n; i++) {
            const float *levels = b->levels + i * b->stride, *mids = b->mids + i * b->stride;
            __m512 x = _mm512_mask_mov_ps(_mm512_set1_ps(z0[i]), 0xff00, _mm512_set1_ps(z1[i]));
            switch (b->bits[i]) {
            case 1:
                err = quant_dim(1, levels, mids, x, g, inv, err, all + i * 16);
                break;
            case 2:
                err = quant_dim(2, levels, mids, x, g, inv, err, all + i * 16);
                break;
            case 3:
                err = quant_dim(3, levels, mids, x, g, inv, err, all + i * 16);
                break;
            case 4:
                err = quant_dim(4, levels, mids, x, g, inv, err, all + i * 16);
                break;
            case 5:
                err = quant_dim(5, levels, mids, x, g, inv, err, all + i * 16);
                break;
            default:
                err = quant_dim(6, levels, mids, x, g, inv, err, all + i * 16);
            }
        }
        float e[16];
        _mm512_storeu_ps(e, err);
        best[t] = least(e);
        best[u] = least(u > t ? e + 8 : e);
        for (size_t i = 0; i < b->n; i++) {
            codes[i * 64 + t] = all[i * 16 + best[t]];
            if (u > t)
                codes[i * 64 + u] = all[i * 16 + 8 + best[u]];
        }
    }
}

/* One dimension, `vecs` vectors of 16 tokens: planes are masks over the 64 tokens. */
INLINE void decode_dim(unsigned bits, const float *levels, const uint64_t *planes, const __m512 *gain, int vecs, float *out) {
    __m512i code = _mm512_maskz_set1_epi8(planes[0], 1);
    for (unsigned p = 1; p < bits; p++)
        code = _mm512_or_si512(code, _mm512_maskz_set1_epi8(planes[p], (char)(1 << p)));
    __m128i part[4] = {_mm512_castsi512_si128(code), _mm512_extracti32x4_epi32(code, 1), _mm512_extracti32x4_epi32(code, 2),
                       _mm512_extracti32x4_epi32(code, 3)};
    for (int j = 0; j < vecs; j++)
        _mm512_storeu_ps(out + 16 * j, _mm512_mul_ps(gain[j], look_up(bits, levels, _mm512_cvtepu8_epi32(part[j]))));
}

INLINE void decode(unsigned bits, const float *levels, const uint64_t *planes, const __m512 *gain, int vecs, float *out) {
    switch (bits) {
    case 1:
        decode_dim(1, levels, planes, gain, vecs, out);
        break;
    case 2:
        decode_dim(2, levels, planes, gain, vecs, out);
        break;
    case 3:
        decode_dim(3, levels, planes, gain, vecs, out);
        break;
    case 4:
        decode_dim(4, levels, planes, gain, vecs, out);
        break;
    case 5:
        decode_dim(5, levels, planes, gain, vecs, out);
        break;
    default:
        decode_dim(6, levels, planes, gain, vecs, out);
    }
}

static void tc_cols(const rt_tc_book *b, const uint64_t *planes, const float *gain, float *kt) {
    __m512 g[4];
    for (int j = 0; j < 4; j++)
        g[j] = _mm512_loadu_ps(gain + 16 * j);
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++)
        decode(b->bits[i], b->levels + i * b->stride, planes, g, 4, kt + i * 64);
}

/* 16 rows of `in` (stride 64) become 16 columns: rows of out (stride ldo), of which `rows` are written under mask m. */
INLINE void transpose(const float *in, float *out, size_t ldo, size_t rows, __mmask16 m) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = _mm512_loadu_ps(in + 64 * i);
    for (int i = 0; i < 16; i += 2) { /* pairs of rows, then fours, within 128-bit quarters */
        b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int h = 0; h < 2; h++) {
            __m512d x = _mm512_castps_pd(b[i + h]), y = _mm512_castps_pd(b[i + h + 2]);
            a[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
            a[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
        }
    for (int i = 0; i < 4; i++) { /* now a[4g + i], quarter x: rows 4g..4g+3 of column 4x + i */
        __m512 lo = _mm512_shuffle_f32x4(a[i], a[4 + i], 0x88), hi = _mm512_shuffle_f32x4(a[i], a[4 + i], 0xdd);
        __m512 lo2 = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0x88), hi2 = _mm512_shuffle_f32x4(a[8 + i], a[12 + i], 0xdd);
        b[i] = _mm512_shuffle_f32x4(lo, lo2, 0x88);
        b[8 + i] = _mm512_shuffle_f32x4(lo, lo2, 0xdd);
        b[4 + i] = _mm512_shuffle_f32x4(hi, hi2, 0x88);
        b[12 + i] = _mm512_shuffle_f32x4(hi, hi2, 0xdd);
    }
    for (size_t i = 0; i < 16; i++)
        if (i < rows)
            _mm512_mask_storeu_ps(out + i * ldo, m, b[i]);
}

static void tc_rows(const rt_tc_book *b, const uint64_t *planes, const float *gain, size_t n_tok, float *v, size_t ldv) {
    __m512 g[4];
    float t[16 * 64];
    int vecs = (int)((n_tok + 15) / 16);
    for (int j = 0; j < 4; j++)
        g[j] = _mm512_loadu_ps(gain + 16 * j);
    for (size_t i = 0; i < ldv; i += 16) {
        for (size_t d = i; d < i + 16; d++) {
            if (d < b->n) {
                decode(b->bits[d], b->levels + d * b->stride, planes, g, vecs, t + (d - i) * 64);
                planes += b->bits[d];
            } else {
                for (int j = 0; j < vecs; j++)
                    _mm512_storeu_ps(t + (d - i) * 64 + 16 * j, _mm512_setzero_ps());
            }
        }
        __mmask16 m = (__mmask16)(ldv - i < 16 ? (1u << (ldv - i)) - 1 : 0xffff);
        for (size_t j = 0; j < n_tok; j += 16)
            transpose(t + j, v + j * ldv + i, ldv, n_tok - j, m);
    }
}

void rt_attn_avx512(rt_kernels *k) {
    attn_plain(k);
    k->attn_scores = scores;
    k->attn_values = values;
    k->f16_load = f16_load;
    k->f16_store = f16_store;
    k->tc_quant = tc_quant;
    k->tc_cols = tc_cols;
    k->tc_rows = tc_rows;
}
