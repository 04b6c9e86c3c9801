/* Prompt lookup: what is guessed, and that answers, logits and caches are those without guesses. */
#include "sample/sampler.h"
#include "session/lookup.h"
#include "session/store.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void lookup_takes_the_longest_and_then_the_latest(void **state) {
    (void)state;
    static const int32_t ids[] = {1, 2, 3, 4, 9, 2, 3, 5, 8, 7, 1, 2, 3};
    const size_t n = sizeof ids / sizeof *ids;
    int32_t out[8];
    assert_int_equal(rt_lookup(ids, n, 2, 8, out), 8); /* 1 2 3 was followed by 4 9 2 ... */
    assert_memory_equal(out, ids + 3, sizeof out);
    assert_int_equal(rt_lookup(ids + 1, n - 1, 2, 3, out), 3); /* of 2 3, twice, the later */
    assert_memory_equal(out, ids + 7, 3 * sizeof *out);
    assert_int_equal(rt_lookup(ids, n, 4, 8, out), 0);
    assert_int_equal(rt_lookup(ids, 1, 1, 8, out), 0);
    assert_int_equal(rt_lookup(ids, 0, 1, 8, out), 0);
    static const int32_t same[] = {6, 6, 6, 6, 6};
    assert_int_equal(rt_lookup(same, 5, 2, 8, out), 1); /* what follows must be there */
    assert_int_equal(out[0], 6);
}

static uint32_t n_vocab; /* of the model that was loaded last */

static rt_model *load(const char *name) {
    rt_model *m = load_test_model(name, NULL, 2);
    n_vocab = rt_model_hparams(m)->n_vocab;
    return m;
}

enum { PROMPT = 60, ANSWER = 160 };

