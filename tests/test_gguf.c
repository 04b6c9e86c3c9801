/* The GGUF reader: what it reads, what it refuses, and that no damage gets past it. */
#include "gguf_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- reading ---- */

static void gguf_reads_the_tensors(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(sample));
    assert_int_equal(gguf_alignment(g), 64);
    assert_int_equal(gguf_n_tensors(g), 4);
    static const struct {
        const char *name, *type;
        uint32_t n_dims;
        uint64_t dims[4], offset;
        size_t nbytes;
    } expected[] = {
        {"blk.0.attn_q.weight", "F32", 2, {4, 2, 1, 1}, 0, 32},
        {"blk.0.attn_k.weight", "Q8_0", 1, {32, 1, 1, 1}, 64, 34},
        {"blk.0.ffn_up.weight", "F16", 3, {3, 1, 2, 1}, 128, 12},
        {"output_norm.weight", "Q4_K", 1, {256, 1, 1, 1}, 192, 144},
    };
    for (size_t i = 0; i < 4; i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        assert_ptr_equal(gguf_tensor_find(g, expected[i].name), t);
        assert_int_equal(t->name.len, strlen(expected[i].name));
        assert_memory_equal(t->name.s, expected[i].name, t->name.len);
        assert_string_equal(t->type->name, expected[i].type);
        assert_int_equal(t->n_dims, expected[i].n_dims);
        assert_memory_equal(t->dims, expected[i].dims, sizeof t->dims);
        assert_int_equal(t->offset, expected[i].offset);
        assert_int_equal(t->nbytes, expected[i].nbytes);
        for (size_t j = 0; j < t->nbytes; j++)
            assert_int_equal(t->data[j], j & 255);
    }
    assert_null(gguf_tensor_find(g, "blk.0.attn_q.weigh"));
    assert_null(gguf_tensor_find(g, ""));
    gguf_close(g);
}

/* Keys that are set count like those of the file, whether it has them or not; nonsense is refused. */
static void gguf_keys_can_be_overridden(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(sample));
    const size_t n = gguf_n_kv(g);
    char old[64];
    snprintf(old, sizeof old, "%.*s=str:other", (int)gguf_kv_at(g, 0)->key.len, gguf_kv_at(g, 0)->key.s);
    static const char *const good[] = {"new.int=int:-7", "new.float=float:2.5e3", "new.bool=bool:true", "new.str=str:a=b:c",
                                       "new.int=int:9"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(gguf_override(g, good[i], NULL), KV_OK);
    assert_int_equal(gguf_override(g, old, NULL), KV_OK);
    assert_int_equal(gguf_n_kv(g), n + 4);
    uint32_t u = 0;
    float f = 0;
    bool b = false;
    gguf_str s = {0};
    assert_int_equal(gguf_get_u32(g, "new.int", true, &u, NULL), KV_OK);
    assert_int_equal(gguf_get_f32(g, "new.float", true, &f, NULL), KV_OK);
    assert_int_equal(gguf_get_bool(g, "new.bool", true, &b, NULL), KV_OK);
    assert_int_equal(gguf_get_str(g, "new.str", true, &s, NULL), KV_OK);
    assert_true(u == 9 && f == 2500 && b && s.len == 5 && !memcmp(s.s, "a=b:c", 5));
    *strchr(old, '=') = 0;
    assert_int_equal(gguf_get_str(g, old, true, &s, NULL), KV_OK);
    assert_true(s.len == 5 && !memcmp(s.s, "other", 5));
    static const char *const bad[] = {"",
                                      "=int:1",
                                      "key",
                                      "key=1",
                                      "key=int:",
                                      "key=int:1.5",
                                      "key=int:99999999999999999999",
                                      "key=float:x",
                                      "key=bool:yes",
                                      "key=uint:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kv_err err = {0};
        assert_int_equal(gguf_override(g, bad[i], &err), KV_EINVAL);
        assert_non_null(strstr(err.msg, "KEY=TYPE:VALUE"));
    }
    assert_int_equal(gguf_n_kv(g), n + 4);
    gguf_close(g);
}

