/* What a profile says of eviction: policy, budgets of layers and heads, queries. Written, read, refused. */
#include "profile/blob.h"
#include "profile_check.h"
#include "profile_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zstd.h>

enum { LAYERS = 3, KV_HEADS = 2, DIM = 8, PER_HEAD = PROF_QUERIES * DIM };

/* Queries for layers 0 and 2, budgets of heads in layer 0, of the layer in layer 1, none in layer 2. Not rounded. */
static prof *evicting(void) {
    prof *p = fixture_profile(LAYERS, 4, KV_HEADS, DIM);
    assert_non_null(p);
    fixture_rng r = {9};
    for (uint32_t l = 0; l < LAYERS; l += 2) {
        assert_int_equal(prof_queries_alloc(p, &p->layers[l], NULL), KV_OK);
        for (size_t i = 0; i < KV_HEADS * PER_HEAD; i++)
            p->layers[l].queries[i] = expf(20 * fixture_float(&r)) * fixture_float(&r);
    }
    memset(p->layers[2].queries + 3 * DIM, 0, DIM * sizeof(float)); /* one that asks for nothing */
    assert_int_equal(prof_budgets_alloc(p, &p->layers[0], NULL), KV_OK);
    p->layers[0].budgets[0] = 4000000000u;
    p->layers[0].budgets[1] = 1;
    p->layers[1].budget = 700;
    p->layers[2].budget = 0;
    assert_int_equal(prof_losses_alloc(p, &p->layers[1], NULL), KV_OK);
    for (uint32_t i = 0; i < KV_HEADS * KV_CUTS; i++)
        p->layers[1].losses[i] = 1.0f / (float)(1 + i);
    p->budget_by = PROF_BY_LOSS;
    p->budget_rule = (prof_budget_rule){"sum of losses least", 512, 32, 4096, 4096, 8192};
    p->evict = (prof_evict){KV_EVICT_EXPECTED, {.share = 1.0f / 3}, true, 64, 0.25, 16, 5};
    return p;
}

static void evict_reads_what_it_writes(void **state) {
    (void)state;
    prof *p = evicting();
    prof_round(p);
    size_t len, len2;
    char *text = must_format(p, &len);
    assert_contains(text, "version: 3\n");
    assert_contains(
        text, "\n  evict: {policy: expected, budget: \"33.3333%\", ada: true, recent: 64, near: 0.25, observe: 16, pool: 5}\n");
    assert_contains(text, "\n  budget_by: loss\n  budget_rule:\n    formula: \"sum of losses least\"\n    mean: 512\n");
    assert_contains(text, "\n  budget: [4000000000, 1]\n");
    assert_contains(text, "\n  budget: 700\n  losses: [1, 0.5, 0.3333, 0.25, 0.2, 0.1667, 0.1429, 0.125, 0.1111, 0.1, 0.09091, "
                          "0.08333]\n");
    prof *q = must_parse(text, len);
    assert_int_equal(q->evict.policy, KV_EVICT_EXPECTED);
    assert_true(q->evict.budget.share == p->evict.budget.share && !q->evict.budget.tokens && q->evict.ada);
    assert_int_equal(q->evict.recent, 64);
    assert_true(q->evict.near == 0.25);
    assert_int_equal(q->evict.observe, 16);
    assert_int_equal(q->evict.pool, 5);
    assert_int_equal(q->budget_by, PROF_BY_LOSS);
    assert_memory_equal(&q->budget_rule, &p->budget_rule, sizeof q->budget_rule);
    assert_int_equal(prof_head_budget(q, 0, 0), 4000000000u);
    assert_int_equal(prof_head_budget(q, 0, 1), 1);
    assert_int_equal(q->layers[0].budget, 2000000000u); /* their mean, rounded */
    assert_int_equal(prof_head_budget(q, 1, 1), 700);
    assert_int_equal(prof_head_budget(q, 2, 0), 0);
    assert_null(q->layers[0].losses);
    assert_memory_equal(q->layers[1].losses, p->layers[1].losses, KV_HEADS * KV_CUTS * sizeof(float));
    assert_null(q->layers[1].queries);
    for (uint32_t l = 0; l < LAYERS; l += 2)
        assert_memory_equal(q->layers[l].queries, p->layers[l].queries, KV_HEADS * PER_HEAD * sizeof(float));
    char *text2 = must_format(q, &len2);
    assert_int_equal(len, len2);
    assert_memory_equal(text, text2, len);
    free(text);
    free(text2);
    prof_free(p);
    prof_free(q);
}

