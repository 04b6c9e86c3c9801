/* Blocks of codec tc in fewer bytes, for files that are packed.
 *
 * Beside nothing but themselves, the codes of a trellis look like noise; beside what came before, they do not. A coefficient is
 * guessed from three: that of the token before, a mean of the last few, and the mean of what tokens of the same kind had, which
 * in the first layers says nearly all. How much each counts follows from how well it did, by least mean squares (Widrow & Hoff
 * 1960), dimension by dimension. The guess in units of the token's gain, in PACK_STEPS steps, is with the state of the trellis
 * the context of the code, whose bits are coded one by one, the path bit first (context/entropy.h). Gains are guessed alike,
 * and what is coded is by how much the guess was off.
 *
 * Guesses are made of what was decoded, in integers of 16 bits, so that both sides make the same everywhere. Numbers of
 * coefficients are eighths of a level under a gain of 1.
 */
#ifndef RT_CODEC_TC_PACK_H
#define RT_CODEC_TC_PACK_H

#include "codec/codec.h"

/* How blocks are made of codes. */
typedef struct tc_layout {
    size_t n;             /* coded dimensions */
    const uint8_t *bits;  /* (n), never rising */
    const int8_t *levels; /* (TRELLIS_LEVELS) */
    size_t words;         /* of planes per block, before the gains */
} tc_layout;

/* As kv_codec.pack and unpack. */
size_t tc_pack(const tc_layout *l, const kv_kinds *kinds, const uint8_t *const *blocks, uint32_t n, uint8_t *out, size_t most);
kv_status tc_unpack(const tc_layout *l, const kv_kinds *kinds, const uint8_t *in, size_t bytes, uint8_t *blocks, uint32_t n,
                    kv_err *err);

#endif
