/* The calibrated transform codec (libfmt/profile/profile.h, prof_tc).
 *
 * Encoding: z = F (x - mean), F the inverse of the synthesis basis, computed once per stream and rounded to 16 bits; then a
 * gain and one code per coded dimension, found by the trellis search (libfmt/quant/trellis.h) as the ones of least squared
 * error in z, where that error is the one that costs. Attention stays in z: a query is projected to basis . q with the bias q .
 * mean, and a sum of values is reconstructed once.
 *
 * Block: for each coded dimension, bits[i] words of 64 bits (bit t = slot t, lowest bit of the code first); then 64 bytes of
 * gains. A gain of 0 (z = 0, or far too small) decodes to the mean exactly.
 * Every sum has a fixed order: bytes depend neither on the instruction set nor on the batch.
 */
#include "codec/codec.h"
#include "codec/codec_planes.h"
#include "codec/codec_tc_pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tc_state {
    const prof_tc *p;
    trellis_book book;
    size_t words;         /* of planes per block */
    rt_tc_matrix forward; /* z of x - mean; owns even, a and scale */
    float *synth;         /* K: (dim, cdim) basis transposed, columns beyond the coded ones zero; V: (cdim, dim); times scale */
    float *inv_sigma;     /* (cdim) 0 beyond the coded ones */
    float *scale;         /* (book.n) of a level: sigma times the step of its table */
    float *inverse, *square; /* (book.n) and */
    trellis_weight *weight;  /* (book.n) of the search */
} tc_state;

static void tc_free(kv_coder *c) {
    tc_state *s = c->state;
    if (!s)
        return;
    free((void *)s->forward.even);
    free((void *)s->forward.a);
    free((void *)s->forward.scale);
    free(s->synth);
    free(s->inv_sigma);
    free(s->scale);
    free(s->inverse);
    free(s->square);
    free(s->weight);
    free(s);
}

/* What numbers of a transform may be, so that none of their products with keys and values of a model overflows. */
static const float MOST = 0x1p40f;

static bool is_size(float x) {
    return x >= 1 / MOST && x <= MOST;
}

static kv_status check(const kv_coder *c, const prof_tc *p, kv_err *err) {
    if (!p)
        return kv_fail(err, KV_EINVAL, "codec tc needs the transform of a profile");
    if (p->dim != c->dim)
        return kv_fail(err, KV_EINVAL, "transform is for head_dim %u, not %u", p->dim, c->dim);
    for (uint32_t i = 0; i < p->dim; i++) {
        if (p->bits[i] > PROF_MAX_BITS || (i && p->bits[i] > p->bits[i - 1]))
            return kv_fail(err, KV_ERANGE, "coefficient %u: %u bits (at most %d, never rising)", i, p->bits[i], PROF_MAX_BITS);
        if (!(fabsf(p->mean[i]) <= MOST))
            return kv_fail(err, KV_ERANGE, "mean %u, %g, is not within %g", i, (double)p->mean[i], (double)MOST);
        if (!p->bits[i])
            continue;
        if (!is_size(p->sigma[i]))
            return kv_fail(err, KV_ERANGE, "coefficient %u: sigma %g is not within %g .. %g", i, (double)p->sigma[i],
                           (double)(1 / MOST), (double)MOST);
        float step = p->step[p->bits[i]];
        if (!is_size(step))
            return kv_fail(err, KV_ERANGE, "levels of %u bits: step %g is not within %g .. %g", p->bits[i], (double)step,
                           (double)(1 / MOST), (double)MOST);
    }
    unsigned falling = trellis_falling(p->levels);
    if (falling)
        return kv_fail(err, KV_ERANGE, "levels of %u bits fall within a window", falling);
    return KV_OK;
}

