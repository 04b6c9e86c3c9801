/* Sessions that go on past their context: what they hold depends on the ids alone, and goes through .kv files. */
#include "session/store.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LEN = 1100, CTX = 384, KEEP = 21, STEP = 64 };

static rt_ctx_cfg setting(kv_codec_id k, kv_codec_id v, int window) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.ctk = k;
    cfg.ctv = v;
    cfg.window = window;
    cfg.sinks = window ? 3 : 0;
    cfg.n_ctx = CTX;
    cfg.n_batch = 64;
    cfg.checkpoint_every = 100;
    return cfg;
}

static rt_session *new_session(const rt_model *m, const rt_ctx_cfg *cfg) {
    kv_err err = {0};
    rt_session *s = new_test_session(m, cfg);
    if (rt_session_endless(s, KEEP, 0, &err))
        fail_msg("%s", err.msg);
    return s;
}

static void assert_same(const rt_model *m, rt_session *a, rt_session *b, const char *what) {
    if (rt_session_len(a) != rt_session_len(b) ||
        memcmp(rt_session_ids(a), rt_session_ids(b), rt_session_len(a) * sizeof(int32_t)) ||
        memcmp(rt_session_logits(a), rt_session_logits(b), rt_model_hparams(m)->n_vocab * sizeof(float)) ||
        kv_cache_digest(rt_ctx_cache(rt_session_ctx(a))) != kv_cache_digest(rt_ctx_cache(rt_session_ctx(b))))
        fail_msg("%s: not the same", what);
}

/* Of LEN ids, the first ones and the newest. */
static void assert_forgot(rt_session *s, const int32_t *ids, const char *what) {
    const uint64_t gone = rt_session_forgotten(s);
    assert_int_equal(gone % STEP, 0);
    assert_int_equal(rt_session_len(s), LEN - gone);
    assert_true(rt_session_len(s) <= CTX && rt_session_len(s) > CTX - STEP);
    if (memcmp(rt_session_ids(s), ids, KEEP * sizeof *ids) ||
        memcmp(rt_session_ids(s) + KEEP, ids + KEEP + gone, (rt_session_len(s) - KEEP) * sizeof *ids) ||
        memcmp(rt_seq_tokens(rt_ctx_seq(rt_session_ctx(s))), rt_session_ids(s), rt_session_len(s) * sizeof *ids))
        fail_msg("%s: other ids are left", what);
}

/* Read at once, in other batches, token by token with all logits, by way of a file, and after a way back. */
static void goes_on(const rt_model *m, const rt_ctx_cfg *cfg, const char *what) {
    char path[] = "/tmp/kv-endless-XXXXXX";
    const size_t n_vocab = rt_model_hparams(m)->n_vocab;
    rt_ctx_cfg other = *cfg;
    int32_t ids[LEN];
    kv_err err = {0};
    uint32_t from;
    draw_ids(m, 5, ids, LEN);
    rt_session *a = new_session(m, cfg), *c = new_session(m, cfg), *d = NULL;
    assert_int_equal(rt_session_forgets(a, &from), STEP);
    assert_int_equal(from, KEEP);
    read_test_ids(a, ids, LEN);
    assert_forgot(a, ids, what);
    other.n_batch = 13;
    rt_session *b = new_session(m, &other);
    float *logits = malloc(13 * n_vocab * sizeof *logits);
    for (uint32_t at = 0, n; at < LEN; at += n) {
        n = LEN - at < 13 ? LEN - at : 13;
        if (rt_session_forward(b, ids + at, n, at % 2 ? n : 0, at % 2 ? logits : NULL, &err))
            fail_msg("%s: %s", what, err.msg);
        if (at % 2)
            assert_memory_equal(logits + (n - 1) * n_vocab, rt_session_logits(b), n_vocab * sizeof *logits);
    }
    free(logits);
    assert_same(m, a, b, what);
    read_test_ids(c, ids, 700); /* some is forgotten by now */
    assert_true(rt_session_forgotten(c) > 0);
    close(mkstemp(path));
    if (rt_session_save(c, path, &(rt_save_cfg){.program = "test"}, NULL, NULL, &err) ||
        rt_session_open(m, NULL, cfg, path, NULL, NULL, &d, &err) || rt_session_endless(d, KEEP, 0, &err))
        fail_msg("%s: %s", what, err.msg);
    unlink(path);
    assert_true(kv_cache_digest(rt_ctx_cache(rt_session_ctx(c))) == kv_cache_digest(rt_ctx_cache(rt_session_ctx(d))));
    read_test_ids(c, ids + 700, 30); /* there is room for so many, and a way back */
    rt_session_go_back(c, rt_session_len(c) - 30);
    read_test_ids(c, ids + 700, LEN - 700);
    read_test_ids(d, ids + 700, LEN - 700);
    assert_same(m, a, d, what);
    rt_session_free(a);
    rt_session_free(b);
    rt_session_free(c);
    rt_session_free(d);
}

