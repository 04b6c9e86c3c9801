/* Moments of k, v and their gradients, attention entropy, and samples for codebooks.
 *
 * Products are summed in f32 over blocks of 64 tokens and the blocks in double, always in the order of the tokens: the sums do
 * not depend on threads, which share heads but never a sum. Only the upper triangle is kept, in tiles of 4 x 8 that compilers
 * turn into SIMD registers.
 */
#include "calib_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64, TILE_I = 4, TILE_J = 8 };

typedef enum job { JOB_K, JOB_V, JOB_DK, JOB_DV, JOB_Q, JOB_COUNT } job;

/* Hand out the memory of all heads: four matrices and two vectors of doubles, a vector of floats, and the samples. */
static void lay_out(cal_stats *s, size_t n_heads) {
    const cal_shape *sh = &s->shape;
    size_t mat = (size_t)s->pad * s->pad, samp = (size_t)sh->n_samples * sh->head_dim;
    double *d = s->doubles;
    float *f = s->floats, *x = s->samp;
    for (size_t i = 0; i < n_heads; i++) {
        cal_head *h = &s->heads[i];
        h->kk = d, h->vv = d + mat, h->gk = d + 2 * mat, h->gv = d + 3 * mat, h->k = d + 4 * mat;
        h->qq = h->k + s->pad;
        d += cal_head_doubles(s);
        h->shift = f, f += s->pad;
        h->k_samp = x, h->v_samp = x + samp, x += 2 * samp;
    }
}

kv_status cal_stats_new(const cal_shape *sh, cal_stats **out, kv_err *err) {
    bool fits = true;
    for (uint32_t l = 0; l < sh->n_layer && l < PROF_MAX_LAYERS; l++) {
        const uint32_t heads = cal_heads(sh, l), kv = cal_kv_heads(sh, l);
        fits &= heads <= sh->n_head && kv <= sh->n_kv_head && (!kv || (heads && heads % kv == 0));
    }
    if (!sh->n_layer || sh->n_layer > PROF_MAX_LAYERS || !sh->n_kv_head || sh->n_head > PROF_MAX_HEADS || !fits ||
        !sh->head_dim || sh->head_dim > PROF_MAX_DIM)
        return kv_fail(err, KV_EINVAL, "calibration: %u layers, %u heads, %u KV heads of %u dimensions make no sense",
                       sh->n_layer, sh->n_head, sh->n_kv_head, sh->head_dim);
    if (!sh->n_samples || !sh->n_tokens)
        return kv_fail(err, KV_EINVAL, "calibration: number of tokens and of samples must be above 0");
    cal_stats *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "calibration: out of memory");
    s->shape = *sh;
    if (s->shape.n_samples > sh->n_tokens)
        s->shape.n_samples = sh->n_tokens;
    s->pad = (sh->head_dim + TILE_J - 1) / TILE_J * TILE_J;
    size_t n = (size_t)sh->n_layer * sh->n_kv_head, per_head = cal_head_doubles(s);
    s->heads = calloc(n, sizeof *s->heads);
    s->doubles = calloc(n, per_head * sizeof *s->doubles);
    s->floats = calloc(n, s->pad * sizeof *s->floats);
    s->samp = calloc(n * 2, (size_t)s->shape.n_samples * sh->head_dim * sizeof *s->samp);
    s->entropy = calloc((size_t)sh->n_layer * sh->n_head, sizeof *s->entropy);
    s->n_entropy = calloc(sh->n_layer, sizeof *s->n_entropy);
    s->asked = calloc(n, (size_t)CAL_ASKED * sh->head_dim * sizeof *s->asked);
    if (!s->asked || !s->heads || !s->doubles || !s->floats || !s->samp || !s->entropy || !s->n_entropy) {
        cal_stats_free(s);
        return kv_fail(err, KV_ENOMEM, "calibration: no memory for the statistics of %zu heads and %u samples of each", n,
                       sh->n_samples);
    }
    lay_out(s, n);
    *out = s;
    return KV_OK;
}

void cal_stats_free(cal_stats *s) {
    if (!s)
        return;
    free(s->heads);
    free(s->doubles);
    free(s->floats);
    free(s->samp);
    free(s->asked);
    free(s->entropy);
    free(s->n_entropy);
    free(s);
}

/* c += x^T x for a block x (BLOCK, pad) f32; upper triangle by tiles (some below the diagonal are filled, nobody reads them).
 */
