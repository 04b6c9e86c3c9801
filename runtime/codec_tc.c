/* The calibrated transform codec (libfmt/profile.h, prof_tc).
 *
 * Encoding: z = F (x - mean), F the inverse of the synthesis basis, computed once per lane; then a gain and one code per coded
 * dimension, found by the trellis search (libfmt/trellis.h) as the ones of least squared error in z, where that error is the
 * one that costs.
 * Attention stays in z: a query turns into basis . q with the bias q . mean, and a sum of values is turned back once.
 *
 * Block: for each coded dimension, bits[i] words of 64 bits (bit t = slot t, lowest bit of the code first); then 64 bytes of
 * gains. A gain of 0 (z = 0, or far too small) decodes to the mean exactly.
 * Every sum has a fixed order: bytes depend neither on the instruction set nor on the batch.
 */
#include "codec.h"
#include "codec_planes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct tc_state {
    const prof_tc *p;
    trellis_book book;
    size_t words;     /* of planes per block */
    float *forward;   /* (dim, cdim): z = y . forward */
    float *synth;     /* K: (dim, cdim) basis transposed, columns beyond the coded ones zero; V: (cdim, dim); times scale */
    float *inv_sigma; /* (cdim) 0 beyond the coded ones */
    float *scale;     /* (book.n) of a level: sigma times the step of its table */
    float *inverse;   /* (book.n) and */
    trellis_weight *weight; /* (book.n) of the search */
} tc_state;

static void tc_free(kv_coder *c) {
    tc_state *s = c->state;
    if (!s)
        return;
    free(s->forward);
    free(s->synth);
    free(s->inv_sigma);
    free(s->scale);
    free(s->inverse);
    free(s->weight);
    free(s);
}

