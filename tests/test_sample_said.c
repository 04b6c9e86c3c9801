/* Penalties and DRY against plain models that look at every pair of tokens; sequence breakers with a real tokenizer. */
#include "sampling.h"
#include "support.h"

#include <stdlib.h>

enum { VOCAB = 12, MOST_SAID = 40 };

static uint64_t seed;
static int below(int n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)n);
}

static void make_logits(float *logits) {
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)(below(2000) - 1000) / 200;
}

/* The logits as stages leave them, by token. */
static void changed(rt_sampler *s, const float *logits, const int32_t *ids, size_t n, float *out) {
    double share[VOCAB];
    assert_int_equal(sampling_shares(s, logits, ids, n, share), VOCAB);
    for (uint32_t i = 0; i < VOCAB; i++)
        out[s->choice.c[i].id] = s->choice.c[i].logit;
}

static void assert_near(double got, double want, const char *what) {
    if (fabs(got - want) > 1e-5 * (1 + fabs(want)))
        fail_msg("%s: %.7f, not %.7f", what, got, want);
}

static void penalties_are_those_of_a_plain_model(void **state) {
    (void)state;
    seed = 1;
    for (int round = 0; round < 500; round++) {
        float logits[VOCAB], got[VOCAB];
        int32_t ids[MOST_SAID];
        const int n = below(MOST_SAID + 1), last = below(50) - 1;
        rt_sampling cfg = SAMPLING_PLAIN;
        cfg.repeat_last_n = last;
        cfg.repeat_penalty = below(3) ? 0.5 + below(10) / 5.0 : 1;
        cfg.presence_penalty = below(3) ? below(40) / 10.0 - 2 : 0;
        cfg.frequency_penalty = below(3) ? below(40) / 10.0 - 2 : 0;
        make_logits(logits);
        for (int i = 0; i < n; i++)
            ids[i] = below(20) ? below(VOCAB) : VOCAB + below(3); /* ids that are none are passed over */
        rt_sampler *s = sampling_new(cfg, VOCAB);
        changed(s, logits, ids, (size_t)n, got);
        for (int id = 0; id < VOCAB; id++) {
            int times = 0;
            for (int i = last < 0 || last > n ? 0 : n - last; i < n; i++)
                times += ids[i] == id;
            double want = logits[id];
            if (times) {
                want = want > 0 ? want / cfg.repeat_penalty : want * cfg.repeat_penalty;
                want -= times * cfg.frequency_penalty + cfg.presence_penalty;
            }
            assert_near(got[id], want, "penalties");
        }
        rt_sampler_free(s);
    }
}

/* ---- DRY ---- */

typedef struct sequence {
    int32_t ids[3];
    int n;
} sequence;

/* How many of the newest tokens hold no breaker: that whose first token is newest counts, of several there the longest. */
static int limit_of(const int32_t *said, int n, const sequence *b, int n_b) {
    for (int first = n - 1; first >= 0; first--) {
        int longest = 0;
        for (int i = 0; i < n_b; i++) {
            bool all = first + b[i].n <= n;
            for (int j = 0; all && j < b[i].n; j++)
                all = said[first + j] == b[i].ids[j];
            longest = all && b[i].n > longest ? b[i].n : longest;
        }
        if (longest)
            return n - first - longest;
    }
    return n;
}

/* The longest repetition that `next` would go on with; -1: none, or it is a breaker. */
static int longest_before(const int32_t *said, int n, int limit, int32_t next, const sequence *b, int n_b) {
    int longest = -1;
    for (int i = 0; i < n_b; i++)
        if (b[i].n == 1 && b[i].ids[0] == next)
            return -1;
    for (int at = 1; at < n; at++) {
        int len = 0;
        if (said[at] != next)
            continue;
        while (len < limit && len < at && said[at - 1 - len] == said[n - 1 - len])
            len++;
        longest = len > longest ? len : longest;
    }
    return longest;
}

static void dry_is_that_of_a_plain_model(void **state) {
    (void)state;
    int penalised = 0, limited = 0;
    seed = 2;
    for (int round = 0; round < 3000; round++) {
        float logits[VOCAB], got[VOCAB];
        int32_t ids[MOST_SAID];
        sequence b[3];
        kv_err err;
        const int n = below(MOST_SAID + 1), letters = 2 + below(4), n_b = below(4), last = below(3) ? -1 : 1 + below(30);
        rt_sampling cfg = SAMPLING_PLAIN;
        cfg.dry_multiplier = 0.1 + below(20) / 10.0;
        cfg.dry_base = 1 + below(20) / 10.0;
        cfg.dry_allowed_length = below(5);
        cfg.dry_penalty_last_n = last;
        make_logits(logits);
        for (int i = 0; i < n; i++)
            ids[i] = below(letters);
        rt_sampler *s = sampling_new(cfg, VOCAB);
        for (int i = 0; i < n_b; i++) {
            b[i].n = 1 + below(3);
            for (int j = 0; j < b[i].n; j++)
                b[i].ids[j] = below(6);
            assert_int_equal(breakers_add(&s->breakers, b[i].ids, (size_t)b[i].n, &err), KV_OK);
        }
        breakers_sort(&s->breakers);
        changed(s, logits, ids, (size_t)n, got);
        const int held = last < 0 || last > n ? n : last, limit = limit_of(ids + n - held, held, b, n_b);
        limited += limit < held;
        for (int id = 0; id < VOCAB; id++) {
            const int len = longest_before(ids + n - held, held, limit, id, b, n_b);
            const bool counts =
                len >= cfg.dry_allowed_length && held > cfg.dry_allowed_length && limit >= cfg.dry_allowed_length;
            const double by = cfg.dry_multiplier * pow(cfg.dry_base, len - (double)cfg.dry_allowed_length);
            assert_near(got[id], logits[id] - (counts ? by : 0), "DRY");
            penalised += counts;
        }
        rt_sampler_free(s);
    }
    assert_true(penalised > 1000 && limited > 500);
}

