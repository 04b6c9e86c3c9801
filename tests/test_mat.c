/* Weight matrices: packing loses nothing, products are right, and neither threads nor batches change a bit. */
#include "kernels/kernels.h"
#include "mat/mat.h"
#include "weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static rt_exec exec_of(bool exact, int threads) {
    rt_exec e;
    assert_int_equal(rt_exec_init(&e, NULL, threads, exact, NULL), KV_OK);
    return e;
}

static rt_arena weights; /* of all matrices here */

/* y (n_tok, rows) of a fresh matrix and batch. */
static float *product(const gguf_tensor *t, const rt_exec *e, const float *x, size_t n_tok) {
    rt_mat *m;
    rt_act *a;
    rt_exec own;
    assert_int_equal(rt_exec_start(e, &own, NULL), KV_OK);
    assert_int_equal(mat_new(t, &own, &weights, &m, NULL), KV_OK);
    assert_int_equal(act_new(n_tok, mat_cols(m), &own, &a, NULL), KV_OK);
    size_t rows = mat_rows(m);
    float *y = malloc(n_tok * rows * sizeof *y);
    act_set(a, &own, x, n_tok, mat_cols(m));
    mat_mul(m, &own, a, y, rows);
    rt_exec_stop(&own);
    act_free(a);
    mat_free(m);
    return y;
}

/* An activation of 127 at one column and zeros elsewhere is quantised without error, so the product reads one weight. */
static void mat_packing_loses_nothing(void **state) {
    (void)state;
    rt_exec e = exec_of(false, 1);
    for (int i = 0; i < N_QUANT_TYPES; i++) {
        enum { ROWS = 19, COLS = 512 };
        gguf_tensor t = weights_random(&weight_types[i], ROWS, COLS, (uint64_t)i);
        float *x = calloc(COLS * COLS, sizeof *x), *w = malloc(ROWS * COLS * sizeof *w);
        for (size_t c = 0; c < COLS; c++)
            x[c * COLS + c] = 127.0f;
        t.type->dequant(t.data, w, ROWS * COLS);
        float *y = product(&t, &e, x, COLS), largest = 0;
        for (size_t j = 0; j < ROWS * COLS; j++)
            largest = fmaxf(largest, fabsf(w[j]));
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < COLS; c++)
                if (!(fabsf(y[c * ROWS + r] / 127.0f - w[r * COLS + c]) <= 1e-6f * largest))
                    fail_msg("%s: row %zu, column %zu: %g, not %g", t.type->name, r, c, (double)(y[c * ROWS + r] / 127.0f),
                             (double)w[r * COLS + c]);
        free(x);
        free(w);
        free(y);
        free((void *)t.data);
    }
}

/* Root mean square difference from the product in double on dequantised weights, relative to the product's own. */
static double product_error(const gguf_tensor *t, const float *x, size_t n_tok, const float *y) {
    size_t cols = t->dims[0], rows = t->dims[1];
    float *w = malloc(rows * cols * sizeof *w);
    t->type->dequant(t->data, w, rows * cols);
    double diff = 0, norm = 0;
    for (size_t k = 0; k < n_tok; k++)
        for (size_t r = 0; r < rows; r++) {
            double sum = 0;
            for (size_t c = 0; c < cols; c++)
                sum += (double)w[r * cols + c] * (double)x[k * cols + c];
            diff += (sum - (double)y[k * rows + r]) * (sum - (double)y[k * rows + r]);
            norm += sum * sum;
        }
    free(w);
    return sqrt(diff / norm);
}

static void mat_mul_is_close_to_the_true_product(void **state) {
    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        rt_exec e = exec_of(exact, 2);
        for (int i = 0; i < N_WEIGHT_TYPES; i++) {
            gguf_tensor t = weights_random(&weight_types[i], 35, 768, (uint64_t)i);
            float *x = floats_random(21 * 768, 7), *y = product(&t, &e, x, 21);
            double error = product_error(&t, x, 21, y), limit = exact || i >= N_QUANT_TYPES ? 3e-6 : 0.01;
            if (!(error < limit))
                fail_msg("%s, exact %d: relative error %g", t.type->name, exact, error);
            free(x);
            free(y);
            free((void *)t.data);
        }
    }
}

static void mat_mul_accepts_any_shape_of_plain_types(void **state) {
    (void)state;
    rt_exec e = exec_of(false, 2);
    for (int i = N_QUANT_TYPES; i < N_WEIGHT_TYPES; i++) {
        gguf_tensor t = weights_random(&weight_types[i], 33, 301, (uint64_t)i);
        float *x = floats_random(5 * 301, 7), *y = product(&t, &e, x, 5);
        assert_true(product_error(&t, x, 5, y) < 3e-6);
        free(x);
        free(y);
        free((void *)t.data);
    }
}

