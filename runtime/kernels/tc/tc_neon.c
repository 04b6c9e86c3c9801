/* Codec tc for NEON. Encoding is that of tc_avx2.c, whose intrinsics become NEON's (avx2.h); decoding, which is on the way of
 * every token, is made for TBL, which looks up among four registers at once. */
#include "kernels/by_bits.h"
#include "kernels/kernels.h"

#include <arm_neon.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16, QUARTERS = RT_ATTN_TILE / LANES, TABLE = 64 /* levels in four registers */ };

/* A quarter of a plane -> bytes of all ones where its bits are set. */
INLINE uint8x16_t spread(const uint64_t *plane, int quarter) {
    static const uint8_t bit[LANES] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8_t *p = (const uint8_t *)plane + 2 * quarter;
    return vtstq_u8(vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1])), vld1q_u8(bit));
}

/* Levels at `index`, of `size` from `table` on. */
INLINE int8x16_t look_up(const unsigned size, const int8_t *table, uint8x16_t index) {
    if (size == 16)
        return vqtbl1q_s8(vld1q_s8(table), index);
    if (size == 32)
        return vqtbl2q_s8(vld1q_s8_x2(table), index);
    int8x16_t level = vqtbl4q_s8(vld1q_s8_x4(table), index);
    for (unsigned at = TABLE; at < size; at += TABLE) /* an index beyond its registers leaves a lane alone */
        level = vqtbx4q_s8(level, vld1q_s8_x4(table + at), vsubq_u8(index, vdupq_n_u8((uint8_t)at)));
    return level;
}

/* Levels of one dimension for a quarter of the tokens; window moves on. Bytes hold the index but for the highest of 6 bits. */
INLINE int8x16_t decode_levels(const unsigned bits, const int8_t *table, const uint64_t *planes, int quarter,
                               uint8x16_t *window) {
    const unsigned size = TRELLIS_STATES << bits, most = 256;
    uint8x16_t w = vsubq_u8(vaddq_u8(*window, *window), spread(planes, quarter));
    uint8x16_t index = *window = vandq_u8(w, vdupq_n_u8(TRELLIS_WINDOWS - 1));
    for (unsigned p = 1; p < bits && p < 5; p++)
        index = vorrq_u8(index, vandq_u8(spread(planes + p, quarter), vdupq_n_u8((uint8_t)(TRELLIS_STATES << p))));
    if (size <= most)
        return look_up(size, table, index);
    return vbslq_s8(spread(planes + 5, quarter), look_up(most, table + most, index), look_up(most, table, index));
}

/* The dimensions from i on that have as many bits: no jumps among them. Returns where they end. */
INLINE size_t decode_run(const unsigned bits, const trellis_book *b, size_t i, const uint64_t **planes, uint8x16_t *window,
                         int8_t *out) {
    const int8_t *table = b->levels + trellis_table(bits);
    for (; i < b->n && b->bits[i] == bits; i++, *planes += bits)
        for (int q = 0; q < QUARTERS; q++)
            vst1q_s8(out + i * RT_ATTN_TILE + LANES * q, decode_levels(bits, table, *planes, q, &window[q]));
    return i;
}

static void levels_of_block(const trellis_book *b, const uint64_t *planes, int8_t *out) {
    uint8x16_t window[QUARTERS];
    for (int q = 0; q < QUARTERS; q++)
        window[q] = vdupq_n_u8(0);
    for (size_t i = 0; i < b->n;) {
#define DECODE(n) i = decode_run(n, b, i, &planes, window, out)
        BY_BITS(b->bits[i], DECODE)
    }
}

static void levels(const trellis_book *b, const uint64_t *const *planes, size_t n, int8_t *out, size_t ld) {
    for (size_t i = 0; i < n; i++)
        levels_of_block(b, planes[i], out + i * ld);
}

/* trellis_gain. */
static void gains(const uint8_t *code, float *gain) {
    const uint32x4_t first = vdupq_n_u32((127 << 5) - TRELLIS_UNIT);
    for (int t = 0; t < RT_ATTN_TILE; t += 8) {
        const uint16x8_t c = vmovl_u8(vld1_u8(code + t));
        const uint32x4_t half[2] = {vmovl_u16(vget_low_u16(c)), vmovl_high_u16(c)};
        for (int j = 0; j < 2; j++) {
            uint32x4_t x = vandq_u32(vshlq_n_u32(vaddq_u32(half[j], first), 18), vtstq_u32(half[j], half[j]));
            vst1q_f32(gain + t + 4 * j, vreinterpretq_f32_u32(x));
        }
    }
}

void rt_tc_neon(rt_kernels *k) {
    rt_tc_avx2(k);
    k->tc_levels = levels;
    k->tc_gains = gains;
}
