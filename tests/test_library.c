/* The library of documents: what is in it, what is found in it, and that nothing is half there. tests/test_library_safety.c has
 * several processes and what is broken. */
#include "library/library.h"
#include "library_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>

/* ---- what is there ---- */

static void library_that_is_not_there_is_empty(void **state) {
    (void)state;
    library_list all;
    library_totals t;
    library *l = open_library(LIBRARY_READ);
    assert_int_equal(library_all(l, LIBRARY_BY_USE, &all, NULL), KV_OK);
    assert_int_equal(all.n, 0);
    assert_int_equal(library_get_totals(l, &t, NULL), KV_OK);
    assert_int_equal(t.documents + t.bytes + t.limit, 0);
    library_close(l);
    assert_int_equal(access(folder, F_OK), -1); /* nothing was made */
}

static mode_t mode_of(const char *path) {
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    return there.st_mode & 0777;
}

static void library_keeps_a_document(void **state) {
    (void)state;
    kv_err err = {0};
    library_list gone = {0}, all;
    library_adding *a = NULL;
    library *l = open_library(LIBRARY_WRITE);
    const library_entry e = {"Report", "The Yearly Report", "docs/report.pdf", "SmolLM2", "abc", "All is well.", 12};
    assert_int_equal(library_add_begin(l, &e, &a, &err), KV_OK);
    put_file(library_adding_path(a), "payload");
    *synced = '\0';
    if (library_add_commit(a, 321, &gone, &err))
        fail_msg("%s", err.msg);
    static const char *const durable[] = {".kv\n", ".txt\n", "/payload\n", "/library.db-journal\n", "/library.db\n"};
    for (size_t i = 0; i < sizeof durable / sizeof *durable; i++)
        assert_non_null(strstr(synced, durable[i]));
    assert_int_equal(gone.n, 0);
    library_list_free(&gone);
    library_close(l);

    l = open_library(LIBRARY_READ);
    assert_int_equal(library_all(l, LIBRARY_BY_NAME, &all, &err), KV_OK);
    assert_int_equal(all.n, 1);
    const library_document *d = &all.v[0];
    assert_string_equal(d->name, "Report");
    assert_string_equal(d->title, "The Yearly Report");
    assert_string_equal(d->source, "docs/report.pdf");
    assert_string_equal(d->model_name, "SmolLM2");
    assert_string_equal(d->model_hash, "abc");
    assert_int_equal(d->tokens, 321);
    assert_int_equal(d->bytes, strlen("payload") + 12);
    assert_true(d->added > 1700000000 && d->used == d->added);
    assert_false(d->missing);
    assert_file(d->payload_path, "payload");
    assert_file(d->text_path, "All is well.");
    assert_int_equal(mode_of(folder), 0700);
    assert_int_equal(mode_of(in_folder("payload")), 0700);
    assert_int_equal(mode_of(in_folder("library.db")), 0600);
    assert_int_equal(mode_of(d->payload_path), 0600);
    assert_int_equal(mode_of(d->text_path), 0600);
    assert_int_equal(count_files("payload"), 2); /* the lock is gone, too */
    assert_int_equal(count_files("."), 2);       /* library.db and payload/: no journal is left */
    library_list_free(&all);
    library_close(l);
}

static void library_takes_the_users_folder(void **state) {
    (void)state;
    kv_err err = {0};
    library *l = NULL;
    setenv("XDG_DATA_HOME", dir, 1);
    assert_int_equal(library_open(NULL, LIBRARY_READ, &l, &err), KV_OK);
    char wanted[400];
    snprintf(wanted, sizeof wanted, "%s/kvcalib/library", dir);
    assert_string_equal(library_folder(l), wanted);
    library_close(l);
    setenv("XDG_DATA_HOME", "relative", 1); /* is to be ignored */
    setenv("HOME", dir, 1);
    assert_int_equal(library_open(NULL, LIBRARY_WRITE, &l, &err), KV_OK);
    snprintf(wanted, sizeof wanted, "%s/.local/share/kvcalib/library", dir);
    assert_string_equal(library_folder(l), wanted);
    assert_int_equal(mode_of(wanted), 0700);
    library_close(l);
    unsetenv("HOME");
    assert_int_equal(library_open(NULL, LIBRARY_READ, &l, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "HOME"));
}

