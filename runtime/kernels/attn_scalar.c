/* Attention and cache decoding, scalar: the definition that the vector variants are held to, bit for bit. */
#include "attn_plain.h"
#include "fp16.h"

#include <math.h>
#include <string.h>

static void scores(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds) {
    for (size_t i = 0; i < n_q; i++) {
        float *row = s + i * lds;
        memset(row, 0, 64 * sizeof *row);
        for (size_t c = 0; c < dim; c++)
            for (int t = 0; t < 64; t++)
                row[t] = fmaf(q[i * dim + c], kt[c * 64 + t], row[t]);
    }
}

static void values(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o) {
    for (size_t i = 0; i < n_q; i++)
        for (size_t t = 0; t < n; t++)
            for (size_t c = 0; c < dim; c++)
                o[i * dim + c] = fmaf(p[i * ldp + t], v[t * dim + c], o[i * dim + c]);
}

static void f16_load(const uint16_t *src, size_t n, float *dst) {
    for (size_t i = 0; i < n; i++)
        dst[i] = fp16_to_fp32(src[i]);
}

static void f16_store(const float *src, size_t n, uint16_t *dst) {
    for (size_t i = 0; i < n; i++)
        dst[i] = fp16_from_fp32(src[i]);
}

/* Squared error of one token under one gain; its codes. */
static float quant_one(const rt_tc_book *b, const float *z, float gain, uint8_t *codes) {
    float inv = gain > 0 ? 1.0f / gain : 0.0f, err = 0;
    for (size_t i = 0; i < b->n; i++) {
        const float *mids = b->mids + i * b->stride;
        float r = z[i] * inv;
        unsigned node = 1;
        for (unsigned step = 0; step < b->bits[i]; step++)
            node = 2 * node + (r > mids[node]);
        unsigned code = node - (1u << b->bits[i]);
        float d = fmaf(-gain, b->levels[i * b->stride + code], z[i]);
        err = fmaf(d, d, err);
        codes[i * 64] = (uint8_t)code;
    }
    return err;
}

static void tc_quant(const rt_tc_book *b, const float *z, size_t ldz, size_t n, const float *gain, uint8_t *best,
                     uint8_t *codes) {
    for (size_t t = 0; t < n; t++) {
        const float *g = gain + t * RT_TC_TRIALS;
        float least = quant_one(b, z + t * ldz, g[0], codes + t);
        best[t] = 0;
        for (uint8_t trial = 1; trial < RT_TC_TRIALS; trial++) {
            float err = quant_one(b, z + t * ldz, g[trial], codes + t);
            if (err < least) {
                least = err;
                best[t] = trial;
            }
        }
        quant_one(b, z + t * ldz, g[best[t]], codes + t);
    }
}

static unsigned code_at(const uint64_t *planes, unsigned bits, unsigned t) {
    unsigned code = 0;
    for (unsigned p = 0; p < bits; p++)
        code |= (unsigned)(planes[p] >> t & 1) << p;
    return code;
}

static void tc_cols(const rt_tc_book *b, const uint64_t *planes, const float *gain, float *kt) {
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++)
        for (unsigned t = 0; t < 64; t++)
            kt[i * 64 + t] = gain[t] * b->levels[i * b->stride + code_at(planes, b->bits[i], t)];
}

static void tc_rows(const rt_tc_book *b, const uint64_t *planes, const float *gain, size_t n_tok, float *v, size_t ldv) {
    memset(v, 0, n_tok * ldv * sizeof *v);
    for (size_t i = 0; i < b->n; planes += b->bits[i], i++)
        for (unsigned t = 0; t < n_tok; t++)
            v[t * ldv + i] = gain[t] * b->levels[i * b->stride + code_at(planes, b->bits[i], t)];
}

void rt_attn_scalar(rt_kernels *k) {
    attn_plain(k);
    k->attn_scores = scores;
    k->attn_values = values;
    k->f16_load = f16_load;
    k->f16_store = f16_store;
    k->tc_quant = tc_quant;
    k->tc_cols = tc_cols;
    k->tc_rows = tc_rows;
}
