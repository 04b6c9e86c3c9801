/* Scales folded into the weights of tiny models: what the models compute, what a file with them holds, and the way back. */
#include "base/atomic_file.h"
#include "model/fold.h"
#include "profile/profile.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { READ = 24 };

/* Between them: adjacent pairs and pairs of halves, heads that rotate in part or not at all, biases, every kind of norm of
 * keys, queries and keys in one tensor, keys that later layers share, layers without attention, quantised blocks. */
static const char *const models[] = {"tiny/llama",
                                     "tiny/qwen2",
                                     "tiny/qwen3",
                                     "tiny/gemma3",
                                     "arch/phi3",
                                     "arch/stablelm",
                                     "arch/command-r",
                                     "arch/olmo2",
                                     "arch/hunyuan-dense",
                                     "arch/exaone4",
                                     "arch/glm4",
                                     "arch/glm4moe",
                                     "arch/deci",
                                     "arch/llama-dim-18",
                                     "arch/llama-dim-100",
                                     "arch/llama-shared-kv",
                                     "arch/llama-wide-values",
                                     "arch/smollm3",
                                     "arch/openelm",
                                     "arch/starcoder2"};
enum { N_MODELS = sizeof models / sizeof *models };

static const char *path_of(const char *name, char path[512]) {
    snprintf(path, 512, "%s/%s.gguf", KV_TEST_DATA, name);
    return path;
}

/* Exponents that obey the ties, -3..3. */
static int8_t *draw(const gguf *g, const rt_hparams *hp) {
    int8_t *e = calloc(rt_fold_count(hp), 1);
    uint16_t unit[PROF_MAX_DIM];
    const uint32_t n = rt_fold_units(hp, unit);
    uint32_t seed = 1;
    assert_non_null(e);
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        int8_t of[PROF_MAX_DIM];
        for (uint32_t h = 0; h < hp->n_kv_head; h++) {
            for (uint32_t u = 0; u < n && (!h || !rt_fold_shared(g, hp, l)); u++) {
                seed = seed * 1664525u + 1013904223u;
                of[u] = (int8_t)((int)(seed >> 8) % 7 - 3);
            }
            for (uint32_t i = 0; i < hp->head_dim; i++)
                if (unit[i] != RT_FOLD_NONE)
                    e[((size_t)l * hp->n_kv_head + h) * hp->head_dim + i] = of[unit[i]];
        }
    }
    return e;
}

static kv_status fold(void *user, gguf *g, kv_err *err) {
    rt_hparams hp;
    (void)user;
    if (rt_hparams_read(g, &hp, err))
        fail_msg("%s", err->msg);
    int8_t *e = draw(g, &hp);
    bool any = false;
    const kv_status st = rt_fold_apply(g, &hp, e, NULL, err);
    for (size_t i = 0; i < rt_fold_count(&hp); i++)
        any |= e[i] != 0;
    assert_true(any);
    free(e);
    return st;
}

/* Logits after READ ids with an f32 cache and exact products. */
static float *run(const char *name, bool folded, uint32_t *n) {
    char path[512];
    kv_err err = {0};
    rt_exec exec;
    rt_model *m = NULL;
    rt_ctx *ctx = NULL;
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    int32_t ids[READ];
    const rt_load_cfg load = {.edit = folded ? fold : NULL};
    if (rt_exec_init(&exec, NULL, 1, true, &err) || rt_model_load_cfg(path_of(name, path), &exec, &load, &m, &err))
        fail_msg("%s", err.msg);
    cfg.n_ctx = cfg.n_batch = READ;
    cfg.ctk = cfg.ctv = KV_F32;
    *n = rt_model_hparams(m)->n_vocab;
    float *logits = malloc(*n * sizeof *logits);
    draw_ids(m, 7, ids, READ);
    if (rt_ctx_new(m, &cfg, &ctx, &err) || rt_forward(ctx, ids, READ, 1, logits, &err))
        fail_msg("%s", err.msg);
    rt_ctx_free(ctx);
    rt_model_free(m);
    return logits;
}

