/* What the codecs that rotate first have in common. A rotation y = R x spreads every vector's energy over all coordinates, so
 * that one quantiser fits them all. q . x = (R q) . (R x): keys stay rotated and the query is rotated instead; a sum of values
 * is rotated back once.
 *
 * R = H S / sqrt(span): S random signs (or none), H the Hadamard matrix of Sylvester, on runs of `span` coordinates. It costs
 * dim log2(span) additions and stands for the random rotation of TurboQuant and PolarQuant (Ailon & Chazelle 2009 on why it
 * may).
 */
#ifndef RT_CODEC_ROTATE_H
#define RT_CODEC_ROTATE_H

#include "codec/codec.h"

#include <string.h>

/* The state of a coder with such a rotation starts with it: the functions below rely on that. */
typedef struct kv_rotation {
    uint32_t dim, span;       /* span: a power of two that divides dim */
    float sign[PROF_MAX_DIM]; /* 1 or -1, times 1 / sqrt(span) */
} kv_rotation;

enum { KV_ROTATION_PLAIN = 0, KV_ROTATION_SEED = 1 }; /* no random signs; the signs of every codec that has them */

/* Allocate c->state of `size` bytes, zeroed, with its rotation. span 0: all of head_dim, which must be a power of two from 32
 * on, else KV_EINVAL. KV_ENOMEM. */
kv_status kv_rotation_new(kv_coder *c, size_t size, uint32_t span, uint64_t seed, const char *codec, kv_err *err);
void kv_rotation_free(kv_coder *c);

/* y (n, dim) = R x (n, dim), which may be y; and back. */
void kv_rotate(const kv_rotation *r, const float *x, uint32_t n, float *y);
void kv_rotate_back(const kv_rotation *r, const float *x, uint32_t n, float *y);

/* kv_codec.query and .output for cdim = dim. */
void kv_rotated_query(const kv_coder *c, const rt_kernels *k, const float *q, uint32_t n, float *qc, float *bias);
void kv_rotated_output(const kv_coder *c, const rt_kernels *k, const float *oc, const float *weight, uint32_t n, float *out);

/* Coordinate i of all slots into the tile. */
static inline void kv_tile_put(const kv_coder *c, float *tile, uint32_t i, const float *row, uint32_t n) {
    if (c->side == KV_SIDE_K)
        memcpy(tile + (size_t)i * KV_BLOCK, row, KV_BLOCK * sizeof *row);
    else
        for (uint32_t t = 0; t < n; t++)
            tile[(size_t)t * c->cdim + i] = row[t];
}

#endif
