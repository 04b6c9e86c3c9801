/* What tc_project.h wants, for registers of 256 bits, but for p_add. */
enum { P_LANES = 8 };
typedef __m256i p_vec;
#define p_zero()  _mm256_setzero_si256()
#define p_load(p) _mm256_loadu_si256((const __m256i *)(p))

INLINE p_vec p_pair(const int16_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm256_set1_epi32(x);
}

INLINE void p_finish(p_vec sum, const float *scale, float step, float *z) {
    __m256 s = _mm256_mul_ps(_mm256_loadu_ps(scale), _mm256_set1_ps(step));
    _mm256_storeu_ps(z, _mm256_mul_ps(_mm256_cvtepi32_ps(sum), s));
}

INLINE float q_input(const float *x, const float *mean, const float *even, size_t n, float *w) {
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX));
    __m256 top = _mm256_setzero_ps();
    float lane[8], most = 0;
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        __m256 y = _mm256_sub_ps(_mm256_loadu_ps(x + j), _mm256_loadu_ps(mean + j));
        y = _mm256_mul_ps(y, _mm256_loadu_ps(even + j));
        top = _mm256_max_ps(top, _mm256_and_ps(y, no_sign));
        _mm256_storeu_ps(w + j, y);
    }
    _mm256_storeu_ps(lane, top);
    for (size_t i = 0; i < 8; i++)
        most = fmaxf(most, lane[i]);
    for (; j < n; j++) {
        w[j] = (x[j] - mean[j]) * even[j];
        most = fmaxf(most, fabsf(w[j]));
    }
    for (; j % 16; j++)
        w[j] = 0;
    return most;
}

INLINE void q_round(const float *w, size_t n, float inv, int16_t *q) {
    for (size_t j = 0; j < n; j += 8) {
        const __m256i r = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(w + j), _mm256_set1_ps(inv)));
        _mm_storeu_si128((__m128i *)(q + j), _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1)));
    }
}