/* Rounding moves a number by at most half a step, 1/254 of the largest (and what the scale's 8 bits add), and once only. */
static void evict_rounds_queries_once(void **state) {
    (void)state;
    prof *p = evicting(), *exact = evicting();
    prof_round(p);
    for (uint32_t l = 0; l < LAYERS; l += 2)
        for (size_t v = 0; v < KV_HEADS * PROF_QUERIES; v++) {
            const float *was = exact->layers[l].queries + v * DIM, *is = p->layers[l].queries + v * DIM;
            float most = 0, worst = 0;
            for (int i = 0; i < DIM; i++) {
                most = fmaxf(most, fabsf(was[i]));
                worst = fmaxf(worst, fabsf(was[i] - is[i]));
            }
            assert_true(worst <= most / 254 * (1 + 1.0f / 128));
            assert_true((most > 0) == (worst > 0)); /* such numbers never come out exact: the test would be empty */
        }
    prof *twice = evicting();
    memcpy(twice->layers[0].queries, p->layers[0].queries, KV_HEADS * PER_HEAD * sizeof(float));
    prof_round(twice);
    assert_memory_equal(twice->layers[0].queries, p->layers[0].queries, KV_HEADS * PER_HEAD * sizeof(float));
    prof_free(p);
    prof_free(exact);
    prof_free(twice);
}

static void evict_refuses_to_write_unrounded_queries(void **state) {
    (void)state;
    prof *p = evicting();
    char *text;
    size_t len;
    kv_err err;
    assert_int_equal(prof_format(p, &text, &len, &err), KV_ERANGE);
    assert_contains(err.msg, "queries that cannot be stored exactly (prof_round)");
    p->layers[2].queries[PER_HEAD + 5 * DIM + 1] = NAN;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_string_equal(err.msg, "t: layers[2], head 1: query 5 is not finite");
    prof_free(p);
}

/* Without queries the binary part is what earlier versions read. */
static void evict_keeps_older_data(void **state) {
    (void)state;
    prof *p = evicting();
    prof_round(p);
    uint8_t *frame, head[8];
    size_t len;
    for (int asked = 1; asked >= 0; asked--) {
        assert_int_equal(prof_blob_encode(p, &frame, &len, NULL), KV_OK);
        uint8_t *raw = malloc(1 << 20);
        assert_non_null(raw);
        assert_false(ZSTD_isError(ZSTD_decompress(raw, 1 << 20, frame, len)));
        memcpy(head, raw, 8);
        assert_int_equal(head[4], asked ? 3 : 2);
        free(raw);
        free(frame);
        for (uint32_t l = 0; l < LAYERS; l++) {
            free(p->layers[l].queries);
            p->layers[l].queries = NULL;
        }
    }
    prof_free(p);
}

/* Queries alone, with codecs that need no data. */
static void evict_stores_queries_without_transforms(void **state) {
    (void)state;
    prof *p = evicting();
    for (uint32_t l = 0; l < LAYERS; l++) {
        p->layers[l].k.codec = p->layers[l].v.codec = KV_Q8_0;
        p->layers[l].k.bits = p->layers[l].v.bits = 8.5f;
    }
    prof_round(p);
    size_t len;
    char *text = must_format(p, &len);
    prof *q = must_parse(text, len);
    assert_null(q->layers[0].k.heads);
    assert_memory_equal(q->layers[2].queries, p->layers[2].queries, KV_HEADS * PER_HEAD * sizeof(float));
    free(text);
    prof_free(p);
    prof_free(q);
}