static void mat_mul_depends_on_neither_threads_nor_batch(void **state) {
    (void)state;
    for (int i = 0; i < 2 * N_WEIGHT_TYPES; i++) {
        enum { ROWS = 75, COLS = 512, TOK = 37 };
        bool exact = i >= N_WEIGHT_TYPES;
        rt_exec one = exec_of(exact, 1), three = exec_of(exact, 3);
        gguf_tensor t = weights_random(&weight_types[i % N_WEIGHT_TYPES], ROWS, COLS, (uint64_t)i);
        float *x = floats_random(TOK * COLS, 7), *y = product(&t, &one, x, TOK), *y3 = product(&t, &three, x, TOK);
        assert_memory_equal(y, y3, TOK * ROWS * sizeof *y);
        for (size_t k = 0; k < TOK; k++) {
            float *single = product(&t, &one, x + k * COLS, 1);
            assert_memory_equal(single, y + k * ROWS, ROWS * sizeof *y);
            free(single);
        }
        free(x);
        free(y);
        free(y3);
        free((void *)t.data);
    }
}

/* Weights multiplied where they lie give the same bits, whatever the type, the batch and the number of threads. */
static void mat_mul_in_place_is_the_same(void **state) {
    (void)state;
    for (int i = 0; i < N_WEIGHT_TYPES; i++)
        for (int threads = 1; threads < 4; threads += 2)
            for (size_t tok = 1; tok < 40; tok += 19) {
                enum { ROWS = 53, COLS = 512 };
                gguf_tensor t = weights_random(&weight_types[i], ROWS, COLS, tok);
                float *x = floats_random(tok * COLS, 3);
                rt_exec e = exec_of(false, threads);
                float *want = product(&t, &e, x, tok);
                e.in_place = true;
                float *got = product(&t, &e, x, tok);
                assert_memory_equal(got, want, tok * ROWS * sizeof *got);
                rt_mat *m;
                assert_int_equal(mat_new(&t, &e, &weights, &m, NULL), KV_OK);
                assert_int_equal(mat_bytes(m), t.nbytes);
                assert_true(mat_is_int8(m) == (i < N_QUANT_TYPES));
                mat_free(m);
                free(want);
                free(got);
                free(x);
                free((void *)t.data);
            }
}

static void mat_mul_keeps_to_its_columns(void **state) {
    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        enum { ROWS = 21, LDY = 27, COLS = 64, TOK = 3 };
        rt_exec e = exec_of(exact, 1);
        gguf_tensor t = weights_random(&weight_types[0], ROWS, COLS, 1);
        float *x = floats_random(TOK * COLS, 2), y[TOK * LDY];
        for (int i = 0; i < TOK * LDY; i++)
            y[i] = -77.0f;
        rt_mat *m;
        rt_act *a;
        assert_int_equal(mat_new(&t, &e, &weights, &m, NULL), KV_OK);
        assert_int_equal(act_new(TOK, COLS, &e, &a, NULL), KV_OK);
        act_set(a, &e, x, TOK, COLS);
        mat_mul(m, &e, a, y, LDY);
        for (int i = 0; i < TOK * LDY; i++)
            assert_true((y[i] == -77.0f) == (i % LDY >= ROWS));
        act_free(a);
        mat_free(m);
        free(x);
        free((void *)t.data);
    }
}

/* y = x W as one fma chain per sum, and y += x W, against mat_mul_t. */
static void check_transposed(const weight_type *type, size_t rows, size_t cols, size_t n_tok, const rt_exec *plain) {
    rt_exec own, *e = &own;
    assert_int_equal(rt_exec_start(plain, e, NULL), KV_OK);
    gguf_tensor t = weights_random(type, rows, cols, rows + cols);
    float *x = floats_random(n_tok * rows, 3), *y = floats_random(n_tok * cols, 4), *w = malloc(rows * cols * sizeof *w);
    float *want = malloc(n_tok * cols * sizeof *want);
    rt_mat *m;
    assert_int_equal(mat_new(&t, e, &weights, &m, NULL), KV_OK);
    float *scratch = aligned_alloc(64, (mat_t_floats(m, n_tok) * sizeof(float) + 63) / 64 * 64);
    t.type->dequant(t.data, w, rows * cols);
    for (int add = 0; add < 2; add++) {
        memcpy(want, y, n_tok * cols * sizeof *want);
        for (size_t i = 0; i < n_tok; i++)
            for (size_t c = 0; c < cols; c++) {
                float sum = add ? y[i * cols + c] : 0;
                for (size_t r = 0; r < rows; r++)
                    sum = fmaf(w[r * cols + c], x[i * rows + r], sum);
                want[i * cols + c] = sum;
            }
        mat_mul_t(m, e, x, n_tok, y, add, scratch);
        assert_memory_equal(y, want, n_tok * cols * sizeof *y);
    }
    rt_exec_stop(e);
    mat_free(m);
    free(scratch);
    free(want);
    free(w);
    free(x);
    free(y);
    free((void *)t.data);
}

