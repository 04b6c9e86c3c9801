/* Kernels of attention in codes: the scalar ones against plain arithmetic in double, every other set against the scalar one,
 * bit for bit. Tiles and codes lie as each set likes, so each makes its own and only what comes out is compared. */
#include "cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Calls body for each ISA above scalar that this machine has, with `k` its table and `ref` the scalar one. */
#define EACH_ISA(k, ref)                                                                                                       \
    const rt_kernels *const ref = rt_kernels_for(RT_CPU_SCALAR), *k;                                                           \
    for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++)                                                                            \
        if (isa != RT_CPU_SCALAR && (k = rt_kernels_for(isa)))

enum { SPAN = RT_INT_SPAN, TILE = RT_ATTN_TILE, MAX_DIM = 512, ROWS = 19, N_TILE = SPAN / TILE };

static const size_t dims[] = {0, 16, 32, 48, 64, 80, 128, 208, 512};
enum { N_DIMS = sizeof dims / sizeof *dims };

static void same(const void *a, const void *b, size_t bytes, const rt_kernels *k, const char *what, size_t x, size_t y) {
    if (memcmp(a, b, bytes))
        fail_msg("%s differs from scalar at %s (%zu, %zu)", rt_cpu_name(k->isa), what, x, y);
}

/* A range of tokens and some rows. */
typedef struct problem {
    int8_t *levels; /* (N_TILE, cdim, TILE) */
    float *w;       /* (ROWS, cdim) queries */
    float *s;       /* (ROWS, SPAN) scores, in bits */
    float gain[SPAN], wgain[SPAN], scale[ROWS], bias[ROWS];
} problem;

/* extreme: all levels -128 and all codes as large as they may be, so that sums are, too. */
static problem make(size_t cdim, bool extreme) {
    uint64_t seed = cdim + 1;
    problem p = {.levels = malloc(N_TILE * cdim * TILE + 1), .w = rnd_fill(ROWS * cdim + 1, 7), .s = rnd_fill(ROWS * SPAN, 8)};
    for (size_t i = 0; i < N_TILE * cdim * TILE; i++)
        p.levels[i] = (int8_t)(extreme ? -128 : (int)(rnd(&seed) * 256) - 128);
    for (size_t i = 0; i < ROWS * cdim; i++)
        p.w[i] = extreme ? 3 : p.w[i] * (float)exp2(2 * rnd(&seed));
    for (size_t i = 0; i < ROWS * SPAN; i++)
        p.s[i] = extreme ? 5 : p.s[i] * (i % 3 ? 6 : 60);
    for (size_t t = 0; t < SPAN; t++) {
        p.gain[t] = (float)exp2(4 * rnd(&seed) - 2);
        p.wgain[t] = extreme ? RT_INT_WEIGHT : (float)(rnd(&seed) * RT_INT_WEIGHT);
    }
    for (size_t r = 0; r < ROWS; r++) {
        p.bias[r] = rnd_normal(&seed);
        p.scale[r] = (float)exp2(-3 * rnd(&seed));
    }
    return p;
}

static void drop(problem p) {
    free(p.levels);
    free(p.w);
    free(p.s);
}

static char *tiles(const problem *p, size_t cdim, void (*pack)(const int8_t *, size_t, void *)) {
    char *out = malloc(N_TILE * rt_int_tile(cdim) + 1);
    memset(out, 0x55, N_TILE * rt_int_tile(cdim)); /* what pads a tile must not matter */
    for (size_t n = 0; n < N_TILE; n++)
        if (pack)
            pack(p->levels + n * cdim * TILE, cdim, out + n * rt_int_tile(cdim));
        else
            memcpy(out + n * rt_int_tile(cdim), p->levels + n * cdim * TILE, cdim * TILE);
    return out;
}

/* ---- scores ---- */

