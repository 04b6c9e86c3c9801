/* The binary part of a profile: matrices and codebooks of the calibrated heads, and queries, as one zstd frame; and base64 for
 * it.
 *
 * Inside the frame, little endian, after a header of 16 bytes ("KVTC", version, dim, heads as u32). Heads are those with codec
 * tc: layer after layer, K before V. One array per kind of number, over all heads; numbers of 2 and 4 bytes are split into
 * planes (all lowest bytes first), which compresses better.
 *     bits    u8   (heads, dim)
 *     mean    f32  (heads, dim)            4 planes
 *     exp     i8   (heads, dim)            a row of the basis is its integers times 2^exp
 *     basis   i16  (heads, dim, dim)       2 planes
 *     sigma   f16  (heads, dim)            2 planes
 *     step    f16  (heads, 7)              2 planes
 *     levels  i8   (heads, TRELLIS_LEVELS)
 * Version 2 ends here, and is what is written where no layer has queries. Version 3 goes on, for the layers that have any,
 * layer after layer, KV head after KV head: asked   u8   (n_layer)                          1 where the layer has queries scale
 * bf16 (n_asked, n_kv_head, 16)           2 planes query   i8   (n_asked, n_kv_head, 16, dim)      times its scale
 */
#ifndef KV_BLOB_H
#define KV_BLOB_H

#include "profile/profile.h"

#include <stdbool.h>

/* *frame: caller frees with free(). KV_ERANGE where numbers are not as prof_round leaves them. p must pass prof_check. */
kv_status prof_blob_encode(const prof *p, uint8_t **frame, size_t *len, kv_err *err);

/* Fill the heads of p's layers with codec KV_TC (shape and codecs are set, heads NULL), and queries. Sizes are checked against
 * the shape before anything is allocated. KV_EFORMAT. On failure prof_free(p) cleans up. Numbers are not judged: prof_check
 * does that. */
kv_status prof_blob_decode(prof *p, const uint8_t *frame, size_t len, const char *where, kv_err *err);

/* Bytes of the first of several frames, of so many bytes together; all of them where it is damaged. NULL: 0. */
size_t prof_blob_frame(const uint8_t *frames, size_t len);

/* Lines of 76 characters, each ended by a newline. *text: caller frees with free(); NULL when out of memory. */
char *prof_base64_encode(const uint8_t *bytes, size_t n, size_t *text_len);
/* out: len / 4 * 3 + 3 bytes. Spaces and newlines are skipped; false for anything that is not exactly base64. */
bool prof_base64_decode(const char *text, size_t len, uint8_t *out, size_t *n);

#endif
