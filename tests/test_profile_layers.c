/* Profiles of models whose layers differ in their heads, or have none. */
#include "profile/profile_internal.h"
#include "profile_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { LAYERS = 4, HEADS = 4, KV = 2, DIM = 8 };
static const uint16_t heads[LAYERS] = {4, 0, 4, 2}, kv_heads[LAYERS] = {2, 0, 1, 0};

static prof *uneven(void) {
    prof *p = fixture_profile(LAYERS, HEADS, KV, DIM);
    assert_non_null(p);
    assert_int_equal(prof_queries_alloc(p, &p->layers[2], NULL), KV_OK);
    p->layers[2].queries[5] = 127;
    assert_int_equal(prof_set_heads(p, heads, kv_heads, NULL), KV_OK);
    prof_round(p);
    return p;
}

static prof *parse(const char *text, const char *problem) {
    prof *p = NULL;
    kv_err err = {0};
    const kv_status st = prof_parse(text, strlen(text), "t.yaml", &p, &err);
    if (!problem != !st || (problem && !strstr(err.msg, problem)))
        fail_msg("wanted '%s', got '%s'", problem ? problem : "no error", err.msg);
    return p;
}

/* What is written is read back: text, transforms and queries; and written again with the same bytes. */
static void layers_are_read_as_they_were_written(void **state) {
    (void)state;
    char *text, *again;
    size_t len = 0, len2 = 0;
    kv_err err = {0};
    prof *p = uneven(), *q = NULL;
    if (prof_format(p, &text, &len, &err) || prof_parse(text, len, "t.yaml", &q, &err) || prof_format(q, &again, &len2, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(len, len2);
    assert_memory_equal(text, again, len);
    assert_non_null(strstr(text, "version: 4"));
    assert_non_null(strstr(text, "heads: [4, 0, 4, 2]"));
    assert_non_null(strstr(text, "kv_heads: [2, 0, 1, 0]"));
    assert_int_equal(prof_n_tc(q), 2 * 2 + 2 * 1);
    assert_int_equal(prof_all_kv_heads(q), 3);
    for (uint32_t l = 0; l < LAYERS; l++) {
        assert_int_equal(prof_heads(q, l), heads[l]);
        assert_int_equal(prof_kv_heads(q, l), kv_heads[l]);
        assert_true(!q->layers[l].entropy == !heads[l] && !q->layers[l].importance == !kv_heads[l]);
        for (uint32_t h = 0; h < kv_heads[l]; h++) {
            const prof_tc *a = prof_head_k(p, l, h).tc, *b = prof_head_k(q, l, h).tc;
            assert_memory_equal(a->basis, b->basis, DIM * DIM * sizeof *a->basis);
        }
    }
    assert_true(q->layers[2].queries[5] == p->layers[2].queries[5] && q->layers[2].queries[5] > 0);
    free(text);
    free(again);
    prof_free(p);
    prof_free(q);
}

/* Where all layers are alike, files are what they were. */
static void layers_alike_are_written_as_before(void **state) {
    (void)state;
    static const uint16_t same[] = {HEADS, HEADS, HEADS, HEADS}, same_kv[] = {KV, KV, KV, KV};
    char *text;
    size_t len;
    prof *p = fixture_profile(LAYERS, HEADS, KV, DIM);
    assert_int_equal(prof_set_heads(p, same, same_kv, NULL), KV_OK);
    assert_true(!p->heads && !p->kv_heads && prof_version(p) == 3);
    assert_int_equal(prof_format(p, &text, &len, NULL), KV_OK);
    assert_non_null(strstr(text, "version: 3"));
    free(text);
    prof_free(p);
}

#define TOP(model) "version: 4\npolicy: {sinks: 4, window: 128}\nmodel: {" model "}\nlayers:\n"

static void layers_are_checked(void **state) {
    (void)state;
    prof *p = parse(TOP("layers: 2, kv_heads: [2, 0], head_dim: 8") "- {layer: 0, k: {codec: [q8_0, q4_0]}, v: {codec: "
                                                                    "f16}}\n- {layer: 1}\n",
                    NULL);
    assert_int_equal(prof_head_k(p, 0, 1).codec, KV_Q4_0);
    prof_free(p);
    parse(TOP("layers: 2, kv_heads: [2, 0]") "- {layer: 0, k: {codec: f16}, v: {codec: f16}}\n- {layer: 1, k: {codec: f16}}\n",
          "layers[1].k: this layer stores no keys and values");
    parse(TOP("layers: 2, kv_heads: [2, 1]") "- {layer: 0, k: {codec: f16}, v: {codec: f16}}\n- {layer: 1, v: {codec: f16}}\n",
          "layers[1].k: missing");
    parse(TOP("layers: 2, kv_heads: [2, 1]") "- {layer: 0, k: {codec: f16}, v: {codec: f16}}\n- {layer: 1, k: {codec: [f16, "
                                             "f16]}, v: "
                                             "{codec: f16}}\n",
          "layers[1].k.codec: has 2 entries, but model.kv_heads is 1");
    parse(TOP("layers: 2, kv_heads: [2]"), "model.kv_heads: has 1 entries, but model.layers is 2");
    parse(TOP("kv_heads: [2, 2]"), "model.kv_heads: has 2 entries, but model.layers is 0");
    parse(TOP("layers: 2, kv_heads: [0, 0]"), "model.kv_heads: no layer has any");
    parse(TOP("layers: 2, kv_heads: [2, 257]"), "model.kv_heads[1]: 257 is outside 0..256");
    parse(TOP("layers: 2, kv_heads: 0"), "model.kv_heads: 0 is outside 1..256");
    parse(TOP("layers: 2, heads: {a: 1}"), "model.heads: expected integer or list of integers, not a mapping");
}

static void layers_must_be_those_of_the_model(void **state) {
    (void)state;
    static const uint16_t other[LAYERS] = {2, 0, 2, 0};
    kv_err err = {0};
    prof *p = uneven();
    const prof_shape right = {LAYERS, KV, DIM, kv_heads}, wrong = {LAYERS, KV, DIM, other}, alike = {LAYERS, KV, DIM, NULL};
    assert_int_equal(prof_matches(p, p->model_hash, &right, "t.yaml", &err), KV_OK);
    assert_int_equal(prof_matches(p, p->model_hash, &alike, "t.yaml", &err), KV_OK); /* nobody knows better */
    assert_int_equal(prof_matches(p, p->model_hash, &wrong, "t.yaml", &err), KV_EMISMATCH);
    assert_non_null(strstr(err.msg, "made for a model whose layer 2 has 1 KV heads"));
    prof_free(p);
    p = fixture_profile(LAYERS, HEADS, KV, DIM);
    assert_int_equal(prof_matches(p, p->model_hash, &right, "t.yaml", &err), KV_EMISMATCH);
    assert_non_null(strstr(err.msg, "layer 1 has 2 KV heads (Tiny"));
    prof_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_read_as_they_were_written),
        cmocka_unit_test(layers_alike_are_written_as_before),
        cmocka_unit_test(layers_are_checked),
        cmocka_unit_test(layers_must_be_those_of_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
