/* Attention in codes with AMX. Codes and tiles lie as for VNNI (attn_int/attn_int_avx512vnni.c), but for levels of keys, which
 * are signed. A row of a tile register with queries or weights is 64 bytes of one row's codes, high or low; one of keys or
 * values is 16 dwords of four bytes. Four sums are made side by side: many rows   of high and of low bytes, of two groups of 16
 * tokens or coordinates at most 8   high and low bytes are rows of the same register; of four groups
 */
#include "kernels/amx.h"
#include "kernels/attn_int/attn_int_avx512.h"

enum { SPAN = RT_INT_SPAN, ROWS = 16, SUM = 16 * ROWS /* of one sum */ };

/* Tile registers: 0-3 sums, 4-5 n rows of bytes, 6-7 keys or values. */
static void configure(size_t n) {
    static const uint16_t bytes[8] = {64, 64, 64, 64, 64, 64, 64, 64};
    const uint8_t r = (uint8_t)n, rows[8] = {r, r, r, r, r, r, 16, 16};
    amx_shape(rows, bytes);
}

INLINE void clear_sums(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

INLINE void store_sums(int32_t *sum) {
    _tile_stored(0, sum, 64);
    _tile_stored(1, sum + SUM, 64);
    _tile_stored(2, sum + 2 * SUM, 64);
    _tile_stored(3, sum + 3 * SUM, 64);
}

INLINE __m512 total(const int32_t *high, const int32_t *low) {
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(high), 8), _mm512_load_si512(low)));
}

/* ---- scores ---- */

static void keys(const int8_t *levels, size_t cdim, void *tile) {
    int_pack_keys(levels, cdim, _mm512_setzero_si512(), tile);
}

/* Registers 4 and 5: high and low bytes of coordinates i .. i+63 of queries. */
INLINE void load_queries(const char *code, size_t cdim, size_t i) {
    const size_t ld = (cdim + 63) / 64 * 64;
    _tile_loadd(4, code + i, 2 * ld);
    _tile_loadd(5, code + ld + i, 2 * ld);
}

/* 32 tokens: sum (2 groups, high and low, rows, 16). Up to 64 coordinates, queries are loaded already. */
INLINE void multiply_keys(const char *code, size_t cdim, const char *tile, int32_t *sum) {
    clear_sums();
    for (size_t i = 0; i < cdim; i += 64, tile += CODE_REGISTER) {
        if (cdim > 64)
            load_queries(code, cdim, i);
        _tile_loadd(6, tile, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 5, 6);
        _tile_loadd(7, tile + int_key_group(cdim), 64);
        _tile_dpbssd(2, 4, 7);
        _tile_dpbssd(3, 5, 7);
    }
    store_sums(sum);
}

/* 64 tokens: sum (4 groups, row, high and low, 16). */
INLINE void multiply_keys_few(const char *code, size_t cdim, const char *tile, int32_t *sum) {
    const size_t ld = (cdim + 63) / 64 * 64, group = int_key_group(cdim);
    clear_sums();
    for (size_t i = 0; i < cdim; i += 64, tile += CODE_REGISTER) {
        _tile_loadd(4, code + i, ld);
        _tile_loadd(6, tile, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, tile + group, 64);
        _tile_dpbssd(1, 4, 7);
        _tile_loadd(6, tile + 2 * group, 64);
        _tile_dpbssd(2, 4, 6);
        _tile_loadd(7, tile + 3 * group, 64);
        _tile_dpbssd(3, 4, 7);
    }
    store_sums(sum);
}

/* Scores of 16 tokens and n rows; sums of high bytes of a row, of low ones, and of the next row lie `low` and `next` apart. */
INLINE void put_scores(const int32_t *sum, size_t low, size_t next, size_t n, const float *scale, const float *bias,
                       const float *gain, float *s) {
    const __m512 g = _mm512_loadu_ps(gain);
    for (size_t r = 0; r < n; r++, sum += next) {
        __m512 by = _mm512_mul_ps(_mm512_set1_ps(scale[r]), g);
        _mm512_storeu_ps(s + r * SPAN, _mm512_fmadd_ps(total(sum, sum + low), by, _mm512_set1_ps(bias[r])));
    }
}

static void scores_many(const char *code, size_t n, size_t cdim, const char *tiles, size_t n_tile, const float *scale,
                        const float *bias, const float *gain, float *s) {
    _Alignas(64) int32_t sum[2][4 * SUM];
    const size_t group = int_key_group(cdim);
    configure(n);
    if (cdim && cdim <= 64)
        load_queries(code, cdim, 0);
    for (size_t i = 0; i < n_tile; i++, tiles += rt_int_tile(cdim), gain += 64, s += 64) {
        multiply_keys(code, cdim, tiles, sum[0]);
        multiply_keys(code, cdim, tiles + 2 * group, sum[1]);
        for (size_t g = 0; g < 4; g++)
            put_scores(sum[g / 2] + g % 2 * 2 * SUM, SUM, 16, n, scale, bias, gain + 16 * g, s + 16 * g);
    }
}

