/* Sessions that begin alike use the same blocks: what each reads and says is what it would be alone, to the bit, whatever the
 * codec, policy and model, and whatever the others do meanwhile. */
#include "calibrated.h"
#include "session/store.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LEN = 420, AT = 300, CHAIN = 7 };

static rt_ctx_cfg setting(kv_codec_id k, kv_codec_id v, int window) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.ctk = k;
    cfg.ctv = v;
    cfg.window = window;
    cfg.sinks = window ? 3 : 0;
    cfg.n_ctx = 512;
    cfg.n_batch = 64;
    cfg.checkpoint_every = 50;
    return cfg;
}

static uint32_t share(rt_session *to, rt_session *from, uint32_t n) {
    kv_err err = {0};
    uint32_t reached = 0;
    const uint32_t said = rt_session_reach(from, n);
    if (rt_session_share(to, from, n, &reached, &err))
        fail_msg("%s", err.msg);
    assert_true(reached <= said);
    assert_int_equal(rt_session_len(to), reached);
    assert_memory_equal(rt_session_ids(to), rt_session_ids(from), reached * sizeof(int32_t));
    return reached;
}

/* Against a session that has read the same by itself. */
static void assert_as_alone(const rt_model *m, const rt_ctx_cfg *cfg, rt_session *s, const char *what) {
    rt_session *alone = new_test_session(m, cfg);
    kv_err err = {0};
    read_test_ids(alone, rt_session_ids(s), rt_session_len(s));
    if (rt_session_read(s, NULL, NULL, &err))
        fail_msg("%s: %s", what, err.msg);
    if (memcmp(rt_session_logits(alone), rt_session_logits(s), rt_model_hparams(m)->n_vocab * sizeof(float)) ||
        kv_cache_digest(rt_ctx_cache(rt_session_ctx(alone))) != kv_cache_digest(rt_ctx_cache(rt_session_ctx(s))))
        fail_msg("%s: what was shared is not what one would have read, %u tokens", what, rt_session_len(s));
    rt_session_free(alone);
}

static uint64_t used_elsewhere(rt_session *s) {
    uint64_t own, elsewhere;
    kv_cache_used(rt_ctx_cache(rt_session_ctx(s)), &own, &elsewhere);
    return elsewhere;
}

/* Two of them, at every kind of place; the lender goes on meanwhile, then it is freed. */
static void two_are_exact(const rt_model *m, const rt_ctx_cfg *cfg, const char *what) {
    static const uint32_t places[] = {1, 64, 129, 250, AT};
    int32_t ids[LEN], other[LEN];
    draw_ids(m, 11, ids, LEN);
    draw_ids(m, 12, other, LEN);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        rt_session *from = new_test_session(m, cfg), *to = new_test_session(m, cfg);
        read_test_ids(from, ids, AT);
        const uint32_t n = share(to, from, places[i]);
        assert_int_equal(rt_session_lent(from), n);
        assert_ptr_equal(rt_session_lender(to), n ? from : NULL);
        if (n)
            assert_as_alone(m, cfg, to, what);
        read_test_ids(from, ids + AT, 60);
        read_test_ids(to, other, 100);
        read_test_ids(from, ids + AT + 60, 60);
        assert_as_alone(m, cfg, from, what);
        assert_as_alone(m, cfg, to, what);
        rt_session_free(from);
        read_test_ids(to, other + 100, 20);
        rt_session_go_back(to, rt_session_len(to) - 110); /* before what it has read itself, and on from there */
        read_test_ids(to, other, 70);
        assert_as_alone(m, cfg, to, what);
        rt_session_free(to);
    }
}

/* Each goes on from the one before, until there are more than a cache can look after; the first ones end first. */
static void chain_is_exact(const rt_model *m, const rt_ctx_cfg *cfg, const char *what) {
    rt_session *s[CHAIN];
    int32_t ids[LEN];
    for (uint32_t i = 0; i < CHAIN; i++) {
        s[i] = new_test_session(m, cfg);
        draw_ids(m, 20 + i, ids, LEN);
        const uint32_t n = i ? share(s[i], s[i - 1], 70 * i) : 0;
        read_test_ids(s[i], ids, 70 * i + 75 - n);
    }
    for (uint32_t i = 0; i < CHAIN; i++) {
        for (uint32_t j = i; j < CHAIN; j++)
            assert_as_alone(m, cfg, s[j], what);
        rt_session_free(s[i]);
    }
}

static void is_exact(const rt_model *m, const rt_ctx_cfg *cfg, const char *what) {
    two_are_exact(m, cfg, what);
    chain_is_exact(m, cfg, what);
}