static size_t resident_pages(void) {
    size_t size, resident;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &size, &resident), 2);
    fclose(f);
    return resident;
}

static unsigned sum(const gguf_tensor *t) {
    unsigned sum = 0;
    for (size_t i = 0; i < t->nbytes; i++)
        sum += t->data[i];
    return sum;
}

/* Tensors at rest take no memory of the process, and are there again when they are read. */
static void gguf_tensors_rest(void **state) {
    (void)state;
    enum { HALF = 8 << 20 };
    blob head = assemble(HEAD(2, 0) "'a' 1:4 2097152:8 0:4 0:8 'b' 1:4 2097152:8 0:4 8388608:8 |32");
    uint8_t *bytes = malloc(head.len + 2 * HALF);
    assert_non_null(bytes);
    memcpy(bytes, head.bytes, head.len);
    memset(bytes + head.len, 1, HALF);
    memset(bytes + head.len + HALF, 3, HALF);
    gguf *g;
    assert_int_equal(open_bytes(bytes, head.len + 2 * HALF, &g, NULL), KV_OK);
    free(bytes);
    const gguf_tensor *a = gguf_tensor_find(g, "a"), *b = gguf_tensor_find(g, "b");
    assert_int_equal(sum(a), HALF);
    assert_int_equal(sum(b), 3u * HALF);
    const size_t before = resident_pages();
    gguf_tensor_rest(a);
    const size_t freed = (before - resident_pages()) * (size_t)sysconf(_SC_PAGESIZE);
    assert_in_range(freed, HALF / 4 * 3, HALF / 4 * 5); /* the process may do other things meanwhile */
    assert_int_equal(sum(b), 3u * HALF);
    assert_int_equal(sum(a), HALF);
    gguf_close(g);
}

static void gguf_integers_of_any_width_convert(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(sample));
    uint32_t u = 12345;
    kv_err err;
    static const struct {
        const char *key;
        int64_t value; /* -1: refused */
    } cases[] = {{"n.u8", 200}, {"n.i8", -1},  {"n.u16", 60000}, {"n.i16", -1}, {"n.u32", 0xffffffff}, {"n.i32", -1},
                 {"n.u64", -1}, {"n.i64", -1}, {"n.huge", -1},   {"n.f32", -1}, {"n.bool", -1},        {"n.str", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        u = 12345;
        kv_status st = gguf_get_u32(g, cases[i].key, true, &u, &err);
        assert_int_equal(st, cases[i].value < 0 ? KV_EFORMAT : KV_OK);
        assert_int_equal(u, cases[i].value < 0 ? 12345 : cases[i].value);
        if (st != KV_OK)
            assert_non_null(strstr(err.msg, cases[i].key));
    }
    gguf_close(g);
}

static void gguf_floats_convert(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(HEAD(0, 5) "'f' 6:4 0x3fc00000:4 'd' 12:4 0xc004000000000000:8 'i' 1:4 0xff:1 "
                                                  "'nan' 6:4 0x7fc00000:4 'big' 12:4 0x7fe0000000000000:8"));
    float f = 0;
    kv_err err;
    assert_int_equal(gguf_get_f32(g, "f", true, &f, &err), KV_OK);
    assert_true(f == 1.5f);
    assert_int_equal(gguf_get_f32(g, "d", true, &f, &err), KV_OK);
    assert_true(f == -2.5f);
    assert_int_equal(gguf_get_f32(g, "i", true, &f, &err), KV_OK);
    assert_true(f == -1.0f);
    assert_int_equal(gguf_get_f32(g, "nan", true, &f, &err), KV_EFORMAT);
    assert_int_equal(gguf_get_f32(g, "big", true, &f, &err), KV_EFORMAT);
    assert_true(f == -1.0f);
    gguf_close(g);
}

