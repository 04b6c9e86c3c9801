/* Sessions in .kv files: going on from a file is going on, to the bit, whatever the codec, policy, model and processor; and
 * what is not whole, or of something else, is refused. */
#include "calibrated.h"
#include "session/store.h"
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { AT = 300, LEN = 420 };

static size_t n_vocab; /* of the model that was loaded last */

static char folder[] = "/tmp/kv-store-XXXXXX";

static const char *in_folder(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static rt_model *load(const char *name, const char *cpu) {
    rt_model *m = load_test_model(name, cpu, 2);
    n_vocab = rt_model_hparams(m)->n_vocab;
    return m;
}

static rt_ctx_cfg setting(kv_codec_id k, kv_codec_id v, int window) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.ctk = k;
    cfg.ctv = v;
    cfg.window = window;
    cfg.sinks = window ? 3 : 0;
    cfg.n_ctx = 512;
    cfg.n_batch = 64;
    return cfg;
}

static void save(rt_session *s, const char *path, bool packed, bool lean) {
    kv_err err = {0};
    const rt_save_cfg cfg = {.title = "a \"title\"\n", .program = "test", .packed = packed, .lean = lean};
    if (rt_session_save(s, path, &cfg, NULL, NULL, &err))
        fail_msg("%s", err.msg);
}

