/* Inside of the cache, shared by cache.c (what is stored where), cache_put.c (storing) and attention.c (reading).
 *
 * A lane is the K or the V of one KV head: lane 2h and lane 2h + 1 of head h. A layer keeps its tokens in blocks of KV_BLOCK
 * slots aligned to absolute positions; a block of a layer holds one coder block per lane, one after the other.
 *   body     encoded tokens; block b at b mod body_cap (all of them, unless the model's sliding window lets go of old ones)
 *   ring     f16 copies of tokens that are not yet encoded (window, incomplete groups), for lanes whose codec is lossy; block b
 *            at b mod ring_cap. It outlives the call, so it is kept as small as the window allows.
 *   passing  the same layout for the tokens of one call, when they are more than the ring can take: one buffer for all layers
 *   sinks    f16 rows (sinks, dim) of lossy lanes
 * When len tokens are held, those below kv_encoded(layer, len) are encoded and those from there on are in the ring.
 */
#ifndef RT_CACHE_INTERNAL_H
#define RT_CACHE_INTERNAL_H

#include "cache.h"
#include "codec.h"

enum {
    KV_RANGE = 512, /* tokens per partial softmax; the same whatever the batch and the threads */
    KV_ROWS = 256,  /* most query rows (tokens x heads of a group) that share a decoded tile */
};

static inline uint32_t max_u32(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static inline uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

typedef struct kv_lane {
    kv_coder coder;
    size_t body_off; /* of its coder block in a block of the body */
    size_t full_off; /* the same in ring and passing; lossy lanes only */
    size_t sink_off; /* of its sink rows, in elements */
    bool framed;     /* keys that are stored in RoPE frames */
} kv_lane;

typedef struct kv_layer {
    kv_lane *lanes;                /* (2 * n_kv_head) */
    uint32_t swa;                  /* 0: full attention */
    const float *turns;            /* (frames, 2, n_rot/2) of framed lanes: cos and sin of minus the angle of a frame */
    uint32_t window, sinks, group; /* all lanes exact: 0, 0, 1 */
    uint8_t *body, *ring;
    uint16_t *sink;
    uint32_t body_cap, ring_cap; /* blocks */
    size_t body_row, ring_row;   /* bytes of a block of all lanes */
    size_t sink_elems;
    uint32_t end;     /* tokens stored; ahead of the cache's len between kv_attend and kv_cache_commit */
    uint32_t body_lo; /* first block that is still whole */
    uint32_t ring_lo;
} kv_layer;

/* Working memory of one thread. */
typedef struct kv_scratch {
    float *tile;           /* decoded keys (cdim, 64), then, in their place, values (64, cdim): both stay in L1 */
    float *x;              /* (64, dim) tokens to encode */
    float *q, *qf, *qc;    /* (rows, dim) scaled queries; turned for a frame; (rows, cdim) in coded space */
    float *bias, *no_bias; /* (rows) */
    float *s;              /* (rows, 64) */
    float *total, *part;   /* running softmaxes, kv_acc_floats each */
    void *work;            /* of the coders */
    /* Attention in codes, a range at a time (attention_codes.c) */
    uint8_t *ktile, *vtile;       /* of all its blocks */
    int8_t *levels;               /* of KV_LEVEL_BLOCKS blocks */
    float *kgain, *vgain, *wgain; /* (KV_RANGE) gains of keys and values; of values, scaled for an interval */
    uint8_t *code, *p;            /* (code_slots, rows) codes of queries, by frame; (16) of weights */
    float *cscale, *cbias;        /* (code_slots, rows) */
} kv_scratch;

struct kv_cache {
    uint32_t n_layer, n_head, n_kv_head, dim, n_ctx, n_batch, len;
    uint32_t cdim; /* most coordinates of any coder's tile */
    float limit;   /* greatest magnitude that can be stored */
    uint32_t frame;
    kv_rope rope;
    float *turns; /* (2, frames, 2, n_rot/2): full layers, sliding layers */
    kv_layer *layers;
    kv_lane *lanes;  /* of all layers */
    kv_coder f16[2]; /* of ring and passing, by side */
    uint8_t *passing;
    size_t passing_bytes;
    int n_threads;
    uint32_t rows;       /* most of a query tile */
    uint32_t code_slots; /* frames that can meet in a range */
    kv_scratch *scratch; /* (n_threads) */
    void *scratch_mem;
    float *parts; /* decode: (n_kv_head, n_range) softmaxes of the rows of one token */
};

static inline bool kv_lossy(const kv_lane *l) {
    return !l->coder.ops->exact;
}

/* Tokens that are encoded when len are held, as every query at position len - 1 sees it. */
static inline uint32_t kv_encoded(const kv_layer *l, uint32_t len) {
    return len > l->window ? (len - l->window) & ~(l->group - 1) : 0;
}

static inline uint8_t *kv_body_block(const kv_layer *l, const kv_lane *lane, uint32_t b) {
    return l->body + (size_t)(b % l->body_cap) * l->body_row + lane->body_off;
}

/* Block b of f16 copies. Blocks from `first` on are in the passing buffer. */
static inline uint8_t *kv_full_block(const kv_cache *c, const kv_layer *l, const kv_lane *lane, uint32_t first, uint32_t b) {
    if (b >= first)
        return c->passing + (size_t)(b - first) * l->ring_row + lane->full_off;
    return l->ring + (size_t)(b % l->ring_cap) * l->ring_row + lane->full_off;
}

/* x (n, dim), vectors or queries of positions of frame `index`, turned back by its first position. */
static inline void kv_turn(const kv_cache *c, const kv_layer *l, const rt_kernels *k, uint32_t index, float *x, uint32_t n) {
    const float *turn = l->turns + (size_t)index * c->rope.n_rot;
    if (index)
        k->rope(x, n, c->dim, c->rope.n_rot, turn, turn + c->rope.n_rot / 2, c->rope.neox);
}

/* One call of kv_attend. */
typedef struct kv_job {
    kv_cache *c;
    kv_layer *layer;
    const rt_kernels *k;
    uint32_t pos, n;
    uint32_t passing; /* first block in the passing buffer; UINT32_MAX: none */
    const float *q, *key, *val;
    float scale, *out, *lse, *entropy;
} kv_job;

/* Floats of one running softmax over `rows` query rows. */
static inline size_t kv_acc_floats(const kv_cache *c, size_t rows) {
    return rows * (4 + (size_t)c->dim + c->cdim);
}

/* Make layer ready to take tokens from position n on (drop what is there, if anything). With dry: only say whether it can. */
kv_status kv_layer_rewind(const kv_cache *c, kv_layer *l, uint32_t n, bool dry, kv_err *err);

/* Called by every thread of a parallel region; kv_put ends with a barrier, and there must be one before kv_settle. */
void kv_put(const kv_job *j);    /* store and encode, before attention */
void kv_settle(const kv_job *j); /* after attention: what the window still needs moves from passing to ring */
/* Decide where the tokens of this call go; before the region. */
void kv_put_plan(kv_job *j);

#endif