static void share_is_exact_with_every_codec(void **state) {
    (void)state;
    rt_model *m = load_test_model("tiny/llama", NULL, 1);
    for (int id = 0; id < KV_TC; id++)
        for (int window = 0; window <= 20; window += 20) {
            char what[64];
            snprintf(what, sizeof what, "%s, window %d", kv_codec_names[id].name, window);
            rt_ctx_cfg cfg = setting((kv_codec_id)id, (kv_codec_id)id, window);
            if (cache_suits(m, &cfg))
                (id % 3 ? two_are_exact : is_exact)(m, &cfg, what);
        }
    rt_ctx_cfg mixed = setting(KV_F16, KV_Q4_0, 20);
    is_exact(m, &mixed, "f16 keys, q4_0 values");
    rt_model_free(m);
}

static void share_is_exact_with_a_calibrated_codec(void **state) {
    (void)state;
    static const char *const names[] = {"tiny/llama", "tiny/gemma3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rt_model *m = load_test_model(names[i], NULL, 1);
        prof *p = calibrated(m);
        for (int window = 0; window <= 70; window += 35) {
            rt_ctx_cfg cfg = setting(-1, -1, window);
            cfg.profile = p;
            is_exact(m, &cfg, names[i]);
        }
        prof_free(p);
        rt_model_free(m);
    }
}

static void share_is_exact_with_every_policy(void **state) {
    (void)state;
    rt_model *m = load_test_model("tiny/llama", NULL, 1);
    for (int policy = KV_EVICT_NONE + 1; policy < KV_EVICT_COUNT; policy++)
        for (int i = 0; i < 6 && !kv_evict_names[policy].calibrated; i++) {
            char what[64];
            snprintf(what, sizeof what, "%s, setting %d", kv_evict_names[policy].name, i);
            rt_ctx_cfg cfg = setting(KV_Q8_0, i % 3 == 2 ? KV_F16 : KV_Q8_0, i % 3 ? 40 : 0);
            cfg.evict = policy;
            cfg.budget.tokens = i < 3 ? 128 : 200;
            cfg.recent = 16;
            cfg.ada = i >= 3;
            two_are_exact(m, &cfg, what);
        }
    rt_model_free(m);
}

static void share_is_exact_on_every_model(void **state) {
    (void)state;
    static const char *const names[] = {"tiny/gemma3",        "arch/deci",    "arch/llama-shared-kv",
                                        "arch/phi3-longrope", "arch/cohere2", "arch/llama-wide-values"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rt_model *m = load_test_model(names[i], NULL, 1);
        for (int window = 0; window <= 20; window += 20) {
            rt_ctx_cfg cfg = setting(KV_Q8_0, KV_Q4_0, window), exact = setting(KV_F16, KV_F16, 0);
            if (cache_suits(m, &cfg))
                is_exact(m, &cfg, names[i]);
            is_exact(m, &exact, names[i]);
        }
        rt_model_free(m);
    }
}

/* With 4 sinks, a window of 64 that tokens leave sixteen at a time, and all else encoded; in f16; and where a budget lets go of
 * tokens. */
static void states_are_those_of_the_window(void **state) {
    (void)state;
    static const struct {
        kv_codec_id id;
        uint32_t read;
        double least, most; /* exact */
    } rows[] = {{KV_Q8_0, 3, 3, 3}, {KV_Q8_0, 64, 64, 64}, {KV_Q8_0, 250, 53, 68}, {KV_F16, 250, 250, 250}};
    rt_model *m = load_test_model("tiny/llama", NULL, 1);
    int32_t ids[LEN];
    double exact, encoded;
    draw_ids(m, 11, ids, LEN);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rt_ctx_cfg cfg = setting(rows[i].id, rows[i].id, 64);
        cfg.sinks = 4;
        rt_session *s = new_test_session(m, &cfg);
        read_test_ids(s, ids, rows[i].read);
        kv_cache_states(rt_ctx_cache(rt_session_ctx(s)), &exact, &encoded);
        assert_true(exact >= rows[i].least && exact <= rows[i].most);
        assert_float_equal(exact + encoded, rows[i].read, 0);
        rt_session_free(s);
    }
    rt_ctx_cfg cfg = setting(KV_Q8_0, KV_Q8_0, 64);
    cfg.evict = KV_EVICT_STREAMING;
    cfg.budget = (kv_budget){.tokens = 128};
    rt_session *s = new_test_session(m, &cfg);
    read_test_ids(s, ids, 250);
    kv_cache_states(rt_ctx_cache(rt_session_ctx(s)), &exact, &encoded);
    assert_true(exact >= 53 && encoded > 0 && exact + encoded <= 128);
    rt_session_free(s);
    rt_model_free(m);
}

