/* What attention costs in one layer of a model, for two codecs: bench_attention MODEL [PROFILE.yaml|-] [DEPTH] [ISA]. One
 * thread, CPU time, best of several rounds, microseconds: of 512 tokens behind DEPTH others, and of one. Keys, values
 * and queries are random; the codecs are those of the layer whose bits are nearest the profile's mean, or f16.
 */
#include "kernels/kernels.h"
#include "model/model.h"
#include "step/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOKENS = 512, ROUNDS = 5, STEPS = 16 };

typedef struct side {
    rt_ctx_cfg cfg;
    kv_cache *cache;
    kv_work *work;
    double prefill, decode; /* best seconds */
} side;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static float *noise(size_t n) {
    float *x = malloc(n * sizeof *x);
    uint32_t seed = 1;
    for (size_t i = 0; x && i < n; i++) {
        x[i] = 0;
        for (int k = 0; k < 12; k++) { /* a sum of twelve uniform numbers is normal enough */
            seed = seed * 1664525u + 1013904223u;
            x[i] += (float)(seed >> 8) * 0x1p-24f - 0.5f;
        }
    }
    return x;
}

static double bits_of(const kv_cache_cfg *cfg, uint32_t layer) {
    double bits = 0;
    for (uint32_t i = layer * cfg->n_kv_head; i < (layer + 1) * cfg->n_kv_head; i++) {
        bits += cfg->k[i].tc ? prof_tc_vector_bits(cfg->k[i].tc) : 0;
        bits += cfg->v[i].tc ? prof_tc_vector_bits(cfg->v[i].tc) : 0;
    }
    return bits;
}

/* Leave one layer, which is as large as most. */
static void keep_one(kv_cache_cfg *cfg) {
    double mean = 0;
    uint32_t best = 0;
    for (uint32_t l = 0; l < cfg->n_layer; l++)
        mean += bits_of(cfg, l) / cfg->n_layer;
    for (uint32_t l = 1; l < cfg->n_layer; l++)
        if (fabs(bits_of(cfg, l) - mean) < fabs(bits_of(cfg, best) - mean))
            best = l;
    cfg->n_layer = 1;
    cfg->heads = cfg->kv_heads = cfg->kv_layer = NULL;
    cfg->swa = NULL;
    cfg->k += best * cfg->n_kv_head;
    cfg->v += best * cfg->n_kv_head;
}

static kv_status open_side(side *s, const rt_hparams *hp, const rt_exec *e, const float *inv_freq, kv_err *err) {
    kv_cache_cfg cfg = {0};
    kv_status st = rt_cache_cfg_new(hp, &s->cfg, &cfg, err);
    if (st)
        return st;
    kv_cache_cfg one = cfg;
    keep_one(&one);
    one.rope = (kv_rope){inv_freq, hp->n_rot, true, NULL};
    st = kv_cache_new(&one, e, &s->cache, err);
    rt_cache_cfg_free(&cfg);
    if (!st && !(st = kv_work_new(e, TOKENS, &s->work, err)))
        st = kv_work_fit(s->work, s->cache, err);
    s->prefill = s->decode = 1e9;
    return st;
}

/* Seconds of one call; the tokens stay. */
static double attend(side *s, const float *q, const float *kv, float *out, uint32_t n) {
    const double t = now();
    if (kv_attend(s->work, &(kv_rows){s->cache, 0, n}, 1, 0, q, kv, kv + 1000, 0.125f, out, NULL, NULL, NULL))
        exit(1);
    const double took = now() - t;
    kv_cache_commit(s->cache, n);
    return took;
}

static void round_of(side *s, const float *q, const float *kv, float *out, uint32_t depth) {
    kv_cache_clear(s->cache);
    for (uint32_t at = 0; at < depth; at += TOKENS)
        attend(s, q, kv, out, depth - at < TOKENS ? depth - at : TOKENS);
    double t = attend(s, q, kv, out, TOKENS);
    s->prefill = t < s->prefill ? t : s->prefill;
    for (int i = 0; i < STEPS; i++) {
        t = attend(s, q, kv, out, 1);
        s->decode = t < s->decode ? t : s->decode;
    }
}

int main(int argc, char **argv) {
    side s = {.cfg = RT_CTX_CFG_DEFAULT};
    rt_exec e;
    gguf *g = NULL;
    prof *p = NULL;
    rt_hparams hp;
    kv_err err = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: bench_attention MODEL [PROFILE.yaml|-] [DEPTH] [ISA]\n");
        return 2;
    }
    const uint32_t depth = argc > 3 ? (uint32_t)atoi(argv[3]) : 4096;
    float inv_freq[2 * PROF_MAX_DIM] = {0}, *kv = NULL, *q = NULL, *out = NULL;
    kv_status st = rt_exec_init(&e, argc > 4 ? argv[4] : NULL, 1, false, &err);
    if (st || (st = gguf_open(argv[1], &g, &err)) || (st = rt_hparams_read(g, &hp, &err)) ||
        (argc > 2 && strcmp(argv[2], "-") && (st = prof_load(argv[2], &p, &err))))
        goto done;
    for (int i = 0; i < PROF_MAX_DIM; i++)
        inv_freq[i] = 1 / (1 + (float)i);
    s.cfg.profile = p;
    const size_t nq = (size_t)TOKENS * hp.n_head * hp.head_dim;
    kv = noise(nq + 1000);
    q = noise(nq);
    out = malloc(nq * sizeof *out);
    if (!kv || !q || !out) {
        st = kv_fail(&err, KV_ENOMEM, "out of memory");
        goto done;
    }
    s.cfg.n_ctx = depth + TOKENS + STEPS;
    if ((st = open_side(&s, &hp, &e, inv_freq, &err)))
        goto done;
    for (int r = 0; r < ROUNDS; r++)
        round_of(&s, q, kv, out, depth);
    printf("%s, %s: prefill of %d %9.1f us, one token %8.1f us\n", p ? argv[2] : "f16", rt_cpu_name(e.k->isa), TOKENS,
           s.prefill * 1e6, s.decode * 1e6);
done:
    if (st)
        fprintf(stderr, "bench_attention: %s\n", err.msg);
    kv_work_free(s.work);
    kv_cache_free(s.cache);
    free(kv);
    free(q);
    free(out);
    prof_free(p);
    gguf_close(g);
    return st != KV_OK;
}