static void gguf_strings_and_bools_are_read(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(sample));
    gguf_str s = {NULL, 0};
    bool yes = false;
    kv_err err;
    assert_int_equal(gguf_get_str(g, "n.str", true, &s, &err), KV_OK);
    assert_int_equal(s.len, 5);
    assert_memory_equal(s.s, "hello", 5);
    assert_int_equal(gguf_get_str(g, "n.empty", true, &s, &err), KV_OK);
    assert_int_equal(s.len, 0);
    assert_int_equal(gguf_get_bool(g, "n.bool", true, &yes, &err), KV_OK);
    assert_true(yes);
    assert_int_equal(gguf_get_str(g, "n.u8", true, &s, &err), KV_EFORMAT);
    assert_int_equal(gguf_get_bool(g, "n.u8", true, &yes, &err), KV_EFORMAT);
    gguf_close(g);
}

static void gguf_absent_keys_keep_the_default_unless_required(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(sample));
    uint32_t u = 7;
    float f = 7;
    bool b = true;
    gguf_str s = {"7", 1};
    const gguf_kv *a = NULL;
    kv_err err;
    assert_null(gguf_find(g, "no"));
    assert_int_equal(gguf_get_u32(g, "no", false, &u, &err), KV_OK);
    assert_int_equal(gguf_get_f32(g, "no", false, &f, &err), KV_OK);
    assert_int_equal(gguf_get_bool(g, "no", false, &b, &err), KV_OK);
    assert_int_equal(gguf_get_str(g, "no", false, &s, &err), KV_OK);
    assert_int_equal(gguf_get_array(g, "no", GGUF_U8, false, &a, &err), KV_OK);
    assert_true(u == 7 && f == 7 && b && s.len == 1 && !a);
    assert_int_equal(gguf_get_u32(g, "no", true, &u, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "'no' is missing"));
    assert_int_equal(gguf_get_f32(g, "no", true, &f, NULL), KV_EFORMAT);
    assert_int_equal(gguf_get_bool(g, "no", true, &b, NULL), KV_EFORMAT);
    assert_int_equal(gguf_get_str(g, "no", true, &s, NULL), KV_EFORMAT);
    assert_int_equal(gguf_get_array(g, "no", GGUF_U8, true, &a, NULL), KV_EFORMAT);
    gguf_close(g);
}

static void gguf_arrays_are_read(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(sample));
    const gguf_kv *a = NULL;
    kv_err err;
    assert_int_equal(gguf_get_array(g, "a.u8", GGUF_U8, true, &a, &err), KV_OK);
    assert_int_equal(a->count, 3);
    assert_int_equal(a->raw_bytes, 3);
    assert_int_equal(gguf_array_i64(a, 2), 9);
    assert_int_equal(gguf_get_array(g, "a.i16", GGUF_I16, true, &a, &err), KV_OK);
    assert_int_equal(gguf_array_i64(a, 1), -1);
    assert_true(gguf_array_f64(a, 1) == -1.0);
    assert_int_equal(gguf_get_array(g, "a.f32", GGUF_F32, true, &a, &err), KV_OK);
    assert_true(gguf_array_f64(a, 0) == 1.0 && gguf_array_f64(a, 1) == -0.5);
    assert_int_equal(gguf_get_array(g, "a.bool", GGUF_BOOL, true, &a, &err), KV_OK);
    assert_int_equal(gguf_array_i64(a, 1), 1);
    assert_int_equal(gguf_get_array(g, "a.u8", GGUF_U16, true, &a, &err), KV_EFORMAT);
    assert_int_equal(gguf_get_array(g, "n.u8", GGUF_U8, true, &a, &err), KV_EFORMAT);
    gguf_close(g);
}