/* s (ROWS, SPAN) of n rows against n_tile tiles, and the scales of the codes. */
static float *scores(const rt_kernels *k, const problem *p, size_t cdim, size_t n, size_t n_tile, float scale[ROWS]) {
    char *tile = tiles(p, cdim, k->int_keys), *code = malloc(ROWS * rt_int_row(cdim) + 1);
    float *s = calloc(ROWS * SPAN, sizeof *s);
    for (size_t r = 0; r < n; r++)
        scale[r] = k->int_query(p->w + r * cdim, cdim, code + r * rt_int_row(cdim));
    k->int_scores(code, n, cdim, tile, n_tile, scale, p->bias, p->gain, s);
    free(tile);
    free(code);
    return s;
}

static void kernels_attn_int_scores_are_products(void **state) {
    (void)state;
    enum { DIM = 80 };
    problem p = make(DIM, false);
    float scale[ROWS], *s = scores(rt_kernels_for(RT_CPU_SCALAR), &p, DIM, 5, 3, scale);
    for (size_t r = 0; r < 5; r++) {
        double amax = 0;
        for (size_t i = 0; i < DIM; i++)
            amax = fmax(amax, fabs((double)p.w[r * DIM + i]));
        assert_float_equal(scale[r], amax / RT_INT_QUERY, 1e-6 * amax / RT_INT_QUERY);
        for (size_t t = 0; t < 3 * TILE; t++) {
            double want = p.bias[r], size = fabs(want);
            for (size_t i = 0; i < DIM; i++) {
                double level = p.levels[t / TILE * DIM * TILE + i * TILE + t % TILE];
                want += rint(p.w[r * DIM + i] / scale[r]) * level * scale[r] * p.gain[t];
                size += amax * fabs(level) * p.gain[t];
            }
            if (!(fabs(s[r * SPAN + t] - want) <
                  1e-6 * size + 1.01 * 128 * scale[r] * p.gain[t])) /* one code may round apart */
                fail_msg("score of row %zu, token %zu: %g, not %g", r, t, (double)s[r * SPAN + t], want);
        }
    }
    assert_true(s[3 * TILE] == 0);
    free(s);
    drop(p);
}

static void check_scores(const rt_kernels *k, const rt_kernels *ref, const problem *p, size_t cdim, size_t n, size_t n_tile) {
    float sa[ROWS] = {0}, sb[ROWS] = {0};
    float *a = scores(ref, p, cdim, n, n_tile, sa), *b = scores(k, p, cdim, n, n_tile, sb);
    same(sa, sb, sizeof sa, k, "int_query", cdim, n);
    same(a, b, ROWS * SPAN * sizeof *a, k, "int_scores", cdim, n);
    free(a);
    free(b);
}

static void kernels_attn_int_scores(void **state) {
    (void)state;
    EACH_ISA(k, ref)
    for (size_t d = 0; d < N_DIMS; d++) {
        problem p = make(dims[d], false), most = make(dims[d], true);
        for (size_t n = 0; n <= ROWS; n += dims[d] == 64 ? 1 : 6)
            check_scores(k, ref, &p, dims[d], n, 1 + (n + d) % 3);
        check_scores(k, ref, &most, dims[d], 2, N_TILE);
        drop(p);
        drop(most);
    }
}

/* Queries of nothing, or of what is no number. */
static void kernels_attn_int_queries_at_the_edge(void **state) {
    (void)state;
    static const float odd[] = {0, 0x1p-101f, 0x1p-100f, INFINITY, NAN, -INFINITY, 0x1.fffffep127f, -0.0f};
    float w[32] = {0}, one[8];
    char code[256];
    for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++) {
        const rt_kernels *k = rt_kernels_for(isa);
        for (size_t i = 0; k && i < sizeof odd / sizeof *odd; i++) {
            w[19] = odd[i];
            w[3] = i == 4 ? INFINITY : 0; /* NaN beats Inf */
            one[i] = k->int_query(w, 32, code);
            bool finite = isfinite(odd[i]);
            assert_true(finite ? one[i] == (fabsf(odd[i]) < 0x1p-100f ? 0 : fabsf(odd[i]) / RT_INT_QUERY) : isnan(one[i]));
        }
    }
}

/* ---- weights and values ---- */

/* o (ROWS, cdim), and sums and greatest scores, of n rows that read from .. to-1; s is p->s as it is left. */
typedef struct result {
    float *o, *s, sum[ROWS], top[ROWS];
} result;

