/* Catalogues, names and addresses of files, the folder of models: what pull.py does not see from outside. */
#include "models/catalogue.h"

#include "fetch/fetch.h"
#include "models/pull.h"
#include "models/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int in_new_folder(void **state) {
    char *folder = strdup("/tmp/test_catalogue.XXXXXX");
    assert_true(folder && mkdtemp(folder) && !chdir(folder));
    *state = folder;
    return 0;
}

static int leave_folder(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    free(*state);
    return chdir("/") || system(command);
}

#define HEAD "version: 1\nmodels:\n"

static void catalogue_later_file_overrides(void **state) {
    (void)state;
    catalogue *c;
    kv_err err = {0};
    put("a.yaml", HEAD "- {name: b, repo: o/n, file: b.gguf, about: first}\n- {name: A, repo: o/n, file: deep/a.gguf}\n");
    put("b.yaml", HEAD "- {name: B, url: 'https://h/x%20y.gguf?z=1', size: 7}\n- {name: c, repo: o/n, file: c.gguf}\n");
    assert_int_equal(catalogue_open((const char *[]){"a.yaml", "none.yaml", "b.yaml"}, 3, &c, &err), KV_OK);
    assert_int_equal(catalogue_size(c), 3);
    const catalogue_entry *a = catalogue_at(c, 0), *b = catalogue_at(c, 1);
    assert_string_equal(a->name, "A");
    assert_string_equal(a->file, "a.gguf");
    assert_string_equal(a->path, "deep/a.gguf");
    assert_string_equal(a->revision, "main");
    assert_string_equal(b->name, "B"); /* all of the later entry */
    assert_string_equal(b->file, "x y.gguf");
    assert_null(b->about);
    assert_true(b->size == 7 && b->n_urls == 1);
    assert_ptr_equal(catalogue_find(c, "b"), b);
    assert_null(catalogue_find(c, "d"));
    catalogue_free(c);
}

static void catalogue_address_of_every_part(void **state) {
    (void)state;
    char text[] = "Owner/Repo/deep/x-00001-of-00012.gguf", out[CATALOGUE_ADDRESS];
    catalogue_entry e;
    kv_err err;
    assert_true(catalogue_of_path(text, &e));
    assert_int_equal(e.n_files, 12);
    assert_int_equal(catalogue_address(&e, "http://h:1/base//", 11, out, &err), KV_OK);
    assert_string_equal(out, "http://h:1/base/Owner/Repo/resolve/main/deep/x-00011-of-00012.gguf");
    char wide[CATALOGUE_ADDRESS + 8];
    memset(wide, 'a', sizeof wide - 1);
    wide[sizeof wide - 1] = '\0';
    assert_int_equal(catalogue_address(&e, wide, 1, out, &err), KV_EINVAL);
    static const char *const not_paths[] = {"a/b",           "a/b/",        "a/b/c",        "a//c.gguf", "/b/c.gguf",
                                            "a/b/../c.gguf", "a/b/.c.gguf", "a/b/c d.gguf", ""};
    for (size_t i = 0; i < sizeof not_paths / sizeof *not_paths; i++) {
        char copy[64];
        strcpy(copy, not_paths[i]);
        assert_false(catalogue_of_path(copy, &e));
        assert_string_equal(copy, not_paths[i]);
    }
}

static void pull_part_address_changes_the_name_alone(void **state) {
    (void)state;
    char out[CATALOGUE_ADDRESS];
    const char *name = "m-00001-of-00003.gguf";
    assert_true(pull_part_address("http://h/m-00001-of-00003.gguf/m-00001-of-00003.gguf?d=1", name, 3, out));
    assert_string_equal(out, "http://h/m-00001-of-00003.gguf/m-00003-of-00003.gguf?d=1");
    assert_false(pull_part_address("http://h/m%2d00001-of-00003.gguf", name, 2, out));
    assert_false(pull_part_address("http://h/m.gguf", "m.gguf", 2, out));
}

