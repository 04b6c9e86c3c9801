/* The table of kernels: one file per instruction set and kind (mat_*.c, vec_*.c, attn_*.c, tc_*.c, attn_int_*.c), filled scalar
 * first, each set overriding what it has.
 *
 * The scalar kernels define the answer, bit for bit: every sum runs in a stated order with fused multiply-adds (fmaf), vector
 * lanes run over independent outputs, and integer parts are exact. So a result depends neither on the instruction set, nor on
 * the number of tokens in a batch, nor on the number of threads. tests/test_kernels_*.c hold every variant to that.
 */
#ifndef RT_KERNELS_H
#define RT_KERNELS_H

#include "kernels/exec.h"
#include "quant/trellis.h"

#include <stddef.h>
#include <stdint.h>

enum {
    RT_TILE_ROWS = 16,   /* weight rows in one tile of a packed matrix */
    RT_PANEL_ROWS = 32,  /* weight rows in one panel of the f32 path */
    RT_KBLOCK = 32,      /* activations are quantised in blocks of 32 */
    RT_TOK_GROUP = 16,   /* tokens whose quantised activations lie interleaved */
    RT_MAT_FORMATS = 18, /* packed formats: rows of mat/format.h */
    RT_ATTN_TILE = 64,   /* cached tokens decoded at a time */
    RT_INT_SPAN = 512,   /* tokens that attention in codes takes at once */
    RT_TC_TILE = 16,     /* coordinates in a tile of a transform */
    RT_TC_INPUT = 4095,  /* largest code of what is transformed */
    /* Largest codes: with levels of 8 bits and 512 coordinates or tokens, sums stay within 31 bits and a sign, and a code is
     * 256 times a signed byte and another one. */
    RT_INT_QUERY = 127 * 256,
    RT_INT_WEIGHT = 127 * 256,
};

/* Bytes from a tile of 64 tokens to the next, half a page more than 16 bits a level take: parts of eight tiles that are read
 * side by side would else compete for the same lines of the first cache. Bytes of the codes of one query row. */
static inline size_t rt_int_tile(size_t cdim) {
    return (cdim + 63) / 64 * 64 * 128 + 2048;
}
static inline size_t rt_int_row(size_t cdim) {
    return (cdim + 63) / 64 * 128;
}

/* The transform of a head, to be multiplied with in integers; all borrowed. Sums stay within 32 bits: that of the magnitudes of
 * a coordinate's codes is at most INT32_MAX / RT_TC_INPUT. */
typedef struct rt_tc_matrix {
    size_t dim, cdim;   /* of vectors; of what becomes of them, a multiple of RT_TC_TILE */
    const float *mean;  /* (dim) to take off */
    const float *even;  /* (dim) to multiply with then: makes dimensions equally important */
    const int16_t *a;   /* (cdim / 16, pairs of dimensions, 16, 2); where dim is odd the last pair has a zero */
    const float *scale; /* (cdim) of a coordinate's codes */
} rt_tc_matrix;

static inline size_t rt_tc_pairs(size_t dim) {
    return (dim + 1) / 2;
}

struct rt_mat_tiles; /* mat/format.h: a packed matrix as the kernels see it */
struct rt_act_block; /* mat/format.h: 32 quantised activations of one token */

/* panel (cols, 32) = weights of 32 rows, transposed; x (n_tok, cols) with row stride ldx. y[t*ldy + r] = fma chain over
 * c = 0..cols-1, starting at 0 (first) or continuing from y. Writes the first n_rows rows. */
typedef void rt_panel(const void *panel, size_t cols, const float *x, size_t ldx, size_t n_tok, float *y, size_t ldy,
                      size_t n_rows, bool first);

