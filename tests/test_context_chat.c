/* Turns of chats in .kv files. */
#include "context/context_chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WHOLE                                                                                                                  \
    "{\"at\": 40, \"gone\": 4, \"keep\": 2, \"removed\": 1, \"n_removed\": 3, \"random\": -5, \"surprise\": 2.5, \"system\": " \
    "null, \"ahead\": \"x\", \"turns\": [{\"question\": \"ab\", \"answer\": \"\", \"end\": 9, \"ahead\": 1, \"ahead_end\": "   \
    "5}]}"

static void chat_comes_back_as_it_was(void **state) {
    ctx_turn turns[] = {{"a\n\"\\", "b", 7, 0, 0}, {"漢字 ?", "", 20, 3, 12}};
    const ctx_chat was = {"Be \x01 brief", NULL, turns, 2, 33, 5, 2, 3, 1, 0xfedcba9876543210u, 0.1};
    ctx_chat is;
    kv_err err = {0};
    char *text;
    size_t len;
    (void)state;
    assert_int_equal(ctx_chat_format(&was, &text, &len, &err), KV_OK);
    assert_int_equal(len, strlen(text));
    assert_int_equal(ctx_chat_parse(text, len, "f", &is, &err), KV_OK);
    assert_string_equal(is.system, was.system);
    assert_null(is.ahead);
    assert_int_equal(is.n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(is.turns[i].question, turns[i].question);
        assert_string_equal(is.turns[i].answer, turns[i].answer);
        assert_memory_equal(&is.turns[i].end, &turns[i].end, 3 * sizeof(uint64_t));
    }
    assert_memory_equal(&is.at, &was.at, 6 * sizeof(uint64_t));
    assert_true(is.surprise == was.surprise);
    ctx_chat_free(&is);
    assert_null(is.turns);
    free(text);
}

static void chat_that_is_no_utf8_is_refused(void **state) {
    ctx_turn turn = {"a", "\xff", 1, 0, 0};
    const ctx_chat c = {.turns = &turn, .n = 1}, other = {.system = "\xc3"};
    kv_err err = {0};
    char *text;
    size_t len;
    (void)state;
    assert_int_equal(ctx_chat_format(&c, &text, &len, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "turn 1"));
    assert_null(text);
    assert_int_equal(ctx_chat_format(&other, &text, &len, &err), KV_EINVAL);
}

/* One change to what is whole, and what that is called. */
static void chat_that_makes_no_sense_is_refused(void **state) {
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"{", "[", "cannot be read"},
        {"\"at\"", "\"AT\"", "'at'"},
        {"\"at\": 40", "\"at\": 3", "'gone'"},
        {"\"at\": 40", "\"at\": -40", "'at'"},
        {"\"gone\": 4", "\"gone\": 41", "'gone'"},
        {"\"gone\": 4", "\"gone\": 4.5", "'gone'"},
        {"\"keep\": 2", "\"keep\": 37", "'gone'"},
        {"\"removed\": 1", "\"removed\": 5", "'gone'"},
        {"-5", "\"5\"", "'random'"},
        {"2.5", "null", "'random'"},
        {"\"system\": null", "\"system\": 1", "'system'"},
        {"\"ahead\": \"x\"", "\"ahead\": false", "'ahead'"},
        {"[{", "[7, {", "'question'"},
        {"\"ab\"", "null", "'question'"},
        {"\"answer\": \"\"", "\"answer\": null", "'answer'"},
        {"\"end\": 9", "\"end\": 41", "'end'"},
        {"\"ahead\": 1", "\"ahead\": 3", "'ahead'"},
        {"\"ahead_end\": 5", "\"ahead_end\": 10", "'ahead'"},
        {"\"turns\": [", "\"turns\": [{\"question\": \"\", \"answer\": \"\", \"end\": 10, \"ahead\": 0, \"ahead_end\": 0}, ",
         "'end'"},
        {"\"turns\"", "\"at\": 1, \"turns\"", "cannot be read"},
        {"\"turns\"", "\"Turns\"", "'turns'"},
    };
    ctx_chat c;
    kv_err err = {0};
    char text[sizeof WHOLE + 200];
    (void)state;
    assert_int_equal(ctx_chat_parse(WHOLE, strlen(WHOLE), "f", &c, &err), KV_OK);
    ctx_chat_free(&c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *at = strstr(WHOLE, cases[i].from);
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - WHOLE), WHOLE, cases[i].to, at + strlen(cases[i].from));
        assert_int_equal(ctx_chat_parse(text, strlen(text), "f.kv", &c, &err), KV_EFORMAT);
        if (strncmp(err.msg, "f.kv: the chat in it", 20) || !strstr(err.msg, cases[i].says))
            fail_msg("%s: %s", cases[i].to, err.msg);
        assert_null(c.turns);
    }
    for (size_t n = 0; n < strlen(WHOLE); n++)
        assert_int_equal(ctx_chat_parse(WHOLE, n, "f", &c, &err), KV_EFORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_comes_back_as_it_was),
        cmocka_unit_test(chat_that_is_no_utf8_is_refused),
        cmocka_unit_test(chat_that_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
