/* llama.cpp: the test vectors that it publishes (tests/test-sampling.cpp), probabilities in, parameters, probabilities out; its
 * queues of top-k, top-p and min-p over 10,000 tokens, against a plain model in whole numbers; and what its samplers made of
 * random cases and of texts with sequence breakers (make_sample_cases.py).
 *
 * What vectors expect is written by token, and only up to a factor: llama.cpp lists candidates in the order that its samplers
 * leave.
 */
#include "sampling.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST = 5 };

typedef struct vector {
    const char *name;
    rt_sampling cfg;
    double in[MOST], out[MOST];
    int32_t ids[8]; /* said before, n_ids of them */
    size_t n_ids;
    int32_t breaker; /* DRY: a token that is one, or -1 */
} vector;

#define P .temp = 1, .top_p = 1
#define RISING                                                                                                                 \
    { 0.1, 0.2, 0.3, 0.4 }
#define FALL                                                                                                                   \
    { 0.4, 0.3, 0.2, 0.1 }
#define FIVE                                                                                                                   \
    { 0.2, 0.2, 0.2, 0.2, 0.2 }
#define FOUR                                                                                                                   \
    { 0.25, 0.25, 0.25, 0.25 }
#define DRY(multiplier, allowed, last)                                                                                         \
    .dry_multiplier = (multiplier), .dry_base = 1.1, .dry_allowed_length = (allowed), .dry_penalty_last_n = (last)

