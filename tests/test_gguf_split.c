/* Models in several files: any part stands for all of them, and what does not fit together is named. */
#include "base/atomic_file.h"
#include "gguf_text.h"
#include "support.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define WHOLE KV_TEST_DATA "/tiny/llama.gguf"
#define SPLIT KV_TEST_DATA "/split/split-" /* the same model in two files */

/* Each test has an empty folder as its working directory. */
static char dir[200];

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kv-test-split-XXXXXX", tmp ? tmp : P_tmpdir);
    return mkdtemp(dir) ? chdir(dir) : -1;
}

static int teardown(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return chdir("/") || system(command);
}

static gguf *must_open(const char *path) {
    gguf *g;
    kv_err err;
    if (gguf_open(path, &g, &err) != KV_OK)
        fail_msg("%s", err.msg);
    return g;
}

static void write_text(const char *path, const char *text) {
    blob b = assemble(text);
    assert_int_equal(file_write(path, b.bytes, b.len, NULL), KV_OK);
}

static void refuses(const char *path, kv_status want, const char *file, const char *problem) {
    gguf *g = NULL;
    kv_err err;
    if (gguf_open(path, &g, &err) != want || !strstr(err.msg, file) || !strstr(err.msg, problem))
        fail_msg("%s: wanted '%s' and '%s', got '%s'", path, file, problem, g ? "no error" : err.msg);
}

/* ---- a real model ---- */

static void split_any_part_opens_all(void **state) {
    (void)state;
    gguf *whole = must_open(WHOLE);
    for (int part = 1; part <= 2; part++) {
        char path[512], hash[33], want[33];
        snprintf(path, sizeof path, SPLIT "%05d-of-00002.gguf", part);
        gguf *g = must_open(path);
        assert_string_equal(gguf_path(g), SPLIT "00001-of-00002.gguf");
        assert_int_equal(gguf_n_tensors(g), gguf_n_tensors(whole));
        for (size_t i = 0; i < gguf_n_tensors(whole); i++) {
            const gguf_tensor *t = gguf_tensor_at(whole, i);
            char name[65] = "";
            memcpy(name, t->name.s, t->name.len);
            const gguf_tensor *found = gguf_tensor_find(g, name);
            assert_true(found == gguf_tensor_at(g, i));
            assert_true(found->type == t->type && !memcmp(found->dims, t->dims, sizeof t->dims));
            assert_memory_equal(found->data, t->data, t->nbytes);
        }
        assert_int_equal(gguf_n_kv(g), gguf_n_kv(whole) + 3); /* split.* */
        assert_int_equal(gguf_model_hash(g, hash, NULL), KV_OK);
        assert_int_equal(gguf_model_hash(whole, want, NULL), KV_OK);
        assert_string_equal(hash, want);
        assert_int_equal(gguf_file_bytes(g), 83392 + 67616);
        gguf_close(g);
    }
    gguf_close(whole);
}

/* A copy is the whole model, byte for byte. */
static void split_copy_is_one_file(void **state) {
    (void)state;
    char *have, *want;
    size_t n_have, n_want;
    gguf *g = must_open(SPLIT "00002-of-00002.gguf");
    assert_int_equal(gguf_copy(g, "one.gguf", NULL, NULL, 0, NULL), KV_OK);
    gguf_close(g);
    assert_int_equal(file_read("one.gguf", 1 << 20, &have, &n_have, NULL), KV_OK);
    assert_int_equal(file_read(WHOLE, 1 << 20, &want, &n_want, NULL), KV_OK);
    assert_int_equal(n_have, n_want);
    assert_memory_equal(have, want, n_want);
    free(have);
    free(want);
}

/* Under the name of a part it stays several files: only the first changes, and only its keys. */
static void split_copy_keeps_parts(void **state) {
    (void)state;
    uint32_t version = 0;
    const gguf_set set = {"kvcalib.version", GGUF_U32, &(uint32_t){7}, 4};
    gguf *g = must_open(SPLIT "00001-of-00002.gguf");
    assert_int_equal(gguf_copy(g, "new-00002-of-00002.gguf", NULL, NULL, 0, NULL), KV_OK);
    assert_same_files("new-00001-of-00002.gguf", SPLIT "00001-of-00002.gguf");
    assert_same_files("new-00002-of-00002.gguf", SPLIT "00002-of-00002.gguf");
    assert_int_equal(gguf_copy(g, "set-00001-of-00002.gguf", "kvcalib.", &set, 1, NULL), KV_OK);
    gguf_close(g);
    assert_same_files("set-00002-of-00002.gguf", SPLIT "00002-of-00002.gguf");
    g = must_open("set-00002-of-00002.gguf");
    assert_int_equal(gguf_get_u32(g, "kvcalib.version", true, &version, NULL), KV_OK);
    assert_int_equal(version, 7);
    assert_int_equal(gguf_copy(g, "old-00001-of-00002.gguf", "kvcalib.", NULL, 0, NULL), KV_OK);
    gguf_close(g);
    assert_same_files("old-00001-of-00002.gguf", SPLIT "00001-of-00002.gguf");
}