static void fetch_name_is_the_last_part(void **state) {
    (void)state;
    static const struct {
        const char *url, *name; /* name NULL: none */
    } cases[] = {
        {"http://h/a/b.gguf", "b.gguf"},
        {"HTTPS://h/b.gguf?x=/y.gguf", "b.gguf"},
        {"http://h/b.gguf#/c", "b.gguf"},
        {"http://h/a%20b%2B.gguf", "a b+.gguf"},
        {"http://h/", NULL},
        {"http://h", NULL},
        {"http://h/a%2fb", NULL},
        {"http://h/%", NULL},
        {"http://h/%4", NULL},
        {"http://h/%00", NULL},
        {"http://h/.x", NULL},
        {"http://h/%2e", NULL},
        {"http://h/a%5cb", NULL},
        {"ftp://h/b.gguf", NULL},
        {"h/b.gguf", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[FETCH_NAME] = "";
        kv_err err = {0};
        const kv_status st = fetch_name(cases[i].url, name, &err);
        assert_int_equal(st, cases[i].name ? KV_OK : KV_EINVAL);
        if (cases[i].name)
            assert_string_equal(name, cases[i].name);
    }
    char wide[600] = "http://h/", name[FETCH_NAME];
    memset(wide + 9, 'a', 500);
    assert_int_equal(fetch_name(wide, name, NULL), KV_EINVAL);
}

static void fetch_sum_is_sha256(void **state) {
    (void)state;
    char sum[FETCH_SUM];
    kv_err err = {0};
    put("abc", "abc"); /* FIPS 180-2, B.1 */
    assert_int_equal(fetch_sum("abc", &(fetch_cfg){0}, sum, &err), KV_OK);
    assert_string_equal(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(fetch_sum("none", &(fetch_cfg){0}, sum, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "none: cannot open: No such file"));
}

static void store_read_lists_wholes_and_parts(void **state) {
    (void)state;
    store_list l;
    kv_err err = {0};
    assert_int_equal(store_read("nowhere", &l, &err), KV_OK);
    assert_int_equal(l.n, 0);
    assert_int_equal(mkdir("m", 0700) | mkdir("m/c.gguf.part", 0700) | mkdir("m/d.gguf", 0700), 0);
    put("m/b.GGUF", "12345");
    put("m/a-00001-of-00003.gguf", "1");
    put("m/a-00002-of-00003.gguf", "23");
    put("m/c.gguf.part/c.gguf", "123");
    put("m/c.gguf.part/c.gguf.from", "{}");
    put("m/.x.gguf", "");
    put("m/text", "");
    assert_int_equal(store_read("m", &l, &err), KV_OK);
    assert_int_equal(l.n, 4);
    assert_string_equal(l.v[0].name, "a");
    assert_true(l.v[0].files == 3 && l.v[0].missing == 1 && l.v[0].bytes == 3);
    assert_string_equal(l.v[1].name, "b");
    assert_true(l.v[1].bytes == 5 && !l.v[1].missing && !l.v[1].partial);
    assert_string_equal(l.v[2].name, "c");
    assert_true(l.v[2].partial && l.v[2].bytes == 3);
    assert_string_equal(l.v[2].path, "m/c.gguf");
    assert_true(l.v[3].missing == 1); /* a folder is no model */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(store_remove(&l.v[i], &err), KV_OK);
    assert_true(access("m/a-00002-of-00003.gguf", F_OK) && access("m/b.GGUF", F_OK) && access("m/c.gguf.part", F_OK));
    store_free(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(catalogue_later_file_overrides),
        cmocka_unit_test(catalogue_address_of_every_part),
        cmocka_unit_test(pull_part_address_changes_the_name_alone),
        cmocka_unit_test(fetch_name_is_the_last_part),
        cmocka_unit_test(fetch_sum_is_sha256),
        cmocka_unit_test(store_read_lists_wholes_and_parts),
    };
    return cmocka_run_group_tests(tests, in_new_folder, leave_folder);
}