static const vector vectors[] = {
    {"temp 1", {P}, RISING, RISING, {0}, 0, -1},
    {"temp 0", {.temp = 0, .top_p = 1}, RISING, {0, 0, 0, 1}, {0}, 0, -1},
    {"dynatemp 1, 0", {P, .dynatemp_exponent = 1}, RISING, RISING, {0}, 0, -1},
    {"dynatemp 0, 0", {.temp = 0, .top_p = 1, .dynatemp_exponent = 1}, RISING, {0, 0, 0, 1}, {0}, 0, -1},
    {"top-k 1", {P, .top_k = 1}, RISING, {0, 0, 0, 1}, {0}, 0, -1},
    {"top-k 3", {P, .top_k = 3}, RISING, {0, 0.22222, 0.33333, 0.44444}, {0}, 0, -1},
    {"top-k 4", {P, .top_k = 4}, RISING, RISING, {0}, 0, -1},
    {"top-k 0", {P, .top_k = 0}, RISING, RISING, {0}, 0, -1},
    {"top-p 0", {.temp = 1, .top_p = 0}, RISING, {0, 0, 0, 1}, {0}, 0, -1},
    {"top-p 0.7", {.temp = 1, .top_p = 0.7f}, RISING, {0, 0, 0.428571, 0.571429}, {0}, 0, -1},
    {"top-p 0.8", {.temp = 1, .top_p = 0.8f}, RISING, {0, 0.22222, 0.33333, 0.44444}, {0}, 0, -1},
    {"top-p 1", {P}, RISING, RISING, {0}, 0, -1},
    {"min-p 0", {P}, RISING, RISING, {0}, 0, -1},
    {"min-p 0.24", {P, .min_p = 0.24}, RISING, RISING, {0}, 0, -1},
    {"min-p 0.26", {P, .min_p = 0.26}, RISING, {0, 0.2, 0.3, 0.4}, {0}, 0, -1},
    {"min-p 0.49", {P, .min_p = 0.49}, RISING, {0, 0.2, 0.3, 0.4}, {0}, 0, -1},
    {"min-p 0.51", {P, .min_p = 0.51}, RISING, {0, 0, 0.3, 0.4}, {0}, 0, -1},
    {"min-p 0.74", {P, .min_p = 0.74}, RISING, {0, 0, 0.3, 0.4}, {0}, 0, -1},
    {"min-p 0.76", {P, .min_p = 0.76}, RISING, {0, 0, 0, 1}, {0}, 0, -1},
    {"min-p 1", {P, .min_p = 1}, RISING, {0, 0, 0, 1}, {0}, 0, -1},
    {"min-p 1.05", {P, .min_p = 1.05}, RISING, {0, 0, 0, 1}, {0}, 0, -1},
    {"xtc 0.09", {P, .xtc_probability = 0.99, .xtc_threshold = 0.09}, FALL, {0, 0, 0, 0.1}, {0}, 0, -1},
    {"xtc 0.19", {P, .xtc_probability = 0.99, .xtc_threshold = 0.19}, FALL, {0, 0, 0.2, 0.1}, {0}, 0, -1},
    {"xtc 0.29", {P, .xtc_probability = 0.99, .xtc_threshold = 0.29}, FALL, {0, 0.3, 0.2, 0.1}, {0}, 0, -1},
    {"xtc 0.39", {P, .xtc_probability = 0.99, .xtc_threshold = 0.39}, FALL, FALL, {0}, 0, -1},
    {"typical 0.5, one", {P, .typical_p = 0.5}, {0.97, 0.01, 0.01, 0.01}, {1, 0, 0, 0}, {0}, 0, -1},
    {"typical 0.5, three", {P, .typical_p = 0.5}, {0.4, 0.2, 0.2, 0.2}, {0, 1, 1, 1}, {0}, 0, -1},
    {"repeat 1", {P, .repeat_last_n = 1, .repeat_penalty = 50}, FIVE, {0, 0.25, 0.25, 0.25, 0.25}, {0}, 1, -1},
    {"repeat 3", {P, .repeat_last_n = 3, .repeat_penalty = 50}, FIVE, {0, 0, 0, 0.5, 0.5}, {0, 1, 2}, 3, -1},
    {"repeat 5", {P, .repeat_last_n = 5, .repeat_penalty = 50}, FIVE, {0, 0, 0, 0.5, 0.5}, {0, 1, 2, 0, 0}, 5, -1},
    {"frequency 1",
     {P, .repeat_last_n = 1, .repeat_penalty = 1, .frequency_penalty = 5, .presence_penalty = 5},
     FIVE,
     {0.000011, 0.249997, 0.249997, 0.249997, 0.249997},
     {0},
     1,
     -1},
    {"frequency 3",
     {P, .repeat_last_n = 3, .repeat_penalty = 1, .frequency_penalty = 5, .presence_penalty = 5},
     FIVE,
     {0.000023, 0.000023, 0.000023, 0.499966, 0.499966},
     {0, 1, 2},
     3,
     -1},
    {"frequency 5",
     {P, .repeat_last_n = 5, .repeat_penalty = 1, .frequency_penalty = 5, .presence_penalty = 5},
     FIVE,
     {0, 0.000023, 0.000023, 0.499977, 0.499977},
     {0, 1, 2, 0, 0},
     5,
     -1},
    {"dry, nothing", {P, DRY(1, 2, 4)}, FOUR, FOUR, {0, 1}, 2, -1},
    {"dry, two", {P, DRY(1, 2, 5)}, FOUR, {0.296923, 0.296923, 0.109232, 0.296923}, {0, 1, 2, 0, 1}, 5, -1},
    {"dry, a breaker", {P, DRY(1, 2, 6)}, FIVE, FIVE, {0, 1, 3, 4, 0, 1}, 6, 3},
    {"dry, twice as much", {P, DRY(2, 2, 5)}, FIVE, {0.241818, 0.241818, 0.032727, 0.241818, 0.241818}, {0, 1, 2, 0, 1}, 5, -1},
    {"dry, too short", {P, DRY(1, 4, 7)}, FIVE, FIVE, {0, 1, 2, 3, 4, 0, 1}, 7, -1},
    {"top-n-sigma 1", {P, .top_n_sigma = 1}, RISING, {0, 0, 0.428571, 0.571429}, {0}, 0, -1},
    {"top-n-sigma 0", {P, .top_n_sigma = 0}, RISING, RISING, {0}, 0, -1},
    {"top-n-sigma 3", {P, .top_n_sigma = 3}, RISING, RISING, {0}, 0, -1},
};

static void vectors_of_llama_cpp(void **state) {
    (void)state;
    for (const vector *v = vectors; v < vectors + sizeof vectors / sizeof *vectors; v++) {
        float logits[MOST];
        double share[MOST], sum = 0;
        uint32_t n = 0;
        kv_err err;
        for (; n < MOST && v->in[n] > 0; n++) {
            logits[n] = logf((float)v->in[n]);
            sum += v->out[n];
        }
        rt_sampler *s = sampling_new(v->cfg, n);
        if (v->breaker >= 0)
            assert_int_equal(breakers_add(&s->breakers, &v->breaker, 1, &err), KV_OK);
        sampling_shares(s, logits, v->ids, v->n_ids, share);
        for (uint32_t i = 0; i < n; i++)
            if (fabs(share[i] - v->out[i] / sum) >= 1e-5)
                fail_msg("%s: token %u has %.6f, not %.6f", v->name, i, share[i], v->out[i] / sum);
        rt_sampler_free(s);
    }
}

/* ---- queues: token i has the weight i ---- */

enum { QUEUE = 10000 };