static rt_session *open_session(const rt_model *m, const rt_ctx_cfg *cfg, const char *path) {
    kv_err err = {0};
    rt_session *s = NULL;
    if (rt_session_open(m, NULL, cfg, path, NULL, NULL, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* What one can see of a session that has read its ids. */
static void assert_same(rt_session *a, rt_session *b, const char *what) {
    kv_err err = {0};
    if (rt_session_read(a, NULL, NULL, &err) || rt_session_read(b, NULL, NULL, &err))
        fail_msg("%s: %s", what, err.msg);
    if (rt_session_len(a) != rt_session_len(b) ||
        memcmp(rt_session_ids(a), rt_session_ids(b), rt_session_len(a) * sizeof(int32_t)) ||
        memcmp(rt_session_logits(a), rt_session_logits(b), n_vocab * sizeof(float)) ||
        kv_cache_digest(rt_ctx_cache(rt_session_ctx(a))) != kv_cache_digest(rt_ctx_cache(rt_session_ctx(b))))
        fail_msg("%s: what goes on from a file is not the same", what);
}

/* One that reads on without a break, and one that does so by way of a file, from several places. */
static void goes_on_exactly(const rt_model *m, const rt_ctx_cfg *cfg, const char *what) {
    static const uint32_t places[] = {1, 65, AT};
    const char *path = in_folder("a.kv");
    int32_t ids[LEN];
    draw_ids(m, 11, ids, LEN);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        rt_session *whole = new_test_session(m, cfg), *other;
        read_test_ids(whole, ids, places[i]);
        save(whole, path, i % 2, i % 3 == 0);
        rt_ctx_cfg open_cfg = i % 2 ? *cfg : RT_CTX_CFG_DEFAULT;
        open_cfg.profile = cfg->profile;
        other = open_session(m, &open_cfg, path);
        assert_same(whole, other, what);
        read_test_ids(whole, ids + places[i], LEN - places[i]);
        read_test_ids(other, ids + places[i], LEN - places[i]);
        assert_same(whole, other, what);
        rt_session_free(whole);
        rt_session_free(other);
    }
}

static void store_goes_on_exactly_with_every_codec(void **state) {
    (void)state;
    rt_model *m = load("tiny/llama", NULL);
    for (int id = 0; id < KV_TC; id++)
        for (int window = 0; window <= 40; window += 20) {
            char what[64];
            snprintf(what, sizeof what, "%s, window %d", kv_codec_names[id].name, window);
            rt_ctx_cfg cfg = setting((kv_codec_id)id, (kv_codec_id)id, window);
            if (cache_suits(m, &cfg))
                goes_on_exactly(m, &cfg, what);
        }
    rt_ctx_cfg mixed = setting(KV_F16, KV_Q4_0, 20);
    goes_on_exactly(m, &mixed, "f16 keys, q4_0 values");
    rt_model_free(m);
}

static bool is_coded(const char *path) {
    ctx_file *f;
    ctx_coded coded;
    kv_err err = {0};
    bool any = false;
    assert_int_equal(ctx_file_open(path, true, NULL, NULL, &f, &err), KV_OK);
    for (uint32_t i = 0; i < 99; i++) {
        assert_int_equal(ctx_file_coded(f, CTX_BODY, i, 1 << 20, &coded, &err), KV_OK);
        any |= coded.data != NULL;
    }
    ctx_file_close(f);
    return any;
}

/* Its blocks are packed by what they are. */
static void store_goes_on_exactly_with_a_calibrated_codec(void **state) {
    (void)state;
    static const char *const names[] = {"tiny/llama", "tiny/gemma3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rt_model *m = load(names[i], NULL);
        prof *p = calibrated(m);
        for (int j = 0; j < 3; j++) {
            rt_ctx_cfg cfg = setting(-1, -1, j ? 20 : 0);
            cfg.profile = p;
            if (j == 2) {
                cfg.evict = KV_EVICT_H2O;
                cfg.budget.tokens = 128;
                cfg.recent = 16;
            }
            goes_on_exactly(m, &cfg, names[i]);
            int32_t ids[LEN];
            draw_ids(m, 11, ids, LEN);
            for (int t = 0; t < LEN; t++)
                ids[t] %= 12; /* so that there is something to guess */
            rt_session *s = new_test_session(m, &cfg);
            read_test_ids(s, ids, AT);
            save(s, in_folder("a.kv"), true, false);
            assert_true(is_coded(in_folder("a.kv")));
            rt_session *other = open_session(m, &cfg, in_folder("a.kv"));
            assert_same(s, other, names[i]);
            read_test_ids(s, ids + AT, LEN - AT);
            read_test_ids(other, ids + AT, LEN - AT);
            assert_same(s, other, names[i]);
            rt_session_free(s);
            rt_session_free(other);
        }
        prof_free(p);
        rt_model_free(m);
    }
}

static void store_goes_on_exactly_with_every_policy(void **state) {
    (void)state;
    rt_model *m = load("tiny/llama", NULL);
    for (int policy = KV_EVICT_NONE + 1; policy < KV_EVICT_COUNT; policy++)
        for (int i = 0; i < 6 && !kv_evict_names[policy].calibrated; i++) {
            char what[64];
            snprintf(what, sizeof what, "%s, setting %d", kv_evict_names[policy].name, i);
            rt_ctx_cfg cfg = setting(KV_Q8_0, i % 3 == 2 ? KV_F16 : KV_Q8_0, i % 3 ? 40 : 0);
            cfg.evict = policy;
            cfg.budget.tokens = i < 3 ? 128 : 200;
            cfg.recent = 16;
            cfg.ada = i >= 3;
            goes_on_exactly(m, &cfg, what);
        }
    rt_model_free(m);
}

static void store_goes_on_exactly_on_every_model(void **state) {
    (void)state;
    static const char *const names[] = {
        "tiny/gemma3",        "arch/gemma2",  "arch/deci",         "arch/llama-shared-kv",   "arch/openelm",
        "arch/phi3-longrope", "arch/cohere2", "arch/olmo2-window", "arch/llama-wide-values", "arch/exaone4"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rt_model *m = load(names[i], NULL);
        for (int window = 0; window <= 20; window += 20) {
            rt_ctx_cfg cfg = setting(KV_Q8_0, KV_Q4_0, window), exact = setting(KV_F16, KV_F16, 0);
            if (cache_suits(m, &cfg))
                goes_on_exactly(m, &cfg, names[i]);
            goes_on_exactly(m, &exact, names[i]);
        }
        rt_model_free(m);
    }
}

/* What was read with one instruction set goes on with another. */
static void store_goes_on_exactly_on_other_processors(void **state) {
    (void)state;
    rt_model *scalar = load("tiny/llama", "scalar"), *best = load("tiny/llama", NULL);
    const rt_ctx_cfg cfg = setting(KV_Q8_0, KV_TURBO3, 20);
    int32_t ids[LEN];
    draw_ids(scalar, 11, ids, LEN);
    rt_session *a = new_test_session(scalar, &cfg);
    read_test_ids(a, ids, AT);
    save(a, in_folder("a.kv"), false, false);
    rt_session *b = open_session(best, &RT_CTX_CFG_DEFAULT, in_folder("a.kv"));
    read_test_ids(a, ids + AT, LEN - AT);
    read_test_ids(b, ids + AT, LEN - AT);
    assert_same(a, b, "scalar to the best");
    rt_session_free(a);
    rt_session_free(b);
    rt_model_free(scalar);
    rt_model_free(best);
}

/* A longer context, other batches; and the places to go back to come along. */
static void store_keeps_ways_back(void **state) {
    (void)state;
    rt_model *m = load("tiny/llama", NULL);
    int32_t ids[LEN];
    kv_err err = {0};
    draw_ids(m, 11, ids, LEN);
    for (int i = 0; i < 4; i++) {
        rt_ctx_cfg cfg = setting(KV_Q4_0, KV_Q8_0, 40), other = RT_CTX_CFG_DEFAULT;
        if (i == 3) {
            cfg.evict = KV_EVICT_H2O;
            cfg.budget.tokens = 256;
        }
        rt_session *a = new_test_session(m, &cfg);
        read_test_ids(a, ids, 150);
        assert_int_equal(rt_session_checkpoint(a, &err), KV_OK);
        read_test_ids(a, ids + 150, 70);
        save(a, in_folder("a.kv"), i % 2, i == 2);
        other.n_ctx = i == 1 ? 1024 : 0;
        other.n_batch = 7;
        rt_session *b = open_session(m, &other, in_folder("a.kv"));
        assert_int_equal(rt_ctx_n_ctx(rt_session_ctx(b)), i == 1 ? 1024 : 512);
        assert_int_equal(rt_session_go_back(b, 150), i == 2 ? 0 : 150);
        rt_session_go_back(a, 150);
        read_test_ids(a, ids + 200, LEN - 200);
        read_test_ids(b, ids + 200, LEN - 200);
        assert_same(a, b, "after a way back");
        /* and to where the file ended, from behind it: the base is left and written anew */
        rt_session *c = open_session(m, &other, in_folder("a.kv"));
        read_test_ids(c, ids + 220, LEN - 220);
        assert_int_equal(rt_session_go_back(c, 220), i == 3 ? 0 : 220); /* evictions came between */
        read_test_ids(c, ids + 300, 50);
        rt_session *d = open_session(m, &other, in_folder("a.kv"));
        read_test_ids(d, ids + 300, 50);
        assert_same(c, d, "asked twice");
        /* a file of what came from a file */
        save(d, in_folder("b.kv"), false, true);
        rt_session *e = open_session(m, &other, in_folder("b.kv"));
        assert_same(d, e, "saved again");
        rt_session_free(a);
        rt_session_free(b);
        rt_session_free(c);
        rt_session_free(d);
        rt_session_free(e);
    }
    rt_model_free(m);
}

static kv_status try_open(const rt_model *m, const rt_ctx_cfg *cfg, const char *path, kv_err *err) {
    rt_session *s = NULL;
    kv_status st = rt_session_open(m, NULL, cfg, path, NULL, NULL, &s, err);
    assert_true(!st == (s != NULL));
    rt_session_free(s);
    return st;
}

static void store_refuses_what_is_of_something_else(void **state) {
    (void)state;
    rt_model *m = load("tiny/llama", NULL), *another = load("arch/llama-linear", NULL);
    rt_ctx_cfg cfg = setting(KV_Q8_0, KV_Q8_0, 20), other;
    const char *path = in_folder("a.kv");
    int32_t ids[LEN];
    kv_err err = {0};
    draw_ids(m, 11, ids, LEN);
    rt_session *s = new_test_session(m, &cfg);
    assert_int_equal(rt_session_save(s, path, &(rt_save_cfg){0}, NULL, NULL, &err), KV_EINVAL); /* nothing in it */
    read_test_ids(s, ids, AT);
    save(s, path, false, false);
    assert_int_equal(try_open(another, &RT_CTX_CFG_DEFAULT, path, &err), KV_EMISMATCH);
    assert_non_null(strstr(err.msg, "another model"));
    other = RT_CTX_CFG_DEFAULT;
    other.ctk = KV_Q4_0;
    assert_int_equal(try_open(m, &other, path, &err), KV_EMISMATCH);
    assert_non_null(strstr(err.msg, "stored as K q8_0"));
    other = RT_CTX_CFG_DEFAULT;
    other.window = 21;
    assert_int_equal(try_open(m, &other, path, &err), KV_EMISMATCH);
    other = RT_CTX_CFG_DEFAULT;
    other.n_ctx = AT - 1;
    assert_int_equal(try_open(m, &other, path, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "holds 300 tokens"));
    assert_int_equal(try_open(m, &RT_CTX_CFG_DEFAULT, in_folder("nowhere.kv"), &err), KV_EIO);
    assert_int_equal(try_open(m, &RT_CTX_CFG_DEFAULT, folder, &err), KV_EIO);
    assert_int_equal(try_open(m, &RT_CTX_CFG_DEFAULT, KV_TEST_DATA "/tiny/llama.gguf", &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "not a .kv file"));
    rt_session_free(s);
    rt_model_free(m);
    rt_model_free(another);
}

static char *read_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*len);
    assert_int_equal(fread(data, 1, *len, f), *len);
    fclose(f);
    return data;
}

