/* Vector kernels: every instruction set against the scalar kernels bit for bit, and these against libm in double. */
#include "kernels/kernels.h"
#include "weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* ISAs above scalar that this machine has. */
#define EACH_ISA(isa)                                                                                                          \
    for (rt_cpu isa = RT_CPU_SCALAR + 1; isa < RT_CPU_COUNT; isa++)                                                            \
        if (rt_kernels_for(isa))

enum { MAX_N = 70 };

/* Relative error where the true value is a normal number, else error in units of the smallest normal. */
static double rel_error(float got, double want) {
    return fabs((double)got - want) / fmax(fabs(want), 0x1p-126);
}

static float *spread(size_t n, float width, uint64_t seed) {
    float *x = floats_random(n, seed);
    for (size_t i = 0; i < n; i++)
        x[i] *= width;
    return x;
}

static void vec_exp_is_accurate(void **state) {
    (void)state;
    const rt_kernels *k = rt_kernels_for(RT_CPU_SCALAR);
    double worst = 0;
    for (int i = 0; i < 175000; i++) {
        float x = -87.0f + (float)i * 0.001f, e = x;
        k->exp_sum(&e, 1, 0.0f);
        worst = fmax(worst, rel_error(e, exp((double)x)));
    }
    assert_true(worst < 2e-7);
}

static void vec_exp_keeps_to_the_limits(void **state) {
    (void)state;
    const rt_kernels *k = rt_kernels_for(RT_CPU_SCALAR);
    float x[] = {-INFINITY, -1000.0f, -87.1f, 0.0f, -0.0f, 88.0f, 88.8f, INFINITY, NAN};
    k->exp_sum(x, 9, 0.0f);
    assert_true(x[0] == 0.0f && x[1] == 0.0f && x[2] == 0.0f);
    assert_true(x[3] == 1.0f && x[4] == 1.0f);
    assert_true(rel_error(x[5], exp(88)) < 2e-7 && x[6] == x[5] && x[7] == x[5] && isnan(x[8]));
}

static void vec_exp_sum_subtracts_the_maximum(void **state) {
    (void)state;
    const rt_kernels *k = rt_kernels_for(RT_CPU_SCALAR);
    float *x = spread(MAX_N, 20, 1), *y = malloc(MAX_N * sizeof *y);
    for (size_t n = 1; n <= MAX_N; n++) {
        memcpy(y, x, MAX_N * sizeof *y);
        float max = k->max(y, n), sum = k->exp_sum(y, n, max);
        double want = 0;
        for (size_t i = 0; i < n; i++) {
            assert_true(x[i] <= max);
            assert_true(rel_error(y[i], exp((double)(x[i] - max))) < 2e-7);
            want += exp((double)(x[i] - max));
        }
        assert_true(rel_error(sum, want) < 1e-6);
        assert_memory_equal(y + n, x + n, (MAX_N - n) * sizeof *y);
    }
    free(x);
    free(y);
}

static void vec_activations_are_accurate(void **state) {
    (void)state;
    const rt_kernels *k = rt_kernels_for(RT_CPU_SCALAR);
    for (int i = -3000; i <= 3000; i++) {
        float x = (float)i * 0.01f, silu = x, gelu = x, up = 1.5f;
        k->silu_mul(&silu, &up, 1);
        k->gelu_mul(&gelu, &up, 1);
        double d = (double)x, z = 2 * 0.7978845608028654 * (d + 0.044715 * d * d * d);
        assert_true(fabs((double)silu - 1.5 * d / (1 + exp(-d))) <= 4e-7 * fabs(d));
        assert_true(fabs((double)gelu - 1.5 * d / (1 + exp(-z))) <= 1e-6 * fabs(d));
    }
}

static void vec_rms_norm_is_accurate(void **state) {
    (void)state;
    const rt_kernels *k = rt_kernels_for(RT_CPU_SCALAR);
    float *x = spread(577, 3, 1), *w = spread(577, 2, 2), *out = malloc(577 * sizeof *out);
    k->rms_norm(x, w, 577, 1e-5f, out);
    double sum = 0;
    for (int i = 0; i < 577; i++)
        sum += (double)x[i] * (double)x[i];
    double scale = 1 / sqrt(sum / 577 + 1e-5);
    for (int i = 0; i < 577; i++)
        assert_true(rel_error(out[i], (double)x[i] * scale * (double)w[i]) < 1e-6);
    k->rms_norm(x, w, 577, 1e-5f, x);
    assert_memory_equal(x, out, 577 * sizeof *out);
    free(x);
    free(w);
    free(out);
}

