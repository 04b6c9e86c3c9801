/* Pre-tokenizers and what else differs from file to file: every name that llama.cpp knows against its ids
 * (tests/make_pre_cases.py), kinds of vocabularies that are refused, special tokens that files leave out or call by other
 * names.
 */
#include "text/tok_internal.h"
#include "tok_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

static json_t *cases_file;

static int load_cases(void **state) {
    (void)state;
    json_error_t je;
    cases_file = json_load_file(KV_TEST_DATA "/tok/pre.json", JSON_ALLOW_NUL, &je);
    return cases_file ? 0 : -1;
}

static int free_cases(void **state) {
    (void)state;
    json_decref(cases_file);
    return 0;
}

static tok *open_vocab(const char *kind, const char *pre) {
    file_image f = vocab_image(json_object_get(json_object_get(cases_file, "vocabs"), kind));
    put_str(&f, "tokenizer.ggml.pre", pre);
    return open_tok(&f);
}

/* ---- every name ---- */

/* The ids of case i for text k; NULL: llama.cpp has none (false in the file). */
static const json_t *wanted(size_t i, size_t k) {
    const json_t *list = json_object_get(cases_file, "cases"), *c = json_array_get(list, i), *like = json_object_get(c, "like");
    const json_t *ids = json_array_get(json_object_get(c, "ids"), k);
    if (json_is_null(ids) && json_is_integer(like))
        return wanted((size_t)json_integer_value(like), k);
    return json_is_array(ids) ? ids : NULL;
}

static void check_text(const tok *t, const char *name, size_t i, size_t k) {
    size_t len, n;
    int32_t *ids;
    kv_err err = {0};
    const json_t *want = wanted(i, k);
    char *text = text_bytes(json_array_get(json_object_get(cases_file, "strings"), k), &len);
    if (tok_encode(t, text, len, TOK_BOS | TOK_SPECIAL, &ids, &n, &err))
        fail_msg("%s: %s", name, err.msg);
    bool same = !want || n == json_array_size(want);
    for (size_t j = 0; want && same && j < n; j++)
        same = ids[j] == json_integer_value(json_array_get(want, j));
    if (!same) {
        print_error("%s, text %zu: '%.*s'\n got:", name, k, (int)len, text);
        for (size_t j = 0; j < n; j++)
            print_error(" %d", ids[j]);
        char *list = json_dumps(want, JSON_COMPACT);
        fail_msg(" wanted %s", list);
    }
    free(text);
    free(ids);
}

static void tok_pre_names_match(void **state) {
    (void)state;
    const json_t *c, *name;
    const size_t n_texts = json_array_size(json_object_get(cases_file, "strings"));
    size_t i, j, n = 0;
    assert_true(n_texts >= 40);
    json_array_foreach(json_object_get(cases_file, "cases"), i, c) {
        json_array_foreach(json_object_get(c, "names"), j, name) {
            tok *t = open_vocab(json_string_value(json_object_get(c, "vocab")), json_string_value(name));
            for (size_t k = 0; k < n_texts; k++)
                check_text(t, json_string_value(name), i, k);
            tok_free(t);
            n++;
        }
    }
    assert_true(n >= 93);
}

static bool is_a_case(const char *s, size_t len) {
    const json_t *c, *name;
    size_t i, j;
    json_array_foreach(json_object_get(cases_file, "cases"), i, c)
        json_array_foreach(json_object_get(c, "names"), j,
                           name) if (json_string_length(name) == len && !memcmp(json_string_value(name), s, len)) return true;
    return false;
}

static void tok_pre_rows_have_cases(void **state) {
    (void)state;
    const char *names;
    for (size_t i = 0; (names = tok_pre_names(i)); i++)
        for (size_t len; *names; names += len + (names[len] == ' ')) {
            len = strcspn(names, " ");
            if (!is_a_case(names, len))
                fail_msg("'%.*s' has no cases: tests/make_pre_cases.py makes them", (int)len, names);
        }
}

/* ---- what goes with a name ---- */

