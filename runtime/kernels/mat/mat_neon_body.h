/* Matrix kernels for NEON, included by mat_neon.c and mat_neon_dot.c, which define before:
 *   quad_dot(sum, codes, q)   sum[lane] += the four products of the lane's bytes, signed
 *   MAT_FILL                  the name of the function that fills the table
 * Layouts and the order of sums: mat/format.h.
 *
 * A quarter of a tile (4 rows) x 32 columns is decoded into eight registers and multiplied with up to 4 tokens. Products are of
 * signed bytes: full bytes are taken less 128, and 128 times the sum of q is added back. All of it is exact.
 */
#include "kernels/mat/format.h"

#include <arm_neon.h>
#include <string.h>

/* Formats and token counts are constants after inlining: one loop nest for each. */
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 4, TOKS = 4 };

static void act_quant(const float *x, size_t n, rt_act_block *out, size_t stride) {
    const float32x4_t magic = vdupq_n_f32(0x1.8p23f);
    for (size_t b = 0; b < n / RT_KBLOCK; b++, x += RT_KBLOCK, out += stride) {
        uint32x4_t amaxes = vdupq_n_u32(0); /* as integers, so that NaN is the largest of all */
        for (int i = 0; i < RT_KBLOCK; i += 4)
            amaxes = vmaxq_u32(amaxes, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7fffffffu)));
        uint32_t bits = vmaxvq_u32(amaxes);
        float amax;
        memcpy(&amax, &bits, sizeof amax);
        bool zero = amax < 0x1p-100f;
        float32x4_t inv = vdupq_n_f32(zero ? 0.0f : 127.0f / amax);
        out->d = zero ? 0.0f : amax / 127.0f;
        int sum[2];
        for (int h = 0; h < 2; h++) {
            uint16x4_t part[4]; /* the low halves of the lanes; their low bytes are the codes */
            for (int i = 0; i < 4; i++)
                part[i] = vmovn_u32(vreinterpretq_u32_f32(vaddq_f32(vmulq_f32(vld1q_f32(x + 16 * h + 4 * i), inv), magic)));
            int8x16_t q = vreinterpretq_s8_u8(
                vcombine_u8(vmovn_u16(vcombine_u16(part[0], part[1])), vmovn_u16(vcombine_u16(part[2], part[3]))));
            vst1q_s8(out->q + 16 * h, q);
            sum[h] = vaddlvq_s8(q);
        }
        out->sum = (float)(sum[0] + sum[1]);
        out->sum2[0] = (float)sum[0];
        out->sum2[1] = (float)sum[1];
    }
}

/* Shift the bytes' fields left (right where n < 0) and keep those under the mask. */
INLINE uint8x16_t field(const uint8_t *p, int n, int mask) {
    return vandq_u8(vshlq_u8(vld1q_u8(p), vdupq_n_s8((int8_t)n)), vdupq_n_u8((uint8_t)mask));
}

/* Full bytes: codes less 128. */
INLINE bool is_signed(rt_fmt f) {
    return f.offset == 128;
}

INLINE uint8x16_t low_codes(rt_fmt f, const uint8_t *p, int k) {
    if (f.bits == 8)
        return veorq_u8(vld1q_u8(p + k * 64), vdupq_n_u8(0x80));
    if (f.bits < 4)
        return field(p + k / 4 * 64, -(k % 4 * 2), 3);
    return field(p + k % 4 * 64, -(k / 4 * 4), 15);
}

/* What codes are looked up in, if they are. */
INLINE uint8x16_t load_values(rt_fmt f, const rt_mat_tiles *m) {
    if (!f.lookup)
        return vdupq_n_u8(0);
    return vaddq_u8(vreinterpretq_u8_s8(vld1q_s8(m->values)), vdupq_n_u8(is_signed(f) ? 0 : (uint8_t)f.offset));
}

/* Quad k of a block, 4 rows of which start at p: (row, 4) codes. */
INLINE int8x16_t load_quad(rt_fmt f, uint8x16_t values, const uint8_t *p, int k) {
    uint8x16_t c = low_codes(f, p, k);
    if (f.bits == 3)
        c = vorrq_u8(c, field(p + 128, 2 - k, 1 << 2));
    if (f.bits == 5)
        c = vorrq_u8(c, field(p + 256, 4 - k, 1 << 4));
    if (f.bits == 6)
        c = vorrq_u8(c, field(p + 256 + k / 4 * 64, 4 - k % 4 * 2, 3 << 4));
    return vreinterpretq_s8_u8(f.lookup ? vqtbl1q_u8(values, c) : c);
}