static void gguf_extreme_numbers_saturate(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(HEAD(0, 2) "'u' 9:4 10:4 1:8 0xffffffffffffffff:8 'f' 9:4 12:4 5:8 "
                                                  "0x7ff0000000000000:8 0xfff0000000000000:8 0x7ff8000000000000:8 "
                                                  "0xc3e0000000000000:8 0x43e0000000000000:8"));
    const gguf_kv *u = gguf_find(g, "u"), *f = gguf_find(g, "f");
    assert_true(gguf_array_i64(u, 0) == INT64_MAX);
    assert_true(gguf_array_f64(u, 0) == 0x1p64);
    assert_true(gguf_array_i64(f, 0) == INT64_MAX);
    assert_true(gguf_array_i64(f, 1) == INT64_MIN);
    assert_true(gguf_array_i64(f, 2) == 0);
    assert_true(gguf_array_i64(f, 3) == INT64_MIN);
    assert_true(gguf_array_i64(f, 4) == INT64_MAX); /* 2^63 */
    gguf_close(g);
}

static void gguf_next_str_walks_an_array(void **state) {
    (void)state;
    gguf *g = must_open_bytes(assemble(sample));
    static const char *const expected[] = {"one", "", "three"};
    const gguf_kv *a = NULL;
    gguf_str s;
    size_t cursor = 0;
    assert_int_equal(gguf_get_array(g, "a.str", GGUF_STRING, true, &a, NULL), KV_OK);
    for (int i = 0; i < 3; i++) {
        assert_true(gguf_next_str(a, &cursor, &s));
        assert_int_equal(s.len, strlen(expected[i]));
        assert_memory_equal(s.s, expected[i], s.len);
    }
    assert_false(gguf_next_str(a, &cursor, &s));
    cursor = 0;
    assert_false(gguf_next_str(gguf_find(g, "a.none"), &cursor, &s));
    assert_false(gguf_next_str(gguf_find(g, "a.u8"), &cursor, &s)); /* no strings: no walk */
    assert_false(gguf_next_str(gguf_find(g, "n.str"), &cursor, &s));
    gguf_close(g);
}

static void gguf_many_names_are_all_found(void **state) {
    (void)state;
    size_t len = 24, n = 5000;
    uint8_t *bytes = calloc(1, 24 + 64 * n);
    assert_non_null(bytes);
    memcpy(bytes, assemble(HEAD(0, 5000)).bytes, 24);
    for (uint32_t i = 0; i < n; i++) {
        char text[64];
        snprintf(text, sizeof text, "'key.%u' 4:4 %u:4", i, i);
        blob b = assemble(text);
        memcpy(bytes + len, b.bytes, b.len);
        len += b.len;
    }
    gguf *g;
    assert_int_equal(open_bytes(bytes, len, &g, NULL), KV_OK);
    for (uint32_t i = 0; i < n; i++) {
        char key[32];
        uint32_t value;
        snprintf(key, sizeof key, "key.%u", i);
        assert_int_equal(gguf_get_u32(g, key, true, &value, NULL), KV_OK);
        assert_int_equal(value, i);
    }
    assert_null(gguf_find(g, "key.5000"));
    gguf_close(g);
    free(bytes);
}

/* ---- refusing ---- */

