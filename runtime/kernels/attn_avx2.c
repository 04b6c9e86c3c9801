/* Attention and cache decoding for AVX2, FMA and F16C: the plan of attn_avx512.c with 16 registers of 8 lanes. */
#include "attn_plain.h"
#include "fp16.h"

#include <immintrin.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- products ---- */

/* Tokens 0..15 of kt. */
INLINE void scores_block(const int rows, const float *q, size_t dim, const float *kt, float *s, size_t lds) {
    __m256 a[6][2];
    for (int r = 0; r < rows; r++)
        a[r][0] = a[r][1] = _mm256_setzero_ps();
    for (size_t c = 0; c < dim; c++, kt += 64) {
        __m256 k0 = _mm256_loadu_ps(kt), k1 = _mm256_loadu_ps(kt + 8);
        for (int r = 0; r < rows; r++) {
            __m256 x = _mm256_broadcast_ss(q + (size_t)r * dim + c);
            a[r][0] = _mm256_fmadd_ps(x, k0, a[r][0]);
            a[r][1] = _mm256_fmadd_ps(x, k1, a[r][1]);
        }
    }
    for (int r = 0; r < rows; r++) {
        _mm256_storeu_ps(s + (size_t)r * lds, a[r][0]);
        _mm256_storeu_ps(s + (size_t)r * lds + 8, a[r][1]);
    }
}

static void scores(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds) {
    for (; n_q >= 6; n_q -= 6, q += 6 * dim, s += 6 * lds)
        for (int t = 0; t < 64; t += 16)
            scores_block(6, q, dim, kt + t, s + t, lds);
    for (; n_q >= 3; n_q -= 3, q += 3 * dim, s += 3 * lds)
        for (int t = 0; t < 64; t += 16)
            scores_block(3, q, dim, kt + t, s + t, lds);
    for (; n_q; n_q--, q += dim, s += lds)
        for (int t = 0; t < 64; t += 16)
            scores_block(1, q, dim, kt + t, s + t, lds);
}

/* 8 * vecs columns. */
INLINE void values_block(const int rows, const int vecs, const float *p, size_t ldp, size_t n, const float *v, size_t dim,
                         float *o) {
    __m256 a[6][2];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            a[r][j] = _mm256_loadu_ps(o + (size_t)r * dim + 8 * j);
    for (size_t t = 0; t < n; t++, v += dim) {
        __m256 x[2];
        for (int j = 0; j < vecs; j++)
            x[j] = _mm256_loadu_ps(v + 8 * j);
        for (int r = 0; r < rows; r++) {
            __m256 w = _mm256_broadcast_ss(p + (size_t)r * ldp + t);
            for (int j = 0; j < vecs; j++)
                a[r][j] = _mm256_fmadd_ps(w, x[j], a[r][j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            _mm256_storeu_ps(o + (size_t)r * dim + 8 * j, a[r][j]);
}

INLINE void values_cols(const int rows, const float *p, size_t ldp, size_t n, const float *v, size_t dim, float *o) {
    size_t c = 0;
    for (; c + 16 <= dim; c += 16)
        values_block(rows, 2, p, ldp, n, v + c, dim, o + c);
    for (; c + 8 <= dim; c += 8)
        values_block(rows, 1, p, ldp, n, v + c, dim, o + c);
    for (; c < dim; c++)
        for (int r = 0; r < rows; r++)
            for (size_t t = 0; t < n; t++)
                o[(size_t)r * dim + c] = fmaf(p[(size_t)r * ldp + t], v[t * dim + c], o[(size_t)r * dim + c]);
}

static void values(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o) {
    for (; n_q >= 6; n_q -= 6, p += 6 * ldp, o += 6 * dim)
        values_cols(6, p, ldp, n, v, dim, o);
    for (; n_q >= 3; n_q -= 3, p += 3 * ldp, o += 3 * dim)
        values_cols(3, p, ldp, n, v, dim, o);
    for (; n_q; n_q--, p += ldp, o += dim)
        values_cols(1, p, ldp, n, v, dim, o);
}

/* ---- half precision ---- */

static void f16_load(const uint16_t *src, size_t n, float *dst) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + i))));
    for (; i < n; i++)
        dst[i] = fp16_to_fp32(src[i]);
}