/* To the bit: powers of two change no digit, but for weights in f16 (tiny/llama has them) that are too small to be normal. */
static void rt_fold_apply_leaves_what_is_computed(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        uint32_t n;
        float *a = run(models[i], false, &n), *b = run(models[i], true, &n);
        for (uint32_t j = 0; j < n; j++)
            if (a[j] != b[j] && (i || fabsf(a[j] - b[j]) > 1e-5f))
                fail_msg("%s: is another model: %g became %g", models[i], (double)a[j], (double)b[j]);
        free(a);
        free(b);
    }
}

static gguf *must_open(const char *path) {
    gguf *g = NULL;
    kv_err err;
    if (gguf_open(path, &g, &err))
        fail_msg("%s", err.msg);
    return g;
}

/* Fold `name` into the file `out`. */
static void write_folded(const char *name, const char *out, char original[33]) {
    char path[512];
    kv_err err;
    rt_hparams hp;
    rt_fold_undo undo = {0};
    gguf *g = must_open(path_of(name, path));
    assert_int_equal(rt_hparams_read(g, &hp, &err), KV_OK);
    assert_int_equal(gguf_model_hash(g, original, &err), KV_OK);
    int8_t *e = draw(g, &hp);
    assert_int_equal(rt_fold_apply(g, &hp, e, &undo, &err), KV_OK);
    const gguf_set keys[] = {{RT_FOLD_ORIGINAL, GGUF_STRING, original, 32},
                             {RT_FOLD_SCALES, GGUF_ARRAY, e, rt_fold_count(&hp)},
                             {RT_FOLD_UNDO, GGUF_ARRAY, undo.frame, undo.len}};
    if (prof_pack_with(g, NULL, keys, 3, out, &err))
        fail_msg("%s", err.msg);
    free(e);
    free(undo.frame);
    gguf_close(g);
}

static void rt_fold_take_back_gives_the_same_bytes(void **state) {
    (void)state;
    for (int i = 0; i < N_MODELS; i++) {
        char path[512], original[33], hash[33];
        kv_err err;
        rt_hparams hp;
        write_folded(models[i], "folded.gguf", original);
        gguf *g = must_open("folded.gguf");
        assert_true(rt_folded(g));
        assert_int_equal(rt_hparams_read(g, &hp, &err), KV_OK);
        assert_string_equal(hp.folded_from, original);
        assert_int_equal(gguf_model_hash(g, hash, &err), KV_OK);
        assert_string_not_equal(hash, original);
        if (rt_fold_take_back(g, &hp, &err) || gguf_copy(g, "back.gguf", PROF_GGUF_PREFIX, NULL, 0, &err))
            fail_msg("%s: %s", models[i], err.msg);
        gguf_close(g);
        assert_same_files(path_of(models[i], path), "back.gguf");
    }
}

/* A profile in place of another: what undoes a folding stays. */
static void prof_pack_keeps_what_was_folded(void **state) {
    (void)state;
    char original[33];
    kv_err err;
    rt_hparams hp;
    prof *p = NULL;
    static const char text[] = "version: 3\npolicy: {sinks: 4, window: 64, k: q8_0, v: q8_0}\n";
    write_folded("tiny/qwen2", "folded.gguf", original);
    assert_int_equal(prof_parse(text, sizeof text - 1, "text", &p, &err), KV_OK);
    gguf *g = must_open("folded.gguf");
    if (prof_pack(g, p, "packed.gguf", &err))
        fail_msg("%s", err.msg);
    gguf_close(g);
    prof_free(p);
    g = must_open("packed.gguf");
    assert_true(prof_is_in_gguf(g));
    assert_int_equal(rt_hparams_read(g, &hp, &err), KV_OK);
    if (rt_fold_take_back(g, &hp, &err))
        fail_msg("%s", err.msg);
    gguf_close(g);
}