static void scores_few(const char *code, size_t n, size_t cdim, const char *tiles, size_t n_tile, const float *scale,
                       const float *bias, const float *gain, float *s) {
    _Alignas(64) int32_t sum[4 * SUM];
    configure(2 * n);
    for (size_t i = 0; i < n_tile; i++, tiles += rt_int_tile(cdim), gain += 64, s += 64) {
        multiply_keys_few(code, cdim, tiles, sum);
        for (size_t g = 0; g < 4; g++)
            put_scores(sum + g * SUM, 16, 32, n, scale, bias, gain + 16 * g, s + 16 * g);
    }
}

static void scores(const void *code, size_t n_q, size_t cdim, const void *tiles, size_t n_tile, const float *scale,
                   const float *bias, const float *gain, float *s) {
    for (size_t r = 0; r < n_q; r += ROWS) {
        const size_t n = n_q - r < ROWS ? n_q - r : ROWS;
        const char *c = (const char *)code + r * rt_int_row(cdim);
        if (n <= ROWS / 2)
            scores_few(c, n, cdim, tiles, n_tile, scale + r, bias + r, gain, s + r * SPAN);
        else
            scores_many(c, n, cdim, tiles, n_tile, scale + r, bias + r, gain, s + r * SPAN);
    }
    _tile_release();
}

/* ---- values ---- */

/* Up to 32 coordinates: sum as in multiply_keys. */
INLINE void multiply_values(const char *p, size_t cdim, const char *tile, size_t first, size_t last, bool two, int32_t *sum) {
    clear_sums();
    for (size_t n = first; n < last; n++) {
        const char *v = tile + n * rt_int_tile(cdim);
        _tile_loadd(4, p + 64 * n, 2 * SPAN);
        _tile_loadd(6, v, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(5, p + SPAN + 64 * n, 2 * SPAN);
        _tile_dpbusd(1, 5, 6);
        if (two) {
            _tile_loadd(7, v + CODE_REGISTER, 64);
            _tile_dpbusd(2, 4, 7);
            _tile_dpbusd(3, 5, 7);
        }
    }
    store_sums(sum);
}

/* Up to 64 coordinates: sum as in multiply_keys_few. */
INLINE void multiply_values_few(const char *p, size_t cdim, const char *tile, size_t first, size_t last, size_t groups,
                                int32_t *sum) {
    clear_sums();
    for (size_t n = first; n < last; n++) {
        const char *v = tile + n * rt_int_tile(cdim);
        _tile_loadd(4, p + 64 * n, SPAN);
        _tile_loadd(6, v, 64);
        _tile_dpbusd(0, 4, 6);
        if (groups > 1) {
            _tile_loadd(7, v + CODE_REGISTER, 64);
            _tile_dpbusd(1, 4, 7);
        }
        if (groups > 2) {
            _tile_loadd(6, v + 2 * CODE_REGISTER, 64);
            _tile_dpbusd(2, 4, 6);
        }
        if (groups > 3) {
            _tile_loadd(7, v + 3 * CODE_REGISTER, 64);
            _tile_dpbusd(3, 4, 7);
        }
    }
    store_sums(sum);
}

static void values(const void *weight, size_t n_q, size_t cdim, const void *tiles, size_t first, size_t last,
                   const float *scale, float *o) {
    _Alignas(64) int32_t sum[4 * SUM];
    const char *p = weight;
    for (size_t n; n_q; n_q -= n, p += n * 2 * SPAN, scale += n, o += n * cdim) {
        const bool few = n_q <= ROWS / 2;
        n = n_q < ROWS ? n_q : ROWS;
        configure(few ? 2 * n : n);
        for (size_t i = 0, groups; i < cdim; i += 16 * groups) {
            const char *tile = (const char *)tiles + i / 16 * CODE_REGISTER;
            const size_t most = few ? 4 : 2, left = (cdim - i) / 16;
            groups = left < most ? left : most;
            if (few)
                multiply_values_few(p, cdim, tile, first, last, groups, sum);
            else
                multiply_values(p, cdim, tile, first, last, groups > 1, sum);
            for (size_t r = 0; r < n; r++)
                for (size_t g = 0; g < groups; g++) {
                    const int32_t *at = few ? sum + g * SUM + 32 * r : sum + 2 * g * SUM + 16 * r;
                    __m512 all = total(at, at + (few ? 16 : SUM));
                    _mm512_storeu_ps(o + r * cdim + i + 16 * g, _mm512_mul_ps(_mm512_set1_ps(scale[r]), all));
                }
        }
    }
    _tile_release();
}

void rt_attn_int_amx(rt_kernels *k) {
    k->int_keys = keys;
    k->int_scores = scores;
    k->int_values = values;
}
