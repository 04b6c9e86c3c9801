#include "support.h"

#include "base/atomic_file.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

enum { SLICE = 64 };

static double log_sum_exp(const float *x, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i] - max);
    return max + log(sum);
}

static void add_position(agreement *a, const json_t *top, const float *logits, size_t n_vocab, double lse) {
    const json_t *first = json_array_get(top, 0), *second = json_array_get(top, 1);
    const size_t id = (size_t)json_integer_value(json_array_get(first, 0));
    const double ref = json_number_value(json_array_get(first, 1));
    assert_true(id < n_vocab);
    const double diff = fabs(logits[id] - lse - ref);
    size_t best = 0;
    for (size_t i = 1; i < n_vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    a->mean_abs += diff;
    a->max_abs = diff > a->max_abs ? diff : a->max_abs;
    a->top1 += best == id;
    a->n++;
    if (ref - json_number_value(json_array_get(second, 1)) >= 0.1) {
        a->firm_top1 += best == id;
        a->n_firm++;
    }
}

static void compare_chunk(rt_ctx *c, const tok *t, const json_t *chunk, size_t n_vocab, agreement *a, double *nll,
                          size_t *n_nll) {
    const json_t *tokens = json_object_get(chunk, "tokens"), *scored = json_object_get(chunk, "scored");
    const size_t n = json_array_size(tokens);
    int32_t *ids = calloc(n, sizeof *ids);
    float *logits = malloc(SLICE * n_vocab * sizeof *logits);
    kv_err err = {0};
    size_t next = 0;
    assert_true(n > 0 && json_array_size(scored) > 0);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    if (tok_add_bos(t)) /* the protocol of llama.cpp's perplexity tool */
        ids[0] = tok_bos(t);
    rt_ctx_clear(c);
    for (size_t at = 0; at < n; at += SLICE) {
        const uint32_t step = n - at < SLICE ? (uint32_t)(n - at) : SLICE;
        if (rt_forward(c, ids + at, step, step, logits, &err))
            fail_msg("%s", err.msg);
        for (size_t i = 0; i < step; i++) {
            const float *row = logits + i * n_vocab;
            const double lse = log_sum_exp(row, n_vocab);
            const json_t *s = json_array_get(scored, next);
            if (s && (size_t)json_integer_value(json_object_get(s, "pos")) == at + i) {
                add_position(a, json_object_get(s, "top"), row, n_vocab, lse);
                next++;
            }
            if (at + i >= n / 2 && at + i + 1 < n) {
                *nll += lse - row[ids[at + i + 1]];
                ++*n_nll;
            }
        }
    }
    assert_int_equal(next, json_array_size(scored));
    free(ids);
    free(logits);
}

agreement compare_with_reference(const char *model_path, const char *ref_path, const char *cpu, int n_threads, bool exact,
                                 uint32_t n_batch) {
    agreement a = {0};
    json_error_t je;
    kv_err err = {0};
    rt_exec e;
    rt_model *m;
    rt_ctx *c;
    json_t *ref = json_load_file(ref_path, 0, &je);
    if (!ref)
        fail_msg("%s:%d: %s", ref_path, je.line, je.text);
    const json_t *chunks = json_object_get(ref, "chunks"), *ppl = json_object_get(ref, "perplexity");
    size_t longest = 0;
    for (size_t i = 0; i < json_array_size(chunks); i++) {
        size_t n = json_array_size(json_object_get(json_array_get(chunks, i), "tokens"));
        longest = n > longest ? n : longest;
    }
    if (rt_exec_init(&e, cpu, n_threads, exact, &err) || rt_model_load(model_path, &e, &m, &err))
        fail_msg("%s", err.msg);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = (uint32_t)longest;
    cfg.n_batch = n_batch;
    cfg.ctk = cfg.ctv = exact ? KV_F32 : KV_F16;
    if (rt_ctx_new(m, &cfg, &c, &err))
        fail_msg("%s", err.msg);

    double nll = 0;
    size_t n_nll = 0;
    for (size_t i = 0; i < json_array_size(chunks); i++)
        compare_chunk(c, rt_model_tok(m), json_array_get(chunks, i), rt_model_hparams(m)->n_vocab, &a, &nll, &n_nll);
    a.mean_abs /= (double)a.n;
    a.top1 /= (double)a.n;
    a.firm_top1 /= (double)a.n_firm;
    a.ppl = exp(nll / (double)n_nll);
    a.ref_ppl = json_is_string(ppl) ? strtod(json_string_value(ppl), NULL) : json_number_value(ppl);
    printf("%s%s: mean |d logprob| %.5f, max %.4f, top-1 %.2f %% (%.2f %% where it is clear), ppl %.4f (reference %.4f), %zu "
           "positions\n",
           ref_path, exact ? " exact" : "", a.mean_abs, a.max_abs, 100 * a.top1, 100 * a.firm_top1, a.ppl, a.ref_ppl, a.n);
    rt_ctx_free(c);
    rt_model_free(m);
    json_decref(ref);
    return a;
}

rt_model *load_test_model(const char *name, const char *cpu, int n_threads) {
    char path[4096];
    kv_err err = {0};
    rt_exec e;
    rt_model *m = NULL;
    snprintf(path, sizeof path, "%s/%s.gguf", KV_TEST_DATA, name);
    if (rt_exec_init(&e, cpu, n_threads, false, &err) || rt_model_load(path, &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

void draw_ids(const rt_model *m, uint32_t seed, int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)(((uint64_t)seed * rt_model_hparams(m)->n_vocab) >> 32);
    }
}

rt_session *new_test_session(const rt_model *m, const rt_ctx_cfg *cfg) {
    kv_err err = {0};
    rt_session *s = NULL;
    if (rt_session_new(m, cfg, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

bool cache_suits(const rt_model *m, const rt_ctx_cfg *cfg) {
    kv_err err = {0};
    rt_session *s = NULL;
    if (!rt_session_new(m, cfg, &s, &err)) {
        rt_session_free(s);
        return true;
    }
    if (!strstr(err.msg, "head_dim"))
        fail_msg("%s", err.msg);
    return false;
}

void read_test_ids(rt_session *s, const int32_t *ids, size_t n) {
    kv_err err = {0};
    if (rt_session_add(s, ids, n, &err) || rt_session_read(s, NULL, NULL, &err))
        fail_msg("%s", err.msg);
}

void assert_same_files(const char *a, const char *b) {
    char *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    kv_err err;
    if (file_read(a, 1 << 30, &x, &n, &err) || file_read(b, 1 << 30, &y, &m, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}