typedef struct rt_kernels {
    rt_cpu isa;

    /* ---- mat_*.c ---- see mat/format.h for layouts and the order of sums */
    /* Quantise n (multiple of 32) floats of one token: block b goes to out[b * stride]. Scale d = amax/127, codes rounded to
     * nearest even. A block whose amax is below 2^-100: d = 0, q = 0. NaN anywhere in a block: d = NaN, so it stays visible. */
    void (*act_quant)(const float *x, size_t n, struct rt_act_block *out, size_t stride);
    /* int8: y[t*ldy + r] for the rows of n_tiles tiles from `tile` on (r counts from its first) and n_tok tokens from a group
     * boundary of x on. One function per format. */
    void (*mat_i8[RT_MAT_FORMATS])(const struct rt_mat_tiles *m, size_t tile, size_t n_tiles, const struct rt_act_block *x,
                                   size_t n_tok, float *y, size_t ldy);
    rt_panel *mat_f32; /* many tokens */

    /* ---- vec_*.c ---- */
    /* Few tokens, and weights that lie as f32, f16 or bf16: they are widened as they are multiplied. The same bits. */
    rt_panel *panel_f32, *panel_f16, *panel_bf16;
    /* out[i] = x[i] * w[i] / sqrt(mean(x^2) + eps). The sum of squares: 16 partial fma chains (lane = i mod 16), then added
     * pairwise 8+8, 4+4, 2+2, 1+1. out may be x. */
    void (*rms_norm)(const float *x, const float *w, size_t n, float eps, float *out);
    void (*add)(float *x, const float *y, size_t n);                       /* x += y */
    void (*blend)(float *x, float fx, const float *y, float fy, size_t n); /* x = fma(y, fy, x * fx) */
    void (*silu_mul)(float *gate, const float *up, size_t n);              /* gate = gate / (1 + exp(-gate)) * up */
    void (*gelu_mul)(float *gate, const float *up, size_t n);              /* gate = gelu_tanh(gate) * up */
    /* Rotate head vectors in place: x (n_head, head_dim); cos, sin: (n_rot/2) of this position. neox: pairs (i, i + n_rot/2),
     * else adjacent pairs (2i, 2i+1). Dimensions from n_rot on are left alone. */
    void (*rope)(float *x, size_t n_head, size_t head_dim, size_t n_rot, const float *cos, const float *sin, bool neox);
    /* x = exp(x - max), returns the sum. Polynomial exp (rel. error < 2e-7), the same in every instruction set; exp(-inf) = 0.
     * The sum: 16 partial sums as in rms_norm. n arbitrary. */
    float (*exp_sum)(float *x, size_t n, float max);
    float (*max)(const float *x, size_t n);
    float (*dot)(const float *x, const float *y, size_t n); /* 16 partial fma chains as in rms_norm */

    /* ---- attn_*.c ---- */
    /* s[i*lds + t] = fma chain over c of q[i*dim + c] * kt[c*64 + t]; kt (dim, 64) = decoded keys of a tile, transposed. */
    void (*attn_scores)(const float *q, size_t n_q, size_t dim, const float *kt, float *s, size_t lds);
    /* o[i*dim + c] = fma chain over t = 0..n-1, continuing from o, of p[i*ldp + t] * v[t*dim + c]; v (n, dim). Any dim. */
    void (*attn_values)(const float *p, size_t ldp, size_t n_q, size_t n, const float *v, size_t dim, float *o);
    /* Half precision as in fp16.h; any n. */
    void (*f16_load)(const uint16_t *src, size_t n, float *dst);
    void (*f16_store)(const float *src, size_t n, uint16_t *dst);
    /* Codes times scales. cols: rows of 64 codes, code t times d[t] (keys; 4 bits: byte j holds t = j and j + 32).
     * runs: runs of 32 codes, run i times d[i] (values; 4 bits: byte j holds elements j and j + 16, minus 8). */
    void (*q8_cols)(const int8_t *q, const float *d, size_t rows, float *out);
    void (*q8_runs)(const int8_t *q, const float *d, size_t runs, float *out);
    void (*q4_cols)(const uint8_t *q, const float *d, size_t rows, float *out);
    void (*q4_runs)(const uint8_t *q, const float *d, size_t runs, float *out);

    /* ---- tc_*.c: the transform codec, libfmt/quant/trellis.h ---- */
    /* x (n, dim) -> z (n, cdim). Of each token w = (x - mean) * even is rounded to codes q = rint(w * (RT_TC_INPUT / most)),
     * most the greatest |w|, or to 0 where that is below 2^-100; z = (float)(sum of q * a) * (scale * (most / RT_TC_INPUT)). */
    void (*tc_project)(const rt_tc_matrix *m, const float *x, size_t n, float *z);
    /* trellis_trials of n vectors z (n, ldz) of coded dimensions; inv_sigma and z, then 0, can be read up to a multiple of 16.
     */
    void (*tc_trials)(const float *z, size_t ldz, size_t n, const float *inv_sigma, size_t coded, float *trial);
    trellis_search_fn *tc_search;
    /* levels (b->n, 64) of each of n blocks, ld apart; planes of each: bits[i] words of 64 tokens per dimension, lowest bit
     * first, and 64 bytes behind them that may be read. */
    void (*tc_levels)(const trellis_book *b, const uint64_t *const *planes, size_t n, int8_t *levels, size_t ld);
    void (*tc_gains)(const uint8_t *code, float *gain); /* trellis_gain of 64 tokens */

    /* ---- attn_int_*.c: attention of tokens whose coordinates are a gain times int8 levels ----
     * Queries and weights are rounded to 16 bits and products are summed in integers, exactly, so that their order does not
     * matter. Up to RT_INT_SPAN tokens at a time, in tiles of 64 that start at multiples of 64; cdim coordinates, a multiple
     * of 16. How tiles, codes of queries and weights lie in memory is the instruction set's own business; sizes below.
     *
     * levels (cdim, 64) of 64 tokens -> a tile, rt_int_tile(cdim) bytes, for int_scores or for int_values. NULL: tiles are
     * the levels as they come. */
    void (*int_keys)(const int8_t *levels, size_t cdim, void *tile);
    void (*int_vals)(const int8_t *levels, size_t cdim, void *tile);
    /* w (cdim) -> codes c[i] = rint(w[i] * (RT_INT_QUERY / amax)), rt_int_row(cdim) bytes. Returns the scale
     * amax / RT_INT_QUERY; amax < 2^-100: all 0, scale 0; NaN or Inf anywhere: scale NaN. */
    float (*int_query)(const float *w, size_t cdim, void *code);
    /* s[r * RT_INT_SPAN + t] = fma((float)(sum of c * level), scale[r] * gain[t], bias[r]) for n_tile tiles, one after the
     * other; codes of n_q rows lie rt_int_row(cdim) bytes apart. */
    void (*int_scores)(const void *code, size_t n_q, size_t cdim, const void *tiles, size_t n_tile, const float *scale,
                       const float *bias, const float *gain, float *s);
    /* One row of scores, in bits: e[t] = 2^(s[t] - top) for from <= t < to (from < to <= RT_INT_SPAN), else 0; weights
     * p[t] = rint(e[t] * gain[t]), which must be at most RT_INT_WEIGHT; p: 2 * RT_INT_SPAN bytes, written for the tiles that
     * from .. to-1 touch; the other scores of these become -INFINITY. Returns the sum of e (16 partial sums as in rms_norm),
     * *top their greatest score. 2^x by a polynomial, rel. error < 3e-6, and 0 below 2^-100. */
    float (*int_weights)(float *s, size_t from, size_t to, const float *gain, void *p, float *top);
    /* o[r * cdim + i] = scale[r] * (float)(sum of p * level) over tiles first .. last-1, p of n_q rows 2 * RT_INT_SPAN bytes
     * apart. */
    void (*int_values)(const void *p, size_t n_q, size_t cdim, const void *tiles, size_t first, size_t last, const float *scale,
                       float *o);
} rt_kernels;