static const struct {
    const char *order;
    int top_k;
    double top_p, min_p;
} queues[] = {
    {"top_k", 10000, 1, 1},
    {"top_k", 1, 1, 1},
    {"top_p", 10000, 1, 1},
    {"top_p", 10000, 0, 1},
    {"min_p", 10000, 1, 1},
    {"min_p", 10000, 1, 1e-12},
    {"top_k", 100, 1, 1},
    {"top_p", 10000, 0.0003, 1},
    {"top_p", 10000, 0.8, 1},
    {"min_p", 10000, 1, 9997.9 / 9999},
    {"min_p", 10000, 1, 0.1},
    {"top_k;top_p", 100, 0.8, 0.1},
    {"top_k;min_p", 100, 0.8, 0.1},
    {"top_p;top_k", 100, 0.8, 0.1},
    {"top_p;min_p", 100, 0.8, 0.1},
    {"min_p;top_k", 100, 0.8, 0.1},
    {"min_p;top_p", 100, 0.8, 9997.9 / 9999},
    {"min_p;top_p", 100, 0.8, 0.1},
    {"top_k;top_p;min_p", 100, 0.8, 0.1},
    {"top_k;min_p;top_p", 100, 0.8, 0.1},
    {"top_p;top_k;min_p", 100, 0.8, 0.1},
    {"top_p;min_p;top_k", 100, 0.8, 0.1},
    {"min_p;top_k;top_p", 100, 0.8, 0.1},
    {"min_p;top_p;top_k", 100, 0.8, 0.1},
};

/* The lowest token that stays, of those from `low` on. */
static int after_top_p(int low, double top_p) {
    const long sum = (long)QUEUE * (QUEUE - 1) / 2 - (long)low * (low - 1) / 2;
    const long want = (long)ceil(top_p * (double)sum);
    long held = 0;
    int id = QUEUE;
    do
        held += --id;
    while (held < want);
    return id;
}

static void queues_of_llama_cpp(void **state) {
    (void)state;
    float *logits = malloc(QUEUE * sizeof *logits);
    double *share = malloc(QUEUE * sizeof *share);
    for (int i = 0; i < QUEUE; i++)
        logits[i] = logf((float)i);
    for (size_t i = 0; i < sizeof queues / sizeof *queues; i++) {
        int low = 0;
        for (const char *at = queues[i].order; *at; at += strcspn(at, ";") + (strchr(at, ';') != NULL)) {
            if (!strncmp(at, "top_k", 5))
                low = QUEUE - queues[i].top_k > low ? QUEUE - queues[i].top_k : low;
            else if (!strncmp(at, "top_p", 5))
                low = queues[i].top_p < 1 ? after_top_p(low, queues[i].top_p) : low;
            else
                low = fmax(low, ceil(queues[i].min_p * (QUEUE - 1)));
        }
        rt_sampler *s = sampling_new((rt_sampling){.temp = 1,
                                                   .top_k = queues[i].top_k,
                                                   .top_p = queues[i].top_p,
                                                   .min_p = queues[i].min_p,
                                                   .order = queues[i].order},
                                     QUEUE);
        assert_int_equal(sampling_shares(s, logits, NULL, 0, share), QUEUE - low);
        for (int id = 0; id < QUEUE; id++)
            assert_int_equal(share[id] > 0, id >= low && id > 0);
        rt_sampler_free(s);
    }
    free(logits);
    free(share);
}

/* ---- what its samplers made of cases ---- */

enum { MOST_NUMBERS = 400, MOST_BREAKERS = 4 };

/* "NAME n ..." */
static int read_numbers(FILE *f, const char *name, double *v) {
    char word[16];
    int n;
    assert_int_equal(fscanf(f, "%15s %d", word, &n), 2);
    assert_string_equal(word, name);
    assert_true(n <= MOST_NUMBERS);
    for (int i = 0; i < n; i++)
        assert_int_equal(fscanf(f, "%lf", &v[i]), 1);
    return n;
}

static int read_ids(FILE *f, int32_t *ids) {
    double v[MOST_NUMBERS];
    const int n = read_numbers(f, "ids", v);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)v[i];
    return n;
}

