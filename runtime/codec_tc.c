/* The calibrated transform codec (libfmt/profile.h, prof_tc).
 *
 * Encoding: z = F (x - mean), F the inverse of the synthesis basis, computed once per lane; then a gain and one code per coded
 * dimension, z'[i] = gain * level[i][code]. The gain starts at rms(z[i] / sigma[i]) and the best of RT_TC_TRIALS multiples is
 * kept, by squared error in z over the coded dimensions, where that error is the one that attention feels.
 * Attention stays in z: a query turns into basis . q with the bias q . mean, and a sum of values is turned back once.
 *
 * Block: for each coded dimension, bits[i] words of 64 bits (bit t = slot t, lowest bit of the code first); then 64 gains in
 * f16. A gain of 0 (z = 0, or too small for f16) decodes to the mean exactly.
 * Every sum has a fixed order: bytes depend neither on the instruction set nor on the batch.
 */
#include "codec.h"
#include "fp16.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The starting gain first: it wins ties. */
static const float trial[RT_TC_TRIALS] = {1.0f, 0.75f, 0.84f, 0.92f, 1.08f, 1.17f, 1.3f, 1.5f};

typedef struct tc_state {
    const prof_tc *p;
    rt_tc_book book;
    size_t words;         /* of planes per block */
    float *forward;       /* (dim, cdim): z = y . forward */
    float *synth;         /* K: (dim, cdim) basis transposed, columns beyond the coded ones zero; V: (cdim, dim) */
    float *inv_sigma;     /* (book.n) */
    float *levels, *mids; /* what book points to */
} tc_state;

static void tc_free(kv_coder *c) {
    tc_state *s = c->state;
    if (!s)
        return;
    free(s->forward);
    free(s->synth);
    free(s->inv_sigma);
    free(s->levels);
    free(s->mids);
    free(s);
}

static kv_status check(const kv_coder *c, const prof_tc *p, kv_err *err) {
    if (!p)
        return kv_fail(err, KV_EINVAL, "codec tc needs the transform of a profile");
    if (p->dim != c->dim)
        return kv_fail(err, KV_EINVAL, "transform is for head_dim %u, not %u", p->dim, c->dim);
    const float *level = p->levels;
    for (uint32_t i = 0; i < p->dim; i++) {
        if (p->bits[i] > PROF_MAX_BITS || (i && p->bits[i] > p->bits[i - 1]))
            return kv_fail(err, KV_ERANGE, "coefficient %u: %u bits (at most %d, never rising)", i, p->bits[i], PROF_MAX_BITS);
        if (!isfinite(p->mean[i]))
            return kv_fail(err, KV_ERANGE, "mean %u is not finite", i);
        if (!p->bits[i])
            continue;
        if (!isfinite(p->sigma[i]) || p->sigma[i] <= 0)
            return kv_fail(err, KV_ERANGE, "coefficient %u: sigma %g is not a positive number", i, (double)p->sigma[i]);
        for (unsigned j = 0; j < 1u << p->bits[i]; j++, level++)
            if (!isfinite(*level) || (j && *level < level[-1]))
                return kv_fail(err, KV_ERANGE, "coefficient %u: level %u is not finite or not ascending", i, j);
    }
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

/* Midpoints of sorted levels as a search tree: the node on the path `node` splits codes [lo, lo + width). */
static void fill_mids(float *mids, const float *levels, unsigned node, unsigned lo, unsigned width) {
    if (width < 2)
        return;
    unsigned half = width / 2;
    mids[node] = 0.5f * (levels[lo + half - 1] + levels[lo + half]);
    fill_mids(mids, levels, 2 * node, lo, half);
    fill_mids(mids, levels, 2 * node + 1, lo + half, half);
}

static void fill_book(tc_state *s) {
    const float *level = s->p->levels;
    for (size_t i = 0; i < s->book.n; i++) {
        unsigned count = 1u << s->p->bits[i];
        float *row = s->levels + i * s->book.stride;
        memcpy(row, level, count * sizeof *row);
        fill_mids(s->mids + i * s->book.stride, row, 1, 0, count);
        s->inv_sigma[i] = 1 / s->p->sigma[i];
        level += count;
    }
    s->book.bits = s->p->bits;
    s->book.levels = s->levels;
    s->book.mids = s->mids;
}

static void fill_synth(const kv_coder *c, tc_state *s) {
    size_t dim = c->dim, n = s->book.n;
    if (c->side == KV_SIDE_V)
        memcpy(s->synth, s->p->basis, n * dim * sizeof *s->synth);
    else
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < dim; j++)
                s->synth[j * c->cdim + i] = s->p->basis[i * dim + j];
}

/* What encode works on, in the cache's scratch memory. */
typedef struct tc_work {
    float *y, *z, *gain;   /* (64, dim), (64, cdim), (64, trials) */
    uint8_t *codes, *best; /* (n, 64), (64) */
} tc_work;

