/* What encoding a token costs, as a share of its forward pass: bench_encode MODEL PROFILE.yaml [THREADS].
 * Encoding: keys and values of every head, 512 tokens in turn as prefill has them, as they leave the window in decode, and
 * one by one, as decode has it without a window. The forward pass is measured with an f16 cache, from an empty context. Best
 * of several rounds, both in turns. The aim is less than a tenth; on a machine with other work to do the share means little.
 */
#include "base/clock.h"
#include "cache/state.h"
#include "kernels/kernels.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 512, ROUNDS = 5 };

typedef struct bench {
    rt_exec e;
    rt_model *m;
    prof *p;
    rt_ctx *ctx;
    kv_coder *coders; /* (2, n_layer, n_kv_head) */
    size_t n;
    float *x;        /* (KV_BLOCK, head_dim) */
    uint8_t **block; /* (n), and scratch */
    void **scratch;
} bench;

/* Numbers as the coder of a head sees them: the synthesis of normal coefficients around the mean. */
static void fill(const prof_tc *t, float *x) {
    uint32_t seed = 1;
    for (uint32_t s = 0; s < KV_BLOCK; s++, x += t->dim) {
        for (uint32_t j = 0; j < t->dim; j++)
            x[j] = t->mean[j];
        for (uint32_t i = 0; i < t->dim; i++) {
            float z = 0;
            for (int k = 0; k < 12; k++) { /* a sum of twelve uniform numbers is normal enough */
                seed = seed * 1664525u + 1013904223u;
                z += (float)(seed >> 8) * 0x1p-24f;
            }
            for (uint32_t j = 0; j < t->dim; j++)
                x[j] += (z - 6) * t->sigma[i] * t->basis[(size_t)i * t->dim + j];
        }
    }
}

static kv_status open_coders(bench *b, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(b->m);
    const size_t heads = (size_t)hp->n_layer * hp->n_kv_head;
    b->n = 2 * heads;
    b->coders = calloc(b->n, sizeof *b->coders);
    b->block = calloc(b->n, sizeof *b->block);
    b->scratch = calloc(b->n, sizeof *b->scratch);
    b->x = malloc(b->n * KV_BLOCK * hp->head_dim * sizeof *b->x);
    if (!b->coders || !b->block || !b->scratch || !b->x)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    for (size_t i = 0; i < b->n; i++) {
        const uint32_t layer = (uint32_t)(i % heads / hp->n_kv_head), head = (uint32_t)(i % hp->n_kv_head);
        const prof_head h = i < heads ? prof_head_k(b->p, layer, head) : prof_head_v(b->p, layer, head);
        if (!h.tc)
            return kv_fail(err, KV_EINVAL, "the profile has heads that are not calibrated");
        kv_status st =
            kv_coder_init(&b->coders[i], kv_codec_get(h.codec), i < heads ? KV_SIDE_K : KV_SIDE_V, hp->head_dim, h.tc, err);
        if (st)
            return st;
        b->block[i] = calloc(1, b->coders[i].block_bytes + 1);
        b->scratch[i] = malloc(b->coders[i].scratch + 1);
        if (!b->block[i] || !b->scratch[i])
            return kv_fail(err, KV_ENOMEM, "out of memory");
        fill(h.tc, b->x + i * KV_BLOCK * hp->head_dim);
    }
    return KV_OK;
}

typedef struct piece {
    const bench *b;
    uint32_t at, step;
} piece;

static void encode_some(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const piece *p = arg;
    const bench *b = p->b;
    const size_t dim = rt_model_hparams(b->m)->head_dim;
    for (size_t i = first; i < end; i++) {
        const kv_coder *c = &b->coders[i];
        c->ops->encode(c, b->e.k, b->block[i], p->at, p->step, b->x + (i * KV_BLOCK + p->at) * dim, b->scratch[i]);
    }
}

/* Seconds to encode one token of every head, `step` tokens at a time. */
static double encode(const bench *b, uint32_t step) {
    const double t = clock_now();
    for (int block = 0; block < TOKENS / KV_BLOCK; block++)
        for (uint32_t at = 0; at < KV_BLOCK; at += step)
            rt_for(rt_ctx_exec(b->ctx), b->n, 1, encode_some, &(piece){b, at, step});
    return (clock_now() - t) / TOKENS;
}

/* Seconds of a token's forward pass, `step` tokens at a time. */
static double forward(bench *b, uint32_t step) {
    int32_t tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        tokens[i] = i % 256 + 300;
    rt_ctx_clear(b->ctx);
    const double t = clock_now();
    const int count = step == 1 ? 64 : TOKENS;
    for (int at = 0; at < count; at += (int)step)
        if (rt_forward(b->ctx, tokens + at, step, 0, NULL, NULL))
            return NAN;
    return (clock_now() - t) / count;
}

static void compare(bench *b, const char *what, uint32_t tokens_encoded, uint32_t tokens_forward) {
    double enc = 1e9, fwd = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        enc = fmin(enc, encode(b, tokens_encoded));
        fwd = fmin(fwd, forward(b, tokens_forward));
    }
    printf("%-10s %8.1f us of %8.1f us a token: %5.1f %%\n", what, enc * 1e6, fwd * 1e6, 100 * enc / fwd);
}

int main(int argc, char **argv) {
    bench b = {0};
    kv_err err = {0};
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    if (argc < 3) {
        fprintf(stderr, "usage: bench_encode MODEL PROFILE.yaml [THREADS]\n");
        return 2;
    }
    cfg.n_ctx = cfg.n_batch = TOKENS;
    kv_status st = rt_exec_init(&b.e, NULL, argc > 3 ? atoi(argv[3]) : 0, false, &err);
    if (st || (st = rt_model_load(argv[1], &b.e, &b.m, &err)) || (st = prof_load(argv[2], &b.p, &err)) ||
        (st = open_coders(&b, &err)) || (st = rt_ctx_new(b.m, &cfg, &b.ctx, &err)))
        goto done;
    compare(&b, "prefill", KV_BLOCK, TOKENS);
    compare(&b, "decode", KV_BATCH, 1);
    compare(&b, "one by one", 1, 1);
done:
    if (st)
        fprintf(stderr, "bench_encode: %s\n", err.msg);
    for (size_t i = 0; i < b.n && b.coders; i++) {
        kv_coder_free(&b.coders[i]);
        free(b.block ? b.block[i] : NULL);
        free(b.scratch ? b.scratch[i] : NULL);
    }
    free(b.coders);
    free(b.block);
    free(b.scratch);
    free(b.x);
    rt_ctx_free(b.ctx);
    prof_free(b.p);
    rt_model_free(b.m);
    return st != KV_OK;
}