static void library_replaces_by_name_and_model(void **state) {
    (void)state;
    kv_err err = {0};
    library_list found;
    library *l = open_library(LIBRARY_WRITE);
    add(l, "a", "m1", "first words");
    add(l, "a", "m2", "other words");
    add(l, "b", "m1", "something else");
    const int64_t before = id_of(l, "a", "m1");
    add(l, "a", "m1", "second text");
    assert_int_equal(library_find(l, "a", NULL, &found, &err), KV_OK);
    assert_int_equal(found.n, 2);
    assert_string_equal(found.v[0].model_hash, "m1"); /* used last */
    assert_true(found.v[0].id > before);
    assert_file(found.v[0].text_path, "second text");
    library_list_free(&found);
    assert_int_equal(library_search(l, "first", NULL, 9, &found, &err), KV_OK);
    assert_int_equal(found.n, 0); /* its words went with it */
    assert_int_equal(library_search(l, "other", NULL, 9, &found, &err), KV_OK);
    assert_int_equal(found.n, 1);
    library_list_free(&found);
    assert_int_equal(count_files("payload"), 6);
    library_close(l);
}

static void library_forgets_what_is_abandoned(void **state) {
    (void)state;
    kv_err err = {0};
    library_adding *a = NULL;
    library *l = open_library(LIBRARY_WRITE);
    const library_entry e = {.name = "x", .model_hash = "m"};
    assert_int_equal(library_add_begin(l, &e, &a, &err), KV_OK);
    put_file(library_adding_path(a), "half");
    library_add_abandon(a);
    assert_int_equal(count_files("payload"), 0);
    assert_int_equal(library_add_begin(l, &e, &a, &err), KV_OK);
    assert_int_equal(library_add_commit(a, 1, NULL, &err), KV_EINVAL); /* nothing was written */
    assert_int_equal(count_files("payload"), 0);
    assert_int_equal(library_find(l, "x", NULL, &(library_list){0}, &err), KV_EINVAL);
    library_add_abandon(NULL);
    library_close(l);
    l = open_library(LIBRARY_READ);
    assert_int_equal(library_add_begin(l, &e, &a, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "for reading"));
    library_close(l);
}

/* ---- names ---- */

static void library_names_are_no_paths(void **state) {
    (void)state;
    static const char *const names[] = {"../../x",
                                        "/etc/passwd",
                                        ".",
                                        "..",
                                        "a/b",
                                        "new-aaaaaaaa.lock",
                                        "1.kv",
                                        "%s%n",
                                        "'; DROP TABLE document; --",
                                        "üñí 文書 \xf0\x9f\x93\x9a",
                                        " a",
                                        "-n"};
    enum { N = sizeof names / sizeof *names };
    library *l = open_library(LIBRARY_WRITE);
    for (int i = 0; i < N; i++)
        add(l, names[i], "m", "some text");
    assert_int_equal(count_files("payload"), 2 * N);
    assert_int_equal(count_files(".."), 1); /* nothing beside the folder */
    for (int i = 0; i < N; i++)
        assert_int_equal(id_of(l, names[i], "m"), i + 1);
    library_close(l);
}

