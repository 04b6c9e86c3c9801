/* Attention and cache decoding for AVX2, FMA and F16C: the plan of attn_avx512.c with 16 registers of 8 lanes. */
#include "base/fp16.h"
#include "kernels/attn/attn_plain.h"

#include <immintrin.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- products ---- */

enum { MOST_ROWS = 6, MOST_VECS = 8 };

/* How many of n rows to take next, so that few are left alone: a row by itself waits for its own sums. */
INLINE size_t next_rows(size_t n) {
    return n >= 6 && n != 7 ? 6 : n >= 4 ? 4 : n;
}

/* Call f, inlined, with as many rows as next_rows says, and as many vectors of each as registers can add up. */
#define BY_SHAPE(rows, f, ...)                                                                                                 \
    do {                                                                                                                       \
        switch (rows) {                                                                                                        \
        case 6:                                                                                                                \
            f(6, 2, __VA_ARGS__);                                                                                              \
            break;                                                                                                             \
        case 4:                                                                                                                \
            f(4, 2, __VA_ARGS__);                                                                                              \
            break;                                                                                                             \
        case 3:                                                                                                                \
            f(3, 4, __VA_ARGS__);                                                                                              \
            break;                                                                                                             \
        case 2:                                                                                                                \
            f(2, 4, __VA_ARGS__);                                                                                              \
            break;                                                                                                             \
        default:                                                                                                               \
            f(1, 8, __VA_ARGS__);                                                                                              \
            break;                                                                                                             \
        }                                                                                                                      \
    } while (0)

/* a[r][j] += w[r * ldw + i] * x[i * ldx + 8j ..], i = 0 .. n-1 in order. */
INLINE void sums(const int rows, const int vecs, const float *w, size_t ldw, size_t n, const float *x, size_t ldx,
                 __m256 a[MOST_ROWS][MOST_VECS]) {
    for (size_t i = 0; i < n; i++, x += ldx) {
        __m256 xs[MOST_VECS];
        for (int j = 0; j < vecs; j++)
            xs[j] = _mm256_loadu_ps(x + 8 * j);
        for (int r = 0; r < rows; r++) {
            __m256 wr = _mm256_broadcast_ss(w + (size_t)r * ldw + i);
            for (int j = 0; j < vecs; j++)
                a[r][j] = _mm256_fmadd_ps(wr, xs[j], a[r][j]);
        }
    }
}

INLINE void scores_rows(const int rows, const int vecs, const float *q, size_t dim, const float *kt, float *s, size_t lds) {
    for (int t = 0; t < 64; t += 8 * vecs) {
        __m256 a[MOST_ROWS][MOST_VECS];
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < vecs; j++)
                a[r][j] = _mm256_setzero_ps();
        sums(rows, vecs, q, dim, dim, kt + t, 64, a);
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < vecs; j++)
                _mm256_storeu_ps(s + (size_t)r * lds + t + 8 * j, a[r][j]);
    }
}

static void scores(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds) {
    for (size_t rows; n_q; n_q -= rows, q += rows * dim, s += rows * lds) {
        rows = next_rows(n_q);
        BY_SHAPE(rows, scores_rows, q, dim, kt, s, lds);
    }
}

/* 8 * vecs columns. */
INLINE void values_block(const int rows, const int vecs, const float *p, size_t ldp, size_t n, const float *v, size_t dim,
                         float *o) {
    __m256 a[MOST_ROWS][MOST_VECS];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            a[r][j] = _mm256_loadu_ps(o + (size_t)r * dim + 8 * j);
    sums(rows, vecs, p, ldp, n, v, dim, a);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++)
            _mm256_storeu_ps(o + (size_t)r * dim + 8 * j, a[r][j]);
}

INLINE void values_rows(const int rows, const int vecs, const float *p, size_t ldp, size_t n, const float *v, size_t dim,
                        float *o) {
    size_t c = 0;
    for (; c + 8 * (size_t)vecs <= dim; c += 8 * (size_t)vecs)
        values_block(rows, vecs, p, ldp, n, v + c, dim, o + c);
    for (; c + 8 <= dim; c += 8)
        values_block(rows, 1, p, ldp, n, v + c, dim, o + c);
    for (; c < dim; c++)
        for (int r = 0; r < rows; r++)
            for (size_t t = 0; t < n; t++)
                o[(size_t)r * dim + c] = fmaf(p[(size_t)r * ldp + t], v[t * dim + c], o[(size_t)r * dim + c]);
}

static void values(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o) {
    for (size_t rows; n_q; n_q -= rows, p += rows * ldp, o += rows * dim) {
        rows = next_rows(n_q);
        BY_SHAPE(rows, values_rows, p, ldp, n, v, dim, o);
    }
}

/* ---- half precision ---- */

static void f16_load(const uint16_t *src, size_t n, float *dst) {
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __builtin_prefetch(src + i + F16_AHEAD, 0, 2);
        for (size_t j = i; j < i + 32; j += 8)
            _mm256_storeu_ps(dst + j, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(src + j))));
    }
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

void rt_attn_avx2(rt_kernels *k) {
    attn_plain(k);
    k->attn_scores = scores;
    k->attn_values = values;
    k->f16_load = f16_load;
    k->f16_store = f16_store;
}
