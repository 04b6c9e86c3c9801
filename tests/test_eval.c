/* Perplexity and KL divergence: against a plain recomputation, where they must be zero, for any number of threads, and what is
 * refused. */
#include "eval.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { CTX = 150, CHUNKS = 2, N = CTX * CHUNKS + 20 };

static rt_model *open_tiny(const char *name, int n_threads) {
    char path[4096];
    rt_exec e;
    kv_err err = {0};
    rt_model *m = NULL;
    snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, name);
    if (rt_exec_init(&e, NULL, n_threads, true, &err) || rt_model_load(path, &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static void make_tokens(const rt_model *m, int32_t *ids) {
    uint32_t x = 99;
    for (int i = 0; i < N; i++) {
        x = x * 1664525u + 1013904223u;
        ids[i] = (int32_t)((x >> 8) % rt_model_hparams(m)->n_vocab);
    }
}

static eval_cfg setting(int ct, int window) {
    eval_cfg cfg = {.ctx = CTX, .chunks = CHUNKS, .cache = RT_CTX_CFG_DEFAULT, .baseline = true};
    cfg.cache.ctk = cfg.cache.ctv = ct;
    cfg.cache.window = window;
    return cfg;
}

static eval_result measure(const char *name, int n_threads, eval_cfg cfg) {
    rt_model *m = open_tiny(name, n_threads);
    int32_t ids[N];
    kv_err err = {0};
    eval_result r;
    make_tokens(m, ids);
    if (eval_ppl(m, &cfg, ids, N, NULL, NULL, &r, &err))
        fail_msg("%s", err.msg);
    rt_model_free(m);
    return r;
}

/* The same by the definition: token by token, one context after the other, no shared code. */
typedef struct plain {
    double nll, kld;
    size_t n, same;
} plain;

static void softmax(const float *x, size_t n, double *p) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += p[i] = exp(x[i]);
    for (size_t i = 0; i < n; i++)
        p[i] /= sum;
}

static plain by_definition(const char *name, int ct) {
    enum { MAX_VOCAB = 512 };
    rt_model *m = open_tiny(name, 1);
    const size_t n_vocab = rt_model_hparams(m)->n_vocab;
    int32_t ids[N];
    float x[MAX_VOCAB], y[MAX_VOCAB];
    double p[MAX_VOCAB], q[MAX_VOCAB];
    kv_err err = {0};
    plain r = {0};
    assert_true(n_vocab <= MAX_VOCAB);
    make_tokens(m, ids);
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        int32_t *t = ids + chunk * CTX;
        rt_ctx *set, *base;
        rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
        cfg.n_ctx = CTX;
        cfg.ctk = cfg.ctv = KV_F32;
        assert_int_equal(rt_ctx_new(m, &cfg, &base, &err), KV_OK);
        cfg.ctk = cfg.ctv = ct;
        assert_int_equal(rt_ctx_new(m, &cfg, &set, &err), KV_OK);
        if (tok_add_bos(rt_model_tok(m)))
            t[0] = tok_bos(rt_model_tok(m));
        for (int i = 0; i + 1 < CTX; i++) {
            assert_int_equal(rt_forward(base, t + i, 1, 1, x, &err), KV_OK);
            assert_int_equal(rt_forward(set, t + i, 1, 1, y, &err), KV_OK);
            if (i < CTX / 2)
                continue;
            softmax(x, n_vocab, p);
            softmax(y, n_vocab, q);
            size_t a = 0, b = 0;
            for (size_t v = 0; v < n_vocab; v++) {
                r.kld += p[v] * log(p[v] / q[v]);
                a = p[v] > p[a] ? v : a;
                b = q[v] > q[b] ? v : b;
            }
            r.nll -= log(q[t[i + 1]]);
            r.same += a == b;
            r.n++;
        }
        rt_ctx_free(set);
        rt_ctx_free(base);
    }
    rt_model_free(m);
    return r;
}

