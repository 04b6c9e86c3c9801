/* Attention in codes for 64-bit ARM with dot products: SDOT sums four products of bytes in each of four lanes, so a code of 16
 * bits is split into two signed bytes, and a sum is 256 times that of the high bytes plus that of the low ones.
 *   - keys: (cdim/4, 64 tokens, 4 coordinates)
 *   - values: levels as they come, four tokens a lane, added across lanes at the end
 *   - queries: high bytes (ld), low bytes (ld), ld = cdim rounded up to 64; weights likewise, ld = RT_INT_SPAN
 */
#include "kernels/attn_int/attn_int_neon.h"
#include "kernels/by_rows.h"

enum { SPAN = RT_INT_SPAN, TILE = RT_ATTN_TILE };

INLINE size_t low_bytes(size_t cdim) {
    return (cdim + 63) / 64 * 64;
}

INLINE void put(void *code, size_t cdim, size_t i, int16x8_t c) {
    int8_t *high = code, *low = high + low_bytes(cdim);
    vst1_s8(high + i, vrshrn_n_s16(c, 8)); /* rounded, so that the rest is signed */
    vst1_s8(low + i, vmovn_s16(c));
}

static float query(const float *w, size_t cdim, void *code) {
    return int_query(w, cdim, code, put);
}

static float weights(float *s, size_t from, size_t to, const float *gain, void *p, float *top) {
    return int_weights(s, from, to, gain, p, top, put);
}

static void keys(const int8_t *levels, size_t cdim, void *tile) {
    int8_t *out = tile;
    for (size_t i = 0; i < cdim; i += 4, levels += 4 * TILE)
        for (size_t t = 0; t < TILE; t += 16, out += 64) {
            const int8x16x4_t four = {{vld1q_s8(levels + t), vld1q_s8(levels + TILE + t), vld1q_s8(levels + 2 * TILE + t),
                                       vld1q_s8(levels + 3 * TILE + t)}};
            vst4q_s8(out, four);
        }
}

/* ---- scores ---- */

enum { PAIR = 2 /* vectors of four tokens */ };

/* Eight tokens from `tile` on, 16 coordinates at a time. */
INLINE void scores_block(const int rows, const int8_t *code, size_t cdim, const int8_t *tile, const float *scale,
                         const float *bias, const float *gain, float *s) {
    const size_t row = rt_int_row(cdim), ld = low_bytes(cdim);
    int32x4_t high[ROWS][PAIR], low[ROWS][PAIR];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < PAIR; j++)
            high[r][j] = low[r][j] = vdupq_n_s32(0);
    for (size_t i = 0; i < cdim; i += 16) {
        int8x16_t h[ROWS], l[ROWS];
        for (int r = 0; r < rows; r++) {
            h[r] = vld1q_s8(code + (size_t)r * row + i);
            l[r] = vld1q_s8(code + (size_t)r * row + ld + i);
        }
#define QUAD(lane)                                                                                                             \
    do {                                                                                                                       \
        for (int j = 0; j < PAIR; j++) {                                                                                       \
            const int8x16_t k = vld1q_s8(tile + 16 * j);                                                                       \
            for (int r = 0; r < rows; r++) {                                                                                   \
                high[r][j] = vdotq_laneq_s32(high[r][j], k, h[r], lane);                                                       \
                low[r][j] = vdotq_laneq_s32(low[r][j], k, l[r], lane);                                                         \
            }                                                                                                                  \
        }                                                                                                                      \
        tile += 4 * TILE;                                                                                                      \
    } while (0)
        QUAD(0);
        QUAD(1);
        QUAD(2);
        QUAD(3);
#undef QUAD
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < PAIR; j++) {
            const float32x4_t sum = vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(high[r][j], 8), low[r][j]));
            const float32x4_t by = vmulq_f32(vdupq_n_f32(scale[r]), vld1q_f32(gain + 4 * j));
            vst1q_f32(s + (size_t)r * SPAN + 4 * j, vfmaq_f32(vdupq_n_f32(bias[r]), sum, by));
        }
}

static void scores(const void *code, size_t n_q, size_t cdim, const void *tiles, size_t n_tile, const float *scale,
                   const float *bias, const float *gain, float *s) {
    for (size_t t = 0; t < TILE * n_tile; t += 4 * PAIR) {
        const int8_t *from = (const int8_t *)tiles + t / TILE * rt_int_tile(cdim) + t % TILE * 4;
        for (size_t r = 0; r < n_q; r += ROWS) {
            const int8_t *c = (const int8_t *)code + r * rt_int_row(cdim);
            BY_ROWS(n_q - r, scores_block, c, cdim, from, scale + r, bias + r, gain + t, s + r * SPAN + t);
        }
    }
}

/* ---- values ---- */

enum { COORDS = 2 };

/* Two coordinates from `tiles` on. */
INLINE void values_block(const int rows, const int8_t *p, size_t cdim, const int8_t *tiles, size_t first, size_t last,
                         const float *scale, float *o) {
    int32x4_t high[ROWS][COORDS], low[ROWS][COORDS];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < COORDS; j++)
            high[r][j] = low[r][j] = vdupq_n_s32(0);
    for (size_t n = first; n < last; n++)
        for (size_t t = 0; t < TILE; t += 16) {
            const int8_t *v = tiles + n * rt_int_tile(cdim) + t, *w = p + TILE * n + t;
            const int8x16_t v0 = vld1q_s8(v), v1 = vld1q_s8(v + TILE);
            for (int r = 0; r < rows; r++, w += 2 * SPAN) {
                const int8x16_t h = vld1q_s8(w), l = vld1q_s8(w + SPAN);
                high[r][0] = vdotq_s32(high[r][0], v0, h);
                high[r][1] = vdotq_s32(high[r][1], v1, h);
                low[r][0] = vdotq_s32(low[r][0], v0, l);
                low[r][1] = vdotq_s32(low[r][1], v1, l);
            }
        }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < COORDS; j++)
            o[(size_t)r * cdim + j] = scale[r] * (float)vaddvq_s32(vaddq_s32(vshlq_n_s32(high[r][j], 8), low[r][j]));
}

static void values(const void *weight, size_t n_q, size_t cdim, const void *tiles, size_t first, size_t last,
                   const float *scale, float *o) {
    const int8_t *p = weight;
    for (size_t i = 0; i < cdim; i += COORDS) {
        const int8_t *from = (const int8_t *)tiles + TILE * i;
        for (size_t r = 0; r < n_q; r += ROWS)
            BY_ROWS(n_q - r, values_block, p + r * 2 * SPAN, cdim, from, first, last, scale + r, o + r * cdim + i);
    }
}

void rt_attn_int_neon_dot(rt_kernels *k) {
    k->int_keys = keys;
    k->int_query = query;
    k->int_scores = scores;
    k->int_weights = weights;
    k->int_values = values;
}
