/* What attention in codes for NEON has in common with and without dot products: codes of queries and weights, which are stored
 * by `put` (code, cdim, i, codes i .. i+7), inlined.
 */
#ifndef RT_CODE_NEON_H
#define RT_CODE_NEON_H

#include "kernels/kernels.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef void put_codes(void *code, size_t cdim, size_t i, int16x8_t c);

INLINE int16x8_t round_codes(float32x4_t a, float32x4_t b) {
    return vcombine_s16(vmovn_s32(vcvtnq_s32_f32(a)), vmovn_s32(vcvtnq_s32_f32(b)));
}

INLINE float int_query(const float *w, size_t cdim, void *code, put_codes *put) {
    uint32x4_t top = vdupq_n_u32(0);
    float amax;
    for (size_t i = 0; i < cdim; i += 4) /* as integers: NaN is above Inf */
        top = vmaxq_u32(top, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(w + i))));
    uint32_t bits = vmaxvq_u32(top);
    memcpy(&amax, &bits, sizeof amax);
    bool some = amax >= 0x1p-100f && amax < INFINITY;
    float32x4_t inv = vdupq_n_f32(some ? RT_INT_QUERY / amax : 0);
    for (size_t i = 0; i < cdim; i += 8)
        put(code, cdim, i,
            some ? round_codes(vmulq_f32(vld1q_f32(w + i), inv), vmulq_f32(vld1q_f32(w + i + 4), inv)) : vdupq_n_s16(0));
    return amax < INFINITY ? (some ? amax / RT_INT_QUERY : 0) : NAN;
}

/* 2^x for x <= 0, 0 below 2^-100; NaN stays. */
INLINE float32x4_t exp2_neg(float32x4_t x) {
    const float32x4_t magic = vdupq_n_f32(0x1.8p23f);
    float32x4_t t = vaddq_f32(x, magic), r = vsubq_f32(x, vsubq_f32(t, magic)), p = vdupq_n_f32(0x1.3a02d2p-7f);
    p = vfmaq_f32(vdupq_n_f32(0x1.c9fc48p-5f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.ec0378p-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(0x1.62e12cp-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1), p, r);
    int32x4_t n = vshlq_n_s32(vreinterpretq_s32_f32(t), 23);
    uint32x4_t e = vreinterpretq_u32_s32(vaddq_s32(vreinterpretq_s32_f32(p), n));
    return vreinterpretq_f32_u32(vbicq_u32(e, vcltq_f32(x, vdupq_n_f32(-100))));
}

INLINE float int_weights(float *s, size_t from, size_t to, const float *gain, void *p, float *top, put_codes *put) {
    const size_t lo = from / RT_ATTN_TILE * RT_ATTN_TILE, hi = (to + RT_ATTN_TILE - 1) / RT_ATTN_TILE * RT_ATTN_TILE;
    float32x4_t most = vdupq_n_f32(-INFINITY), sum[4], c[4];
    for (size_t t = lo; t < from; t++)
        s[t] = -INFINITY;
    for (size_t t = to; t < hi; t++)
        s[t] = -INFINITY;
    for (size_t t = lo; t < hi; t += 4) {
        float32x4_t x = vld1q_f32(s + t);
        most = vbslq_f32(vcgtq_f32(x, most), x, most);
    }
    *top = vmaxvq_f32(most);
    for (int j = 0; j < 4; j++)
        sum[j] = vdupq_n_f32(0);
    for (size_t t = lo; t < hi; t += 16) {
        for (int j = 0; j < 4; j++) {
            float32x4_t e = exp2_neg(vsubq_f32(vld1q_f32(s + t + 4 * j), vdupq_n_f32(*top)));
            sum[j] = vaddq_f32(sum[j], e);
            c[j] = vmulq_f32(e, vld1q_f32(gain + t + 4 * j));
        }
        put(p, RT_INT_SPAN, t, round_codes(c[0], c[1]));
        put(p, RT_INT_SPAN, t + 8, round_codes(c[2], c[3]));
    }
    float32x4_t half = vaddq_f32(vaddq_f32(sum[0], sum[2]), vaddq_f32(sum[1], sum[3]));
    float32x2_t two = vadd_f32(vget_low_f32(half), vget_high_f32(half));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

#endif
