/* Attention in codes with AMX: the layouts of code_avx512vnni.c are what tile registers take. A row of a tile of queries or
 * weights is 64 bytes of one row's codes, one of keys or values 16 dwords of four bytes. Four sums are made side by side: of
 * high and low bytes, of two groups of 16 tokens or coordinates.
 */
#include "kernels.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { SPAN = RT_CODE_SPAN, ROWS = 16, SUM = 16 * ROWS };

/* Tile registers: 0-3 sums, 4-5 high and low bytes of n rows, 6-7 keys or values. */
static void configure(size_t n) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 64;
        c.rows[i] = i < 6 ? (uint8_t)n : 16;
    }
    _tile_loadconfig(&c);
}

/* Sums of 32 tokens: sum (2 groups, high and low, rows, 16). */
INLINE void multiply_keys(const char *code, size_t cdim, const char *tile, const int32_t *zero, int32_t *sum) {
    const size_t ld = (cdim + 63) / 64 * 64, row = rt_code_row(cdim);
    _tile_zero(0);
    _tile_loadd(1, zero, 64);
    _tile_zero(2);
    _tile_loadd(3, zero, 64);
    for (size_t i = 0; i < cdim; i += 64, tile += 16 * 256) {
        _tile_loadd(4, code + i, row);
        _tile_loadd(6, tile, 256);
        _tile_dpbsud(0, 4, 6);
        _tile_loadd(5, code + ld + i, row);
        _tile_dpbsud(1, 5, 6);
        _tile_loadd(7, tile + 64, 256);
        _tile_dpbsud(2, 4, 7);
        _tile_dpbsud(3, 5, 7);
    }
    _tile_stored(0, sum, 64);
    _tile_stored(1, sum + SUM, 64);
    _tile_stored(2, sum + 2 * SUM, 64);
    _tile_stored(3, sum + 3 * SUM, 64);
}

INLINE __m512 total(const int32_t *sum) {
    __m512i high = _mm512_load_si512(sum), low = _mm512_load_si512(sum + SUM);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
}

static void scores16(const char *code, size_t n, size_t cdim, const char *tiles, size_t n_tile, const float *scale,
                     const float *bias, const float *gain, float *s) {
    const size_t ld = (cdim + 63) / 64 * 64, row = rt_code_row(cdim);
    _Alignas(64) int32_t sum[4 * SUM], zero[SUM]; /* what the + 128 of the levels adds, taken away */
    for (size_t r = 0; r < n; r++) {
        __m512i extra = _mm512_set1_epi32(*(const int32_t *)(code + r * row + 2 * ld));
        _mm512_store_si512(zero + 16 * r, _mm512_sub_epi32(_mm512_setzero_si512(), extra));
    }
    for (size_t t = 0; t < 64 * n_tile; t += 32) {
        multiply_keys(code, cdim, tiles + t / 64 * rt_code_tile(cdim) + t % 64 * 4, zero, sum);
        __m512 g0 = _mm512_loadu_ps(gain + t), g1 = _mm512_loadu_ps(gain + t + 16);
        for (size_t r = 0; r < n; r++) {
            __m512 by = _mm512_set1_ps(scale[r]), add = _mm512_set1_ps(bias[r]);
            float *to = s + r * SPAN + t;
            _mm512_storeu_ps(to, _mm512_fmadd_ps(total(sum + 16 * r), _mm512_mul_ps(by, g0), add));
            _mm512_storeu_ps(to + 16, _mm512_fmadd_ps(total(sum + 2 * SUM + 16 * r), _mm512_mul_ps(by, g1), add));
        }
    }
}

static void scores(const void *code, size_t n_q, size_t cdim, const void *tiles, size_t n_tile, const float *scale,
                   const float *bias, const float *gain, float *s) {
    for (size_t r = 0; r < n_q; r += ROWS) {
        const size_t n = n_q - r < ROWS ? n_q - r : ROWS;
        configure(n);
        scores16((const char *)code + r * rt_code_row(cdim), n, cdim, tiles, n_tile, scale + r, bias + r, gain, s + r * SPAN);
    }
    _tile_release();
}

/* Sums of 16 or 32 coordinates over tiles first .. last-1. */
INLINE void multiply_values(const char *p, size_t cdim, const char *tile, size_t first, size_t last, bool two, int32_t *sum) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t n = first; n < last; n++) {
        const char *v = tile + n * rt_code_tile(cdim);
        _tile_loadd(4, p + 64 * n, 2 * SPAN);
        _tile_loadd(6, v, 4 * cdim);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(5, p + SPAN + 64 * n, 2 * SPAN);
        _tile_dpbusd(1, 5, 6);
        if (two) {
            _tile_loadd(7, v + 64, 4 * cdim);
            _tile_dpbusd(2, 4, 7);
            _tile_dpbusd(3, 5, 7);
        }
    }
    _tile_stored(0, sum, 64);
    _tile_stored(1, sum + SUM, 64);
    _tile_stored(2, sum + 2 * SUM, 64);
    _tile_stored(3, sum + 3 * SUM, 64);
}

static void values16(const char *p, size_t n, size_t cdim, const char *tiles, size_t first, size_t last, const float *scale,
                     float *o) {
    _Alignas(64) int32_t sum[4 * SUM];
    for (size_t i = 0; i < cdim; i += 32) {
        const bool two = cdim - i >= 32;
        multiply_values(p, cdim, tiles + 4 * i, first, last, two, sum);
        for (size_t r = 0; r < n; r++) {
            __m512 by = _mm512_set1_ps(scale[r]);
            _mm512_storeu_ps(o + r * cdim + i, _mm512_mul_ps(by, total(sum + 16 * r)));
            if (two)
                _mm512_storeu_ps(o + r * cdim + i + 16, _mm512_mul_ps(by, total(sum + 2 * SUM + 16 * r)));
        }
    }
}

static void values(const void *p, size_t n_q, size_t cdim, const void *tiles, size_t first, size_t last, const float *scale,
                   float *o) {
    for (size_t r = 0; r < n_q; r += ROWS) {
        const size_t n = n_q - r < ROWS ? n_q - r : ROWS;
        configure(n);
        values16((const char *)p + r * 2 * SPAN, n, cdim, tiles, first, last, scale + r, o + r * cdim);
    }
    _tile_release();
}

void rt_code_amx(rt_kernels *k) {
    k->code_scores = scores;
    k->code_values = values;
}