static const struct {
    const char *file;
    kv_status code;
    const char *message; /* a part of it */
} hostile[] = {
    {"", KV_EFORMAT, "the file is empty"},
    {"\"GGU\"", KV_EFORMAT, "not a GGUF file"},
    {"\"GGML\" 3:4 0:8 0:8", KV_EFORMAT, "not a GGUF file"},
    {"\"GGUF\" 3:2", KV_EFORMAT, "truncated"},
    {"\"GGUF\" 1:4 0:4 0:4 .32", KV_EUNSUPP, "version 1"},
    {"\"GGUF\" 4:4 0:8 0:8 .32", KV_EUNSUPP, "version 4"},
    {"\"GGUF\" 0x03000000:4 0:8 0:8", KV_EUNSUPP, "big-endian"},
    /* counts */
    {HEAD(0x1000000000000000, 0) ".64", KV_EFORMAT, "1152921504606846976 tensors cannot be true"},
    {HEAD(0, 0x1000000000000000) ".64", KV_EFORMAT, "1152921504606846976 keys cannot be true"},
    {HEAD(0xffffffffffffffff, 0xffffffffffffffff) ".64", KV_EFORMAT, "cannot be true"},
    {HEAD(60000, 0) ".64", KV_EFORMAT, "60000 tensors and 0 keys do not fit"},
    {HEAD(0, 60000) ".64", KV_EFORMAT, "0 tensors and 60000 keys do not fit"},
    {HEAD(0, 2) "'a' 0:4 1:1 .14", KV_EFORMAT, "key 1"},
    /* names */
    {HEAD(0, 1) "0xffffffffffffffff:8 .32", KV_EFORMAT, "18446744073709551615 bytes wanted"},
    {HEAD(0, 1) "33:8 .32", KV_EFORMAT, "33 bytes wanted at byte 32, but the file has only 64"},
    {HEAD(0, 1) "'' 0:4 1:1 .8", KV_EFORMAT, "key 0: a name of 0 bytes"},
    {HEAD(0, 1) "3:8 \"a\" 0:1 \"b\" 0:4 1:1", KV_EFORMAT, "a name of 3 bytes"},
    {HEAD(0, 2) "'twice' 0:4 1:1 'twice' 0:4 1:1", KV_EFORMAT, "key 'twice': appears twice"},
    {HEAD(0, 1) "3:8 \"a\" 10:1 \"b\" 99:4 1:1", KV_EFORMAT, "key 'a?b': value type 99"},
    /* values */
    {HEAD(0, 1) "'k' 13:4 .16", KV_EFORMAT, "key 'k': value type 13 does not exist"},
    {HEAD(0, 1) "'k' 0xffffffff:4 .16", KV_EFORMAT, "value type 4294967295 does not exist"},
    {HEAD(0, 1) "'key' 10:4 1:4", KV_EFORMAT, "1 values of type u64 wanted"},
    {HEAD(0, 1) "'k' 8:4 9:8 .8", KV_EFORMAT, "9 bytes wanted"},
    {HEAD(0, 1) "'k' 8:4 0xffffffffffffffff:8 .8", KV_EFORMAT, "bytes wanted"},
    {HEAD(0, 1) "'k' 7:4 2:1", KV_EFORMAT, "a bool has the value 2"},
    {HEAD(0, 1) "'k' 9:4 7:4 3:8 0:1 1:1 255:1", KV_EFORMAT, "a bool has the value 255"},
    {HEAD(0, 1) "'k' 9:4 9:4 1:8 0:4 1:8 7:1", KV_EFORMAT, "arrays of arrays"},
    {HEAD(0, 1) "'k' 9:4 13:4 1:8 .8", KV_EFORMAT, "value type 13"},
    {HEAD(0, 1) "'k' 9:4 0:4 9:8 .8", KV_EFORMAT, "9 values of type u8 wanted"},
    {HEAD(0, 1) "'k' 9:4 12:4 0x2000000000000001:8 .8", KV_EFORMAT, "values of type f64 wanted"},
    {HEAD(0, 1) "'k' 9:4 8:4 0x1000000000000000:8 'a' 'b'", KV_EFORMAT, "truncated"},
    {HEAD(0, 1) "'k' 9:4 8:4 2:8 'a' 0x7fffffffffffffff:8", KV_EFORMAT, "bytes wanted"},
    /* alignment */
    {HEAD(0, 1) "'general.alignment' 4:4 0:4", KV_EFORMAT, "general.alignment': is 0"},
    {HEAD(0, 1) "'general.alignment' 4:4 4:4", KV_EFORMAT, "is 4"},
    {HEAD(0, 1) "'general.alignment' 4:4 24:4", KV_EFORMAT, "is 24"},
    {HEAD(0, 1) "'general.alignment' 4:4 0x80000000:4", KV_EFORMAT, "is 2147483648"},
    {HEAD(0, 1) "'general.alignment' 10:4 32:8", KV_EFORMAT, "is a value of type u64"},
    /* tensors */
    {HEAD(1, 0) "65:8 .65 1:4 1:8 0:4 0:8 |32 .32", KV_EFORMAT, "tensor 0: a name of 65 bytes"},
    {HEAD(1, 0) "'' 1:4 1:8 0:4 0:8 |32 .32", KV_EFORMAT, "tensor 0: a name of 0 bytes"},
    {HEAD(1, 0) "'t' 0:4 0:4 0:8 .32", KV_EFORMAT, "tensor 't': 0 dimensions"},
    {HEAD(1, 0) "'t' 5:4 1:8 1:8 1:8 1:8 1:8 0:4 0:8 |32 .32", KV_EFORMAT, "5 dimensions"},
    {HEAD(1, 0) "'t' 0xffffffff:4 1:8 0:4 0:8 |32 .32", KV_EFORMAT, "4294967295 dimensions"},
    {HEAD(1, 0) "'t' 2:4 1:8 0:8 0:4 0:8 |32 .32", KV_EFORMAT, "dimension 1 is zero"},
    {HEAD(1, 0) "'t' 2:4 0x100000000:8 0x100000000:8 0:4 0:8 |32 .32", KV_EFORMAT, "does not fit in 64 bits"},
    {HEAD(1, 0) "'t' 1:4 0x4000000000000001:8 0:4 0:8 |32 .32", KV_EFORMAT, "cannot be addressed"},
    {HEAD(1, 0) "'t' 1:4 16:8 15:4 0:8 |32 .32", KV_EUNSUPP, "tensor type 15 (Q8_K) is not supported (supported: F32, F16"},
    {HEAD(1, 0) "'t' 1:4 32:8 4:4 0:8 |32 .32", KV_EUNSUPP, "tensor type 4 (unknown)"},
    {HEAD(1, 0) "'t' 1:4 32:8 0xffffffff:4 0:8 |32 .32", KV_EUNSUPP, "tensor type 4294967295"},
    {HEAD(1, 0) "'t' 1:4 33:8 8:4 0:8 |32 .68", KV_EFORMAT, "rows of 33 elements are not whole blocks of 32 (Q8_0)"},
    {HEAD(1, 0) "'t' 2:4 16:8 2:8 8:4 0:8 |32 .34", KV_EFORMAT, "rows of 16 elements"},
    {HEAD(1, 0) "'t' 1:4 1:8 0:4 4:8 |32 .32", KV_EFORMAT, "offset 4 is not aligned to 32"},
    {HEAD(1, 0) "'t' 1:4 8:8 0:4 0:8 |32 .31", KV_EFORMAT, "32 bytes at offset 0 of a data section of 31 bytes"},
    {HEAD(1, 0) "'t' 1:4 8:8 0:4 64:8 |32 .32", KV_EFORMAT, "32 bytes at offset 64 of a data section of 32 bytes"},
    {HEAD(1, 0) "'t' 1:4 8:8 0:4 0xffffffffffffffe0:8 |32 .32", KV_EFORMAT, "offset 18446744073709551584"},
    {HEAD(1, 0) "'t' 1:4 0x3ffffffffffffff8:8 0:4 32:8 |32 .64", KV_EFORMAT, "18446744073709551584 bytes at offset 32"},
    {HEAD(1, 0) "'t' 1:4 1:8 0:4 0:8", KV_EFORMAT, "data section of 0 bytes"},
    {HEAD(2, 0) "'t' 1:4 1:8 0:4 0:8 't' 1:4 1:8 0:4 32:8 |32 .64", KV_EFORMAT, "tensor 't': appears twice"},
    {HEAD(2, 0) "'s' 1:4 9:8 0:4 0:8 't' 1:4 1:8 0:4 32:8 |32 .64", KV_EFORMAT, "tensor 't': its bytes overlap"},
    {HEAD(2, 0) "'s' 1:4 1:8 0:4 0:8 't' 1:4 1:8 0:4 0:8 |32 .64", KV_EFORMAT, "its bytes overlap"},
};

