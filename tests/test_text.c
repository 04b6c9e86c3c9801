/* Texts that are read: the rules of base/text.h, for files, streams and words. */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES(s) s, sizeof s - 1

/* What text_clean makes of the bytes; NULL and a message in err: refused. Caller frees. */
static char *cleaned(const char *bytes, size_t len, size_t *out, kv_err *err) {
    char *text = malloc(len + 1);
    assert_non_null(text);
    memcpy(text, bytes, len);
    text[len] = '\0';
    *err = (kv_err){0};
    *out = len;
    if (text_clean("x.txt", text, out, err)) {
        assert_int_equal(err->code, KV_EFORMAT);
        free(text);
        return NULL;
    }
    assert_int_equal(strlen(text), *out);
    return text;
}

static void becomes(const char *bytes, size_t len, const char *want) {
    kv_err err;
    size_t n;
    char *text = cleaned(bytes, len, &n, &err);
    if (!text)
        fail_msg("%s", err.msg);
    assert_string_equal(text, want);
    free(text);
}

static void refused(const char *bytes, size_t len, const char *message) {
    kv_err err;
    size_t n;
    assert_null(cleaned(bytes, len, &n, &err));
    assert_string_equal(err.msg, message);
}

static void text_clean_leaves_texts_alone(void **state) {
    (void)state;
    becomes(BYTES(""), "");
    becomes(BYTES("one\ntwo\n"), "one\ntwo\n");
    becomes(BYTES("\xff\xc3 not UTF-8"), "\xff\xc3 not UTF-8");
    becomes(BYTES("a\rb\r"), "a\rb\r");
}

static void text_clean_passes_over_a_mark(void **state) {
    (void)state;
    becomes(BYTES("\xef\xbb\xbfhello"), "hello");
    becomes(BYTES("\xef\xbb\xbf"), "");
    becomes(BYTES("a\xef\xbb\xbf"), "a\xef\xbb\xbf"); /* elsewhere it is a character */
    becomes(BYTES("\xef\xbb"), "\xef\xbb");
}

static void text_clean_ends_lines_alike(void **state) {
    (void)state;
    becomes(BYTES("\xef\xbb\xbf"
                  "a\r\n\r\nb\r\n"),
            "a\n\nb\n");
    becomes(BYTES("a\r\r\n"), "a\r\n");
}

static void text_clean_names_other_encodings(void **state) {
    (void)state;
    refused(BYTES("\xff\xfeh\0i\0"), "x.txt: is UTF-16, and a text must be UTF-8 (iconv -f UTF-16 -t UTF-8 converts it)");
    refused(BYTES("\xfe\xff\0h\0i"), "x.txt: is UTF-16, and a text must be UTF-8 (iconv -f UTF-16 -t UTF-8 converts it)");
    refused(BYTES("\xff\xfe\0\0h\0\0\0"), "x.txt: is UTF-32, and a text must be UTF-8 (iconv -f UTF-32 -t UTF-8 converts it)");
    refused(BYTES("\0\0\xfe\xff\0\0\0h"), "x.txt: is UTF-32, and a text must be UTF-8 (iconv -f UTF-32 -t UTF-8 converts it)");
    refused(BYTES("h\0i\0 \0t\0h\0e\0r\0e\0"),
            "x.txt: is UTF-16LE, and a text must be UTF-8 (iconv -f UTF-16LE -t UTF-8 converts it)");
    refused(BYTES("\0h\0i\0 \0t\0h\0e\0r\0e"),
            "x.txt: is UTF-16BE, and a text must be UTF-8 (iconv -f UTF-16BE -t UTF-8 converts it)");
}

static void text_clean_says_where_a_nul_is(void **state) {
    (void)state;
    refused(BYTES("some text\0more"), "x.txt: a NUL byte at offset 9; a text holds none");
    refused(BYTES("\xef\xbb\xbf\0"), "x.txt: a NUL byte at offset 3; a text holds none");
}

static void text_read_reads_files_and_streams(void **state) {
    (void)state;
    static const char bytes[] = "\xef\xbb\xbfone\r\ntwo";
    char path[4096], *text;
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/kv-test-text-XXXXXX", tmp ? tmp : P_tmpdir);
    size_t len;
    kv_err err = {0};
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, sizeof bytes - 1), sizeof bytes - 1);
    assert_int_equal(text_read(path, 100, &text, &len, &err), KV_OK);
    assert_int_equal(len, 7);
    assert_string_equal(text, "one\ntwo");
    free(text);
    FILE *f = fdopen(fd, "r");
    assert_non_null(f);
    rewind(f);
    assert_int_equal(text_read_stream(f, "stdin", 100, &text, &len, &err), KV_OK);
    assert_string_equal(text, "one\ntwo");
    free(text);
    rewind(f);
    assert_int_equal(text_read_stream(f, "stdin", 5, &text, &len, &err), KV_ERANGE);
    assert_null(text);
    fclose(f);
    unlink(path);
    assert_int_equal(text_read(path, 100, &text, &len, &err), KV_EIO);
}

static void text_unescape_knows_what_llama_cpp_knows(void **state) {
    (void)state;
    const struct {
        const char *given, *want;
    } cases[] = {
        {"plain", "plain"},         {"a\\nb", "a\nb"},
        {"\\r\\t", "\r\t"},         {"\\\\n", "\\n"},
        {"\\'\\\"", "'\""},         {"\\x41\\x7a", "Az"},
        {"\\xC3\\xa4", "\xc3\xa4"}, {"\\x4", "\\x4"},
        {"\\d+\\.", "\\d+\\."},     {"at the end\\", "at the end\\"},
        {"\\xzz", "\\xzz"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[32];
        kv_err err = {0};
        snprintf(text, sizeof text, "%s", cases[i].given);
        assert_int_equal(text_unescape("-p", text, &err), KV_OK);
        assert_string_equal(text, cases[i].want);
    }
    char nul[] = "a\\x00b";
    kv_err err = {0};
    assert_int_equal(text_unescape("--prompt", nul, &err), KV_EINVAL);
    assert_string_equal(err.msg, "--prompt: \\x00 is a NUL byte; a text holds none");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_clean_leaves_texts_alone),
        cmocka_unit_test(text_clean_passes_over_a_mark),
        cmocka_unit_test(text_clean_ends_lines_alike),
        cmocka_unit_test(text_clean_names_other_encodings),
        cmocka_unit_test(text_clean_says_where_a_nul_is),
        cmocka_unit_test(text_read_reads_files_and_streams),
        cmocka_unit_test(text_unescape_knows_what_llama_cpp_knows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
