/* Attention in codes, scalar: the definition that the vector variants are held to, bit for bit. Tiles are the levels as they
 * come, codes of queries and weights are int16.
 */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

static float query(const float *w, size_t cdim, void *code) {
    uint32_t top = 0;
    float amax;
    int16_t *c = code;
    for (size_t i = 0; i < cdim; i++) { /* as integers: NaN is above Inf */
        uint32_t bits;
        memcpy(&bits, &w[i], sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    memcpy(&amax, &top, sizeof amax);
    bool some = amax >= 0x1p-100f && amax < INFINITY;
    float inv = some ? RT_INT_QUERY / amax : 0;
    for (size_t i = 0; i < cdim; i++)
        c[i] = some ? (int16_t)lrintf(w[i] * inv) : 0;
    return amax < INFINITY ? (some ? amax / RT_INT_QUERY : 0) : NAN;
}

/* Written so that compilers find vectors in it: sums of integers may be made in any order. */
static void scores(const void *code, size_t n_q, size_t cdim, const void *tiles, size_t n_tile, const float *scale,
                   const float *bias, const float *gain, float *s) {
    for (size_t r = 0; r < n_q; r++) {
        const int16_t *c = (const int16_t *)((const char *)code + r * rt_int_row(cdim));
        for (size_t n = 0; n < n_tile; n++) {
            const int8_t *level = (const int8_t *)tiles + n * rt_int_tile(cdim);
            int32_t sum[RT_ATTN_TILE] = {0};
            for (size_t i = 0; i < cdim; i++, level += RT_ATTN_TILE)
                for (int t = 0; t < RT_ATTN_TILE; t++)
                    sum[t] += c[i] * level[t];
            for (size_t t = 0; t < RT_ATTN_TILE; t++) {
                const size_t at = n * RT_ATTN_TILE + t;
                s[r * RT_INT_SPAN + at] = fmaf((float)sum[t], scale[r] * gain[at], bias[r]);
            }
        }
    }
}

/* 2^x for x <= 0: x = n + r, |r| <= 1/2; a polynomial for 2^r with least relative error, n added to the exponent. */
static float exp2_neg(float x) {
    const float magic = 0x1.8p23f;
    float t = x + magic, r = x - (t - magic), p = 0x1.3a02d2p-7f;
    uint32_t n, bits;
    if (x < -100)
        return 0;
    p = fmaf(p, r, 0x1.c9fc48p-5f);
    p = fmaf(p, r, 0x1.ec0378p-3f);
    p = fmaf(p, r, 0x1.62e12cp-1f);
    p = fmaf(p, r, 1);
    memcpy(&n, &t, sizeof n);
    memcpy(&bits, &p, sizeof bits);
    bits += n << 23;
    memcpy(&p, &bits, sizeof p);
    return p;
}

static float weights(float *s, size_t from, size_t to, const float *gain, void *p, float *top) {
    size_t lo = from / RT_ATTN_TILE * RT_ATTN_TILE, hi = (to + RT_ATTN_TILE - 1) / RT_ATTN_TILE * RT_ATTN_TILE;
    float most = -INFINITY, sum[16] = {0};
    for (size_t t = from; t < to; t++)
        most = s[t] > most ? s[t] : most;
    for (size_t t = lo; t < hi; t++) {
        s[t] = t >= from && t < to ? s[t] : -INFINITY;
        float e = exp2_neg(s[t] - most);
        ((int16_t *)p)[t] = (int16_t)lrintf(e * gain[t]);
        sum[t % 16] += e;
    }
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    *top = most;
    return sum[0];
}

static void values(const void *p, size_t n_q, size_t cdim, const void *tiles, size_t first, size_t last, const float *scale,
                   float *o) {
    for (size_t r = 0; r < n_q; r++) {
        const int16_t *w = (const int16_t *)p + r * RT_INT_SPAN;
        for (size_t i = 0; i < cdim; i++) {
            int32_t sum = 0;
            for (size_t n = first; n < last; n++) {
                const int8_t *level = (const int8_t *)tiles + n * rt_int_tile(cdim) + i * RT_ATTN_TILE;
                for (size_t t = 0; t < RT_ATTN_TILE; t++)
                    sum += w[n * RT_ATTN_TILE + t] * level[t];
            }
            o[r * cdim + i] = scale[r] * (float)sum;
        }
    }
}

void rt_attn_int_scalar(rt_kernels *k) {
    k->int_keys = k->int_vals = NULL;
    k->int_query = query;
    k->int_scores = scores;
    k->int_weights = weights;
    k->int_values = values;
}
