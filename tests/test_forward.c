/* Properties of the forward pass that no reference is needed for: the result depends neither on batching, nor on threads, nor
 * on the instruction set; errors leave the context as it was. */
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 90 };

typedef struct run {
    uint64_t digest;
    float *logits;
} run;

static void tokens_of(const rt_model *m, int32_t *ids) {
    uint32_t x = 12345;
    for (int i = 0; i < N; i++) {
        x = x * 1664525u + 1013904223u;
        ids[i] = (int32_t)(x >> 8) % (int32_t)rt_model_hparams(m)->n_vocab;
    }
}

typedef enum products { FAST, EXACT, MADE_EXACT } products;

/* Feed N tokens in batches of `batch`, keep the last token's logits and the digest of the cache. */
static run run_model(const char *name, const char *cpu, int n_threads, uint32_t batch, int ct, products how) {
    char path[4096];
    kv_err err = {0};
    rt_exec e;
    rt_model *m, *exact = NULL;
    rt_ctx *c;
    int32_t ids[N];
    snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, name);
    if (rt_exec_init(&e, cpu, n_threads, how == EXACT, &err) || rt_model_load(path, &e, &m, &err) ||
        (how == MADE_EXACT && rt_model_exact(m, &exact, &err)))
        fail_msg("%s", err.msg);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = 128;
    cfg.n_batch = 64;
    cfg.ctk = cfg.ctv = ct;
    cfg.window = 10;
    cfg.sinks = 4;
    if (rt_ctx_new(exact ? exact : m, &cfg, &c, &err))
        fail_msg("%s", err.msg);
    tokens_of(m, ids);
    run r = {.logits = calloc(rt_model_hparams(m)->n_vocab, sizeof(float))};
    for (uint32_t at = 0; at < N; at += batch) {
        uint32_t n = N - at < batch ? N - at : batch;
        if (rt_forward(c, ids + at, n, 1, r.logits, &err))
            fail_msg("%s", err.msg);
    }
    r.digest = kv_cache_digest(rt_ctx_cache(c));
    rt_ctx_free(c);
    rt_model_free(exact);
    rt_model_free(m);
    return r;
}

static void assert_same(run a, run b, size_t n_vocab) {
    assert_true(a.digest == b.digest);
    assert_memory_equal(a.logits, b.logits, n_vocab * sizeof(float));
    free(b.logits);
}

static void check_invariance(const char *name, int ct, products exact) {
    enum { SOME_VOCAB = 100 }; /* every tiny vocabulary is larger */
    run want = run_model(name, "scalar", 1, 1, ct, exact);
    const uint32_t batches[] = {1, 7, 64};
    for (size_t i = 0; i < 3; i++)
        assert_same(want, run_model(name, NULL, 1 + (int)i, batches[i], ct, exact), SOME_VOCAB);
    if (rt_cpu_detect() >= RT_CPU_AVX2)
        assert_same(want, run_model(name, "avx2", 2, 13, ct, exact), SOME_VOCAB);
    free(want.logits);
}

static void forward_is_batch_thread_and_cpu_independent(void **state) {
    (void)state;
    check_invariance("llama", KV_F16, FAST);
    check_invariance("llama-rope-freqs", KV_Q8_0, FAST);
    check_invariance("llama-iq", KV_Q8_0, FAST);
    check_invariance("qwen2", KV_Q4_0, FAST);
    check_invariance("gemma3", KV_Q4_0, FAST);
    check_invariance("qwen3", KV_Q8_0, EXACT);
}

static void forward_of_a_fast_model_can_be_exact(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "llama-rope-freqs", "qwen2", "qwen3", "gemma3"};
    bool differ = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const run want = run_model(names[i], NULL, 2, 7, KV_F16, EXACT), fast = run_model(names[i], NULL, 2, 7, KV_F16, FAST);
        differ |= fast.digest != want.digest;
        assert_same(want, run_model(names[i], NULL, 2, 7, KV_F16, MADE_EXACT), 100);
        free(fast.logits);
        free(want.logits);
    }
    assert_true(differ);
}

