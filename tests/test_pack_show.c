/* What kvpack --show prints: sizes are those of real caches, and the JSON holds what the profile holds. */
#include "kvpack/pack_show.h"
#include "profile_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

typedef kv_status (*show)(const prof *p, const rt_hparams *hp, const char *where, kv_err *err);

/* What `how` writes to stdout. Caller frees. */
static char *shown(show how, const prof *p, const rt_hparams *hp) {
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_true(saved >= 0 && dup2(fileno(file), STDOUT_FILENO) >= 0);
    kv_err err = {0};
    kv_status st = how(p, hp, "packed.gguf", &err);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    if (st != KV_OK)
        fail_msg("%s", err.msg);
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    rewind(file);
    assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
    fclose(file);
    return text;
}

static void has(const char *text, const char *const *wanted) {
    for (; *wanted; wanted++)
        if (!strstr(text, *wanted))
            fail_msg("no '%s' in\n%s", *wanted, text);
}

/* Three layers, keys of the middle one in different codecs. */
static prof *mixed(void) {
    prof *p = fixture_profile(3, 4, 2, 32);
    assert_non_null(p);
    assert_true(fixture_mix(p));
    return p;
}

static const rt_hparams shape = {.arch = "llama",
                                 .n_layer = 3,
                                 .n_head = 4,
                                 .n_kv_head = 2,
                                 .heads = {4, 4, 4},
                                 .kv_heads = {2, 2, 2},
                                 .kv_layer = {0, 1, 2},
                                 .head_dim = 32,
                                 .n_ctx_train = 2048};

static prof *parsed(const char *text) {
    prof *p;
    kv_err err;
    if (prof_parse(text, strlen(text), "t.yaml", &p, &err) != KV_OK)
        fail_msg("%s", err.msg);
    return p;
}

/* The table's figures are the bytes of caches that are really made, for a model with sliding layers. */
static void pack_show_sizes_are_real(void **state) {
    (void)state;
    kv_err err = {0};
    rt_exec e;
    rt_model *m;
    rt_ctx *c;
    prof *p = parsed("version: 2\npolicy: {sinks: 4, window: 128, k: q8_0, v: q4_0, overrides: [{layers: 2, k: q4_0}]}\n");
    if (rt_exec_init(&e, NULL, 1, false, &err) || rt_model_load(KV_TEST_DATA "/tiny/gemma3.gguf", &e, &m, &err))
        fail_msg("%s", err.msg);
    kv_cache_info told[PACK_SIZES];
    assert_int_equal(pack_sizes(p, rt_model_hparams(m), told, &err), KV_OK);
    char *text = shown(pack_show_json, p, rt_model_hparams(m));
    json_t *all = json_loads(text, 0, NULL);
    for (size_t i = 0; i < PACK_SIZES; i++) {
        assert_int_equal(pack_tokens[i], 4096u << i);
        rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
        cfg.profile = p;
        cfg.n_ctx = pack_tokens[i];
        if (rt_ctx_new(m, &cfg, &c, &err))
            fail_msg("%s", err.msg);
        const kv_cache_info real = kv_cache_get_info(rt_ctx_cache(c));
        assert_memory_equal(&told[i], &real, sizeof real);
        json_t *row = json_array_get(json_object_get(all, "cache"), i);
        assert_int_equal(json_integer_value(json_object_get(row, "bytes")), real.bytes);
        assert_int_equal(json_integer_value(json_object_get(row, "f16_bytes")), real.bytes_f16);
        assert_int_equal(json_integer_value(json_object_get(row, "tokens")), cfg.n_ctx);
        rt_ctx_free(c);
    }
    json_decref(all);
    free(text);
    rt_model_free(m);
    prof_free(p);
}

