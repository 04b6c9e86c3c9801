/* Kernels of attention and of decoding plain codes: the scalar ones against plain arithmetic, every other set against the
 * scalar one, bit for bit, on odd sizes. */
#include "cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Calls body for each ISA above scalar that this machine has, with `k` its table and `ref` the scalar one. */
#define EACH_ISA(k, ref)                                                                                                       \
    const rt_kernels *const ref = rt_kernels_for(RT_CPU_SCALAR), *k;                                                           \
    for (rt_cpu isa = RT_CPU_AVX2; isa < RT_CPU_COUNT; isa++)                                                                  \
        if ((k = rt_kernels_for(isa)))

static void same(const void *a, const void *b, size_t bytes, const rt_kernels *k, const char *what, size_t x, size_t y) {
    if (memcmp(a, b, bytes))
        fail_msg("%s differs from scalar at %s (%zu, %zu)", rt_cpu_name(k->isa), what, x, y);
}

static const size_t dims[] = {0, 1, 5, 8, 15, 16, 17, 31, 48, 64, 80, 100, 128, 256};
enum { N_DIMS = sizeof dims / sizeof *dims, MAX_Q = 14, GUARD = 16 };

static void kernels_attn_scores(void **state) {
    (void)state;
    float *q = rnd_fill(MAX_Q * 256, 1), *kt = rnd_fill(256 * 64, 2);
    float a[MAX_Q * 70], b[MAX_Q * 70];
    EACH_ISA(k, ref) for (size_t d = 0; d < N_DIMS; d++) for (size_t n = 0; n <= MAX_Q; n++) {
        memset(a, 1, sizeof a);
        memset(b, 1, sizeof b);
        ref->attn_scores(q, n, dims[d], kt, a, 70);
        k->attn_scores(q, n, dims[d], kt, b, 70);
        same(a, b, sizeof a, k, "attn_scores", dims[d], n);
    }
    rt_kernels_for(RT_CPU_SCALAR)->attn_scores(q, 2, 5, kt, a, 70);
    double want = 0;
    for (int c = 0; c < 5; c++)
        want += (double)q[5 + c] * kt[c * 64 + 63];
    assert_float_equal(a[70 + 63], want, 1e-5);
    free(q);
    free(kt);
}

static void kernels_attn_values(void **state) {
    (void)state;
    static const size_t tokens[] = {0, 1, 3, 64};
    float *p = rnd_fill(MAX_Q * 66, 1), *v = rnd_fill(64 * 256, 2), *o = rnd_fill(MAX_Q * 256 + GUARD, 3);
    float a[MAX_Q * 256 + GUARD], b[MAX_Q * 256 + GUARD];
    EACH_ISA(k, ref)
    for (size_t d = 0; d < N_DIMS; d++)
        for (size_t n = 0; n <= MAX_Q; n++)
            for (size_t t = 0; t < 4; t++) {
                memcpy(a, o, sizeof a);
                memcpy(b, o, sizeof b);
                ref->attn_values(p, 66, n, tokens[t], v, dims[d], a);
                k->attn_values(p, 66, n, tokens[t], v, dims[d], b);
                same(a, b, sizeof a, k, "attn_values", dims[d], n);
            }
    memcpy(a, o, sizeof a);
    rt_kernels_for(RT_CPU_SCALAR)->attn_values(p, 66, 2, 3, v, 5, a);
    double want = o[9];
    for (int t = 0; t < 3; t++)
        want += (double)p[66 + t] * v[t * 5 + 4];
    assert_float_equal(a[9], want, 1e-5);
    free(p);
    free(v);
    free(o);
}

static void kernels_attn_half_precision(void **state) {
    (void)state;
    static const float edge[] = {0,          -0.0f,        1,        65504,    65519,      65520,  -1e9f,
                                 0x1p-14f,   0x1.ffcp-15f, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 1e-30f, 0x1.002p0f,
                                 0x1.006p0f, INFINITY};
    enum { N = 200 };
    float *x = rnd_fill(N, 4), fa[N + GUARD], fb[N + GUARD];
    uint16_t a[N + GUARD], b[N + GUARD];
    memcpy(x, edge, sizeof edge);
    for (size_t i = 16; i < N; i += 2)
        x[i] *= exp2f((float)i / 4 - 30);
    EACH_ISA(k, ref) for (size_t n = 0; n <= N; n++) {
        memset(a, 1, sizeof a);
        memset(b, 1, sizeof b);
        memset(fa, 1, sizeof fa);
        memset(fb, 1, sizeof fb);
        ref->f16_store(x, n, a);
        k->f16_store(x, n, b);
        same(a, b, sizeof a, k, "f16_store", n, 0);
        ref->f16_load(a, n, fa);
        k->f16_load(a, n, fb);
        same(fa, fb, sizeof fa, k, "f16_load", n, 0);
    }
    free(x);
}

static void kernels_attn_plain_codes(void **state) {
    (void)state;
    enum { ROWS = 33 };
    uint8_t q[ROWS * 64];
    float *d = rnd_fill(64, 5), a[ROWS * 64], b[ROWS * 64];
    uint64_t seed = 6;
    for (size_t i = 0; i < sizeof q; i++)
        q[i] = (uint8_t)(rnd(&seed) * 256);
    const rt_kernels *scalar = rt_kernels_for(RT_CPU_SCALAR);
    scalar->q8_cols((const int8_t *)q, d, 2, a);
    assert_true(a[64 + 7] == (float)(int8_t)q[64 + 7] * d[7]);
    scalar->q8_runs((const int8_t *)q, d, 3, a);
    assert_true(a[64 + 7] == (float)(int8_t)q[64 + 7] * d[2]);
    scalar->q4_cols(q, d, 2, a);
    assert_true(a[64 + 7] == (float)((q[32 + 7] & 15) - 8) * d[7] && a[64 + 39] == (float)((q[32 + 7] >> 4) - 8) * d[39]);
    scalar->q4_runs(q, d, 2, a);
    assert_true(a[32 + 7] == (float)((q[16 + 7] & 15) - 8) * d[1] && a[32 + 23] == (float)((q[16 + 7] >> 4) - 8) * d[1]);
    EACH_ISA(k, ref) for (size_t n = 0; n <= ROWS; n++) {
        memset(a, 1, sizeof a);
        memset(b, 1, sizeof b);
        ref->q8_cols((const int8_t *)q, d, n, a);
        k->q8_cols((const int8_t *)q, d, n, b);
        same(a, b, sizeof a, k, "q8_cols", n, 0);
        ref->q8_runs((const int8_t *)q, d, n, a);
        k->q8_runs((const int8_t *)q, d, n, b);
        same(a, b, sizeof a, k, "q8_runs", n, 0);
        ref->q4_cols(q, d, n, a);
        k->q4_cols(q, d, n, b);
        same(a, b, sizeof a, k, "q4_cols", n, 0);
        ref->q4_runs(q, d, n, a);
        k->q4_runs(q, d, n, b);
        same(a, b, sizeof a, k, "q4_runs", n, 0);
    }
    free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_attn_scores),
        cmocka_unit_test(kernels_attn_values),
        cmocka_unit_test(kernels_attn_half_precision),
        cmocka_unit_test(kernels_attn_plain_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
