/* Perplexity and KL divergence: against a plain recomputation, where they must be zero, for any number of threads, and what is
 * refused. */
#include "eval/eval.h"
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

static const eval_cfg against_f32 = {.ctx = CTX, .chunks = CHUNKS, .baseline = KV_F32};

static eval_setting setting(int ct, int window) {
    eval_setting s = {NULL, RT_CTX_CFG_DEFAULT};
    s.cache.ctk = s.cache.ctv = ct;
    s.cache.window = window;
    return s;
}

static void measure_all(const char *name, int n_threads, const eval_cfg *cfg, const eval_setting *s, size_t n,
                        eval_result *out) {
    rt_model *m = open_tiny(name, n_threads);
    int32_t ids[N];
    kv_err err = {0};
    make_tokens(m, ids);
    memset(out, 0, n * sizeof *out);
    if (eval_run(m, cfg, s, n, ids, N, NULL, NULL, out, &err))
        fail_msg("%s", err.msg);
    rt_model_free(m);
    for (size_t i = 0; i < n; i++)
        out[i].seconds = 0; /* so that results can be compared as bytes */
}

static eval_result measure(const char *name, int n_threads, eval_setting s) {
    eval_result r;
    measure_all(name, n_threads, &against_f32, &s, 1, &r);
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
    assert_memory_equal(&a, &b, sizeof a);
}

static void eval_without_baseline_has_no_divergence(void **state) {
    (void)state;
    const eval_cfg alone = {.ctx = CTX, .chunks = CHUNKS, .baseline = EVAL_NO_BASELINE};
    eval_setting s = setting(KV_Q4_0, 0);
    eval_result with = measure("llama", 1, s), without;
    measure_all("llama", 1, &alone, &s, 1, &without);
    assert_true(with.ppl == without.ppl && isnan(without.kld) && isnan(without.kld_max) && isnan(without.dppl_percent));
}

static void eval_compares_with_any_cache(void **state) {
    (void)state;
    const eval_cfg against_q4 = {.ctx = CTX, .chunks = CHUNKS, .baseline = KV_Q4_0};
    const eval_setting s[] = {setting(KV_Q4_0, 0), setting(KV_F32, 0)};
    eval_result r[2], q4 = measure("llama", 1, s[0]);
    measure_all("llama", 1, &against_q4, s, 2, r);
    assert_true(r[0].kld == 0 && r[0].ppl == q4.ppl && r[0].ppl_base == q4.ppl);
    assert_true(r[1].kld > 0 && r[1].kld != q4.kld && r[1].ppl == q4.ppl_base);
}

static void eval_of_several_is_each_alone(void **state) {
    (void)state;
    const eval_setting s[] = {setting(KV_Q4_0, 0), setting(KV_Q4_0, 64), setting(KV_F32, 0), setting(KV_Q8_0, 0)};
    eval_result all[4], one;
    measure_all("gemma3", 2, &against_f32, s, 4, all);
    for (size_t i = 0; i < 4; i++) {
        measure_all("gemma3", 2, &against_f32, &s[i], 1, &one);
        assert_memory_equal(&all[i], &one, sizeof one);
    }
    assert_true(all[0].kld > all[1].kld && all[0].kld > all[3].kld && all[2].kld == 0);
}

static bool never_back(void *user, double done) {
    double *last = user;
    bool forward = done >= *last && done <= 1;
    *last = done;
    return forward;
}

static void eval_in_groups_is_the_same(void **state) {
    (void)state;
    const eval_setting s[] = {setting(KV_Q4_0, 0), setting(KV_Q8_0, 0), setting(KV_F16, 0)};
    rt_model *m = open_tiny("llama", 1);
    int32_t ids[N];
    kv_err err = {0};
    eval_result all[3], grouped[3];
    eval_cfg cfg = against_f32;
    make_tokens(m, ids);
    measure_all("llama", 1, &cfg, s, 3, all);
    for (int per_group = 1; per_group <= 2; per_group++) {
        double last = 0;
        cfg.cache_bytes = per_group == 1 ? 1 : all[0].kv_bytes + all[1].kv_bytes;
        assert_int_equal(eval_run(m, &cfg, s, 3, ids, N, never_back, &last, grouped, &err), KV_OK);
        assert_true(last == 1);
        for (size_t i = 0; i < 3; i++) {
            grouped[i].seconds = 0;
            assert_memory_equal(&all[i], &grouped[i], sizeof *all);
        }
    }
    rt_model_free(m);
}

static void eval_percentiles_are_interpolated(void **state) {
    (void)state;
    const double v[] = {1, 2, 4, 8, 16};
    assert_true(eval_percentile(v, 5, 0) == 1 && eval_percentile(v, 5, 0.5) == 4 && eval_percentile(v, 5, 1) == 16);
    assert_true(eval_percentile(v, 5, 0.125) == 1.5 && fabs(eval_percentile(v, 5, 0.9) - 12.8) < 1e-12);
    assert_true(eval_percentile(v, 1, 0.999) == 1);
}

static void eval_percentiles_are_in_order(void **state) {
    (void)state;
    eval_result r = measure("llama", 1, setting(KV_Q4_0, 0));
    assert_true(0 < r.kld_p50 && r.kld_p50 < r.kld_p90 && r.kld_p90 < r.kld_p99 && r.kld_p99 < r.kld_p999);
    assert_true(r.kld_p999 < r.kld_max && r.kld_p50 < r.kld * 1.5 && r.kld < r.kld_max);
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
    eval_result r[2];
    double done = -1;
    make_tokens(m, ids);
    eval_cfg cfg = against_f32;
    eval_setting s[] = {setting(KV_F16, 0), setting(KV_TC, 0)};
    assert_int_equal(eval_run(m, &cfg, s, 1, ids, CTX - 1, NULL, NULL, r, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "149 tokens"));
    cfg.chunks = CHUNKS + 1;
    assert_int_equal(eval_run(m, &cfg, s, 1, ids, N, NULL, NULL, r, &err), KV_ERANGE);
    cfg.chunks = 0;
    assert_int_equal(eval_run(m, &cfg, s, 1, ids, N, refuse, &done, r, &err), KV_ECANCEL);
    assert_true(done > 0 && done < 0.5);
    done = -1;
    s[1].name = "calibrated";
    assert_int_equal(eval_run(m, &cfg, s, 2, ids, N, refuse, &done, r, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "setting 'calibrated': "));
    assert_true(done == -1);
    cfg.ctx = 2;
    assert_int_equal(eval_run(m, &cfg, s, 1, ids, N, NULL, NULL, r, &err), KV_EINVAL);
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eval_agrees_with_the_definition),
        cmocka_unit_test(eval_f32_loses_nothing),
        cmocka_unit_test(eval_window_helps),
        cmocka_unit_test(eval_is_thread_independent),
        cmocka_unit_test(eval_without_baseline_has_no_divergence),
        cmocka_unit_test(eval_compares_with_any_cache),
        cmocka_unit_test(eval_of_several_is_each_alone),
        cmocka_unit_test(eval_in_groups_is_the_same),
        cmocka_unit_test(eval_percentiles_are_interpolated),
        cmocka_unit_test(eval_percentiles_are_in_order),
        cmocka_unit_test(eval_refuses_and_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
