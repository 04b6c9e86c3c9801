/* Codecs of the cache: one row of functions each, indexed by kv_codec_id.
 *
 * A coder is one codec set up for one stream (the K or the V of one KV head). It encodes tokens into blocks of KV_BLOCK slots
 * and decodes a block into an f32 tile in the coder's own space: `cdim` coordinates per token, in which
 *     score = query(q) . tile column + bias          (K: tile is (cdim, 64), tokens along streams)
 *     value = output(sum over tokens of p * tile row) (V: tile is (64, cdim), coordinates along streams)
 * so attention never reconstructs a token in model space: it projects one query and reconstructs one sum instead. Codecs whose
 * own space is the model's leave query and output NULL (and cdim = dim).
 *
 * Blocks start as zero bytes; slots are written in rising order, and slots beyond the last one written are zero, so that
 * equal tokens give equal bytes. A block has no pointers and no alignment beyond 8 bytes.
 * docs/cache.md tells how to add a row.
 */
#ifndef RT_CODEC_H
#define RT_CODEC_H

#include "kernels/kernels.h"
#include "profile/codec_id.h"
#include "profile/profile.h"

enum { KV_BLOCK = 64 }; /* Slots of a block: the unit in which the cache stores encoded tokens. */

typedef enum kv_side { KV_SIDE_K, KV_SIDE_V } kv_side;

enum { KV_LEVEL_BLOCKS = 2 }; /* So many blocks fit into a first-level cache beside what is made of them. */

/* How the slots of a block lie in a piece of it. */
typedef enum kv_part_kind {
    KV_PART_PLANES, /* `count` words, bit t for slot t */
    KV_PART_COLS,   /* (count, 64) elements of `size` bytes */
    KV_PART_HALVES, /* (count, 32) bytes: slot t in the low half of byte t, or in the high half of byte t - 32 */
    KV_PART_ROWS,   /* (64, count) elements of `size` bytes */
    KV_PART_GROUPS, /* (64 / KV_PART_GROUP, count) elements of `size` bytes, shared by so many slots */
} kv_part_kind;

typedef struct kv_part {
    kv_part_kind kind; /* It says how slots lie in the part. */
    uint32_t count;    /* There are so many words, columns or elements, as the kind says. */
    uint32_t size;     /* An element takes so many bytes; planes and halves have a size of their own. */
} kv_part;

enum { KV_MAX_PARTS = 4, KV_PART_GROUP = 32 };

typedef struct kv_coder {
    const struct kv_codec *ops;  /* The codec, a row of the table; borrowed. */
    kv_side side;                /* The stream is keys or values. */
    uint32_t dim;                /* A vector of the model has so many coordinates: head_dim. */
    uint32_t cdim;               /* A decoded tile has so many coordinates, at most KV_MAX_CDIM. */
    uint32_t group;              /* So many tokens, at aligned positions, are encoded together: a power of two <= KV_BLOCK. */
    size_t block_bytes;          /* A block is its parts, one after the other: a multiple of 8. */
    kv_part parts[KV_MAX_PARTS]; /* The parts are in the order in which they lie in the block. */
    uint32_t n_parts;            /* So many of the parts are in use. */
    size_t scratch;              /* encode needs so many bytes of scratch memory. */
    double bits;                 /* An element takes so many true bits, metadata included. */
    void *state;                 /* The codec's own, freed by its free; NULL where it needs none. */
} kv_coder;

enum { KV_MAX_CDIM = 2 * PROF_MAX_DIM };

/* Which slots may be expected to look alike, because their tokens are the same. */
typedef struct kv_kinds {
    const uint32_t *of; /* (len) < n; borrowed */
    uint32_t len;       /* Slots from there on are of kind 0. */
    uint32_t n;         /* There are so many kinds, at least one. */
} kv_kinds;