INLINE float32x4_t load_half(const uint8_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

/* d of four rows, in a format's own precision. */
INLINE float32x4_t load_d(rt_fmt f, const rt_mat_tiles *m, const uint8_t *p) {
    if (f.bf16)
        return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
    return f.lookup && f.sub ? vmulq_n_f32(load_half(p), m->unit) : load_half(p);
}

/* Four bytes, a lane each. */
INLINE uint32x4_t load_bytes(const uint8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)))));
}

INLINE int32x4_t load_signed_bytes(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)))));
}

/* Scale and minimum (if any) of group g of a record whose halves are d and m. */
INLINE void load_scale(rt_fmt f, const uint8_t *rec, size_t row, size_t g, float32x4_t d, float32x4_t m, float32x4_t *w,
                       float32x4_t *o) {
    const uint8_t *sub = rec + (f.min ? 64 : 32) + g * rt_fmt_sub_bytes(f) + row;
    if (!f.sub) {
        *w = d;
        *o = m;
    } else if (!f.min) {
        *w = vmulq_f32(d, vcvtq_f32_s32(load_signed_bytes(sub)));
    } else {
        uint32x4_t sc = load_bytes(sub), mi;
        if (f.group == 16) {
            mi = vshrq_n_u32(sc, 4);
            sc = vandq_u32(sc, vdupq_n_u32(15));
        } else {
            mi = load_bytes(sub + 16);
        }
        *w = vmulq_f32(d, vcvtq_f32_u32(sc));
        *o = vnegq_f32(vmulq_f32(m, vcvtq_f32_u32(mi)));
    }
}

/* Sum of (code - offset) * q over quads first..last-1, a group. Signed formats: their quads are without the offset. */
INLINE float32x4_t dot(rt_fmt f, const int8x16_t *quads, const rt_act_block *x, int first, int last) {
    float q = f.group == 32 ? x->sum : x->sum2[first / 4];
    int32x4_t sum = vdupq_n_s32(is_signed(f) ? 0 : -f.offset * (int)q);
#pragma GCC unroll 8
    for (int k = first; k < last; k++) {
        int32_t four;
        memcpy(&four, x->q + 4 * k, sizeof four);
        sum = quad_dot(sum, quads[k], vreinterpretq_s8_s32(vdupq_n_s32(four)));
    }
    return vcvtq_f32_s32(sum);
}

/* One block and one token: the new accumulator. */
INLINE float32x4_t step(rt_fmt f, const int8x16_t *quads, const float32x4_t *w, const float32x4_t *o, const rt_act_block *x,
                        float32x4_t acc) {
    float32x4_t u;
    if (f.group == 32) {
        u = vmulq_f32(w[0], dot(f, quads, x, 0, 8));
        if (f.min)
            u = vfmaq_f32(u, o[0], vdupq_n_f32(x->sum));
    } else {
        u = vmulq_f32(w[0], dot(f, quads, x, 0, 4));
        u = vfmaq_f32(u, w[1], dot(f, quads, x, 4, 8));
        if (f.min) {
            u = vfmaq_f32(u, o[0], vdupq_n_f32(x->sum2[0]));
            u = vfmaq_f32(u, o[1], vdupq_n_f32(x->sum2[1]));
        }
    }
    return vfmaq_f32(acc, u, vdupq_n_f32(x->d));
}

INLINE float32x4_t load_rows(const float *y, size_t n) {
    float some[LANES] = {0};
    if (n >= LANES)
        return vld1q_f32(y);
    memcpy(some, y, n * sizeof *y);
    return vld1q_f32(some);
}

INLINE void store_rows(float *y, float32x4_t v, size_t n) {
    float some[LANES];
    if (n >= LANES) {
        vst1q_f32(y, v);
        return;
    }
    vst1q_f32(some, v);
    memcpy(y, some, n * sizeof *y);
}

/* Four rows of a tile from `row` on and `toks` tokens of a group of n. */
INLINE void quarter_toks(rt_fmt f, const rt_mat_tiles *m, size_t tile, size_t row, const rt_act_block *x, size_t n, int toks,
                         float *y, size_t ldy) {
    const uint8_t *codes = rt_tile_codes(m, tile) + 4 * row, *rec = rt_tile_scales(m, tile, f);
    const size_t n_rec = m->cols / rt_fmt_block_cols(f), per_rec = rt_fmt_block_cols(f) / 32;
    const uint8x16_t values = load_values(f, m);
    float32x4_t acc[TOKS];
    for (int t = 0; t < toks; t++)
        acc[t] = vdupq_n_f32(0.0f);
    for (size_t i = 0; i < n_rec; i++, rec += rt_fmt_scale_bytes(f)) {
        float32x4_t d = load_d(f, m, rec + 2 * row), min = f.min ? load_half(rec + 32 + 2 * row) : d;
        for (size_t b = 0; b < per_rec; b++, codes += rt_fmt_code_bytes(f), x += n) {
            int8x16_t quads[8];
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
                quads[k] = load_quad(f, values, codes, k);
            float32x4_t w[2], o[2];
            load_scale(f, rec, row, f.group == 16 ? 2 * b : b, d, min, &w[0], &o[0]);
            if (f.group == 16)
                load_scale(f, rec, row, 2 * b + 1, rt_fmt_two_d(f) ? load_half(rec + 32 + 2 * row) : d, min, &w[1], &o[1]);
#pragma GCC unroll 4
            for (int t = 0; t < toks; t++)
                acc[t] = step(f, quads, w, o, x + t, acc[t]);
        }
    }
    for (int t = 0; t < toks; t++)
        store_rows(y + (size_t)t * ldy + row, acc[t], rt_tile_n_rows(m, tile) - row);
}

