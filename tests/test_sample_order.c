/* Stages in any order against a plain model, which keeps all tokens with their logits in double and does what each stage says;
 * and that draws follow the probabilities that stages leave.
 */
#include "sampling.h"

#include <stdlib.h>

enum { MOST = 6000 };

static uint64_t seed;
static int below(int n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)n);
}

typedef struct plain {
    int n;
    double logit[MOST];
    bool gone[MOST];
    double p[MOST]; /* of plain_weigh */
} plain;

static double plain_best(const plain *m) {
    double best = -INFINITY;
    for (int i = 0; i < m->n; i++)
        best = !m->gone[i] && m->logit[i] > best ? m->logit[i] : best;
    return best;
}

/* Probabilities; returns the entropy. */
static double plain_weigh(plain *m) {
    const double best = plain_best(m);
    double sum = 0, entropy = 0;
    for (int i = 0; i < m->n; i++)
        sum += m->p[i] = m->gone[i] ? 0 : exp(m->logit[i] - best);
    for (int i = 0; i < m->n; i++) {
        m->p[i] /= sum;
        entropy -= m->p[i] > 0 ? m->p[i] * log(m->p[i]) : 0;
    }
    return entropy;
}

/* Keep the lowest keys until they hold this much of the probability: at least, or more than that. */
static void plain_keep(plain *m, const double *key, double held, bool more) {
    bool kept[MOST] = {false};
    for (double sum = 0; more ? sum <= held : sum < held;) {
        int next = -1;
        for (int i = 0; i < m->n; i++)
            if (!m->gone[i] && !kept[i] && (next < 0 || key[i] < key[next]))
                next = i;
        if (next < 0)
            break;
        kept[next] = true;
        sum += m->p[next];
    }
    for (int i = 0; i < m->n; i++)
        m->gone[i] |= !kept[i];
}

static int plain_left(const plain *m) {
    int left = 0;
    for (int i = 0; i < m->n; i++)
        left += !m->gone[i];
    return left;
}

static void plain_apply(plain *m, const char *name, const rt_sampling *cfg, const int32_t *ids, int n_ids) {
    double key[MOST];
    const double entropy = plain_weigh(m), best = plain_best(m);
    if (!strcmp(name, "penalties")) {
        for (int i = 0; i < m->n; i++) {
            int times = 0;
            for (int j = 0; j < n_ids; j++)
                times += ids[j] == i;
            if (times)
                m->logit[i] = m->logit[i] * (m->logit[i] > 0 ? 1 / cfg->repeat_penalty : cfg->repeat_penalty) -
                              times * cfg->frequency_penalty;
        }
    } else if (!strcmp(name, "top_n_sigma")) {
        double sum = 0, squares = 0;
        const int left = plain_left(m);
        for (int i = 0; i < m->n; i++)
            sum += m->gone[i] ? 0 : m->logit[i];
        for (int i = 0; i < m->n; i++)
            squares += m->gone[i] ? 0 : pow(m->logit[i] - sum / left, 2);
        for (int i = 0; i < m->n; i++)
            m->gone[i] |= m->logit[i] < best - cfg->top_n_sigma * sqrt(squares / left);
    } else if (!strcmp(name, "top_k")) {
        int kept = 0;
        for (int i = 0; i < m->n; i++) {
            int above = 0;
            for (int j = 0; j < m->n; j++)
                above += !m->gone[j] && m->logit[j] > m->logit[i];
            key[i] = above;
        }
        for (int i = 0; i < m->n; i++)
            kept += !(m->gone[i] |= key[i] >= cfg->top_k);
        assert_true(kept > 0);
    } else if (!strcmp(name, "typ_p")) {
        for (int i = 0; i < m->n; i++)
            key[i] = fabs(-log(m->p[i]) - entropy);
        plain_keep(m, key, cfg->typical_p, true);
    } else if (!strcmp(name, "top_p")) {
        for (int i = 0; i < m->n; i++)
            key[i] = -m->logit[i];
        plain_keep(m, key, cfg->top_p, false);
    } else if (!strcmp(name, "min_p")) {
        for (int i = 0; i < m->n; i++)
            m->gone[i] |= exp(m->logit[i] - best) < cfg->min_p;
    } else {
        const double low = fmax(0, cfg->temp - cfg->dynatemp_range), high = cfg->temp + cfg->dynatemp_range;
        const int left = plain_left(m);
        const double t = cfg->dynatemp_range > 0 && left > 1
                             ? low + (high - low) * pow(entropy / log(left), cfg->dynatemp_exponent)
                             : cfg->temp;
        for (int i = 0; i < m->n; i++)
            m->logit[i] /= t;
    }
}

