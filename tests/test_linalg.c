/* Eigenvectors against their definition, against a case known by hand, and what is refused. */
#include "linalg.h"

#include "machine/team.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 37 };

/* A symmetric matrix without structure. */
static void fill(double *a, uint32_t n) {
    uint32_t x = 12345;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i; j < n; j++) {
            x = x * 1664525u + 1013904223u;
            a[i * n + j] = a[j * n + i] = x / 4294967296.0 - 0.5;
        }
}

static void linalg_eigh_satisfies_definition(void **state) {
    (void)state;
    double a[N * N], v[N * N], w[N], av[N * N], vv[N * N];
    fill(a, N);
    memcpy(v, a, sizeof v);
    assert_int_equal(la_eigh(N, v, w, NULL), KV_OK);
    la_mul_t(N, v, a, av); /* rows: A v_i, as A is symmetric */
    la_mul_t(N, v, v, vv);
    for (uint32_t i = 0; i < N; i++)
        for (uint32_t j = 0; j < N; j++) {
            assert_float_equal(av[i * N + j], w[i] * v[i * N + j], 1e-12);
            assert_float_equal(vv[i * N + j], i == j, 1e-12);
        }
}

static void linalg_eigh_sorts_and_fixes_signs(void **state) {
    (void)state;
    double v[N * N], w[N];
    fill(v, N);
    assert_int_equal(la_eigh(N, v, w, NULL), KV_OK);
    for (uint32_t i = 0; i < N; i++) {
        double top = 0;
        for (uint32_t j = 0; j < N; j++)
            top = fabs(v[i * N + j]) > fabs(top) ? v[i * N + j] : top;
        assert_true(top > 0);
        assert_true(i == 0 || w[i] <= w[i - 1]);
    }
}

static void linalg_eigh_reads_upper_triangle(void **state) {
    (void)state;
    double a[4] = {2, 1, 99, 2}, w[2];
    assert_int_equal(la_eigh(2, a, w, NULL), KV_OK);
    assert_float_equal(w[0], 3, 1e-15);
    assert_float_equal(w[1], 1, 1e-15);
    assert_float_equal(a[0], sqrt(0.5), 1e-15);
    assert_float_equal(a[1], sqrt(0.5), 1e-15);
}

static void linalg_eigh_of_one(void **state) {
    (void)state;
    double a = -7, w;
    assert_int_equal(la_eigh(1, &a, &w, NULL), KV_OK);
    assert_float_equal(w, -7, 0);
    assert_float_equal(a, 1, 0);
}

static void linalg_eigh_refuses_nan_and_inf(void **state) {
    (void)state;
    double a[4] = {1, NAN, 0, 1}, w[2];
    kv_err err;
    assert_int_equal(la_eigh(2, a, w, &err), KV_ERANGE);
    assert_non_null(strstr(err.msg, "(0, 1)"));
    a[1] = INFINITY;
    assert_int_equal(la_eigh(2, a, w, &err), KV_ERANGE);
}

typedef struct many {
    uint32_t dim;
    double *v, *w; /* (n, dim, dim), (n, dim) */
} many;

static void solve_some(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const many *m = arg;
    for (size_t i = first; i < end; i++)
        la_eigh(m->dim, m->v + i * m->dim * m->dim, m->w + i * m->dim, NULL);
}

/* Threads of ours calling LAPACK at once must get what one thread gets, bit for bit. */
static void linalg_eigh_same_from_many_threads(void **state) {
    (void)state;
    enum { D = 64, TIMES = 8 };
    static double v[TIMES][D * D], w[TIMES][D], v0[D * D], w0[D];
    la_single_thread();
    fill(v0, D);
    for (int i = 0; i < TIMES; i++)
        memcpy(v[i], v0, sizeof v0);
    assert_int_equal(la_eigh(D, v0, w0, NULL), KV_OK);
    rt_team *team;
    assert_int_equal(rt_team_new(4, RT_WAIT_AUTO, &team, NULL), KV_OK);
    rt_team_for(team, TIMES, 1, solve_some, &(many){D, v[0], w[0]});
    rt_team_free(team);
    for (int i = 0; i < TIMES; i++) {
        assert_memory_equal(v[i], v0, sizeof v0);
        assert_memory_equal(w[i], w0, sizeof w0);
    }
}

static void linalg_products(void **state) {
    (void)state;
    const double a[4] = {1, 2, 3, 4}, b[4] = {5, 6, 7, 8}, ab[4] = {19, 22, 43, 50}, abt[4] = {17, 23, 39, 53};
    double c[4];
    la_mul(2, a, b, c);
    assert_memory_equal(c, ab, sizeof c);
    la_mul_t(2, a, b, c);
    assert_memory_equal(c, abt, sizeof c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linalg_eigh_satisfies_definition),   cmocka_unit_test(linalg_eigh_sorts_and_fixes_signs),
        cmocka_unit_test(linalg_eigh_reads_upper_triangle),   cmocka_unit_test(linalg_eigh_of_one),
        cmocka_unit_test(linalg_eigh_refuses_nan_and_inf),    cmocka_unit_test(linalg_products),
        cmocka_unit_test(linalg_eigh_same_from_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