static void f16_store(const float *src, size_t n, uint16_t *dst) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(dst + i), _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++)
        dst[i] = fp16_from_fp32(src[i]);
}

/* ---- transform codec ---- */

/* Entry idx of 16 floats, by its low four bits. */
INLINE __m256 look_up16(const float *table, __m256i idx) {
    __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), idx);
    __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), idx);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(idx, 28)));
}

/* Entry idx (0 .. 2^bits - 1) of a table of floats. */
INLINE __m256 look_up(unsigned bits, const float *table, __m256i idx) {
    if (bits <= 3)
        return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), idx);
    return bits == 4 ? look_up16(table, idx) : _mm256_i32gather_ps(table, idx, 4);
}

INLINE __m256i find_code(unsigned bits, const float *mids, __m256 r) {
    __m256i node = _mm256_set1_epi32(1);
    for (unsigned depth = 0; depth < bits; depth++) {
        __m256 mid = depth < 3   ? _mm256_permutevar8x32_ps(_mm256_loadu_ps(mids), node)
                     : depth < 4 ? _mm256_permutevar8x32_ps(_mm256_loadu_ps(mids + 8), node)
                     : depth < 5 ? look_up16(mids + 16, node)
                                 : _mm256_i32gather_ps(mids, node, 4);
        __m256i right = _mm256_castps_si256(_mm256_cmp_ps(r, mid, _CMP_GT_OQ)); /* -1 where so */
        node = _mm256_sub_epi32(_mm256_add_epi32(node, node), right);
    }
    return _mm256_sub_epi32(node, _mm256_set1_epi32(1 << bits));
}

/* One dimension of one token under all trials; the codes go to out (8). */
INLINE __m256 quant_dim(unsigned bits, const float *levels, const float *mids, __m256 z, __m256 gain, __m256 inv, __m256 err,
                        uint8_t *out) {
    __m256i code = find_code(bits, mids, _mm256_mul_ps(z, inv));
    __m256 d = _mm256_fnmadd_ps(gain, look_up(bits, levels, code), z);
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
    _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(words, words));
    return _mm256_fmadd_ps(d, d, err);
}

/* Lanes are trials. */
static void tc_quant(const rt_tc_book *b, const float *z, size_t ldz, size_t n, const float *gain, uint8_t *best,
                     uint8_t *codes) {
    uint8_t all[512 * RT_TC_TRIALS];
    for (size_t t = 0; t < n; t++) {
        __m256 g = _mm256_loadu_ps(gain + t * RT_TC_TRIALS), err = _mm256_setzero_ps();
        __m256 some = _mm256_cmp_ps(g, _mm256_setzero_ps(), _CMP_GT_OQ);
        __m256 inv = _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(1), g));
        for (size_t i = 0; i < b->n; i++) {
            const float *levels = b->levels + i * b->stride, *mids = b->mids + i * b->stride;
            __m256 x = _mm256_set1_ps(z[t * ldz + i]);
            uint8_t *out = all + i * RT_TC_TRIALS;
            switch (b->bits[i]) {
            case 1:
                err = quant_dim(1, levels, mids, x, g, inv, err, out);
                break;
            case 2:
                err = quant_dim(2, levels, mids, x, g, inv, err, out);
                break;
            case 3:
                err = quant_dim(3, levels, mids, x, g, inv, err, out);
                break;
            case 4:
                err = quant_dim(4, levels, mids, x, g, inv, err, out);
                break;
            case 5:
                err = quant_dim(5, levels, mids, x, g, inv, err, out);
                break;
            default:
                err = quant_dim(6, levels, mids, x, g, inv, err, out);
            }
        }
        float e[RT_TC_TRIALS];
        _mm256_storeu_ps(e, err);
        best[t] = 0;
        for (uint8_t i = 1; i < RT_TC_TRIALS; i++)
            best[t] = e[i] < e[best[t]] ? i : best[t];
        for (size_t i = 0; i < b->n; i++)
            codes[i * 64 + t] = all[i * RT_TC_TRIALS + best[t]];
    }
}

