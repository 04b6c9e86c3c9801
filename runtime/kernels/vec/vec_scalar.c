/* Vector kernels in plain C: the definition of the answer. The algorithms are in vec_body.h. */
#include "base/fp16.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#define FOR16(expr)                                                                                                            \
    v16 out;                                                                                                                   \
    for (int i = 0; i < 16; i++)                                                                                               \
        out.f[i] = (expr);                                                                                                     \
    return out

typedef struct v16 {
    float f[16];
} v16;

static inline v16 v_set(float a) {
    FOR16(a);
}

static inline v16 v_load(const float *p, size_t n) {
    FOR16((size_t)i < n ? p[i] : 0.0f);
}

static inline v16 v_load_f16(const uint16_t *p) {
    FOR16(fp16_to_fp32(p[i]));
}

static inline v16 v_load_bf16(const uint16_t *p) {
    FOR16(bf16_to_fp32(p[i]));
}

static inline void v_store(float *p, v16 a, size_t n) {
    memcpy(p, a.f, n * sizeof(float));
}

static inline v16 v_add(v16 a, v16 b) {
    FOR16(a.f[i] + b.f[i]);
}

static inline v16 v_sub(v16 a, v16 b) {
    FOR16(a.f[i] - b.f[i]);
}

static inline v16 v_mul(v16 a, v16 b) {
    FOR16(a.f[i] * b.f[i]);
}

static inline v16 v_div(v16 a, v16 b) {
    FOR16(a.f[i] / b.f[i]);
}

static inline v16 v_fma(v16 a, v16 b, v16 c) {
    FOR16(fmaf(a.f[i], b.f[i], c.f[i]));
}

static inline v16 v_max(v16 a, v16 b) {
    FOR16(a.f[i] > b.f[i] ? a.f[i] : b.f[i]);
}

static inline v16 v_min(v16 a, v16 b) {
    FOR16(a.f[i] < b.f[i] ? a.f[i] : b.f[i]);
}

static inline v16 v_first(v16 a, v16 b, size_t n) {
    FOR16((size_t)i < n ? a.f[i] : b.f[i]);
}

static inline v16 v_down(v16 a, int h) {
    FOR16(a.f[(i + h) % 16]);
}

static inline float v_lane0(v16 a) {
    return a.f[0];
}

static inline v16 v_scale(v16 a, v16 t) {
    FOR16(a.f[i] * fp32_from_bits((fp32_bits(t.f[i]) - fp32_bits(0x1.8p23f)) * 0x800000u + 0x3f800000u));
}

static inline v16 v_clear_below(v16 a, v16 x, float f) {
    FOR16(x.f[i] < f ? 0.0f : a.f[i]);
}

#define VEC_FILL rt_vec_scalar
#include "kernels/vec/vec_body.h"
