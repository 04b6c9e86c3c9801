/* Speed of matrix products, for every weight format and instruction set: bench_kernels [ISA|all] [THREADS] [TYPE...].
 * Prefill in 10^9 multiply-adds a second (512 tokens), decode in GB of weights a second (one token, a matrix larger than the
 * caches). Then small batches, as when several sequences are decoded together: for a matrix that the caches hold and one that
 * they do not, the time of a batch relative to that of one token. The larger the better: GB/s and GMAC/s; the smaller: times.
 * Best of several runs; batches of one matrix take turns, so that what else the machine does slows all of them. TYPEs: those
 * alone.
 */
#include "kernels/kernels.h"
#include "base/clock.h"
#include "mat/mat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_TOK = 512,
    CACHED_BYTES = 1 << 17,  /* of a matrix, for each thread: well within the second cache */
    OUTSIDE_BYTES = 1 << 27, /* of a matrix that is larger than the caches of most machines */
};

typedef struct problem {
    rt_exec e;
    rt_arena weights;
    rt_mat *m;
    rt_act *a;
    uint8_t *data;
    float *x, *y;
    size_t rows, cols;
} problem;

/* Any bytes will do as weights; these make every f16, bf16 and f32 among them a normal number of at most 2. */
static uint8_t *weights(size_t n) {
    uint8_t *p = malloc(n);
    uint32_t s = 1;
    for (size_t i = 0; p && i < n; i++) {
        s = s * 1664525u + 1013904223u;
        p[i] = (s >> 24 & 0x0f) | 0x30;
    }
    return p;
}

static size_t row_bytes(const qtype_info *type, size_t cols) {
    return cols / type->block_elems * type->block_bytes;
}

static void close_problem(problem *p) {
    act_free(p->a);
    mat_free(p->m);
    rt_arena_free(&p->weights);
    free(p->x);
    free(p->y);
    free(p->data);
}

/* A fresh matrix and batches of up to n_tok tokens. The program ends where memory does. */
static problem open_problem(const rt_exec *e, const qtype_info *type, size_t rows, size_t cols, size_t n_tok) {
    problem p = {.e = *e, .rows = rows, .cols = cols};
    gguf_tensor t = {.name = {"bench", 5}, .type = type, .n_dims = 2, .dims = {cols, rows, 1, 1}};
    t.nbytes = rows * row_bytes(type, cols);
    t.data = p.data = weights(t.nbytes);
    p.x = malloc(n_tok * cols * sizeof(float));
    p.y = malloc(n_tok * rows * sizeof(float));
    if (!p.data || !p.x || !p.y || mat_new(&t, e, &p.weights, &p.m, NULL) != KV_OK ||
        act_new(n_tok, cols, e, &p.a, NULL) != KV_OK) {
        puts("out of memory");
        exit(1);
    }
    for (size_t i = 0; i < n_tok * cols; i++)
        p.x[i] = (float)(i * 7919 % 1000) / 500.0f - 1.0f;
    return p;
}

/* Seconds of products with n_toks[i] tokens, n of them in turns: the best of the runs that fit in about half a second. */
static void best_times(const problem *p, const size_t *n_toks, size_t n, double *best) {
    double start = 0;
    for (int run = -1; run < 3 || (run < 1000 && clock_now() - start < 0.4); run++)
        for (size_t i = 0; i < n; i++) {
            const double from = clock_now();
            act_set(p->a, &p->e, p->x, n_toks[i], p->cols);
            mat_mul(p->m, &p->e, p->a, p->y, p->rows);
            const double t = clock_now() - from;
            if (run < 0) { /* to get going */
                best[i] = 1e9;
                start = clock_now();
            } else if (t < best[i]) {
                best[i] = t;
            }
        }
}

/* 10^9 multiply-adds a second. */
static double speed(const rt_exec *e, const qtype_info *type, size_t rows, size_t cols, size_t n_tok) {
    double best = 0;
    problem p = open_problem(e, type, rows, cols, n_tok);
    best_times(&p, &n_tok, 1, &best);
    close_problem(&p);
    return (double)(rows * cols * n_tok) / best * 1e-9;
}

