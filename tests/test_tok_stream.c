/* Streaming: what comes out is valid UTF-8 and says the same as Python's bytes.decode("utf-8", "replace"), however the bytes
 * are cut. */
#include "text/tok.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BAD "\xEF\xBF\xBD"

/* in: bytes; out: what Python 3 makes of them */
static const struct {
    const char *in, *out;
} cases[] = {
    {"", ""},
    {"plain", "plain"},
    {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", "\u00E9\u20AC\U0001F600"},
    {"\xFF", BAD},
    {"a\x80\x81z", "a" BAD BAD "z"},
    {"\xC3(", BAD "("},
    {"\xE2\x82", BAD},
    {"\xE2\x82z", BAD "z"},
    {"\xE2\x82\xC3\xA9", BAD "\u00E9"},
    {"\xF0\x9F\x98", BAD},
    {"\xF0\x9F\x98\xF0\x9F\x98\x80", BAD "\U0001F600"},
    {"\xC0\xAF", BAD BAD},
    {"\xC1\xBF", BAD BAD},
    {"\xE0\x80\xAF", BAD BAD BAD},
    {"\xE0\xA0\x80", "\u0800"},
    {"\xED\xA0\x80", BAD BAD BAD},
    {"\xED\x9F\xBF", "\uD7FF"},
    {"\xF0\x80\x80\xAF", BAD BAD BAD BAD},
    {"\xF0\x90\x80\x80", "\U00010000"},
    {"\xF4\x8F\xBF\xBF", "\U0010FFFF"},
    {"\xF4\x90\x80\x80", BAD BAD BAD BAD},
    {"\xF5\x80\x80\x80", BAD BAD BAD BAD},
    {"\xE2\xE2\xE2", BAD BAD BAD},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void tok_stream_decodes_as_python(void **state) {
    (void)state;
    for (size_t step = 1; step < 6; step++) {
        for (int i = 0; i < N_CASES; i++) {
            tok_stream s = {0};
            char out[128];
            size_t n = 0;
            const size_t len = strlen(cases[i].in);
            for (size_t at = 0; at < len; at += step)
                n += tok_stream_push(&s, cases[i].in + at, len - at < step ? len - at : step, out + n);
            n += tok_stream_push(&s, NULL, 0, out + n);
            out[n] = 0;
            assert_string_equal(out, cases[i].out);
        }
    }
}

static void tok_stream_holds_back_only_what_may_become_a_character(void **state) {
    (void)state;
    tok_stream s = {0};
    char out[16];
    assert_int_equal(tok_stream_push(&s, "a\xF0\x9F", 3, out), 1);
    assert_int_equal(s.n_held, 2);
    assert_int_equal(tok_stream_push(&s, "\x98", 1, out), 0);
    assert_int_equal(tok_stream_push(&s, "\x80", 1, out), 4);
    assert_memory_equal(out, "\U0001F600", 4);
    assert_int_equal(s.n_held, 0);
    assert_int_equal(tok_stream_push(&s, "\xE2", 1, out), 0);
    assert_int_equal(tok_stream_push(&s, NULL, 0, out), 3);
    assert_int_equal(tok_stream_push(&s, NULL, 0, out), 0);
}

/* The bound of the header, at its worst: every push allocates exactly that (a sanitizer sees a byte more). */
static void tok_stream_keeps_to_its_bound(void **state) {
    (void)state;
    tok_stream s = {0};
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        char in[8];
        const size_t len = 1 + (seed >> 28) % 8;
        for (size_t i = 0; i < len; i++) {
            static const unsigned char hard[] = {0xF0, 0x9F, 0x98, 0x80, 0xE2, 0x82, 0xFF, 'a'};
            seed = seed * 1664525 + 1013904223;
            in[i] = (char)hard[seed >> 29];
        }
        char *out = malloc(3 * len + 4);
        assert_true(tok_stream_push(&s, in, len, out) <= 3 * len + 4);
        free(out);
        assert_true(s.n_held < 4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tok_stream_decodes_as_python),
        cmocka_unit_test(tok_stream_holds_back_only_what_may_become_a_character),
        cmocka_unit_test(tok_stream_keeps_to_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
