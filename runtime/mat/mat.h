/* Weight matrices and their products with batches of activations: y = W x.
 *
 * At load, a quantised matrix is repacked losslessly into tiles of 16 rows whose lanes are rows ("wide tiles"), so that one
 * int8 dot-product instruction serves 16 rows and no horizontal sum is ever needed. Codes keep their bits and scales their
 * values: weights are never requantised. F32, F16 and BF16 matrices are transposed in panels of 32 rows and
 * multiplied in f32.
 */
#ifndef RT_MAT_H
#define RT_MAT_H

#include "gguf/gguf.h"
#include "kernels/exec.h"
#include "machine/memory.h"

#include <stddef.h>
#include <stdint.h>

typedef struct rt_mat rt_mat;

/* Prepare a 2-D tensor (dims[0] = cols, dims[1] = rows). Any type of qtype.h, any number of rows; cols a multiple of the type's
 * block. The tensor's mapping is borrowed for the life of the matrix. Packs with all of e's threads, unless e->in_place, into
 * memory from the arena, which must live as long. */
kv_status mat_new(const gguf_tensor *t, const rt_exec *e, rt_arena *arena, rt_mat **out, kv_err *err);
void mat_free(rt_mat *m);
size_t mat_rows(const rt_mat *m);
size_t mat_cols(const rt_mat *m);
size_t mat_bytes(const rt_mat *m); /* bytes read by one product: for bandwidth figures */
bool mat_is_copy(const rt_mat *m); /* products read memory of its own; else the tensor where it lies */
bool mat_is_int8(const rt_mat *m); /* multiplied with quantised activations; else in f32 */

/* A batch of activations, quantised once for all matrices that read it. */
typedef struct rt_act rt_act;
/* Its products must run with e's number of threads at most. */
kv_status act_new(size_t max_tok, size_t max_cols, const rt_exec *e, rt_act **out, kv_err *err);
void act_free(rt_act *a);
size_t act_bytes(const rt_act *a);
/* Take x (n_tok, cols), row-major, borrowed until the last product. Quantises to int8 unless e->exact. */
void act_set(rt_act *a, const rt_exec *e, const float *x, size_t n_tok, size_t cols);

/* y (n_tok, rows), row stride ldy >= rows. Splits rows over threads. a must hold cols columns. */
void mat_mul(const rt_mat *m, const rt_exec *e, const rt_act *a, float *y, size_t ldy);
/* n products of the same activations: threads go from one to the next without waiting for each other. */
typedef struct mat_out {
    const rt_mat *m;
    float *y;
    size_t ldy;
} mat_out;
void mat_mul_each(const mat_out *outs, size_t n, const rt_exec *e, const rt_act *a);
/* The other way round, for gradients: y (n_tok, cols) = x W, or y += x W with `add`; x (n_tok, rows). In f32 on dequantised
 * weights, whatever e->exact says. Every sum is one fma chain over the rows of W in order. scratch: mat_t_floats(m, n_tok)
 * floats, aligned to 64 bytes. */
size_t mat_t_floats(const rt_mat *m, size_t n_tok);
void mat_mul_t(const rt_mat *m, const rt_exec *e, const float *x, size_t n_tok, float *y, bool add, float *scratch);
/* Row r dequantised to cols floats: token embeddings. */
void mat_row(const rt_mat *m, size_t r, float *out);

#endif
