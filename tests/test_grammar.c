/* Grammars and schemas: which texts are theirs, what is wrong with those that are none, and which tokens may follow. */
#include "grammar/constraint.h"
#include "grammar/schema.h"
#include "support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

/* Whether a text is of the grammar: 1, only the beginning of one: 0, neither: -1. */
static int match(const grammar *g, const char *text, size_t len) {
    kv_err err = {0};
    kv_status st;
    matcher *m;
    assert_int_equal(matcher_new(g, &m, &err), KV_OK);
    const bool taken = matcher_take(m, text, len, &st);
    assert_int_equal(st, KV_OK);
    const int answer = !taken ? -1 : matcher_may_end(m) ? 1 : 0;
    assert_int_equal(matcher_len(m), taken ? len : 0);
    matcher_free(m);
    return answer;
}

typedef struct example {
    const char *rules, *texts[12]; /* each begins with what match says of it: '+', '0' or '-' */
} example;

static void grammar_takes_its_texts(void **state) {
    (void)state;
    static const example list[] = {
        {"root ::= \"yes\" | \"no\"", {"+yes", "+no", "0y", "0", "-yesno", "-x"}},
        {"root ::= [a-c]{2,3} # and more\n", {"0a", "+ab", "+abc", "-abca", "-d"}},
        {"root ::= [^a-c\\n]+ \"!\"", {"+xyz!", "-a", "-\n", "0x", "+\xC3\xA9!", "0\xC3", "-\xC3\x28"}},
        {"root ::= .{2}", {"+\xE2\x82\xACx", "0\xF0\x9F\x98\x80", "-\xED\xA0\x80", "-\xF5", "-\xC0\x80", "+\n\n"}},
        {"root ::= [\xCE\xB1-\xCF\x89]*", {"+", "+\xCE\xB1\xCF\x89", "-\xCE\x91", "-\xCF\x8A"}},
        {"root ::= [\\u0400-\\U0001F600]",
         {"+\xD0\x80", "+\xF0\x9F\x98\x80", "-\xF0\x9F\x98\x81", "-\xCF\xBF", "-x", "+\xEE\x80\x80"}},
        {"root ::= expr\nexpr ::= expr \"+\" term | term\nterm ::= \"(\" expr \")\" | [0-9]+", /* left recursion */
         {"+1+2+3", "+(1+(22))+3", "0(1", "-)", "01+", "-1++"}},
        {"root ::= \"a\" root \"b\" | \"\"", {"+", "+ab", "+aaabbb", "0aab", "-abb", "-b"}},
        {"root ::= root root | \"x\"", {"+x", "+xxxxx", "0", "-y"}}, /* as ambiguous as can be */
        {"root ::= a* b\na ::= \"\" | \"x\"\nb ::= a a a", {"+", "+xxxxxx", "-y"}},
        {"root ::= (\"a\"? \"b\"?)* \"c\"{2}", {"+cc", "+abbacc", "0abc", "-ccc"}},
        {"root ::=\n  \"one\" |\n  \"two\"\n | \"three\"\n\n", {"+one", "+two", "+three", "-four"}},
        {"root ::= ( \"a\"\n   \"b\" # comment\n ) x-1\nx-1 ::= [-x]", {"+ab-", "+abx", "-aby"}},
        {"root ::= \"\\x41\\\"\\\\\\t\" [\\]\\[]", {"+A\"\\\t]", "+A\"\\\t[", "-a"}},
        {"root ::= w | w\nw ::= [a-z]{0,4000}", {"+", "+abc", "-A"}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        grammar *g;
        kv_err err = {0};
        if (grammar_parse(list[i].rules, strlen(list[i].rules), "test", &g, &err))
            fail_msg("%s", err.msg);
        for (int k = 0; k < 12 && list[i].texts[k]; k++) {
            const char *t = list[i].texts[k];
            const int want = *t == '+' ? 1 : *t == '0' ? 0 : -1, got = match(g, t + 1, strlen(t + 1));
            if (want != got)
                fail_msg("grammar %zu, text '%s': %d", i, t, got);
        }
        grammar_free(g);
    }
}

static void grammar_says_what_is_wrong(void **state) {
    (void)state;
    static const char *const list[][2] = {
        {"", "there is no rule 'root'"},
        {"rot ::= \"a\"", "there is no rule 'root'"},
        {"root ::= a", "1: the rule 'a' is used, and is nowhere"},
        {"root ::= \"a\"\nroot ::= \"b\"", "2: a rule is there twice"},
        {"root ::= \"a", "1: a string has no end"},
        {"root ::= \"a\n\"", "1: a string has no end"},
        {"root ::= [a", "a class [...] has no end"},
        {"root ::= [z-a]", "the wrong way round"},
        {"root ::= (\"a\"", "a '(' has no ')'"},
        {"root ::= \"a\")", "a ')' has no '('"},
        {"root = \"a\"", "'::=' is missing"},
        {"root ::= \"\\q\"", "an unknown escape"},
        {"root ::= \"\\xZ1\"", "needs hexadecimal digits"},
        {"root ::= \"\\uD800\"", "no character"},
        {"root ::= \"a\"{3,2}", "the smaller first"},
        {"root ::= \"a\"{5000}", "more repetitions"},
        {"root ::= \"a\"{}", "a number is missing"},
        {"root ::= \"\xFF\"", "not UTF-8"},
        {"root ::= \"a\" ; \"b\"", "a character that means nothing here"},
        {"root ::= ((\"a\"{4000}){4000}){4000}", "too large"},
        {"root ::= \"a\"****************************************************************************",
         "repetitions of repetitions"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        grammar *g;
        kv_err err = {0};
        assert_int_not_equal(grammar_parse(list[i][0], strlen(list[i][0]), "test", &g, &err), KV_OK);
        assert_null(g);
        if (!strstr(err.msg, list[i][1]))
            fail_msg("%s: %s", list[i][0], err.msg);
    }
    char *deep = malloc(200001);
    kv_err err = {0};
    grammar *g;
    memset(deep, '(', 200000);
    memcpy(deep, "root ::= ", 9);
    deep[200000] = '\0';
    assert_int_equal(grammar_parse(deep, 200000, "test", &g, &err), KV_ERANGE);
    free(deep);
}

/* Long texts, recursion to the right included, take little more than their length. */
static void grammar_follows_long_texts(void **state) {
    (void)state;
    enum { LONG = 100000, RIGHT = 1500 };
    static const char loop[] = "root ::= \"[\" ([a-z] | \",\")* \"]\"", right[] = "root ::= [a-z] root | \".\"";
    grammar *g;
    char *text = malloc(LONG + 2);
    memset(text, 'x', LONG + 2);
    text[0] = '[';
    text[LONG + 1] = ']';
    assert_int_equal(grammar_parse(loop, strlen(loop), "test", &g, NULL), KV_OK);
    assert_int_equal(match(g, text, LONG + 2), 1);
    grammar_free(g);
    text[0] = 'x';
    text[RIGHT] = '.';
    assert_int_equal(grammar_parse(right, strlen(right), "test", &g, NULL), KV_OK);
    assert_int_equal(match(g, text, RIGHT + 1), 1);
    grammar_free(g);
    free(text);
}

/* Where a text can be read in ever more ways, following it ends with an error and not never. */
static void grammar_gives_up_in_time(void **state) {
    (void)state;
    static const char rules[] = "root ::= root+++*+ [^a-z]+ \"\"";
    char text[400];
    grammar *g;
    matcher *m;
    kv_status st;
    memset(text, 'D', sizeof text);
    assert_int_equal(grammar_parse(rules, strlen(rules), "test", &g, NULL), KV_OK);
    assert_int_equal(matcher_new(g, &m, NULL), KV_OK);
    assert_true(matcher_take(m, text, 3, &st));
    assert_false(matcher_take(m, text, sizeof text, &st));
    assert_int_equal(st, KV_ERANGE);
    assert_int_equal(matcher_len(m), 3);
    matcher_free(m);
    grammar_free(g);
}

static void matcher_goes_back(void **state) {
    (void)state;
    static const char rules[] = "root ::= \"a\"{2,4} (\"b\" root)?";
    grammar *g;
    matcher *m;
    kv_status st;
    assert_int_equal(grammar_parse(rules, strlen(rules), "test", &g, NULL), KV_OK);
    assert_int_equal(matcher_new(g, &m, NULL), KV_OK);
    assert_false(matcher_may_end(m));
    assert_true(matcher_take(m, "aaab", 4, &st) && !matcher_may_end(m));
    assert_false(matcher_take(m, "aaaaa", 5, &st)); /* nothing is taken */
    assert_int_equal(matcher_len(m), 4);
    assert_true(matcher_take(m, "aa", 2, &st) && matcher_may_end(m) && !matcher_must_end(m));
    matcher_back(m, 3);
    assert_true(matcher_may_end(m));
    assert_true(matcher_take(m, "a", 1, &st) && matcher_may_end(m));
    assert_false(matcher_take(m, "a", 1, &st));
    matcher_back(m, 0);
    assert_true(matcher_take(m, "aab", 3, &st));
    matcher_free(m);
    grammar_free(g);
    assert_int_equal(grammar_parse("root ::= \"ab\"", 13, "test", &g, NULL), KV_OK);
    assert_int_equal(matcher_new(g, &m, NULL), KV_OK);
    assert_true(matcher_take(m, "ab", 2, &st) && matcher_must_end(m));
    matcher_free(m);
    grammar_free(g);
}

/* ---- schemas ---- */

static void schema_takes_what_is_valid(void **state) {
    (void)state;
    static const example list[] = {
        {"{\"type\": \"boolean\"}", {"+true", "+false", "0t", "-1"}},
        {"{\"type\": \"integer\"}", {"+0", "+-12", "-01", "-1.5", "+1234567"}},
        {"{\"type\": \"integer\", \"minimum\": -5, \"exclusiveMaximum\": 13}",
         {"+-5", "--6", "+0", "+9", "+12", "-13", "--0", "-05"}},
        {"{\"type\": \"integer\", \"minimum\": 98, \"maximum\": 1203}",
         {"+98", "+100", "+999", "+1203", "-1204", "097", "-2000", "+100"}},
        {"{\"type\": \"number\"}", {"+1.5", "+-0.25", "+1e9", "01.", "-.5", "-1e999"}},
        {"{\"type\": \"string\"}", {"+\"a\"", "+\"\\u00e9\\n\"", "-\"\n", "-\"\\x", "-\"\\ud83d", "0\"a"}},
        {"{\"type\": \"string\", \"minLength\": 2, \"maxLength\": 3}",
         {"-\"a\"", "+\"ab\"", "+\"\xC3\xA9\xC3\xA9\xC3\xA9\"", "-\"abcd"}},
        {"{\"type\": \"string\", \"format\": \"date\"}", {"+\"2024-02-28\"", "-\"2024-13", "-\"2024-00"}},
        {"{\"enum\": [\"a\\\"b\", 5, null, [1, {\"x\": true}]]}", {"+\"a\\\"b\"", "+5", "+null", "+[1,{\"x\":true}]", "-6"}},
        {"{\"const\": {\"a\": 1}}", {"+{\"a\":1}", "-{\"b"}},
        {"{\"type\": [\"null\", \"integer\"]}", {"+null", "+3", "-\"a\""}},
        {"{\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"minItems\": 1, \"maxItems\": 2}",
         {"-[]", "+[1]", "+[1, 2]", "-[1,2,3", "-[\"a\"]"}},
        {"{\"type\": \"array\", \"prefixItems\": [{\"type\": \"integer\"}, {\"type\": \"string\"}], \"items\": false}",
         {"+[]", "+[1]", "+[1,\"a\"]", "-[1,\"a\",2", "-[\"a\""}},
        {"{\"type\": \"array\", \"prefixItems\": [{\"type\": \"integer\"}], \"items\": {\"type\": \"boolean\"}, \"minItems\": "
         "2}",
         {"-[1]", "+[1,true]", "+[1,true,false]", "-[1,2]"}},
        {"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}, \"b\": {\"type\": \"integer\"}, \"c\": {}}, "
         "\"required\": [\"b\"]}",
         {"+{\"b\":1}", "+{\"a\":1,\"b\":2}", "+{\"b\":1,\"c\":[{}]}", "-{\"a\":1}", "-{\"b\":1,\"a\"", "-{\"d\"",
          "+{ \"b\" : 1 }"}},
        {"{\"type\": \"object\", \"properties\": {\"ab\": {\"type\": \"null\"}}, \"additionalProperties\": {\"type\": "
         "\"integer\"}}",
         {"+{}", "+{\"ab\":null}", "+{\"ab\":null,\"a\":1}", "+{\"abc\":1,\"x\":2}", "-{\"ab\":1", "+{\"\":1}", "+{\"b\":1}"}},
        {"{\"type\": \"object\", \"additionalProperties\": {\"type\": \"integer\"}}",
         {"+{}", "+{\"x\":1,\"y\":2}", "-{\"x\":\"a\""}},
        {"{\"type\": \"object\"}", {"+{}", "+{\"x\":[1,{\"y\":null}]}", "-[]"}},
        {"{}", {"+{}", "+[]", "+1", "+\"a\"", "+null"}},
        {"true", {"+1", "+{}"}},
        {"{\"anyOf\": [{\"type\": \"integer\"}, {\"type\": \"null\"}]}", {"+1", "+null", "-true"}},
        {"{\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"string\"}]}", {"+1", "+\"a\"", "-true"}},
        {"{\"$defs\": {\"n\": {\"type\": \"object\", \"properties\": {\"v\": {\"type\": \"integer\"}, \"next\": {\"$ref\": "
         "\"#/$defs/n\"}}, \"required\": [\"v\"]}}, "
         "\"$ref\": \"#/$defs/n\"}",
         {"+{\"v\":1}", "+{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3}}}", "-{\"next\""}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        grammar *g;
        kv_err err = {0};
        if (grammar_of_schema(list[i].rules, strlen(list[i].rules), "test", &g, &err))
            fail_msg("%s: %s", list[i].rules, err.msg);
        for (int k = 0; k < 12 && list[i].texts[k]; k++) {
            const char *t = list[i].texts[k];
            const int want = *t == '+' ? 1 : *t == '0' ? 0 : -1, got = match(g, t + 1, strlen(t + 1));
            if (want != got)
                fail_msg("schema %s, text '%s': %d", list[i].rules, t, got);
        }
        grammar_free(g);
    }
}

static void schema_says_what_it_cannot(void **state) {
    (void)state;
    static const char *const list[][2] = {
        {"{", "not JSON"},
        {"5", "not a schema"},
        {"{\"type\": \"strung\"}", "there is no type 'strung'"},
        {"{\"type\": \"string\", \"pattern\": \"a\"}", "the keyword 'pattern' is not understood"},
        {"{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"array\", \"uniqueItems\": true}}}",
         "/properties/a: the keyword 'uniqueItems'"},
        {"{\"type\": \"number\", \"minimum\": 0}", "the keyword 'minimum'"},
        {"{\"type\": \"string\", \"format\": \"email\"}", "the format 'email'"},
        {"{\"$ref\": \"http://x/y\"}", "does not lead into this schema"},
        {"{\"$ref\": \"#/$defs/x\"}", "leads nowhere"},
        {"{\"type\": \"integer\", \"minimum\": 3, \"maximum\": 2}", "no integer is in the range"},
        {"{\"type\": \"object\", \"required\": [\"a\"]}", "'a' is required, and no property"},
        {"{\"oneOf\": [{\"type\": \"integer\"}, {\"type\": \"number\"}]}", "may both hold"},
        {"{\"not\": {}}", "the keyword 'not'"},
        {"false", "no value is allowed"},
        {"{\"type\": \"array\", \"minItems\": 3, \"maxItems\": 2}", "maxItems is less"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        grammar *g;
        kv_err err = {0};
        assert_int_not_equal(grammar_of_schema(list[i][0], strlen(list[i][0]), "test", &g, &err), KV_OK);
        if (!strstr(err.msg, list[i][1]))
            fail_msg("%s: %s", list[i][0], err.msg);
    }
}

/* ---- tokens ---- */

static uint32_t draw(uint32_t *state, uint32_t n) {
    *state = *state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

/* The mask is what single tokens say; and whoever keeps to it writes valid JSON. */
static void constraint_masks_what_cannot_follow(void **state) {
    (void)state;
    static const char *const names[] = {"tiny/llama", "tiny/qwen2", "tiny/gemma3"};
    static const char schema[] =
        "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\", \"maxLength\": 12}, \"b\": {\"type\": "
        "\"array\", "
        "\"items\": {\"type\": \"integer\", \"minimum\": 5, \"maximum\": 77}, \"maxItems\": 4}}, \"required\": [\"a\", \"b\"]}";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        kv_err err = {0};
        kv_status st;
        gguf *file;
        tok *t;
        grammar *g;
        constraint *c;
        uint32_t seed = 5;
        snprintf(path, sizeof path, "%s/%s.gguf", KV_TEST_DATA, names[i]);
        assert_int_equal(gguf_open(path, &file, &err), KV_OK);
        assert_int_equal(tok_new(file, &t, &err), KV_OK);
        assert_int_equal(grammar_of_schema(schema, strlen(schema), "test", &g, &err), KV_OK);
        assert_int_equal(constraint_new(g, t, &c, &err), KV_OK);
        const uint32_t n = tok_n_vocab(t);
        float *logits = malloc(n * sizeof *logits);
        for (int run = 0; run < 20; run++) {
            char *text;
            size_t len, piece_len;
            FILE *to = open_memstream(&text, &len);
            constraint_restart(c);
            for (int step = 0; !constraint_is_over(c); step++) {
                assert_true(step < 500);
                for (uint32_t id = 0; id < n; id++)
                    logits[id] = 0;
                if (constraint_mask(c, logits, &err))
                    fail_msg("%s", err.msg);
                int32_t id = -1;
                for (uint32_t k = 0; k < n; k++) {
                    assert_int_equal(logits[k] == 0, constraint_allows(c, (int32_t)k, &st));
                    assert_int_equal(st, KV_OK);
                }
                while (id < 0 || isinf(logits[id]))
                    id = (int32_t)draw(&seed, n);
                if (tok_is_eog(t, id))
                    break;
                assert_int_equal(constraint_take(c, id, &err), KV_OK);
                const char *piece = tok_piece(t, id, false, &piece_len);
                fwrite(piece, 1, piece_len, to);
            }
            fclose(to);
            json_error_t why;
            json_t *j = json_loads(text, 0, &why);
            if (!json_is_object(j) || !json_is_string(json_object_get(j, "a")) || !json_is_array(json_object_get(j, "b")))
                fail_msg("'%s': %s", text, why.text);
            json_decref(j);
            free(text);
        }
        assert_int_equal(constraint_take(c, 0, &err), KV_EINVAL);
        free(logits);
        constraint_free(c);
        grammar_free(g);
        tok_free(t);
        gguf_close(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammar_takes_its_texts),    cmocka_unit_test(grammar_says_what_is_wrong),
        cmocka_unit_test(grammar_follows_long_texts), cmocka_unit_test(grammar_gives_up_in_time),
        cmocka_unit_test(matcher_goes_back),          cmocka_unit_test(schema_takes_what_is_valid),
        cmocka_unit_test(schema_says_what_it_cannot), cmocka_unit_test(constraint_masks_what_cannot_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
