/* Matrix kernels: every instruction set against the scalar kernels, bit for bit, over odd sizes. */
#include "base/fp16.h"
#include "kernels/kernels.h"
#include "kernels/mat/format.h"
#include "mat/mat.h"
#include "mat/mat_pack.h"
#include "weights.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* ISAs above scalar that this machine has. */
#define EACH_ISA(isa)                                                                                                          \
    for (rt_cpu isa = RT_CPU_SCALAR + 1; isa < RT_CPU_COUNT; isa++)                                                            \
        if (rt_kernels_for(isa))

enum { MAX_TOK = 35, MAX_ROWS = 100, LDY = 112 };

static void kernels_quantise_within_half_a_step(void **state) {
    (void)state;
    const rt_kernels *k = rt_kernels_for(RT_CPU_SCALAR);
    enum { N = 96 };
    float *x = floats_random(N, 5);
    rt_act_block out[N / 32];
    memset(x + 32, 0, 32 * sizeof *x);
    k->act_quant(x, N, out, 1);
    assert_true(out[1].d == 0 && out[1].sum == 0);
    for (int i = 0; i < N; i++) {
        const rt_act_block *b = &out[i / 32];
        assert_true(fabsf(x[i] - b->d * (float)b->q[i % 32]) <= b->d * 0.50001f);
        assert_true(b->q[i % 32] >= -127);
    }
    for (int b = 0; b < N / 32; b++) {
        int sum[2] = {0, 0};
        for (int i = 0; i < 32; i++)
            sum[i / 16] += out[b].q[i];
        assert_true(out[b].sum2[0] == (float)sum[0] && out[b].sum2[1] == (float)sum[1]);
        assert_true(out[b].sum == (float)(sum[0] + sum[1]));
    }
    free(x);
}

static void kernels_quantise_alike(void **state) {
    (void)state;
    enum { N = 256 };
    for (uint64_t seed = 0; seed < 200; seed++) {
        float *x = floats_random(N, seed);
        for (int i = 0; i < N; i++) /* blocks of very different sizes, subnormals and halves between two codes among them */
            x[i] = ldexpf(seed % 2 ? x[i] : roundf(x[i] * 254) / 2, (int)(seed * 13 % 200) - 140);
        rt_act_block want[N / 32 * 2], got[N / 32 * 2];
        memset(want, 0, sizeof want);
        memset(got, 0, sizeof got);
        rt_kernels_for(RT_CPU_SCALAR)->act_quant(x, N, want, 2);
        EACH_ISA(isa) {
            rt_kernels_for(isa)->act_quant(x, N, got, 2);
            assert_memory_equal(got, want, sizeof want);
        }
        free(x);
    }
}

/* Zeros, behind which no byte can be read or written: sanitizer builds leave the kernels out (runtime/CMakeLists.txt). */
static size_t guarded_span(size_t bytes, size_t page) {
    return (bytes + page - 1) / page * page;
}
static void *guarded(size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), span = guarded_span(bytes, page);
    uint8_t *p = mmap(NULL, span + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + span, page, PROT_NONE), 0);
    return p + span - bytes;
}
static void guarded_free(void *p, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), span = guarded_span(bytes, page);
    munmap((uint8_t *)p + bytes - span, span + page);
}

/* y (n_tok, LDY), prefilled so that a kernel that writes beyond its rows is seen. */
static void product(rt_cpu isa, const rt_fmt *f, const rt_mat_tiles *m, const float *x, size_t n_tok, float *y) {
    const rt_kernels *k = rt_kernels_for(isa);
    const size_t bytes = n_tok * (m->cols / 32) * sizeof(rt_act_block);
    rt_act_block *blocks = guarded(bytes);
    for (size_t t = 0; t < n_tok; t++) {
        size_t start = t / RT_TOK_GROUP * RT_TOK_GROUP, n = n_tok - start < RT_TOK_GROUP ? n_tok - start : RT_TOK_GROUP;
        k->act_quant(x + t * m->cols, m->cols, blocks + start * (m->cols / 32) + t - start, n);
    }
    for (size_t i = 0; i < n_tok * LDY; i++)
        y[i] = -77.0f;
    k->mat_i8[f->id](m, 0, (m->rows + RT_TILE_ROWS - 1) / RT_TILE_ROWS, blocks, n_tok, y, LDY);
    guarded_free(blocks, bytes);
}

