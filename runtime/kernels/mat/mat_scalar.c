/* Matrix kernels in plain C: the definition of the answer. Layouts and the order of sums: mat/format.h. */
#include "base/fp16.h"
#include "kernels/mat/format.h"

#include <math.h>

static void act_quant(const float *x, size_t n, rt_act_block *out, size_t stride) {
    for (size_t b = 0; b < n / RT_KBLOCK; b++, x += RT_KBLOCK, out += stride) {
        uint32_t amax_bits = 0; /* as integers, so that NaN is the largest of all */
        for (int i = 0; i < RT_KBLOCK; i++) {
            uint32_t bits = fp32_bits(x[i]) & 0x7fffffffu;
            amax_bits = bits > amax_bits ? bits : amax_bits;
        }
        float amax = fp32_from_bits(amax_bits);
        bool zero = amax < 0x1p-100f; /* 127/amax must stay finite */
        float inv = zero ? 0.0f : 127.0f / amax;
        out->d = zero ? 0.0f : amax / 127.0f;
        int sum[2] = {0, 0};
        for (int i = 0; i < RT_KBLOCK; i++) {
            /* Adding 1.5 * 2^23 leaves the rounded integer in the low bits; unlike a conversion it is defined for NaN too. */
            out->q[i] = (int8_t)(uint8_t)fp32_bits(x[i] * inv + 0x1.8p23f);
            sum[i / 16] += out->q[i];
        }
        out->sum = (float)(sum[0] + sum[1]);
        out->sum2[0] = (float)sum[0];
        out->sum2[1] = (float)sum[1];
    }
}

/* Byte i of quad k in a plane of 4 or 2 bits. */
static int nibble(const uint8_t *p, int k, int i) {
    return p[k % 4 * 64 + i] >> k / 4 * 4 & 15;
}
static int pair(const uint8_t *p, int k, int i) {
    return p[k / 4 * 64 + i] >> k % 4 * 2 & 3;
}

/* Codes of one block, spread to bytes: (quad, row, 4). */
static void decode_block(rt_fmt f, const int8_t *values, const uint8_t *p, uint8_t out[8][64]) {
    for (int k = 0; k < 8; k++)
        for (int i = 0; i < 64; i++) {
            switch (f.bits) {
            case 2:
                out[k][i] = (uint8_t)pair(p, k, i);
                break;
            case 3:
                out[k][i] = (uint8_t)(pair(p, k, i) | (p[128 + i] >> k & 1) << 2);
                break;
            case 4:
                out[k][i] = (uint8_t)nibble(p, k, i);
                break;
            case 5:
                out[k][i] = (uint8_t)(nibble(p, k, i) | (p[256 + i] >> k & 1) << 4);
                break;
            case 6:
                out[k][i] = (uint8_t)(nibble(p, k, i) | pair(p + 256, k, i) << 4);
                break;
            default:
                out[k][i] = p[k * 64 + i];
            }
            if (f.lookup)
                out[k][i] = (uint8_t)(values[out[k][i]] + f.offset);
        }
}

/* Scale w and minimum o (if any) of one row in group g (counted from the start of the record). */
static void decode_scale(rt_fmt f, float unit, const uint8_t *rec, int g, int row, float *w, float *o) {
    uint16_t half[2];
    memcpy(&half[0], rec + 2 * row, 2);
    memcpy(&half[1], rec + 2 * row + (f.min || rt_fmt_two_d(f) ? 32 : 0), 2);
    float d = f.bf16 ? bf16_to_fp32(half[0]) : fp16_to_fp32(half[0]), m = fp16_to_fp32(half[1]);
    const uint8_t *sub = rec + (f.min ? 64 : 32) + (size_t)g * rt_fmt_sub_bytes(f);
    if (f.lookup && f.sub)
        d *= unit;
    if (!f.sub) {
        *w = rt_fmt_two_d(f) && g == 1 ? m : d;
        *o = m;
    } else if (!f.min) {
        *w = d * (float)(int8_t)sub[row];
        *o = m;
    } else {
        bool nibbles = f.group == 16;
        *w = d * (float)(nibbles ? sub[row] & 15 : sub[row]);
        *o = -(m * (float)(nibbles ? sub[row] >> 4 : sub[row + 16]));
    }
}

