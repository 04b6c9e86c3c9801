/* From options and profile to what a cache keeps: budgets as text, and which policy applies. */
#include "model/model.h"
#include "profile/evict_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void budget_reads_tokens_and_shares(void **state) {
    (void)state;
    kv_budget b;
    assert_true(kv_budget_parse("2048", &b) && b.tokens == 2048 && b.share == 0);
    assert_true(kv_budget_parse("12.5%", &b) && !b.tokens && b.share == 0.125f);
    assert_true(kv_budget_parse("100%", &b) && b.share == 1);
    static const char *const bad[] = {"",  "0",     "-3",          "0%",  "101%", "12.5", "5 %",
                                      "%", "1e300", "99999999999", "nan", "0x10", "7k"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (kv_budget_parse(bad[i], &b))
            fail_msg("'%s' was taken for a budget", bad[i]);
}

static void budget_writes_what_it_reads(void **state) {
    (void)state;
    static const char *const texts[] = {"1", "2048", "12.5%", "100%", "33.3333%"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        kv_budget b;
        char out[KV_BUDGET_TEXT];
        assert_true(kv_budget_parse(texts[i], &b));
        kv_budget_format(b, out);
        assert_string_equal(out, texts[i]);
    }
}

static void evict_names_are_in_order(void **state) {
    (void)state;
    for (int i = 0; i < KV_EVICT_COUNT; i++) {
        assert_int_equal(kv_evict_names[i].id, i);
        assert_int_equal(kv_evict_by_name(kv_evict_names[i].name), i);
    }
    assert_int_equal(kv_evict_by_name("all"), -1);
}

static const rt_hparams hp = {.n_layer = 2,
                              .n_head = 2,
                              .n_kv_head = 2,
                              .heads = {2, 2},
                              .kv_heads = {2, 2},
                              .kv_layer = {0, 1},
                              .head_dim = 4,
                              .n_ctx_train = 4096};

/* What a context with these options gets; NULL: words of the error. */
static kv_cache_cfg get(const rt_ctx_cfg *cfg, const char *words) {
    kv_cache_cfg out;
    kv_err err = {0};
    kv_status st = rt_cache_cfg_new(&hp, cfg, &out, &err);
    assert_int_equal(st, words ? KV_EINVAL : KV_OK);
    if (words)
        assert_non_null(strstr(err.msg, words));
    return out;
}

static prof *profile(bool queries, prof_budget_by by) {
    prof *p;
    assert_int_equal(prof_new(hp.n_layer, hp.n_head, hp.n_kv_head, hp.head_dim, &p, NULL), KV_OK);
    for (uint32_t l = 0; l < hp.n_layer; l++) {
        prof_layer *y = &p->layers[l];
        y->k.codec = y->v.codec = KV_Q8_0;
        y->budget = 100 * (l + 1);
        if (queries)
            assert_int_equal(prof_queries_alloc(p, y, NULL), KV_OK);
    }
    assert_int_equal(prof_budgets_alloc(p, &p->layers[1], NULL), KV_OK);
    p->layers[1].budgets[0] = 50;
    p->layers[1].budgets[1] = 350;
    p->budget_by = by;
    return p;
}

static void evict_needs_a_budget(void **state) {
    (void)state;
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    kv_cache_cfg c = get(&cfg, NULL);
    assert_int_equal(c.evict.policy, KV_EVICT_NONE);
    rt_cache_cfg_free(&c);
    cfg.evict = KV_EVICT_H2O;
    get(&cfg, "needs a budget");
    cfg.evict = KV_EVICT_EXPECTED;
    cfg.budget.tokens = 1000;
    get(&cfg, "needs a profile with queries");
}