/* Extreme codes and activations: every intermediate integer is as large as it gets. */
static void saturate(gguf_tensor *t, const weight_type *w, int byte) {
    uint8_t *data = (uint8_t *)t->data;
    for (size_t i = 0; i < t->nbytes; i += t->type->block_bytes) {
        memset(data + i, byte, t->type->block_bytes);
        weights_scale(w, 0x1.004p0f, data + i);
    }
}

static void check_format(const weight_type *w, size_t rows, size_t cols, size_t n_tok, int fill) {
    const rt_fmt *f = rt_fmt_of(w->type);
    gguf_tensor t = weights_random(w, rows, cols, rows * 31 + cols + n_tok);
    float *x = floats_random(n_tok * cols, rows + n_tok);
    if (fill >= 0) {
        saturate(&t, w, fill);
        for (size_t i = 0; i < n_tok * cols; i++)
            x[i] = i / cols % 2 ? 1.0f : -1.0f;
    }
    rt_mat_tiles m = rt_tiles_of(w->type, rows, cols);
    size_t n_tiles = (rows + RT_TILE_ROWS - 1) / RT_TILE_ROWS, tile_bytes = rt_tile_bytes(*f, cols);
    uint8_t *packed = guarded(n_tiles * tile_bytes);
    m.data = packed;
    size_t row_bytes = t.nbytes / rows;
    for (size_t i = 0; i < n_tiles; i++)
        rt_tile_pack(w->type, t.data + i * RT_TILE_ROWS * row_bytes, row_bytes, rt_tile_n_rows(&m, i), cols,
                     packed + i * tile_bytes);
    float want[MAX_TOK * LDY], got[MAX_TOK * LDY];
    product(RT_CPU_SCALAR, f, &m, x, n_tok, want);
    EACH_ISA(isa) {
        product(isa, f, &m, x, n_tok, got);
        if (memcmp(got, want, n_tok * LDY * sizeof *got) != 0)
            fail_msg("%s on %s differs for %zu x %zu and %zu tokens", t.type->name, rt_cpu_name(isa), rows, cols, n_tok);
    }
    guarded_free(packed, n_tiles * tile_bytes);
    free(x);
    free((void *)t.data);
}

static void kernels_multiply_alike(void **state) {
    (void)state;
    for (int i = 0; i < N_QUANT_TYPES; i++) {
        size_t step = qtype_get(weight_types[i].type)->block_elems;
        for (size_t rows = 1; rows <= MAX_ROWS; rows += rows < 40 ? 1 : 7)
            check_format(&weight_types[i], rows, step * (1 + rows % 3), 1 + rows % 9, -1);
        for (size_t rows = 15; rows <= MAX_ROWS; rows += 17) /* many tokens: tiles side by side, columns in parts */
            check_format(&weight_types[i], rows, step * (1 + rows % 13), 16 + rows % 18, -1);
        for (size_t n_tok = 1; n_tok <= MAX_TOK; n_tok++)
            check_format(&weight_types[i], 17, step * 3, n_tok, -1);
    }
}

static void kernels_multiply_extremes_alike(void **state) {
    (void)state;
    for (int i = 0; i < N_QUANT_TYPES; i++)
        for (int fill = 0; fill < 256; fill += 15) /* 0x00, 0x0f, 0x1e, ... 0xff; 0x80 on its own: the least byte */
            check_format(&weight_types[i], 16, 256, 18, fill);
    check_format(&weight_types[4], 16, 256, 18, 0x80);
}

