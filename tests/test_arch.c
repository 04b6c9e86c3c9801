/* Architectures on tiny models of each (tests/reference/make_arch.py): log-probabilities of an independent implementation,
 * which agrees with llama.cpp; gradients against differences; every codec, batch size and instruction set. */
#include "backward/backward.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static const char *const names[] = {
    "llama-linear",
    "llama-scale-linear",
    "llama-yarn",
    "llama-ffn-bias",
    "mistral3",
    "phi3",
    "phi3-longrope",
    "gemma2",
    "granite",
    "llama-dim-100",
    "llama-narrow-values",
    "llama-experts",
    "granitemoe",
    "qwen2moe",
    "qwen3moe",
    "smollm3",
    "olmo2",
    "olmo2-window",
    "exaone4",
    "starcoder2",
    "stablelm",
    "stablelm-parallel",
    "command-r",
    "cohere2",
    "glm4",
    "seed_oss",
    "ernie4_5",
    "hunyuan-dense",
    "hunyuan-moe",
    "exaone-moe",
    "ernie4_5-moe",
    "glm4moe",
    "dots1",
    "bailingmoe2",
    "deci",
    "openelm",
    "llama-wide-values",
    "llama-dim-18",
    "llama-shared-kv",
};
enum { NAMES = sizeof names / sizeof *names, N = 96 };

static const char *path_of(const char *name, const char *end, char buf[4096]) {
    snprintf(buf, 4096, "%s/arch/%s.%s", KV_TEST_DATA, name, end);
    return buf;
}

