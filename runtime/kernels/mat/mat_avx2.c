/* Matrix kernels for AVX2 without VNNI: mat_avx2.h. */
#include "kernels/mat/mat_avx2.h"

INLINE int sum_lanes(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

INLINE float max_lanes(__m256i v) { /* of the bits of numbers >= 0 */
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    return _mm_cvtss_f32(_mm_castsi128_ps(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1))));
}

static void act_quant(const float *x, size_t n, rt_act_block *out, size_t stride) {
    const __m256i abs = _mm256_set1_epi32(0x7fffffff), order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256 magic = _mm256_set1_ps(0x1.8p23f);
    for (size_t b = 0; b < n / RT_KBLOCK; b++, x += RT_KBLOCK, out += stride) {
        __m256i amaxes = _mm256_setzero_si256(), q[4];
        for (int i = 0; i < 4; i++)
            amaxes = _mm256_max_epi32(amaxes, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * i)), abs));
        float amax = max_lanes(amaxes);
        bool zero = amax < 0x1p-100f;
        __m256 inv = _mm256_set1_ps(zero ? 0.0f : 127.0f / amax);
        out->d = zero ? 0.0f : amax / 127.0f;
        for (int i = 0; i < 4; i++) { /* the low byte of each lane, sign extended */
            __m256i v = _mm256_castps_si256(_mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inv), magic));
            q[i] = _mm256_srai_epi32(_mm256_slli_epi32(v, 24), 24);
        }
        int s0 = sum_lanes(_mm256_add_epi32(q[0], q[1])), s1 = sum_lanes(_mm256_add_epi32(q[2], q[3]));
        out->sum = (float)(s0 + s1);
        out->sum2[0] = (float)s0;
        out->sum2[1] = (float)s1;
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
        _mm256_storeu_si256((__m256i *)out->q, _mm256_permutevar8x32_epi32(bytes, order));
    }
}

RT_MAT_FORMAT_TABLE(MAT_I8)

INLINE __m256 load_rows(const float *y, size_t n) {
    if (n >= LANES)
        return _mm256_loadu_ps(y);
    return _mm256_maskload_ps(y, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
}

/* Sixteen rows of a panel, of which n_rows > 0 count, and `toks` tokens. */
INLINE void panel_toks(const float *panel, size_t cols, const float *x, size_t ldx, int toks, float *y, size_t ldy,
                       size_t n_rows, bool first) {
    enum { MAX = 6 };
    __m256 acc0[MAX], acc1[MAX];
    size_t n_hi = n_rows > LANES ? n_rows - LANES : 0;
#pragma GCC unroll 6
    for (int t = 0; t < toks; t++) {
        acc0[t] = first ? _mm256_setzero_ps() : load_rows(y + (size_t)t * ldy, n_rows);
        acc1[t] = first || n_hi == 0 ? _mm256_setzero_ps() : load_rows(y + (size_t)t * ldy + LANES, n_hi);
    }
    for (size_t c = 0; c < cols; c++, panel += RT_PANEL_ROWS) {
        __m256 w0 = _mm256_loadu_ps(panel), w1 = _mm256_loadu_ps(panel + LANES);
#pragma GCC unroll 6
        for (int t = 0; t < toks; t++) {
            __m256 v = _mm256_set1_ps(x[(size_t)t * ldx + c]);
            acc0[t] = _mm256_fmadd_ps(w0, v, acc0[t]);
            acc1[t] = _mm256_fmadd_ps(w1, v, acc1[t]);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < toks; t++) {
        store_rows(y + (size_t)t * ldy, acc0[t], n_rows);
        if (n_hi > 0)
            store_rows(y + (size_t)t * ldy + LANES, acc1[t], n_hi);
    }
}

static void mat_f32(const void *weights, size_t cols, const float *x, size_t ldx, size_t n_tok, float *y, size_t ldy,
                    size_t n_rows, bool first) {
    const float *panel = weights;
    for (size_t row = 0; row < n_rows; row += 2 * LANES) {
        size_t t = 0;
        for (; n_tok - t >= 6; t += 6)
            panel_toks(panel + row, cols, x + t * ldx, ldx, 6, y + t * ldy + row, ldy, n_rows - row, first);
        for (; n_tok - t >= 4; t += 4)
            panel_toks(panel + row, cols, x + t * ldx, ldx, 4, y + t * ldy + row, ldy, n_rows - row, first);
        for (; t < n_tok; t++)
            panel_toks(panel + row, cols, x + t * ldx, ldx, 1, y + t * ldy + row, ldy, n_rows - row, first);
    }
}

void rt_mat_avx2(rt_kernels *k) {
    k->act_quant = act_quant;
    RT_MAT_FORMAT_TABLE(MAT_I8_ENTRY)
    k->mat_f32 = mat_f32;
}
