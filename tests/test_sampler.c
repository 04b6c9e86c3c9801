/* Sampling: each filter's meaning, ties, broken logits, repeatability, what temperature 0 leaves of the rest, Mirostat. What
 * stages do together is in test_sample_order.c, what they do to what was said in test_sample_said.c. */
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

static void sampler_bias_comes_first(void **state) {
    (void)state;
    const float logits[] = {3, 2, 1};
    double share[3];
    const rt_logit_bias never = {0, -INFINITY}, always = {2, INFINITY}, more[] = {{2, 1}, {2, 0.5f}};
    rt_sampling cfg = plain;
    cfg.bias = &never;
    cfg.n_bias = 1;
    cfg.top_k = 1; /* of those that may be chosen */
    shares(cfg, logits, 3, share);
    assert_float_equal(share[1], 1, 1e-9);
    cfg.bias = &always;
    cfg.top_k = 0;
    shares(cfg, logits, 3, share);
    assert_float_equal(share[2], 1, 1e-9);
    cfg.bias = more; /* they add up: 2.5, and temperature 0 sees them */
    cfg.n_bias = 2;
    cfg.temp = 0;
    cfg.repeat_last_n = 1;
    cfg.repeat_penalty = 2; /* of the biased logit */
    rt_sampler *s = sampler(cfg, 3);
    assert_int_equal(rt_sample(s, logits, NULL, 0), 0);
    assert_int_equal(rt_sample(s, logits, &(int32_t){0}, 1), 2);
    rt_sampler_free(s);
}

/* What was said is looked at with each call, and nowhere else. */
static void sampler_keeps_no_history(void **state) {
    (void)state;
    const float logits[] = {3, 2, 1};
    const int32_t said[] = {0, 1, 0};
    rt_sampling cfg = plain;
    cfg.temp = 0;
    cfg.repeat_last_n = 2;
    cfg.presence_penalty = 2.5;
    rt_sampler *s = sampler(cfg, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rt_sample(s, logits, NULL, 0), 0);
        assert_int_equal(rt_sample(s, logits, said, 1), 1);
        assert_int_equal(rt_sample(s, logits, said, 3), 2);
        assert_int_equal(rt_sample(s, logits, said + 1, 1), 0);
    }
    rt_sampler_free(s);
}

/* At temperature 0 filters change nothing, as they never drop the best; what changes logits does, and what may drop it. */
static void sampler_greedy_takes_the_best_that_is_left(void **state) {
    (void)state;
    const float logits[] = {logf(0.4f), logf(0.2f), logf(0.2f), logf(0.2f)};
    rt_sampling cfg = plain;
    cfg.temp = 0;
    cfg.top_k = 2;
    cfg.top_p = 0.3;
    cfg.min_p = 0.9;
    cfg.top_n_sigma = 0.1;
    rt_sampler *s = sampler(cfg, 4);
    assert_int_equal(s->n_chain, 1); /* and cost nothing */
    assert_int_equal(rt_sample(s, logits, NULL, 0), 0);
    rt_sampler_free(s);
    cfg = plain;
    cfg.temp = 0;
    cfg.typical_p = 0.5;
    s = sampler(cfg, 4);
    assert_int_equal(rt_sample(s, logits, NULL, 0), 1);
    rt_sampler_free(s);
    cfg.typical_p = 1;
    cfg.xtc_probability = 1;
    cfg.xtc_threshold = 0.3;
    cfg.top_k = 3; /* which makes of 0.4, 0.2, 0.2 more: none but the best is likely enough */
    s = sampler(cfg, 4);
    assert_int_equal(s->n_chain, 3);
    assert_int_equal(rt_sample(s, logits, NULL, 0), 0);
    rt_sampler_free(s);
    cfg.xtc_threshold = 0.2;
    s = sampler(cfg, 4);
    assert_int_equal(rt_sample(s, logits, NULL, 0), 3 - 1);
    rt_sampler_free(s);
}

/* ---- Mirostat ---- */

enum { WORDS = 3000 };