static void endless_goes_on_with_every_codec(void **state) {
    (void)state;
    rt_model *m = load_test_model("tiny/llama", NULL, 2);
    static const kv_codec_id ids[] = {KV_F16, KV_Q8_0, KV_Q4_0, KV_TURBO4};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        for (int window = 0; window <= 70; window += 70) {
            char what[64];
            snprintf(what, sizeof what, "%s, window %d", kv_codec_names[ids[i]].name, window);
            rt_ctx_cfg cfg = setting(ids[i], i == 2 ? KV_F16 : ids[i], window);
            goes_on(m, &cfg, what);
        }
    rt_model_free(m);
}

static void endless_goes_on_with_every_model(void **state) {
    (void)state;
    static const char *const names[] = {"tiny/gemma3",          "arch/gemma2",        "arch/deci",
                                        "arch/llama-shared-kv", "arch/phi3-longrope", "arch/cohere2",
                                        "arch/olmo2-window",    "arch/exaone4",       "arch/mistral3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rt_model *m = load_test_model(names[i], NULL, 2);
        rt_ctx_cfg exact = setting(KV_F16, KV_F16, 0);
        goes_on(m, &exact, names[i]);
        rt_model_free(m);
    }
}

/* Too short a context, keys that are normed last, and budgets without frames. */
static void endless_says_what_cannot_be(void **state) {
    (void)state;
    rt_model *m = load_test_model("tiny/llama", NULL, 2), *late = load_test_model("arch/hunyuan-dense", NULL, 2);
    rt_session *s;
    kv_err err = {0};
    rt_ctx_cfg cfg = setting(KV_Q8_0, KV_Q8_0, 70);
    cfg.n_ctx = 128;
    assert_int_equal(rt_session_new(m, &cfg, &s, &err), KV_OK);
    assert_int_equal(rt_session_endless(s, 21, 0, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "a context of 256 would do"));
    rt_session_free(s);
    cfg = setting(KV_Q8_0, KV_Q8_0, 0);
    cfg.budget.tokens = 200;
    cfg.evict = KV_EVICT_SNAPKV;
    assert_int_equal(rt_session_new(m, &cfg, &s, &err), KV_OK);
    assert_int_equal(rt_session_endless(s, 21, 0, &err), KV_EUNSUPP);
    assert_non_null(strstr(err.msg, "RoPE frames"));
    rt_session_free(s);
    cfg = setting(KV_F16, KV_F16, 0);
    assert_int_equal(rt_session_new(late, &cfg, &s, &err), KV_OK);
    assert_int_equal(rt_session_endless(s, 21, 0, &err), KV_EUNSUPP);
    assert_non_null(strstr(err.msg, "hunyuan-dense"));
    rt_session_free(s);
    rt_model_free(m);
    rt_model_free(late);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endless_goes_on_with_every_codec),
        cmocka_unit_test(endless_goes_on_with_every_model),
        cmocka_unit_test(endless_says_what_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