static void tok_pre_says_what_bos_is(void **state) {
    (void)state;
    static const struct {
        const char *pre;
        bool in_file, adds; /* add_bos_token, false, is in the file */
        int32_t bos;        /* where the file names none */
    } cases[] = {{"gpt-2", false, false, 11},       {"llama-bpe", false, true, 11}, {"llama-bpe", true, false, 11},
                 {"chatglm-bpe", false, false, -1}, {"glm4", false, false, -1},     {"gemma4", true, true, 11}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *vocab = json_object_get(json_object_get(cases_file, "vocabs"), "bytes"), *bos = json_object_get(vocab, "bos");
        json_incref(bos);
        json_object_del(vocab, "bos");
        file_image f = vocab_image(vocab);
        json_object_set_new(vocab, "bos", bos);
        put_str(&f, "tokenizer.ggml.pre", cases[i].pre);
        if (cases[i].in_file)
            put_bool(&f, "tokenizer.ggml.add_bos_token", false);
        tok *t = open_tok(&f);
        assert_int_equal(tok_bos(t), cases[i].bos);
        assert_int_equal(tok_add_bos(t), cases[i].adds);
        tok_free(t);
    }
}

/* A vocabulary of BPE: a, b, c, ab, and what the caller puts behind. */
static file_image few_tokens(const char *model, const char *pre, const char *const *more, const uint32_t *types, bool merges) {
    file_image f = {0};
    size_t n = 0;
    while (more && more[n])
        n++;
    put_str(&f, "tokenizer.ggml.model", model);
    if (pre)
        put_str(&f, "tokenizer.ggml.pre", pre);
    put_array(&f, "tokenizer.ggml.tokens", GGUF_STRING, n + 4);
    for (size_t i = 0; i < n + 4; i++) {
        static const char *const first[] = {"a", "b", "c", "ab"};
        const char *s = i < 4 ? first[i] : more[i - 4];
        put_text(&f, s, strlen(s));
    }
    put_array(&f, "tokenizer.ggml.token_type", GGUF_I32, n + 4);
    for (size_t i = 0; i < n + 4; i++)
        put_u32(&f, i < 4 || !types ? 1 : types[i - 4]);
    if (merges) {
        put_array(&f, "tokenizer.ggml.merges", GGUF_STRING, 1);
        put_text(&f, "a b", 3);
    }
    return f;
}

static kv_status try_open(file_image f, tok **t, kv_err *err) {
    gguf *g;
    *t = NULL;
    if (open_image(&f, &g, err))
        fail_msg("%s", err->msg);
    const kv_status st = tok_new(g, t, err);
    gguf_close(g);
    return st;
}

/* Ids as text: "3 2". */
static void check_ids(const tok *t, const char *text, unsigned flags, const char *want) {
    char got[256] = "";
    int32_t *ids;
    size_t n, at = 0;
    assert_int_equal(tok_encode(t, text, strlen(text), flags, &ids, &n, NULL), KV_OK);
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%d", i ? " " : "", ids[i]);
    free(ids);
    if (strcmp(got, want))
        fail_msg("'%s', flags %u: wanted %s, got %s", text, flags, want, got);
}

static void tok_kimi_needs_no_merges(void **state) {
    (void)state;
    tok *t;
    kv_err err = {0};
    assert_int_equal(try_open(few_tokens("gpt2", "kimi-k2", NULL, NULL, false), &t, &err), KV_OK);
    check_ids(t, "abc", 0, "0 1 2");
    tok_free(t);
    assert_int_equal(try_open(few_tokens("gpt2", "gpt-2", NULL, NULL, false), &t, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "tokenizer.ggml.merges"));
}

static void tok_gemma4_is_a_kind(void **state) {
    (void)state;
    static const char *const more[] = {"<bos>", "\u2581", "\n\n", "<0xC3>", "<0xA9>", NULL};
    static const uint32_t types[] = {3, 1, 1, 6, 6};
    size_t n;
    kv_err err = {0};
    tok *t;
    file_image f = few_tokens("gemma4", "ignored", more, types, true);
    put_id(&f, "tokenizer.ggml.bos_token_id", 4);
    put_bool(&f, "tokenizer.ggml.add_bos_token", false);
    assert_int_equal(try_open(f, &t, &err), KV_OK);
    check_ids(t, "ab \u00E9\n\nc", TOK_BOS, "4 3 5 7 8 6 2");
    assert_int_equal(tok_eos(t), -1);
    assert_int_equal(*tok_piece(t, 5, false, &n), ' ');
    assert_int_equal(n, 1);
    assert_int_equal(*tok_piece(t, 7, false, &n), (char)0xC3);
    assert_int_equal(n, 1);
    tok_free(t);
}