static void forward_refuses_overflow_and_bad_ids(void **state) {
    (void)state;
    kv_err err = {0};
    rt_exec e;
    rt_model *m;
    rt_ctx *c;
    assert_int_equal(rt_exec_init(&e, NULL, 1, false, &err), KV_OK);
    if (rt_model_load(KV_TEST_DATA "/tiny/llama.gguf", &e, &m, &err))
        fail_msg("%s", err.msg);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = 8;
    assert_int_equal(rt_ctx_new(m, &cfg, &c, &err), KV_OK);
    const int32_t ids[] = {1, 2, 3, 4, 5, 6}, bad[] = {1, -1}, high[] = {(int32_t)rt_model_hparams(m)->n_vocab};
    assert_int_equal(rt_prefill(c, ids, 6, NULL, &err), KV_OK);
    assert_int_equal(rt_prefill(c, ids, 3, NULL, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "6 of 8 tokens are taken, 3 more do not fit"));
    assert_int_equal(rt_forward(c, bad, 2, 0, NULL, &err), KV_ERANGE);
    assert_int_equal(rt_forward(c, high, 1, 0, NULL, &err), KV_ERANGE);
    assert_int_equal(rt_ctx_len(c), 6);
    assert_int_equal(rt_prefill(c, ids, 2, NULL, &err), KV_OK);
    rt_ctx_clear(c);
    assert_int_equal(rt_ctx_len(c), 0);
    rt_ctx_free(c);
    rt_model_free(m);
}

static void forward_refuses_tc_without_profile(void **state) {
    (void)state;
    kv_err err = {0};
    rt_exec e;
    rt_model *m;
    rt_ctx *c;
    assert_int_equal(rt_exec_init(&e, NULL, 1, false, &err), KV_OK);
    if (rt_model_load(KV_TEST_DATA "/tiny/llama.gguf", &e, &m, &err))
        fail_msg("%s", err.msg);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.ctk = KV_TC;
    assert_int_equal(rt_ctx_new(m, &cfg, &c, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "kvcalib"));
    rt_model_free(m);
}

/* A profile's codecs reach the heads that it names; sizes told without the weights are those of the context. */
static void forward_stores_as_the_profile_says(void **state) {
    (void)state;
    static const char *const names[] = {"qwen3", "gemma3"};
    const char yaml[] =
        "version: 2\npolicy: {sinks: 2, window: 8, k: q4_0, v: f16, overrides: [{layers: 1-, heads: 0, k: q8_0}, "
        "{layers: 0, v: q8_0}]}\n";
    for (size_t i = 0; i < 2; i++) {
        char path[4096];
        kv_err err = {0};
        rt_exec e;
        rt_model *m = NULL;
        rt_ctx *c;
        prof *p = NULL;
        rt_hparams hp;
        kv_cache_cfg cc;
        kv_cache_info told;
        snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, names[i]);
        if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(path, &e, &m, &err) ||
            prof_parse(yaml, strlen(yaml), "t.yaml", &p, &err))
            fail_msg("%s", err.msg);
        rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
        cfg.profile = p;
        cfg.n_ctx = 1000;
        if (rt_ctx_new(m, &cfg, &c, &err) || rt_hparams_read(rt_model_gguf(m), &hp, &err) ||
            rt_cache_cfg_new(&hp, &cfg, &cc, &err) || kv_cache_size(&cc, &cfg.n_ctx, 1, &told, &err))
            fail_msg("%s", err.msg);
        const kv_cache_info real = kv_cache_get_info(rt_ctx_cache(c));
        assert_memory_equal(&told, &real, sizeof real);
        const double heads = hp.n_layer * (double)hp.n_kv_head, q8 = hp.n_layer - 1; /* keys in q8_0: one head per layer */
        assert_true(fabs(real.bits_k - (4.5 * (heads - q8) + 8.5 * q8) / heads) < 1e-9);
        assert_true(fabs(real.bits_v - (8.5 + 16.0 * (hp.n_layer - 1)) / hp.n_layer) < 1e-9);
        assert_int_equal(hp.swa, rt_model_hparams(m)->swa);
        assert_int_equal(hp.n_ctx_train, rt_model_hparams(m)->n_ctx_train);
        rt_cache_cfg_free(&cc);
        rt_ctx_free(c);
        rt_model_free(m);
        prof_free(p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_batch_thread_and_cpu_independent), cmocka_unit_test(forward_of_a_fast_model_can_be_exact),
        cmocka_unit_test(forward_refuses_overflow_and_bad_ids),        cmocka_unit_test(forward_refuses_tc_without_profile),
        cmocka_unit_test(forward_stores_as_the_profile_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
