/* Kernels of codec tc: the scalar decoder against the words of trellis.h, every other instruction set against the scalar one,
 * bit for bit: all widths of codes, uniform, falling and mixed, odd numbers of dimensions and of tokens. */
#include "cache_fixture.h"
#include "profile_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Calls body for each ISA above scalar that this machine has, with `k` its table and `ref` the scalar one. */
#define EACH_ISA(k, ref)                                                                                                       \
    const rt_kernels *const ref = rt_kernels_for(RT_CPU_SCALAR), *k;                                                           \
    for (rt_cpu isa = RT_CPU_AVX2; isa < RT_CPU_COUNT; isa++)                                                                  \
        if ((k = rt_kernels_for(isa)))

enum { MAX_N = 512, GROUP = TRELLIS_GROUP, LDZ = MAX_N + 3 };

static void same(const void *a, const void *b, size_t bytes, const rt_kernels *k, const char *what, size_t x, size_t y) {
    if (memcmp(a, b, bytes))
        fail_msg("%s differs from scalar at %s (%zu, %zu)", rt_cpu_name(k->isa), what, x, y);
}

/* Codebooks of n dimensions. widths: 1..6 that many bits for all, FALLING 6 down to 1, MIXED any order. Levels are any numbers,
 * rising: ties among them, and levels that no path prefers, must come out alike, too. */
enum { FALLING = TRELLIS_MAX_BITS + 1, MIXED, N_WIDTHS = MIXED };

typedef struct book {
    trellis_book b;
    uint8_t bits[MAX_N];
    float scale[MAX_N], inverse[MAX_N], square[MAX_N];
    trellis_weight weight[MAX_N];
    int8_t levels[TRELLIS_LEVELS];
} book;

static book *book_make(size_t n, int widths) {
    uint64_t seed = n * 16 + (uint64_t)widths;
    book *k = calloc(1, sizeof *k);
    k->b = (trellis_book){n, k->bits, k->scale, k->levels, k->inverse, k->square, k->weight};
    for (size_t i = 0; i < n; i++) {
        double any = rnd(&seed);
        k->bits[i] = (uint8_t)(widths == FALLING ? 6 - i * 6 / n : widths == MIXED ? 1 + 6 * any : widths);
        k->scale[i] = (float)exp2(-6 - (widths % 2 ? floor(3 * rnd(&seed)) : 2 * rnd(&seed)));
    }
    trellis_weigh(n, k->bits, k->scale, k->inverse, k->square, k->weight);
    for (int i = 0; i < TRELLIS_LEVELS; i++)
        k->levels[i] = (int8_t)(rnd(&seed) * 255 - 127);
    fixture_sort_levels(k->levels);
    return k;
}

static const size_t coded[] = {1, 2, 7, 15, 16, 17, 31, 64, 129};
enum { N_CODED = sizeof coded / sizeof *coded };

/* ---- search ---- */

/* 64 vectors: some all zero, tiny, huge, with a single large number, on the borders between levels; trials as the encoder makes
 * them or any, with repeats. */
typedef struct input {
    float *z; /* (GROUP, LDZ) */
    float trial[GROUP * TRELLIS_TRIALS];
} input;

static input input_make(uint64_t seed) {
    input in = {.z = rnd_fill(GROUP * LDZ, seed)};
    for (size_t t = 0; t < GROUP; t++) {
        static const float size[] = {1, 1, 3, 0, 1, 1e-30f, 1, 1e30f, 0.1f, 1};
        for (size_t i = 0; i < LDZ; i++)
            in.z[t * LDZ + i] *= size[t % 10];
        if (t % 10 == 9)
            in.z[t * LDZ] *= 1e10f;
        float *trial = in.trial + t * TRELLIS_TRIALS;
        for (size_t i = 0; i < TRELLIS_TRIALS; i++)
            trial[i] = trellis_gain((uint8_t)(t % 4 == 1 ? 1 + rnd(&seed) * 254 : TRELLIS_UNIT + i * 7));
        if (t % 10 != 4)
            continue;
        for (size_t i = 0; i < LDZ; i++) /* halfway between levels where scales are powers of two */
            in.z[t * LDZ + i] = rintf(64 * in.z[t * LDZ + i]) / 512;
        for (size_t i = 0; i < TRELLIS_TRIALS; i++)
            trial[i] = (float)(1 + i);
    }
    return in;
}

