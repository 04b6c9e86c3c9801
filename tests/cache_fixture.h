/* What the tests of the cache share: repeatable random numbers, made-up transforms, a cache configuration with its input, and
 * plain reconstructions of stored tokens that know the formats but use no code of the cache. */
#ifndef CACHE_FIXTURE_H
#define CACHE_FIXTURE_H

#include "base/fp16.h"
#include "cache/cache.h"
#include "codec/codec.h"
#include "step/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- random numbers ---- */

static inline double rnd(uint64_t *state) { /* uniform in [0, 1): splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static inline float rnd_normal(uint64_t *state) {
    double u = 1 - rnd(state);
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * rnd(state)));
}

static inline float *rnd_fill(size_t n, uint64_t seed) {
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = rnd_normal(&seed);
    return x;
}

static inline float to_f16(float x) {
    return fp16_to_fp32(fp16_from_fp32(x));
}

/* ---- transforms ---- */

/* Levels for normally distributed coefficients: all levels of a table are 2^(b+1) evenly spaced numbers, dealt out to four sets
 * in turns; the windows that leave a state, and those that enter one, have sets two apart (Ungerboeck 1982). */
static inline void tc_levels(float step[PROF_MAX_BITS + 1], int8_t levels[TRELLIS_LEVELS]) {
    static const uint8_t set[TRELLIS_WINDOWS] = {0, 2, 1, 3, 2, 0, 3, 1, 2, 0, 3, 1, 0, 2, 1, 3};
    static const float widest[] = {0, 1.5f, 2.2f, 2.8f, 3.3f, 3.7f, 4};
    for (int b = 1; b <= PROF_MAX_BITS; b++) {
        int n = 2 << b;
        step[b] = to_f16(widest[b] / 127);
        for (int p = 0; p < n / 4; p++)
            for (int w = 0; w < TRELLIS_WINDOWS; w++)
                levels[trellis_table((unsigned)b) + (size_t)(p * TRELLIS_WINDOWS + w)] =
                    (int8_t)lrintf(127 * ((float)(2 * (4 * p + set[w]) + 1) / (float)n - 1));
    }
}

/* A random invertible transform: coefficients fall from 6 bits to 0 at about `rate` bits on average. */
static inline prof_tc *tc_make(uint32_t dim, double rate, bool mean, uint64_t seed) {
    prof_tc *t = calloc(1, sizeof *t);
    t->dim = dim;
    t->bits = calloc(dim, 1);
    t->mean = calloc(dim, sizeof(float));
    t->basis = calloc((size_t)dim * dim, sizeof(float));
    t->sigma = calloc(dim, sizeof(float));
    t->step = calloc(PROF_MAX_BITS + 1, sizeof(float));
    t->levels = calloc(TRELLIS_LEVELS, 1);
    tc_levels(t->step, t->levels);
    for (uint32_t i = 0; i < dim; i++) {
        double b = rate + 2.5 - 5.0 * i / dim;
        t->bits[i] = (uint8_t)fmin(6, fmax(0, floor(b + 0.5)));
        t->mean[i] = mean ? 3 * rnd_normal(&seed) : 0;
        t->sigma[i] = to_f16((float)exp2(b - rate));
        for (uint32_t j = 0; j < dim; j++)
            t->basis[i * dim + j] = to_f16(rnd_normal(&seed) * 0.3f / sqrtf((float)dim) + (i == j) * 0.7f);
    }
    return t;
}

static inline void tc_drop(prof_tc *t) {
    if (!t)
        return;
    free(t->bits);
    free(t->mean);
    free(t->basis);
    free(t->sigma);
    free(t->step);
    free(t->levels);
    free(t);
}

/* ---- plain reconstructions ---- */

/* A gain is stored with three bits of exponent and five of mantissa, 96 being 1, and 0 none. */
static inline double tc_gain(unsigned code) {
    return code ? ldexp(1 + code % 32 / 32.0, (int)(code / 32) - 3) : 0;
}

/* Token `slot` of a block of transform codes, in double. */
static inline void tc_read(const prof_tc *t, const uint8_t *block, unsigned slot, double *x) {
    size_t words = 0;
    for (uint32_t i = 0; i < t->dim; i++)
        words += t->bits[i];
    double gain = tc_gain(block[words * 8 + slot]);
    unsigned path = 0;
    for (uint32_t j = 0; j < t->dim; j++)
        x[j] = t->mean[j];
    for (uint32_t i = 0; i < t->dim && t->bits[i]; i++) {
        unsigned code = 0;
        for (unsigned p = 0; p < t->bits[i]; p++, block += 8)
            code |= (unsigned)(block[slot / 8] >> slot % 8 & 1) << p;
        path = path << 1 | (code & 1);
        double level = t->levels[(8 << t->bits[i]) - 16 + (int)(16 * (code >> 1) + (path & 15))];
        for (uint32_t j = 0; j < t->dim; j++)
            x[j] += gain * t->sigma[i] * t->step[t->bits[i]] * level * t->basis[i * t->dim + j];
    }
}

static inline void q8_round(const float *x, uint32_t dim, double *out) {
    for (uint32_t i = 0; i < dim; i += 32) {
        float amax = 0;
        for (uint32_t j = i; j < i + 32; j++)
            amax = fmaxf(amax, fabsf(x[j]));
        float d = amax / 127, inv = d > 0 ? 1 / d : 0;
        for (uint32_t j = i; j < i + 32; j++)
            out[j] = roundf(x[j] * inv) * to_f16(d);
    }
}

static inline void q4_round(const float *x, uint32_t dim, double *out) {
    for (uint32_t i = 0; i < dim; i += 32) {
        float top = 0;
        for (uint32_t j = i; j < i + 32; j++)
            if (fabsf(x[j]) > fabsf(top))
                top = x[j];
        float d = top / -8, inv = d != 0 ? 1 / d : 0;
        for (uint32_t j = i; j < i + 32; j++)
            out[j] = (fminf(15, floorf(x[j] * inv + 8.5f)) - 8) * to_f16(d);
    }
}

/* Slot t of a block in model space, through nothing but the coder's own functions: K by asking for its score with every unit
 * vector. What the numbers must be is the business of test_codec*.c. tile: 64 * cdim floats. */
static inline void read_slot(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t t, uint32_t n, float *tile,
                             float *x) {
    const float *decoded = c->ops->decode(c, k, block, n, tile), one = 1;
    memset(x, 0, c->dim * sizeof *x);
    if (c->side == KV_SIDE_V) {
        if (c->ops->output)
            c->ops->output(c, k, decoded + (size_t)t * c->cdim, &one, 1, x);
        else
            memcpy(x, decoded + (size_t)t * c->dim, c->dim * sizeof *x);
        return;
    }
    for (uint32_t i = 0; i < c->dim; i++) {
        float q[PROF_MAX_DIM] = {0}, qc[KV_MAX_CDIM], bias = 0;
        q[i] = 1;
        if (c->ops->query)
            c->ops->query(c, k, q, 1, qc, &bias);
        else
            memcpy(qc, q, sizeof q);
        double s = bias;
        for (uint32_t d = 0; d < c->cdim; d++)
            s += (double)qc[d] * decoded[(size_t)d * KV_BLOCK + t];
        x[i] = (float)s;
    }
}

/* Tokens of x (n, dim) as the coder stores them, groups at multiples of its size without the first `sinks` tokens; out of an
 * incomplete last group and of sinks is left alone. */
static inline void coder_round(const kv_coder *c, const rt_kernels *k, const float *x, uint32_t n, uint32_t sinks,
                               double *out) {
    uint8_t *block = malloc(c->block_bytes);
    void *work = malloc(c->scratch + 1);
    float *tile = malloc((size_t)KV_BLOCK * c->cdim * sizeof *tile), got[PROF_MAX_DIM];
    for (uint32_t start = 0; start + c->group <= n; start += c->group) {
        uint32_t slot = 32 % (KV_BLOCK - c->group + 1), skip = sinks > start ? sinks - start : 0;
        if (skip >= c->group)
            continue;
        memset(block, 0, c->block_bytes);
        c->ops->encode(c, k, block, slot + skip, c->group - skip, x + (size_t)(start + skip) * c->dim, work);
        for (uint32_t t = skip; t < c->group; t++) {
            read_slot(c, k, block, slot + t, KV_BLOCK, tile, got);
            for (uint32_t i = 0; i < c->dim; i++)
                out[(size_t)(start + t) * c->dim + i] = got[i];
        }
    }
    free(block);
    free(work);
    free(tile);
}

/* n tokens x (n, dim) as the codec stores them. */
static inline void codec_round(const kv_codec_sel *sel, kv_side side, const rt_kernels *k, const float *x, uint32_t n,
                               uint32_t dim, uint32_t sinks, double *out) {
    kv_coder c = {0};
    if (sel->id > KV_Q4_0)
        kv_coder_init(&c, kv_codec_get(sel->id), side, dim, sel->tc, NULL);
    if (sel->id > KV_Q4_0 && sel->id < KV_TC) {
        coder_round(&c, k, x, n, sinks, out);
        kv_coder_free(&c);
        return;
    }
    uint8_t *block = calloc(1, c.block_bytes + 1);
    void *work = malloc(c.scratch + 1);
    for (; n; n--, x += dim, out += dim) {
        if (sel->id == KV_TC) {
            c.ops->encode(&c, k, block, 5, 1, x, work);
            tc_read(sel->tc, block, 5, out);
        } else if (sel->id == KV_Q8_0) {
            q8_round(x, dim, out);
        } else if (sel->id == KV_Q4_0) {
            q4_round(x, dim, out);
        } else {
            for (uint32_t i = 0; i < dim; i++)
                out[i] = sel->id == KV_F16 ? to_f16(x[i]) : x[i];
        }
    }
    free(block);
    free(work);
    kv_coder_free(&c);
}

/* ---- a cache and what is fed to it ---- */

enum { FIX_LAYERS = 2, FIX_HEADS_MAX = 4 };

typedef struct fixture {
    kv_cache_cfg cfg;
    kv_codec_sel k[FIX_LAYERS * FIX_HEADS_MAX], v[FIX_LAYERS * FIX_HEADS_MAX];
    uint32_t swa[FIX_LAYERS];
    uint32_t n_tok;
    float scale;
    float *key[FIX_LAYERS], *val[FIX_LAYERS], *q[FIX_LAYERS]; /* (n_tok, heads, dim) */
    prof_tc *tc[2 * FIX_LAYERS * FIX_HEADS_MAX];
} fixture;

static inline void fix_init(fixture *f, uint32_t n_head, uint32_t n_kv_head, uint32_t dim, uint32_t n_tok) {
    memset(f, 0, sizeof *f);
    f->cfg = (kv_cache_cfg){.n_layer = FIX_LAYERS,
                            .n_head = n_head,
                            .n_kv_head = n_kv_head,
                            .head_dim = dim,
                            .n_ctx = n_tok,
                            .n_batch = n_tok,
                            .k = f->k,
                            .v = f->v};
    f->n_tok = n_tok;
    f->scale = 1 / sqrtf((float)dim);
    for (uint32_t l = 0; l < FIX_LAYERS; l++) {
        f->key[l] = rnd_fill((size_t)n_tok * n_kv_head * dim, 3 * l + 1);
        f->val[l] = rnd_fill((size_t)n_tok * n_kv_head * dim, 3 * l + 2);
        f->q[l] = rnd_fill((size_t)n_tok * n_head * dim, 3 * l + 3);
    }
}

/* The codec of one stream; a transform of `rate` bits is made where it is KV_TC. */
static inline void fix_stream(fixture *f, uint32_t layer, uint32_t head, kv_side side, kv_codec_id id, double rate) {
    uint32_t i = layer * f->cfg.n_kv_head + head;
    prof_tc **tc = &f->tc[2 * i + (side == KV_SIDE_V)];
    tc_drop(*tc);
    *tc = id == KV_TC ? tc_make(f->cfg.head_dim, rate, side == KV_SIDE_K, 100 + 2 * i + (side == KV_SIDE_V)) : NULL;
    *(side == KV_SIDE_K ? &f->k[i] : &f->v[i]) = (kv_codec_sel){id, *tc};
}

static inline void fix_codecs(fixture *f, kv_codec_id k, kv_codec_id v) {
    for (uint32_t l = 0; l < FIX_LAYERS; l++)
        for (uint32_t h = 0; h < f->cfg.n_kv_head; h++) {
            fix_stream(f, l, h, KV_SIDE_K, k, 3.5);
            fix_stream(f, l, h, KV_SIDE_V, v, 3);
        }
}

static inline void fix_drop(fixture *f) {
    for (uint32_t l = 0; l < FIX_LAYERS; l++) {
        free(f->key[l]);
        free(f->val[l]);
        free(f->q[l]);
    }
    for (size_t i = 0; i < sizeof f->tc / sizeof *f->tc; i++)
        tc_drop(f->tc[i]);
}

/* Tokens that a layer encodes together: KIVI groups keys. */
static inline uint32_t fix_group(const fixture *f, uint32_t layer) {
    for (uint32_t h = 0; h < f->cfg.n_kv_head; h++) {
        kv_codec_id id = f->k[layer * f->cfg.n_kv_head + h].id;
        if (id == KV_KIVI2 || id == KV_KIVI4)
            return 32;
    }
    return 1;
}

/* How many of len tokens a layer with a lossy stream has encoded. Single tokens leave a window of 64 or more in sixteens, as
 * soon as that many are beyond its last 15 places; an incomplete group of KIVI's stays behind the window instead. */
static inline uint32_t fix_encoded(const fixture *f, uint32_t layer, uint32_t len) {
    const bool all_full = f->cfg.swa && f->cfg.swa[layer] && f->cfg.window >= f->cfg.swa[layer];
    const bool sixteens = fix_group(f, layer) == 1 && f->cfg.window >= 64;
    const uint32_t group = sixteens ? 16 : fix_group(f, layer), least = f->cfg.window - (sixteens ? 15 : 0);
    return len > least && !all_full ? (len - least) / group * group : 0;
}

/* Caller ends it with rt_exec_stop. */
static inline rt_exec fix_exec(rt_cpu isa, int n_threads) {
    rt_exec e;
    if (rt_exec_start(&(rt_exec){.k = rt_kernels_for(isa), .n_threads = n_threads}, &e, NULL))
        abort();
    return e;
}

/* One call with n tokens in a workspace of its own. */
static inline kv_status fix_attend(kv_cache *c, const rt_exec *e, uint32_t layer, const float *q, const float *k,
                                   const float *v, uint32_t n, float scale, float *out, kv_err *err) {
    kv_work *w;
    if (kv_work_new(e, 64, &w, NULL) || kv_work_fit(w, c, NULL))
        abort();
    kv_status st = kv_attend(w, &(kv_rows){c, 0, n}, 1, layer, q, k, v, scale, out, NULL, NULL, err);
    kv_work_free(w);
    return st;
}

/* Feed tokens until the cache holds `end`, `batch` at a time; out: (FIX_LAYERS, n_tok, n_head, dim) or NULL, lse and entropy
 * (FIX_LAYERS, n_tok, n_head) or NULL. */
static inline kv_status fix_feed(const fixture *f, kv_cache *c, const rt_exec *e, uint32_t end, uint32_t batch, float *out,
                                 float *lse, float *entropy) {
    size_t kv = (size_t)f->cfg.n_kv_head * f->cfg.head_dim, qs = (size_t)f->cfg.n_head * f->cfg.head_dim;
    float *spare = out ? NULL : malloc(batch * qs * sizeof *spare);
    kv_work *w;
    kv_status st = kv_work_new(e, batch, &w, NULL);
    if (st || (st = kv_work_fit(w, c, NULL)))
        abort();
    while (!st && kv_cache_len(c) < end) {
        uint32_t pos = kv_cache_len(c), n = end - pos < batch ? end - pos : batch;
        for (uint32_t l = 0; l < FIX_LAYERS && !st; l++) {
            size_t row = (size_t)l * f->n_tok + pos;
            st = kv_attend(w, &(kv_rows){c, 0, n}, 1, l, f->q[l] + pos * qs, f->key[l] + pos * kv, f->val[l] + pos * kv,
                           f->scale, out ? out + row * qs : spare, lse ? lse + row * f->cfg.n_head : NULL,
                           entropy ? entropy + row * f->cfg.n_head : NULL, NULL);
        }
        if (!st)
            kv_cache_commit(c, n);
    }
    kv_work_free(w);
    free(spare);
    return st;
}

#endif
