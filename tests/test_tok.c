/* Tokenizers against llama.cpp: the reference files of the three real models, and several hundred strings more for these and
 * for small vocabularies with every pre-tokenizer (tests/make_tok_cases.py made the files). */
#include "support.h"
#include "text/tok.h"
#include "tok_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

/* ---- files ---- */

static json_t *load(const char *name) {
    char path[512];
    json_error_t je;
    snprintf(path, sizeof path, "%s/tok/%s", KV_TEST_DATA, name);
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &je);
    if (!j)
        fail_msg("%s:%d: %s", path, je.line, je.text);
    return j;
}

/* NULL where the model is not there. */
static tok *open_real(const char *file) {
    char path[4096];
    gguf *g;
    tok *t = NULL;
    kv_err err = {0};
    if (!find_model(file, path))
        return NULL;
    if (gguf_open(path, &g, &err) || tok_new(g, &t, &err))
        fail_msg("%s", err.msg);
    gguf_close(g);
    return t;
}

/* ---- comparing ---- */

static void check_ids(const tok *t, const char *what, const char *text, size_t len, unsigned flags, const json_t *want,
                      const json_t *before) {
    const size_t skip = json_array_size(before);
    int32_t *ids;
    size_t n;
    kv_err err = {0};
    if (tok_encode(t, text, len, flags, &ids, &n, &err))
        fail_msg("%s", err.msg);
    bool same = n == skip + json_array_size(want);
    for (size_t i = 0; same && i < n; i++)
        same = ids[i] == json_integer_value(i < skip ? json_array_get(before, i) : json_array_get(want, i - skip));
    if (!same) {
        char *wanted = json_dumps(want, JSON_COMPACT);
        print_error("%s, flags %u, '%.*s' (%zu bytes): wanted %s, got [", what, flags, (int)len, text, len, wanted);
        for (size_t i = 0; i < n; i++)
            print_error("%s%d", i ? "," : "", ids[i]);
        print_error("]\n");
        free(wanted);
        fail();
    }
    free(ids);
}

/* All strings of strings.json; a null entry of `want` is the entry of `otherwise` behind `before`. */
static void check_all(const tok *t, const char *what, unsigned flags, const json_t *want, const json_t *otherwise,
                      const json_t *before) {
    json_t *strings = load("strings.json"), *s;
    size_t i;
    assert_true(json_array_size(strings) > 200);
    assert_int_equal(json_array_size(strings), json_array_size(want));
    json_array_foreach(strings, i, s) {
        size_t len;
        char *text = text_bytes(s, &len);
        const json_t *w = json_array_get(want, i);
        const bool null = json_is_null(w);
        check_ids(t, what, text, len, flags, null ? json_array_get(otherwise, i) : w, null ? before : NULL);
        free(text);
    }
    json_decref(strings);
}

static void check_reference(const char *file, const char *cases) {
    tok *t = open_real(file);
    if (!t)
        skip();
    json_t *list = load(cases), *c;
    size_t i;
    assert_true(json_array_size(list) > 0);
    json_array_foreach(list, i, c) {
        const json_t *text = json_object_get(c, "text");
        check_ids(t, cases, json_string_value(text), json_string_length(text), 0, json_object_get(c, "plain"), NULL);
        check_ids(t, cases, json_string_value(text), json_string_length(text), TOK_BOS | TOK_SPECIAL,
                  json_object_get(c, "special"), NULL);
    }
    json_decref(list);
    tok_free(t);
}

static void check_more(const char *name) {
    json_t *real = load("real.json");
    const json_t *m = json_object_get(real, name), *plain = json_object_get(m, "plain");
    tok *t = open_real(json_string_value(json_object_get(m, "file")));
    if (t) {
        check_all(t, name, 0, plain, NULL, NULL);
        check_all(t, name, TOK_BOS | TOK_SPECIAL, json_object_get(m, "special"), plain, json_object_get(m, "bos"));
    }
    tok_free(t);
    json_decref(real);
    if (!t)
        skip();
}

static void tok_smollm2_matches_reference(void **state) {
    (void)state;
    check_reference(SMOLLM2, "smollm2-135m-tokens.json");
}

static void tok_qwen_matches_reference(void **state) {
    (void)state;
    check_reference(QWEN, "qwen2.5-coder-0.5b-tokens.json");
}

