/* Packing: rows of quantised weights, as files have them, into tiles, as kernels read them. kernels/mat/format.h says what a
 * tile looks like. Nothing is lost: a tile holds the same codes and scales, in another order. Nothing allocates; thread-safe.
 */
#ifndef RT_MAT_PACK_H
#define RT_MAT_PACK_H

#include "gguf/qtype.h"
#include "kernels/mat/format.h"

/* The format that weights of a type are packed to; NULL where the type is not packed. */
const rt_fmt *rt_fmt_of(qtype type);
/* The most that a tile of any format takes. */
size_t rt_tile_most_bytes(size_t cols);
/* Bytes of one tile of a matrix with `cols` columns, a multiple of rt_fmt_block_cols(f). A multiple of 64. */
size_t rt_tile_bytes(rt_fmt f, size_t cols);
/* A matrix of such weights that is not packed yet: all but `data` is filled in. */
rt_mat_tiles rt_tiles_of(qtype type, size_t rows, size_t cols);
/* Fill one tile.
 *   rows    n_rows rows of `cols` weights that start row_bytes apart, 1 <= n_rows <= RT_TILE_ROWS; borrowed
 *   out     rt_tile_bytes(f, cols) bytes, all of which are written: rows past n_rows become zeros */
void rt_tile_pack(qtype type, const uint8_t *rows, size_t row_bytes, size_t n_rows, size_t cols, uint8_t *out);

#endif
