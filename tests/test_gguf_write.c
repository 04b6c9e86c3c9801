/* Copies of GGUF files with other metadata, and the hash that identifies a model. */
#include "base/atomic_file.h"
#include "gguf_text.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static gguf *must_open(const char *path) {
    gguf *g;
    kv_err err;
    if (gguf_open(path, &g, &err) != KV_OK)
        fail_msg("%s", err.msg);
    return g;
}

/* ---- copying ---- */

/* Write the sample to dir/name and open it. path: 256 bytes. */
static gguf *sample_file(const char *dir, const char *name, char *path) {
    blob b = assemble(sample);
    snprintf(path, 256, "%s/%s", dir, name);
    assert_int_equal(file_write(path, b.bytes, b.len, NULL), KV_OK);
    return must_open(path);
}

static void assert_file_is(const char *path, const void *bytes, size_t len) {
    char *have;
    size_t have_len;
    assert_int_equal(file_read(path, 1 << 20, &have, &have_len, NULL), KV_OK);
    assert_int_equal(have_len, len);
    assert_memory_equal(have, bytes, len);
    free(have);
}

static void copy_or_fail(const gguf *src, const char *path, const char *drop, const gguf_set *sets, size_t n) {
    kv_err err;
    if (gguf_copy(src, path, drop, sets, n, &err) != KV_OK)
        fail_msg("%s", err.msg);
}

static void gguf_copy_without_changes_gives_the_same_bytes(void **state) {
    char in[256], out[256];
    gguf *g = sample_file(*state, "in.gguf", in);
    blob b = assemble(sample);
    snprintf(out, sizeof out, "%s/out.gguf", (char *)*state);
    copy_or_fail(g, out, NULL, NULL, 0);
    assert_file_is(out, b.bytes, b.len);
    copy_or_fail(g, out, "nothing.starts.so", NULL, 0);
    assert_file_is(out, b.bytes, b.len);
    gguf_close(g);
}

/* The keys between the header and the tensors must come out as the notation says, and the tensors as they were. */
static void gguf_copy_sets_replaces_and_drops(void **state) {
    static const char keys[] =
        "'x.odd' 9:4 7:4 1:8 1:1 'kvcalib.old' 4:4 1:4 'n' 8:4 'before' 'kvcalib.version' 4:4 1:4 'z' 0:4 1:1 ";
    static const char tensors[] = "'t' 1:4 8:8 0:4 0:8 |32 .32 .7"; /* with a tail that belongs to no tensor */
    char text[1024], in[256], out[256];
    snprintf(text, sizeof text, HEAD(1, 5) "%s%s", keys, tensors);
    blob b = assemble(text);
    snprintf(in, sizeof in, "%s/in.gguf", (char *)*state);
    snprintf(out, sizeof out, "%s/out.gguf", (char *)*state);
    assert_int_equal(file_write(in, b.bytes, b.len, NULL), KV_OK);
    gguf *g = must_open(in);

    uint32_t two = 2;
    const gguf_set sets[] = {
        {"kvcalib.version", GGUF_U32, &two, 4},
        {"kvcalib.data", GGUF_ARRAY, "\1\2\3", 3},
        {"n", GGUF_STRING, "after it", 8},
        {"kvcalib.profile", GGUF_STRING, "", 0},
    };
    copy_or_fail(g, out, "kvcalib.", sets, 4);
    snprintf(text, sizeof text,
             HEAD(1, 6) "'x.odd' 9:4 7:4 1:8 1:1 'n' 8:4 'after it' 'z' 0:4 1:1 'kvcalib.version' 4:4 2:4 "
                        "'kvcalib.data' 9:4 0:4 3:8 1:1 2:1 3:1 'kvcalib.profile' 8:4 '' %s",
             tensors);
    b = assemble(text);
    assert_file_is(out, b.bytes, b.len);

    copy_or_fail(g, out, NULL, sets, 1); /* not dropped: replaced where it is */
    snprintf(
        text, sizeof text,
        HEAD(1, 5) "'x.odd' 9:4 7:4 1:8 1:1 'kvcalib.old' 4:4 1:4 'n' 8:4 'before' 'kvcalib.version' 4:4 2:4 'z' 0:4 1:1 %s",
        tensors);
    b = assemble(text);
    assert_file_is(out, b.bytes, b.len);
    gguf_close(g);
}

