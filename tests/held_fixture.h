/* What every token of the cache's input should be read as: as stored by its codec, and at full precision. For plain models of
 * attention in the tests. */
#ifndef HELD_FIXTURE_H
#define HELD_FIXTURE_H

#include "cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* (n_tok, dim) of one stream: as stored by its codec, and at full precision. */
typedef struct held {
    double *coded, *full;
} held;

/* x (dim) at position pos, rotated by `sign` times the first position of its frame: adjacent pairs or halves. In f32, operation
 * by operation as the cache does it: near a border between levels the last bit decides. */
static inline void rotate(const fixture *f, uint32_t layer, uint32_t pos, int sign, double *x) {
    const kv_rope *r = &f->cfg.rope;
    const uint32_t half = r->n_rot / 2;
    for (uint32_t i = 0; i < half; i++) {
        double a = (double)(pos / f->cfg.frame * f->cfg.frame) * r->inv_freq[(f->swa[layer] ? half : 0) + i];
        float c = (float)cos(a), s = (float)(sign * sin(a));
        double *p = &x[r->neox ? i : 2 * i], *q = r->neox ? p + half : p + 1;
        float was = (float)*p, other = (float)*q;
        *p = fmaf(-other, s, was * c);
        *q = fmaf(other, c, was * s);
    }
}

static inline void rotate_all(const fixture *f, uint32_t layer, int sign, double *x) {
    for (uint32_t t = 0; t < f->n_tok; t++)
        rotate(f, layer, t, sign, x + (size_t)t * f->cfg.head_dim);
}

static inline held hold(const fixture *f, uint32_t layer, uint32_t head, kv_side side) {
    uint32_t dim = f->cfg.head_dim, stream = layer * f->cfg.n_kv_head + head;
    const kv_codec_sel *sel = (side == KV_SIDE_K ? f->k : f->v) + stream;
    const float *src = side == KV_SIDE_K ? f->key[layer] : f->val[layer];
    size_t n = (size_t)f->n_tok * dim;
    held h = {malloc(n * sizeof(double)), malloc(n * sizeof(double))};
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = src[(i / dim * f->cfg.n_kv_head + head) * dim + i % dim];
        h.full[i] = sel->id == KV_F32 ? x[i] : to_f16(x[i]);
        if ((f->cfg.window || fix_group(f, layer) > 1) && sel->id > KV_F16)
            x[i] = to_f16(x[i]);
    }
    bool framed = f->cfg.frame && side == KV_SIDE_K && sel->id == KV_TC;
    for (size_t i = 0; framed && i < n; i++)
        h.coded[i] = x[i];
    if (framed)
        rotate_all(f, layer, -1, h.coded);
    for (size_t i = 0; i < n; i++) {
        x[i] = framed ? (float)h.coded[i] : x[i];
        h.coded[i] = NAN; /* of what is never encoded */
    }
    codec_round(sel, side, rt_kernels_for(RT_CPU_SCALAR), x, f->n_tok, dim, f->cfg.sinks, h.coded);
    if (framed)
        rotate_all(f, layer, 1, h.coded);
    free(x);
    return h;
}

static inline void release(held h) {
    free(h.coded);
    free(h.full);
}

static inline bool reads_full(const fixture *f, uint32_t layer, uint32_t i, uint32_t j) {
    return j >= fix_encoded(f, layer, i + 1) || j < f->cfg.sinks;
}

/* f32 rounding; but where K and V of a head are tc, queries and weights have codes of 16 bits. A weight is off by up to 2^-16
 * of the greatest one; a score by up to half a unit, 2^-16 of the query's largest coordinate, times the key's level and gain,
 * in every coordinate. Coefficients of the fixture differ in size by 2^5 and keys are not spread as these say, so that the
 * largest product is some 60, and 32 such errors add up to 6e-3 (6 standard deviations); more coordinates to more. */
static inline double tolerance(const fixture *f) {
    for (uint32_t i = 0; i < FIX_LAYERS * f->cfg.n_kv_head; i++)
        if (f->k[i].id == KV_TC && f->v[i].id == KV_TC)
            return 6e-3 * sqrt(fmax(1, f->cfg.head_dim / 32.0));
    return 3e-5;
}

#endif