/* Invert m (n, n) in place into inv, Gauss-Jordan with row pivoting. False: singular. */
static bool invert(double *m, double *inv, size_t n) {
    for (size_t i = 0; i < n * n; i++)
        inv[i] = i % (n + 1) == 0;
    for (size_t col = 0; col < n; col++) {
        size_t top = col;
        for (size_t r = col + 1; r < n; r++)
            if (fabs(m[r * n + col]) > fabs(m[top * n + col]))
                top = r;
        if (!(fabs(m[top * n + col]) > 1e-10))
            return false;
        for (size_t j = 0; j < n; j++) {
            double a = m[top * n + j], b = inv[top * n + j];
            m[top * n + j] = m[col * n + j];
            inv[top * n + j] = inv[col * n + j];
            m[col * n + j] = a;
            inv[col * n + j] = b;
        }
        double scale = 1 / m[col * n + col];
        for (size_t j = 0; j < n; j++) {
            m[col * n + j] *= scale;
            inv[col * n + j] *= scale;
        }
        for (size_t r = 0; r < n; r++) {
            double f = m[r * n + col];
            if (r == col || f == 0)
                continue;
            for (size_t j = 0; j < n; j++) {
                m[r * n + j] -= f * m[col * n + j];
                inv[r * n + j] -= f * inv[col * n + j];
            }
        }
    }
    return true;
}

/* The coded rows of F (dim columns) in 16 bits. Columns come to unit length first: a rounded dimension of x is then as far off
 * as any other, whatever it is measured in, and 12 bits of x are some 60 dB below its coefficients. A row's codes are as large
 * as they may be, those of 16 bits with few dimensions, about ten with 512: as many dB again. */
static kv_status fill_forward(const kv_coder *c, tc_state *s, const double *f, kv_err *err) {
    const size_t dim = c->dim, n = s->book.n;
    float *even = calloc(dim + 1, sizeof *even), *scale = calloc(c->cdim + 1, sizeof *scale);
    int16_t *a = calloc(c->cdim * rt_tc_pairs(dim) * 2 + 1, sizeof *a);
    s->forward = (rt_tc_matrix){dim, c->cdim, s->p->mean, even, a, scale};
    if (!even || !scale || !a)
        return kv_fail(err, KV_ENOMEM, "no memory for a transform of %zu dimensions", dim);
    for (size_t j = 0; j < dim; j++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += f[i * dim + j] * f[i * dim + j];
        even[j] = sum > 0 ? (float)sqrt(sum) : 1;
        if (!is_size(even[j]))
            return kv_fail(err, KV_ERANGE,
                           "dimension %zu: the transform multiplies it by %g, not within %g .. %g: calibrate again", j,
                           (double)even[j], (double)(1 / MOST), (double)MOST);
    }
    for (size_t i = 0; i < n; i++) {
        const double most_sum = (double)INT32_MAX / RT_TC_INPUT - (double)dim; /* rounding may add to each */
        double most = 0, sum = 0;
        for (size_t j = 0; j < dim; j++) {
            const double x = fabs(f[i * dim + j] / (double)even[j]);
            most = fmax(most, x);
            sum += x;
        }
        scale[i] = (float)fmax(most / INT16_MAX, sum / most_sum);
        int16_t *row = a + i / RT_TC_TILE * rt_tc_pairs(dim) * 2 * RT_TC_TILE + i % RT_TC_TILE * 2;
        for (size_t j = 0; j < dim; j++)
            row[j / 2 * 2 * RT_TC_TILE + j % 2] =
                (int16_t)fmax(-INT16_MAX, fmin(INT16_MAX, rint(f[i * dim + j] / (double)even[j] / (double)scale[i])));
    }
    return KV_OK;
}

/* F: the coded columns of the inverse of basis (rows = synthesis vectors: x = z . basis, so z = x . basis^-1), as rows. Rows of
 * the basis are brought to unit size first: their scale says nothing about whether the basis is singular. */
static kv_status invert_basis(const kv_coder *c, tc_state *s, kv_err *err) {
    size_t dim = c->dim;
    kv_status st = KV_OK;
    double *m = malloc(dim * dim * sizeof *m), *inv = malloc(dim * dim * sizeof *inv), *size = malloc(dim * sizeof *size);
    if (!m || !inv || !size) {
        st = kv_fail(err, KV_ENOMEM, "no memory for a transform of %zu dimensions", dim);
        goto done;
    }
    bool good = true;
    for (size_t i = 0; i < dim; i++) {
        size[i] = 0;
        for (size_t j = 0; j < dim; j++)
            size[i] = fmax(size[i], fabs((double)s->p->basis[i * dim + j]));
        good = good && isfinite(size[i]) && size[i] > 0;
        for (size_t j = 0; j < dim; j++)
            m[i * dim + j] = s->p->basis[i * dim + j] / size[i];
    }
    if (!good || !invert(m, inv, dim)) {
        st = kv_fail(err, KV_ERANGE, "the basis is singular: calibrate again");
        goto done;
    }
    for (size_t i = 0; i < s->book.n; i++)
        for (size_t j = 0; j < dim; j++)
            /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): dim of them, and no more are coded */
            m[i * dim + j] = inv[j * dim + i] / size[i];
    st = fill_forward(c, s, m, err);