/* ---- refused ---- */

static void tok_refuses_other_kinds(void **state) {
    (void)state;
    static const char *const kinds[] = {"t5",         "bert", "rwkv",     "plamo2", "hybriddna",
                                        "whitespace", "none", "no_vocab", "new one"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        tok *t;
        kv_err err = {0};
        char says[64];
        snprintf(says, sizeof says, "tokenizer.ggml.model is '%s' (", kinds[i]);
        assert_int_equal(try_open(few_tokens(kinds[i], "gpt-2", NULL, NULL, true), &t, &err), KV_EUNSUPP);
        if (!strstr(err.msg, says) || !strstr(err.msg, "supported: gpt2 (byte-level BPE), gemma4 ") ||
            !strstr(err.msg, "llama ("))
            fail_msg("%s", err.msg);
    }
}

static void tok_refuses_other_pre_tokenizers(void **state) {
    (void)state;
    tok *t;
    kv_err err = {0};
    assert_int_equal(try_open(few_tokens("gpt2", "newest", NULL, NULL, true), &t, &err), KV_EUNSUPP);
    assert_non_null(strstr(err.msg, "'newest', a pre-tokenizer that is not supported; supported"));
    assert_non_null(strstr(err.msg, ": gpt-2 llama-bpe "));
    assert_non_null(strstr(err.msg, " whitespace")); /* the last one: the list is whole */
}

/* ---- odd keys ---- */

static void tok_notes_a_missing_pre_tokenizer(void **state) {
    (void)state;
    tok *t;
    assert_int_equal(try_open(few_tokens("gpt2", NULL, NULL, NULL, true), &t, NULL), KV_OK);
    assert_non_null(strstr(tok_note(t, 0), "tokenizer.ggml.pre is missing"));
    assert_null(tok_note(t, 1));
    tok_free(t);
    assert_int_equal(try_open(few_tokens("gpt2", "default", NULL, NULL, true), &t, NULL), KV_OK);
    assert_null(tok_note(t, 0));
    tok_free(t);
}