static void library_refuses_bad_names(void **state) {
    (void)state;
    static char large[10001];
    memset(large, 'x', sizeof large - 1);
    const struct {
        const char *name, *says;
    } bad[] = {{"", "needs a name"},         {NULL, "needs a name"},       {"   ", "needs a name"},
               {"two\nlines", "line break"}, {"bell\a", "control"},        {"del\x7f", "control"},
               {large, "10000 bytes"},       {"\xff\xfe", "is not UTF-8"}, {"cut \xe6\x96", "is not UTF-8"}};
    library *l = open_library(LIBRARY_WRITE);
    library_adding *a = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kv_err err = {0};
        assert_int_equal(library_add_begin(l, &(library_entry){.name = bad[i].name, .model_hash = "m"}, &a, &err), KV_EINVAL);
        if (!strstr(err.msg, bad[i].says))
            fail_msg("'%s' lacks '%s'", err.msg, bad[i].says);
    }
    kv_err err = {0};
    assert_int_equal(library_add_begin(l, &(library_entry){.name = "a"}, &a, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "which model"));
    assert_int_equal(library_add_begin(l, &(library_entry){.name = "a", .model_hash = "m", .title = "b\nc"}, &a, &err),
                     KV_EINVAL);
    assert_non_null(strstr(err.msg, "title"));
    assert_int_equal(count_files("payload"), 0);
    large[LIBRARY_NAME] = '\0'; /* the longest that there may be */
    add(l, large, "m", "");
    library_close(l);
}

/* What asking for a name comes to: the name of the document, or the error. */
static const char *ask_for(library *l, const char *name, const char *model) {
    static char said[1024];
    kv_err err = {0};
    library_list found;
    if (library_find(l, name, model, &found, &err)) {
        assert_int_equal(err.code, KV_EINVAL);
        assert_int_equal(found.n, 0);
        snprintf(said, sizeof said, "%s", err.msg);
    } else {
        snprintf(said, sizeof said, "%s", found.v[0].name);
        library_list_free(&found);
    }
    return said;
}

static void library_finds_by_name(void **state) {
    (void)state;
    library *l = open_library(LIBRARY_WRITE);
    add(l, "Contract 2024", "m", "");
    add(l, "Contract 2025", "m", "");
    add(l, "Contract", "m", "");
    add(l, "contract", "n", "");
    add(l, "Caf\xc3\xa9 menu", "m", "");
    add(l, "Zebra", "m", "");
    assert_string_equal(ask_for(l, "Contract", NULL), "Contract"); /* exactly, although others begin so */
    assert_string_equal(ask_for(l, "contract", NULL), "contract");
    assert_string_equal(ask_for(l, "contract", "m"), "Contract"); /* but for case: the model that has it */
    assert_string_equal(ask_for(l, "contract 2024", NULL), "Contract 2024");
    assert_string_equal(ask_for(l, "zeb", NULL), "Zebra");
    assert_string_equal(ask_for(l, "Cafe\xcc\x81 menu", NULL), "Caf\xc3\xa9 menu"); /* as macOS writes it */
    assert_string_equal(ask_for(l, "CAF\xc3\x89", NULL), "Caf\xc3\xa9 menu");
    assert_string_equal(ask_for(l, "contract 2", NULL),
                        "'contract 2' may be 'Contract 2024', 'Contract 2025'; say more of the name");
    assert_string_equal(ask_for(l, "Zerba", NULL), "no document is called 'Zerba'; did you mean 'Zebra'?");
    assert_string_equal(ask_for(l, "menu", NULL), "no document is called 'menu'; did you mean 'Caf\xc3\xa9 menu'?");
    assert_string_equal(ask_for(l, "Zebra", "n"), "no document that this model has read is called 'Zebra'");
    assert_string_equal(ask_for(l, "nothing of the kind", NULL), "no document is called 'nothing of the kind'");
    assert_string_equal(ask_for(l, "", NULL), "no document is called ''");
    assert_non_null(strstr(ask_for(l, "\xff", NULL), "not UTF-8"));
    library_close(l);
}

/* ---- words ---- */

