/* Every type of weights through the whole model: exact runs of a tiny model equal those of its twin, whose weights are the same
 * numbers in F32, bit for bit, forward and backward. (That fast runs come close: test_reference.c.) */
#include "backward/backward.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { N = 70, ALIGN = 32 };

static const char *const models[] = {"llama-iq", "llama-rope-freqs", "qwen3", "gemma3"};

static void put(FILE *f, const void *data, size_t n) {
    assert_int_equal(fwrite(data, 1, n, f), n);
}

static void put_string(FILE *f, gguf_str s) {
    put(f, &(uint64_t){s.len}, 8);
    put(f, s.s, s.len);
}

static size_t elements(const gguf_tensor *t) {
    return (size_t)(t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]);
}

static void put_infos(FILE *f, const gguf *g) {
    uint64_t offset = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        put_string(f, t->name);
        put(f, &t->n_dims, 4);
        put(f, t->dims, 8 * t->n_dims);
        put(f, &(uint32_t){QT_F32}, 4);
        put(f, &offset, 8);
        offset += (elements(t) * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
    }
}

static void put_padding(FILE *f) {
    static const char zeros[ALIGN];
    put(f, zeros, (size_t)(-ftell(f) & (ALIGN - 1)));
}

/* The same model with all tensors in F32. */
static void write_twin(const char *path, const char *twin) {
    kv_err err = {0};
    gguf *g;
    FILE *f = fopen(twin, "wb");
    assert_non_null(f);
    if (gguf_open(path, &g, &err))
        fail_msg("%s", err.msg);
    put(f, "GGUF\3\0\0\0", 8);
    put(f, &(uint64_t){gguf_n_tensors(g)}, 8);
    put(f, &(uint64_t){gguf_n_kv(g)}, 8);
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        const char *begin = kv->key.s - 8; /* as it lies in the file */
        put(f, begin, (size_t)((const char *)kv->raw + kv->raw_bytes - begin));
    }
    put_infos(f, g);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        float *w = malloc(elements(t) * sizeof *w);
        assert_non_null(w);
        t->type->dequant(t->data, w, elements(t));
        put_padding(f);
        put(f, w, elements(t) * sizeof *w);
        free(w);
    }
    gguf_close(g);
    assert_int_equal(fclose(f), 0);
}

static rt_model *load(const char *path, bool exact) {
    kv_err err = {0};
    rt_exec e;
    rt_model *m = NULL;
    if (rt_exec_init(&e, NULL, 2, exact, &err) || rt_model_load(path, &e, &m, &err))
        fail_msg("%s", err.msg);
    return m;
}

static uint32_t vocab(const rt_model *m) {
    return rt_model_hparams(m)->n_vocab;
}

static void fill_tokens(const rt_model *m, int32_t *ids) {
    uint32_t x = 99;
    for (int i = 0; i < N; i++) {
        x = x * 1664525u + 1013904223u;
        ids[i] = (int32_t)((x >> 8) % vocab(m));
    }
}

/* Logits of all N positions: caller frees. */
static float *logits_of(const rt_model *m) {
    kv_err err = {0};
    rt_ctx *c;
    int32_t ids[N];
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = 128;
    cfg.n_batch = 64;
    float *out = malloc(N * vocab(m) * sizeof *out);
    assert_non_null(out);
    fill_tokens(m, ids);
    if (rt_ctx_new(m, &cfg, &c, &err))
        fail_msg("%s", err.msg);
    for (uint32_t at = 0; at < N; at += N / 2)
        if (rt_forward(c, ids + at, N / 2, N / 2, out + at * vocab(m), &err))
            fail_msg("%s", err.msg);
    rt_ctx_free(c);
    return out;
}

typedef struct gradients {
    float *dk, *dv;  /* of one layer after the other, as they come */
    size_t len, dim; /* dim: of a token */
} gradients;

static void take(void *user, const rt_backward_view *v) {
    gradients *g = user;
    const size_t n = v->n * g->dim;
    g->dk = realloc(g->dk, (g->len + n) * sizeof *g->dk);
    g->dv = realloc(g->dv, (g->len + n) * sizeof *g->dv);
    assert_true(g->dk && g->dv);
    memcpy(g->dk + g->len, v->dk, n * sizeof *g->dk);
    memcpy(g->dv + g->len, v->dv, n * sizeof *g->dv);
    g->len += n;
}

static gradients gradients_of(const rt_model *m) {
    kv_err err = {0};
    const rt_hparams *hp = rt_model_hparams(m);
    gradients g = {.dim = (size_t)hp->n_kv_head * hp->head_dim};
    int32_t ids[N];
    rt_backward_cfg cfg = {.seed = 1, .tap = take, .tap_user = &g};
    fill_tokens(m, ids);
    if (rt_backward(m, ids, N, &cfg, &err))
        fail_msg("%s", err.msg);
    return g;
}

static void types_equal_their_f32_twins(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const char *tmp = getenv("TMPDIR");
        char path[4096], twin[4096];
        snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, models[i]);
        snprintf(twin, sizeof twin, "%s/kv-test-types-XXXXXX", tmp ? tmp : P_tmpdir);
        close(mkstemp(twin));
        write_twin(path, twin);
        rt_model *m = load(path, true), *f32 = load(twin, true);
        float *have = logits_of(m), *want = logits_of(f32);
        assert_memory_equal(have, want, N * vocab(m) * sizeof *have);
        gradients a = gradients_of(m), b = gradients_of(f32);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.dk, b.dk, a.len * sizeof *a.dk);
        assert_memory_equal(a.dv, b.dv, a.len * sizeof *a.dv);
        free(have);
        free(want);
        free(a.dk);
        free(a.dv);
        free(b.dk);
        free(b.dv);
        rt_model_free(m);
        rt_model_free(f32);
        unlink(twin);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(types_equal_their_f32_twins)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
