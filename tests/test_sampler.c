/* Sampling: each filter's meaning, ties, broken logits, repeatability, and that draws follow the probabilities. */
#include "sample/sample_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static rt_sampler *sampler(rt_sampling cfg, uint32_t n) {
    rt_sampler *s = NULL;
    kv_err err;
    if (sample_new(&cfg, &(sample_vocab){.n_vocab = n, .n_ctx_train = 4096}, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* Draw many tokens from the same logits; the share of each id goes to share (n). */
static void shares(rt_sampling cfg, const float *logits, uint32_t n, double *share) {
    enum { DRAWS = 20000 };
    rt_sampler *s = sampler(cfg, n);
    memset(share, 0, n * sizeof *share);
    for (int i = 0; i < DRAWS; i++)
        share[rt_sample(s, logits, NULL, 0)] += 1.0 / DRAWS;
    rt_sampler_free(s);
}

static const rt_sampling plain = {.temp = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 7};

static void sampler_greedy_takes_lowest_id_among_equals(void **state) {
    (void)state;
    const float logits[] = {1, 3, NAN, 3, 2};
    rt_sampler *s = sampler((rt_sampling){.temp = 0}, 5);
    assert_int_equal(rt_sample(s, logits, NULL, 0), 1);
    rt_sampler_free(s);
}

static void sampler_draws_follow_probabilities(void **state) {
    (void)state;
    const float logits[] = {logf(0.1f), logf(0.6f), logf(0.3f)};
    double share[3];
    shares(plain, logits, 3, share);
    assert_float_equal(share[0], 0.1, 0.015);
    assert_float_equal(share[1], 0.6, 0.015);
    assert_float_equal(share[2], 0.3, 0.015);
}

static void sampler_temperature_sharpens(void **state) {
    (void)state;
    const float logits[] = {logf(0.25f), logf(0.75f)};
    double share[2];
    rt_sampling cfg = plain;
    cfg.temp = 0.5; /* squares the odds: 1 to 9 */
    shares(cfg, logits, 2, share);
    assert_float_equal(share[0], 0.1, 0.015);
}

static void sampler_top_k_keeps_the_best(void **state) {
    (void)state;
    /* Ties at the cut: the lower id stays. */
    const float logits[] = {0, 2, 1, 2, 1, -1, 1, 0};
    double share[8];
    rt_sampling cfg = plain;
    cfg.top_k = 3;
    shares(cfg, logits, 8, share);
    double sum = share[1] + share[3] + share[2];
    assert_float_equal(sum, 1, 1e-9);
    assert_true(share[2] > 0.1 && share[1] > share[2]);
}

static void sampler_top_k_finds_them_anywhere(void **state) {
    (void)state;
    enum { N = 1009, K = 17 };
    float logits[N];
    double share[N];
    for (int i = 0; i < N; i++)
        logits[i] = (float)((i * 331 + 5) % N); /* a permutation of 0..N-1 */
    rt_sampling cfg = plain;
    cfg.top_k = K;
    cfg.temp = 1e6; /* the K kept are equally likely */
    shares(cfg, logits, N, share);
    for (int i = 0; i < N; i++)
        assert_true(logits[i] >= N - K ? share[i] > 0.5 / K : share[i] == 0);
}

static void sampler_top_p_keeps_shortest_sufficient_set(void **state) {
    (void)state;
    const float logits[] = {logf(0.05f), logf(0.5f), logf(0.3f), logf(0.15f)};
    double share[4];
    rt_sampling cfg = plain;
    cfg.top_p = 0.7; /* 0.5 is too little, 0.8 suffices */
    shares(cfg, logits, 4, share);
    assert_true(share[0] == 0 && share[3] == 0);
    assert_float_equal(share[1], 0.625, 0.02);
    cfg.top_p = 0; /* never nothing */
    shares(cfg, logits, 4, share);
    assert_float_equal(share[1], 1, 1e-9);
}

static void sampler_top_p_comes_before_temperature(void **state) {
    (void)state;
    /* At temperature 4 alone the set of 0.9 would hold every token; filtered first, only the best one is left. */
    const float logits[] = {logf(0.95f), logf(0.03f), logf(0.02f)};
    double share[3];
    rt_sampling cfg = plain;
    cfg.top_p = 0.9;
    cfg.temp = 4;
    shares(cfg, logits, 3, share);
    assert_float_equal(share[0], 1, 1e-9);
}

static void sampler_min_p_is_relative_to_the_best(void **state) {
    (void)state;
    const float logits[] = {logf(0.5f), logf(0.3f), logf(0.15f), logf(0.05f)};
    double share[4];
    rt_sampling cfg = plain;
    cfg.min_p = 0.2; /* 0.1 of absolute probability */
    shares(cfg, logits, 4, share);
    assert_true(share[2] > 0.1);
    assert_true(share[3] == 0);
    cfg.min_p = 1;
    shares(cfg, logits, 4, share);
    assert_float_equal(share[0], 1, 1e-9);
}

static void sampler_same_seed_same_tokens(void **state) {
    (void)state;
    enum { N = 300 };
    float logits[N];
    for (int i = 0; i < N; i++)
        logits[i] = (float)((i * 37) % 101) / 20;
    rt_sampling cfg = RT_SAMPLING_DEFAULT;
    cfg.seed = 42;
    rt_sampler *a = sampler(cfg, N), *b = sampler(cfg, N);
    cfg.seed = 43;
    rt_sampler *c = sampler(cfg, N);
    int differ = 0;
    for (int i = 0; i < 200; i++) {
        int32_t id = rt_sample(a, logits, NULL, 0);
        assert_int_equal(id, rt_sample(b, logits, NULL, 0));
        differ += id != rt_sample(c, logits, NULL, 0);
    }
    assert_true(differ > 50);
    rt_sampler_free(a);
    rt_sampler_free(b);
    rt_sampler_free(c);
}

static void sampler_survives_broken_logits(void **state) {
    (void)state;
    const float nans[] = {NAN, NAN, NAN}, certain[] = {0, INFINITY, 0}, partly[] = {NAN, 1, -INFINITY};
    rt_sampler *s = sampler(plain, 3);
    assert_int_equal(rt_sample(s, nans, NULL, 0), 0);
    assert_int_equal(rt_sample(s, certain, NULL, 0), 1);
    for (int i = 0; i < 50; i++)
        assert_int_equal(rt_sample(s, partly, NULL, 0), 1);
    rt_sampler_free(s);
}

/* Each with what the message has to name. */
static void sampler_refuses_nonsense(void **state) {
    (void)state;
    rt_sampler *s = NULL;
    kv_err err;
    const rt_logit_bias outside = {3, 1}, nan = {0, NAN};
    const char *const empty = "", *const long_one = "12345678901234567890123456789012345678901";
    const struct {
        rt_sampling cfg;
        const char *said;
    } cases[] = {
        {{.temp = NAN, .top_p = 1}, "temperature"},
        {{.temp = 1, .top_p = -1}, "top-p"},
        {{.temp = 1, .top_p = 1, .min_p = NAN}, "min-p"},
        {{.temp = 1, .top_p = 1, .repeat_penalty = -1}, "repeat penalty"},
        {{.temp = 1, .top_p = 1, .repeat_last_n = -2}, "look back"},
        {{.temp = 1, .top_p = 1, .dry_multiplier = 1, .dry_penalty_last_n = -1, .dry_base = 0.5}, "DRY base is 0.5; 1 to"},
        {{.temp = 1, .top_p = 1, .dry_allowed_length = -1}, "DRY allowed length"},
        {{.temp = 1, .top_p = 1, .xtc_probability = 1.5}, "XTC probability"},
        {{.temp = 1, .top_p = 1, .mirostat = 3}, "Mirostat"},
        {{.temp = 1, .top_p = 1, .order = "top_k;tfs_z"}, "no sampler 'tfs_z'; an order is some of penalties;dry"},
        {{.temp = 1, .top_p = 1, .order = ""}, "no sampler ''"},
        {{.temp = 1, .top_p = 1, .order = "min_p;top_k;min-p"}, "min_p twice"},
        {{.temp = 1, .top_p = 1, .bias = &outside, .n_bias = 1}, "token 3 is outside the vocabulary of 3"},
        {{.temp = 1, .top_p = 1, .bias = &nan, .n_bias = 1}, "token 0 is not a number"},
        {{.temp = 1, .top_p = 1, .dry_breakers = &empty, .n_dry_breakers = 1}, "breaker 1 is empty"},
        {{.temp = 1, .top_p = 1, .dry_breakers = &long_one, .n_dry_breakers = 1}, "breaker 1 is too long; 1 to 40"},
    };
    assert_int_equal(sample_new(&plain, &(sample_vocab){0}, &s, &err), KV_EINVAL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const kv_status st = sample_new(&cases[i].cfg, &(sample_vocab){.n_vocab = 3}, &s, &err);
        assert_true(st == KV_EINVAL || st == KV_ERANGE);
        if (!strstr(err.msg, cases[i].said))
            fail_msg("'%s' does not say '%s'", err.msg, cases[i].said);
    }
    assert_null(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampler_greedy_takes_lowest_id_among_equals),
        cmocka_unit_test(sampler_draws_follow_probabilities),
        cmocka_unit_test(sampler_temperature_sharpens),
        cmocka_unit_test(sampler_top_k_keeps_the_best),
        cmocka_unit_test(sampler_top_k_finds_them_anywhere),
        cmocka_unit_test(sampler_top_p_keeps_shortest_sufficient_set),
        cmocka_unit_test(sampler_top_p_comes_before_temperature),
        cmocka_unit_test(sampler_min_p_is_relative_to_the_best),
        cmocka_unit_test(sampler_same_seed_same_tokens),
        cmocka_unit_test(sampler_survives_broken_logits),
        cmocka_unit_test(sampler_refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
