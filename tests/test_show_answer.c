/* Answers at a terminal: wrapped at words, thoughts dim; and as they are elsewhere. */
#include "kvrun/show_answer.h"
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static char *shown(show_answer_cfg cfg, const char *text, size_t step) {
    char *s = NULL;
    size_t n;
    show_answer *a;
    cfg.to = open_memstream(&s, &n);
    assert_int_equal(show_answer_new(&cfg, &a, NULL), KV_OK);
    for (size_t i = 0, len = strlen(text), k; i < len; i += k) {
        k = step < len - i ? step : len - i;
        while (i + k < len && (text[i + k] & 0xC0) == 0x80)
            k++;
        show_answer_text(a, text + i, k);
    }
    show_answer_end(a);
    show_answer_free(a);
    fclose(cfg.to);
    return s;
}

/* Whatever the pieces. */
static void check(show_answer_cfg cfg, const char *text, const char *want) {
    for (size_t step = 1; step < 40; step += 3) {
        char *s = shown(cfg, text, step);
        assert_string_equal(s, want);
        free(s);
    }
}

static const show_answer_cfg narrow = {.terminal = true, .width = 12}, dim = {.terminal = true, .width = 12, .dim = true};

static void show_passes_text_elsewhere(void **state) {
    (void)state;
    static const char text[] = "<think>\nhm \033[1m</think>\n\na word that is longer than twelve\n";
    check((show_answer_cfg){.dim = true, .width = 12}, text, text);
}

static void show_keeps_words_whole(void **state) {
    (void)state;
    check(narrow, "one two three four", "one two \nthree four");
    check(narrow, "twelve chars and more", "twelve chars\nand more");
    check(narrow, "one two thr. e", "one two thr.\ne");
    check(narrow, "one\ntwo three four\n", "one\ntwo three \nfour\n");
    check(narrow, "a-word-of-many-letters is broken", "a-word-of-many-letters \nis broken");
    check(narrow, "now a-word-of-many-letters", "now a-word-of-many-letters");
    check(narrow, "a\tb twelve", "a\tb \ntwelve");
    check((show_answer_cfg){.terminal = true}, "one two three four", "one two three four");
}

/* Columns, not bytes: accents take none, wide characters two, and these may be broken anywhere. */
static void show_counts_columns(void **state) {
    (void)state;
    check(narrow, "äöü äöü äöü äöü", "äöü äöü äöü \näöü");
    check(narrow, "e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301 x",
          "e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301 e\u0301e\u0301e\u0301 \nx");
    check(narrow, "日本語日本語日本語", "日本語日本語\n日本語");
    check(narrow, "a日本語日本語", "a日本語日本\n語");
}

static void show_leaves_code_as_it_is(void **state) {
    (void)state;
    check(narrow, "Look here now:\n```c\nint main(void) { return 0; }\n```\nand more words",
          "Look here \nnow:\n```c\nint main(void) { return 0; }\n```\nand more \nwords");
}

static void show_dims_thoughts(void **state) {
    (void)state;
    check(dim, "<think>\nhm, so\n</think>\n\nYes.", "\033[2mhm, so\033[0m\n\nYes.");
    check(dim, "<think>\n\n</think>\n\nYes.", "Yes.");
    check(dim, "No thought <think>", "No thought \n<think>");
    check(dim, "<think>\nstopped", "\033[2mstopped\033[0m");
    show_answer_cfg begun = dim;
    begun.thinking = true;
    check(begun, "so\n</think>\n\nYes.", "\033[2mso\033[0m\n\nYes.");
    check(narrow, "<think>\nhm\n</think>\n\nYes.", "<think>\nhm\n</think>\n\nYes.");
}

static void show_lets_nothing_act_on_the_terminal(void **state) {
    (void)state;
    check((show_answer_cfg){.terminal = true, .width = 80}, "a\033[2Jb\rc\007", "a\\x1b[2Jb\\rc\\x07");
    check((show_answer_cfg){.terminal = true, .dim = true},
          "\xC2\x9B"
          "2J \u202e",
          "\\xc2\\x9b2J \\xe2\\x80\\xae");
}

/* Several answers, one after the other, and memory that is not used up. */
static void show_begins_again(void **state) {
    (void)state;
    char *s = NULL;
    size_t n;
    show_answer *a;
    show_answer_cfg cfg = dim;
    cfg.to = open_memstream(&s, &n);
    assert_int_equal(show_answer_new(&cfg, &a, NULL), KV_OK);
    for (int i = 0; i < 3; i++) {
        show_answer_text(a, "<think>a</think>b\n", 18);
        show_answer_end(a);
    }
    show_answer_free(a);
    fclose(cfg.to);
    assert_string_equal(s, "\033[2ma\033[0m\n\nb\n\033[2ma\033[0m\n\nb\n\033[2ma\033[0m\n\nb\n");
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(show_passes_text_elsewhere), cmocka_unit_test(show_keeps_words_whole),
        cmocka_unit_test(show_counts_columns),        cmocka_unit_test(show_leaves_code_as_it_is),
        cmocka_unit_test(show_dims_thoughts),         cmocka_unit_test(show_lets_nothing_act_on_the_terminal),
        cmocka_unit_test(show_begins_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