static void check_search(const rt_kernels *k, const rt_kernels *ref, const book *bk, const input *in, size_t n) {
    static uint8_t a[MAX_N * GROUP], b[MAX_N * GROUP]; /* too large for a stack among sanitizers */
    uint8_t gain_a[GROUP], gain_b[GROUP];
    memset(a, 9, bk->b.n * GROUP);
    memset(b, 9, bk->b.n * GROUP);
    memset(gain_a, 9, GROUP);
    memset(gain_b, 9, GROUP);
    ref->tc_search(&bk->b, in->z, LDZ, n, in->trial, gain_a, a, GROUP);
    k->tc_search(&bk->b, in->z, LDZ, n, in->trial, gain_b, b, GROUP);
    same(gain_a, gain_b, GROUP, k, "tc_search's gains", bk->b.n, n); /* and nothing beyond the last vector */
    same(a, b, bk->b.n * GROUP, k, "tc_search's codes", bk->b.n, n);
    memset(b, 9, bk->b.n + 1);
    if (!n)
        return;
    k->tc_search(&bk->b, in->z, LDZ, 1, in->trial, gain_b, b, 1); /* one by itself is coded as among others, */
    same(gain_a, gain_b, 1, k, "tc_search's gain of one", bk->b.n, n);
    for (size_t i = 0; i < bk->b.n; i++)
        assert_int_equal(a[i * GROUP], b[i]);
    assert_int_equal(b[bk->b.n], 9); /* and nothing else is written */
}

static void kernels_tc_search_of_all_widths(void **state) {
    (void)state;
    static const size_t tokens[] = {1, 9, 64};
    input in = input_make(1);
    EACH_ISA(k, ref)
    for (size_t i = 0; i < N_CODED; i++)
        for (int widths = 1; widths <= N_WIDTHS; widths++) {
            book *bk = book_make(coded[i], widths);
            check_search(k, ref, bk, &in, tokens[(i + (size_t)widths) % 3]);
            free(bk);
        }
    free(in.z);
}

static void kernels_tc_search_of_any_number_of_vectors(void **state) {
    (void)state;
    input in = input_make(2);
    book *bk = book_make(11, FALLING), *most = book_make(MAX_N, MIXED), *none = book_make(0, 1);
    EACH_ISA(k, ref) {
        for (size_t n = 0; n <= GROUP; n++)
            check_search(k, ref, bk, &in, n);
        check_search(k, ref, most, &in, 17);
        check_search(k, ref, none, &in, 17);
    }
    free(bk);
    free(most);
    free(none);
    free(in.z);
}

/* ---- transform ---- */

/* Any numbers, and sums that just stay within 32 bits: sides of 512 codes that are as large as they may be. */
static void kernels_tc_project_of_any_shape(void **state) {
    (void)state;
    enum { MOST = MAX_N, TOKENS = 21 };
    static const size_t dims[] = {1, 2, 15, 16, 17, 64, 80, 255, MOST}, cdims[] = {0, 16, 48, 64, 80, 128};
    uint64_t seed = 3;
    float *x = rnd_fill(TOKENS * MOST, 4), *mean = rnd_fill(MOST, 5), *even = rnd_fill(MOST, 6), *scale = rnd_fill(128, 7);
    int16_t *a = calloc(128 * MOST, sizeof *a);
    float *want = calloc(TOKENS * 128 + 1, sizeof *want), *got = calloc(TOKENS * 128 + 1, sizeof *got);
    for (size_t i = 0; i < 128 * MOST; i++) /* the first tile in full */
        a[i] = (int16_t)(i < 16 * MOST ? (i & 1 ? 1 : -1) * (INT32_MAX / RT_TC_INPUT / MOST) : 2000 * rnd(&seed) - 1000);
    memcpy(x + MOST, mean, MOST * sizeof *x); /* some are exactly the mean */
    EACH_ISA(k, ref)
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
        for (size_t c = 0; c < sizeof cdims / sizeof *cdims; c++)
            for (size_t n = 1; n <= TOKENS; n += 4) {
                const rt_tc_matrix m = {dims[d], cdims[c], mean, even, a, scale};
                got[n * cdims[c]] = want[n * cdims[c]] = 77;
                ref->tc_project(&m, x, n, want);
                k->tc_project(&m, x, n, got);
                same(want, got, (n * cdims[c] + 1) * sizeof *want, k, "tc_project", dims[d], cdims[c]);
            }
    free(x), free(mean), free(even), free(scale), free(a), free(want), free(got);
}