static void check_definition(const char *name) {
    eval_result r = measure(name, 2, setting(KV_Q4_0, 0));
    plain want = by_definition(name, KV_Q4_0);
    assert_int_equal(r.tokens, CHUNKS * (CTX - 1 - CTX / 2));
    assert_int_equal(want.n, r.tokens);
    assert_true(fabs(r.ppl / exp(want.nll / (double)want.n) - 1) < 1e-9);
    assert_true(want.kld > 1e-4 && fabs(r.kld * (double)want.n / want.kld - 1) < 1e-6);
    assert_true(fabs(r.top1 - 100.0 * (double)want.same / (double)want.n) < 1e-9);
    assert_true(fabs(r.dppl_percent - 100 * (r.ppl / r.ppl_base - 1)) < 1e-6);
    assert_true(r.kld_se > 0 && r.ppl_se > 0 && r.dppl_se > 0 && r.dppl_se < 100 * r.ppl_se / r.ppl);
    assert_true(r.bits_k == 4.5 && r.bits_v == 4.5 && r.kv_bytes < r.kv_bytes_f16);
}

static void eval_agrees_with_the_definition(void **state) {
    (void)state;
    check_definition("llama");
    check_definition("gemma3"); /* BOS, sliding window */
}

static void eval_f32_loses_nothing(void **state) {
    (void)state;
    eval_result r = measure("qwen2", 1, setting(KV_F32, 0));
    assert_true(r.kld == 0 && r.kld_se == 0 && r.top1 == 100 && r.dppl_percent == 0);
    assert_true(r.ppl == r.ppl_base && r.bits_k == 32);
}

static void eval_window_helps(void **state) {
    (void)state;
    eval_result none = measure("llama", 1, setting(KV_Q4_0, 0)), some = measure("llama", 1, setting(KV_Q4_0, 64));
    assert_true(some.kld < none.kld && some.kld > 0);
}

static void eval_is_thread_independent(void **state) {
    (void)state;
    eval_result a = measure("llama", 1, setting(KV_Q4_0, 16)), b = measure("llama", 3, setting(KV_Q4_0, 16));
    a.seconds = b.seconds = 0;
    assert_memory_equal(&a, &b, sizeof a);
}

static void eval_without_baseline_has_no_divergence(void **state) {
    (void)state;
    eval_cfg cfg = setting(KV_Q4_0, 0);
    eval_result with = measure("llama", 1, cfg);
    cfg.baseline = false;
    eval_result without = measure("llama", 1, cfg);
    assert_true(with.ppl == without.ppl && isnan(without.kld) && isnan(without.dppl_percent));
}

static bool refuse(void *user, double done) {
    *(double *)user = done;
    return false;
}

static void eval_refuses_and_stops(void **state) {
    (void)state;
    rt_model *m = open_tiny("llama", 1);
    int32_t ids[N];
    kv_err err = {0};
    eval_result r;
    double done = -1;
    make_tokens(m, ids);
    eval_cfg cfg = setting(KV_F16, 0);
    assert_int_equal(eval_ppl(m, &cfg, ids, CTX - 1, NULL, NULL, &r, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "149 tokens"));
    cfg.chunks = CHUNKS + 1;
    assert_int_equal(eval_ppl(m, &cfg, ids, N, NULL, NULL, &r, &err), KV_ERANGE);
    cfg.chunks = 0;
    assert_int_equal(eval_ppl(m, &cfg, ids, N, refuse, &done, &r, &err), KV_ECANCEL);
    assert_true(done > 0 && done < 0.5);
    cfg.ctx = 2;
    assert_int_equal(eval_ppl(m, &cfg, ids, N, NULL, NULL, &r, &err), KV_EINVAL);
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eval_agrees_with_the_definition),
        cmocka_unit_test(eval_f32_loses_nothing),
        cmocka_unit_test(eval_window_helps),
        cmocka_unit_test(eval_is_thread_independent),
        cmocka_unit_test(eval_without_baseline_has_no_divergence),
        cmocka_unit_test(eval_refuses_and_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