static void evict_by_hand(void **state) {
    (void)state;
    static const struct {
        const char *text;
        prof_evict want;
    } cases[] = {
        {"", {.recent = 32, .near = 0.5, .observe = 32, .pool = 7}},
        {", evict: {policy: snapkv}", {KV_EVICT_SNAPKV, {0}, false, 32, 0.5, 32, 7}},
        {", evict: {policy: h2o, budget: 2048, ada: true}", {KV_EVICT_H2O, {.tokens = 2048}, true, 32, 0.5, 32, 7}},
        {", evict: {budget: 12.5%, recent: 0, near: 1, policy: streaming}",
         {KV_EVICT_STREAMING, {.share = 0.125f}, false, 0, 1, 32, 7}},
        {", evict: {policy: tova, budget: \"100%\", near: 0, observe: 4096, pool: 511}",
         {KV_EVICT_TOVA, {.share = 1}, false, 32, 0, 4096, 511}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "version: 3\npolicy: {sinks: 4, window: 128, k: f16, v: f16%s}\n", cases[i].text);
        prof *p = must_parse(text, strlen(text));
        for (int again = 0; again < 2; again++) {
            const prof_evict *e = &p->evict, *want = &cases[i].want;
            assert_int_equal(e->policy, want->policy);
            assert_int_equal(e->budget.tokens, want->budget.tokens);
            assert_true(e->budget.share == want->budget.share && e->ada == want->ada);
            assert_int_equal(e->recent, want->recent);
            assert_true(e->near == want->near);
            assert_int_equal(e->observe, want->observe);
            assert_int_equal(e->pool, want->pool);
            size_t len;
            char *formatted = must_format(p, &len);
            assert_int_equal(strstr(formatted, "evict") != NULL, want->policy != KV_EVICT_NONE);
            assert_null(strstr(formatted, "budget_by"));
            prof_free(p);
            p = must_parse(formatted, len);
            free(formatted);
        }
        prof_free(p);
    }
}

#define E(evict)  "version: 3\npolicy:\n  sinks: 0\n  window: 0\n  k: f16\n  v: f16\n  evict: {" evict "}\n"
#define M         "version: 3\npolicy: {sinks: 0, window: 0}\nmodel: {layers: 1, heads: 2, kv_heads: 2, head_dim: 8}\n"
#define B(budget) M "layers:\n- layer: 0\n  k: {codec: f16}\n  v: {codec: f16}\n  budget: " budget "\n"
static const struct {
    const char *text, *message;
} wrong[] = {
    {E(""), "t.yaml:7: policy.evict.policy: missing"},
    {E("policy: lru"),
     "t.yaml:7: policy.evict.policy: 'lru' is none of none, streaming, h2o, snapkv, tova, knorm, expected, merge"},
    {E("policy: [h2o]"), "policy.evict.policy: expected name, not a list"},
    {E("policy: h2o, buget: 3"),
     "policy.evict: unknown key 'buget'; known here: policy, budget, ada, recent, near, observe, pool"},
    {E("policy: h2o, budget: 0"), "policy.evict.budget: '0' is neither a number of tokens, as 2048, nor a share"},
    {E("policy: h2o, budget: -1"), "policy.evict.budget: '-1' is neither"},
    {E("policy: h2o, budget: 101%"), "policy.evict.budget: '101%' is neither"},
    {E("policy: h2o, budget: 0%"), "policy.evict.budget: '0%' is neither"},
    {E("policy: h2o, budget: .nan"), "policy.evict.budget: '.nan' is neither"},
    {E("policy: h2o, budget: 4294967297"), "policy.evict.budget: '4294967297' is neither"},
    {E("policy: h2o, budget: 1e999"), "policy.evict.budget: '1e999' is neither"},
    {E("policy: h2o, budget: [1]"), "policy.evict.budget: expected integer or percentage, not a list"},
    {E("policy: h2o, ada: yes"), "policy.evict.ada: expected true or false, not 'yes'"},
    {E("policy: h2o, ada: \"true\""), "policy.evict.ada: expected true or false, not quoted text 'true'"},
    {E("policy: h2o, recent: 1048577"), "policy.evict.recent: 1048577 is outside 0..1048576"},
    {E("policy: h2o, near: 1.5"), "policy.evict.near: 1.5 is outside 0..1"},
    {E("policy: h2o, observe: 0"), "policy.evict.observe: 0 is outside 1..4096"},
    {E("policy: snapkv, pool: 513"), "policy.evict.pool: 513 is outside 1..511"},
    {E("policy: snapkv, pool: 4"), "policy.evict.pool: 4 is even"},
    {E("policy: expected"), "policy.evict.policy: 'expected' needs queries, which kvcalib puts into a profile's data"},
    {B("[1]"), "t.yaml:8: layers[0].budget: has 1 entries, but model.kv_heads is 2"},
    {B("[1, 2, 3]"), "t.yaml:8: layers[0].budget: has 3 entries, but model.kv_heads is 2"},
    {B("[1, 0]"), "t.yaml:8: layers[0].budget[1]: 0 is outside 1..4294967295"},
    {B("[1, 4294967296]"), "t.yaml:8: layers[0].budget[1]: 4294967296 is outside 1..4294967295"},
    {B("[1, 1.5]"), "t.yaml:8: layers[0].budget[1]: expected integer, not '1.5'"},
    {B("[1, [1]]"), "t.yaml:8: layers[0].budget[1]: expected integer, not a list"},
    {B("{a: 1}"), "t.yaml:8: layers[0].budget: expected integer or list of integers, not a mapping"},
    {B("-3"), "t.yaml:8: layers[0].budget: -3 is outside 0..4294967295"},
    {B("50%"), "t.yaml:8: layers[0].budget: expected integer or list of integers, not '50%'"},
    {"version: 3\npolicy: {sinks: 0, window: 0}\nlayers: [{layer: 0, k: {codec: f16}, v: {codec: f16}, budget: [1]}]\n",
     "layers[0].budget: a list needs to know how many KV heads there are (model.kv_heads)"},
    {B("3\n  losses: [1, 2, 3]"),
     "t.yaml:9: layers[0].losses: has 3 values, but the model has 2 such heads (model.heads, model.kv_heads) with 6 each"},
    {B("3\n  losses: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1]"), "t.yaml:9: layers[0].losses[11]: -1 is outside 0..1000000"},
    {"version: 3\npolicy: {sinks: 0, window: 0, k: f16, v: f16, budget_by: magic}\n",
     "policy.budget_by: 'magic' is none of entropy, loss"},
    {"version: 3\npolicy: {sinks: 0, window: 0, k: f16, v: f16, budget_rule: {least: x}}\n",
     "policy.budget_rule.least: expected integer, not 'x'"},
};