/* Tokens by Zipf's law: the mean surprise of many, in bits, by the probabilities of what was left; and of how many that was. */
static double mean_surprise(rt_sampling cfg, double *left) {
    enum { DRAWS = 4000, SETTLE = 500 };
    float logits[WORDS];
    double surprise = 0;
    for (int i = 0; i < WORDS; i++)
        logits[i] = (float)(-1.1 * log(i + 1));
    rt_sampler *s = sampler(cfg, WORDS);
    *left = 0;
    for (int i = 0; i < DRAWS + SETTLE; i++) {
        const int32_t id = rt_sample(s, logits, NULL, 0);
        double sum = 0;
        for (uint32_t j = 0; j < s->choice.n; j++)
            sum += exp(logits[s->choice.c[j].id]);
        surprise += i < SETTLE ? 0 : (log(sum) - logits[id]) / log(2) / DRAWS;
        *left += i < SETTLE ? 0 : (double)s->choice.n / DRAWS;
    }
    rt_sampler_free(s);
    return surprise;
}

static void sampler_mirostat_steers_surprise(void **state) {
    (void)state;
    for (int version = 1; version <= 2; version++) {
        double last = 0, left;
        for (double tau = 2; tau <= 6; tau++) {
            rt_sampling cfg = plain;
            cfg.mirostat = version;
            cfg.mirostat_tau = tau;
            cfg.mirostat_eta = 0.1;
            cfg.top_k = 1; /* does not count then */
            assert_float_equal(mean_surprise(cfg, &left), tau, 0.05);
            assert_true(left > 2 * last);
            last = left;
        }
    }
}

/* ---- anything ---- */

static uint64_t seed = 1;
static int below(int n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)n);
}

/* Whatever the logits are, what comes out is a token, and a possible one where there is one; twice the same. */
static void sampler_survives_anything(void **state) {
    (void)state;
    enum { N = 40 };
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0, -0.f};
    for (int round = 0; round < 3000; round++) {
        const rt_logit_bias bias = {below(N), (float)(below(9) - 4)};
        const rt_sampling cfg = {.temp = below(3) ? below(40) / 10.0 : 0,
                                 .top_k = below(N + 5),
                                 .top_p = below(11) / 10.0,
                                 .min_p = below(3) / 10.0,
                                 .seed = (uint64_t)round,
                                 .typical_p = below(11) / 10.0,
                                 .top_n_sigma = below(4),
                                 .dynatemp_range = below(3),
                                 .dynatemp_exponent = below(3),
                                 .xtc_probability = below(3) / 2.0,
                                 .xtc_threshold = below(6) / 10.0,
                                 .repeat_last_n = below(30) - 1,
                                 .repeat_penalty = below(4),
                                 .presence_penalty = below(3) - 1,
                                 .dry_multiplier = below(3),
                                 .dry_base = 1 + below(30) / 10.0,
                                 .dry_allowed_length = below(3),
                                 .dry_penalty_last_n = below(30) - 1,
                                 .mirostat = below(9) ? 0 : 1 + below(2),
                                 .mirostat_tau = below(6),
                                 .mirostat_eta = below(3) / 4.0,
                                 .bias = &bias,
                                 .n_bias = (size_t)below(2)};
        float logits[N];
        int32_t ids[20];
        bool possible = false, certain = false;
        for (int i = 0; i < N; i++) {
            logits[i] = below(4) < round % 5 ? odd[below(round % 3 ? 7 : 3)] : (float)below(100) / 10;
            certain |= logits[i] == INFINITY;
            possible |= isfinite(logits[i]) != 0;
        }
        for (int i = 0; i < 20; i++)
            ids[i] = below(5);
        rt_sampler *a = sampler(cfg, N), *b = sampler(cfg, N);
        for (int i = 0; i < 5; i++) {
            const int32_t id = rt_sample(a, logits, ids, (size_t)(16 + i));
            assert_true(id >= 0 && id < N);
            assert_true(!possible || certain || isfinite(logits[id]));
            assert_true(!certain || logits[id] == INFINITY);
            assert_int_equal(id, rt_sample(b, logits, ids, (size_t)(16 + i)));
        }
        rt_sampler_free(a);
        rt_sampler_free(b);
    }
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
        cmocka_unit_test(sampler_bias_comes_first),
        cmocka_unit_test(sampler_keeps_no_history),
        cmocka_unit_test(sampler_greedy_takes_the_best_that_is_left),
        cmocka_unit_test(sampler_mirostat_steers_surprise),
        cmocka_unit_test(sampler_survives_anything),
        cmocka_unit_test(sampler_refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
