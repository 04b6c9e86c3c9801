/* Speed of matrix products, for every weight format and instruction set: bench_kernels [ISA] [THREADS].
 * Prefill in 10^9 multiply-adds a second (512 tokens), decode in GB of weights a second (one token, a matrix larger than the
 * caches). Best of several runs.
 */
#include "kernels/kernels.h"
#include "mat/mat.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    rt_exec e;
    rt_arena weights;
    rt_mat *m;
    rt_act *a;
    float *x, *y;
    size_t n_tok;
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

static void multiply(const problem *p) {
    act_set(p->a, &p->e, p->x, p->n_tok, mat_cols(p->m));
    mat_mul(p->m, &p->e, p->a, p->y, mat_rows(p->m));
}

/* Seconds of one product: the best of the runs that fit in about half a second. */
static double best_time(const problem *p) {
    double best = 1e9, start = omp_get_wtime();
    multiply(p);
    for (int i = 0; i < 3 || (i < 1000 && omp_get_wtime() - start < 0.3); i++) {
        double t = omp_get_wtime();
        multiply(p);
        t = omp_get_wtime() - t;
        best = t < best ? t : best;
    }
    return best;
}

/* One product of a fresh matrix; its size in bytes goes to *bytes. Negative where memory runs out. */
static double measure(const rt_exec *e, const qtype_info *type, size_t rows, size_t cols, size_t n_tok, size_t *bytes) {
    double seconds = -1;
    problem p = {.e = *e, .n_tok = n_tok};
    gguf_tensor t = {.name = {"bench", 5}, .type = type, .n_dims = 2, .dims = {cols, rows, 1, 1}};
    t.nbytes = rows * (cols / type->block_elems) * type->block_bytes;
    uint8_t *data = weights(t.nbytes);
    t.data = data;
    p.x = malloc(n_tok * cols * sizeof(float));
    p.y = malloc(n_tok * rows * sizeof(float));
    if (!data || !p.x || !p.y || mat_new(&t, e, &p.weights, &p.m, NULL) != KV_OK ||
        act_new(n_tok, cols, e, &p.a, NULL) != KV_OK)
        goto done;
    for (size_t i = 0; i < n_tok * cols; i++)
        p.x[i] = (float)(i * 7919 % 1000) / 500.0f - 1.0f;
    *bytes = mat_bytes(p.m);
    seconds = best_time(&p);
done:
    act_free(p.a);
    mat_free(p.m);
    rt_arena_free(&p.weights);
    free(p.x);
    free(p.y);
    free(data);
    return seconds;
}

static void bench_isa(const char *isa, int threads) {
    static const qtype types[] = {QT_Q4_0, QT_Q4_1, QT_Q5_0, QT_Q5_1, QT_Q8_0, QT_IQ4_NL, QT_Q2_K,
                                  QT_Q3_K, QT_Q4_K, QT_Q5_K, QT_Q6_K, QT_F32,  QT_F16,    QT_BF16};
    rt_exec e;
    size_t bytes;
    kv_err err;
    if (rt_exec_init(&e, isa, threads, false, &err) != KV_OK) {
        printf("%s: %s\n", isa, err.msg);
        return;
    }
    size_t n_tok = e.k->isa == RT_CPU_SCALAR ? 16 : 512;
    printf("%s, %d threads\n%-8s %10s %10s %10s %10s\n", isa, e.n_threads, "type", "GMAC/s", "(long)", "exact", "GB/s, 1");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const qtype_info *type = qtype_get(types[i]);
        double wide = 1536.0 * 768 * (double)n_tok / measure(&e, type, 1536, 768, n_tok, &bytes);
        double tall = 768.0 * 1536 * (double)n_tok / measure(&e, type, 768, 1536, n_tok, &bytes);
        e.exact = true;
        double exact = 1536.0 * 768 * (double)n_tok / measure(&e, type, 1536, 768, n_tok, &bytes);
        e.exact = false;
        double one = measure(&e, type, n_tok == 512 ? 16384 : 1536, 768, 1, &bytes);
        printf("%-8s %10.1f %10.1f %10.1f %10.1f\n", type->name, wide * 1e-9, tall * 1e-9, exact * 1e-9,
               (double)bytes / one * 1e-9);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    int threads = argc > 2 ? atoi(argv[2]) : 0;
    if (argc > 1 && strcmp(argv[1], "all") != 0)
        bench_isa(argv[1], threads);
    else
        for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++)
            if (rt_kernels_for(isa))
                bench_isa(rt_cpu_name(isa), threads);
    return 0;
}