static const struct {
    const char *name, *text;
} texts[] = {
    {"harbour", "The captain of the vessel Dauntless is Bertil Quillfeather. Ships rest in the harbour; the ships are old."},
    {"kitchen", "To bake bread one needs flour, water and salt. The oven is hot. Na\xc3\xafve cooks burn it."},
    {"report", "Revenue of the company grew by 12 percent; the captain of industry was pleased. (See NEAR and NOT.)"},
    {"tokyo", "\xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd\xe3\x81\xae\xe4\xba\xba\xe5\x8f\xa3\xe3\x81\xaf\xe7\xb4\x84"
              "1400\xe4\xb8\x87\xe4\xba\xba\xe3\x81\xa7\xe3\x81\x99\xe3\x80\x82"},
};

static library *open_texts(void) {
    library *l = open_library(LIBRARY_WRITE);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        add(l, texts[i].name, "m", texts[i].text);
    return l;
}

/* Names of what a search or pick finds, with blanks between them. */
typedef kv_status looking(library *, const char *, const char *, size_t, library_list *, kv_err *);
static const char *look(looking *how, library *l, const char *words) {
    static char said[2048];
    kv_err err = {0};
    library_list found;
    *said = '\0';
    if (how(l, words, NULL, 10, &found, &err)) {
        assert_int_equal(err.code, KV_EINVAL);
        return "error";
    }
    for (size_t i = 0; i < found.n; i++) {
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s%s", i ? " " : "", found.v[i].name);
        assert_true(found.v[i].rank > 0 && (!i || found.v[i].rank <= found.v[i - 1].rank));
    }
    library_list_free(&found);
    return said;
}

