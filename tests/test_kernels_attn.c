/* Kernels of attention and of cache decoding: the scalar ones against plain arithmetic, every other set against the scalar one,
 * bit for bit, on odd sizes. */
#include "cache_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Calls body for each level above scalar that this machine has, with `k` its table and `ref` the scalar one. */
#define EACH_LEVEL(k, ref)                                                                                                     \
    const rt_kernels *const ref = rt_kernels_for(RT_CPU_SCALAR), *k;                                                           \
    for (rt_cpu level = RT_CPU_AVX2; level < RT_CPU_COUNT; level++)                                                            \
        if ((k = rt_kernels_for(level)))

static void same(const void *a, const void *b, size_t bytes, const rt_kernels *k, const char *what, size_t x, size_t y) {
    if (memcmp(a, b, bytes))
        fail_msg("%s differs from scalar at %s (%zu, %zu)", rt_cpu_name(k->level), what, x, y);
}

static const size_t dims[] = {0, 1, 5, 8, 15, 16, 17, 31, 48, 64, 80, 100, 128, 256};
enum { N_DIMS = sizeof dims / sizeof *dims, MAX_Q = 14, GUARD = 16 };

static void kernels_attn_scores(void **state) {
    (void)state;
    float *q = rnd_fill(MAX_Q * 256, 1), *kt = rnd_fill(256 * 64, 2);
    float a[MAX_Q * 70], b[MAX_Q * 70];
    EACH_LEVEL(k, ref) for (size_t d = 0; d < N_DIMS; d++) for (size_t n = 0; n <= MAX_Q; n++) {
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
    EACH_LEVEL(k, ref)
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
    EACH_LEVEL(k, ref) for (size_t n = 0; n <= N; n++) {
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
    EACH_LEVEL(k, ref) for (size_t n = 0; n <= ROWS; n++) {
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

/* Random codebooks of n dimensions, 6 bits falling to 1. */
typedef struct book {
    rt_tc_book b;
    uint8_t bits[512];
    float *levels, *mids;
    size_t words;
} book;

static void fill_tree(float *mids, const float *levels, unsigned node, unsigned lo, unsigned width) {
    if (width < 2)
        return;
    mids[node] = (levels[lo + width / 2 - 1] + levels[lo + width / 2]) / 2;
    fill_tree(mids, levels, 2 * node, lo, width / 2);
    fill_tree(mids, levels, 2 * node + 1, lo + width / 2, width / 2);
}

static book *book_make(size_t n, unsigned most) {
    book *k = calloc(1, sizeof *k);
    size_t stride = most > 4 ? (size_t)1 << most : 16;
    k->levels = calloc(n * stride + 1, sizeof(float));
    k->mids = calloc(n * stride + 1, sizeof(float));
    k->b = (rt_tc_book){n, stride, k->bits, k->levels, k->mids};
    for (size_t i = 0; i < n; i++) {
        k->bits[i] = (uint8_t)(most - i * most / n);
        k->words += k->bits[i];
        unsigned count = 1u << k->bits[i];
        for (unsigned j = 0; j < count; j++)
            k->levels[i * stride + j] = ((float)j + 0.5f - 0.5f * (float)count) * 4 / (float)count + 0.01f * (float)i;
        fill_tree(k->mids + i * stride, k->levels + i * stride, 1, 0, count);
    }
    return k;
}

static void book_drop(book *k) {
    free(k->levels);
    free(k->mids);
    free(k);
}

static const size_t coded[] = {1, 7, 16, 30, 64, 200};

static void kernels_attn_tc_quant(void **state) {
    (void)state;
    static const size_t tokens[] = {1, 2, 5, 64};
    enum { LDZ = 203 };
    float *z = rnd_fill(64 * LDZ, 7), *gain = rnd_fill(64 * RT_TC_TRIALS, 8);
    uint8_t best_a[64], best_b[64], a[200 * 64], b[200 * 64];
    for (size_t i = 0; i < 64 * RT_TC_TRIALS; i++)
        gain[i] = i / RT_TC_TRIALS % 5 == 4 ? 0 : fabsf(gain[i]); /* some tokens have no gain at all */
    EACH_LEVEL(k, ref) for (size_t i = 0; i < sizeof coded / sizeof *coded; i++) for (unsigned most = 1; most <= 6; most++) {
        book *bk = book_make(coded[i], most);
        for (size_t t = 0; t < 4; t++) {
            memset(a, 1, sizeof a);
            memset(b, 1, sizeof b);
            memset(best_a, 1, sizeof best_a);
            memset(best_b, 1, sizeof best_b);
            ref->tc_quant(&bk->b, z, LDZ, tokens[t], gain, best_a, a);
            k->tc_quant(&bk->b, z, LDZ, tokens[t], gain, best_b, b);
            same(best_a, best_b, sizeof best_a, k, "tc_quant's gains", coded[i], tokens[t]);
            same(a, b, sizeof a, k, "tc_quant's codes", coded[i], tokens[t]);
        }
        book_drop(bk);
    }
    free(z);
    free(gain);
}

static void kernels_attn_tc_quant_finds_the_nearest_level(void **state) {
    (void)state;
    book *bk = book_make(40, 6);
    float *z = rnd_fill(40, 9), gain[RT_TC_TRIALS] = {1.1f, 1.1f, 0.3f, 0.9f, 1, 1.2f, 5, 0};
    uint8_t best, codes[40 * 64];
    rt_kernels_for(RT_CPU_SCALAR)->tc_quant(&bk->b, z, 40, 1, gain, &best, codes);
    double least = INFINITY;
    int want = -1;
    for (int trial = 0; trial < RT_TC_TRIALS; trial++) {
        double err = 0;
        for (size_t i = 0; i < 40; i++) {
            double near = INFINITY;
            for (unsigned j = 0; j < 1u << bk->bits[i]; j++)
                near = fmin(near, fabs(z[i] - (double)gain[trial] * bk->levels[i * bk->b.stride + j]));
            err += near * near;
        }
        if (err < least - 1e-9) {
            least = err;
            want = trial;
        }
    }
    assert_int_equal(best, want);
    double err = 0;
    for (size_t i = 0; i < 40; i++)
        err += pow(z[i] - (double)gain[best] * bk->levels[i * bk->b.stride + codes[i * 64]], 2);
    assert_float_equal(err, least, 1e-4);
    free(z);
    book_drop(bk);
}

static void kernels_attn_tc_tiles(void **state) {
    (void)state;
    float *gain = rnd_fill(64, 11), *a = malloc(64 * 208 * sizeof *a), *b = malloc(64 * 208 * sizeof *b);
    uint64_t seed = 12, planes[200 * 6];
    for (size_t i = 0; i < 200 * 6; i++)
        planes[i] = (uint64_t)(rnd(&seed) * 0x1p53) ^ (uint64_t)(rnd(&seed) * 0x1p53) << 11;
    EACH_LEVEL(k, ref) for (size_t i = 0; i < sizeof coded / sizeof *coded; i++) for (unsigned most = 1; most <= 6; most++) {
        book *bk = book_make(coded[i], most);
        memset(a, 1, 64 * 208 * sizeof *a);
        memset(b, 1, 64 * 208 * sizeof *b);
        ref->tc_cols(&bk->b, planes, gain, a);
        k->tc_cols(&bk->b, planes, gain, b);
        same(a, b, 64 * 208 * sizeof *a, k, "tc_cols", coded[i], most);
        for (size_t n = 1; n <= 64; n += 9)
            for (size_t ldv = coded[i]; ldv <= coded[i] + 8; ldv += 4) {
                memset(a, 1, 64 * 208 * sizeof *a);
                memset(b, 1, 64 * 208 * sizeof *b);
                ref->tc_rows(&bk->b, planes, gain, n, a, ldv);
                k->tc_rows(&bk->b, planes, gain, n, b, ldv);
                same(a, b, 64 * 208 * sizeof *a, k, "tc_rows", n, ldv);
            }
        book_drop(bk);
    }
    book *bk = book_make(2, 3); /* bits 3 and 2 */
    rt_kernels_for(RT_CPU_SCALAR)->tc_cols(&bk->b, planes, gain, a);
    unsigned code = (planes[3] >> 40 & 1) + 2 * (planes[4] >> 40 & 1);
    assert_true(a[64 + 40] == gain[40] * bk->levels[bk->b.stride + code]);
    book_drop(bk);
    free(gain);
    free(a);
    free(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_attn_scores),         cmocka_unit_test(kernels_attn_values),
        cmocka_unit_test(kernels_attn_half_precision), cmocka_unit_test(kernels_attn_plain_codes),
        cmocka_unit_test(kernels_attn_tc_quant),       cmocka_unit_test(kernels_attn_tc_quant_finds_the_nearest_level),
        cmocka_unit_test(kernels_attn_tc_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
