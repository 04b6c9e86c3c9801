/* TurboQuant (Zandieh, Daliri, Hadian, Mirrokni 2025, arXiv 2504.19874).
 *
 * turbo2, turbo3, turbo4: algorithm 1, for least squared error. Rotate at random, divide by the norm; the coordinates of a
 * random unit vector are nearly N(0, 1/d), so each is rounded to the Lloyd-Max quantiser of the normal distribution. b bits per
 * element and the norm. The rotation is a randomised Hadamard transform with fixed signs (codec_rotate.h), one for all heads.
 *
 * turbo3q: algorithm 2, for unbiased inner products: algorithm 1 with 2 bits, then one bit per element of the residual r by
 * QJL, the sign of S r, S (d, d) of independent N(0, 1), and the norm of r. Since E[(S q)_i sign((S r)_i)] = sqrt(2/pi) q.r /
 * |r|, q.x ~ q.x' + sqrt(pi/2) / d |r| (S q) . sign(S r) S is applied to the rotated residual and the rotated query, which
 * changes nothing about its distribution. Unbiased scores are a matter of keys; the paper does not say which algorithm its
 * caches use for values. Here values of turbo3q are those of turbo3: algorithm 1 with the same 3 bits, because sums of values
 * are judged by squared error.
 *
 * Norms are stored as rms = norm / sqrt(d), so that no key that f16 can hold overflows them.
 * Block: bits planes per coordinate (codec_planes.h) [, a plane of signs per coordinate], 64 rms in f16 [, 64 rms of
 * residuals]. Coded space: the rotated coordinates, for keys of turbo3q followed by those of S r.
 */
#include "base/fp16.h"
#include "base/splitmix64.h"
#include "codec/codec_planes.h"
#include "codec/codec_rotate.h"
#include "quant/lloyd_max.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_BITS = 4, SKETCH_SEED = 2 };

typedef struct turbo_state {
    kv_rotation rotation; /* first */
    unsigned bits;
    float level[1 << MAX_BITS], border[1 << MAX_BITS];
    float *sketch; /* (dim, dim) S transposed, or NULL */
} turbo_state;

/* What encode works on. */
typedef struct turbo_work {
    float *y, *proj; /* (64, dim) rotated, then the residual; S times that */
    uint8_t *codes;  /* (dim, 64) */
} turbo_work;

static turbo_work work_at(const kv_coder *c, void *scratch) {
    size_t n = (size_t)c->dim * KV_BLOCK;
    float *y = scratch;
    return (turbo_work){y, y + n, (uint8_t *)(y + 2 * n)};
}

static size_t n_words(const kv_coder *c) {
    const turbo_state *s = c->state;
    return (size_t)c->dim * (s->bits + (s->sketch ? 1 : 0));
}

/* Independent N(0, 1) by Box and Muller. */
static void fill_sketch(float *s, size_t n) {
    uint64_t state = SKETCH_SEED;
    for (size_t i = 0; i < n; i++) {
        double u = (double)((splitmix64(&state) >> 11) + 1) * 0x1p-53, v = (double)(splitmix64(&state) >> 11) * 0x1p-53;
        s[i] = (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    }
}

static kv_status turbo_init(kv_coder *c, unsigned bits, bool sketch, const char *name, kv_err *err) {
    kv_status st = kv_rotation_new(c, sizeof(turbo_state), 0, KV_ROTATION_SEED, name, err);
    if (st)
        return st;
    turbo_state *s = c->state;
    double level[1 << MAX_BITS];
    lloyd_max_normal(1u << bits, level);
    for (unsigned i = 0; i < 1u << bits; i++) {
        s->level[i] = (float)level[i];
        s->border[i] = i ? (float)((level[i - 1] + level[i]) / 2) : 0;
    }
    s->bits = bits;
    if (sketch) {
        c->cdim = 2 * c->dim;
        s->sketch = malloc((size_t)c->dim * c->dim * sizeof *s->sketch);
        if (!s->sketch)
            return kv_fail(err, KV_ENOMEM, "no memory for codec %s", name);
        fill_sketch(s->sketch, (size_t)c->dim * c->dim);
    }
    size_t norms = sketch ? 2 : 1;
    kv_coder_part(c, KV_PART_PLANES, n_words(c), 8);
    kv_coder_part(c, KV_PART_COLS, norms, sizeof(uint16_t));
    c->bits = bits + (sketch ? 1 : 0) + 16.0 * (double)norms / c->dim;
    c->scratch = (size_t)c->dim * KV_BLOCK * (2 * sizeof(float) + 1);
    return KV_OK;
}

static void turbo_free(kv_coder *c) {
    turbo_state *s = c->state;
    if (s)
        free(s->sketch);
    free(s);
}

/* As stored; what f16 cannot hold becomes its largest number. */
static uint16_t rms(const float *x, uint32_t n, float *exact) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    *exact = (float)sqrt(sum / n);
    return fp16_from_fp32(*exact < 65504 ? *exact : 65504.0f);
}

/* Codes of one rotated vector, to codes[i * 64]; y becomes the residual. Returns the rms as stored. A vector too small for f16
 * has codes of zero and rms 0. */