static void library_finds_words(void **state) {
    (void)state;
    library *l = open_texts();
    static const struct {
        const char *words, *names;
    } cases[] = {
        {"Quillfeather", "harbour"},
        {"QUILLFEATHER dauntless", "harbour"}, /* without case */
        {"ship", "harbour"},                   /* English endings off */
        {"baking breads", "kitchen"},
        {"naive", "kitchen"}, /* without diacritics */
        {"n\xc3\xa4ive", "kitchen"},
        {"captain vessel", "harbour"}, /* both words */
        {"captain", "report harbour"}, /* the shorter one first */
        {"kitchen", "kitchen"},        /* the name counts */
        {"revenue unicorn", "report"}, /* nothing has both: what has any */
        {"the unicorn", ""},           /* but not for words that all have */
        {"12", "report"},
        {"unicorn", ""},
        /* what FTS5 would take as its own */
        {"captain AND vessel", "harbour report"}, /* a word like others, which none has with these */
        {"NEAR(captain vessel)", "report harbour"},
        {"NOT", "report"},
        {"\"captain", "report harbour"},
        {"\"\"\"captain\"\"", "report harbour"},
        {"captain)", "report harbour"},
        {"((captain", "report harbour"},
        {"title:kitchen", "kitchen"}, /* nothing has the word title */
        {"{title text}:oven", "kitchen"},
        {"capt*", ""},
        {"^captain", "report harbour"},
        {"captain -vessel", "harbour"},
        {"captain + vessel", "harbour"},
        {"'; DROP TABLE words; --", ""},
        {"", "error"},
        {" \t\n", "error"},
        {"\"", "error"},
        {"()*^:-+,{}", "error"},
        {"\xf0\x9f\x9a\xa2", "error"}, /* an emoji is no word */
        {"\xf0\x9f\x9a\xa2 harbour", "harbour"},
        {"\xff\xfe", "error"},
        {"bread\xff", "kitchen"},
        /* characters that are words, wherever they are in a run of them */
        {"\xe6\x9d\xb1\xe4\xba\xac", "tokyo"},
        {"\xe4\xba\xba\xe5\x8f\xa3", "tokyo"},
        {"\xe4\xba\xac", "tokyo"},
        {"\xe4\xba\xac\xe6\x9d\xb1", ""}, /* in their order */
        {"1400", "tokyo"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *names = look(library_search, l, cases[i].words);
        if (strcmp(names, cases[i].names))
            fail_msg("'%s': '%s', not '%s'", cases[i].words, names, cases[i].names);
    }
    library_close(l);
}

static void library_picks_for_a_question(void **state) {
    (void)state;
    library *l = open_texts();
    static const struct {
        const char *question, *names;
    } cases[] = {
        {"Who is the captain of the Dauntless?", "harbour report"},
        {"What do I need to bake a bread?", "kitchen"},
        {"By how much did the revenue grow?", "report"},
        {"What is it?", "kitchen harbour"}, /* nothing but stop words: then they count */
        {"Where are the unicorns?", ""},
        {"\xe6\x9d\xb1\xe4\xba\xac\xe3\x81\xab\xe3\x81\xaf\xe4\xbd\x95\xe4\xba\xba", "tokyo"}, /* how many are in Tokyo */
        {"?!", "error"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *names = look(library_pick, l, cases[i].question);
        if (strcmp(names, cases[i].names))
            fail_msg("'%s': '%s', not '%s'", cases[i].question, names, cases[i].names);
    }
    char many[8000] = ""; /* far more words than are looked for */
    for (int i = 0; i < 600; i++)
        sprintf(many + strlen(many), "w%d \"(", i);
    assert_string_equal(look(library_pick, l, many), "");
    library_close(l);
}

/* With two documents every word of one is one that half of them have: still it must weigh more than one that both have. */
static void library_ranks_in_a_small_library(void **state) {
    (void)state;
    library *l = open_library(LIBRARY_WRITE);
    add(l, "talkative", "m", "engine engine engine engine engine engine engine engine engine engine");
    add(l, "specific", "m", "engine of the zeppelin and many other words that make this text about as long");
    assert_string_equal(look(library_pick, l, "zeppelin engine"), "specific talkative");
    add(l, "zeppelin", "m", "about something else, but called so, with words to be as long as the other one");
    assert_string_equal(look(library_pick, l, "zeppelin"), "zeppelin specific"); /* names count more */
    library_close(l);
}

static void library_looks_in_one_model(void **state) {
    (void)state;
    library_list found;
    library *l = open_library(LIBRARY_WRITE);
    add(l, "a", "m1", "fox");
    add(l, "a", "m2", "fox");
    assert_int_equal(library_search(l, "fox", NULL, 10, &found, NULL), KV_OK);
    assert_int_equal(found.n, 2);
    library_list_free(&found);
    assert_int_equal(library_search(l, "fox", "m2", 10, &found, NULL), KV_OK);
    assert_int_equal(found.n, 1);
    assert_string_equal(found.v[0].model_hash, "m2");
    library_list_free(&found);
    assert_int_equal(library_pick(l, "fox", NULL, 1, &found, NULL), KV_OK);
    assert_int_equal(found.n, 1); /* no more than were asked for */
    library_list_free(&found);
    library_close(l);
}

static const char *snippet_of(library *l, const char *words) {
    static char said[1024];
    kv_err err = {0};
    library_list found;
    if (library_search(l, words, NULL, 1, &found, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(found.n, 1);
    snprintf(said, sizeof said, "%s", found.v[0].snippet);
    library_list_free(&found);
    return said;
}

static void library_shows_where_words_are(void **state) {
    (void)state;
    library *l = open_texts();
    assert_string_equal(snippet_of(l, "oven"), "To bake bread one needs flour, water and salt. The [oven] is hot. "
                                               "Na\xc3\xafve cooks burn it");
    assert_string_equal(snippet_of(l, "\xe4\xba\xba\xe5\x8f\xa3"),
                        "\xe6\x9d\xb1\xe4\xba\xac\xe9\x83\xbd\xe3\x81\xae[\xe4\xba\xba\xe5\x8f\xa3]\xe3\x81\xaf\xe7\xb4\x84"
                        "1400\xe4\xb8\x87\xe4\xba\xba\xe3\x81\xa7\xe3\x81\x99");
    assert_string_equal(snippet_of(l, "kitchen"), "To bake bread one needs flour, water and salt. The oven is hot. "
                                                  "Na\xc3\xafve cooks burn it");
    library_close(l);
}

/* A book: a word in every line, and one place where both are. Were snippets made in the square of that, this would not end. */
static void library_shows_the_best_place_of_a_book(void **state) {
    (void)state;
    enum { LINES = 100000 };
    static const char line[] = "common words, and\n\n  nothing else;\n", place[] = "here a common zebra\tstands; ";
    char *book = malloc(LINES * sizeof line + sizeof place), *at = book;
    assert_non_null(book);
    for (int i = 0; i < LINES; i++)
        at += sprintf(at, "%s%s", line, i == LINES / 2 ? place : "");
    library *l = open_library(LIBRARY_WRITE);
    add(l, "book", "m", book);
    free(book);
    assert_string_equal(snippet_of(l, "zebra common"),
                        "\xe2\x80\xa6 nothing else; here a [common] [zebra] stands; [common] words, and nothing else; "
                        "[common] words, and nothing else; [common] words, and nothing else; [common] words \xe2\x80\xa6");
    library_close(l);
}

/* ---- going ---- */

static void library_removes(void **state) {
    (void)state;
    kv_err err = {0};
    library *l = open_texts();
    const int64_t id = id_of(l, "report", "m");
    assert_int_equal(library_remove(l, id, &err), KV_OK);
    assert_int_equal(library_remove(l, id, &err), KV_EINVAL);
    assert_string_equal(look(library_search, l, "revenue"), "");
    assert_int_equal(count_files("payload"), 6);
    assert_int_equal(library_check(l, &err), KV_OK);
    library_close(l);
}

static const char *names_by_use(library *l) {
    static char said[1024];
    library_list all;
    *said = '\0';
    assert_int_equal(library_all(l, LIBRARY_BY_USE, &all, NULL), KV_OK);
    for (size_t i = 0; i < all.n; i++)
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s%s", i ? " " : "", all.v[i].name);
    library_list_free(&all);
    return said;
}

static void library_knows_what_was_used(void **state) {
    (void)state;
    library *l = open_texts();
    assert_string_equal(names_by_use(l), "tokyo report kitchen harbour");
    assert_int_equal(library_touch(l, id_of(l, "kitchen", "m"), NULL), KV_OK);
    assert_int_equal(library_touch(l, id_of(l, "harbour", "m"), NULL), KV_OK);
    assert_string_equal(names_by_use(l), "harbour kitchen tokyo report");
    assert_int_equal(library_touch(l, 12345, NULL), KV_OK);
    library_close(l);
}

static const char *names_of(library_list *gone) {
    static char said[1024];
    *said = '\0';
    for (size_t i = 0; i < gone->n; i++)
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s%s", i ? " " : "", gone->v[i].name);
    library_list_free(gone);
    return said;
}

static void library_keeps_to_a_limit(void **state) {
    (void)state;
    kv_err err = {0};
    library_totals t;
    library_list gone = {0};
    library *l = open_library(LIBRARY_WRITE);
    for (const char *name = "abcd"; *name; name++)
        add_sized(l, (char[]){*name, '\0'}, "m", 1000, NULL);
    assert_int_equal(library_touch(l, id_of(l, "a", "m"), NULL), KV_OK);
    assert_int_equal(library_set_limit(l, 3500, &gone, &err), KV_OK);
    assert_string_equal(names_of(&gone), "b"); /* not used for longest */
    assert_int_equal(library_get_totals(l, &t, &err), KV_OK);
    assert_true(t.limit == 3500 && t.bytes == 3000 && t.documents == 3 && !t.missing);
    assert_int_equal(count_files("payload"), 6);

    add_sized(l, "e", "m", 1800, &gone); /* at once when something comes */
    assert_string_equal(names_of(&gone), "c d");
    library_close(l);
    l = open_library(LIBRARY_WRITE); /* the limit is kept */
    add_sized(l, "f", "m", 9000, &gone);
    assert_string_equal(names_of(&gone), "a e"); /* and it itself stays, although it is too large */
    assert_int_equal(library_get_totals(l, &t, &err), KV_OK);
    assert_true(t.bytes == 9000 && t.documents == 1);
    add_sized(l, "f", "m", 9000, &gone); /* in place of itself */
    assert_string_equal(names_of(&gone), "");
    assert_int_equal(library_set_limit(l, 0, &gone, &err), KV_OK);
    assert_string_equal(names_of(&gone), "");
    add_sized(l, "g", "m", 9000, &gone);
    assert_string_equal(names_of(&gone), "");
    assert_int_equal(library_set_limit(l, UINT64_MAX, NULL, &err), KV_EINVAL);
    assert_int_equal(library_check(l, &err), KV_OK);
    library_close(l);
}

static void library_leaves_what_is_mapped(void **state) {
    (void)state;
    library_list found;
    library *l = open_library(LIBRARY_WRITE);
    add(l, "a", "m", "text");
    assert_int_equal(library_find(l, "a", NULL, &found, NULL), KV_OK);
    const int fd = open(found.v[0].payload_path, O_RDONLY);
    const char *bytes = mmap(NULL, 7, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    assert_int_equal(library_set_limit(l, 1, NULL, NULL), KV_OK);
    assert_int_equal(access(found.v[0].payload_path, F_OK), -1);
    assert_memory_equal(bytes, "a of m", 6);
    munmap((void *)(uintptr_t)bytes, 7);
    library_list_free(&found);
    library_close(l);
}

static void library_says_what_is_missing(void **state) {
    (void)state;
    kv_err err = {0};
    library_totals t;
    library_list found, gone = {0};
    library *l = open_library(LIBRARY_WRITE);
    add_sized(l, "a", "m", 1000, NULL);
    add_sized(l, "b", "m", 1000, NULL);
    assert_int_equal(library_find(l, "a", NULL, &found, NULL), KV_OK);
    unlink(found.v[0].payload_path);
    library_list_free(&found);
    library_close(l);
    l = open_library(LIBRARY_WRITE);
    assert_int_equal(library_find(l, "a", NULL, &found, NULL), KV_OK);
    assert_true(found.v[0].missing);
    library_list_free(&found);
    assert_int_equal(library_get_totals(l, &t, &err), KV_OK);
    assert_true(t.documents == 2 && t.missing == 1 && t.bytes == 1000);
    assert_int_equal(library_set_limit(l, 1500, &gone, &err), KV_OK);
    assert_string_equal(names_of(&gone), ""); /* what takes no room makes none */
    assert_int_equal(library_remove(l, id_of(l, "a", "m"), &err), KV_OK);
    assert_int_equal(count_files("payload"), 2);
    library_close(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        in_new_folder(library_that_is_not_there_is_empty),
        in_new_folder(library_keeps_a_document),
        in_new_folder(library_takes_the_users_folder),
        in_new_folder(library_replaces_by_name_and_model),
        in_new_folder(library_forgets_what_is_abandoned),
        in_new_folder(library_names_are_no_paths),
        in_new_folder(library_refuses_bad_names),
        in_new_folder(library_finds_by_name),
        in_new_folder(library_finds_words),
        in_new_folder(library_picks_for_a_question),
        in_new_folder(library_ranks_in_a_small_library),
        in_new_folder(library_looks_in_one_model),
        in_new_folder(library_shows_where_words_are),
        in_new_folder(library_shows_the_best_place_of_a_book),
        in_new_folder(library_removes),
        in_new_folder(library_knows_what_was_used),
        in_new_folder(library_keeps_to_a_limit),
        in_new_folder(library_leaves_what_is_mapped),
        in_new_folder(library_says_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