static void gguf_copy_keeps_the_alignment(void **state) {
    char in[256], out[256];
    gguf *g = sample_file(*state, "in.gguf", in);
    snprintf(out, sizeof out, "%s/out.gguf", (char *)*state);
    for (size_t n = 0; n < 70; n++) { /* any length of metadata */
        char value[70] = "";
        copy_or_fail(g, out, NULL, &(gguf_set){"pad", GGUF_STRING, value, n}, 1);
        gguf *copy = must_open(out);
        assert_int_equal(gguf_alignment(copy), 64);
        for (size_t i = 0; i < gguf_n_tensors(g); i++) {
            const gguf_tensor *was = gguf_tensor_at(g, i), *is = gguf_tensor_at(copy, i);
            assert_int_equal(is->nbytes, was->nbytes);
            assert_memory_equal(is->data, was->data, was->nbytes);
            assert_int_equal((uintptr_t)is->data % 64, 0);
        }
        gguf_close(copy);
    }
    gguf_close(g);
}

static void gguf_copy_refuses_its_own_source(void **state) {
    const char *dir = *state;
    char in[256], hard[256], soft[256];
    gguf *g = sample_file(dir, "in.gguf", in);
    blob b = assemble(sample);
    kv_err err;
    snprintf(hard, sizeof hard, "%s/hard.gguf", dir);
    snprintf(soft, sizeof soft, "%s/soft.gguf", dir);
    assert_int_equal(link(in, hard), 0);
    assert_int_equal(symlink("in.gguf", soft), 0);
    const char *const paths[] = {in, hard, soft};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gguf_copy(g, paths[i], NULL, NULL, 0, &err), KV_EINVAL);
        assert_non_null(strstr(err.msg, "is the model itself"));
    }
    assert_file_is(in, b.bytes, b.len);
    unlink(hard);
    unlink(soft);
    gguf_close(g);
}