INLINE void mat_tile(rt_fmt f, const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n_tok, float *y, size_t ldy) {
    size_t n_rows = rt_tile_n_rows(m, tile);
    for (size_t t = 0; t < n_tok; t += RT_TOK_GROUP, x += m->cols / 32 * RT_TOK_GROUP) {
        size_t n = n_tok - t < RT_TOK_GROUP ? n_tok - t : RT_TOK_GROUP, i;
        float *out = y + t * ldy;
        for (size_t row = 0; row < n_rows; row += LANES) {
            for (i = 0; n - i >= TOKS; i += TOKS)
                quarter_toks(f, m, tile, row, x + i, n, TOKS, out + i * ldy, ldy);
            if (n - i == 3)
                quarter_toks(f, m, tile, row, x + i, n, 3, out + i * ldy, ldy);
            if (n - i == 2)
                quarter_toks(f, m, tile, row, x + i, n, 2, out + i * ldy, ldy);
            if (n - i == 1)
                quarter_toks(f, m, tile, row, x + i, n, 1, out + i * ldy, ldy);
        }
    }
}

#define MAT(name, ...)                                                                                                         \
    static void mat_##name(const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok, float *y,  \
                           size_t ldy) {                                                                                       \
        for (size_t i = 0; i < n_tiles; i++)                                                                                   \
            mat_tile((rt_fmt)RT_FMT(name, __VA_ARGS__), m, tile + i, x, n_tok, y + i * RT_TILE_ROWS, ldy);                     \
    }
RT_MAT_FORMAT_TABLE(MAT)
#undef MAT

/* Sixteen rows of a panel, of which n_rows > 0 count, and `toks` tokens. */
INLINE void panel_toks(const float *panel, size_t cols, const float *x, size_t ldx, int toks, float *y, size_t ldy,
                       size_t n_rows, bool first) {
    float32x4_t acc[TOKS][4];
    for (int t = 0; t < toks; t++)
        for (size_t j = 0; j < 4; j++)
            acc[t][j] = first || n_rows <= 4 * j ? vdupq_n_f32(0.0f) : load_rows(y + (size_t)t * ldy + 4 * j, n_rows - 4 * j);
    for (size_t c = 0; c < cols; c++, panel += RT_PANEL_ROWS) {
        float32x4_t w[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            w[j] = vld1q_f32(panel + 4 * j);
#pragma GCC unroll 4
        for (int t = 0; t < toks; t++) {
            float32x4_t v = vdupq_n_f32(x[(size_t)t * ldx + c]);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                acc[t][j] = vfmaq_f32(acc[t][j], w[j], v);
        }
    }
    for (int t = 0; t < toks; t++)
        for (size_t j = 0; j < 4 && n_rows > 4 * j; j++)
            store_rows(y + (size_t)t * ldy + 4 * j, acc[t][j], n_rows - 4 * j);
}

static void mat_f32(const void *weights, size_t cols, const float *x, size_t ldx, size_t n_tok, float *y, size_t ldy,
                    size_t n_rows, bool first) {
    const float *panel = weights;
    for (size_t row = 0; row < n_rows; row += 16) {
        size_t t = 0;
        for (; n_tok - t >= TOKS; t += TOKS)
            panel_toks(panel + row, cols, x + t * ldx, ldx, TOKS, y + t * ldy + row, ldy, n_rows - row, first);
        for (; t < n_tok; t++)
            panel_toks(panel + row, cols, x + t * ldx, ldx, 1, y + t * ldy + row, ldy, n_rows - row, first);
    }
}

void MAT_FILL(rt_kernels *k) {
    k->act_quant = act_quant;
#define ENTRY(name, ...) k->mat_i8[RT_FMT_##name] = mat_##name;
    RT_MAT_FORMAT_TABLE(ENTRY)
#undef ENTRY
    k->mat_f32 = mat_f32;
}