static void add_products(const float *x, uint32_t pad, double *c) {
    for (uint32_t i = 0; i < pad; i += TILE_I)
        for (uint32_t j = i / TILE_J * TILE_J; j < pad; j += TILE_J) {
            float acc[TILE_I][TILE_J] = {{0}};
            for (uint32_t t = 0; t < BLOCK; t++) {
                const float *a = x + (size_t)t * pad + i, *b = x + (size_t)t * pad + j;
                for (int r = 0; r < TILE_I; r++)
                    for (int l = 0; l < TILE_J; l++)
                        acc[r][l] += a[r] * b[l];
            }
            for (int r = 0; r < TILE_I; r++)
                for (int l = 0; l < TILE_J; l++)
                    c[(size_t)(i + r) * pad + j + l] += (double)acc[r][l];
        }
}

/* Gradients are heavy-tailed: at full length, a few tokens would be most of the statistics. So lengths count to a power p in
 * 0..1, as high as leaves enough tokens to matter: of n lengths that are log-normal with deviation s, n exp(-(2 p s)^2) make up
 * a sum of squares, and these shall be at least ENOUGH for each dimension. */
static const double ENOUGH = 10;

/* p for gradients like these n; a head is to see n_tokens. Zeros (nobody reads the token) do not count. */
static double gradient_power(const float *g, size_t stride, uint32_t n, uint32_t dim, uint32_t n_tokens) {
    double sum = 0, square = 0, seen = 0;
    for (uint32_t t = 0; t < n; t++) {
        double length = 0;
        for (uint32_t i = 0; i < dim; i++)
            length += (double)g[t * stride + i] * (double)g[t * stride + i];
        if (length > 0) {
            const double x = log(length) / 2;
            sum += x, square += x * x, seen++;
        }
    }
    const double room = log(n_tokens / (ENOUGH * dim)), variance = seen > 0 ? square / seen - sum / seen * (sum / seen) : 0;
    return room <= 0 ? 0 : variance <= room / 4 ? 1 : sqrt(room / (4 * variance));
}

/* Scale the n rows of a block of gradients, (n, pad), to power `p` of their length; sum of their squares before. */
static double raise_lengths(float *block, uint32_t n, uint32_t pad, double p) {
    double all = 0;
    for (uint32_t t = 0; t < n; t++, block += pad) {
        double square = 0;
        for (uint32_t i = 0; i < pad; i++)
            square += (double)block[i] * (double)block[i];
        all += square;
        float by = square > 0 ? (float)pow(square, (p - 1) / 2) : 0;
        for (uint32_t i = 0; i < pad; i++)
            block[i] *= by;
    }
    return all;
}

/* Sum the products of n vectors x[t * stride .. + dim), minus `shift` (or NULL); also their sum into `sum` (or NULL). With
 * `power` they are gradients: their squared lengths are summed there, and raised to it before anything else. */
static void add_vectors(const float *x, size_t stride, uint32_t n, uint32_t dim, uint32_t pad, const float *shift, double *c,
                        double *sum, cal_grad_power *power) {
    float block[BLOCK * PROF_MAX_DIM];
    for (uint32_t t0 = 0; t0 < n; t0 += BLOCK) {
        uint32_t m = n - t0 < BLOCK ? n - t0 : BLOCK;
        memset(block, 0, (size_t)BLOCK * pad * sizeof *block);
        for (uint32_t t = 0; t < m; t++)
            for (uint32_t i = 0; i < dim; i++)
                block[t * pad + i] = x[(t0 + t) * stride + i] - (shift ? shift[i] : 0);
        if (power)
            power->square += raise_lengths(block, m, pad, power->p);
        add_products(block, pad, c);
        for (uint32_t t = 0; sum && t < m; t++)
            for (uint32_t i = 0; i < dim; i++)
                sum[i] += (double)block[t * pad + i];
    }
}

/* Sum the squares of n times `group` queries, which lie one behind the other. */
static void add_squares(const float *q, size_t stride, uint32_t n, uint32_t group, uint32_t dim, double *sum) {
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < group * dim; i++)
            sum[i % dim] += (double)q[t * stride + i] * (double)q[t * stride + i];
}

/* The first batch of a head decides the power of its gradients. */
static void add_gradients(const float *g, size_t stride, uint32_t n, const cal_shape *sh, bool first, double *c,
                          cal_grad_power *power) {
    const uint32_t pad = (sh->head_dim + TILE_J - 1) / TILE_J * TILE_J;
    if (first)
        power->p = gradient_power(g, stride, n, sh->head_dim, sh->n_tokens);
    add_vectors(g, stride, n, sh->head_dim, pad, NULL, c, NULL, power);
}

/* Keep n_samples of n_tokens vectors, evenly spaced: token t goes to slot t * n_samples / n_tokens where that is a new one.
 * `seen` counts the tokens offered before. */