static result values(const rt_kernels *k, const problem *p, size_t cdim, size_t n, size_t from, size_t to) {
    char *tile = tiles(p, cdim, k->int_vals), *weight = calloc(ROWS, 2 * SPAN);
    result r = {.o = calloc(ROWS * cdim + 1, sizeof(float)), .s = malloc(ROWS * SPAN * sizeof(float))};
    memcpy(r.s, p->s, ROWS * SPAN * sizeof(float));
    for (size_t i = 0; i < n; i++)
        r.sum[i] = k->int_weights(r.s + i * SPAN, from, to, p->wgain, weight + i * 2 * SPAN, &r.top[i]);
    k->int_values(weight, n, cdim, tile, from / TILE, (to + TILE - 1) / TILE, p->scale, r.o);
    free(tile);
    free(weight);
    return r;
}

static void drop_result(result r) {
    free(r.o);
    free(r.s);
}

static void kernels_attn_int_values_are_sums(void **state) {
    (void)state;
    enum { DIM = 48, FROM = 70, TO = 391 };
    problem p = make(DIM, false);
    result got = values(rt_kernels_for(RT_CPU_SCALAR), &p, DIM, 4, FROM, TO);
    for (size_t r = 0; r < 4; r++) {
        double top = -INFINITY, sum = 0, slack = 0, want[DIM] = {0};
        for (size_t t = FROM; t < TO; t++)
            top = fmax(top, p.s[r * SPAN + t]);
        for (size_t t = FROM; t < TO; t++) {
            double e = exp2(p.s[r * SPAN + t] - top);
            sum += e;
            slack += 128 * (0.5 + 4e-6 * e * p.wgain[t]); /* of a weight, times the greatest level */
            for (size_t i = 0; i < DIM; i++)
                want[i] += e * p.wgain[t] * p.levels[t / TILE * DIM * TILE + i * TILE + t % TILE];
        }
        assert_true(got.top[r] == (float)top);
        assert_float_equal(got.sum[r], sum, 4e-6 * sum);
        for (size_t i = 0; i < DIM; i++)
            assert_float_equal(got.o[r * DIM + i], want[i] * p.scale[r], slack * p.scale[r]);
    }
    assert_true(got.s[FROM - 1] == -INFINITY && got.s[TO] == -INFINITY && got.s[0] == p.s[0]);
    drop_result(got);
    drop(p);
}

static void check_values(const rt_kernels *k, const rt_kernels *ref, const problem *p, size_t cdim, size_t n, size_t from,
                         size_t to) {
    result a = values(ref, p, cdim, n, from, to), b = values(k, p, cdim, n, from, to);
    same(a.sum, b.sum, sizeof a.sum, k, "sums of int_weights", from, to);
    same(a.top, b.top, sizeof a.top, k, "tops of int_weights", from, to);
    same(a.s, b.s, ROWS * SPAN * sizeof *a.s, k, "scores after int_weights", from, to);
    same(a.o, b.o, ROWS * cdim * sizeof *a.o, k, "int_values", cdim, n);
    drop_result(a);
    drop_result(b);
}

static void kernels_attn_int_values(void **state) {
    (void)state;
    static const size_t reads[][2] = {{0, 512}, {0, 1}, {511, 512}, {63, 65}, {64, 128}, {5, 300}, {200, 201}};
    EACH_ISA(k, ref)
    for (size_t d = 0; d < N_DIMS; d++) {
        problem p = make(dims[d], false), most = make(dims[d], true);
        for (size_t n = 0; n <= ROWS; n += dims[d] == 64 ? 1 : 6) {
            const size_t *read = reads[(n + d) % (sizeof reads / sizeof *reads)];
            check_values(k, ref, &p, dims[d], n, read[0], read[1]);
        }
        check_values(k, ref, &most, dims[d], 2, 0, SPAN);
        drop(p);
        drop(most);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_attn_int_scores_are_products),
        cmocka_unit_test(kernels_attn_int_scores),
        cmocka_unit_test(kernels_attn_int_queries_at_the_edge),
        cmocka_unit_test(kernels_attn_int_values_are_sums),
        cmocka_unit_test(kernels_attn_int_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