static void write_file(const char *path, const char *data, size_t len) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

/* One bit in every 64th part, all bytes of the head, the table and the tail; and every length that it could be cut to. */
static void store_refuses_what_is_not_whole(void **state) {
    (void)state;
    rt_model *m = load("tiny/llama", NULL);
    int32_t ids[LEN];
    kv_err err = {0};
    prof *p = calibrated(m);
    draw_ids(m, 11, ids, LEN);
    for (int packed = 0; packed < 3; packed++) { /* the last by what it is */
        rt_ctx_cfg cfg = packed == 2 ? setting(-1, -1, 20) : setting(KV_Q8_0, KV_Q4_0, 20), open_cfg = RT_CTX_CFG_DEFAULT;
        open_cfg.profile = cfg.profile = packed == 2 ? p : NULL;
        rt_session *s = new_test_session(m, &cfg);
        size_t len;
        read_test_ids(s, ids, AT);
        save(s, in_folder("a.kv"), packed, false);
        char *data = read_file(in_folder("a.kv"), &len);
        for (size_t i = 0, step = len / 640; i < len; i += i < 64 || i > len - 1200 ? 1 : step) {
            data[i] = (char)(data[i] ^ 1 << i % 8);
            write_file(in_folder("b.kv"), data, len);
            const kv_status st = try_open(m, &open_cfg, in_folder("b.kv"), &err);
            if (st != KV_EFORMAT && st != KV_EUNSUPP)
                fail_msg("byte %zu of %zu: %d %s", i, len, st, err.msg);
            data[i] = (char)(data[i] ^ 1 << i % 8);
        }
        for (size_t cut = 0; cut < len; cut += 1 + len / 97) {
            write_file(in_folder("b.kv"), data, cut);
            assert_int_equal(try_open(m, &open_cfg, in_folder("b.kv"), &err), KV_EFORMAT);
        }
        write_file(in_folder("b.kv"), data, len);
        assert_int_equal(try_open(m, &open_cfg, in_folder("b.kv"), &err), KV_OK);
        free(data);
        rt_session_free(s);
    }
    prof_free(p);
    rt_model_free(m);
}

