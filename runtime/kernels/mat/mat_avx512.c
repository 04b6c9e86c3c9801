/* Matrix kernels for AVX-512 (F, BW, VL, DQ), without VNNI. Layouts and the order of sums: mat/format.h. */
#include "kernels/mat/mat_avx512.h"

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
        __m256i q = _mm256_inserti128_si256(_mm256_castsi128_si256(q0), q1, 1);
        /* sums of eight codes + 128, then of sixteen without */
        __m256i sum = _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8((char)0x80)), _mm256_setzero_si256());
        sum = _mm256_sub_epi32(_mm256_add_epi32(sum, _mm256_unpackhi_epi64(sum, sum)), _mm256_set1_epi32(16 * 128));
        int s0 = _mm256_extract_epi32(sum, 0), s1 = _mm256_extract_epi32(sum, 4);
        out->sum = (float)(s0 + s1);
        out->sum2[0] = (float)s0;
        out->sum2[1] = (float)s1;
        _mm256_storeu_si256((__m256i *)out->q, q);
    }
}

RT_MAT_FORMAT_TABLE(MAT_I8)

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

static void mat_f32(const void *weights, size_t cols, const float *x, size_t ldx, size_t n_tok, float *y, size_t ldy,
                    size_t n_rows, bool first) {
    const float *panel = weights;
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
    k->mat_f32 = mat_f32;
    RT_MAT_FORMAT_TABLE(MAT_I8_ENTRY)
}
