/* The table of kernels: one file per instruction set and room (mat_*.c, vec_*.c, attn_*.c), filled scalar first, each set
 * overriding what it has.
 *
 * The scalar kernels define the answer, bit for bit: every sum runs in a stated order with fused multiply-adds (fmaf), vector
 * lanes run over independent outputs, and integer parts are exact. So a result depends neither on the instruction set, nor on
 * the number of tokens in a batch, nor on the number of threads. tests/test_kernels.c holds every variant to that.
 */
#ifndef RT_KERNELS_H
#define RT_KERNELS_H

#include "../exec.h"

#include <stddef.h>
#include <stdint.h>

enum {
    RT_TILE_ROWS = 16, /* weight rows in one tile of a packed matrix */
    RT_KBLOCK = 32,    /* activations are quantised in blocks of 32 */
    RT_ATTN_TILE = 64, /* cached tokens decoded at a time */
};

struct rt_mat_tiles; /* mat_internal.h: a packed matrix as the kernels see it */

typedef struct rt_kernels {
    rt_cpu level;

    /* ---- mat_*.c ---- see mat_internal.h for layouts and the order of sums */
    /* Quantise one token's activations: n (multiple of 32) floats -> int8 q[n], scale d[n/32] (f32, amax/127), sum[n/32] (int
     * sum of the block's q). Round to nearest even. A block of zeros: d = 0, q = 0. */
    void (*act_quant)(const float *x, size_t n, int8_t *q, float *d, int32_t *sum);
    /* int8: y[t*ldy + r] for one tile of 16 rows and n_tok tokens. One function per packed format, indexed by it. */
    void (*mat_i8[8])(const struct rt_mat_tiles *m, size_t tile, const int8_t *q, const float *d, const int32_t *sum,
                      size_t n_tok, float *y, size_t ldy);
    /* f32: panel (cols, 16) column-major tile of dequantised weights, x (n_tok, cols) row-major;
     * y[t*ldy + r] = fma chain over c = 0..cols-1, starting at 0. n_rows <= 16 of the panel are written. */
    void (*mat_f32)(const float *panel, size_t cols, const float *x, size_t n_tok, float *y, size_t ldy, size_t n_rows);

    /* ---- vec_*.c ---- */
    /* out[i] = x[i] * w[i] / sqrt(mean(x^2) + eps). The sum of squares: 16 partial fma chains (lane = i mod 16), then added
     * pairwise 8+8, 4+4, 2+2, 1+1. out may be x. */
    void (*rms_norm)(const float *x, const float *w, size_t n, float eps, float *out);
    void (*add)(float *x, const float *y, size_t n);          /* x += y */
    void (*silu_mul)(float *gate, const float *up, size_t n); /* gate = gate / (1 + exp(-gate)) * up */
    void (*gelu_mul)(float *gate, const float *up, size_t n); /* gate = gelu_tanh(gate) * up */
    /* Rotate head vectors in place: x (n_head, head_dim); cos, sin: (n_rot/2) of this position. neox: pairs (i, i + n_rot/2),
     * else adjacent pairs (2i, 2i+1). Dimensions from n_rot on are left alone. */
    void (*rope)(float *x, size_t n_head, size_t head_dim, size_t n_rot, const float *cos, const float *sin, bool neox);
    /* x = exp(x - max), returns the sum. Polynomial exp (rel. error < 2e-7), the same in every instruction set; exp(-inf) = 0.
     * The sum: 16 partial sums as in rms_norm. n arbitrary. */
    float (*exp_sum)(float *x, size_t n, float max);
    float (*max)(const float *x, size_t n);

    /* ---- attn_*.c ---- */
    /* s[i*lds + t] = fma chain over c of q[i*dim + c] * kt[c*64 + t]; kt (dim, 64) = decoded keys of a tile, transposed. */
    void (*attn_scores)(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds);
    /* o[i*dim + c] = fma chain over t = 0..n-1, continuing from o, of p[i*ldp + t] * v[t*dim + c]; v (n, dim). */
    void (*attn_values)(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o);
} rt_kernels;

/* Each fills or overrides its rows; the table for a level calls those of all lower levels first. */
void rt_mat_scalar(rt_kernels *k);
void rt_mat_avx2(rt_kernels *k);
void rt_mat_avx512(rt_kernels *k);
void rt_vec_scalar(rt_kernels *k);
void rt_vec_avx2(rt_kernels *k);
void rt_vec_avx512(rt_kernels *k);
void rt_attn_scalar(rt_kernels *k);
void rt_attn_avx2(rt_kernels *k);
void rt_attn_avx512(rt_kernels *k);

/* The table of a level; built once (thread-safe), lives forever. NULL where the machine cannot run the level. */
const rt_kernels *rt_kernels_for(rt_cpu level);

#endif