static const char *const names[] = {"penalties", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "temperature"};
enum { NAMES = sizeof names / sizeof *names };

static rt_sampling any_sampling(int n) {
    rt_sampling cfg = SAMPLING_PLAIN;
    cfg.temp = 0.3 + below(30) / 10.0;
    cfg.dynatemp_range = below(2) ? 0.1 + below(20) / 10.0 : 0;
    cfg.dynatemp_exponent = 0.5 + below(4) / 2.0;
    cfg.top_k = 1 + below(n);
    cfg.typical_p = 0.05 + below(90) / 100.0;
    cfg.top_p = 0.05 + below(94) / 100.0;
    cfg.min_p = 0.001 + below(40) / 100.0;
    cfg.top_n_sigma = 0.2 + below(30) / 10.0;
    cfg.repeat_last_n = -1;
    cfg.repeat_penalty = 0.7 + below(12) / 10.0;
    cfg.frequency_penalty = below(3) / 2.0;
    return cfg;
}

/* Some of the stages in any order: names to v. Returns how many. */
static int any_order(const char **v, char *text) {
    int left = NAMES, n = 1 + below(NAMES);
    memcpy(v, names, sizeof names);
    *text = '\0';
    for (int i = 0; i < n; i++, left--) {
        const int at = i + below(left);
        const char *t = v[at];
        v[at] = v[i];
        v[i] = t;
        strcat(strcat(text, i ? ";" : ""), t);
    }
    return n;
}

static void check_round(int n, double spread) {
    static plain m;
    static float logits[MOST];
    static double share[MOST];
    const char *order[NAMES];
    char text[200];
    int32_t ids[30];
    rt_sampling cfg = any_sampling(n);
    m = (plain){.n = n};
    for (int i = 0; i < n; i++)
        m.logit[i] = logits[i] = (float)((below(1 << 24) - (1 << 23)) * spread / (1 << 23));
    for (int i = 0; i < 30; i++)
        ids[i] = below(n);
    const int stages = any_order(order, text);
    cfg.order = text;
    for (int i = 0; i < stages; i++)
        plain_apply(&m, order[i], &cfg, ids, 30);
    plain_weigh(&m);
    rt_sampler *s = sampling_new(cfg, (uint32_t)n);
    sampling_shares(s, logits, ids, 30, share);
    for (int i = 0; i < n; i++)
        if (fabs(share[i] - m.p[i]) > 1e-5 * (m.p[i] + 1e-4))
            fail_msg("%s: token %d of %d has %.9f, not %.9f", text, i, n, share[i], m.p[i]);
    rt_sampler_free(s);
}

static void order_is_followed_whatever_it_is(void **state) {
    (void)state;
    seed = 3;
    for (int round = 0; round < 2000; round++)
        check_round(1 + below(60), 1 + below(8));
    for (int round = 0; round < 40; round++) /* enough tokens that not all need be sorted for top-p */
        check_round(300 + below(700), 1 + below(8));
}