/* 32 bits of a plane -> 32 bytes, `bit` where set. */
INLINE __m256i spread(uint32_t plane, char bit) {
    const __m256i from = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i select = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i x = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)plane), from), select);
    return _mm256_and_si256(_mm256_cmpeq_epi8(x, select), _mm256_set1_epi8(bit));
}

INLINE void decode_dim(unsigned bits, const float *levels, const uint64_t *planes, const float *gain, float *out) {
    uint8_t codes[64];
    for (int half = 0; half < 2; half++) {
        __m256i code = spread((uint32_t)(planes[0] >> 32 * half), 1);
        for (unsigned p = 1; p < bits; p++)
            code = _mm256_or_si256(code, spread((uint32_t)(planes[p] >> 32 * half), (char)(1 << p)));
        _mm256_storeu_si256((__m256i *)(codes + 32 * half), code);
    }
    for (int t = 0; t < 64; t += 8) {
        __m256i idx = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(codes + t)));
        _mm256_storeu_ps(out + t, _mm256_mul_ps(_mm256_loadu_ps(gain + t), look_up(bits, levels, idx)));
    }
}

static void decode(unsigned bits, const float *levels, const uint64_t *planes, const float *gain, float *out) {
    switch (bits) {
    case 1:
        decode_dim(1, levels, planes, gain, out);
        break;
    case 2:
        decode_dim(2, levels, planes, gain, out);
        break;
    case 3:
        decode_dim(3, levels, planes, gain, out);
        break;
    case 4:
        decode_dim(4, levels, planes, gain, out);
        break;
    case 5:
        decode_dim(5, levels, planes, gain, out);
        break;
    default:
        decode_dim(6, levels, planes, gain, out);
    }
}

static void tc_cols(const rt_tc_book *b, const uint64_t *planes, const float *gain, float *kt) {
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++)
        decode(b->bits[i], b->levels + i * b->stride, planes, gain, kt + i * 64);
}

/* 8 rows of `in` (stride 64) become 8 columns. */
INLINE void transpose(const float *in, __m256 *out) {
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = _mm256_loadu_ps(in + 64 * i);
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        out[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
        out[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
}

static void tc_rows(const rt_tc_book *b, const uint64_t *planes, const float *gain, size_t n_tok, float *v, size_t ldv) {
    float t[8 * 64];
    __m256 col[8];
    for (size_t i = 0; i < ldv; i += 8) {
        for (size_t d = i; d < i + 8; d++) {
            if (d < b->n) {
                decode(b->bits[d], b->levels + d * b->stride, planes, gain, t + (d - i) * 64);
                planes += b->bits[d];
            } else {
                for (int j = 0; j < 64; j += 8)
                    _mm256_storeu_ps(t + (d - i) * 64 + j, _mm256_setzero_ps());
            }
        }
        size_t width = ldv - i < 8 ? ldv - i : 8;
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)width), lanes);
        for (size_t j = 0; j < n_tok; j += 8) {
            transpose(t + j, col);
            for (size_t r = 0; r < 8 && j + r < n_tok; r++)
                _mm256_maskstore_ps(v + (j + r) * ldv + i, mask, col[r]);
        }
    }
}

void rt_attn_avx2(rt_kernels *k) {
    attn_plain(k);
    k->attn_scores = scores;
    k->attn_values = values;
    k->f16_load = f16_load;
    k->f16_store = f16_store;
    k->tc_quant = tc_quant;
    k->tc_cols = tc_cols;
    k->tc_rows = tc_rows;
}