static rt_model *load(const char *name, const char *cpu, int n_threads, bool exact) {
    char path[4096];
    kv_err err = {0};
    rt_exec e;
    rt_model *m = NULL;
    if (rt_exec_init(&e, cpu, n_threads, exact, &err) || rt_model_load(path_of(name, "gguf", path), &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static void log_probabilities_match(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        char model[4096], ref[4096];
        path_of(names[i], "gguf", model);
        path_of(names[i], "json", ref);
        agreement a = compare_with_reference(model, ref, NULL, 2, true, 0);
        assert_true(a.mean_abs < 2e-4 && a.max_abs < 2e-3 && a.top1 == 1);
        a = compare_with_reference(model, ref, NULL, 2, false, 0); /* int8 activations, f16 cache */
        assert_true(a.mean_abs < 0.15 && a.top1 > 0.8);
    }
}

/* ---- gradients ---- */

typedef struct grads {
    const rt_hparams *hp;
    float *dk, *dv; /* (n_layer, N, n_kv_head, head_dim); of layers with fewer heads (N, their own, head_dim) */
} grads;

static void take(void *user, const rt_backward_view *v) {
    const grads *g = user;
    const size_t all = (size_t)N * g->hp->n_kv_head * g->hp->head_dim;
    const size_t len = (size_t)N * rt_layer_stored(g->hp, v->layer) * g->hp->head_dim;
    assert_true(g->hp->kv_heads[v->layer] > 0 && !v->k == !len && !v->dv == !len);
    if (len) {
        memcpy(g->dk + v->layer * all, v->dk, len * sizeof(float));
        memcpy(g->dv + v->layer * all, v->dv, len * sizeof(float));
    }
}

static void read_ids(const json_t *list, int32_t *out) {
    assert_int_equal(json_array_size(list), N);
    for (size_t i = 0; i < N; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(list, i));
}

static double item(const json_t *list, size_t i) {
    return json_number_value(json_array_get(list, i));
}

static void gradients_match_differences(void **state) {
    (void)state;
    for (size_t i = 0; i < NAMES; i++) {
        char path[4096];
        kv_err err = {0};
        json_error_t je;
        int32_t tokens[N], targets[N];
        json_t *ref = json_load_file(path_of(names[i], "json", path), 0, &je);
        if (!ref)
            fail_msg("%s:%d: %s", path, je.line, je.text);
        read_ids(json_object_get(json_array_get(json_object_get(ref, "chunks"), 0), "tokens"), tokens);
        read_ids(json_object_get(ref, "targets"), targets);
        rt_model *m = load(names[i], NULL, 2, true);
        const rt_hparams *hp = rt_model_hparams(m);
        const size_t row = (size_t)hp->n_kv_head * hp->head_dim;
        grads g = {hp, malloc(hp->n_layer * N * row * sizeof(float)), malloc(hp->n_layer * N * row * sizeof(float))};
        const rt_backward_cfg cfg = {.targets = targets, .tap = take, .tap_user = &g};
        if (rt_backward(m, tokens, N, &cfg, &err))
            fail_msg("%s: %s", names[i], err.msg);
        const json_t *list = json_object_get(ref, "gradients");
        double diff = 0, norm = 0;
        for (size_t j = 0; j < json_array_size(list); j++) {
            const json_t *d = json_array_get(list, j);
            const float *of = !strcmp(json_string_value(json_array_get(d, 1)), "k") ? g.dk : g.dv;
            const size_t heads = rt_layer_stored(hp, (uint32_t)item(d, 0));
            const size_t at = (size_t)item(d, 0) * N * row + ((size_t)item(d, 2) * heads + (size_t)item(d, 3)) * hp->head_dim +
                              (size_t)item(d, 4);
            const double want = item(d, 5), got = (double)of[at];
            diff += (got - want) * (got - want);
            norm += want * want;
        }
        printf("%s: relative difference of %zu derivatives %.2g\n", names[i], json_array_size(list), sqrt(diff / norm));
        assert_true(json_array_size(list) >= 6 && norm > 0 && sqrt(diff / norm) < 1e-4);
        free(g.dk);
        free(g.dv);
        rt_model_free(m);
        json_decref(ref);
    }
}

/* ---- the same answer however it is computed ---- */

/* Lossy where heads have whole runs of 32. */
static int codec_of(const rt_model *m) {
    return rt_model_hparams(m)->head_dim % 32 ? KV_F16 : KV_Q4_0;
}

static uint64_t run(const char *name, const char *cpu, int n_threads, uint32_t batch, int codec, float *logits) {
    kv_err err = {0};
    rt_ctx *c;
    rt_model *m = load(name, cpu, n_threads, false);
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = N;
    cfg.n_batch = 64;
    cfg.ctk = cfg.ctv = codec;
    cfg.window = 10;
    cfg.sinks = 4;
    if (rt_ctx_new(m, &cfg, &c, &err))
        fail_msg("%s: %s", name, err.msg);
    int32_t ids[N];
    for (int i = 0; i < N; i++)
        ids[i] = (i * i * 7 + 13 * i + 5) % 250 + 4;
    for (uint32_t at = 0; at < N; at += batch)
        if (rt_forward(c, ids + at, N - at < batch ? N - at : batch, 1, logits, &err))
            fail_msg("%s: %s", name, err.msg);
    const uint64_t digest = kv_cache_digest(rt_ctx_cache(c));
    rt_ctx_free(c);
    rt_model_free(m);
    return digest;
}

static void answers_do_not_depend_on_batches_and_processors(void **state) {
    (void)state;
    enum { VOCAB = 512, SOME = 250 };
    for (size_t i = 0; i < NAMES; i++) {
        float want[VOCAB], got[VOCAB];
        rt_model *m = load(names[i], NULL, 1, false);
        const int codec = codec_of(m);
        rt_model_free(m);
        const uint64_t digest = run(names[i], "scalar", 1, 1, codec, want);
        assert_true(run(names[i], NULL, 2, 7, codec, got) == digest && !memcmp(want, got, SOME * sizeof *want));
        assert_true(run(names[i], NULL, 1, 64, codec, got) == digest && !memcmp(want, got, SOME * sizeof *want));
    }
}

/* ---- layers that store nothing ---- */

static rt_ctx *open_windowed(rt_model *m, kv_budget budget, kv_err *err) {
    rt_ctx *c = NULL;
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = N;
    cfg.n_batch = 32;
    cfg.ctk = cfg.ctv = codec_of(m);
    cfg.window = 8;
    cfg.sinks = 2;
    cfg.recent = 1;
    cfg.budget = budget;
    rt_ctx_new(m, &cfg, &c, err);
    return c;
}

/* A cache costs what its layers store: of those that read another's, the f16 copies of a window alone. */
static void caches_cost_what_layers_store(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint32_t kv_heads; /* of all layers */
    } rows[] = {{"deci", 2 + 1 + 4}, {"openelm", 2 + 2 + 4}, {"llama-shared-kv", 2 + 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kv_err err = {0};
        rt_model *m = load(rows[i].name, NULL, 1, false);
        const rt_hparams *hp = rt_model_hparams(m);
        rt_ctx *c = open_windowed(m, (kv_budget){0}, &err);
        assert_non_null(c);
        const kv_cache_info info = kv_cache_get_info(rt_ctx_cache(c));
        assert_int_equal(rt_stored_heads(hp), rows[i].kv_heads);
        assert_int_equal(info.bytes_f16, (size_t)rows[i].kv_heads * 128 * hp->head_dim * 2 * 2); /* whole blocks of 64 */
        rt_ctx_free(c);
        rt_model_free(m);
    }
}

/* Back to where a checkpoint was, and to where none is needed; then on again with the same bits. */
static void sequences_go_back_exactly(void **state) {
    (void)state;
    enum { VOCAB = 512, AT = 40 };
    static const char *const sparse[] = {"deci", "openelm", "llama-shared-kv"};
    for (size_t i = 0; i < sizeof sparse / sizeof *sparse; i++) {
        float want[VOCAB], got[VOCAB];
        uint32_t reached;
        int32_t ids[N];
        kv_err err = {0};
        rt_model *m = load(sparse[i], NULL, 2, false);
        const size_t row = rt_model_hparams(m)->n_vocab * sizeof *want;
        rt_ctx *c = open_windowed(m, (kv_budget){0}, &err);
        assert_true(c && row <= sizeof want);
        for (int t = 0; t < N; t++)
            ids[t] = (t * 31 + 7) % 250 + 4;
        assert_int_equal(rt_prefill(c, ids, AT, NULL, &err), KV_OK);
        assert_int_equal(rt_seq_checkpoint(rt_ctx_seq(c), NULL, &err), KV_OK);
        assert_int_equal(rt_prefill(c, ids + AT, N - AT, want, &err), KV_OK);
        for (uint32_t back = 0; back < 2; back++) {
            const uint32_t to = back ? AT : N - 1;
            rt_seq_go_back(rt_ctx_seq(c), to, &reached);
            assert_int_equal(reached, to);
            assert_int_equal(rt_prefill(c, ids + to, N - to, got, &err), KV_OK);
            assert_memory_equal(want, got, row);
        }
        rt_ctx_free(c);
        rt_model_free(m);
    }
}

/* Tokens that one layer lets go of would be missed by those that read it. */
static void shared_caches_take_no_budget(void **state) {
    (void)state;
    kv_err err = {0};
    rt_model *m = load("llama-shared-kv", NULL, 1, false);
    assert_null(open_windowed(m, (kv_budget){.tokens = 80}, &err));
    assert_non_null(strstr(err.msg, "layer 2 reads the keys and values of an earlier one: a budget is not supported"));
    rt_model_free(m);
    m = load("deci", NULL, 1, false);
    rt_ctx *c = open_windowed(m, (kv_budget){.tokens = 80}, &err);
    if (!c)
        fail_msg("%s", err.msg);
    for (int32_t t = 0; t < N; t++)
        assert_int_equal(rt_prefill(c, &t, 1, NULL, &err), KV_OK);
    assert_true(kv_cache_get_info(rt_ctx_cache(c)).held <= 80);
    rt_ctx_free(c);
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caches_cost_what_layers_store), cmocka_unit_test(sequences_go_back_exactly),
        cmocka_unit_test(shared_caches_take_no_budget),  cmocka_unit_test(log_probabilities_match),
        cmocka_unit_test(gradients_match_differences),   cmocka_unit_test(answers_do_not_depend_on_batches_and_processors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