static int files_here(void) {
    int n = 0;
    DIR *d = opendir(".");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Of every part a tensor is edited: copies hold those as they are now, and all others as they were. */
static void split_copy_writes_what_was_edited(void **state) {
    (void)state;
    static const char *const targets[] = {"whole.gguf", "e-00001-of-00002.gguf"};
    gguf *g = must_open(SPLIT "00001-of-00002.gguf");
    const size_t n = gguf_n_tensors(g), edited[] = {1, n - 2};
    for (int i = 0; i < 2; i++) {
        const gguf_tensor *t = gguf_tensor_at(g, edited[i]);
        char name[64];
        uint8_t *data, *again;
        snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.s);
        assert_int_equal(gguf_edit(g, name, &data, NULL), KV_OK);
        memset(data, 17 + i, t->nbytes);
        assert_int_equal(gguf_edit(g, name, &again, NULL), KV_OK);
        assert_ptr_equal(data, again);
        gguf_tensor_rest(t); /* must leave it alone */
        assert_true(t->edited && t->data[t->nbytes - 1] == 17 + i);
    }
    assert_int_equal(gguf_edit(g, "no.such.tensor", (uint8_t *[]){NULL}, NULL), KV_EINVAL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gguf_copy(g, targets[i], NULL, NULL, 0, NULL), KV_OK);
        gguf *copy = must_open(targets[i]);
        assert_int_equal(gguf_n_tensors(copy), n);
        for (size_t j = 0; j < n; j++) {
            const gguf_tensor *t = gguf_tensor_at(copy, j);
            assert_false(t->edited);
            assert_memory_equal(t->data, gguf_tensor_at(g, j)->data, t->nbytes);
        }
        gguf_close(copy);
    }
    unlink("whole.gguf");
    unlink("e-00001-of-00002.gguf");
    unlink("e-00002-of-00002.gguf");
    gguf_close(g);
}

static void copy_refuses(const gguf *g, const char *path, const char *problem) {
    kv_err err = {0};
    assert_int_not_equal(gguf_copy(g, path, NULL, NULL, 0, &err), KV_OK);
    if (!strstr(err.msg, problem))
        fail_msg("%s: wanted '%s', got '%s'", path, problem, err.msg);
}

/* No half of a set is left, nor a temporary. */
static void split_copy_is_all_or_nothing(void **state) {
    (void)state;
    gguf *g = must_open(SPLIT "00001-of-00002.gguf"), *whole = must_open(WHOLE);
    assert_int_equal(mkdir("m-00002-of-00002.gguf", 0777), 0);
    const int before = files_here();
    copy_refuses(g, "m-00001-of-00002.gguf", "m-00002-of-00002.gguf: is a directory");
    copy_refuses(g, "m-00001-of-00003.gguf", "is called like a part of 3, but the model is in 2 files");
    copy_refuses(whole, "m-00001-of-00002.gguf", "is called like a part of 2, but the model is in 1 file:");
    copy_refuses(g, SPLIT "00002-of-00002.gguf", "is the model itself, or a part of it");
    assert_int_equal(files_here(), before);
    gguf_close(whole);
    gguf_close(g);
}

/* ---- small ones ---- */

#define SPLIT_KEYS(no, count, tensors)                                                                                         \
    "'split.no' 2:4 " #no ":2 'split.count' 2:4 " #count ":2 'split.tensors.count' 5:4 " #tensors ":4 "
#define A      "'a' 1:4 8:8 0:4 0:8 "
#define B      "'b' 1:4 4:8 0:4 0:8 "
#define DATA   "|32 .32"
#define PART_1 HEAD(1, 4) "'general.name' 8:4 'two' " SPLIT_KEYS(0, 2, 2) A DATA
#define PART_2 HEAD(1, 3) SPLIT_KEYS(1, 2, 2) B DATA