static void tok_gemma_matches_reference(void **state) {
    (void)state;
    check_reference(GEMMA, "gemma3-270m-tokens.json");
}

static void tok_smollm2_matches_more_strings(void **state) {
    (void)state;
    check_more("smollm2-135m");
}

static void tok_qwen_matches_more_strings(void **state) {
    (void)state;
    check_more("qwen2.5-coder-0.5b");
}

static void tok_gemma_matches_more_strings(void **state) {
    (void)state;
    check_more("gemma3-270m");
}

/* ---- small vocabularies ---- */

static void put_flags(file_image *f, json_t *flags) {
    const char *key;
    json_t *value;
    json_object_foreach(flags, key, value) {
        char full[64];
        snprintf(full, sizeof full, "tokenizer.ggml.%s", key);
        put_bool(f, full, json_is_true(value));
    }
}

static void tok_small_vocabularies_match(void **state) {
    (void)state;
    json_t *small = load("small.json"), *c;
    size_t i;
    json_array_foreach(json_object_get(small, "cases"), i, c) {
        const char *pre = json_string_value(json_object_get(c, "pre")), *kind = json_string_value(json_object_get(c, "vocab"));
        char what[64];
        file_image f = vocab_image(json_object_get(json_object_get(small, "vocabs"), kind));
        if (*pre)
            put_str(&f, "tokenizer.ggml.pre", pre);
        put_flags(&f, json_object_get(c, "flags"));
        tok *t = open_tok(&f);
        snprintf(what, sizeof what, "case %zu: %s %s", i, kind, pre);
        check_all(t, what, json_is_true(json_object_get(c, "special")) ? TOK_BOS | TOK_SPECIAL : 0, json_object_get(c, "ids"),
                  NULL, NULL);
        tok_free(t);
    }
    assert_true(i >= 10);
    json_decref(small);
}

/* A small vocabulary of the given kind, with a pre-tokenizer. */
static tok *small_tok(const char *kind, const char *pre) {
    json_t *small = load("small.json");
    file_image f = vocab_image(json_object_get(json_object_get(small, "vocabs"), kind));
    put_str(&f, "tokenizer.ggml.pre", pre);
    tok *t = open_tok(&f);
    json_decref(small);
    return t;
}

/* What the pieces of a text's tokens spell. Caller frees. */
static char *spell(const tok *t, const char *text, size_t len, unsigned flags, bool special, size_t *n) {
    int32_t *ids;
    size_t n_ids, piece;
    kv_err err = {0};
    char *out = malloc(8 * len + 64);
    if (tok_encode(t, text, len, flags, &ids, &n_ids, &err))
        fail_msg("%s", err.msg);
    *n = 0;
    for (size_t i = 0; i < n_ids; i++) {
        const char *p = tok_piece(t, ids[i], special, &piece);
        memcpy(out + *n, p, piece);
        *n += piece;
    }
    free(ids);
    return out;
}

static bool holds(const char *text, size_t len, const char *what) {
    return memmem(text, len, what, strlen(what)) != NULL;
}

static void tok_piece_gives_the_text_back(void **state) {
    (void)state;
    json_t *strings = load("strings.json"), *s;
    tok *bpe = small_tok("bpe", "qwen2"), *spm = small_tok("spm", "");
    size_t i, n, n_bpe = 0, n_spm = 0;
    json_array_foreach(strings, i, s) {
        size_t len;
        char *text = text_bytes(s, &len), *said;
        /* SPM keeps any bytes, but a broken character may swallow the mark of a space. U+2581 comes back as a space; a space
         * stands in front, and behind user-defined tokens. */
        if (len && (json_is_string(s) || !memchr(text, ' ', len)) && !holds(text, len, "\u2581") &&
            !holds(text, len, "[USER]") && !holds(text, len, "\n\n\n")) {
            said = spell(spm, text, len, 0, true, &n); /* SPM may join letters into the text of a control token */
            assert_int_equal(n, len + 1);
            assert_int_equal(said[0], ' ');
            assert_memory_equal(said + 1, text, len);
            free(said);
            n_spm++;
        }
        /* BPE keeps UTF-8, but this vocabulary has no tokens for the bytes 07 and F3 */
        if (json_is_string(s) && !memchr(text, 0x07, len) && !memchr(text, 0xF3, len)) {
            said = spell(bpe, text, len, 0, false, &n);
            assert_int_equal(n, len);
            assert_memory_equal(said, text, len);
            free(said);
            n_bpe++;
        }
        free(text);
    }
    assert_true(n_bpe > 200 && n_spm > 200);
    json_decref(strings);
    tok_free(bpe);
    tok_free(spm);
}

