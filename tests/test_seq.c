/* Sequences in one workspace: what each gets does not depend on what else is in a step, and going back is exact. */
#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEQS = 5, LEN = 400, BATCH = 48, MOST_VOCAB = 4096 };

typedef struct fixture {
    rt_model *m;
    rt_work *w;
    rt_seq *seqs[SEQS];
    rt_ctx_cfg cfgs[SEQS];
    int32_t ids[SEQS][LEN];
    uint32_t n_vocab;
} fixture;

static uint32_t draw(uint32_t *state, uint32_t n) {
    *state = *state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

/* A setting for each sequence: codecs, windows, and budgets with policies that look at queries. */
static rt_ctx_cfg setting(int i) {
    static const kv_codec_id codecs[SEQS] = {KV_F16, KV_Q8_0, KV_TURBO4, KV_Q4_0, KV_Q8_0};
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.n_ctx = LEN;
    cfg.ctk = cfg.ctv = codecs[i];
    cfg.window = i == 0 ? 0 : 20 * i;
    cfg.sinks = 2;
    if (i >= 3) {
        cfg.evict = i == 3 ? KV_EVICT_H2O : KV_EVICT_SNAPKV;
        cfg.budget.tokens = 192;
        cfg.recent = 16;
        cfg.ada = i == 4;
    }
    return cfg;
}

static fixture make(const char *name, int n_threads) {
    fixture f = {0};
    char path[4096];
    kv_err err = {0};
    rt_exec e;
    uint32_t seed = 7;
    snprintf(path, sizeof path, "%s/tiny/%s.gguf", KV_TEST_DATA, name);
    if (rt_exec_init(&e, NULL, n_threads, false, &err) || rt_model_load(path, &e, &f.m, &err) ||
        rt_work_new(f.m, BATCH, &f.w, &err))
        fail_msg("%s", err.msg);
    f.n_vocab = rt_model_hparams(f.m)->n_vocab;
    assert_true(f.n_vocab <= MOST_VOCAB);
    for (int i = 0; i < SEQS; i++) {
        f.cfgs[i] = setting(i);
        if (rt_seq_new(f.w, &f.cfgs[i], &f.seqs[i], &err))
            fail_msg("%d: %s", i, err.msg);
        for (int t = 0; t < LEN; t++)
            f.ids[i][t] = (int32_t)draw(&seed, f.n_vocab);
    }
    return f;
}

static void drop(fixture *f) {
    for (int i = 0; i < SEQS; i++)
        rt_seq_free(f->seqs[i]);
    rt_work_free(f->w);
    rt_model_free(f->m);
}

/* Logits of all tokens of a sequence by itself, one by one. */
static float *alone(const fixture *f, int i, uint64_t *digest) {
    rt_ctx *c;
    float *logits = malloc((size_t)LEN * f->n_vocab * sizeof *logits);
    assert_int_equal(rt_ctx_new(f->m, &f->cfgs[i], &c, NULL), KV_OK);
    for (int t = 0; t < LEN; t++)
        assert_int_equal(rt_forward(c, &f->ids[i][t], 1, 1, logits + (size_t)t * f->n_vocab, NULL), KV_OK);
    *digest = kv_cache_digest(rt_ctx_cache(c));
    rt_ctx_free(c);
    return logits;
}

/* A step of random rows: for some sequences, in random order, some of their next tokens; logits of random ones of them.
 * Compares what is wanted. false: all are at their ends. */
static bool random_step(fixture *f, float *const *want, uint32_t *seed) {
    static float logits[BATCH * MOST_VOCAB];
    rt_row rows[BATCH];
    const float *expected[BATCH];
    uint32_t n = 0, n_wanted = 0, order[SEQS] = {0, 1, 2, 3, 4};
    for (uint32_t i = SEQS - 1; i > 0; i--) {
        const uint32_t j = draw(seed, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (uint32_t o = 0; o < SEQS; o++) {
        const uint32_t i = order[o], len = rt_seq_len(f->seqs[i]), left = LEN - len, room = BATCH - n;
        uint32_t take =
            draw(seed, 3) ? draw(seed, 3) : draw(seed, 40); /* mostly a token or two or none, now and then a prompt */
        take = take < left ? take : left;
        take = take < room ? take : room;
        for (uint32_t t = 0; t < take; t++) {
            rows[n] = (rt_row){f->seqs[i], f->ids[i][len + t], draw(seed, 2)};
            if (rows[n++].logits)
                expected[n_wanted++] = want[i] + (size_t)(len + t) * f->n_vocab;
        }
    }
    if (n)
        assert_int_equal(rt_step(f->w, rows, n, logits, NULL), KV_OK);
    for (uint32_t k = 0; k < n_wanted; k++)
        assert_memory_equal(logits + (size_t)k * f->n_vocab, expected[k], f->n_vocab * sizeof(float));
    uint32_t done = 0;
    for (int i = 0; i < SEQS; i++)
        done += rt_seq_len(f->seqs[i]) == LEN;
    return done < SEQS;
}

static void check_mixes(const char *name, int n_threads) {
    fixture f = make(name, n_threads);
    float *want[SEQS];
    uint64_t digest[SEQS];
    for (int i = 0; i < SEQS; i++)
        want[i] = alone(&f, i, &digest[i]);
    for (uint32_t seed = 1; seed < 4; seed++) {
        for (uint32_t state = seed; random_step(&f, want, &state);)
            continue;
        for (int i = 0; i < SEQS; i++) {
            assert_true(kv_cache_digest(rt_seq_cache(f.seqs[i])) == digest[i]);
            assert_memory_equal(rt_seq_tokens(f.seqs[i]), f.ids[i], sizeof f.ids[i]);
            rt_seq_clear(f.seqs[i]);
        }
    }
    for (int i = 0; i < SEQS; i++)
        free(want[i]);
    drop(&f);
}

static void seq_gets_the_same_bits_in_any_step(void **state) {
    (void)state;
    check_mixes("llama", 1);
    check_mixes("qwen2", 3);
    check_mixes("gemma3", 2);
}

static void seq_refuses_what_cannot_be(void **state) {
    (void)state;
    fixture f = make("llama", 1);
    kv_err err = {0};
    float logits[MOST_VOCAB];
    rt_row rows[3] = {{f.seqs[0], 1, false}, {f.seqs[1], 2, false}, {f.seqs[0], 3, true}};
    assert_int_equal(rt_step(f.w, rows, 3, logits, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "apart"));
    rows[2] = (rt_row){f.seqs[1], (int32_t)f.n_vocab, true};
    assert_int_equal(rt_step(f.w, rows, 3, logits, &err), KV_ERANGE);
    assert_int_equal(rt_step(f.w, rows, 0, logits, &err), KV_EINVAL);
    assert_int_equal(rt_seq_len(f.seqs[0]), 0);
    assert_int_equal(rt_seq_len(f.seqs[1]), 0);
    rows[2].token = 3;
    assert_int_equal(rt_step(f.w, rows, 3, logits, &err), KV_OK);
    assert_int_equal(rt_seq_len(f.seqs[0]), 1);
    assert_int_equal(rt_seq_len(f.seqs[1]), 2);
    drop(&f);
}

static void feed(fixture *f, int i, uint32_t end) {
    for (uint32_t at = rt_seq_len(f->seqs[i]), n; at < end; at += n) {
        rt_row rows[BATCH];
        n = end - at < BATCH ? end - at : BATCH;
        for (uint32_t t = 0; t < n; t++)
            rows[t] = (rt_row){f->seqs[i], f->ids[i][at + t], false};
        assert_int_equal(rt_step(f->w, rows, n, NULL, NULL), KV_OK);
    }
}

/* Checkpoints here and there; wherever one asks to go back to, the cache is as it was at the place that is reached, and goes on
 * from there as ever. Budgets let go of tokens: then it may have to start again. */
static void seq_goes_back_exactly(void **state) {
    (void)state;
    static const char *const models[] = {"llama", "gemma3"};
    static const uint32_t marks[] = {37, 90, 150, 211, 290};
    for (int k = 0; k < 2; k++) {
        fixture f = make(models[k], 2);
        for (int i = 0; i < SEQS; i++) {
            uint64_t digest[LEN + 1];
            for (uint32_t t = 0; t <= LEN; t++) {
                feed(&f, i, t);
                digest[t] = kv_cache_digest(rt_seq_cache(f.seqs[i]));
            }
            rt_seq_clear(f.seqs[i]);
            for (uint32_t back = 0; back < LEN; back += 61) {
                uint32_t reached, best = 0;
                for (size_t m = 0; m < sizeof marks / sizeof *marks; m++) {
                    feed(&f, i, marks[m]);
                    assert_int_equal(rt_seq_checkpoint(f.seqs[i], NULL, NULL), KV_OK);
                    best = marks[m] <= back ? marks[m] : best;
                }
                feed(&f, i, LEN);
                rt_seq_go_back(f.seqs[i], back, &reached);
                assert_true(reached <= back && reached == rt_seq_len(f.seqs[i]));
                if (!f.cfgs[i].budget.tokens)
                    assert_true(reached >= best);
                assert_true(kv_cache_digest(rt_seq_cache(f.seqs[i])) == digest[reached]);
                feed(&f, i, LEN);
                assert_true(kv_cache_digest(rt_seq_cache(f.seqs[i])) == digest[LEN]);
                rt_seq_clear(f.seqs[i]);
            }
        }
        drop(&f);
    }
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Of one that is taken now. */
static size_t checkpoint_bytes(rt_seq *s) {
    kv_checkpoint *p;
    assert_int_equal(kv_checkpoint_new(rt_seq_cache(s), &p, NULL), KV_OK);
    const size_t bytes = kv_checkpoint_bytes(p);
    kv_checkpoint_free(p);
    return bytes;
}

/* Back to where everything is a sink, on from there and remembered: the window's copies begin anew. */
static void seq_remembers_places_after_going_back_to_sinks(void **state) {
    (void)state;
    fixture f = make("llama", 1);
    for (int i = 1; i < 3; i++) {
        uint64_t digest;
        uint32_t reached;
        kv_err err = {0};
        feed(&f, i, 300);
        rt_seq_go_back(f.seqs[i], 2, &reached);
        assert_int_equal(reached, 2);
        feed(&f, i, 100);
        if (rt_seq_checkpoint(f.seqs[i], NULL, &err))
            fail_msg("%s", err.msg);
        feed(&f, i, 300);
        rt_seq_go_back(f.seqs[i], 100, &reached);
        assert_int_equal(reached, 100);
        feed(&f, i, LEN);
        free(alone(&f, i, &digest));
        assert_true(kv_cache_digest(rt_seq_cache(f.seqs[i])) == digest);
    }
    drop(&f);
}

static void seq_checkpoints_are_bounded(void **state) {
    (void)state;
    fixture f = make("llama", 1);
    rt_seq *s = f.seqs[1];
    assert_int_equal(rt_seq_checkpoint_bytes(s), 0);
    feed(&f, 1, 10);
    assert_int_equal(rt_seq_checkpoint(s, NULL, NULL), KV_OK);
    const size_t one = rt_seq_checkpoint_bytes(s);
    assert_true(one > 0);
    assert_int_equal(rt_seq_checkpoint(s, NULL, NULL), KV_OK); /* the same place */
    assert_int_equal(rt_seq_checkpoint_bytes(s), one);
    size_t largest = one;
    for (uint32_t t = 20; t <= 20 * 3 * RT_CHECKPOINTS && t <= LEN; t += 20) {
        feed(&f, 1, t);
        largest = larger(largest, checkpoint_bytes(s));
        assert_int_equal(rt_seq_checkpoint(s, NULL, NULL), KV_OK);
        assert_true(rt_seq_checkpoint_bytes(s) <= RT_CHECKPOINTS * largest);
    }
    uint32_t reached;
    rt_seq_go_back(s, 15, &reached); /* the first is kept */
    assert_int_equal(reached, 10);
    assert_int_equal(rt_seq_checkpoint_bytes(s), one);
    drop(&f);
}

/* Cut in place, or not at all: what is cut may have voted on what is kept, or have been there when something was let go of. */
static void seq_cuts_exactly_with_budgets(void **state) {
    (void)state;
    enum { FIRST = 200, APART = 97, DEEPEST = 16, CUT = 5 };
    static const kv_evict_id policies[] = {KV_EVICT_STREAMING, KV_EVICT_H2O,   KV_EVICT_SNAPKV,
                                           KV_EVICT_TOVA,      KV_EVICT_KNORM, KV_EVICT_MERGE};
    fixture f = make("qwen2", 1);
    for (size_t i = 0; i < 2 * sizeof policies / sizeof *policies; i++) {
        uint64_t digest[LEN + 1];
        uint32_t cuts = 0;
        rt_seq_free(f.seqs[0]);
        f.cfgs[0] = f.cfgs[4];
        f.cfgs[0].evict = policies[i / 2];
        f.cfgs[0].ada = i % 2;
        assert_int_equal(rt_seq_new(f.w, &f.cfgs[0], &f.seqs[0], NULL), KV_OK);
        for (uint32_t len = FIRST; len < LEN; len += APART)
            for (uint32_t n = len - DEEPEST; n < len; n += CUT) {
                feed(&f, 0, n);
                digest[n] = kv_cache_digest(rt_seq_cache(f.seqs[0]));
            }
        feed(&f, 0, LEN);
        digest[LEN] = kv_cache_digest(rt_seq_cache(f.seqs[0]));
        for (uint32_t len = FIRST; len < LEN; len += APART)
            for (uint32_t n = len - DEEPEST; n < len; n += CUT) {
                rt_seq_clear(f.seqs[0]);
                feed(&f, 0, len);
                if (kv_cache_truncate(rt_seq_cache(f.seqs[0]), n, NULL))
                    continue;
                assert_true(kv_cache_digest(rt_seq_cache(f.seqs[0])) == digest[n]);
                feed(&f, 0, LEN);
                assert_true(kv_cache_digest(rt_seq_cache(f.seqs[0])) == digest[LEN]);
                cuts++;
            }
        /* Evictions of a budget this small are 16 tokens apart, and the last 32 vote under snapkv. */
        const bool all_vote =
            policies[i / 2] == KV_EVICT_H2O || policies[i / 2] == KV_EVICT_MERGE || policies[i / 2] == KV_EVICT_SNAPKV;
        assert_true(all_vote ? !cuts : cuts > 3);
    }
    drop(&f);
}

static void seq_keeps_what_was_asked_for_first_and_last(void **state) {
    (void)state;
    fixture f = make("llama", 1);
    rt_seq *s;
    uint32_t reached;
    f.cfgs[1].checkpoint_every = 8;
    assert_int_equal(rt_seq_new(f.w, &f.cfgs[1], &s, NULL), KV_OK);
    rt_seq_free(f.seqs[1]);
    f.seqs[1] = s;
    float logits[MOST_VOCAB];
    for (uint32_t i = 0; i < f.n_vocab; i++)
        logits[i] = (float)i;
    feed(&f, 1, 43);
    assert_int_equal(rt_seq_checkpoint(s, NULL, NULL), KV_OK);
    feed(&f, 1, 107);
    assert_int_equal(rt_seq_checkpoint(s, logits, NULL), KV_OK);
    for (uint32_t t = 108; t <= LEN; t++)
        feed(&f, 1, t);
    rt_seq_go_back(s, 110, &reached);
    assert_int_equal(reached, 107);
    assert_memory_equal(rt_seq_checkpoint_logits(s), logits, f.n_vocab * sizeof *logits);
    rt_seq_go_back(s, 50, &reached);
    assert_int_equal(reached, 43);
    assert_null(rt_seq_checkpoint_logits(s));
    rt_seq_clear(s);
    assert_int_equal(rt_seq_checkpoint_bytes(s), 0);
    drop(&f);
}

/* By itself, every so many tokens: bytes are bounded, and wherever one goes back to, the cache is as it was where it gets to,
 * and what comes next has the same logits. No more is to be run again than one went back, and the tokens between two
 * checkpoints. */
static void seq_takes_checkpoints_by_itself(void **state) {
    (void)state;
    enum { EVERY = 8, STEP = 5, REST = EVERY + STEP, BACK = 67 };
    static const char *const models[] = {"qwen2", "gemma3"};
    for (int k = 0; k < 2; k++) {
        fixture f = make(models[k], 1);
        for (int i = 0; i < SEQS; i++) {
            uint64_t digest[LEN + 1], ignored;
            float *want = alone(&f, i, &ignored), logits[MOST_VOCAB];
            size_t most = 0;
            uint32_t n_steps = 0;
            for (uint32_t t = 0; t <= LEN; t++) {
                if (t % STEP && t % BACK != 1)
                    continue;
                feed(&f, i, t);
                digest[t] = kv_cache_digest(rt_seq_cache(f.seqs[i]));
                most = t ? larger(most, checkpoint_bytes(f.seqs[i])) : 0;
            }
            most *= RT_CHECKPOINTS;
            rt_seq_free(f.seqs[i]);
            f.cfgs[i].checkpoint_every = EVERY;
            assert_int_equal(rt_seq_new(f.w, &f.cfgs[i], &f.seqs[i], NULL), KV_OK);
            for (uint32_t back = 1; back < LEN; back += BACK) {
                uint32_t reached;
                for (uint32_t t = rt_seq_len(f.seqs[i]); t < LEN; n_steps++) {
                    t = t + STEP < LEN ? t + STEP : LEN;
                    feed(&f, i, t);
                    assert_true(rt_seq_checkpoint_bytes(f.seqs[i]) <= most);
                }
                rt_seq_go_back(f.seqs[i], back, &reached);
                if (!f.cfgs[i].budget.tokens)
                    assert_true(back - reached <= LEN - back + REST);
                assert_true(kv_cache_digest(rt_seq_cache(f.seqs[i])) == digest[reached]);
                const rt_row next = {f.seqs[i], f.ids[i][reached], true};
                assert_int_equal(rt_step(f.w, &next, 1, logits, NULL), KV_OK);
                assert_memory_equal(logits, want + (size_t)reached * f.n_vocab, f.n_vocab * sizeof *logits);
                rt_seq_clear(f.seqs[i]);
            }
            free(want);
            assert_true(n_steps >= LEN / STEP);
        }
        drop(&f);
    }
}

/* Many prompts in one step, as long together as it can take, of caches shorter than that: their f16 copies pass through one
 * buffer. */
static void seq_prompts_share_a_step(void **state) {
    (void)state;
    enum { EACH = 170, MANY = 3, ALL = 512 };
    static const uint32_t lengths[][MANY] = {{EACH, EACH, EACH}, {160, 192, 160}, {40, 232, 240}};
    fixture f = make("llama", 2);
    rt_work *w;
    assert_int_equal(rt_work_new(f.m, ALL, &w, NULL), KV_OK);
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
        for (int i = 1; i < SEQS; i++) {
            rt_seq *seqs[MANY];
            rt_row rows[ALL];
            uint32_t n = 0;
            f.cfgs[i].n_ctx = 256;
            for (int s = 0; s < MANY; s++) {
                assert_int_equal(rt_seq_new(w, &f.cfgs[i], &seqs[s], NULL), KV_OK);
                for (uint32_t t = 0; t < lengths[k][s]; t++)
                    rows[n++] = (rt_row){seqs[s], f.ids[s][t], false};
            }
            assert_int_equal(rt_step(w, rows, n, NULL, NULL), KV_OK);
            for (int s = 0; s < MANY; s++) {
                rt_ctx *c;
                assert_int_equal(rt_ctx_new(f.m, &f.cfgs[i], &c, NULL), KV_OK);
                assert_int_equal(rt_prefill(c, f.ids[s], lengths[k][s], NULL, NULL), KV_OK);
                assert_true(kv_cache_digest(rt_seq_cache(seqs[s])) == kv_cache_digest(rt_ctx_cache(c)));
                rt_ctx_free(c);
                rt_seq_free(seqs[s]);
            }
        }
    rt_work_free(w);
    drop(&f);
}

/* Sequences share the workspace: more of them make it no larger. */
static void seq_shares_the_workspace(void **state) {
    (void)state;
    fixture f = make("qwen2", 2);
    rt_seq *more[8];
    const size_t bytes = rt_work_bytes(f.w);
    for (int i = 0; i < 8; i++)
        assert_int_equal(rt_seq_new(f.w, &f.cfgs[i % SEQS], &more[i], NULL), KV_OK);
    assert_int_equal(rt_work_bytes(f.w), bytes);
    for (int i = 0; i < 8; i++)
        rt_seq_free(more[i]);
    drop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seq_gets_the_same_bits_in_any_step),
        cmocka_unit_test(seq_refuses_what_cannot_be),
        cmocka_unit_test(seq_goes_back_exactly),
        cmocka_unit_test(seq_remembers_places_after_going_back_to_sinks),
        cmocka_unit_test(seq_checkpoints_are_bounded),
        cmocka_unit_test(seq_cuts_exactly_with_budgets),
        cmocka_unit_test(seq_keeps_what_was_asked_for_first_and_last),
        cmocka_unit_test(seq_takes_checkpoints_by_itself),
        cmocka_unit_test(seq_prompts_share_a_step),
        cmocka_unit_test(seq_shares_the_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