static void gguf_copy_refuses_bad_sets(void **state) {
    char in[256], out[256];
    gguf *g = sample_file(*state, "in.gguf", in);
    snprintf(out, sizeof out, "%s/bad.gguf", (char *)*state);
    const gguf_set bad[][2] = {
        {{"", GGUF_STRING, "", 0}, {"a", GGUF_STRING, "", 0}},
        {{"general.alignment", GGUF_U32, "1234", 4}, {"a", GGUF_STRING, "", 0}},
        {{"a", GGUF_U32, "12", 2}, {"b", GGUF_STRING, "", 0}},
        {{"a", GGUF_F32, "1234", 4}, {"b", GGUF_STRING, "", 0}},
        {{"a", GGUF_STRING, "", 0}, {"a", GGUF_STRING, "", 0}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(gguf_copy(g, out, NULL, bad[i], 2, NULL), KV_EINVAL);
    assert_int_equal(gguf_copy(g, out, "general.", NULL, 0, NULL), KV_EINVAL); /* would drop the alignment */
    assert_int_equal(access(out, F_OK), -1);
    gguf_close(g);
}

static void gguf_copy_reports_a_full_disk(void **state) {
    char in[256], out[256];
    gguf *g = sample_file(*state, "in.gguf", in);
    kv_err err;
    assert_int_equal(gguf_copy(g, "/dev/full", NULL, NULL, 0, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "No space left"));

    /* A limit on file sizes stands in for a full disk: the old file stays, and no temporary. */
    snprintf(out, sizeof out, "%s/out.gguf", (char *)*state);
    assert_int_equal(file_write(out, "old", 3, NULL), KV_OK);
    struct rlimit was, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    low = (struct rlimit){512, was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    static const char large[100000];
    kv_status st = gguf_copy(g, out, NULL, &(gguf_set){"large", GGUF_STRING, large, sizeof large}, 1, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(st, KV_EIO);
    assert_non_null(strstr(err.msg, "File too large"));
    assert_file_is(out, "old", 3);
    gguf_close(g);
}

/* ---- identity ---- */

static void hash_of(const char *text, char out[33]) {
    gguf *g = must_open_bytes(assemble(text));
    kv_err err;
    if (gguf_model_hash(g, out, &err) != KV_OK)
        fail_msg("%s", err.msg);
    gguf_close(g);
}

static void gguf_model_hash_is_about_q_k_and_v(void **state) {
    (void)state;
    /* q and k of one layer; ffn and other metadata beside them */
#define Q "'blk.0.attn_q.weight' 1:4 8:8 0:4 0:8 "
#define K "'blk.0.attn_k.bias' 1:4 8:8 0:4 32:8 "
    static const char base[] = HEAD(2, 0) Q K "|32 .32 .32";
    static const char *const same[] = {
        HEAD(2, 0) K Q "|32 .32 .32",
        HEAD(2, 1) "'general.name' 8:4 'x' " Q K "|32 .32 .32",
        HEAD(3, 0) Q K "'blk.0.ffn_up.weight' 1:4 8:8 0:4 64:8 |32 .32 .32 .32",
        HEAD(3, 0) Q K "'blk.0.attn_output.weight' 1:4 8:8 0:4 64:8 |32 .32 .32 .32",
        HEAD(3, 0) Q K "'blk.x.attn_q.weight' 1:4 8:8 0:4 64:8 |32 .32 .32 .32",
        HEAD(3, 0) Q K "'blk..attn_q.weight' 1:4 8:8 0:4 64:8 |32 .32 .32 .32",
        HEAD(2, 1) "'general.alignment' 4:4 16:4 'blk.0.attn_q.weight' 1:4 8:8 0:4 32:8 "
                   "'blk.0.attn_k.bias' 1:4 8:8 0:4 0:8 |32 .32 .32",
    };
    static const char *const other[] = {
        HEAD(2, 0) Q K "|32 .32 1:1 .31",                                        /* a byte of k */
        HEAD(2, 0) "'blk.1.attn_q.weight' 1:4 8:8 0:4 0:8 " K "|32 .32 .32",     /* a name */
        HEAD(2, 0) "'blk.0.attn_q.weight' 2:4 4:8 2:8 0:4 0:8 " K "|32 .32 .32", /* a shape */
        HEAD(2, 0) "'blk.0.attn_q.weight' 1:4 16:8 1:4 0:8 " K "|32 .32 .32",    /* a type */
        HEAD(1, 0) Q "|32 .32",                                                  /* less */
        HEAD(3, 0) Q K "'blk.0.attn_v.weight' 1:4 8:8 0:4 64:8 |32 .32 .32 .32", /* more */
        HEAD(3, 0) Q K "'blk.0.attn_norm.weight' 1:4 8:8 0:4 64:8 |32 .32 .32 .32",
        HEAD(3, 0) Q K "'blk.0.attn_qkv.weight' 1:4 8:8 0:4 64:8 |32 .32 .32 .32",
    };
    char want[33], got[33];
    hash_of(base, want);
    assert_string_equal(want, "4043896d733952f38769b7dfe4169d2c"); /* profiles hold such hashes: they must never change */
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        hash_of(same[i], got);
        assert_string_equal(got, want);
    }
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        hash_of(other[i], got);
        assert_string_not_equal(got, want);
    }
}

static void gguf_model_hash_needs_attention(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(HEAD(1, 0) "'attn_q.weight' 1:4 8:8 0:4 0:8 |32 .32"));
    char hash[33];
    kv_err err;
    assert_int_equal(gguf_model_hash(g, hash, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "no attention tensors"));
    gguf_close(g);
}

/* ---- a folder of our own ---- */

static int make_dir(void **state) {
    static char dir[200];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kv-test-gguf-write-XXXXXX", tmp ? tmp : P_tmpdir);
    *state = dir;
    return mkdtemp(dir) ? 0 : -1;
}

/* Fails where something was left behind that no test knows of: a temporary file, say. */
static int remove_dir(void **state) {
    static const char *const names[] = {"in.gguf", "out.gguf"};
    char path[256];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", (char *)*state, names[i]);
        unlink(path);
    }
    return rmdir(*state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_copy_without_changes_gives_the_same_bytes),
        cmocka_unit_test(gguf_copy_sets_replaces_and_drops),
        cmocka_unit_test(gguf_copy_keeps_the_alignment),
        cmocka_unit_test(gguf_copy_refuses_its_own_source),
        cmocka_unit_test(gguf_copy_refuses_bad_sets),
        cmocka_unit_test(gguf_copy_reports_a_full_disk),
        cmocka_unit_test(gguf_model_hash_is_about_q_k_and_v),
        cmocka_unit_test(gguf_model_hash_needs_attention),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