/* One block of one row and one token: the new accumulator. */
static float block_step(rt_fmt f, const uint8_t codes[8][64], int row, const float *w, const float *o, const rt_act_block *x,
                        float acc) {
    const int groups = 32 / f.group;
    int sum[2] = {0, 0};
    for (int c = 0; c < RT_KBLOCK; c++)
        sum[c / f.group] += (codes[c / 4][row * 4 + c % 4] - f.offset) * x->q[c];
    float u = fmaf(w[0], RT_MAT_MAGIC + (float)sum[0], -RT_MAT_MAGIC * w[0]);
    if (groups == 2)
        u = fmaf(w[1], (float)sum[1], u);
    for (int g = 0; f.min && g < groups; g++)
        u = fmaf(o[g], groups == 1 ? x->sum : x->sum2[g], u);
    return fmaf(u, x->d, acc);
}

/* One group of n <= 16 tokens. */
static void mat_group(const rt_mat_tiles *m, size_t tile, const rt_act_block *x, size_t n, float *y, size_t ldy) {
    rt_fmt f = m->fmt;
    const uint8_t *scales = rt_tile_scales(m, tile, f);
    size_t n_rows = rt_tile_n_rows(m, tile), groups = 32 / (size_t)f.group, per_rec = rt_fmt_block_cols(f) / 32;
    float acc[RT_TOK_GROUP][RT_TILE_ROWS] = {{0}};
    for (size_t b = 0; b < m->cols / 32; b++) {
        uint8_t codes[8][64];
        decode_block(f, m->values, rt_tile_codes(m, tile) + b * rt_fmt_code_bytes(f), codes);
        const uint8_t *rec = scales + b / per_rec * rt_fmt_scale_bytes(f);
        for (size_t r = 0; r < n_rows; r++) {
            float w[2], o[2];
            for (size_t g = 0; g < groups; g++)
                decode_scale(f, m->unit, rec, (int)(b % per_rec * groups + g), (int)r, &w[g], &o[g]);
            for (size_t t = 0; t < n; t++)
                acc[t][r] = block_step(f, codes, (int)r, w, o, &x[b * n + t], acc[t][r]);
        }
    }
    for (size_t t = 0; t < n; t++)
        memcpy(y + t * ldy, acc[t], n_rows * sizeof(float));
}

static void mat_i8(const rt_mat_tiles *m, size_t tile, size_t n_tiles, const rt_act_block *x, size_t n_tok, float *y,
                   size_t ldy) {
    for (size_t i = 0; i < n_tiles; i++, y += RT_TILE_ROWS)
        for (size_t t = 0; t < n_tok; t += RT_TOK_GROUP) {
            size_t n = n_tok - t < RT_TOK_GROUP ? n_tok - t : RT_TOK_GROUP;
            mat_group(m, tile + i, x + t * (m->cols / 32), n, y + t * ldy, ldy);
        }
}

static void mat_f32(const void *weights, size_t cols, const float *x, size_t ldx, size_t n_tok, float *y, size_t ldy,
                    size_t n_rows, bool first) {
    const float *panel = weights;
    for (size_t t = 0; t < n_tok; t++)
        for (size_t r = 0; r < n_rows; r++) {
            float acc = first ? 0.0f : y[t * ldy + r];
            for (size_t c = 0; c < cols; c++)
                acc = fmaf(panel[c * RT_PANEL_ROWS + r], x[t * ldx + c], acc);
            y[t * ldy + r] = acc;
        }
}

void rt_mat_scalar(rt_kernels *k) {
    k->act_quant = act_quant;
    for (int f = 0; f < RT_MAT_FORMATS; f++)
        k->mat_i8[f] = mat_i8;
    k->mat_f32 = mat_f32;
}