static size_t work_layout(const kv_coder *c, void *scratch, tc_work *w) {
    size_t y = (size_t)c->dim * KV_BLOCK, z = (size_t)c->cdim * KV_BLOCK, gain = RT_TC_TRIALS * KV_BLOCK;
    if (w) {
        w->y = scratch;
        w->z = w->y + y;
        w->gain = w->z + z;
        w->codes = (uint8_t *)(w->gain + gain);
        w->best = w->codes + z;
    }
    return (y + z + gain) * sizeof(float) + z + KV_BLOCK;
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
    s->book.stride = s->book.n && p->bits[0] > 4 ? (size_t)1 << p->bits[0] : 16;
    c->cdim = (uint32_t)((s->book.n + 15) / 16 * 16);
    size_t matrix = (size_t)c->dim * c->cdim, table = s->book.n * s->book.stride;
    s->forward = calloc(matrix + 1, sizeof(float));
    s->synth = calloc(matrix + 1, sizeof(float));
    s->inv_sigma = calloc(s->book.n + 1, sizeof(float));
    s->levels = calloc(table + 1, sizeof(float));
    s->mids = calloc(table + 1, sizeof(float));
    if (!s->forward || !s->synth || !s->inv_sigma || !s->levels || !s->mids)
        return kv_fail(err, KV_ENOMEM, "no memory for a transform of %u dimensions", c->dim);
    st = fill_forward(c, s, err);
    if (st)
        return st;
    fill_book(s);
    fill_synth(c, s);
    c->block_bytes = s->words * 8 + KV_BLOCK * sizeof(uint16_t);
    c->scratch = work_layout(c, NULL, NULL);
    c->bits = ((double)s->words + 16) / c->dim;
    return KV_OK;
}

/* The trial gains of one token, as they would be stored. Four partial sums in double: the same everywhere. */
static void trial_gains(const tc_state *s, const float *z, float *gain) {
    double sum[4] = {0};
    for (size_t i = 0; i < s->book.n; i++) {
        double r = (double)z[i] * s->inv_sigma[i];
        sum[i % 4] += r * r;
    }
    double rms = sqrt((sum[0] + sum[1] + (sum[2] + sum[3])) / (double)s->book.n);
    for (int j = 0; j < RT_TC_TRIALS; j++) {
        double g = rms * trial[j];
        gain[j] = fp16_to_fp32(fp16_from_fp32(g < 65504 ? (float)g : 65504.0f)); /* NaN, too: z overflowed */
    }
}

/* Bits p of 8 codes, gathered into one byte: the multiplication moves bit 8j to bit 56 + j. */
static uint64_t plane_byte(const uint8_t *codes, unsigned p) {
    uint64_t x;
    memcpy(&x, codes, 8);
    return (x >> p & 0x0101010101010101u) * 0x0102040810204080u >> 56;
}

static void tc_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                      void *scratch) {
    const tc_state *s = c->state;
    uint64_t *planes = (uint64_t *)block;
    uint16_t *gains = (uint16_t *)(planes + s->words) + slot;
    uint64_t keep = ~((n < 64 ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0) << slot);
    tc_work w;
    work_layout(c, scratch, &w);
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < c->dim; i++)
            w.y[(size_t)t * c->dim + i] = x[(size_t)t * c->dim + i] - s->p->mean[i];
    memset(w.z, 0, (size_t)n * c->cdim * sizeof(float));
    k->attn_values(w.y, c->dim, n, c->dim, s->forward, c->cdim, w.z);
    for (uint32_t t = 0; t < n; t++)
        trial_gains(s, w.z + (size_t)t * c->cdim, w.gain + t * RT_TC_TRIALS);
    memset(w.codes, 0, s->book.n * KV_BLOCK);
    k->tc_quant(&s->book, w.z, c->cdim, n, w.gain, w.best, w.codes);
    for (uint32_t t = 0; t < n; t++)
        gains[t] = fp16_from_fp32(w.gain[t * RT_TC_TRIALS + w.best[t]]);
    for (size_t i = 0; i < s->book.n; i++)
        for (unsigned p = 0; p < s->p->bits[i]; p++, planes++) {
            uint64_t word = 0;
            for (uint32_t t = 0; t < n; t += 8)
                word |= plane_byte(w.codes + i * KV_BLOCK + t, p) << t;
            *planes = (*planes & keep) | word << slot;
        }
}

static void tc_clear(const kv_coder *c, uint8_t *block, uint32_t slot) {
    const tc_state *s = c->state;
    uint64_t *planes = (uint64_t *)block, keep = ((uint64_t)1 << slot) - 1;
    for (size_t i = 0; i < s->words; i++)
        planes[i] &= keep;
    memset((uint16_t *)(planes + s->words) + slot, 0, (KV_BLOCK - slot) * sizeof(uint16_t));
}

static const float *tc_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    const tc_state *s = c->state;
    const uint64_t *planes = (const uint64_t *)block;
    float gain[KV_BLOCK];
    k->f16_load((const uint16_t *)(planes + s->words), KV_BLOCK, gain);
    if (c->side == KV_SIDE_V) {
        k->tc_rows(&s->book, planes, gain, n, tile, c->cdim);
        return tile;
    }
    k->tc_cols(&s->book, planes, gain, tile);
    memset(tile + s->book.n * KV_BLOCK, 0, (c->cdim - s->book.n) * KV_BLOCK * sizeof(float));
    return tile;
}

static void tc_query(const kv_coder *c, const rt_kernels *k, const float *q, uint32_t n, float *qc, float *bias) {
    const tc_state *s = c->state;
    memset(qc, 0, (size_t)n * c->cdim * sizeof(float));
    k->attn_values(q, c->dim, n, c->dim, s->synth, c->cdim, qc);
    memset(bias, 0, n * sizeof(float));
    k->attn_values(q, c->dim, n, c->dim, s->p->mean, 1, bias); /* q . mean: one column */
}

static void tc_output(const kv_coder *c, const rt_kernels *k, const float *oc, const float *weight, uint32_t n, float *out) {
    const tc_state *s = c->state;
    k->attn_values(oc, c->cdim, n, s->book.n, s->synth, c->dim, out);
    k->attn_values(weight, 1, n, 1, s->p->mean, c->dim, out);
}

const kv_codec kv_codec_tc = {.init = tc_init,
                              .free = tc_free,
                              .encode = tc_encode,
                              .clear = tc_clear,
                              .decode = tc_decode,
                              .query = tc_query,
                              .output = tc_output};