static void pack_show_counts_bytes_of_a_token(void **state) {
    (void)state;
    pack_token t;
    kv_err err = {0};
    prof *p = parsed("version: 2\npolicy: {sinks: 4, window: 128, k: q8_0, v: turbo4}\n");
    assert_int_equal(pack_token_bytes(p, &shape, &t, &err), KV_OK);
    assert_true(fabs(t.bytes - 3 * (8.5 + 4.5) * 2 * 32 / 8) < 1e-9); /* turbo4: 16 bits of norm over 32 numbers */
    assert_true(t.f16 == 3 * 2 * 2 * 32 * 2);
    assert_int_equal(pack_token_bytes(p, NULL, &t, &err), KV_OK);
    assert_true(t.bytes == 0);
    prof_free(p);
    p = mixed(); /* says its shape and bits itself: keys 4.0625, (3.5 + 8.5) / 2, 4.0625; values 2 x 3.99999 and 8.5 */
    assert_int_equal(pack_token_bytes(p, NULL, &t, &err), KV_OK);
    assert_true(fabs(t.bytes - (2 * 4.0625 + 6 + 2 * 3.99999 + 8.5) * 64 / 8) < 1e-4);
    /* with the shape at hand, the runtime counts: dims 5*8 3*8 1*15 0*1 and 8 bits of gain over 32 numbers */
    const double tc = (40 + 24 + 15 + 8) / 32.0;
    assert_int_equal(pack_token_bytes(p, &shape, &t, &err), KV_OK);
    assert_true(fabs(t.bytes - (4 * tc + (tc + 8.5) / 2 + 8.5) * 64 / 8) < 1e-6);
    prof_free(p);
}

static void pack_show_writes_json(void **state) {
    (void)state;
    prof *p = mixed();
    p->aim_bits = 3.25;
    char *text = shown(pack_show_json, p, &shape);
    json_t *all = json_loads(text, 0, NULL), *kv, *head, *entropy;
    assert_non_null(all);
    assert_string_equal(json_string_value(json_object_get(json_object_get(all, "model"), "name")), p->model_name);
    assert_true(json_number_value(json_object_get(json_object_get(all, "aim"), "bits")) == 3.25);
    json_t *layers = json_object_get(all, "layers");
    assert_int_equal(json_array_size(layers), 3);
    kv = json_object_get(json_array_get(layers, 2), "v");
    assert_string_equal(json_string_value(json_object_get(kv, "codec")), "q8_0");
    assert_true(json_number_value(json_object_get(kv, "bits")) == 8.5);
    kv = json_object_get(json_array_get(layers, 1), "k");
    assert_string_equal(json_string_value(json_object_get(kv, "codec")), "mixed");
    assert_true(json_number_value(json_object_get(kv, "bits")) == 6);
    head = json_array_get(json_object_get(kv, "heads"), 0);
    assert_true(json_number_value(json_object_get(head, "bits")) == 3.5);
    assert_string_equal(json_string_value(json_object_get(head, "dims")), "5*8 3*8 1*15 0*1");
    assert_int_equal(json_array_size(json_object_get(head, "spectrum")), PROF_SPECTRUM);
    head = json_array_get(json_object_get(kv, "heads"), 1);
    assert_string_equal(json_string_value(json_object_get(head, "codec")), "q8_0");
    assert_null(json_object_get(head, "dims"));
    entropy = json_object_get(json_array_get(layers, 1), "entropy");
    assert_int_equal(json_array_size(entropy), 4);
    assert_true(fabs(json_number_value(json_array_get(entropy, 3)) - (double)p->layers[1].entropy[3]) < 1e-6);
    json_decref(all);
    free(text);
    text = shown(pack_show_json, p, NULL);
    all = json_loads(text, 0, NULL);
    assert_true(json_is_null(json_object_get(all, "cache")));
    json_decref(all);
    free(text);
    prof_free(p);
}

static void pack_show_prints_a_row_per_layer(void **state) {
    (void)state;
    prof *p = mixed();
    char *text = shown(pack_show_text, p, &shape);
    has(text, (const char *const[]){"hash 00112233445566778899aabbccddeeff", "the first 4 and the newest 128 tokens",
                                    "KLD 0.00001", "    0  tc      4.06 ########  ", "    1  mixed   6.00 ############",
                                    "\n       K heads 3.50 tc, 8.50 q8_0\n", "q8_0    8.50 #################", "# is 0.5 bits",
                                    "980", "\n  128K     96.0 MiB", NULL});
    free(text);
    text = shown(pack_show_text, p, NULL);
    has(text, (const char *const[]){"an encoded token takes 245 bytes, in f16 768", "cache sizes depend on the model", NULL});
    assert_null(strstr(text, "128K"));
    free(text);
    prof_free(p);
}