static void bench_large(const rt_exec *e, const qtype_info *type) {
    const size_t n_tok = e->k->isa == RT_CPU_SCALAR ? 16 : MOST_TOK;
    rt_exec exact = *e;
    exact.exact = true;
    printf("%-8s %10.1f %10.1f %10.1f\n", type->name, speed(e, type, 1536, 768, n_tok), speed(e, type, 768, 1536, n_tok),
           speed(&exact, type, 1536, 768, n_tok));
    fflush(stdout);
}

static void bench_small(const rt_exec *e, const qtype_info *type, bool cached) {
    enum { COLS = 1536, SIZES = 8 };
    static const size_t n_toks[SIZES] = {1, 2, 3, 4, 6, 8, 16, MOST_TOK};
    const size_t bytes = cached ? CACHED_BYTES * (size_t)e->n_threads : OUTSIDE_BYTES;
    const size_t n = e->k->isa == RT_CPU_SCALAR ? 2 : cached ? SIZES : SIZES - 1, most = n_toks[n - 1];
    double t[SIZES];
    problem p = open_problem(e, type, bytes / row_bytes(type, COLS) / 32 * 32, COLS, most);
    best_times(&p, n_toks, n, t);
    printf("%-8s %-6s %7.1f %7.1f ", type->name, cached ? "inside" : "beyond", (double)mat_bytes(p.m) / t[0] * 1e-9,
           (double)(p.rows * COLS) / t[0] * 1e-9);
    for (size_t i = 1; i < n; i++)
        printf(" %7.2f", t[i] / t[0]);
    puts("");
    fflush(stdout);
    close_problem(&p);
}

static bool chosen(const qtype_info *type, int n, char **names) {
    for (int i = 0; i < n; i++)
        if (strcmp(type->name, names[i]) == 0)
            return true;
    return n == 0;
}

static void bench_isa(const char *isa, int threads, int n_names, char **names) {
    static const qtype types[] = {QT_Q4_0,  QT_Q4_1,   QT_Q5_0,    QT_Q5_1,  QT_Q8_0,   QT_IQ4_NL, QT_Q2_K,
                                  QT_Q3_K,  QT_Q4_K,   QT_Q5_K,    QT_Q6_K,  QT_IQ4_XS, QT_IQ3_S,  QT_IQ3_XXS,
                                  QT_IQ2_S, QT_IQ2_XS, QT_IQ2_XXS, QT_IQ1_M, QT_IQ1_S,  QT_TQ1_0,  QT_TQ2_0,
                                  QT_MXFP4, QT_NVFP4,  QT_F32,     QT_F16,   QT_BF16};
    enum { N = sizeof types / sizeof *types };
    rt_exec plain, e;
    kv_err err;
    if (rt_exec_init(&plain, isa, threads, false, &err) != KV_OK || rt_exec_start(&plain, &e, &err) != KV_OK) {
        printf("%s: %s\n", isa, err.msg);
        return;
    }
    printf("%s, %d threads\nGMAC/s   %10s %10s %10s\n", isa, e.n_threads, "many", "(long)", "exact");
    for (size_t i = 0; i < N; i++)
        if (chosen(qtype_get(types[i]), n_names, names))
            bench_large(&e, qtype_get(types[i]));
    puts("few:     caches GB/s, 1  GMAC/s      x 2       3       4       6       8      16     512");
    for (size_t i = 0; i < N; i++)
        for (int cached = 1; cached >= 0; cached--)
            if (chosen(qtype_get(types[i]), n_names, names))
                bench_small(&e, qtype_get(types[i]), cached);
    rt_exec_stop(&e);
}

int main(int argc, char **argv) {
    const int threads = argc > 2 ? atoi(argv[2]) : 0, n_names = argc > 3 ? argc - 3 : 0;
    if (argc > 1 && strcmp(argv[1], "all") != 0)
        bench_isa(argv[1], threads, n_names, argv + 3);
    else
        for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++)
            if (rt_kernels_for(isa))
                bench_isa(rt_cpu_name(isa), threads, n_names, argv + 3);
    return 0;
}