static void keep_samples(const cal_shape *sh, uint64_t seen, const float *x, size_t stride, uint32_t n, float *samp) {
    for (uint64_t t = seen; t < seen + n && t < sh->n_tokens; t++)
        if (t * sh->n_samples % sh->n_tokens < sh->n_samples)
            memcpy(samp + t * sh->n_samples / sh->n_tokens * sh->head_dim, x + (t - seen) * stride,
                   sh->head_dim * sizeof *samp);
}

uint32_t cal_n_kept(const cal_shape *sh, uint64_t seen) {
    if (seen > sh->n_tokens)
        seen = sh->n_tokens;
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): there are tokens */
    return (uint32_t)((seen * sh->n_samples + sh->n_tokens - 1) / sh->n_tokens);
}

/* The mean of the first tokens: all that a shift needs is to be near. */
static void set_shift(cal_head *h, const float *k, size_t stride, uint32_t n, uint32_t dim) {
    for (uint32_t i = 0; i < dim; i++) {
        double sum = 0;
        for (uint32_t t = 0; t < n; t++)
            sum += (double)k[t * stride + i];
        h->shift[i] = (float)(sum / n);
    }
}

typedef struct adding {
    cal_stats *s;
    const cal_batch *b;
    cal_head *heads; /* (n_kv) of the layer */
    uint32_t n_kv;
    uint32_t skip; /* tokens: sinks are not in the body, so not in its statistics */
} adding;

/* One job of one KV head. */
static void add_one(const adding *a, job what, uint32_t g) {
    cal_stats *s = a->s;
    const cal_shape *sh = &s->shape;
    const cal_batch *b = a->b;
    const uint32_t dim = sh->head_dim, body = b->n - a->skip, n_head = cal_heads(sh, b->layer);
    const size_t stride = (size_t)a->n_kv * dim, at = a->skip * stride + (size_t)g * dim;
    cal_head *h = &a->heads[g];
    switch (what) {
    case JOB_K:
        if (!h->n && body)
            set_shift(h, b->k + at, stride, body, dim);
        add_vectors(b->k + at, stride, body, dim, s->pad, h->shift, h->kk, h->k, NULL);
        keep_samples(sh, h->n, b->k + at, stride, body, h->k_samp);
        break;
    case JOB_V:
        add_vectors(b->v + at, stride, body, dim, s->pad, NULL, h->vv, NULL, NULL);
        keep_samples(sh, h->n, b->v + at, stride, body, h->v_samp);
        break;
    case JOB_DK:
        add_gradients(b->dk + at, stride, body, sh, !h->n, h->gk, &h->gk_power);
        break;
    case JOB_Q:
        if (b->q)
            add_squares(b->q + ((size_t)a->skip * n_head + (size_t)g * (n_head / a->n_kv)) * dim, (size_t)n_head * dim, body,
                        n_head / a->n_kv, dim, h->qq);
        if (b->q && !(sh->windowed && sh->windowed[b->layer]))
            cal_keep_queries(sh, h->n, b->q + (size_t)a->skip * n_head * dim, n_head, n_head / a->n_kv, body, g,
                             s->asked + ((size_t)b->layer * sh->n_kv_head + g) * CAL_ASKED * dim);
        break;
    default:
        add_gradients(b->dv + at, stride, body, sh, !h->n, h->gv, &h->gv_power);
    }
}

static void add_some(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const adding *a = arg;
    for (size_t i = first; i < end; i++)
        add_one(a, (job)(i / a->n_kv), (uint32_t)(i % a->n_kv));
}

void cal_stats_add(cal_stats *s, const cal_batch *b, cal_team team) {
    const cal_shape *sh = &s->shape;
    const uint32_t n_head = cal_heads(sh, b->layer), n_kv = b->k ? cal_kv_heads(sh, b->layer) : 0;
    adding a = {s, b, s->heads + (size_t)b->layer * sh->n_kv_head, n_kv, b->pos0 < sh->sinks ? sh->sinks - b->pos0 : 0};
    if (a.skip > b->n)
        a.skip = b->n;
    cal_for(team, (size_t)n_kv * JOB_COUNT, add_some, &a);
    s->has_queries = b->q != NULL;
    for (uint32_t g = 0; g < a.n_kv; g++) {
        a.heads[g].n += b->n - a.skip;
        a.heads[g].n_samp = cal_n_kept(sh, a.heads[g].n);
    }
    for (uint32_t t = b->pos0 < b->entropy_from ? b->entropy_from - b->pos0 : 0; t < b->n; t++) {
        s->n_entropy[b->layer]++;
        for (uint32_t i = 0; i < n_head; i++)
            s->entropy[(size_t)b->layer * sh->n_head + i] += (double)b->entropy[(size_t)t * n_head + i];
    }
}