static void evict_names_what_is_wrong(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        prof *p;
        kv_err err = {0};
        kv_status st = prof_parse(wrong[i].text, strlen(wrong[i].text), "t.yaml", &p, &err);
        if (st == KV_OK || p || !strstr(err.msg, wrong[i].message))
            fail_msg("%s\nwanted: %s\ngot %d: %s", wrong[i].text, wrong[i].message, st, err.msg);
    }
}

static void evict_checks_what_was_built(void **state) {
    (void)state;
    prof *p = evicting();
    kv_err err;
    prof_round(p);
    assert_int_equal(prof_check(p, "t", &err), KV_OK);
    p->evict.budget = (kv_budget){.tokens = 5, .share = 0.5f};
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_contains(err.msg, "policy.evict.budget: neither");
    p->evict.budget = (kv_budget){.share = NAN};
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    p->evict.budget = (kv_budget){0};
    p->evict.policy = KV_EVICT_COUNT;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_contains(err.msg, "policy.evict.policy: 8 is outside 0..7");
    p->evict.policy = KV_EVICT_MERGE;
    p->budget_by = 2;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_contains(err.msg, "policy.budget_by: 2 is outside 0..1");
    p->budget_by = PROF_BY_ENTROPY;
    p->layers[0].budgets[1] = 0;
    assert_int_equal(prof_check(p, "t", &err), KV_ERANGE);
    assert_string_equal(err.msg, "t: layers[0].budget[1]: 0 is outside 1..4294967295");
    prof_free(p);
}

/* ---- the binary part, with intact checksums but wrong contents ---- */

static kv_status read_frame(const uint8_t *raw, size_t n, kv_err *err) {
    prof *p = evicting();
    prof_round(p);
    return read_with_data(p, raw, n, 0, err);
}