done:
    free(m);
    free(inv);
    free(size);
    return st;
}

static void fill_book(tc_state *s) {
    for (size_t i = 0; i < s->book.n; i++) {
        s->inv_sigma[i] = 1 / s->p->sigma[i];
        s->scale[i] = s->p->sigma[i] * s->p->step[s->p->bits[i]];
    }
    trellis_weigh(s->book.n, s->p->bits, s->scale, s->inverse, s->square, s->weight);
    s->book.bits = s->p->bits;
    s->book.levels = s->p->levels;
    s->book.scale = s->scale;
    s->book.inverse = s->inverse;
    s->book.square = s->square;
    s->book.weight = s->weight;
}

/* The scale of a level goes here, so that a decoded tile is nothing but gains times levels. */
static void fill_synth(const kv_coder *c, tc_state *s) {
    size_t dim = c->dim;
    for (size_t i = 0; i < s->book.n; i++)
        for (size_t j = 0; j < dim; j++)
            s->synth[c->side == KV_SIDE_V ? i * dim + j : j * c->cdim + i] = s->scale[i] * s->p->basis[i * dim + j];
}

/* What encode works on, in the cache's scratch memory. */
typedef struct tc_work {
    float *z, *trial;      /* (64, cdim), (64, trials) */
    uint8_t *codes, *gain; /* (n, 64), (64) */
} tc_work;

static size_t work_layout(const kv_coder *c, void *scratch, tc_work *w) {
    size_t z = (size_t)c->cdim * KV_BLOCK, trial = TRELLIS_TRIALS * KV_BLOCK;
    if (w) {
        w->z = scratch;
        w->trial = w->z + z;
        w->codes = (uint8_t *)(w->trial + trial);
        w->gain = w->codes + z;
    }
    return (z + trial) * sizeof(float) + z + KV_BLOCK;
}

static kv_status tc_init(kv_coder *c, const prof_tc *p, kv_err *err) {
    kv_status st = check(c, p, err);
    if (st)
        return st;
    tc_state *s = c->state = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "no memory for a transform");
    s->p = p;
    while (s->book.n < p->dim && p->bits[s->book.n])
        s->words += p->bits[s->book.n++];
    c->cdim = (uint32_t)((s->book.n + 15) / 16 * 16);
    size_t matrix = (size_t)c->dim * c->cdim;
    s->synth = calloc(matrix + 1, sizeof(float));
    s->inv_sigma = calloc((size_t)c->cdim + 1, sizeof(float));
    s->scale = calloc(s->book.n + 1, sizeof(float));
    s->inverse = calloc(s->book.n + 1, sizeof(float));
    s->square = calloc(s->book.n + 1, sizeof(float));
    s->weight = calloc(s->book.n + 1, sizeof *s->weight);
    if (!s->synth || !s->inv_sigma || !s->scale || !s->inverse || !s->square || !s->weight)
        return kv_fail(err, KV_ENOMEM, "no memory for a transform of %u dimensions", c->dim);
    st = invert_basis(c, s, err);
    if (st)
        return st;
    fill_book(s);
    fill_synth(c, s);
    kv_coder_part(c, KV_PART_PLANES, s->words, 8);
    kv_coder_part(c, KV_PART_COLS, 1, 1);
    c->scratch = work_layout(c, NULL, NULL);
    c->bits = ((double)s->words + TRELLIS_GAIN_BITS) / c->dim;
    return KV_OK;
}