/* A hand-written policy says its overrides; with a model at hand, what they come to. */
static void pack_show_prints_overrides(void **state) {
    (void)state;
    prof *p =
        parsed("version: 2\npolicy: {sinks: 4, window: 128, k: turbo4, v: q4_0, overrides: [{layers: 1-, heads: 1, k: q8_0}]}\n"
               "aim: {kld: 0.001}\n");
    char *text = shown(pack_show_text, p, NULL);
    has(text, (const char *const[]){"K turbo4, V q4_0 (4.5 bits), but\n", "in layers 1-, KV heads 1: K q8_0\n", "KLD 0.001\n",
                                    "bytes per token and cache sizes depend on the model", NULL});
    free(text);
    text = shown(pack_show_text, p, &shape);
    has(text, (const char *const[]){"K turbo4 (4.5 bits), V q4_0", "    0  turbo4  4.50 #########",
                                    "    2  mixed   6.50 #############", "K heads 4.50 turbo4, 8.50 q8_0\n", "times smaller\n",
                                    NULL});
    assert_null(strstr(text, " \n"));
    free(text);
    prof_free(p);
}

/* What is kept of a long context, and by which head. */
static void pack_show_tells_of_budgets(void **state) {
    (void)state;
    prof *p = mixed();
    p->evict.policy = KV_EVICT_SNAPKV;
    p->evict.budget.share = 0.25f;
    p->evict.ada = true;
    p->budget_by = PROF_BY_LOSS;
    assert_int_equal(prof_budgets_alloc(p, &p->layers[1], NULL), KV_OK);
    p->layers[1].budgets[0] = 128;
    p->layers[1].budgets[1] = 4096;
    assert_int_equal(prof_losses_alloc(p, &p->layers[1], NULL), KV_OK);
    p->layers[1].losses[KV_CUTS] = 0.25f;
    prof_round(p);
    char *text = shown(pack_show_text, p, &shape);
    has(text,
        (const char *const[]){"\neviction  keeps 25% of a long context: tokens (and neighbours) that the last queries attend "
                              "to; the heads of a layer compete (AdaKV)\n",
                              "1000\n", "2112 (128..4096)\n",
                              "budget: tokens of a KV head by loss, mean (least..most); any other is shared", NULL});
    free(text);
    text = shown(pack_show_json, p, NULL);
    json_t *all = json_loads(text, 0, NULL), *policy = json_object_get(all, "policy"), *layers = json_object_get(all, "layers");
    assert_string_equal(json_string_value(json_object_get(policy, "budget_by")), "loss");
    json_t *losses = json_object_get(json_array_get(layers, 1), "losses");
    assert_int_equal(json_array_size(losses), 2 * KV_CUTS);
    assert_float_equal(json_real_value(json_array_get(losses, KV_CUTS)), 0.25, 0);
    policy = json_object_get(policy, "evict");
    assert_string_equal(json_string_value(json_object_get(policy, "policy")), "snapkv");
    assert_string_equal(json_string_value(json_object_get(policy, "budget")), "25%");
    assert_true(json_is_true(json_object_get(policy, "ada")));
    assert_int_equal(json_integer_value(json_object_get(policy, "recent")), 32);
    assert_true(json_is_null(json_object_get(json_array_get(layers, 0), "budgets")));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(layers, 1), "budget")), 2112);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(json_array_get(layers, 1), "budgets"), 1)), 4096);
    json_decref(all);
    free(text);
    p->evict = PROF_EVICT_DEFAULT;
    text = shown(pack_show_text, p, &shape);
    assert_null(strstr(text, "eviction"));
    free(text);
    prof_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pack_show_sizes_are_real),   cmocka_unit_test(pack_show_counts_bytes_of_a_token),
        cmocka_unit_test(pack_show_writes_json),      cmocka_unit_test(pack_show_prints_a_row_per_layer),
        cmocka_unit_test(pack_show_prints_overrides), cmocka_unit_test(pack_show_tells_of_budgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