static kv_status check(const kv_coder *c, const prof_tc *p, kv_err *err) {
    if (!p)
        return kv_fail(err, KV_EINVAL, "codec tc needs the transform of a profile");
    if (p->dim != c->dim)
        return kv_fail(err, KV_EINVAL, "transform is for head_dim %u, not %u", p->dim, c->dim);
    for (uint32_t i = 0; i < p->dim; i++) {
        if (p->bits[i] > PROF_MAX_BITS || (i && p->bits[i] > p->bits[i - 1]))
            return kv_fail(err, KV_ERANGE, "coefficient %u: %u bits (at most %d, never rising)", i, p->bits[i], PROF_MAX_BITS);
        if (!isfinite(p->mean[i]))
            return kv_fail(err, KV_ERANGE, "mean %u is not finite", i);
        if (!p->bits[i])
            continue;
        if (!isfinite(p->sigma[i]) || p->sigma[i] <= 0)
            return kv_fail(err, KV_ERANGE, "coefficient %u: sigma %g is not a positive number", i, (double)p->sigma[i]);
        float step = p->step[p->bits[i]];
        if (!isfinite(step) || step <= 0)
            return kv_fail(err, KV_ERANGE, "levels of %u bits: step %g is not a positive number", p->bits[i], (double)step);
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

/* forward = the coded columns of the inverse of basis (rows = synthesis vectors: x = z . basis, so z = x . basis^-1). Rows are
 * brought to unit size first: their scale says nothing about whether the basis is singular. */
static kv_status fill_forward(const kv_coder *c, tc_state *s, kv_err *err) {
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
    for (size_t j = 0; j < dim; j++)
        for (size_t i = 0; i < s->book.n; i++)
            s->forward[j * c->cdim + i] = (float)(inv[j * dim + i] / size[i]);
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
    trellis_weigh(s->book.n, s->p->bits, s->scale, s->inverse, s->weight);
    s->book.bits = s->p->bits;
    s->book.levels = s->p->levels;
    s->book.scale = s->scale;
    s->book.inverse = s->inverse;
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
    float *y, *z;                  /* (64, dim), (64, cdim) */
    uint8_t *codes, *trial, *gain; /* (n, 64), (64, trials), (64) */
} tc_work;

static size_t work_layout(const kv_coder *c, void *scratch, tc_work *w) {
    size_t y = (size_t)c->dim * KV_BLOCK, z = (size_t)c->cdim * KV_BLOCK, trial = TRELLIS_TRIALS * KV_BLOCK;
    if (w) {
        w->y = scratch;
        w->z = w->y + y;
        w->codes = (uint8_t *)(w->z + z);
        w->trial = w->codes + z;
        w->gain = w->trial + trial;
    }
    return (y + z) * sizeof(float) + z + trial + KV_BLOCK;
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
    s->forward = calloc(matrix + 1, sizeof(float));
    s->synth = calloc(matrix + 1, sizeof(float));
    s->inv_sigma = calloc((size_t)c->cdim + 1, sizeof(float));
    s->scale = calloc(s->book.n + 1, sizeof(float));
    s->inverse = calloc(s->book.n + 1, sizeof(float));
    s->weight = calloc(s->book.n + 1, sizeof *s->weight);
    if (!s->forward || !s->synth || !s->inv_sigma || !s->scale || !s->inverse || !s->weight)
        return kv_fail(err, KV_ENOMEM, "no memory for a transform of %u dimensions", c->dim);
    st = fill_forward(c, s, err);
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

/* Root mean square of one token's coefficients in units of sigma; z and inv_sigma have zeros up to a multiple of 16. Four
 * partial sums in double: the same everywhere. */
static double rms(const tc_state *s, const float *z) {
    double sum[4] = {0};
    for (size_t i = 0; i < s->book.n; i += 4)
        for (size_t j = 0; j < 4; j++) {
            double r = (double)z[i + j] * (double)s->inv_sigma[i + j];
            sum[j] += r * r;
        }
    return s->book.n ? sqrt((sum[0] + sum[1] + (sum[2] + sum[3])) / (double)s->book.n) : 0;
}

static void tc_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                      void *scratch) {
    const tc_state *s = c->state;
    uint64_t *planes = (uint64_t *)block;
    uint8_t *gains = (uint8_t *)(planes + s->words) + slot;
    tc_work w;
    work_layout(c, scratch, &w);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < c->dim; i++)
            w.y[(size_t)t * c->dim + i] = x[(size_t)t * c->dim + i] - s->p->mean[i];
    memset(w.z, 0, (size_t)n * c->cdim * sizeof(float));
    k->attn_values(w.y, c->dim, n, c->dim, s->forward, c->cdim, w.z);
    for (uint32_t t = 0; t < n; t++)
        trellis_trials(rms(s, w.z + (size_t)t * c->cdim), w.trial + (size_t)t * TRELLIS_TRIALS);
    k->tc_search(&s->book, w.z, c->cdim, n, w.trial, w.gain, w.codes);
    memcpy(gains, w.gain, n);
    for (size_t i = 0; i < s->book.n; planes += s->p->bits[i], i++)
        kv_planes_put(planes, s->p->bits[i], slot, n, w.codes + i * KV_BLOCK);
}

static void tc_levels(const kv_coder *c, const rt_kernels *k, const uint8_t *const *blocks, uint32_t n, int8_t *levels,
                      float *gain) {
    const tc_state *s = c->state;
    const uint64_t *planes[KV_LEVEL_BLOCKS] = {NULL};
    const size_t coded = s->book.n * KV_BLOCK, all = (size_t)c->cdim * KV_BLOCK;
    for (uint32_t i = 0; i < n; i++)
        planes[i] = (const uint64_t *)blocks[i];
    k->tc_levels(&s->book, planes, n, levels, all);
    for (uint32_t i = 0; i < n; i++) {
        memset(levels + i * all + coded, 0, all - coded);
        k->tc_gains((const uint8_t *)(planes[i] + s->words), gain + (size_t)i * KV_BLOCK);
    }
}

/* For lanes beside one of another codec; two of tc go through tc_levels. */
static const float *tc_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    int8_t levels[PROF_MAX_DIM * KV_BLOCK];
    float gain[KV_BLOCK];
    tc_levels(c, k, &block, 1, levels, gain);
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

const kv_codec kv_codec_tc = {.framed = true,
                              .init = tc_init,
                              .free = tc_free,
                              .encode = tc_encode,
                              .decode = tc_decode,
                              .levels = tc_levels,
                              .query = tc_query,
                              .output = tc_output};