static void kernels_multiply_f32_alike(void **state) {
    (void)state;
    enum { COLS = 37, LDX = 41, STRIDE = 35 };
    float *panel = floats_random(COLS * RT_PANEL_ROWS, 1), *x = floats_random(MAX_TOK * LDX, 2);
    float *start = floats_random(MAX_TOK * STRIDE, 3), want[MAX_TOK * STRIDE], got[MAX_TOK * STRIDE];
    for (size_t n_rows = 1; n_rows <= RT_PANEL_ROWS; n_rows++)
        for (size_t n_tok = 1; n_tok <= MAX_TOK; n_tok++)
            EACH_ISA(isa) {
                bool first = (n_rows + n_tok) % 2;
                memcpy(want, start, sizeof want);
                memcpy(got, start, sizeof got);
                rt_kernels_for(RT_CPU_SCALAR)->mat_f32(panel, COLS, x, LDX, n_tok, want, STRIDE, n_rows, first);
                rt_kernels_for(isa)->mat_f32(panel, COLS, x, LDX, n_tok, got, STRIDE, n_rows, first);
                assert_memory_equal(got, want, sizeof want);
            }
    free(panel);
    free(x);
    free(start);
}

/* A product that many tokens' kernel makes of f32 is the same from few tokens' kernels of each type. */
static void kernels_multiply_panels_alike(void **state) {
    (void)state;
    enum { COLS = 37, N = COLS * RT_PANEL_ROWS, LDX = 41, TOK = 9, STRIDE = 35 };
    struct {
        float f32[N];
        uint16_t f16[N], bf16[N];
    } w; /* numbers that all three hold exactly */
    float *panel = floats_random(N, 1), *x = floats_random(TOK * LDX, 2), *start = floats_random(TOK * STRIDE, 3);
    float want[TOK * STRIDE], got[TOK * STRIDE];
    for (size_t i = 0; i < N; i++) {
        w.bf16[i] = bf16_from_fp32(panel[i]);
        w.f32[i] = bf16_to_fp32(w.bf16[i]);
        w.f16[i] = fp16_from_fp32(w.f32[i]);
        if (fp16_to_fp32(w.f16[i]) != w.f32[i]) /* too small for f16 */
            w.f32[i] = w.f16[i] = w.bf16[i] = 0;
    }
    for (size_t n_rows = 1; n_rows <= RT_PANEL_ROWS; n_rows++)
        for (size_t n_tok = 1; n_tok <= TOK; n_tok++) {
            const bool first = (n_rows + n_tok) % 2;
            memcpy(want, start, sizeof want); /* what is beyond the rows stays */
            rt_kernels_for(RT_CPU_SCALAR)->mat_f32(w.f32, COLS, x, LDX, n_tok, want, STRIDE, n_rows, first);
            for (rt_cpu isa = RT_CPU_SCALAR; isa < RT_CPU_COUNT; isa++) {
                const rt_kernels *k = rt_kernels_for(isa);
                if (!k)
                    continue;
                rt_panel *each[] = {k->panel_f32, k->panel_f16, k->panel_bf16};
                const void *of[] = {w.f32, w.f16, w.bf16};
                for (int i = 0; i < 3; i++) {
                    memcpy(got, start, sizeof got);
                    each[i](of[i], COLS, x, LDX, n_tok, got, STRIDE, n_rows, first);
                    assert_memory_equal(got, want, sizeof want);
                }
            }
        }
    free(panel);
    free(x);
    free(start);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_quantise_within_half_a_step),
        cmocka_unit_test(kernels_quantise_alike),
        cmocka_unit_test(kernels_multiply_alike),
        cmocka_unit_test(kernels_multiply_extremes_alike),
        cmocka_unit_test(kernels_multiply_f32_alike),
        cmocka_unit_test(kernels_multiply_panels_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
