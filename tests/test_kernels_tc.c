/* Kernels of codec tc: the scalar decoder against the words of trellis.h, every other instruction set against the scalar one,
 * bit for bit: all widths of codes, uniform, falling and mixed, odd numbers of dimensions and of tokens. */
#include "cache_fixture.h"
#include "profile_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Calls body for each level above scalar that this machine has, with `k` its table and `ref` the scalar one. */
#define EACH_LEVEL(k, ref)                                                                                                     \
    const rt_kernels *const ref = rt_kernels_for(RT_CPU_SCALAR), *k;                                                           \
    for (rt_cpu level = RT_CPU_AVX2; level < RT_CPU_COUNT; level++)                                                            \
        if ((k = rt_kernels_for(level)))

enum { MAX_N = 512, GROUP = TRELLIS_GROUP, LDZ = MAX_N + 3 };

static void same(const void *a, const void *b, size_t bytes, const rt_kernels *k, const char *what, size_t x, size_t y) {
    if (memcmp(a, b, bytes))
        fail_msg("%s differs from scalar at %s (%zu, %zu)", rt_cpu_name(k->level), what, x, y);
}

/* Codebooks of n dimensions. widths: 1..6 that many bits for all, FALLING 6 down to 1, MIXED any order. Levels are any numbers,
 * rising: ties among them, and levels that no path prefers, must come out alike, too. */
enum { FALLING = TRELLIS_MAX_BITS + 1, MIXED, N_WIDTHS = MIXED };

typedef struct book {
    trellis_book b;
    uint8_t bits[MAX_N];
    float scale[MAX_N], inverse[MAX_N];
    trellis_weight weight[MAX_N];
    int8_t levels[TRELLIS_LEVELS];
} book;

static book *book_make(size_t n, int widths) {
    uint64_t seed = n * 16 + (uint64_t)widths;
    book *k = calloc(1, sizeof *k);
    k->b = (trellis_book){n, k->bits, k->scale, k->levels, k->inverse, k->weight};
    for (size_t i = 0; i < n; i++) {
        double any = rnd(&seed);
        k->bits[i] = (uint8_t)(widths == FALLING ? 6 - i * 6 / n : widths == MIXED ? 1 + 6 * any : widths);
        k->scale[i] = (float)exp2(-6 - (widths % 2 ? floor(3 * rnd(&seed)) : 2 * rnd(&seed)));
    }
    trellis_weigh(n, k->bits, k->scale, k->inverse, k->weight);
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
    uint8_t trial[GROUP * TRELLIS_TRIALS];
} input;

static input input_make(uint64_t seed) {
    input in = {.z = rnd_fill(GROUP * LDZ, seed)};
    for (size_t t = 0; t < GROUP; t++) {
        static const float size[] = {1, 1, 3, 0, 1, 1e-30f, 1, 1e30f, 0.1f, 1};
        for (size_t i = 0; i < LDZ; i++)
            in.z[t * LDZ + i] *= size[t % 10];
        if (t % 10 == 9)
            in.z[t * LDZ] *= 1e10f;
        uint8_t *trial = in.trial + t * TRELLIS_TRIALS;
        trellis_trials((double)size[t % 10], trial);
        for (size_t i = 0; t % 4 == 1 && i < TRELLIS_TRIALS; i++)
            trial[i] = (uint8_t)(rnd(&seed) * 256);
        if (t % 10 != 4)
            continue;
        for (size_t i = 0; i < LDZ; i++) /* halfway between levels where scales are powers of two */
            in.z[t * LDZ + i] = rintf(64 * in.z[t * LDZ + i]) / 512;
        for (size_t i = 0; i < TRELLIS_TRIALS; i++)
            trial[i] = (uint8_t)(TRELLIS_UNIT + 8 * (i % 3));
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
    ref->tc_search(&bk->b, in->z, LDZ, n, in->trial, gain_a, a);
    k->tc_search(&bk->b, in->z, LDZ, n, in->trial, gain_b, b);
    same(gain_a, gain_b, GROUP, k, "tc_search's gains", bk->b.n, n); /* and nothing beyond the last vector */
    same(a, b, bk->b.n * GROUP, k, "tc_search's codes", bk->b.n, n);
}

static void kernels_tc_search_of_all_widths(void **state) {
    (void)state;
    static const size_t tokens[] = {1, 9, 64};
    input in = input_make(1);
    EACH_LEVEL(k, ref)
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
    EACH_LEVEL(k, ref) {
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
    EACH_LEVEL(k, ref) check_levels(k, ref, planes);
    free(planes);
}

static void kernels_tc_gains(void **state) {
    (void)state;
    uint8_t code[256];
    float want[GROUP], got[GROUP + 1];
    for (int c = 0; c < 256; c++)
        code[c] = (uint8_t)c;
    for (rt_cpu level = 0; level < RT_CPU_COUNT; level++) {
        const rt_kernels *k = rt_kernels_for(level);
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
        cmocka_unit_test(kernels_tc_search_of_all_widths),
        cmocka_unit_test(kernels_tc_search_of_any_number_of_vectors),
        cmocka_unit_test(kernels_tc_scalar_decodes_by_the_book),
        cmocka_unit_test(kernels_tc_levels),
        cmocka_unit_test(kernels_tc_gains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
