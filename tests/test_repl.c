/* What the chat's prompt is made of: keys and pastes, the history in its file, what Tab offers. tests/repl.py has the whole. */
#include "kvrun/repl_complete.h"
#include "kvrun/repl_history.h"
#include "kvrun/repl_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- keys ---- */

/* What comes of bytes that arrive `step` at a time: characters in UTF-8, a paste as <...>. */
static void type(const char *bytes, size_t n, size_t step, char *out, size_t size) {
    repl_keys k = {0};
    FILE *to = fmemopen(out, size, "w");
    for (size_t at = 0;;) {
        uint32_t c = 0;
        char *text = NULL;
        const repl_key key = repl_keys_next(&k, false, &c, &text);
        if (key == REPL_KEY_CHAR)
            fprintf(to, c < 0x80 ? "%c" : "{%x}", c);
        else if (key == REPL_KEY_PASTE)
            fprintf(to, "<%s>", text);
        else if (key == REPL_KEY_END)
            break;
        else {
            const size_t some = n - at < step ? n - at : step;
            assert_true(repl_keys_push(&k, bytes + at, some));
            at += some;
        }
        free(text);
    }
    fclose(to);
    repl_keys_free(&k);
}

static void keys_come_whole_however_they_arrive(void **state) {
    static const struct {
        const char *bytes, *becomes;
    } cases[] = {
        {"ab\n", "ab\n"},
        {"\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x98\x80", "{e4}{6f22}{1f600}"},
        {"\xff\xc3(\xe6\xbc", "{fffd}{fffd}({fffd}{fffd}"},
        {"\033[A\033", "\033[A\033"},
        {"\033[2~", "\033[2~"},
        {"x\033[200~a\r\nb\rc\nd\033[201~y", "x<a\nb\nc\nd>y"},
        {"\033[200~\033[201~", "<>"},
        {"\033[200~\033[31mred\x07\tis\x7f \xc2\x9b\xff\033[201~", "<[31mred\tis \xef\xbf\xbd>"},
        {"\033[200~a\033[200~b\033[201~\033[201~", "<a[200~b>\033[201~"},
        {"\033[200~never ends", "<never ends>"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step <= strlen(cases[i].bytes); step++) {
            char out[200] = "";
            type(cases[i].bytes, strlen(cases[i].bytes), step, out, sizeof out);
            assert_string_equal(out, cases[i].becomes);
        }
}

static void keys_wait_for_the_rest(void **state) {
    repl_keys k = {0};
    uint32_t c;
    char *text;
    (void)state;
    assert_int_equal(repl_keys_next(&k, true, &c, &text), REPL_KEY_NONE);
    repl_keys_push(&k, "\033", 1);
    assert_int_equal(repl_keys_next(&k, false, &c, &text), REPL_KEY_BEGUN);
    assert_int_equal(repl_keys_next(&k, true, &c, &text), REPL_KEY_CHAR); /* the key Escape */
    assert_int_equal(c, 033);
    repl_keys_push(&k, "\xe6\xbc", 2);
    assert_int_equal(repl_keys_next(&k, false, &c, &text), REPL_KEY_BEGUN);
    repl_keys_push(&k, "\xa2", 1);
    assert_int_equal(repl_keys_next(&k, false, &c, &text), REPL_KEY_CHAR);
    assert_int_equal(c, 0x6f22);
    repl_keys_push(&k, "\033[200~long", 10);
    assert_int_equal(repl_keys_next(&k, true, &c, &text), REPL_KEY_NONE); /* however long it takes */
    repl_keys_free(&k);
}

/* ---- history ---- */

static void add(const char *path, const char *entry) {
    kv_err err = {0};
    if (history_file_add(path, entry, &err))
        fail_msg("%s", err.msg);
}

static void history_keeps_what_was_typed(void **state) {
    static const char *const entries[] = {"one", "two\nlines", "back\\slash\\n", " 漢字", "\\", "x\n"};
    enum { N = sizeof entries / sizeof *entries };
    history_entries e;
    struct stat info;
    kv_err err = {0};
    (void)state;
    remove("history");
    assert_int_equal(history_file_read("history", &e, &err), KV_OK);
    assert_int_equal(e.n, 0);
    for (size_t i = 0; i < N; i++)
        add("history", entries[i]);
    add("history", ""); /* is none */
    assert_int_equal(stat("history", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(history_file_read("history", &e, &err), KV_OK);
    assert_int_equal(e.n, N);
    for (size_t i = 0; i < N; i++)
        assert_string_equal(e.v[i], entries[i]);
    history_entries_free(&e);
    /* Others may not read on, and a line that was cut off spoils no other. */
    chmod("history", 0644);
    FILE *f = fopen("history", "a");
    fputs("odd \\x line\ncut o", f);
    fclose(f);
    add("history", "last");
    stat("history", &info);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(history_file_read("history", &e, &err), KV_OK);
    assert_int_equal(e.n, N + 2);
    assert_string_equal(e.v[N], "cut o");
    assert_string_equal(e.v[N + 1], "last");
    history_entries_free(&e);
    remove("history");
    assert_int_equal(history_file_add("nowhere/history", "x", &err), KV_EIO);
}

/* Several processes at once, with a file that is made shorter meanwhile. */
static void history_loses_nothing_of_several(void **state) {
    enum { PROCESSES = 4, EACH = 300, LENGTH = 1500 };
    history_entries e;
    kv_err err = {0};
    char entry[LENGTH + 1];
    size_t next[PROCESSES] = {0};
    (void)state;
    remove("history-many");
    for (int p = 0; p < PROCESSES; p++)
        if (!fork()) {
            for (int i = 0; i < EACH; i++) {
                const int n = snprintf(entry, sizeof entry, "%d %d ", p, i);
                memset(entry + n, 'x', (size_t)(LENGTH - n));
                entry[LENGTH] = '\0';
                if (history_file_add("history-many", entry, &err))
                    _exit(1);
            }
            _exit(0);
        }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        wait(&status);
        assert_int_equal(status, 0);
    }
    assert_int_equal(history_file_read("history-many", &e, &err), KV_OK);
    assert_true(e.n >= HISTORY_FILE / 2 / (LENGTH + 1) - 1 && e.n < PROCESSES * EACH);
    for (size_t i = 0; i < e.n; i++) {
        unsigned p, n;
        assert_int_equal(strlen(e.v[i]), LENGTH);
        assert_int_equal(sscanf(e.v[i], "%u %u ", &p, &n), 2);
        assert_true(p < PROCESSES && n < EACH && (!next[p] || n == next[p])); /* none is missing between */
        next[p] = n + 1;
    }
    size_t last = 0;
    for (int p = 0; p < PROCESSES; p++)
        last += next[p] == EACH;
    assert_true(last >= 1);
    history_entries_free(&e);
    remove("history-many");
}

/* ---- completion ---- */

static void offers_are_what_they_have_in_common(void **state) {
    repl_offers o = {0};
    (void)state;
    assert_int_equal(repl_offers_common(&o), 0);
    repl_offer(&o, "ä", "äö", "");
    repl_offer(&o, "ä", "äü", " ");
    repl_offer(&o, "ä", "b", "");
    repl_offers_sort(&o);
    assert_int_equal(o.n, 2);
    assert_string_equal(o.v[1], "äü ");
    assert_int_equal(repl_offers_common(&o), 2); /* not half of a character */
    repl_offers_free(&o);
    assert_int_equal(o.n, 0);
}

static void touch(const char *path) {
    fclose(fopen(path, "w"));
}

static void assert_offers(const char *word, const char *ends, const char *expected) {
    repl_offers o = {0};
    char all[400] = "";
    assert_true(repl_offer_paths(&o, word, ends));
    repl_offers_sort(&o);
    for (size_t i = 0; i < o.n; i++)
        strcat(strcat(all, o.v[i]), "|");
    assert_string_equal(all, expected);
    repl_offers_free(&o);
}

static void paths_are_offered_as_they_are_typed(void **state) {
    char home[4096];
    (void)state;
    assert_int_equal(system("rm -rf repl-paths"), 0);
    mkdir("repl-paths", 0700);
    assert_int_equal(chdir("repl-paths"), 0);
    mkdir("notes and more", 0700);
    touch("notes.txt");
    touch("chat.kv");
    touch(".hidden");
    touch("notes and more/漢字.kv");
    assert_offers("", NULL, "chat.kv|notes and more/|notes.txt|");
    assert_offers("no", NULL, "notes and more/|notes.txt|");
    assert_offers("./no", ".kv", "./notes and more/|");
    assert_offers("", ".kv", "chat.kv|notes and more/|");
    assert_offers("notes and more/", ".kv", "notes and more/漢字.kv|");
    assert_offers(".h", NULL, ".hidden|");
    assert_offers("nowhere/", NULL, "");
    setenv("HOME", getcwd(home, sizeof home), 1);
    assert_offers("~/ch", NULL, "~/chat.kv|");
    char *path = repl_path("~/chat.kv");
    assert_int_equal(access(path, F_OK), 0);
    free(path);
    path = repl_path("~other");
    assert_string_equal(path, "~other");
    free(path);
    assert_int_equal(chdir(".."), 0);
    assert_int_equal(system("rm -rf repl-paths"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_whole_however_they_arrive), cmocka_unit_test(keys_wait_for_the_rest),
        cmocka_unit_test(history_keeps_what_was_typed),        cmocka_unit_test(history_loses_nothing_of_several),
        cmocka_unit_test(offers_are_what_they_have_in_common), cmocka_unit_test(paths_are_offered_as_they_are_typed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