/* An id of -1, as it comes in files: signed, unsigned, in 64 bits. */
static void tok_takes_minus_one_for_none(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        size_t bytes;
        int64_t value;
    } ways[] = {{GGUF_I32, 4, -1},         {GGUF_U32, 4, -1}, {GGUF_I64, 8, -1},
                {GGUF_U64, 8, 0xFFFFFFFF}, {GGUF_U64, 8, -1}, {GGUF_I8, 1, -1}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        tok *t;
        kv_err err = {0};
        file_image f = few_tokens("gpt2", "llama-bpe", NULL, NULL, true);
        put_key(&f, "tokenizer.ggml.bos_token_id", ways[i].type);
        put(&f, &ways[i].value, ways[i].bytes);
        put_id(&f, "tokenizer.ggml.eos_token_id", 2);
        put_bool(&f, "tokenizer.ggml.add_eos_token", true);
        if (try_open(f, &t, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(tok_bos(t), -1);
        assert_false(tok_add_bos(t));
        check_ids(t, "ab", TOK_BOS, "3 2");
        assert_string_equal(tok_note(t, 0), "tokenizer.ggml.bos_token_id is -1: taken for a model without this token");
        assert_null(tok_note(t, 1));
        tok_free(t);
    }
    tok *t;
    kv_err err = {0};
    file_image f = few_tokens("gpt2", "gpt-2", NULL, NULL, true);
    put_id(&f, "tokenizer.ggml.eos_token_id", 0xFFFFFFFE);
    assert_int_equal(try_open(f, &t, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "eos_token_id is 4294967294, but there are 4 tokens"));
}

/* ---- special tokens by name ---- */

enum { NORMAL = 1, CONTROL = 3, USER = 4 };

static void tok_knows_the_parts_of_an_answer(void **state) {
    (void)state;
    static const char *const more[] = {"<|start|>", "<|end|>", "<|message|>", "<|return|>", "<|call|>", NULL};
    static const uint32_t types[] = {CONTROL, CONTROL, CONTROL, CONTROL, CONTROL};
    tok *t;
    size_t n;
    assert_int_equal(try_open(few_tokens("gpt2", "gpt-4o", more, types, true), &t, NULL), KV_OK);
    check_ids(t, "<|start|>ab<|message|>c<|end|>", 0, "4 3 6 2 5"); /* user-defined: found though nobody asks */
    check_ids(t, "ab<|return|>c", TOK_SPECIAL, "3 7 2");
    assert_false(tok_is_eog(t, 5));
    assert_true(tok_is_eog(t, 7));
    assert_true(tok_is_eog(t, 8));
    assert_memory_equal(tok_piece(t, 4, false, &n), "<|start|>", 9);
    assert_int_equal(n, 9);
    tok_piece(t, 7, false, &n);
    assert_int_equal(n, 0);
    tok_free(t);
    static const char *const fewer[] = {"<|end|>", "<|return|>", NULL};
    assert_int_equal(try_open(few_tokens("gpt2", "gpt-4o", fewer, types, true), &t, NULL), KV_OK);
    assert_true(tok_is_eog(t, 4));
    tok_free(t);
}

static void tok_knows_where_s_is_text(void **state) {
    (void)state;
    static const char *const more[] = {"</s>", "<|tool_response>", NULL};
    static const uint32_t types[] = {CONTROL, NORMAL};
    tok *t;
    assert_int_equal(try_open(few_tokens("gpt2", "gpt-2", more, types, true), &t, NULL), KV_OK);
    assert_false(tok_is_eog(t, 4));
    assert_true(tok_is_eog(t, 5));
    check_ids(t, "ab</s>", TOK_SPECIAL, "3");
    check_ids(t, "ab<|tool_response>", TOK_SPECIAL, "3 5");
    tok_free(t);
}

static void tok_takes_marks_of_holes_from_keys(void **state) {
    (void)state;
    static const char *const more[] = {"<PRE>", "<PAD>", "<prefix>", "<pad>", NULL};
    static const uint32_t types[] = {NORMAL, NORMAL, CONTROL, CONTROL};
    tok *t;
    assert_int_equal(try_open(few_tokens("gpt2", "gpt-2", more, types, true), &t, NULL), KV_OK);
    check_ids(t, "ab<PRE>c", TOK_SPECIAL, "3 4 2"); /* no key: known by name, and control */
    assert_true(tok_is_eog(t, 5));
    assert_false(tok_is_eog(t, 7));
    tok_free(t);
    file_image f = few_tokens("gpt2", "gpt-2", more, types, true);
    put_id(&f, "tokenizer.ggml.prefix_token_id", 6);
    put_id(&f, "tokenizer.ggml.fim_pad_token_id", 7);
    assert_int_equal(try_open(f, &t, NULL), KV_OK);
    check_ids(t, "ab<PRE>c", TOK_SPECIAL, "3 2");
    assert_false(tok_is_eog(t, 5));
    assert_true(tok_is_eog(t, 7));
    tok_free(t);
}

static void tok_drops_white_space_beside_special_tokens(void **state) {
    (void)state;
    static const char *const more[] = {"<|user|>", "<s>", "\u0120", "<mask>", "<|endoftext|>", "\n\n\n\n\n\n\n\n\n", NULL};
    static const uint32_t types[] = {CONTROL, CONTROL, NORMAL, CONTROL, CONTROL, USER};
    tok *t;
    file_image f = few_tokens("gpt2", "gpt-2", more, types, true);
    put_str(&f, "general.name", "My Phi-3 of today");
    assert_int_equal(try_open(f, &t, NULL), KV_OK);
    check_ids(t, " <|user|> \n\t ab <s> c<|user|>  ", TOK_SPECIAL, "6 4 3 6 5 6 2 4");
    check_ids(t, "<|user|> <|user|> <|endoftext|> c", TOK_SPECIAL, "4 4 8 6 2");
    check_ids(t, "<|user|> \n\n\n\n\n\n\n\n\n c", TOK_SPECIAL, "4 9 2"); /* longer, so it is found first and stays */
    tok_free(t);
    f = few_tokens("gpt2", "jina-v2-code", more, types, true);
    assert_int_equal(try_open(f, &t, NULL), KV_OK);
    check_ids(t, "a  <mask> b <|user|> c", TOK_SPECIAL, "0 7 6 1 6 4 6 2");
    check_ids(t, " <mask>", TOK_SPECIAL, "7");
    tok_free(t);
    f = few_tokens("gpt2", "gpt-2", more, types, true);
    put_str(&f, "general.name", "plain");
    assert_int_equal(try_open(f, &t, NULL), KV_OK);
    check_ids(t, "<|user|> ab", TOK_SPECIAL, "4 6 3");
    tok_free(t);
}

/* ---- hostile texts ---- */

/* A pattern over and over, and another character behind it, cut by the first pre-tokenizer of the list. */
static void cut_long_text(const char *names, const char *pattern, char last, size_t n) {
    const size_t len = strlen(pattern);
    const gguf_str name = {names, strcspn(names, " ")};
    char *text = malloc(n + 1);
    tok_pre *p;
    tok_words w;
    kv_err err = {0};
    for (size_t at = 0; at < n; at++)
        text[at] = pattern[at % len];
    text[n] = last;
    assert_int_equal(tok_pre_new(name, "test", &p, NULL), KV_OK);
    if (tok_pre_split(p, (const uint8_t *)text, n + 1, &w, &err))
        fail_msg("%s, '%s': %s", names, pattern, err.msg);
    assert_true(w.n > 0);
    tok_words_free(&w);
    tok_pre_free(p);
    free(text);
}

/* What PCRE2 refuses, because its stack or its limit is too small, would be an error here. */
static void tok_pre_cuts_long_texts(void **state) {
    (void)state;
    static const char *const patterns[] = {"a",      "A",       " ",          "\n", "7",       "!",       "'",
                                           "\u0301", "\u0416A", "\n\t",       "a ", "A'",      "\u4E2D",  "\u3000",
                                           "1a",     "IMGIMG",  "<sentinel:", "!A", " \u0301", "\uFF112", "\xFF"};
    const char *names;
    for (size_t row = 0; (names = tok_pre_names(row)); row++)
        for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
            cut_long_text(names, patterns[i], 'x', 1 << 17);
}

/* Texts that are quadratic work for the expressions that llama.cpp has: 2 MB would take an hour. */
static void tok_pre_cuts_hostile_texts(void **state) {
    (void)state;
    static const struct {
        const char *pre, *pattern;
        char last;
    } cases[] = {
        {"deepseek-llm", " ", '7'}, {"jais-2", " ", 'x'}, {"superbpe", "7", 'x'},     {"afmoe", "7", 'x'},
        {"exaone-moe", "a ", '1'},  {"tekken", "A", '1'}, {"gpt-4o", "\u0416A", '1'}, {"chameleon", "<sentinel:", '1'}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cut_long_text(cases[i].pre, cases[i].pattern, cases[i].last, 1 << 21);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tok_pre_names_match),
        cmocka_unit_test(tok_pre_rows_have_cases),
        cmocka_unit_test(tok_pre_says_what_bos_is),
        cmocka_unit_test(tok_kimi_needs_no_merges),
        cmocka_unit_test(tok_gemma4_is_a_kind),
        cmocka_unit_test(tok_refuses_other_kinds),
        cmocka_unit_test(tok_refuses_other_pre_tokenizers),
        cmocka_unit_test(tok_notes_a_missing_pre_tokenizer),
        cmocka_unit_test(tok_takes_minus_one_for_none),
        cmocka_unit_test(tok_knows_the_parts_of_an_answer),
        cmocka_unit_test(tok_knows_where_s_is_text),
        cmocka_unit_test(tok_takes_marks_of_holes_from_keys),
        cmocka_unit_test(tok_drops_white_space_beside_special_tokens),
        cmocka_unit_test(tok_pre_cuts_long_texts),
        cmocka_unit_test(tok_pre_cuts_hostile_texts),
    };
    return cmocka_run_group_tests(tests, load_cases, free_cases);
}
