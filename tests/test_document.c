/* Documents as text: every kind, and files that want to do harm. */
#include "document/document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES(s) s, sizeof s - 1

static void write_file(const char *name, const void *bytes, size_t n) {
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void reads(const char *name, const char *as, const char *title, const char *text) {
    document d;
    kv_err err = {0};
    if (document_read(name, as, NULL, NULL, &d, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(d.text, text);
    assert_int_equal(d.len, strlen(text));
    assert_string_equal(d.title, title);
    document_free(&d);
    assert_null(d.text);
}

static void refuses(const char *name, const char *as, kv_status code, const char *message) {
    document d;
    kv_err err = {0};
    if (!document_read(name, as, NULL, NULL, &d, &err))
        fail_msg("%s was read: %s", name, d.text);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, code);
    assert_null(d.text);
    assert_null(d.title);
}

/* ---- text ---- */

static void document_text_is_taken_as_it_is(void **state) {
    (void)state;
    static const char words[] = "# Title\n\n  two  blanks, \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\tand a tab\n";
    const char *const names[] = {"a.txt", "a.md", "a.csv", "a.json", "a.c", "a"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_file(names[i], BYTES(words));
        reads(names[i], NULL, names[i], words);
    }
    reads("./a.txt", "text", "a.txt", words);
    write_file("empty.txt", "", 0);
    reads("empty.txt", NULL, "empty.txt", "");
    write_file("mark.txt", BYTES("\xef\xbb\xbfone\r\ntwo\r\n"));
    reads("mark.txt", NULL, "mark.txt", "one\ntwo\n");
}

static void document_text_must_be_utf8(void **state) {
    (void)state;
    write_file("latin.txt", BYTES("one\ncaf\xe9\n"));
    refuses("latin.txt", NULL, KV_EFORMAT,
            "latin.txt: byte 0xE9 at offset 7, in line 2, is not UTF-8, which a text must be (iconv -f ISO-8859-1 -t UTF-8 "
            "converts what is Latin-1)");
    write_file("cut.txt", BYTES("\xef\xbb\xbfone \xe2\x82"));
    refuses("cut.txt", NULL, KV_EFORMAT,
            "cut.txt: byte 0xE2 at offset 7, in line 1, is not UTF-8, which a text must be (iconv -f ISO-8859-1 -t UTF-8 "
            "converts what is Latin-1)");
    write_file("wide.txt", BYTES("\xff\xfeo\0n\0e\0"));
    refuses("wide.txt", NULL, KV_EFORMAT,
            "wide.txt: is UTF-16, and a text must be UTF-8 (iconv -f UTF-16 -t UTF-8 converts it)");
    write_file("binary.txt", BYTES("\x7f"
                                   "ELF\x02\x01\x01\0\xff"));
    refuses("binary.txt", NULL, KV_EFORMAT, "binary.txt: a NUL byte at offset 7; a text holds none");
}

/* ---- any kind ---- */

static void document_says_what_cannot_be_opened(void **state) {
    (void)state;
    refuses("none.txt", NULL, KV_EIO, "none.txt: cannot open: No such file or directory");
    refuses(".", NULL, KV_EIO, ".: cannot read: Is a directory");
    refuses("a.txt", "word", KV_EINVAL, "no kind of document is called 'word'; there are " DOCUMENT_KIND_NAMES);
}

static bool never(void *user, double done) {
    *(double *)user = done;
    return false;
}

static void document_read_can_be_stopped(void **state) {
    (void)state;
    document d;
    kv_err err = {0};
    double done = -1;
    write_file("a.txt", BYTES("one\n"));
    assert_int_equal(document_read("a.txt", NULL, never, &done, &d, &err), KV_ECANCEL);
    assert_string_equal(err.msg, "a.txt: reading was stopped");
    assert_true(done >= 0 && done <= 1);
    assert_null(d.text);
}

/* A folder for the files that the tests make. */
static char dir[4096];

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kv-test-document-XXXXXX", tmp ? tmp : P_tmpdir);
    return !mkdtemp(dir) || chdir(dir);
}

static int teardown(void **state) {
    (void)state;
    char command[5000];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return chdir("/") || system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(document_text_is_taken_as_it_is),
        cmocka_unit_test(document_text_must_be_utf8),
        cmocka_unit_test(document_says_what_cannot_be_opened),
        cmocka_unit_test(document_read_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