/* Long repetitions: the penalty stays a number, and time does not grow with the square (this would take minutes). */
static void dry_is_quick_and_finite_on_a_single_token(void **state) {
    (void)state;
    enum { LONG = 400000 };
    int32_t *ids = calloc(LONG, sizeof *ids);
    const float logits[3] = {5, 1, 0};
    rt_sampler *s = NULL;
    kv_err err;
    rt_sampling cfg = SAMPLING_PLAIN;
    cfg.temp = 0;
    cfg.dry_multiplier = 0.8;
    cfg.dry_base = 1.75;
    cfg.dry_penalty_last_n = -1;
    assert_int_equal(sample_new(&cfg, &(sample_vocab){.n_vocab = 3, .n_ctx_train = LONG}, &s, &err), KV_OK);
    assert_int_equal(rt_sample(s, logits, ids, LONG), 1);
    assert_true(isfinite(s->choice.own[0]) && s->choice.own[0] < -1e37f);
    assert_true(s->choice.own[1] == 1 && s->choice.own[2] == 0);
    rt_sampler_free(s);
    free(ids);
}

/* ---- breakers by their texts ---- */

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

static uint32_t limit_in_text(const breakers *b, const tok *t, const char *text) {
    int32_t *ids;
    size_t n;
    kv_err err;
    assert_int_equal(tok_encode(t, text, strlen(text), 0, &ids, &n, &err), KV_OK);
    const uint32_t limit = breakers_limit(b, ids, (uint32_t)n);
    const uint32_t all = (uint32_t)n;
    free(ids);
    return limit == all ? UINT32_MAX : limit;
}

static uint32_t tokens_of(const tok *t, const char *text) {
    int32_t *ids;
    size_t n;
    kv_err err;
    assert_int_equal(tok_encode(t, text, strlen(text), 0, &ids, &n, &err), KV_OK);
    free(ids);
    return (uint32_t)n;
}

static void breakers_are_found_where_a_text_has_them(void **state) {
    (void)state;
    static const char *const names[] = {"qwen2", "llama", "gemma3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tok *t = open_tok(names[i]);
        breakers b = {0};
        kv_err err = {0};
        const char *const texts[] = {"\n", "User:"};
        assert_int_equal(breakers_read(&b, t, texts, 2, &err), KV_OK);
        for (uint32_t id = 0; id < tok_n_vocab(t); id++) { /* one by itself is one that has a whole text in it */
            size_t n;
            const char *piece = tok_piece(t, (int32_t)id, true, &n);
            assert_int_equal(breakers_has(&b, (int32_t)id), memmem(piece, n, "\n", 1) || memmem(piece, n, "User:", 5));
        }
        assert_true(limit_in_text(&b, t, "no breaker in here") == UINT32_MAX);
        assert_true(limit_in_text(&b, t, "some User, but none: of them") == UINT32_MAX);
        assert_int_equal(limit_in_text(&b, t, "one\ntwo\n"), 0);
        assert_true(limit_in_text(&b, t, "aUser:") == 0);
        const uint32_t after = limit_in_text(&b, t, "two User: what is the sea");
        assert_true(after > 0 && after <= tokens_of(t, " what is the sea"));
        breakers_free(&b);
        tok_free(t);
    }
}

static void breakers_keep_no_more_of_a_long_text_than_they_compare(void **state) {
    (void)state;
    breakers b = {0};
    kv_err err;
    int32_t ids[40];
    for (int i = 0; i < 40; i++)
        ids[i] = i;
    assert_int_equal(breakers_add(&b, ids, 40, &err), KV_OK);
    breakers_sort(&b);
    assert_int_equal(breakers_limit(&b, ids, 20), 20);
    assert_int_equal(breakers_limit(&b, ids, 21), 0); /* the head and 20 more */
    assert_int_equal(breakers_limit(&b, ids, 40), 19);
    assert_false(breakers_has(&b, 0));
    breakers_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(penalties_are_those_of_a_plain_model),
        cmocka_unit_test(dry_is_that_of_a_plain_model),
        cmocka_unit_test(dry_is_quick_and_finite_on_a_single_token),
        cmocka_unit_test(breakers_are_found_where_a_text_has_them),
        cmocka_unit_test(breakers_keep_no_more_of_a_long_text_than_they_compare),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