/* A prompt that repeats itself. Tiny models of random weights repeat themselves, too. */
static rt_session *prompted(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t seed) {
    kv_err err = {0};
    rt_session *s = NULL;
    int32_t ids[PROMPT];
    for (int i = 0; i < PROMPT; i++)
        ids[i] = (int32_t)(4 + i % 13 * 11 + seed);
    if (rt_session_new(m, cfg, &s, &err) || rt_session_add(s, ids, PROMPT, &err) || rt_session_read(s, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* So many tokens; guesses with, where there is a guesser. With `blind`, guesses that are often wrong. */
static void answer(const rt_model *m, rt_session *s, const rt_sampling *how, rt_guesser *g, bool blind) {
    kv_err err = {0};
    const char *text;
    size_t len;
    rt_sampler *sampler = NULL;
    assert_int_equal(rt_sampler_new(how, m, &sampler, &err), KV_OK);
    for (int i = 0; i < ANSWER; i++) {
        uint32_t n = blind ? i % (RT_GUESSES + 1) : 0;
        kv_status st;
        if (g && !blind) {
            rt_guesser_learn(g, rt_session_guessed_right(s));
            if (g->rest)
                g->rest = 0; /* whether it pays is not the question here */
            st = rt_session_read_ahead(s, g, &err);
        } else if (blind && i % 3) {
            st = rt_session_guess(s, rt_session_ids(s) + i % 40, &n, &err);
        } else {
            st = rt_session_read(s, NULL, NULL, &err);
        }
        if (st || rt_session_say(s, rt_sample(sampler, rt_session_logits(s), rt_session_ids(s), rt_session_len(s)), &text, &len,
                                 &err))
            fail_msg("%s", err.msg);
    }
    rt_sampler_free(sampler);
}

static void assert_same(rt_session *a, rt_session *b, const char *what) {
    kv_err err = {0};
    const size_t row = n_vocab * sizeof(float);
    assert_int_equal(rt_session_checkpoint(a, &err), KV_OK);
    assert_int_equal(rt_session_checkpoint(b, &err), KV_OK);
    if (rt_session_len(a) != rt_session_len(b) ||
        memcmp(rt_session_ids(a), rt_session_ids(b), rt_session_len(a) * sizeof(int32_t)) ||
        memcmp(rt_session_logits(a), rt_session_logits(b), row) || rt_ctx_len(rt_session_ctx(a)) != rt_session_len(a) ||
        kv_cache_digest(rt_ctx_cache(rt_session_ctx(a))) != kv_cache_digest(rt_ctx_cache(rt_session_ctx(b))))
        fail_msg("%s: guesses change what is said: %u and %u ids, %u read; ids %d, logits %d, cache %d", what,
                 rt_session_len(a), rt_session_len(b), rt_ctx_len(rt_session_ctx(a)),
                 memcmp(rt_session_ids(a), rt_session_ids(b), rt_session_len(a) * sizeof(int32_t)),
                 memcmp(rt_session_logits(a), rt_session_logits(b), row),
                 kv_cache_digest(rt_ctx_cache(rt_session_ctx(a))) != kv_cache_digest(rt_ctx_cache(rt_session_ctx(b))));
}

static void guesses_change_nothing(void **state) {
    (void)state;
    static const char *const names[] = {"tiny/llama", "tiny/gemma3", "arch/deci", "arch/llama-shared-kv"};
    uint64_t right = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rt_model *m = load(names[i]);
        for (uint32_t k = 0; k < 6; k++) {
            rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
            rt_guesser g = {0};
            cfg.n_ctx = 512;
            cfg.ctk = cfg.ctv = i == 0 && k % 2 ? KV_Q8_0 : KV_F16;
            cfg.window = k % 2 ? 10 * (int)k : -1;
            cfg.checkpoint_every = 16;
            rt_sampling how = RT_SAMPLING_DEFAULT;
            how.temp = k < 3 ? 0 : 0.7;
            how.seed = k;
            how.repeat_penalty = k % 2 ? 1 : 1.05;
            rt_session *plain = prompted(m, &cfg, k), *guessed = prompted(m, &cfg, k), *blind = prompted(m, &cfg, k);
            answer(m, plain, &how, NULL, false);
            answer(m, guessed, &how, &g, false);
            answer(m, blind, &how, NULL, true);
            right += g.right;
            assert_same(plain, guessed, names[i]);
            assert_same(plain, blind, names[i]);
            rt_session_free(plain);
            rt_session_free(guessed);
            rt_session_free(blind);
        }
        rt_model_free(m);
    }
    assert_true(right > 100); /* or nothing was tried */
}

/* Where guesses are still ahead: going back, adding, saving, forward. */
static void guesses_are_left_by_whoever_goes_on(void **state) {
    (void)state;
    rt_model *m = load("tiny/llama");
    kv_err err = {0};
    float *logits = malloc(n_vocab * sizeof *logits);
    char path[] = "/tmp/kv-lookup-XXXXXX";
    close(mkstemp(path));
    for (int i = 0; i < 5; i++) {
        rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
        cfg.n_ctx = 512;
        cfg.ctk = cfg.ctv = KV_Q8_0;
        cfg.window = 20;
        rt_session *a = prompted(m, &cfg, 1), *b = prompted(m, &cfg, 1), *c = NULL;
        static const int32_t more[] = {50, 51, 52, 53, 54, 55};
        uint32_t n = 5;
        for (int k = 0; k < 2; k++)
            assert_int_equal(rt_session_add(k ? b : a, more, 1, &err), KV_OK);
        assert_int_equal(rt_session_guess(a, more + 1, &n, &err), KV_OK);
        assert_int_equal(n, 5);
        assert_int_equal(rt_session_read(b, NULL, NULL, &err), KV_OK);
        if (i == 0) {
            assert_int_equal(rt_session_forward(a, more, 2, 1, logits, &err), KV_OK);
            assert_int_equal(rt_session_forward(b, more, 2, 1, logits, &err), KV_OK);
        } else if (i == 1) {
            assert_int_equal(rt_session_add(a, more, 3, &err), KV_OK);
            assert_int_equal(rt_session_add(b, more, 3, &err), KV_OK);
        } else if (i == 2) {
            rt_session_go_back(a, PROMPT - 2);
            rt_session_go_back(b, PROMPT - 2);
        } else if (i == 3) {
            assert_int_equal(rt_session_truncate(a, PROMPT, &err), KV_OK);
            assert_int_equal(rt_session_truncate(b, PROMPT, &err), KV_OK);
        } else {
            assert_int_equal(rt_session_save(a, path, &(rt_save_cfg){0}, NULL, NULL, &err), KV_OK);
            assert_int_equal(rt_session_open(m, NULL, &RT_CTX_CFG_DEFAULT, path, NULL, NULL, &c, &err), KV_OK);
            assert_same(b, c, "a file");
        }
        assert_same(a, b, "whoever goes on");
        rt_session_free(a);
        rt_session_free(b);
        rt_session_free(c);
    }
    unlink(path);
    free(logits);
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_takes_the_longest_and_then_the_latest),
        cmocka_unit_test(guesses_change_nothing),
        cmocka_unit_test(guesses_are_left_by_whoever_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