static void tok_piece_hides_control_tokens(void **state) {
    (void)state;
    static const char text[] = "a<|im_end|>[USER]b";
    tok *t = small_tok("bpe", "gpt-2");
    size_t n;
    char *said = spell(t, text, strlen(text), TOK_SPECIAL, false, &n);
    assert_int_equal(n, 8);
    assert_memory_equal(said, "a[USER]b", 8);
    free(said);
    said = spell(t, text, strlen(text), TOK_SPECIAL, true, &n);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(said, text, n);
    free(said);
    assert_string_equal(tok_piece(t, -1, true, &n), "");
    assert_int_equal(n, 0);
    assert_string_equal(tok_piece(t, (int32_t)tok_n_vocab(t), true, &n), "");
    tok_free(t);
}

static int32_t only_id(const tok *t, const char *text) {
    int32_t *ids, id;
    size_t n;
    kv_err err = {0};
    if (tok_encode(t, text, strlen(text), TOK_SPECIAL, &ids, &n, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(n, 1);
    id = ids[0];
    free(ids);
    return id;
}

static void tok_knows_what_ends_a_generation(void **state) {
    (void)state;
    tok *t = small_tok("bpe", "gpt-2");
    size_t n = 0;
    assert_true(tok_is_eog(t, only_id(t, "<|im_end|>")));
    assert_true(tok_is_eog(t, only_id(t, "</s>")));
    assert_int_equal(only_id(t, "</s>"), tok_eos(t));
    assert_int_equal(only_id(t, "<s>"), tok_bos(t));
    assert_false(tok_add_bos(t));
    assert_false(tok_is_eog(t, only_id(t, "<|im_start|>")));
    assert_false(tok_is_eog(t, -1));
    for (uint32_t id = 0; id < tok_n_vocab(t) + 1; id++)
        n += tok_is_eog(t, (int32_t)id);
    assert_int_equal(n, 2);
    tok_free(t);
}

/* ---- errors ---- */

/* A vocabulary of three tokens; `what` says what is wrong with it. */
static kv_status broken(const char *what, kv_err *err) {
    file_image f = {0};
    gguf *g;
    tok *t = NULL;
    const bool spm = strstr(what, "spm");
    put_str(&f, "tokenizer.ggml.model", spm ? "llama" : "gpt2");
    put_str(&f, "tokenizer.ggml.pre", "gpt-2");
    put_array(&f, "tokenizer.ggml.tokens", GGUF_STRING, 3);
    put_text(&f, "a", 1);
    put_text(&f, strstr(what, "twice") ? "a" : "b", 1);
    put_text(&f, "ab", 2);
    put_array(&f, "tokenizer.ggml.token_type", GGUF_I32, strstr(what, "types") ? 2 : 3);
    for (uint32_t i = strstr(what, "types") != NULL; i < 3; i++)
        put_u32(&f, strstr(what, "kind") ? 7 : 1);
    put_array(&f, "tokenizer.ggml.scores", GGUF_F32, strstr(what, "scores") ? 4 : 3);
    for (uint32_t i = strstr(what, "scores") == NULL; i < 4; i++) {
        const float v = strstr(what, "nan") ? NAN : -(float)i;
        put(&f, &v, sizeof v);
    }
    put_array(&f, "tokenizer.ggml.merges", GGUF_STRING, 1);
    if (strstr(what, "merge"))
        put_text(&f, strchr(what, ':') + 1, strlen(strchr(what, ':') + 1));
    else
        put_text(&f, "a b", 3);
    if (strstr(what, "bos"))
        put_id(&f, "tokenizer.ggml.bos_token_id", 3);
    if (strstr(what, "add"))
        put_bool(&f, "tokenizer.ggml.add_eos_token", true);
    if (strstr(what, "unk"))
        put_id(&f, "tokenizer.ggml.unknown_token_id", 0);
    kv_status st = open_image(&f, &g, err);
    if (st)
        fail_msg("%s", err->msg);
    st = tok_new(g, &t, err);
    gguf_close(g);
    tok_free(t);
    return st;
}

static void tok_refuses_what_it_cannot_use(void **state) {
    (void)state;
    static const struct {
        const char *what;
        kv_status st;
        const char *says;
    } cases[] = {
        {"nothing", KV_OK, ""},
        {"spm", KV_OK, ""}, /* no byte tokens, but token 0 stands for the unknown by default */
        {"twice", KV_EFORMAT, "tokens 0 and 1 have the same text 'a'"},
        {"types", KV_EFORMAT, "token_type has 2 entries for 3 tokens"},
        {"kind", KV_EFORMAT, "token_type[0] is 7"},
        {"spm scores", KV_EFORMAT, "scores has 4 entries for 3 tokens"},
        {"spm nan", KV_EFORMAT, "scores[0] is not a number"},
        {"bos", KV_EFORMAT, "bos_token_id is 3, but there are 3 tokens"},
        {"add", KV_EFORMAT, "add_eos_token is true, but there is no such token"},
        {"merge:a c", KV_EFORMAT, "merges[0] is 'a c'"},
        {"merge:ab a", KV_EFORMAT, "merges[0] is 'ab a'"},
        {"merge:ab", KV_EFORMAT, "not two tokens"},
        {"merge:a ", KV_EFORMAT, "not two tokens"},
        {"merge:", KV_EFORMAT, "not two tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kv_err err = {0};
        assert_int_equal(broken(cases[i].what, &err), cases[i].st);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%s: wanted '%s' in '%s'", cases[i].what, cases[i].says, err.msg);
    }
}

static void tok_refuses_a_missing_vocabulary(void **state) {
    (void)state;
    file_image f = {0};
    gguf *g;
    tok *t;
    kv_err err = {0};
    put_str(&f, "tokenizer.ggml.model", "gpt2");
    assert_int_equal(open_image(&f, &g, &err), KV_OK);
    assert_int_equal(tok_new(g, &t, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "tokenizer.ggml.tokens"));
    gguf_close(g);
}

/* ---- speed ---- */

/* Half a megabyte that invites quadratic work. A slow machine or a sanitizer may take its time; quadratic would take minutes.
 */
static void tok_long_texts_take_linear_time(void **state) {
    (void)state;
    static const char *patterns[] = {"a",    "A",       " ",    "\n",        "7",          "!",     "'",
                                     "\xFF", "\u0416A", "\n\t", "<|im_end|", "[USER][USE", "qzxkvj"};
    static const char *pres[] = {"gpt-2", "llama-bpe", "tekken", "default", ""};
    enum { N = 1 << 19 };
    char *text = malloc(N);
    for (size_t p = 0; p < sizeof pres / sizeof *pres; p++) {
        tok *t = *pres[p] ? small_tok("bpe", pres[p]) : small_tok("spm", "");
        for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
            const size_t len = strlen(patterns[i]);
            int32_t *ids;
            size_t n;
            kv_err err = {0};
            for (size_t at = 0; at < N; at++)
                text[at] = patterns[i][at % len];
            const clock_t start = clock();
            if (tok_encode(t, text, N, TOK_SPECIAL, &ids, &n, &err))
                fail_msg("%s", err.msg);
            const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
            free(ids);
            assert_true(n > 0);
            if (seconds > 10)
                fail_msg("'%s' '%s': %.1f s", pres[p], patterns[i], seconds);
        }
        tok_free(t);
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tok_small_vocabularies_match),     cmocka_unit_test(tok_piece_gives_the_text_back),
        cmocka_unit_test(tok_piece_hides_control_tokens),   cmocka_unit_test(tok_knows_what_ends_a_generation),
        cmocka_unit_test(tok_refuses_what_it_cannot_use),   cmocka_unit_test(tok_refuses_a_missing_vocabulary),
        cmocka_unit_test(tok_long_texts_take_linear_time),  cmocka_unit_test(tok_smollm2_matches_reference),
        cmocka_unit_test(tok_qwen_matches_reference),       cmocka_unit_test(tok_gemma_matches_reference),
        cmocka_unit_test(tok_smollm2_matches_more_strings), cmocka_unit_test(tok_qwen_matches_more_strings),
        cmocka_unit_test(tok_gemma_matches_more_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