static void vec_rope_turns_pairs(void **state) {
    (void)state;
    enum { DIM = 12, ROT = 8 };
    const rt_kernels *k = rt_kernels_for(RT_CPU_SCALAR);
    float cosines[ROT / 2], sines[ROT / 2];
    for (int i = 0; i < ROT / 2; i++) {
        cosines[i] = cosf((float)i + 0.5f);
        sines[i] = sinf((float)i + 0.5f);
    }
    for (int neox = 0; neox < 2; neox++) {
        float *x = spread(2 * DIM, 1, 3), old[2 * DIM];
        memcpy(old, x, sizeof old);
        k->rope(x, 2, DIM, ROT, cosines, sines, neox);
        for (int h = 0; h < 2; h++) {
            for (int i = 0; i < ROT / 2; i++) {
                int a = h * DIM + (neox ? i : 2 * i), b = h * DIM + (neox ? i + ROT / 2 : 2 * i + 1);
                assert_true(fabsf(x[a] - (old[a] * cosines[i] - old[b] * sines[i])) < 1e-6f);
                assert_true(fabsf(x[b] - (old[a] * sines[i] + old[b] * cosines[i])) < 1e-6f);
            }
            assert_memory_equal(x + h * DIM + ROT, old + h * DIM + ROT, (DIM - ROT) * sizeof *x);
        }
        free(x);
    }
}

static void vec_dot_and_blend_are_sums(void **state) {
    (void)state;
    const rt_kernels *k = rt_kernels_for(RT_CPU_SCALAR);
    float *x = spread(50, 1, 5), *y = spread(50, 1, 6), old[50];
    double want = 0;
    for (int i = 0; i < 50; i++)
        want += (double)x[i] * y[i];
    assert_float_equal(k->dot(x, y, 50), want, 1e-5);
    memcpy(old, x, sizeof old);
    k->blend(x, 0.5f, y, -3, 49);
    for (int i = 0; i < 49; i++)
        assert_float_equal(x[i], 0.5f * old[i] - 3 * y[i], 1e-6);
    assert_true(x[49] == old[49]);
    free(x);
    free(y);
}

/* Run one kernel on n numbers; x (and what the kernel returns, in x[MAX_N]) is the result. */
typedef void run(const rt_kernels *k, float *x, const float *y, size_t n);

static void run_norm(const rt_kernels *k, float *x, const float *y, size_t n) {
    k->rms_norm(x, y, n, 1e-6f, x);
}

static void run_add(const rt_kernels *k, float *x, const float *y, size_t n) {
    k->add(x, y, n);
}

static void run_silu(const rt_kernels *k, float *x, const float *y, size_t n) {
    k->silu_mul(x, y, n);
}

static void run_gelu(const rt_kernels *k, float *x, const float *y, size_t n) {
    k->gelu_mul(x, y, n);
}

static void run_exp(const rt_kernels *k, float *x, const float *y, size_t n) {
    x[MAX_N] = k->exp_sum(x, n, y[0]);
}

static void run_max(const rt_kernels *k, float *x, const float *y, size_t n) {
    (void)y;
    x[MAX_N] = k->max(x, n);
}

static void run_dot(const rt_kernels *k, float *x, const float *y, size_t n) {
    x[MAX_N] = k->dot(x, y, n);
}

static void run_blend(const rt_kernels *k, float *x, const float *y, size_t n) {
    k->blend(x, y[1], y, y[0], n);
}

static void run_rope(const rt_kernels *k, float *x, const float *y, size_t n) {
    k->rope(x, 1, n, n / 2 * 2, y, y + MAX_N / 2, false);
}

static void run_rope_neox(const rt_kernels *k, float *x, const float *y, size_t n) {
    k->rope(x, 1, n, n / 2 * 2, y, y + MAX_N / 2, true);
}

static void vec_instruction_sets_agree(void **state) {
    (void)state;
    static const struct {
        const char *name;
        run *run;
    } kernels[] = {
        {"rms_norm", run_norm}, {"add", run_add}, {"silu_mul", run_silu}, {"gelu_mul", run_gelu}, {"exp_sum", run_exp},
        {"max", run_max},       {"dot", run_dot}, {"blend", run_blend},   {"rope", run_rope},     {"rope neox", run_rope_neox}};
    EACH_ISA(isa)
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        for (size_t n = 0; n <= MAX_N; n++) {
            float *x = spread(MAX_N + 1, 120, n), *y = spread(MAX_N + 1, 1, n + 1000), *want = malloc((MAX_N + 1) * sizeof *x);
            memcpy(want, x, (MAX_N + 1) * sizeof *x);
            kernels[i].run(rt_kernels_for(RT_CPU_SCALAR), want, y, n);
            kernels[i].run(rt_kernels_for(isa), x, y, n);
            if (memcmp(x, want, (MAX_N + 1) * sizeof *x) != 0)
                fail_msg("%s on %s differs for n = %zu", kernels[i].name, rt_cpu_name(isa), n);
            free(x);
            free(y);
            free(want);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vec_exp_is_accurate),
        cmocka_unit_test(vec_exp_keeps_to_the_limits),
        cmocka_unit_test(vec_exp_sum_subtracts_the_maximum),
        cmocka_unit_test(vec_activations_are_accurate),
        cmocka_unit_test(vec_rms_norm_is_accurate),
        cmocka_unit_test(vec_rope_turns_pairs),
        cmocka_unit_test(vec_dot_and_blend_are_sums),
        cmocka_unit_test(vec_instruction_sets_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