static void split_wrong_parts_are_named(void **state) {
    (void)state;
    static const struct {
        const char *one, *two; /* NULL: there is none */
        kv_status status;
        const char *file, *problem;
    } cases[] = {
        {PART_1, NULL, KV_EIO, "m-00002-of-00002.gguf: ", "is missing: part 2 of 2"},
        {PART_1, PART_1, KV_EFORMAT, "m-00002-of-00002.gguf: ", "its name says part 2, but key 'split.no' is 0"},
        {PART_2, PART_2, KV_EFORMAT, "m-00001-of-00002.gguf: ", "its name says part 1, but key 'split.no' is 1"},
        {HEAD(1, 3) SPLIT_KEYS(0, 3, 2) A DATA, PART_2, KV_EFORMAT,
         "m-00001-of-00002.gguf: ", "its name says 2 parts, but key 'split.count' is 3"},
        {PART_1, HEAD(1, 3) SPLIT_KEYS(1, 3, 2) B DATA, KV_EFORMAT,
         "m-00002-of-00002.gguf: ", "its name says 2 parts, but key 'split.count' is 3"},
        {HEAD(1, 3) SPLIT_KEYS(0, 2, 3) A DATA, HEAD(1, 3) SPLIT_KEYS(1, 2, 3) B DATA, KV_EFORMAT,
         "m-00001-of-00002.gguf: ", "its parts have 2 tensors, but key 'split.tensors.count' is 3"},
        {PART_1, HEAD(1, 3) SPLIT_KEYS(1, 2, 3) B DATA, KV_EFORMAT, "m-00002-of-00002.gguf: ",
         "key 'split.tensors.count' is not what it is in m-00001-of-00002.gguf: these are parts of different models"},
        {PART_1, HEAD(1, 4) "'general.name' 8:4 'twa' " SPLIT_KEYS(1, 2, 2) B DATA, KV_EFORMAT,
         "m-00002-of-00002.gguf: ", "key 'general.name' is not what it is in m-00001"},
        {PART_1, HEAD(1, 4) "'general.type' 8:4 'two' " SPLIT_KEYS(1, 2, 2) B DATA, KV_EFORMAT,
         "m-00002-of-00002.gguf: ", "key 'general.type' is not in the first part, m-00001"},
        {PART_1, HEAD(1, 3) SPLIT_KEYS(1, 2, 2) A DATA, KV_EFORMAT,
         "m-00002-of-00002.gguf: ", "tensor 'a' is in m-00001-of-00002.gguf as well"},
        {PART_1, HEAD(1, 0) B DATA, KV_EFORMAT, "m-00002-of-00002.gguf: ", "key 'split.no' is missing"},
        {PART_1, HEAD(1, 2) "'split.count' 2:4 2:2 'split.no' 8:4 '1' " B DATA, KV_EFORMAT,
         "m-00002-of-00002.gguf: ", "key 'split.no' is of type string"},
        {PART_1, "\"GGUF\"", KV_EFORMAT, "m-00002-of-00002.gguf: ", "truncated"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unlink("m-00002-of-00002.gguf");
        write_text("m-00001-of-00002.gguf", cases[i].one);
        if (cases[i].two)
            write_text("m-00002-of-00002.gguf", cases[i].two);
        refuses("m-00001-of-00002.gguf", cases[i].status, cases[i].file, cases[i].problem);
    }
    unlink("m-00001-of-00002.gguf");
    write_text("m-00002-of-00002.gguf", PART_2);
    refuses("./m-00002-of-00002.gguf", KV_EIO, "./m-00001-of-00002.gguf: ", "is missing: part 1 of 2");
}

static void split_names_must_be_those_of_parts(void **state) {
    (void)state;
    static const char *const wrong[] = {"m.gguf",
                                        "m-1-of-2.gguf",
                                        "m-00001-of-00002.bin",
                                        "m-0000a-of-00002.gguf",
                                        "m-00000-of-00002.gguf",
                                        "m-00003-of-00002.gguf"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(gguf_split_count(wrong[i]), 1);
        write_text(wrong[i], PART_1);
        refuses(wrong[i], KV_EFORMAT, wrong[i], "part 1 of a model in 2 files, but is not called so");
    }
    /* A file of one part is whole, whatever its name. */
    static const char alone[] = HEAD(1, 3) SPLIT_KEYS(0, 1, 1) A DATA;
    static const char *const names[] = {"alone.gguf", "m-00001-of-00001.gguf", "m-00002-of-00004.gguf"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_text(names[i], alone);
        gguf_close(must_open(names[i]));
    }
    assert_int_equal(gguf_split_count("a/-00012-of-00345.gguf"), 345);
    char path[] = "m-00001-of-12345.gguf";
    gguf_split_path(path, 12045, path);
    assert_string_equal(path, "m-12045-of-12345.gguf");
}

/* Three parts with alignments of their own, one without tensors; the copy has the first's. */
static void split_parts_may_differ_in_alignment(void **state) {
    (void)state;
    write_text("m-00001-of-00003.gguf", HEAD(0, 4) "'general.alignment' 4:4 64:4 " SPLIT_KEYS(0, 3, 3));
    write_text("m-00002-of-00003.gguf", HEAD(1, 3) SPLIT_KEYS(1, 3, 3) B "|32 .16");
    write_text("m-00003-of-00003.gguf", HEAD(2, 4) "'general.alignment' 4:4 128:4 " SPLIT_KEYS(
                                            2, 3, 3) "'c' 1:4 8:8 0:4 128:8 " A "|128 .32 |128 \"mark\" .28");
    gguf *g = must_open("m-00002-of-00003.gguf");
    assert_int_equal(gguf_n_tensors(g), 3);
    assert_memory_equal(gguf_tensor_find(g, "c")->data, "mark", 4);
    for (const char *no = "123"; *no; no++) {
        char path[] = "m-0000.-of-00003.gguf";
        kv_err err;
        path[6] = *no;
        assert_int_equal(gguf_copy(g, path, NULL, NULL, 0, &err), KV_EINVAL);
        assert_non_null(strstr(err.msg, "or a part of it"));
    }
    assert_int_equal(gguf_copy(g, "one.gguf", NULL, NULL, 0, NULL), KV_OK);
    gguf_close(g);
    g = must_open("one.gguf");
    assert_int_equal(gguf_alignment(g), 64);
    assert_int_equal(gguf_n_kv(g), 1);
    assert_int_equal(gguf_n_tensors(g), 3);
    assert_memory_equal(gguf_tensor_find(g, "c")->data, "mark", 4);
    assert_int_equal(gguf_tensor_find(g, "a")->offset, 128);
    gguf_close(g);
}

/* Any byte of a part may be wrong: it is refused, or what was read is within the files. */
static void split_survives_damage(void **state) {
    (void)state;
    static const char *const parts[] = {PART_1, PART_2}, *const paths[] = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
    unsigned opened = 0, sum = 0;
    for (int i = 0; i < 2; i++)
        write_text(paths[i], parts[i]);
    for (int i = 0; i < 2; i++) {
        blob b = assemble(parts[i]);
        for (size_t at = 0; at < b.len; at++) {
            const uint8_t was = b.bytes[at];
            for (int flip = 1; flip < 256; flip *= 2) {
                gguf *g = NULL;
                kv_err err = {0};
                b.bytes[at] = was ^ (uint8_t)flip;
                assert_int_equal(file_write(paths[i], b.bytes, b.len, NULL), KV_OK);
                if (gguf_open(paths[flip % 3 == 0], &g, &err) != KV_OK) {
                    assert_true(*err.msg && !g);
                    continue;
                }
                opened++;
                for (size_t t = 0; t < gguf_n_tensors(g); t++)
                    for (size_t k = 0; k < gguf_tensor_at(g, t)->nbytes; k++)
                        sum += gguf_tensor_at(g, t)->data[k];
                gguf_close(g);
            }
            b.bytes[at] = was;
        }
        write_text(paths[i], parts[i]);
    }
    assert_true(opened > 100 && sum > 0); /* the data themselves may be anything */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(split_any_part_opens_all, setup, teardown),
        cmocka_unit_test_setup_teardown(split_copy_is_one_file, setup, teardown),
        cmocka_unit_test_setup_teardown(split_copy_keeps_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(split_copy_writes_what_was_edited, setup, teardown),
        cmocka_unit_test_setup_teardown(split_copy_is_all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(split_wrong_parts_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(split_names_must_be_those_of_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(split_parts_may_differ_in_alignment, setup, teardown),
        cmocka_unit_test_setup_teardown(split_survives_damage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