static void evict_refuses_wrong_queries(void **state) {
    (void)state;
    enum { N = 2 * KV_HEADS * PROF_QUERIES, LAYER = KV_HEADS * PROF_QUERIES * (2 + DIM), TAIL = LAYERS + 2 * LAYER };
    prof *p = evicting();
    uint8_t *frame;
    size_t len;
    kv_err err = {0};
    prof_round(p);
    assert_int_equal(prof_blob_encode(p, &frame, &len, NULL), KV_OK);
    const size_t n = (size_t)ZSTD_getFrameContentSize(frame, len), asked = n - TAIL, scales = asked + LAYERS;
    uint8_t *raw = calloc(1, n + LAYER), *edited = calloc(1, n + LAYER);
    assert_true(raw && edited);
    assert_int_equal(ZSTD_decompress(raw, n, frame, len), n);
    assert_memory_equal(raw + asked, "\1\0\1", LAYERS);
    if (read_frame(raw, n, &err) != KV_OK)
        fail_msg("%s", err.msg);
    const struct {
        size_t at, size;
        uint8_t value;
        const char *message;
    } edits[] = {
        {4, n, 2, "data: is not calibrated data of version 2 or 3"},
        {asked + 1, n, 1, "data: has more or fewer queries than it says"},
        {asked, n, 0, "data: has more or fewer queries than it says"},
        {asked, n, 2, "data: a layer has queries or has none"},
        {scales + N, n, 0xff, "data: layer 0, KV head 0: query 0 is not as kvcalib writes queries"}, /* a NaN */
        {scales + 2 * N + DIM, n, 0x80, "data: layer 0, KV head 0: query 1 is not as kvcalib writes queries"},
        {4, n - 1, 3, "data: holds"},
        {4, n + 1, 3, "data: holds"},
        {4, asked, 3, "data: is not calibrated data of version 2 or 3"},
        {4, asked + LAYERS, 3, "data: holds"},
        {4, n - LAYER, 3, "data: has more or fewer queries than it says"},
        {4, n + LAYER, 3, "data: has more or fewer queries than it says"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        memcpy(edited, raw, n + LAYER);
        edited[edits[i].at] = edits[i].value;
        kv_status st = read_frame(edited, edits[i].size, &err);
        if (st == KV_OK || !strstr(err.msg, edits[i].message))
            fail_msg("edit %zu: wanted: %s\ngot %d: %s", i, edits[i].message, st, err.msg);
    }
    free(raw);
    free(edited);
    free(frame);
    prof_free(p);
}

/* Whatever bytes the queries are, reading them ends well, and what is accepted can be written again. */
static void evict_survives_random_queries(void **state) {
    (void)state;
    enum { TAIL = LAYERS + 2 * KV_HEADS * PROF_QUERIES * (2 + DIM) };
    prof *p = evicting();
    uint8_t *frame;
    size_t len;
    prof_round(p);
    assert_int_equal(prof_blob_encode(p, &frame, &len, NULL), KV_OK);
    const size_t n = (size_t)ZSTD_getFrameContentSize(frame, len);
    uint8_t *raw = malloc(n), *edited = malloc(n);
    assert_true(raw && edited);
    assert_int_equal(ZSTD_decompress(raw, n, frame, len), n);
    fixture_rng r = {7};
    for (int i = 0; i < 300; i++) {
        kv_err err;
        memcpy(edited, raw, n);
        for (int j = 0; j <= i % 5; j++) {
            fixture_float(&r);
            size_t at = n - TAIL + (r.state >> 8) % TAIL;
            fixture_float(&r);
            edited[at] = (uint8_t)(r.state >> 16);
        }
        read_frame(edited, n, &err);
    }
    free(raw);
    free(edited);
    free(frame);
    prof_free(p);
}

static void evict_refuses_every_truncation(void **state) {
    (void)state;
    prof *p = evicting(), *q;
    size_t len;
    prof_round(p);
    char *text = must_format(p, &len);
    for (size_t n = 0; n + 2 < len; n += 7) {
        char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, text, n);
        if (prof_parse(copy, n, "t.yaml", &q, NULL) == KV_OK)
            fail_msg("%zu of %zu bytes were accepted", n, len);
        free(copy);
    }
    free(text);
    prof_free(p);
}

/* A profile as version 2 had it. */
static void evict_reads_older_profiles(void **state) {
    (void)state;
    prof *p;
    kv_err err = {0};
    if (prof_load(KV_TEST_DATA "/profile/full.yaml", &p, &err) != KV_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(p->evict.policy, KV_EVICT_NONE);
    assert_true(p->evict.recent == 32 && p->evict.pool == 7);
    assert_true(prof_has_budgets(p) && !prof_has_queries(p));
    assert_int_equal(prof_head_budget(p, 0, 0), 1000);
    prof_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evict_reads_what_it_writes),
        cmocka_unit_test(evict_rounds_queries_once),
        cmocka_unit_test(evict_refuses_to_write_unrounded_queries),
        cmocka_unit_test(evict_keeps_older_data),
        cmocka_unit_test(evict_stores_queries_without_transforms),
        cmocka_unit_test(evict_by_hand),
        cmocka_unit_test(evict_names_what_is_wrong),
        cmocka_unit_test(evict_checks_what_was_built),
        cmocka_unit_test(evict_refuses_wrong_queries),
        cmocka_unit_test(evict_survives_random_queries),
        cmocka_unit_test(evict_refuses_every_truncation),
        cmocka_unit_test(evict_reads_older_profiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
