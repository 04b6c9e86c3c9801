/* Contexts of the public API: a session goes on from a file, alone or in a pool; options and facts; what is refused. */
#include "support.h"

#include <kv/kv.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define OK(call)                                                                                                               \
    do {                                                                                                                       \
        kv_err err_ = {0}, *e = &err_;                                                                                         \
        if (call)                                                                                                              \
            fail_msg("%s", err_.msg);                                                                                          \
    } while (0)

enum { AT = 80, LEN = 120 };

static char path[] = "/tmp/kv-context-XXXXXX";
static int32_t ids[LEN];

static kv_model *load(const char *name) {
    kv_model_options o = KV_MODEL_OPTIONS_INIT;
    char model[4096];
    kv_model *m = NULL;
    o.threads = 2;
    snprintf(model, sizeof model, "%s/tiny/%s.gguf", KV_TEST_DATA, name);
    OK(kv_model_load(model, &o, &m, e));
    return m;
}

static kv_session_options options(void) {
    kv_session_options o = KV_SESSION_OPTIONS_INIT;
    o.n_ctx = 160;
    o.cache_k = o.cache_v = "q8_0";
    o.window = 16;
    o.sinks = 2;
    return o;
}

static kv_session *reader(const kv_model *m) {
    const kv_session_options o = options();
    kv_session *s = NULL;
    OK(kv_session_new(m, &o, &s, e));
    OK(kv_session_prefill(s, ids, AT, NULL, NULL, e));
    return s;
}

/* Both read on, and are the same then. */
static void read_on(kv_session *a, kv_session *b, const kv_model *m) {
    kv_model_facts f = KV_MODEL_FACTS_INIT;
    const float *x, *y;
    OK(kv_model_get_facts(m, &f, e));
    OK(kv_session_prefill(a, ids + AT, LEN - AT, NULL, NULL, e));
    OK(kv_session_prefill(b, ids + AT, LEN - AT, NULL, NULL, e));
    OK(kv_session_logits(a, &x, e));
    OK(kv_session_logits(b, &y, e));
    assert_memory_equal(x, y, f.n_vocab * sizeof *x);
}

static void context_goes_on_from_a_file(void **state) {
    (void)state;
    kv_model *m = load("llama");
    kv_context_options how = KV_CONTEXT_OPTIONS_INIT;
    kv_context_facts f = KV_CONTEXT_FACTS_INIT;
    kv_pool *pool = NULL;
    OK(kv_pool_new(m, NULL, &pool, e));
    for (uint32_t flags = 0; flags <= (KV_CONTEXT_PACKED | KV_CONTEXT_LEAN); flags++) {
        kv_session *a = reader(m), *b = NULL;
        kv_session_options o = KV_SESSION_OPTIONS_INIT;
        kv_session_facts held = KV_SESSION_FACTS_INIT;
        how.title = "Notes";
        how.flags = flags;
        o.pool = flags % 2 ? pool : NULL;
        OK(kv_context_save(a, path, &how, NULL, NULL, e));
        OK(kv_context_open(m, path, &o, &b, e));
        OK(kv_session_get_facts(b, &held, e));
        assert_int_equal(held.len, AT);
        assert_int_equal(held.n_ctx, 160); /* as it was saved */
        assert_int_equal(held.window, 16);
        read_on(a, b, m);
        OK(kv_context_get_facts(path, &f, e));
        assert_string_equal(f.title, "Notes");
        assert_string_equal(f.arch, "llama");
        assert_int_equal(f.n_tokens, AT);
        assert_int_equal(f.packed, flags & KV_CONTEXT_PACKED ? 1 : 0);
        assert_true(f.bytes > 0 && f.bytes_f16 > 0 && f.saved > 1700000000);
        kv_session_free(a);
        kv_session_free(b);
    }
    kv_pool_free(pool);
    kv_model_free(m);
}

/* With a window and without, where nothing is said of what a window would hold. */
static void context_of_a_session_that_went_back(void **state) {
    (void)state;
    kv_model *m = load("llama");
    kv_context_options how = KV_CONTEXT_OPTIONS_INIT;
    for (int i = 0; i < 4; i++) {
        kv_session_options o = options();
        kv_session *a = NULL, *b = NULL;
        o.window = i < 2 ? 0 : 16;
        how.flags = i % 2 ? KV_CONTEXT_LEAN : 0;
        OK(kv_session_new(m, &o, &a, e));
        OK(kv_session_prefill(a, ids, LEN, NULL, NULL, e));
        OK(kv_session_go_back(a, AT, NULL, e));
        OK(kv_context_save(a, path, &how, NULL, NULL, e));
        OK(kv_context_open(m, path, NULL, &b, e));
        read_on(a, b, m);
        kv_session_free(a);
        kv_session_free(b);
    }
    kv_model_free(m);
}

static bool stop(void *user, double done) {
    (void)user, (void)done;
    return false;
}

static void context_refuses_what_makes_no_sense(void **state) {
    (void)state;
    kv_model *m = load("llama"), *other = load("qwen3");
    kv_session *s = reader(m), *b = NULL;
    kv_session_options o = KV_SESSION_OPTIONS_INIT;
    kv_context_options how = KV_CONTEXT_OPTIONS_INIT;
    kv_context_facts f = KV_CONTEXT_FACTS_INIT;
    kv_err err = {0};
    char title[1100];
    OK(kv_context_save(s, path, NULL, NULL, NULL, e));
    assert_int_equal(kv_context_open(other, path, NULL, &b, &err), KV_EMISMATCH);
    o.cache_k = "q4_0";
    assert_int_equal(kv_context_open(m, path, &o, &b, &err), KV_EMISMATCH);
    assert_null(b);
    o.cache_k = "nonsense";
    assert_int_equal(kv_context_open(m, path, &o, &b, &err), KV_EINVAL);
    assert_int_equal(kv_context_open(m, "/nowhere/at.kv", NULL, &b, &err), KV_EIO);
    assert_int_equal(kv_context_get_facts("/nowhere/at.kv", &f, &err), KV_EIO);
    assert_int_equal(kv_context_save(s, "/nowhere/at.kv", NULL, NULL, NULL, &err), KV_EIO);
    how.flags = 64;
    assert_int_equal(kv_context_save(s, path, &how, NULL, NULL, &err), KV_EINVAL);
    memset(title, 'x', sizeof title - 1);
    title[sizeof title - 1] = '\0';
    how = (kv_context_options)KV_CONTEXT_OPTIONS_INIT;
    how.title = title;
    assert_int_equal(kv_context_save(s, path, &how, NULL, NULL, &err), KV_EINVAL);
    assert_int_equal(kv_context_save(s, path, NULL, stop, NULL, &err), KV_ECANCEL);
    OK(kv_context_open(m, path, NULL, &b, e)); /* the file is the one from before */
    kv_session_free(b);
    kv_session_clear(s);
    assert_int_equal(kv_context_save(s, path, NULL, NULL, NULL, &err), KV_EINVAL);
    f.size = 0;
    assert_int_equal(kv_context_get_facts(path, &f, &err), KV_EINVAL);
    kv_session_free(s);
    kv_model_free(m);
    kv_model_free(other);
}

static int make_file(void **state) {
    (void)state;
    const int fd = mkstemp(path);
    for (int i = 0; i < LEN; i++)
        ids[i] = 4 + i * 31 % 200;
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(context_goes_on_from_a_file),
        cmocka_unit_test(context_of_a_session_that_went_back),
        cmocka_unit_test(context_refuses_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
