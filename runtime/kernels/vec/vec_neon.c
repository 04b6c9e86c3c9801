/* Vector kernels for NEON: 16 floats are four registers. The algorithms are in vec_body.h. */
#include <arm_neon.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct v16 {
    float32x4_t r[4];
} v16;

#define EACH(expr)                                                                                                             \
    v16 out;                                                                                                                   \
    for (int i = 0; i < 4; i++)                                                                                                \
        out.r[i] = (expr);                                                                                                     \
    return out

static inline v16 v_set(float a) {
    EACH(vdupq_n_f32(a));
}

static inline v16 v_load(const float *p, size_t n) {
    float some[16] = {0};
    if (n < 16)
        p = memcpy(some, p, n * sizeof *p);
    EACH(vld1q_f32(p + 4 * i));
}

static inline v16 v_load_f16(const uint16_t *p) {
    EACH(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))));
}

static inline v16 v_load_bf16(const uint16_t *p) {
    EACH(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)));
}

static inline void v_store(float *p, v16 a, size_t n) {
    float some[16], *to = n < 16 ? some : p;
    for (int i = 0; i < 4; i++)
        vst1q_f32(to + 4 * i, a.r[i]);
    if (n < 16)
        memcpy(p, some, n * sizeof *p);
}

static inline v16 v_add(v16 a, v16 b) {
    EACH(vaddq_f32(a.r[i], b.r[i]));
}

static inline v16 v_sub(v16 a, v16 b) {
    EACH(vsubq_f32(a.r[i], b.r[i]));
}

static inline v16 v_mul(v16 a, v16 b) {
    EACH(vmulq_f32(a.r[i], b.r[i]));
}

static inline v16 v_div(v16 a, v16 b) {
    EACH(vdivq_f32(a.r[i], b.r[i]));
}

static inline v16 v_fma(v16 a, v16 b, v16 c) {
    EACH(vfmaq_f32(c.r[i], a.r[i], b.r[i]));
}

/* Not FMAX and FMIN, which have their own mind about NaN. */
static inline v16 v_max(v16 a, v16 b) {
    EACH(vbslq_f32(vcgtq_f32(a.r[i], b.r[i]), a.r[i], b.r[i]));
}

static inline v16 v_min(v16 a, v16 b) {
    EACH(vbslq_f32(vcltq_f32(a.r[i], b.r[i]), a.r[i], b.r[i]));
}

static inline v16 v_first(v16 a, v16 b, size_t n) {
    static const uint32_t index[4] = {0, 1, 2, 3};
    const uint32x4_t first = vld1q_u32(index), end = vdupq_n_u32((uint32_t)n);
    EACH(vbslq_f32(vcltq_u32(vaddq_u32(first, vdupq_n_u32(4 * (uint32_t)i)), end), a.r[i], b.r[i]));
}

static inline v16 v_down(v16 a, int h) {
    switch (h) {
    case 8:
        return (v16){{a.r[2], a.r[3], a.r[2], a.r[3]}};
    case 4:
        return (v16){{a.r[1], a.r[1], a.r[2], a.r[3]}};
    case 2:
        return (v16){{vextq_f32(a.r[0], a.r[0], 2), a.r[1], a.r[2], a.r[3]}};
    default:
        return (v16){{vextq_f32(a.r[0], a.r[0], 1), a.r[1], a.r[2], a.r[3]}};
    }
}

static inline float v_lane0(v16 a) {
    return vgetq_lane_f32(a.r[0], 0);
}

static inline float32x4_t scale4(float32x4_t a, float32x4_t t) {
    int32x4_t n = vsubq_s32(vreinterpretq_s32_f32(t), vreinterpretq_s32_f32(vdupq_n_f32(0x1.8p23f)));
    return vmulq_f32(a, vreinterpretq_f32_s32(vaddq_s32(vshlq_n_s32(n, 23), vdupq_n_s32(0x3f800000))));
}

static inline v16 v_scale(v16 a, v16 t) {
    EACH(scale4(a.r[i], t.r[i]));
}

static inline float32x4_t clear4(float32x4_t a, float32x4_t x, float32x4_t limit) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), vcltq_f32(x, limit)));
}

static inline v16 v_clear_below(v16 a, v16 x, float f) {
    EACH(clear4(a.r[i], x.r[i], vdupq_n_f32(f)));
}

#define VEC_FILL rt_vec_neon
#include "kernels/vec/vec_body.h"