typedef struct kv_codec {
    bool framed; /* Keys come in RoPE frames where the cache has them. */
    bool exact;  /* The codec is as good as f16: tokens are stored at once, window and sinks mean nothing. */
    /* Fill scratch, bits and state, also cdim and group where not dim and 1, and lay out the block (kv_coder_part); ops, side
     * and dim are set. KV_EINVAL, KV_ERANGE, KV_ENOMEM. On failure state is as free expects it. */
    kv_status (*init)(kv_coder *c, const prof_tc *tc, kv_err *err);
    /* Free the state; NULL where there is none. */
    void (*free)(kv_coder *c);
    /* n tokens x (n, dim) into slots slot .. slot+n-1. Whole groups: slot and n are multiples of group, except that the
     * first group of all may lack tokens at its start, which are sinks and come to no codec. Finite values only. */
    void (*encode)(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                   void *scratch);
    /* The tile of the first n slots: in `tile` (64 * cdim floats), or inside the block where it is stored so. K: columns from
     * n on hold anything finite; V: only n rows are there. */
    const float *(*decode)(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile);
    /* For codecs whose tiles are a gain per token times int8 levels, else NULL: of n <= KV_LEVEL_BLOCKS whole blocks,
     * levels (cdim, 64) of each, ld apart, and gains (n, 64). Attention then works on these, in integers. */
    void (*levels)(const kv_coder *c, const rt_kernels *k, const uint8_t *const *blocks, uint32_t n, int8_t *levels, size_t ld,
                   float *gain);
    /* q (n, dim) -> qc (n, cdim), bias (n). */
    void (*query)(const kv_coder *c, const rt_kernels *k, const float *q, uint32_t n, float *qc, float *bias);
    /* out (n, dim) += values of oc (n, cdim), whose weights sum to weight (n). */
    void (*output)(const kv_coder *c, const rt_kernels *k, const float *oc, const float *weight, uint32_t n, float *out);
    /* n blocks in fewer bytes, for keeping; NULL where the codec knows no better than what packs any bytes. Returns how many of
     * `most` at out it took; 0: they do not suffice, or there is no memory for it. */
    size_t (*pack)(const kv_coder *c, const kv_kinds *kinds, const uint8_t *const *blocks, uint32_t n, uint8_t *out,
                   size_t most);
    /* The same n blocks again, one after the other, 8-byte aligned, under the same kinds. Any bytes may come: KV_EFORMAT, what
     * blocks hold is then undefined; KV_ENOMEM. */
    kv_status (*unpack)(const kv_coder *c, const kv_kinds *kinds, const uint8_t *in, size_t bytes, uint8_t *blocks, uint32_t n,
                        kv_err *err);
} kv_codec;

#define KV_CODEC_DECLARE_(id, name, ...) extern const kv_codec kv_codec_##name;
KV_CODEC_LIST(KV_CODEC_DECLARE_)
#undef KV_CODEC_DECLARE_

const kv_codec *kv_codec_get(kv_codec_id id); /* NULL: no such row */

/* Set up a coder; free with kv_coder_free (also after a failure; a zeroed coder is fine). tc: borrowed, or NULL. */
kv_status kv_coder_init(kv_coder *c, const kv_codec *codec, kv_side side, uint32_t dim, const prof_tc *tc, kv_err *err);
void kv_coder_free(kv_coder *c);
/* Whether a codec that needs no profile can store keys and values of heads of this width. KV_ENOMEM. */
kv_status kv_codec_suits(const kv_codec *codec, uint32_t dim, bool *suits, kv_err *err);

/* ---- codec_parts.c ---- */

/* For init: the next part of the block. */
void kv_coder_part(kv_coder *c, kv_part_kind kind, size_t count, size_t size);
/* Zero the slots from `slot` on, a multiple of group. */
void kv_coder_clear(const kv_coder *c, uint8_t *block, uint32_t slot);
/* Whether single tokens can be taken out of a block: those of groups cannot. */
bool kv_coder_gathers(const kv_coder *c);
/* Copy the slots of src that `keep` names, in their order, to slots from `to` on of dst, which are zero and suffice: codes as
 * they are, nothing is decoded. */
void kv_coder_gather(const kv_coder *c, uint8_t *dst, uint32_t to, const uint8_t *src, uint64_t keep);
/* The same to slot `to` of the blocks dst on, which may be those of two; returns the slot behind them. */
uint32_t kv_coder_append(const kv_coder *c, uint8_t *dst, uint32_t to, const uint8_t *src, uint64_t keep);

#endif
