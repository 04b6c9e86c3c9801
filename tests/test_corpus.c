/* The embedded calibration text: complete, valid, free of NULs, and held-out text that is really held out. */
#include "corpus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef const char *(*getter)(size_t *len);
static const getter parts[] = {cal_corpus_fit, cal_corpus_heldout};

/* Bytes of the well-formed UTF-8 sequence at s (n bytes left), or 0. */
static size_t utf8_len(const uint8_t *s, size_t n) {
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    }
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool beyond = (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF4 && s[1] > 0x8F);
    return overlong || beyond ? 0 : len;
}

static void corpus_has_the_promised_sizes(void **state) {
    (void)state;
    size_t fit, heldout;
    cal_corpus_fit(&fit);
    cal_corpus_heldout(&heldout);
    assert_in_range(fit, 95000, 120000);
    assert_in_range(heldout, 18000, 25000);
}

static void corpus_is_nul_terminated_text(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t len;
        const char *text = parts[i](&len);
        assert_int_equal(strlen(text), len);
        assert_ptr_equal(parts[i](NULL), text);
        assert_int_equal(text[len - 1], '\n');
    }
}

static void corpus_is_valid_utf8(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t len, wide = 0;
        const uint8_t *text = (const uint8_t *)parts[i](&len);
        for (size_t at = 0; at < len;) {
            size_t n = utf8_len(text + at, len - at);
            if (n == 0)
                fail_msg("part %zu: bad UTF-8 at byte %zu", i, at);
            assert_true(n > 1 || text[at] >= ' ' || text[at] == '\n' || text[at] == '\t');
            wide += n == 3;
            at += n;
        }
        assert_true(wide > 150); /* other scripts survive the embedding */
    }
}

/* Files are joined in the order of their names, with one blank line between. */
static void corpus_joins_files_in_order(void **state) {
    (void)state;
    const char *text = cal_corpus_fit(NULL);
    assert_memory_equal(text, "= Eddystone Lighthouse =\n", 25);
    const char *joint =
        strstr(text, "fitted rams to battleships that would never come close enough to use them.\n\nUser: My sourdough");
    const char *later = strstr(text, "Rosetta Stone");
    assert_non_null(joint);
    assert_true(later > joint);
}

/* Every run of 72 bytes that both texts share holds one of the windows tried here. */
static void corpus_heldout_is_held_out(void **state) {
    (void)state;
    enum { WINDOW = 48, STRIDE = 24 };
    size_t len;
    const char *fit = cal_corpus_fit(NULL), *heldout = cal_corpus_heldout(&len);
    for (size_t at = 0; at + WINDOW <= len; at += STRIDE) {
        char piece[WINDOW + 1] = {0};
        memcpy(piece, heldout + at, WINDOW);
        if (strstr(fit, piece))
            fail_msg("held-out text is in the fitting text: %s", piece);
    }
}

/* Texts that ask for what they said: every answer's words are in the passage or are small ones. */
static void corpus_recalls_what_it_said(void **state) {
    (void)state;
    size_t n = 0;
    for (const char *text; (text = cal_corpus_recall(n)); n++) {
        const char *rule = strstr(text, CAL_CORPUS_ASKS);
        assert_non_null(rule);
        const char *asks = rule + strlen(CAL_CORPUS_ASKS);
        assert_null(strstr(asks, CAL_CORPUS_ASKS));
        assert_true(rule - text > 900 && strlen(asks) > 300 && text[strlen(text) - 1] == '\n');
        size_t numbers = 0, found = 0;
        for (const char *at = asks; *at; at++)
            if (at > asks && *at >= '1' && *at <= '9' && !(at[-1] >= '0' && at[-1] <= '9')) {
                char number[16];
                const size_t len = strspn(at, "0123456789,.");
                snprintf(number, sizeof number, "%.*s", (int)(at[len - 1] == '.' || at[len - 1] == ',' ? len - 1 : len), at);
                numbers++;
                found += (size_t)(strstr(text, number) < rule);
                at += len - 1;
            }
        assert_true(numbers >= 3 && found * 10 >= numbers * 8);
    }
    assert_in_range(n, 4, 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus_has_the_promised_sizes), cmocka_unit_test(corpus_is_nul_terminated_text),
        cmocka_unit_test(corpus_is_valid_utf8),          cmocka_unit_test(corpus_joins_files_in_order),
        cmocka_unit_test(corpus_heldout_is_held_out),    cmocka_unit_test(corpus_recalls_what_it_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