/* ---- decoding ---- */

static void random_planes(uint64_t *planes, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++)
        planes[i] = (uint64_t)(rnd(&seed) * 0x1p53) ^ (uint64_t)(rnd(&seed) * 0x1p53) << 11;
}

/* Levels of the scalar kernel are what the header says, read off the planes bit by bit. */
static void kernels_tc_scalar_decodes_by_the_book(void **state) {
    (void)state;
    enum { N = 23 };
    uint64_t planes[N * 6];
    int8_t levels[N * GROUP];
    random_planes(planes, N * 6, 3);
    for (int widths = 1; widths <= N_WIDTHS; widths++) {
        book *bk = book_make(N, widths);
        rt_kernels_for(RT_CPU_SCALAR)->tc_levels(&bk->b, &(const uint64_t *){planes}, 1, levels, 0);
        for (int t = 0; t < GROUP; t++) {
            const uint64_t *p = planes;
            unsigned path = 0;
            for (int i = 0; i < N; p += bk->bits[i++]) {
                unsigned code = 0;
                for (int j = 0; j < bk->bits[i]; j++)
                    code |= (unsigned)(p[j] >> t & 1) << j;
                path = path << 1 | (code & 1);
                int want = bk->levels[(8 << bk->bits[i]) - 16 + (int)(code / 2 * 16 + path % 16)];
                assert_int_equal(levels[i * GROUP + t], want);
            }
        }
        free(bk);
    }
}

static void check_levels(const rt_kernels *k, const rt_kernels *ref, const uint64_t *planes) {
    enum { BLOCKS = 3, LD = (MAX_N + 1) * GROUP };
    static int8_t a[BLOCKS * LD], b[BLOCKS * LD];
    const uint64_t *blocks[BLOCKS] = {planes, planes + 2, planes + 1};
    for (size_t i = 0; i <= N_CODED; i++)
        for (int widths = 1; widths <= N_WIDTHS; widths++) {
            size_t n = i < N_CODED ? coded[i] : MAX_N;
            book *bk = book_make(n, widths);
            memset(a, 1, sizeof a);
            memset(b, 1, sizeof b);
            ref->tc_levels(&bk->b, blocks, BLOCKS, a, LD);
            k->tc_levels(&bk->b, blocks, BLOCKS, b, LD);
            same(a, b, BLOCKS * LD, k, "tc_levels", n, (size_t)widths);
            free(bk);
        }
}

static void kernels_tc_levels(void **state) {
    (void)state;
    enum { WORDS = MAX_N * 6 + 8 + 2 /* the other blocks begin so much later */ };
    uint64_t *planes = malloc(WORDS * sizeof *planes);
    random_planes(planes, WORDS, 5);
    EACH_ISA(k, ref) check_levels(k, ref, planes);
    free(planes);
}

static void kernels_tc_gains(void **state) {
    (void)state;
    uint8_t code[256];
    float want[GROUP], got[GROUP + 1];
    for (int c = 0; c < 256; c++)
        code[c] = (uint8_t)c;
    for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++) {
        const rt_kernels *k = rt_kernels_for(isa);
        for (int c = 0; k && c < 256; c += GROUP) {
            for (int t = 0; t < GROUP; t++)
                want[t] = trellis_gain((uint8_t)(c + t));
            got[GROUP] = 5;
            k->tc_gains(code + c, got);
            same(want, got, sizeof want, k, "tc_gains", (size_t)c, 0);
            assert_true(got[GROUP] == 5);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_tc_project_of_any_shape),
        cmocka_unit_test(kernels_tc_search_of_all_widths),
        cmocka_unit_test(kernels_tc_search_of_any_number_of_vectors),
        cmocka_unit_test(kernels_tc_scalar_decodes_by_the_book),
        cmocka_unit_test(kernels_tc_levels),
        cmocka_unit_test(kernels_tc_gains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