static void mat_mul_t_is_the_transposed_product(void **state) {
    (void)state;
    for (int i = 0; i < N_WEIGHT_TYPES; i++)
        for (int threads = 1; threads < 4; threads++) {
            rt_exec e = exec_of(threads == 2, threads);
            check_transposed(&weight_types[i], 37, 512, 5, &e);
        }
    rt_exec e = exec_of(true, 3);
    check_transposed(&weight_types[N_WEIGHT_TYPES - 1], 270, 304, 200, &e); /* more rows and tokens than one item takes */
    check_transposed(&weight_types[N_WEIGHT_TYPES - 1], 1, 7, 1, &e);
}

static void mat_row_is_the_dequantised_row(void **state) {
    (void)state;
    rt_exec e = exec_of(false, 1);
    for (int i = 0; i < N_WEIGHT_TYPES; i++) {
        gguf_tensor t = weights_random(&weight_types[i], 5, 256, (uint64_t)i);
        float all[5 * 256], row[256];
        rt_mat *m;
        t.type->dequant(t.data, all, 5 * 256);
        assert_int_equal(mat_new(&t, &e, &weights, &m, NULL), KV_OK);
        mat_row(m, 3, row);
        assert_memory_equal(row, all + 3 * 256, sizeof row);
        mat_free(m);
        free((void *)t.data);
    }
}

static void mat_mul_shows_nan(void **state) {
    (void)state;
    rt_exec e = exec_of(false, 1);
    gguf_tensor t = weights_random(&weight_types[4], 3, 64, 1);
    float *x = floats_random(64, 2);
    x[40] = NAN;
    float *y = product(&t, &e, x, 1);
    for (int r = 0; r < 3; r++)
        assert_true(isnan(y[r]));
    free(x);
    free(y);
    free((void *)t.data);
}

static void mat_new_refuses_what_is_no_matrix(void **state) {
    (void)state;
    rt_exec e = exec_of(false, 1);
    kv_err err;
    rt_mat *m;
    gguf_tensor t = weights_random(&weight_types[0], 3, 64, 1);
    t.n_dims = 3;
    assert_int_equal(mat_new(&t, &e, &weights, &m, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "random"));
    t.n_dims = 2;
    t.dims[0] = 48;
    assert_int_equal(mat_new(&t, &e, &weights, &m, &err), KV_EFORMAT);
    free((void *)t.data);
}

static void exec_init_checks_its_arguments(void **state) {
    (void)state;
    rt_exec e;
    kv_err err;
    assert_int_equal(rt_exec_init(&e, "sse9", 1, false, &err), KV_EINVAL);
    assert_non_null(strstr(err.msg, "sse9"));
    assert_int_equal(rt_exec_init(&e, "scalar", 3, true, &err), KV_OK);
    assert_int_equal(e.n_threads, 3);
    assert_int_equal(e.k->isa, RT_CPU_SCALAR);
    assert_int_equal(rt_exec_init(&e, "auto", 0, true, &err), KV_OK);
    assert_true(e.n_threads >= 1);
    assert_int_equal(e.k->isa, rt_cpu_detect());
    for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++)
        assert_int_equal(rt_exec_init(&e, rt_cpu_name(isa), 1, false, &err), rt_cpu_runs(isa) ? KV_OK : KV_EUNSUPP);
    assert_true(rt_cpu_runs(rt_cpu_detect()));
}

/* Pieces of an arena, small and large ones, are aligned and keep apart. */
static void arena_gives_memory_that_is_apart(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 64, 65, 4096, 9 << 20, 100, 5 << 20, 7 << 20, 7 << 20, 7 << 20, 63};
    enum { N = sizeof sizes / sizeof *sizes };
    rt_arena a = {0};
    uint8_t *taken[N];
    for (int i = 0; i < N; i++) {
        taken[i] = rt_arena_take(&a, sizes[i]);
        assert_non_null(taken[i]);
        assert_int_equal((uintptr_t)taken[i] % 64, 0);
        memset(taken[i], i, sizes[i]);
    }
    for (int i = 0; i < N; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            if (taken[i][k] != i)
                fail_msg("byte %zu of piece %d was written by piece %d", k, i, taken[i][k]);
    rt_arena_free(&a);
    assert_null(a.pieces);
    rt_arena_free(&a); /* nothing left */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mat_packing_loses_nothing),
        cmocka_unit_test(mat_mul_is_close_to_the_true_product),
        cmocka_unit_test(mat_mul_accepts_any_shape_of_plain_types),
        cmocka_unit_test(mat_mul_depends_on_neither_threads_nor_batch),
        cmocka_unit_test(mat_mul_in_place_is_the_same),
        cmocka_unit_test(mat_mul_keeps_to_its_columns),
        cmocka_unit_test(mat_mul_t_is_the_transposed_product),
        cmocka_unit_test(mat_row_is_the_dequantised_row),
        cmocka_unit_test(mat_mul_shows_nan),
        cmocka_unit_test(mat_new_refuses_what_is_no_matrix),
        cmocka_unit_test(exec_init_checks_its_arguments),
        cmocka_unit_test(arena_gives_memory_that_is_apart),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rt_arena_free(&weights);
    return failed;
}