static void store_tells_what_it_holds(void **state) {
    (void)state;
    rt_model *m = load("tiny/llama", NULL);
    rt_ctx_cfg cfg = setting(KV_Q8_0, KV_Q4_0, 20);
    int32_t ids[LEN];
    ctx_file *f;
    ctx_about a;
    const int32_t *held;
    kv_err err = {0};
    draw_ids(m, 11, ids, LEN);
    rt_session *s = new_test_session(m, &cfg);
    read_test_ids(s, ids, AT);
    save(s, in_folder("a.kv"), true, true);
    assert_int_equal(ctx_file_open(in_folder("a.kv"), true, NULL, NULL, &f, &err), KV_OK);
    assert_int_equal(ctx_file_about(f, &a, &err), KV_OK);
    assert_string_equal(a.title, "a \"title\"\n");
    assert_string_equal(a.arch, "llama");
    assert_string_equal(a.settings.ctv, "q4_0");
    assert_int_equal(a.n_tokens, AT);
    assert_int_equal(a.n_marks, 1);
    assert_non_null(strstr(a.cache, "window 20"));
    assert_int_equal(rt_stored_ids(f, &a, &held, &err), KV_OK);
    assert_memory_equal(held, ids, sizeof(int32_t) * AT);
    assert_int_equal(rt_stored_fits(f, &a, m, &err), KV_OK);
    ctx_file_close(f);
    rt_session_free(s);
    rt_model_free(m);
}

/* What the hash of the tensors is kept in is found again, and what is not one is not believed. */
static void store_keeps_identities(void **state) {
    (void)state;
    char path[4096], first[33], again[33], kept[4200];
    gguf *g;
    kv_err err = {0};
    snprintf(path, sizeof path, "%s/tiny/llama.gguf", KV_TEST_DATA);
    assert_int_equal(gguf_open(path, &g, &err), KV_OK);
    assert_int_equal(gguf_identity(g, NULL, NULL, NULL, first, &err), KV_OK);
    assert_int_equal(strlen(first), 32);
    mkdir(in_folder("ids"), 0700);
    snprintf(kept, sizeof kept, "%s", in_folder("ids"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gguf_identity(g, kept, NULL, NULL, again, &err), KV_OK);
        assert_string_equal(first, again);
    }
    assert_int_equal(gguf_override(g, "llama.rope.freq_base=float:123", &err), KV_OK);
    assert_int_equal(gguf_identity(g, kept, NULL, NULL, again, &err), KV_OK);
    assert_string_not_equal(first, again);
    gguf_close(g);
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_goes_on_exactly_with_every_codec),
        cmocka_unit_test(store_goes_on_exactly_with_a_calibrated_codec),
        cmocka_unit_test(store_goes_on_exactly_with_every_policy),
        cmocka_unit_test(store_goes_on_exactly_on_every_model),
        cmocka_unit_test(store_goes_on_exactly_on_other_processors),
        cmocka_unit_test(store_keeps_ways_back),
        cmocka_unit_test(store_refuses_what_is_of_something_else),
        cmocka_unit_test(store_refuses_what_is_not_whole),
        cmocka_unit_test(store_tells_what_it_holds),
        cmocka_unit_test(store_keeps_identities),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