static uint16_t quantise(const turbo_state *s, uint32_t dim, float *y, uint8_t *codes) {
    float exact;
    uint16_t stored = rms(y, dim, &exact);
    float gain = fp16_to_fp32(stored), inv = gain > 0 ? 1 / exact : 0;
    for (uint32_t i = 0; i < dim; i++) {
        unsigned code = 0;
        for (unsigned j = 1; gain > 0 && j < 1u << s->bits; j++)
            code += y[i] * inv > s->border[j];
        codes[(size_t)i * KV_BLOCK] = (uint8_t)code;
        y[i] -= gain * s->level[code];
    }
    return stored;
}

static void turbo_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                         void *scratch) {
    const turbo_state *s = c->state;
    uint64_t *planes = (uint64_t *)block;
    uint16_t *norms = (uint16_t *)(planes + n_words(c));
    turbo_work w = work_at(c, scratch);
    memset(w.codes, 0, (size_t)c->dim * KV_BLOCK);
    kv_rotate(&s->rotation, x, n, w.y);
    for (uint32_t t = 0; t < n; t++)
        norms[slot + t] = quantise(s, c->dim, w.y + (size_t)t * c->dim, w.codes + t);
    for (uint32_t i = 0; i < c->dim; i++, planes += s->bits)
        kv_planes_put(planes, s->bits, slot, n, w.codes + (size_t)i * KV_BLOCK);
    if (!s->sketch)
        return;
    memset(w.proj, 0, (size_t)n * c->dim * sizeof *w.proj);
    k->attn_values(w.y, c->dim, n, c->dim, s->sketch, c->dim, w.proj);
    for (uint32_t t = 0; t < n; t++) {
        float exact;
        norms[KV_BLOCK + slot + t] = rms(w.y + (size_t)t * c->dim, c->dim, &exact);
        for (uint32_t i = 0; i < c->dim; i++)
            w.codes[(size_t)i * KV_BLOCK + t] = w.proj[(size_t)t * c->dim + i] < 0;
    }
    for (uint32_t i = 0; i < c->dim; i++)
        kv_planes_put(planes + i, 1, slot, n, w.codes + (size_t)i * KV_BLOCK);
}

static const float *turbo_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    const turbo_state *s = c->state;
    const uint64_t *planes = (const uint64_t *)block;
    uint8_t codes[KV_BLOCK];
    float norm[2 * KV_BLOCK], row[KV_BLOCK];
    k->f16_load((const uint16_t *)(planes + n_words(c)), s->sketch ? 2 * KV_BLOCK : KV_BLOCK, norm);
    for (uint32_t i = 0; i < c->dim; i++, planes += s->bits) {
        kv_planes_get(planes, s->bits, codes);
        for (uint32_t t = 0; t < KV_BLOCK; t++)
            row[t] = s->level[codes[t]] * norm[t];
        kv_tile_put(c, tile, i, row, n);
    }
    for (uint32_t i = c->dim; i < c->cdim; i++, planes++) {
        kv_planes_get(planes, 1, codes);
        for (uint32_t t = 0; t < KV_BLOCK; t++)
            row[t] = codes[t] ? -norm[KV_BLOCK + t] : norm[KV_BLOCK + t];
        kv_tile_put(c, tile, i, row, n);
    }
    return tile;
}

/* (R q, sqrt(pi/2) / sqrt(d) S R q): the tile holds |r| / sqrt(d). */
static void sketched_query(const kv_coder *c, const rt_kernels *k, const float *q, uint32_t n, float *qc, float *bias) {
    const turbo_state *s = c->state;
    float scale = 1.2533141373155001f / sqrtf((float)c->dim);
    memset(bias, 0, n * sizeof *bias);
    for (; n; n--, q += c->dim, qc += c->cdim) {
        float *proj = qc + c->dim;
        kv_rotate(&s->rotation, q, 1, qc);
        memset(proj, 0, c->dim * sizeof *proj);
        k->attn_values(qc, c->dim, 1, c->dim, s->sketch, c->dim, proj);
        for (uint32_t i = 0; i < c->dim; i++)
            proj[i] *= scale;
    }
}

static void turbo_query(const kv_coder *c, const rt_kernels *k, const float *q, uint32_t n, float *qc, float *bias) {
    const turbo_state *s = c->state;
    (s->sketch ? sketched_query : kv_rotated_query)(c, k, q, n, qc, bias);
}

static kv_status turbo2_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    return turbo_init(c, 2, false, "turbo2", err);
}

static kv_status turbo3_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    return turbo_init(c, 3, false, "turbo3", err);
}

static kv_status turbo4_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    return turbo_init(c, 4, false, "turbo4", err);
}

static kv_status turbo3q_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    (void)tc;
    bool key = c->side == KV_SIDE_K;
    return turbo_init(c, key ? 2 : 3, key, "turbo3q", err);
}

#define TURBO_CODEC(name)                                                                                                      \
    const kv_codec kv_codec_##name = {.init = name##_init,                                                                     \
                                      .free = turbo_free,                                                                      \
                                      .encode = turbo_encode,                                                                  \
                                      .decode = turbo_decode,                                                                  \
                                      .query = turbo_query,                                                                    \
                                      .output = kv_rotated_output}
TURBO_CODEC(turbo2);
TURBO_CODEC(turbo3);
TURBO_CODEC(turbo4);
TURBO_CODEC(turbo3q);