static void evict_picks_a_policy(void **state) {
    (void)state;
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.budget.share = 0.5f;
    kv_cache_cfg c = get(&cfg, NULL);
    assert_int_equal(c.evict.policy, KV_EVICT_SNAPKV);
    assert_int_equal(c.evict.recent, 32);
    assert_null(c.evict.weight);
    rt_cache_cfg_free(&c);
    prof *p = profile(true, PROF_BY_LOSS);
    cfg.profile = p;
    cfg.recent = 7;
    c = get(&cfg, NULL);
    assert_int_equal(c.evict.policy, KV_EVICT_EXPECTED);
    assert_ptr_equal(c.evict.queries[1], p->layers[1].queries);
    assert_int_equal(c.evict.recent, 7);
    rt_cache_cfg_free(&c);
    p->evict.policy = KV_EVICT_TOVA;
    c = get(&cfg, NULL);
    assert_int_equal(c.evict.policy, KV_EVICT_TOVA);
    rt_cache_cfg_free(&c);
    cfg.evict = KV_EVICT_NONE;
    c = get(&cfg, NULL);
    assert_int_equal(c.evict.policy, KV_EVICT_NONE);
    rt_cache_cfg_free(&c);
    prof_free(p);
}

/* Curves of loss go before budgets, where the profile says that it is by loss and all layers have them. */
static void evict_takes_the_curves(void **state) {
    (void)state;
    for (int way = 0; way < 4; way++) {
        rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
        prof *p = profile(false, way == 1 ? PROF_BY_ENTROPY : PROF_BY_LOSS);
        for (uint32_t l = 0; l < hp.n_layer - (way == 2); l++) {
            assert_int_equal(prof_losses_alloc(p, &p->layers[l], NULL), KV_OK);
            for (uint32_t i = 0; i < hp.n_kv_head * KV_CUTS; i++)
                p->layers[l].losses[i] = (float)(100 * l + i);
        }
        cfg.profile = p;
        cfg.budget.share = 0.25f;
        cfg.equal_budgets = way == 3;
        p->evict.policy = KV_EVICT_STREAMING;
        kv_cache_cfg c = get(&cfg, NULL);
        assert_int_equal(c.evict.loss != NULL, way == 0);
        assert_int_equal(c.evict.weight != NULL, way == 1 || way == 2);
        for (uint32_t i = 0; c.evict.loss && i < 2 * hp.n_kv_head * KV_CUTS; i++)
            assert_true(c.evict.loss[i] == (float)(i / (hp.n_kv_head * KV_CUTS) * 100 + i % (hp.n_kv_head * KV_CUTS)));
        rt_cache_cfg_free(&c);
        prof_free(p);
    }
}

/* By loss always, by entropy only where the profile has a budget or evicts, and never with equal budgets. */
static void evict_shares_as_the_profile_says(void **state) {
    (void)state;
    enum { LOSS, ADVICE, EVICTS, BUDGET, LEVEL, WAYS };
    for (int way = 0; way < WAYS; way++) {
        rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
        prof *p = profile(false, way == LOSS ? PROF_BY_LOSS : PROF_BY_ENTROPY);
        cfg.profile = p;
        cfg.budget.tokens = 1000;
        cfg.equal_budgets = way == LEVEL;
        p->evict.policy = way == EVICTS || way == LEVEL ? KV_EVICT_STREAMING : KV_EVICT_NONE;
        p->evict.budget.share = way == BUDGET ? 0.5f : 0;
        kv_cache_cfg c = get(&cfg, NULL);
        assert_int_equal(c.evict.weight != NULL, way != ADVICE && way != LEVEL);
        if (c.evict.weight)
            assert_true(c.evict.weight[0] == 100 && c.evict.weight[1] == 100 && c.evict.weight[2] == 50 &&
                        c.evict.weight[3] == 350);
        rt_cache_cfg_free(&c);
        prof_free(p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budget_reads_tokens_and_shares),
        cmocka_unit_test(budget_writes_what_it_reads),
        cmocka_unit_test(evict_names_are_in_order),
        cmocka_unit_test(evict_needs_a_budget),
        cmocka_unit_test(evict_picks_a_policy),
        cmocka_unit_test(evict_takes_the_curves),
        cmocka_unit_test(evict_shares_as_the_profile_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