static void rt_fold_refuses_what_it_cannot_do(void **state) {
    (void)state;
    char original[33];
    kv_err err;
    rt_hparams hp;
    char path[512];
    gguf *g = must_open(path_of("tiny/llama-iq", path)); /* MXFP4 */
    assert_int_equal(rt_hparams_read(g, &hp, &err), KV_OK);
    int8_t *e = calloc(rt_fold_count(&hp), 1);
    assert_int_equal(rt_fold_apply(g, &hp, e, NULL, &err), KV_EUNSUPP);
    assert_non_null(strstr(err.msg, "blk.1.attn_k.weight"));
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        assert_false(gguf_tensor_at(g, i)->edited);
    gguf_close(g);
    free(e);
    write_folded("tiny/qwen2", "folded.gguf", original);
    g = must_open("folded.gguf");
    assert_int_equal(rt_hparams_read(g, &hp, &err), KV_OK);
    e = calloc(rt_fold_count(&hp), 1);
    assert_int_equal(rt_fold_apply(g, &hp, e, NULL, &err), KV_EUNSUPP);
    assert_non_null(strstr(err.msg, "folded already"));
    free(e);
    /* bytes that undo another folding, and none at all */
    const gguf_kv *undo = gguf_find(g, RT_FOLD_UNDO), *scales = gguf_find(g, RT_FOLD_SCALES);
    const gguf_set broken[][3] = {
        {{RT_FOLD_ORIGINAL, GGUF_STRING, original, 32},
         {RT_FOLD_SCALES, GGUF_ARRAY, scales->raw, scales->raw_bytes - 1},
         {RT_FOLD_UNDO, GGUF_ARRAY, undo->raw, undo->raw_bytes}},
        {{RT_FOLD_ORIGINAL, GGUF_STRING, original, 32},
         {RT_FOLD_SCALES, GGUF_ARRAY, scales->raw, scales->raw_bytes},
         {RT_FOLD_UNDO, GGUF_ARRAY, undo->raw, undo->raw_bytes - 1}},
        {{RT_FOLD_ORIGINAL, GGUF_STRING, "0", 1},
         {RT_FOLD_SCALES, GGUF_ARRAY, scales->raw, scales->raw_bytes},
         {RT_FOLD_UNDO, GGUF_ARRAY, undo->raw, undo->raw_bytes}},
    };
    static const char *const said[] = {"dimensions", "damaged", "has been changed"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(prof_pack_with(g, NULL, broken[i], 3, "broken.gguf", &err), KV_OK);
        gguf *b = must_open("broken.gguf");
        assert_int_equal(rt_fold_take_back(b, &hp, &err), KV_EFORMAT);
        if (!strstr(err.msg, said[i]))
            fail_msg("%s", err.msg);
        gguf_close(b);
    }
    gguf_close(g);
}

/* Scales that would leave the range of f16 come nearer to 1. */
static void rt_fold_apply_stays_within_range(void **state) {
    (void)state;
    char path[512];
    kv_err err;
    rt_hparams hp;
    gguf *g = must_open(path_of("tiny/qwen2", path));
    assert_int_equal(rt_hparams_read(g, &hp, &err), KV_OK);
    const size_t n = rt_fold_count(&hp);
    int8_t *e = malloc(n);
    memset(e, PROF_FOLD_MOST, n);
    uint8_t *data;
    char name[] = "blk.0.attn_q.weight";
    const gguf_tensor *t = gguf_tensor_find(g, name);
    assert_int_equal(gguf_edit(g, name, &data, &err), KV_OK);
    qtype_multiply(t->type, data, t->dims[0] * t->dims[1], 0x1p-6); /* queries have little room below */
    if (rt_fold_apply(g, &hp, e, NULL, &err))
        fail_msg("%s", err.msg);
    int least, most, nearer = 0;
    for (size_t i = 0; i < n; i++)
        nearer += e[i] < PROF_FOLD_MOST;
    assert_true(nearer > 0);
    qtype_scale_room(t->type, t->data, t->dims[0] * t->dims[1], &least, &most);
    float *w = malloc(t->dims[0] * t->dims[1] * sizeof *w);
    t->type->dequant(t->data, w, t->dims[0] * t->dims[1]);
    for (size_t i = 0; i < t->dims[0] * t->dims[1]; i++)
        assert_true(isfinite(w[i]));
    free(w);
    free(e);
    gguf_close(g);
}

static int enter(void **state) {
    static char dir[] = "fold-XXXXXX";
    *state = mkdtemp(dir);
    return !*state || chdir(*state);
}

static int leave(void **state) {
    const char *const files[] = {"folded.gguf", "back.gguf", "packed.gguf", "broken.gguf"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
    return chdir("..") || rmdir(*state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rt_fold_apply_leaves_what_is_computed), cmocka_unit_test(rt_fold_take_back_gives_the_same_bytes),
        cmocka_unit_test(prof_pack_keeps_what_was_folded),       cmocka_unit_test(rt_fold_refuses_what_it_cannot_do),
        cmocka_unit_test(rt_fold_apply_stays_within_range),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