/* Each fills or overrides its rows; the table of an instruction set begins with those of the ones below. */
void rt_mat_scalar(rt_kernels *k);
void rt_mat_avx2(rt_kernels *k);
void rt_mat_avxvnni(rt_kernels *k);
void rt_mat_avx512(rt_kernels *k);
void rt_mat_avx512vnni(rt_kernels *k);
void rt_mat_amx(rt_kernels *k);
void rt_mat_neon(rt_kernels *k);
void rt_mat_neon_dot(rt_kernels *k); /* instead, where the processor has dot products; rt_mat_neon asks */
void rt_vec_scalar(rt_kernels *k);
void rt_vec_avx2(rt_kernels *k);
void rt_vec_avx512(rt_kernels *k);
void rt_vec_neon(rt_kernels *k);
void rt_attn_scalar(rt_kernels *k);
void rt_attn_avx2(rt_kernels *k);
void rt_attn_avx512(rt_kernels *k);
void rt_attn_neon(rt_kernels *k);
void rt_tc_scalar(rt_kernels *k);
void rt_tc_avx2(rt_kernels *k); /* on processors with NEON, too, for rt_tc_neon */
void rt_tc_neon(rt_kernels *k);
void rt_tc_avxvnni(rt_kernels *k);
void rt_tc_avx512(rt_kernels *k);
void rt_tc_avx512vnni(rt_kernels *k); /* where there are VBMI and GFNI, too */
void rt_attn_int_scalar(rt_kernels *k);
void rt_attn_int_avx2(rt_kernels *k);
void rt_attn_int_neon(rt_kernels *k);
void rt_attn_int_neon_dot(rt_kernels *k); /* instead, where the processor has dot products; rt_attn_int_neon asks */
void rt_attn_int_avxvnni(rt_kernels *k);
void rt_attn_int_avx512vnni(rt_kernels *k);
void rt_attn_int_amx(rt_kernels *k);

/* The table of an instruction set; built once (thread-safe), lives forever. NULL where the machine cannot run it. */
const rt_kernels *rt_kernels_for(rt_cpu isa);
/* Whether there are kernels of this instruction set in the program, whatever the machine can run. */
bool rt_kernels_built(rt_cpu isa);

#endif
