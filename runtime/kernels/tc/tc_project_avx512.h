/* What tc_project.h wants, for AVX-512, but for p_add. */
enum { P_LANES = 16 };
typedef __m512i p_vec;
#define p_zero()  _mm512_setzero_si512()
#define p_load(p) _mm512_loadu_si512(p)

INLINE p_vec p_pair(const int16_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

INLINE void p_finish(p_vec sum, const float *scale, float step, float *z) {
    __m512 s = _mm512_mul_ps(_mm512_loadu_ps(scale), _mm512_set1_ps(step));
    _mm512_storeu_ps(z, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), s));
}

INLINE float q_input(const float *x, const float *mean, const float *even, size_t n, float *w) {
    __m512 most = _mm512_setzero_ps();
    for (size_t j = 0; j < n; j += 16) {
        const __mmask16 m = (__mmask16)(n - j < 16 ? (1u << (n - j)) - 1 : 0xffff);
        __m512 y = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + j), _mm512_maskz_loadu_ps(m, mean + j));
        y = _mm512_mul_ps(y, _mm512_maskz_loadu_ps(m, even + j));
        most = _mm512_max_ps(most, _mm512_abs_ps(y));
        _mm512_storeu_ps(w + j, y);
    }
    return _mm512_reduce_max_ps(most);
}

INLINE void q_round(const float *w, size_t n, float inv, int16_t *q) {
    for (size_t j = 0; j < n; j += 16) {
        const __m512i r = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(w + j), _mm512_set1_ps(inv)));
        _mm256_storeu_si256((__m256i *)(q + j), _mm512_cvtepi32_epi16(r));
    }
}
