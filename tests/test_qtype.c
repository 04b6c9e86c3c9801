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
    {0, "F32", 1, 4},         {1, "F16", 1, 2},       {30, "BF16", 1, 2},       {2, "Q4_0", 32, 18},
    {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},    {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110}, {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {20, "IQ4_NL", 32, 18}, {23, "IQ4_XS", 256, 136}, {21, "IQ3_S", 256, 110},
    {18, "IQ3_XXS", 256, 98}, {22, "IQ2_S", 256, 82}, {17, "IQ2_XS", 256, 74},  {16, "IQ2_XXS", 256, 66},
    {29, "IQ1_M", 256, 56},   {19, "IQ1_S", 256, 50}, {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17},    {40, "NVFP4", 64, 36},
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

static char *read_case(const char *name, const char *ending, size_t *len) {
    char path[512], *file;
    kv_err err;
    snprintf(path, sizeof path, "%s/qtype/%s.%s", KV_TEST_DATA, name, ending);
    if (file_read(path, 1 << 20, &file, len, &err) != KV_OK)
        fail_msg("%s", err.msg);
    return file;
}

static void qtype_dequant_equals_python(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        const qtype_info *t = qtype_get(expected[i].id);
        size_t len;
        char *file = read_case(t->name, "bin", &len);
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

/* Blocks of the reference with their scales times two hold twice the weights, to the bit, where no scale overflows or is
 * subnormal; those of types whose scales are no plain numbers are left alone. */
static void qtype_multiply_is_in_proportion(void **state) {
    (void)state;
    static const char *const none[] = {"IQ1_M", "MXFP4", "NVFP4"};
    for (int i = 0; i < N_TYPES; i++) {
        const qtype_info *t = qtype_get(expected[i].id);
        size_t len, tried = 0;
        char *file = read_case(t->name, "bin", &len);
        const size_t n_blocks = len / (t->block_bytes + t->block_elems * sizeof(float)),
                     scales = qtype_n_scales(t, t->block_elems);
        bool plain = true;
        for (size_t j = 0; j < sizeof none / sizeof *none; j++)
            plain &= strcmp(none[j], t->name) != 0;
        assert_true(plain == (scales > 0));
        for (size_t b = 0; b < n_blocks && plain; b++) {
            uint8_t block[256], was[256];
            float before[256], after[256];
            uint32_t bits[2];
            int least, most;
            memcpy(block, file + b * t->block_bytes, t->block_bytes);
            memcpy(was, block, t->block_bytes);
            qtype_scale_room(t, block, t->block_elems, &least, &most);
            t->dequant(block, before, t->block_elems);
            qtype_scales_get(t, block, t->block_elems, bits);
            qtype_multiply(t, block, t->block_elems, 2);
            t->dequant(block, after, t->block_elems);
            bool finite = true;
            for (uint32_t e = 0; e < t->block_elems; e++)
                finite &= before[e] - before[e] == 0;
            for (uint32_t e = 0; e < t->block_elems && finite && most > 0; e++, tried++)
                if (after[e] != 2 * before[e])
                    fail_msg("%s: %g became %g", t->name, (double)before[e], (double)after[e]);
            qtype_scales_set(t, block, t->block_elems, bits);
            assert_memory_equal(block, was, t->block_bytes);
        }
        assert_true(!plain || tried > 0);
        free(file);
    }
}

static void qtype_scale_room_is_that_of_f16(void **state) {
    (void)state;
    const qtype_info *t = qtype_get(QT_Q4_0);
    qt_q4_0 b[2] = {{.d = 0x3c00}, {.d = 0}}; /* 1 and 0 */
    int least, most;
    qtype_scale_room(t, b, 64, &least, &most);
    assert_int_equal(least, -14);
    assert_int_equal(most, 14);
    b[1].d = 0x7800; /* 2^15 */
    qtype_scale_room(t, b, 64, &least, &most);
    assert_int_equal(least, -14);
    assert_int_equal(most, 0);
}

static uint64_t fnv1a(const void *data, size_t n) {
    uint64_t h = 0xcbf29ce484222325;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3;
    return h;
}

/* Blocks whose indices go through the whole of the type's table. */
static void qtype_tables_equal_python(void **state) {
    (void)state;
    static const qtype types[] = {QT_IQ1_S, QT_IQ2_XXS, QT_IQ2_XS, QT_IQ2_S, QT_IQ3_XXS, QT_IQ3_S, QT_MXFP4, QT_NVFP4};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const qtype_info *t = qtype_get(types[i]);
        size_t len;
        char *file = read_case(t->name, "all", &len);
        uint64_t want;
        assert_true(len > sizeof want && (len - sizeof want) % t->block_bytes == 0);
        len -= sizeof want;
        memcpy(&want, file + len, sizeof want);
        const size_t n = len / t->block_bytes * t->block_elems;
        float *out = malloc(n * sizeof *out);
        assert_non_null(out);
        t->dequant(file, out, n);
        if (fnv1a(out, n * sizeof *out) != want)
            fail_msg("%s differs from the reference somewhere", t->name);
        free(out);
        free(file);
    }
}

/* Blocks of any bytes are read and written within bounds (sanitizers see more). */
static void qtype_dequant_takes_any_bytes(void **state) {
    (void)state;
    enum { BLOCKS = 64 };
    uint64_t seed = 1;
    for (int i = 0; i < N_TYPES; i++) {
        const qtype_info *t = qtype_get(expected[i].id);
        const size_t bytes = BLOCKS * t->block_bytes, n = BLOCKS * t->block_elems;
        uint8_t *raw = malloc(bytes);
        float *out = malloc((n + 1) * sizeof *out);
        assert_true(raw && out);
        for (int round = 0; round < 3; round++) {
            for (size_t j = 0; j < bytes; j++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                raw[j] = round ? (uint8_t)(round == 1 ? 0xff : 0) : (uint8_t)(seed >> 56);
            }
            out[n] = -77.0f;
            t->dequant(raw, out, n);
            assert_true(out[n] == -77.0f);
        }
        for (size_t j = 0; j < n; j++) /* of zero bytes */
            if (!(out[j] == 0 || (t->id == QT_MXFP4 && out[j] < 0x1p-120f)))
                fail_msg("%s: a weight of zero bytes is %g", t->name, (double)out[j]);
        free(raw);
        free(out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qtype_table_is_that_of_the_format), cmocka_unit_test(qtype_get_refuses_other_numbers),
        cmocka_unit_test(qtype_dequant_equals_python),       cmocka_unit_test(qtype_multiply_is_in_proportion),
        cmocka_unit_test(qtype_scale_room_is_that_of_f16),   cmocka_unit_test(qtype_tables_equal_python),
        cmocka_unit_test(qtype_dequant_takes_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
