/* Inside of kv_cache_shift: shift.c (what goes, and where the rest moves) and turn.c (rotations of keys). */
#ifndef RT_SHIFT_H
#define RT_SHIFT_H

#include "cache/state.h"

/* Working memory of one thread. */
typedef struct kv_space {
    const kv_cache *c;
    const rt_kernels *k;
    uint8_t *blocks;              /* of a stream */
    float *tile, *x;              /* (cdim, KV_BLOCK), (KV_BLOCK, dim) */
    float *unit, *image, *offset; /* (dim, dim), (dim, cdim), (dim) */
    float *cosine, *sine;         /* (n_rot/2) */
    uint16_t *copies;             /* of a stream's part of the ring */
    void *scratch;                /* of coders */
} kv_space;
size_t kv_space_bytes(const kv_cache *c);
kv_space kv_space_at(const kv_cache *c, const rt_kernels *k, uint8_t *at);

/* Keys in slots from .. end-1 of s->blocks, which are not framed, are rotated back by n positions; values stay as they are. */
void kv_turn_back(const kv_space *s, const kv_layer *l, const kv_stream *stream, uint32_t n, uint32_t from, uint32_t end);
/* f16 copies from token t on move to where they belong n positions before, rotated back by as many. */
void kv_shift_ring(const kv_space *s, kv_layer *l, const kv_stream *stream, uint32_t t, uint32_t n);

#endif