static void gguf_refuses_hostile_files(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        blob b = assemble(hostile[i].file);
        gguf *g = NULL;
        kv_err err = {KV_OK, ""};
        kv_status st = open_bytes(b.bytes, b.len, &g, &err);
        if (st != hostile[i].code || g)
            fail_msg("%s: status %d", hostile[i].file, st);
        assert_int_equal(err.code, st);
        if (strncmp(err.msg, "/proc/self/fd/", 14) || !strstr(err.msg, hostile[i].message))
            fail_msg("%s: says '%s', not '%s'", hostile[i].file, err.msg, hostile[i].message);
        assert_int_equal(open_bytes(b.bytes, b.len, &g, NULL), st); /* without details, too */
    }
}

static void gguf_accepts_what_is_unusual_but_right(void **state) {
    (void)state;
    static const char *const files[] = {
        HEAD(0, 0),
        "\"GGUF\" 2:4 0:8 1:8 'k' 0:4 1:1", /* version 2: the same layout */
        HEAD(0, 1) "'general.alignment' 4:4 8:4",
        HEAD(2, 0) "'t' 1:4 1:8 0:4 32:8 's' 1:4 1:8 0:4 0:8 |32 .36", /* not in the order of their offsets */
        HEAD(1, 0) "'t' 1:4 1:8 0:4 0:8 |32 .77",                      /* something after the last tensor */
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        gguf_close(must_open_bytes(assemble(files[i])));
}

static void gguf_refuses_what_is_no_file(void **state) {
    const char *dir = *state;
    char path[256];
    gguf *g = NULL;
    kv_err err;
    assert_int_equal(gguf_open(dir, &g, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "is a directory"));
    snprintf(path, sizeof path, "%s/none.gguf", dir);
    assert_int_equal(gguf_open(path, &g, &err), KV_EIO);
    assert_non_null(strstr(err.msg, "No such file"));
    snprintf(path, sizeof path, "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(gguf_open(path, &g, &err), KV_EIO); /* and does not wait for a writer */
    assert_non_null(strstr(err.msg, "pipe"));
    unlink(path);
    assert_null(g);
    gguf_close(NULL);
}

/* ---- surviving ---- */

/* Use all that an open file offers, and check that it lies in the `len` bytes of the file. The first name of a file begins 32
 * bytes after its start: that tells where the mapping is. */
static void walk(const gguf *g, size_t len) {
    size_t n_kv = gguf_n_kv(g), n_tensors = gguf_n_tensors(g);
    if (!n_kv && !n_tensors)
        return;
    const char *map = (n_kv ? gguf_kv_at(g, 0)->key.s : gguf_tensor_at(g, 0)->name.s) - 32;
    for (size_t i = 0; i < n_kv; i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        const char *raw = (const char *)kv->raw;
        assert_true(kv->key.s > map && kv->key.s + kv->key.len <= raw && raw + kv->raw_bytes <= map + len);
        char key[256];
        snprintf(key, sizeof key, "%.*s", (int)kv->key.len, kv->key.s);
        uint32_t u;
        float f;
        gguf_str s;
        gguf_get_u32(g, key, true, &u, NULL);
        gguf_get_f32(g, key, true, &f, NULL);
        if (gguf_get_str(g, key, false, &s, NULL) == KV_OK && kv->type == GGUF_STRING)
            assert_true(s.s >= raw && s.s + s.len <= map + len);
        if (kv->type != GGUF_ARRAY)
            continue;
        uint64_t n = 0;
        for (size_t cursor = 0; gguf_next_str(kv, &cursor, &s); n++)
            assert_true(s.s > raw && s.s + s.len <= raw + kv->raw_bytes);
        for (; kv->elem_type != GGUF_STRING && n < kv->count; n++) {
            (void)gguf_array_f64(kv, n);
            (void)gguf_array_i64(kv, n);
        }
        assert_int_equal(n, kv->count);
    }
    for (size_t i = 0; i < n_tensors; i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        const char *data = (const char *)t->data;
        assert_true(data > map && data + t->nbytes <= map + len);
        assert_int_equal((size_t)(data - map) % gguf_alignment(g), 0);
        uint64_t elems = t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
        assert_true(t->nbytes == elems / t->type->block_elems * t->type->block_bytes);
        float *out = malloc(elems * sizeof *out); /* at most 13 times the file */
        assert_non_null(out);
        t->type->dequant(t->data, out, elems);
        free(out);
    }
    char hash[33];
    gguf_model_hash(g, hash, NULL);
}

/* Open damaged bytes: either refused for a reason, or consistent. Returns whether it was refused. */
static bool try_damaged(int fd, const char *path, const uint8_t *bytes, size_t len) {
    gguf *g = NULL;
    kv_err err = {KV_OK, ""};
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    assert_int_equal(pwrite(fd, bytes, len, 0), len);
    kv_status st = gguf_open(path, &g, &err);
    if (st == KV_OK) {
        walk(g, len);
        gguf_close(g);
        return false;
    }
    assert_true((st == KV_EFORMAT || st == KV_EUNSUPP) && !g && err.code == st && *err.msg);
    return true;
}

static void gguf_survives_any_damage(void **state) {
    (void)state;
    blob b = assemble(sample);
    char path[64];
    int fd = memfd_create("gguf", MFD_CLOEXEC);
    assert_true(fd >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    assert_false(try_damaged(fd, path, b.bytes, b.len));
    for (size_t len = 0; len < b.len; len++)
        assert_true(try_damaged(fd, path, b.bytes, len)); /* the last tensor ends with the file: any cut is seen */
    static const uint8_t flips[] = {1, 2, 4, 8, 16, 32, 64, 128, 255, 0x7f};
    for (size_t at = 0; at < b.len; at++) {
        uint8_t was = b.bytes[at];
        for (size_t i = 0; i < sizeof flips; i++) {
            b.bytes[at] = was ^ flips[i];
            bool refused = try_damaged(fd, path, b.bytes, b.len);
            assert_true(refused || at >= 8 || (at == 4 && b.bytes[at] == 2)); /* magic and version leave no choice */
        }
        b.bytes[at] = was;
    }
    /* and any eight bytes turned into extreme numbers */
    static const uint64_t extremes[] = {0,         1,          0x7fffffff, 0xffffffff,     1ull << 60,
                                        INT64_MAX, 1ull << 63, UINT64_MAX, UINT64_MAX - 31};
    for (size_t at = 8; at + 8 <= b.len; at++)
        for (size_t i = 0; i < sizeof extremes / sizeof *extremes; i++) {
            uint64_t was;
            memcpy(&was, b.bytes + at, 8);
            memcpy(b.bytes + at, &extremes[i], 8);
            try_damaged(fd, path, b.bytes, b.len);
            memcpy(b.bytes + at, &was, 8);
        }
    close(fd);
}

/* ---- a folder of our own ---- */

static int make_dir(void **state) {
    static char dir[200];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/kv-test-gguf-XXXXXX", tmp ? tmp : P_tmpdir);
    *state = dir;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    return rmdir(*state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_reads_the_tensors),
        cmocka_unit_test(gguf_tensors_rest),
        cmocka_unit_test(gguf_keys_can_be_overridden),
        cmocka_unit_test(gguf_integers_of_any_width_convert),
        cmocka_unit_test(gguf_floats_convert),
        cmocka_unit_test(gguf_strings_and_bools_are_read),
        cmocka_unit_test(gguf_absent_keys_keep_the_default_unless_required),
        cmocka_unit_test(gguf_arrays_are_read),
        cmocka_unit_test(gguf_extreme_numbers_saturate),
        cmocka_unit_test(gguf_next_str_walks_an_array),
        cmocka_unit_test(gguf_many_names_are_all_found),
        cmocka_unit_test(gguf_refuses_hostile_files),
        cmocka_unit_test(gguf_accepts_what_is_unusual_but_right),
        cmocka_unit_test(gguf_refuses_what_is_no_file),
        cmocka_unit_test(gguf_survives_any_damage),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
