/* Who may ask the server, texts that end an answer, and bytes on their way out. */
#include "serve/guard.h"
#include "serve/out.h"
#include "serve/stop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void guard_host_is_a_name_of_this_machine(void **state) {
    (void)state;
    static const char *const names[] = {"box.lan"};
    static const char *const good[] = {"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "box.lan:1"};
    static const char *const bad[] = {
        "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", "box", "[::2]:8080"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(guard_host(good[i], "127.0.0.1", names, 1));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(guard_host(bad[i], "127.0.0.1", names, 1));
    assert_true(guard_host(NULL, "127.0.0.1", NULL, 0));
    assert_true(guard_host("evil.example", "0.0.0.0", NULL, 0)); /* whose names nobody knows here */
}

static void guard_origin_is_ours_or_allowed(void **state) {
    (void)state;
    static const char *const origins[] = {"https://a.example"};
    static const char *const all[] = {"*"};
    assert_true(guard_origin(NULL, "localhost:8080", NULL, 0));
    assert_true(guard_origin("http://localhost:8080", "localhost:8080", NULL, 0));
    assert_false(guard_origin("http://localhost:3000", "localhost:8080", NULL, 0));
    assert_false(guard_origin("null", "localhost:8080", NULL, 0));
    assert_false(guard_origin("https://a.example", "localhost:8080", NULL, 0));
    assert_true(guard_origin("https://a.example", "localhost:8080", origins, 1));
    assert_false(guard_origin("https://a.example.evil", "localhost:8080", origins, 1));
    assert_true(guard_origin("https://b.example", "localhost:8080", all, 1));
}

static void guard_key_is_one_of_them(void **state) {
    (void)state;
    static const char *const keys[] = {"one", "two2"};
    assert_true(guard_key(NULL, NULL, NULL, 0)); /* none is asked for */
    assert_false(guard_key(NULL, NULL, keys, 2));
    assert_true(guard_key("Bearer one", NULL, keys, 2));
    assert_true(guard_key("bearer two2", NULL, keys, 2));
    assert_true(guard_key(NULL, "two2", keys, 2));
    static const char *const bad[] = {"Bearer ", "Bearer on", "Bearer onee", "Bearer oneone", "Basic one", "one", "Bearer ONE"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(guard_key(bad[i], NULL, keys, 2));
    assert_false(guard_key(NULL, "", keys, 2));
}

static void guard_names_stay_in_their_folder(void **state) {
    (void)state;
    static const char *const bad[] = {"",     ".",   "..",  ".hidden",  "a/b",    "../a",
                                      "a\\b", "a b", "a\n", "\303\244", "%2e%2e", "/etc/passwd"};
    char longest[66];
    assert_true(guard_name("a") && guard_name("manual-2.1_x"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(guard_name(bad[i]));
    memset(longest, 'a', 65);
    longest[65] = '\0';
    assert_false(guard_name(longest));
    longest[64] = '\0';
    assert_true(guard_name(longest));
}

static void guard_loopback_is_this_machine(void **state) {
    (void)state;
    assert_true(guard_loopback("127.0.0.1") && guard_loopback("::1") && guard_loopback("localhost") &&
                guard_loopback("127.8.0.1"));
    assert_false(guard_loopback("0.0.0.0") || guard_loopback("::") || guard_loopback("192.168.1.2"));
}

/* Push a text in pieces of n bytes; what was shown, which the caller frees. */
static char *shown(char *const *texts, size_t n_texts, const char *text, size_t piece, const char **found) {
    sv_stop s = {.texts = texts, .n = n_texts};
    const char *show;
    size_t n;
    sv_out all = {0};
    for (size_t at = 0; at < strlen(text); at += piece) {
        const size_t left = strlen(text) - at;
        assert_true(stop_push(&s, text + at, left < piece ? left : piece, &show, &n));
        out_add(&all, show, n);
    }
    stop_end(&s, &show, &n);
    out_add(&all, show, n);
    out_add(&all, "", 1);
    *found = s.found;
    stop_free(&s);
    return all.s;
}

/* The same whatever the pieces: what is before the first of the texts, and nothing of it. */
static void stop_cuts_before_the_first(void **state) {
    (void)state;
    char a[] = "END", b[] = "\n\nHuman", c[] = "ENDE";
    char *const texts[] = {a, b, c};
    static const struct {
        const char *text, *shown, *found;
    } cases[] = {{"hello", "hello", NULL},
                 {"say END of it", "say ", "END"},
                 {"EN", "EN", NULL},
                 {"ENEND", "EN", "END"},
                 {"\n\nHum\n\nHuman: x", "\n\nHum", "\n\nHuman"},
                 {"END", "", "END"},
                 {"E N D", "E N D", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t piece = 1; piece < 8; piece++) {
            const char *found;
            char *s = shown(texts, 2, cases[i].text, piece, &found);
            assert_string_equal(s, cases[i].shown);
            if (cases[i].found)
                assert_string_equal(found, cases[i].found);
            else
                assert_null(found);
            free(s);
        }
    const char *found;
    char *s = shown(texts, 3, "x ENDE", 6, &found);
    assert_string_equal(s, "x ");
    assert_string_equal(found, "ENDE");
    free(s);
}

/* What cannot be the beginning of any is not held back. */
static void stop_shows_at_once(void **state) {
    (void)state;
    char a[] = "###";
    char *const texts[] = {a};
    sv_stop s = {.texts = texts, .n = 1};
    const char *show;
    size_t n;
    assert_true(stop_push(&s, "abc", 3, &show, &n) && n == 3 && !memcmp(show, "abc", 3));
    assert_true(stop_push(&s, "d#", 2, &show, &n) && n == 1 && *show == 'd');
    assert_true(stop_push(&s, "#e", 2, &show, &n) && n == 3 && !memcmp(show, "##e", 3));
    stop_free(&s);
}

static void out_gives_what_it_got(void **state) {
    (void)state;
    sv_out o = {0};
    char got[4096] = "", piece[3];
    size_t n, at = 0;
    for (int i = 0; i < 500; i++) {
        out_text(&o, "abcdefg");
        while (i % 3 && (n = out_take(&o, piece, sizeof piece))) {
            memcpy(got + at, piece, n);
            at += n;
        }
    }
    at += out_take(&o, got + at, sizeof got - at);
    assert_int_equal(at, 3500);
    for (size_t i = 0; i < at; i++)
        assert_int_equal(got[i], "abcdefg"[i % 7]);
    assert_false(out_waiting(&o) || o.failed);
    out_json(&o, NULL);
    assert_true(o.failed);
    out_free(&o);
    json_t *j = out_string("a\xff\xc3\xa4", 4);
    assert_string_equal(json_string_value(j), "a\357\277\275\303\244");
    json_decref(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guard_host_is_a_name_of_this_machine),
        cmocka_unit_test(guard_origin_is_ours_or_allowed),
        cmocka_unit_test(guard_key_is_one_of_them),
        cmocka_unit_test(guard_names_stay_in_their_folder),
        cmocka_unit_test(guard_loopback_is_this_machine),
        cmocka_unit_test(stop_cuts_before_the_first),
        cmocka_unit_test(stop_shows_at_once),
        cmocka_unit_test(out_gives_what_it_got),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
