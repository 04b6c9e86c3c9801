/* Half precision and bfloat16 to and from float, by value; the only definition in the project. Round to nearest even. */
#ifndef KV_FP16_H
#define KV_FP16_H

#include <stdint.h>
#include <string.h>

static inline uint32_t fp32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float fp32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* IEEE binary16 -> binary32, exact. Normal numbers: move exponent and mantissa and rescale by 2^112; the product also
 * normalises subnormals. */
static inline float fp16_to_fp32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t mag = h & 0x7fffu;
    if (mag >= 0x7c00u) /* Inf, NaN */
        return fp32_from_bits(sign | 0x7f800000u | (mag & 0x3ffu) << 13);
    float f = fp32_from_bits(mag << 13) * 0x1p112f;
    return fp32_from_bits(fp32_bits(f) | sign);
}

/* binary32 -> binary16, round to nearest even; overflow gives Inf, NaN stays NaN. */
static inline uint16_t fp16_from_fp32(float f) {
    uint32_t u = fp32_bits(f);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return sign | 0x7e00u;
    if (u >= 0x477ff000u) /* rounds to 65536 or more */
        return sign | 0x7c00u;
    if (u < 0x38800000u) { /* subnormal half: adding 0.5 puts the bits at the right place, correctly rounded */
        float sub = fp32_from_bits(u) + 0.5f;
        return sign | (uint16_t)(fp32_bits(sub) - 0x3f000000u);
    }
    u += 0xfffu + (u >> 13 & 1u); /* round to even */
    return sign | (uint16_t)((u - 0x38000000u) >> 13);
}

static inline float bf16_to_fp32(uint16_t b) {
    return fp32_from_bits((uint32_t)b << 16);
}

static inline uint16_t bf16_from_fp32(float f) {
    uint32_t u = fp32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 64);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

#endif