static void check_case(FILE *f) {
    char order[200];
    double v[17], in[MOST_NUMBERS], want[MOST_NUMBERS], share[MOST_NUMBERS];
    float logits[MOST_NUMBERS];
    int32_t ids[MOST_NUMBERS];
    assert_int_equal(fscanf(f, "%199s", order), 1);
    for (int i = 0; i < 17; i++)
        assert_int_equal(fscanf(f, "%lf", &v[i]), 1);
    const rt_sampling cfg = {.temp = v[0],
                             .dynatemp_range = v[1],
                             .dynatemp_exponent = v[2],
                             .top_k = (int64_t)v[3],
                             .top_p = v[4],
                             .min_p = v[5],
                             .typical_p = v[6],
                             .top_n_sigma = v[7],
                             .xtc_probability = 1,
                             .xtc_threshold = v[8],
                             .repeat_last_n = (int64_t)v[9],
                             .repeat_penalty = v[10],
                             .frequency_penalty = v[11],
                             .presence_penalty = v[12],
                             .dry_multiplier = v[13],
                             .dry_base = v[14],
                             .dry_allowed_length = (int64_t)v[15],
                             .dry_penalty_last_n = (int64_t)v[16],
                             .order = order};
    const int n = read_numbers(f, "logits", in), n_ids = read_ids(f, ids);
    assert_int_equal(read_numbers(f, "shares", want), n);
    for (int i = 0; i < n; i++)
        logits[i] = (float)in[i];
    rt_sampler *s = sampling_new(cfg, (uint32_t)n);
    sampling_shares(s, logits, ids, (size_t)n_ids, share);
    for (int i = 0; i < n; i++)
        if (fabs(share[i] - want[i]) > 1e-5)
            fail_msg("%s: token %d of %d has %.6f, in llama.cpp %.6f (logits begin with %g)", order, i, n, share[i], want[i],
                     in[0]);
    rt_sampler_free(s);
}

static tok *open_tok(const char *name) {
    char path[512];
    gguf *g = NULL;
    tok *t = NULL;
    kv_err err = {0};
    snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, name);
    if (gguf_open(path, &g, &err) || tok_new(g, &t, &err))
        fail_msg("%s", err.msg);
    gguf_close(g);
    return t;
}

static void check_text(FILE *f) {
    char model[32], hex[100], texts[MOST_BREAKERS][50] = {{0}};
    const char *cut[MOST_BREAKERS];
    double less[MOST_NUMBERS], got;
    int32_t ids[MOST_NUMBERS];
    int allowed, last, n, id;
    kv_err err = {0};
    rt_sampler *s = NULL;
    assert_int_equal(fscanf(f, "%31s %d %d breakers %d", model, &allowed, &last, &n), 4);
    for (int i = 0; i < n; i++) {
        assert_int_equal(fscanf(f, "%99s", hex), 1);
        for (size_t j = 0; hex[2 * j]; j++)
            texts[i][j] = (char)strtol((char[]){hex[2 * j], hex[2 * j + 1], 0}, NULL, 16);
        cut[i] = texts[i];
    }
    tok *t = open_tok(model);
    rt_sampling cfg = SAMPLING_PLAIN;
    cfg.dry_multiplier = 1;
    cfg.dry_base = 2;
    cfg.dry_allowed_length = allowed;
    cfg.dry_penalty_last_n = last;
    cfg.dry_breakers = cut;
    cfg.n_dry_breakers = (size_t)n;
    const uint32_t n_vocab = tok_n_vocab(t);
    if (sample_new(&cfg, &(sample_vocab){n_vocab, SAMPLING_CTX, t}, &s, &err))
        fail_msg("%s", err.msg);
    float *logits = calloc(n_vocab, sizeof *logits);
    double *share = calloc(n_vocab, sizeof *share);
    sampling_shares(s, logits, ids, (size_t)read_ids(f, ids), share);
    int more = 0;
    for (uint32_t i = 0; i < n_vocab; i++) { /* as they were left */
        logits[s->choice.c[i].id] = s->choice.c[i].logit;
        more += s->choice.c[i].logit != 0;
    }
    assert_int_equal(fscanf(f, " less %d", &n), 1);
    for (int i = 0; i < n; i++) {
        assert_int_equal(fscanf(f, "%d %lf", &id, &less[i]), 2);
        got = -logits[id];
        if (fabs(got - less[i]) > 1e-6)
            fail_msg("%s, %d breakers, the first %s: token %d loses %g, in llama.cpp %g", model, (int)cfg.n_dry_breakers,
                     cfg.n_dry_breakers ? texts[0] : "none", id, got, less[i]);
    }
    assert_int_equal(more, n);
    free(logits);
    free(share);
    rt_sampler_free(s);
    tok_free(t);
}

static void cases_are_what_llama_cpp_makes_of_them(void **state) {
    (void)state;
    char kind[8];
    int cases = 0, texts = 0;
    FILE *f = fopen(KV_TEST_DATA "/sample_cases.txt", "r");
    assert_non_null(f);
    while (fscanf(f, "%7s", kind) == 1)
        if (!strcmp(kind, "case")) {
            check_case(f);
            cases++;
        } else {
            check_text(f);
            texts++;
        }
    assert_true(cases == 400 && texts == 168);
    fclose(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_llama_cpp),
        cmocka_unit_test(queues_of_llama_cpp),
        cmocka_unit_test(cases_are_what_llama_cpp_makes_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
