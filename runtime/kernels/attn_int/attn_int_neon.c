/* Attention in codes for NEON: SMLAL adds products of 16 bits to sums of 32, four at a time. Tiles are those of
 * attn_int/attn_int_scalar.c, levels as they come, and codes of queries and weights are int16 in order: scores have a token in
 * every lane, sums of values are added across lanes at the end, so that neither needs its levels transposed. Processors with
 * dot products have attn_int/attn_int_neon_dot.c instead.
 */
#include "kernels/attn_int/attn_int_neon.h"
#include "kernels/by_rows.h"
#include "kernels/neon.h"

enum { SPAN = RT_INT_SPAN, QUARTERS = 4 /* of 16 tokens or levels: four lanes each */ };

/* 16 levels, widened. */
typedef struct wide {
    int16x8_t low, high;
} wide;

INLINE wide widen(const int8_t *p) {
    int8x16_t l = vld1q_s8(p);
    return (wide){vmovl_s8(vget_low_s8(l)), vmovl_high_s8(l)};
}

/* ---- scores ---- */

INLINE void put(void *code, size_t cdim, size_t i, int16x8_t c) {
    (void)cdim;
    vst1q_s16((int16_t *)code + i, c);
}

static float query(const float *w, size_t cdim, void *code) {
    return int_query(w, cdim, code, put);
}

/* 16 tokens from `tile` on, four coordinates at a time. */
INLINE void scores_block(const int rows, const int16_t *code, size_t cdim, const int8_t *tile, const float *scale,
                         const float *bias, const float *gain, float *s) {
    const size_t row = rt_int_row(cdim) / sizeof *code;
    int32x4_t sum[ROWS][QUARTERS];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < QUARTERS; j++)
            sum[r][j] = vdupq_n_s32(0);
    for (size_t i = 0; i < cdim; i += 4) {
        int16x4_t c[ROWS];
        for (int r = 0; r < rows; r++)
            c[r] = vld1_s16(code + (size_t)r * row + i);
#define COORDINATE(lane)                                                                                                       \
    do {                                                                                                                       \
        const wide k = widen(tile);                                                                                            \
        tile += RT_ATTN_TILE;                                                                                                  \
        for (int r = 0; r < rows; r++) {                                                                                       \
            sum[r][0] = vmlal_lane_s16(sum[r][0], vget_low_s16(k.low), c[r], lane);                                            \
            sum[r][1] = vmlal_high_lane_s16(sum[r][1], k.low, c[r], lane);                                                     \
            sum[r][2] = vmlal_lane_s16(sum[r][2], vget_low_s16(k.high), c[r], lane);                                           \
            sum[r][3] = vmlal_high_lane_s16(sum[r][3], k.high, c[r], lane);                                                    \
        }                                                                                                                      \
    } while (0)
        COORDINATE(0);
        COORDINATE(1);
        COORDINATE(2);
        COORDINATE(3);
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < QUARTERS; j++) {
            float32x4_t by = vmulq_f32(vdupq_n_f32(scale[r]), vld1q_f32(gain + 4 * j));
            vst1q_f32(s + (size_t)r * SPAN + 4 * j, vfmaq_f32(vdupq_n_f32(bias[r]), vcvtq_f32_s32(sum[r][j]), by));
        }
}

static void scores(const void *code, size_t n_q, size_t cdim, const void *tiles, size_t n_tile, const float *scale,
                   const float *bias, const float *gain, float *s) {
    for (size_t t = 0; t < RT_ATTN_TILE * n_tile; t += 16) {
        const int8_t *from = (const int8_t *)tiles + t / RT_ATTN_TILE * rt_int_tile(cdim) + t % RT_ATTN_TILE;
        for (size_t r = 0; r < n_q; r += ROWS) {
            const int16_t *c = (const int16_t *)((const char *)code + r * rt_int_row(cdim));
            BY_ROWS(n_q - r, scores_block, c, cdim, from, scale + r, bias + r, gain + t, s + r * SPAN + t);
        }
    }
}

static float weights(float *s, size_t from, size_t to, const float *gain, void *p, float *top) {
    return int_weights(s, from, to, gain, p, top, put);
}

/* ---- values ---- */

enum { COORDS = 2 };

INLINE int32x4_t products(int32x4_t sum, int16x8_t low, int16x8_t high, wide v) {
    sum = vmlal_s16(sum, vget_low_s16(low), vget_low_s16(v.low));
    sum = vmlal_high_s16(sum, low, v.low);
    sum = vmlal_s16(sum, vget_low_s16(high), vget_low_s16(v.high));
    return vmlal_high_s16(sum, high, v.high);
}

/* Two coordinates from `tiles` on. */
INLINE void values_block(const int rows, const int16_t *p, size_t cdim, const int8_t *tiles, size_t first, size_t last,
                         const float *scale, float *o) {
    int32x4_t sum[ROWS][COORDS];
    for (int r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = vdupq_n_s32(0);
    for (size_t n = first; n < last; n++) {
        const int8_t *v = tiles + n * rt_int_tile(cdim);
        const int16_t *w = p + RT_ATTN_TILE * n;
        for (size_t t = 0; t < RT_ATTN_TILE; t += 16) {
            const wide v0 = widen(v + t), v1 = widen(v + RT_ATTN_TILE + t);
            for (int r = 0; r < rows; r++) {
                const int16x8_t low = vld1q_s16(w + (size_t)r * SPAN + t), high = vld1q_s16(w + (size_t)r * SPAN + t + 8);
                sum[r][0] = products(sum[r][0], low, high, v0);
                sum[r][1] = products(sum[r][1], low, high, v1);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < COORDS; j++)
            o[(size_t)r * cdim + j] = scale[r] * (float)vaddvq_s32(sum[r][j]);
}

static void values(const void *weight, size_t n_q, size_t cdim, const void *tiles, size_t first, size_t last,
                   const float *scale, float *o) {
    const int16_t *p = weight;
    for (size_t i = 0; i < cdim; i += COORDS) {
        const int8_t *from = (const int8_t *)tiles + RT_ATTN_TILE * i;
        for (size_t r = 0; r < n_q; r += ROWS)
            BY_ROWS(n_q - r, values_block, p + r * SPAN, cdim, from, first, last, scale + r, o + r * cdim + i);
    }
}

void rt_attn_int_neon(rt_kernels *k) {
    if (neon_has_dot()) {
        rt_attn_int_neon_dot(k);
        return;
    }
    k->int_query = query;
    k->int_scores = scores;
    k->int_weights = weights;
    k->int_values = values;
}
