#include "base/printable.h"
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void becomes(const char *s, const char *keep, const char *want) {
    char out[256];
    assert_int_equal(printable(s, strlen(s), keep, out, sizeof out), strlen(want));
    assert_string_equal(out, want);
}

static void printable_leaves_text_alone(void **state) {
    (void)state;
    becomes("", NULL, "");
    becomes("plain \\n text", NULL, "plain \\n text");
    becomes("Gr\u00fc\u00dfe, \u4f60\u597d, \U0001f600 \u00a0", NULL, "Gr\u00fc\u00dfe, \u4f60\u597d, \U0001f600 \u00a0");
    becomes("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", NULL,
            "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"); /* beside what is not */
}

static void printable_escapes_what_acts(void **state) {
    (void)state;
    becomes("\033[31mred\007", NULL, "\\x1b[31mred\\x07");
    becomes("a\nb\rc\td\x7f", NULL, "a\\nb\\rc\\td\\x7f");
    becomes("a\nb\rc\td\x1b", "\n\t", "a\nb\\rc\td\\x1b");
    becomes("\xc2\x9b"
            "31m \xc2\x85",
            NULL, "\\xc2\\x9b31m \\xc2\\x85");
    becomes("\u202eabc\u2066\u2028\u200f", NULL, "\\xe2\\x80\\xaeabc\\xe2\\x81\\xa6\\xe2\\x80\\xa8\\xe2\\x80\\x8f");
}

static void printable_escapes_what_is_not_utf8(void **state) {
    (void)state;
    becomes("\xff\xc3", NULL, "\\xff\\xc3");
    becomes("\xc3(", NULL, "\\xc3(");
    becomes("\xc0\xaf \xe0\x80\xaf \xf0\x80\x80\xaf", NULL, "\\xc0\\xaf \\xe0\\x80\\xaf \\xf0\\x80\\x80\\xaf"); /* too long */
    becomes("\xed\xa0\x80 \xf4\x90\x80\x80 \xf8\x88", NULL, "\\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xf8\\x88");
    char out[16];
    assert_int_equal(printable("a\0b", 3, "\n", out, sizeof out), 6);
    assert_string_equal(out, "a\\x00b");
}

static void printable_cuts_between_characters(void **state) {
    (void)state;
    char out[8];
    assert_int_equal(printable("abc\u4f60\u597d", 9, NULL, out, sizeof out), 6);
    assert_string_equal(out, "abc\u4f60");
    assert_int_equal(printable("abcdef\033x", 8, NULL, out, sizeof out), 6);
    assert_string_equal(out, "abcdef");
    assert_int_equal(printable("x", 1, NULL, out, 1), 0);
    assert_string_equal(out, "");
}

static void kv_fail_says_one_line_of_text(void **state) {
    (void)state;
    kv_err err = {0};
    assert_int_equal(kv_fail(&err, KV_EIO, "%s: '%s'", "a\xff.gguf", "\033[2J\n"), KV_EIO);
    assert_string_equal(err.msg, "a\\xff.gguf: '\\x1b[2J\\n'");
    kv_fail(&err, KV_EIO, "%s once more", err.msg);
    assert_string_equal(err.msg, "a\\xff.gguf: '\\x1b[2J\\n' once more");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printable_leaves_text_alone),        cmocka_unit_test(printable_escapes_what_acts),
        cmocka_unit_test(printable_escapes_what_is_not_utf8), cmocka_unit_test(printable_cuts_between_characters),
        cmocka_unit_test(kv_fail_says_one_line_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
