/* Dequantisation against what the Python package `gguf` computed (tests/make_qtype_cases.py made the files). */
#include "base/atomic_file.h"
#include "gguf/qtype.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    uint32_t id;
    const char *name;
    uint32_t elems, bytes;
} expected[] = {
    {0, "F32", 1, 4},       {1, "F16", 1, 2},       {30, "BF16", 1, 2},     {2, "Q4_0", 32, 18},    {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},    {7, "Q5_1", 32, 24},    {8, "Q8_0", 32, 34},    {10, "Q2_K", 256, 84},  {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176}, {14, "Q6_K", 256, 210}, {20, "IQ4_NL", 32, 18},
};
enum { N_TYPES = sizeof expected / sizeof *expected };

static void qtype_table_is_that_of_the_format(void **state) {
    (void)state;
    char list[256] = "";
    for (int i = 0; i < N_TYPES; i++) {
        const qtype_info *t = qtype_get(expected[i].id);
        assert_non_null(t);
        assert_int_equal(t->id, expected[i].id);
        assert_string_equal(t->name, expected[i].name);
        assert_int_equal(t->block_elems, expected[i].elems);
        assert_int_equal(t->block_bytes, expected[i].bytes);
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", t->name);
    }
    assert_string_equal(qtype_list(), list);
}

static void qtype_get_refuses_other_numbers(void **state) {
    (void)state;
    int n = 0;
    for (uint32_t id = 0; id < 1000; id++)
        n += qtype_get(id) != NULL;
    assert_int_equal(n, N_TYPES);
    assert_null(qtype_get(UINT32_MAX));
}

static void qtype_dequant_equals_python(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        const qtype_info *t = qtype_get(expected[i].id);
        char path[512], *file;
        size_t len;
        kv_err err;
        snprintf(path, sizeof path, "%s/qtype/%s.bin", KV_TEST_DATA, t->name);
        if (file_read(path, 1 << 20, &file, &len, &err) != KV_OK)
            fail_msg("%s", err.msg);
        size_t per_block = t->block_bytes + t->block_elems * sizeof(float);
        assert_true(len > 0 && len % per_block == 0);
        size_t n_blocks = len / per_block, n = n_blocks * t->block_elems;

        /* At an odd address, in a buffer of just the right size: sanitizers see misaligned or excess reads. */
        char *raw = malloc(n_blocks * t->block_bytes + 1);
        float *out = malloc(n * sizeof *out);
        assert_true(raw && out);
        memcpy(raw + 1, file, n_blocks * t->block_bytes);
        t->dequant(raw + 1, out, n);
        if (memcmp(out, file + n_blocks * t->block_bytes, n * sizeof *out))
            fail_msg("%s differs from the reference", t->name);

        /* One block alone gives the same as the first of many. */
        float one[256];
        t->dequant(raw + 1, one, t->block_elems);
        assert_memory_equal(one, out, t->block_elems * sizeof *one);
        free(out);
        free(raw);
        free(file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qtype_table_is_that_of_the_format),
        cmocka_unit_test(qtype_get_refuses_other_numbers),
        cmocka_unit_test(qtype_dequant_equals_python),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