static void share_copies_no_whole_blocks(void **state) {
    (void)state;
    rt_model *m = load_test_model("tiny/llama", NULL, 1);
    const rt_ctx_cfg cfg = setting(KV_Q8_0, KV_Q8_0, 20);
    int32_t ids[LEN];
    uint64_t own, elsewhere, all;
    draw_ids(m, 11, ids, LEN);
    rt_session *a = new_test_session(m, &cfg), *b = new_test_session(m, &cfg), *c = new_test_session(m, &cfg);
    read_test_ids(a, ids, AT);
    kv_cache_used(rt_ctx_cache(rt_session_ctx(a)), &all, &elsewhere);
    assert_int_equal(elsewhere, 0);
    share(b, a, AT);
    kv_cache_used(rt_ctx_cache(rt_session_ctx(b)), &own, &elsewhere);
    assert_int_equal(own + elsewhere, all);
    assert_true(elsewhere > all / 2);
    read_test_ids(b, ids + AT, 100);
    share(c, b, AT + 100);
    assert_true(used_elsewhere(c) > elsewhere);
    /* what it does not use any more it gives back */
    assert_ptr_equal(rt_session_lender(c), b);
    rt_session_go_back(c, 0);
    assert_null(rt_session_lender(c));
    assert_int_equal(rt_session_lent(b), 0);
    assert_int_equal(used_elsewhere(c), 0);
    rt_session_free(a);
    rt_session_free(b);
    rt_session_free(c);
    rt_model_free(m);
}

/* A file's blocks are lent like any others, and it stays open for them. */
static void share_takes_what_came_from_a_file(void **state) {
    (void)state;
    rt_model *m = load_test_model("tiny/llama", NULL, 1);
    const rt_ctx_cfg cfg = setting(KV_Q4_0, KV_Q8_0, 20);
    char path[] = "/tmp/kv-share-XXXXXX";
    int32_t ids[LEN];
    kv_err err = {0};
    draw_ids(m, 11, ids, LEN);
    rt_session *a = new_test_session(m, &cfg), *b = NULL, *c = new_test_session(m, &cfg);
    close(mkstemp(path));
    read_test_ids(a, ids, AT);
    if (rt_session_save(a, path, &(rt_save_cfg){.program = "test"}, NULL, NULL, &err) ||
        rt_session_open(m, NULL, &cfg, path, NULL, NULL, &b, &err))
        fail_msg("%s", err.msg);
    unlink(path);
    read_test_ids(b, ids + AT, 70);
    share(c, b, AT + 70);
    rt_session_free(b);
    read_test_ids(c, ids + AT + 70, 20);
    assert_as_alone(m, &cfg, c, "a file");
    rt_session_free(a);
    rt_session_free(c);
    rt_model_free(m);
}

static void share_refuses_what_cannot_be(void **state) {
    (void)state;
    rt_model *m = load_test_model("tiny/llama", NULL, 1);
    const rt_ctx_cfg cfg = setting(KV_Q8_0, KV_Q8_0, 20), otherwise = setting(KV_Q8_0, KV_Q4_0, 20);
    rt_ctx_cfg small = cfg;
    small.n_ctx = 128;
    int32_t ids[LEN];
    uint32_t reached;
    kv_err err = {0};
    draw_ids(m, 11, ids, LEN);
    rt_session *a = new_test_session(m, &cfg), *b = new_test_session(m, &otherwise), *c = new_test_session(m, &cfg),
               *d = new_test_session(m, &small);
    read_test_ids(a, ids, AT);
    read_test_ids(c, ids, 5);
    assert_int_equal(rt_session_share(b, a, 100, &reached, &err), KV_EINVAL);
    assert_int_equal(rt_session_len(b), 0);
    assert_int_equal(rt_session_share(c, a, 100, &reached, &err), KV_EINVAL);
    assert_int_equal(rt_session_len(c), 5);
    assert_int_equal(rt_session_share(d, a, AT, &reached, &err), KV_ERANGE);
    assert_int_equal(rt_session_len(d), 0);
    assert_int_equal(rt_session_lent(a), 0);
    read_test_ids(d, ids, 100); /* it is of use all the same */
    assert_as_alone(m, &small, d, "a refused one");
    rt_session_free(a);
    rt_session_free(b);
    rt_session_free(c);
    rt_session_free(d);
    rt_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(share_is_exact_with_every_codec),   cmocka_unit_test(share_is_exact_with_a_calibrated_codec),
        cmocka_unit_test(share_is_exact_with_every_policy),  cmocka_unit_test(share_is_exact_on_every_model),
        cmocka_unit_test(share_copies_no_whole_blocks),      cmocka_unit_test(states_are_those_of_the_window),
        cmocka_unit_test(share_takes_what_came_from_a_file), cmocka_unit_test(share_refuses_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