/* What most likely ones hold is found in steps: a set of each size, and the whole vocabulary. */
static void top_p_is_found_among_many_tokens(void **state) {
    (void)state;
    static float logits[MOST];
    static double share[MOST];
    static const uint32_t sizes[] = {1, 255, 256, 257, 4095, 4096, 4097, 5999};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rt_sampling cfg = SAMPLING_PLAIN;
        cfg.top_p = (sizes[i] - 0.5) / MOST;
        rt_sampler *s = sampling_new(cfg, MOST);
        assert_int_equal(sampling_shares(s, logits, NULL, 0, share), sizes[i]); /* of equals the lowest ids */
        for (uint32_t id = 0; id < MOST; id++)
            assert_int_equal(share[id] > 0, id < sizes[i]);
        rt_sampler_free(s);
    }
}

/* ---- draws ---- */

/* 99.9% of samples from the right distribution lie below this (Wilson, Hilferty 1931). */
static double chi_square_limit(int freedom) {
    const double a = 2.0 / (9 * freedom);
    return freedom * pow(1 - a + 3.0902 * sqrt(a), 3);
}

/* Draws of the sampler against the probabilities that its stages leave. */
static void check_draws(rt_sampling cfg) {
    enum { N = 50, DRAWS = 40000 };
    float logits[N];
    double share[N], chi = 0;
    int count[N] = {0}, freedom = -1;
    for (int i = 0; i < N; i++)
        logits[i] = (float)((i * 29) % N) / 10;
    rt_sampler *s = sampling_new(cfg, N);
    sampling_shares(s, logits, NULL, 0, share);
    rt_sampler_free(s);
    s = sampling_new(cfg, N);
    for (int i = 0; i < DRAWS; i++)
        count[rt_sample(s, logits, NULL, 0)]++;
    for (int i = 0; i < N; i++) {
        if (share[i] == 0)
            assert_int_equal(count[i], 0);
        else
            chi += pow(count[i] - share[i] * DRAWS, 2) / (share[i] * DRAWS);
        freedom += share[i] > 0;
    }
    assert_true(freedom > 3 && chi < chi_square_limit(freedom));
    rt_sampler_free(s);
}

static void draws_follow_what_stages_leave(void **state) {
    (void)state;
    rt_sampling cfg = SAMPLING_PLAIN;
    check_draws(cfg); /* not sorted */
    cfg.top_k = 20;
    check_draws(cfg);
    cfg.temp = 2.5;
    check_draws(cfg);
    cfg.dynatemp_range = 1;
    cfg.dynatemp_exponent = 0.5;
    cfg.top_k = 0;
    check_draws(cfg);
    cfg = SAMPLING_PLAIN;
    cfg.typical_p = 0.6;
    check_draws(cfg);
    cfg = SAMPLING_PLAIN;
    cfg.min_p = 0.1;
    check_draws(cfg);
}

/* Two tokens are likely enough: when XTC applies, the better one goes. */
static void xtc_applies_as_often_as_it_is_told(void **state) {
    (void)state;
    enum { DRAWS = 20000 };
    const float logits[] = {logf(0.5f), logf(0.4f), logf(0.06f), logf(0.04f)};
    rt_sampling cfg = SAMPLING_PLAIN;
    int count[4] = {0};
    cfg.xtc_probability = 0.3;
    cfg.xtc_threshold = 0.1;
    rt_sampler *s = sampling_new(cfg, 4);
    for (int i = 0; i < DRAWS; i++)
        count[rt_sample(s, logits, NULL, 0)]++;
    assert_float_equal(count[0] / (double)DRAWS, 0.7 * 0.5, 0.015);
    assert_float_equal(count[1] / (double)DRAWS, 0.7 * 0.4 + 0.3 * 0.8, 0.015);
    rt_sampler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_followed_whatever_it_is),
        cmocka_unit_test(top_p_is_found_among_many_tokens),
        cmocka_unit_test(draws_follow_what_stages_leave),
        cmocka_unit_test(xtc_applies_as_often_as_it_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