static void tc_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                      void *scratch) {
    const tc_state *s = c->state;
    uint64_t *planes = (uint64_t *)block;
    uint8_t *gains = (uint8_t *)(planes + s->words) + slot;
    tc_work w;
    work_layout(c, scratch, &w);
    k->tc_project(&s->forward, x, n, w.z);
    k->tc_trials(w.z, c->cdim, n, s->inv_sigma, s->book.n, w.trial);
    const size_t ldc = n == 1 ? 1 : TRELLIS_GROUP;
    k->tc_search(&s->book, w.z, c->cdim, n, w.trial, w.gain, w.codes, ldc);
    memcpy(gains, w.gain, n);
    for (size_t i = 0; i < s->book.n; planes += s->p->bits[i], i++)
        kv_planes_put(planes, s->p->bits[i], slot, n, w.codes + i * ldc);
}

static void tc_levels(const kv_coder *c, const rt_kernels *k, const uint8_t *const *blocks, uint32_t n, int8_t *levels,
                      size_t ld, float *gain) {
    const tc_state *s = c->state;
    const uint64_t *planes[KV_LEVEL_BLOCKS] = {NULL};
    const size_t coded = s->book.n * KV_BLOCK, all = (size_t)c->cdim * KV_BLOCK;
    for (uint32_t i = 0; i < n; i++)
        planes[i] = (const uint64_t *)blocks[i];
    k->tc_levels(&s->book, planes, n, levels, ld);
    for (uint32_t i = 0; i < n; i++) {
        memset(levels + i * ld + coded, 0, all - coded);
        k->tc_gains((const uint8_t *)(planes[i] + s->words), gain + (size_t)i * KV_BLOCK);
    }
}

/* For streams beside one of another codec; two of tc go through tc_levels. */
static const float *tc_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    int8_t levels[PROF_MAX_DIM * KV_BLOCK];
    float gain[KV_BLOCK];
    tc_levels(c, k, &block, 1, levels, sizeof levels, gain);
    const size_t across = c->side == KV_SIDE_K ? KV_BLOCK : 1, down = c->side == KV_SIDE_K ? 1 : c->cdim;
    for (size_t i = 0; i < c->cdim; i++)
        for (size_t t = 0; t < n; t++)
            tile[i * across + t * down] = gain[t] * (float)levels[i * KV_BLOCK + t];
    return tile;
}

static void tc_query(const kv_coder *c, const rt_kernels *k, const float *q, uint32_t n, float *qc, float *bias) {
    const tc_state *s = c->state;
    memset(qc, 0, (size_t)n * c->cdim * sizeof(float));
    k->attn_values(q, c->dim, n, c->dim, s->synth, c->cdim, qc);
    for (uint32_t i = 0; i < n; i++)
        bias[i] = k->dot(q + (size_t)i * c->dim, s->p->mean, c->dim);
}

static void tc_output(const kv_coder *c, const rt_kernels *k, const float *oc, const float *weight, uint32_t n, float *out) {
    const tc_state *s = c->state;
    k->attn_values(oc, c->cdim, n, s->book.n, s->synth, c->dim, out);
    k->attn_values(weight, 1, n, 1, s->p->mean, c->dim, out);
}

static tc_layout layout_of(const kv_coder *c) {
    const tc_state *s = c->state;
    return (tc_layout){s->book.n, s->p->bits, s->p->levels, s->words};
}

static size_t pack(const kv_coder *c, const kv_kinds *kinds, const uint8_t *const *blocks, uint32_t n, uint8_t *out,
                   size_t most) {
    const tc_layout l = layout_of(c);
    return tc_pack(&l, kinds, blocks, n, out, most);
}

static kv_status unpack(const kv_coder *c, const kv_kinds *kinds, const uint8_t *in, size_t bytes, uint8_t *blocks, uint32_t n,
                        kv_err *err) {
    const tc_layout l = layout_of(c);
    return tc_unpack(&l, kinds, in, bytes, blocks, n, err);
}

const kv_codec kv_codec_tc = {.framed = true,
                              .init = tc_init,
                              .free = tc_free,
                              .encode = tc_encode,
                              .decode = tc_decode,
                              .levels = tc_levels,
                              .query = tc_query,
                              .output = tc_output,
                              .pack = pack,
                              .unpack = unpack};
