/* Inside of the cache, shared by cache.c (what is stored where), put.c (storing), window.c (f16 copies), work.c (the
 * workspace), checkpoint.c and the rooms above that read and evict.
 *
 * A stream is the K or the V of one KV head: stream 2h and stream 2h + 1 of head h. A layer keeps its tokens in blocks of
 * KV_BLOCK slots aligned to absolute positions; a block of a layer holds one coder block per stream, one after the other.
 *   body     encoded tokens; block b at b mod body_cap (all of them, unless the model's sliding window lets go of old ones)
 *   ring     f16 copies of tokens that are not yet encoded (window, incomplete groups), for streams whose codec is lossy;
 *            token t at t mod ring_cap, keys (dim, ring_cap), values (ring_cap, dim). It outlives the call, so it is kept as
 *            small as the window allows.
 *   passing  the same layout for the tokens of one call, when they are more than the ring can take: a part of one buffer of the
 *            workspace, for all layers and caches
 *   sinks    f16 rows (sinks, dim) of lossy streams
 * When len tokens are held, those below kv_encoded(layer, len) are encoded and those from there on are in the ring.
 *
 * A *slot* is a place in the body of a head. As long as nothing was evicted, it is the token's position. Eviction packs what it
 * keeps of the body against the tokens that come after it, and moves both down by `shift`, whole blocks:
 *
 *     positions   S S S S . . k . . k k . | c c c w w w       S sinks, k kept, c later body, w window, | cut
 *     slots       S S S S     k k k | c c c w w w             slots 4 .. first-1 are empty
 *
 * So everything newer than `cut` has position - slot = shift, borders of blocks and groups are where they were, and all that
 * reads and writes goes on in slots; only the ring stays in positions.
 */
#ifndef RT_CACHE_STATE_H
#define RT_CACHE_STATE_H

#include "cache/cache.h"
#include "codec/codec.h"

enum {
    KV_BATCH = 16, /* tokens that leave a window four times as large together: encoding them one by one takes twice as long */
    KV_STEP = 64,  /* evictions happen at multiples of so many positions, or in small budgets (kv_step) down to */
    KV_STEP_LEAST = 16,
    KV_RANGE = 512,     /* tokens per partial softmax; the same whatever the batch and the threads */
    KV_SPLIT_HEADS = 4, /* heads for each thread, from which on those of single tokens are not cut into ranges */
    KV_ROWS = 256,      /* most query rows (tokens x heads of a group) that share a decoded tile */
};

static inline uint32_t max_u32(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static inline uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Blocks that so many tokens or slots take. */
static inline uint32_t kv_blocks(uint64_t tokens) {
    return (uint32_t)((tokens + KV_BLOCK - 1) / KV_BLOCK);
}

/* Blocks that are elsewhere, whole and never written to: of a file that is mapped (cache_file.h), or of another cache
 * (share.c). Borrowed, and only in full layers that do not evict. */
typedef struct kv_base {
    uint32_t end;      /* these are the blocks up to this one that are in none before it */
    const uint8_t *at; /* where block 0 would be */
} kv_base;
enum { KV_BASES = 4 };

typedef struct kv_stream {
    kv_coder coder;
    size_t body_off; /* of its first block in the body */
    uint32_t cap;    /* blocks of the body; block b is at b mod cap, */
    uint32_t n_base; /* but the first so many are in */
    kv_base base[KV_BASES];
    uint32_t f16_off; /* elements of a token that come before its own in ring and passing; lossy streams only */
    size_t sink_off;  /* of its sink rows, in elements */
    bool framed;      /* keys that are stored in RoPE frames */
} kv_stream;

/* A KV head's place in a layer that lets go of tokens; in any other, first = sinks, and cut = shift = 0. */
typedef struct kv_head {
    uint32_t first, shift, cut; /* see above */
    uint32_t budget;            /* most tokens; 0: no limit */
    uint32_t recent;            /* newest of them, which stay */
    uint32_t next;              /* position of the next eviction, a multiple of its kv_step; UINT32_MAX: none */
    size_t score_off;           /* of the scores of its slots in the body, floats; where the policy has scores */
    size_t mass_off;            /* of the logs of how many tokens each slot stands for; policy merge */
    uint32_t *frames;           /* (frames) first slot of each RoPE frame that begins below cut */
} kv_head;

typedef struct kv_layer {
    uint32_t n_head, n_kv_head; /* 0: it has no attention */
    kv_stream *streams;         /* (2 * n_kv_head) */
    kv_head *heads;             /* (n_kv_head) */
    /* A layer that reads another one's keys and values: streams, heads, body and sinks are that one's. The ring is its own, as
     * its queries come after that one's tokens have moved on. */
    bool borrows;
    bool evicts;
    uint32_t swa;           /* 0: full attention */
    uint32_t rope;          /* row of the cache's rope.inv_freq */
    const float *rotations; /* (frames, 2, n_rot/2) of framed streams: cos and sin of minus the angle of a frame */
    uint32_t window;        /* the least that is not encoded; up to group - 1 tokens more */
    uint32_t sinks, group;  /* all streams exact: window and sinks 0, group 1 */
    uint8_t *body;
    uint16_t *ring, *sink;
    uint32_t body_cap; /* blocks; UINT32_MAX: as the heads have them */
    uint32_t ring_cap; /* tokens */
    size_t body_bytes;
    uint32_t f16_elems; /* of a token, all lossy streams */
    size_t sink_elems;
    uint32_t evicted; /* position of the last eviction; 0: there was none */
    uint32_t end;     /* tokens stored; ahead of the cache's len between kv_attend and kv_cache_commit */
    uint32_t body_lo; /* first block that is still whole */
    uint32_t ring_lo; /* first token that is still in the ring */
} kv_layer;

/* Working memory of one thread. */
typedef struct kv_scratch {
    float *tile;                /* decoded keys (cdim, 64), then, in their place, values (64, cdim): both stay in L1 */
    float *x;                   /* (64, dim) tokens to encode */
    float *q, *qf, *qc;         /* (rows, dim) scaled queries; rotated for a frame; (rows, cdim) in coded space */
    float *bias, *no_bias;      /* (rows) */
    float *s, *mix;             /* (rows, 64); the same for blocks in which RoPE frames meet */
    float *total, *part;        /* running softmaxes, kv_acc_floats each */
    void *work;                 /* of the coders */
    float *to_model, *constant; /* (dim, cdim), (dim): the way back from coded keys; policy merge */
    /* Attention in codes, a range at a time (attention/integer.c) */
    uint8_t *ktile, *vtile;       /* of all its blocks */
    int8_t *levels;               /* of KV_LEVEL_BLOCKS blocks */
    float *kgain, *vgain, *wgain; /* (KV_RANGE) gains of keys and values; of values, scaled for an interval */
    uint8_t *code, *p;            /* (code_slots, rows) codes of queries, by frame; (16) of weights */
    float *cscale, *cbias;        /* (code_slots, rows) */
} kv_scratch;

struct kv_cache {
    uint32_t n_layer, n_head, n_kv_head, dim, n_ctx, n_batch, len; /* heads: the most of any layer */
    uint32_t cdim;                                                 /* most coordinates of any coder's tile */
    float limit;                                                   /* greatest magnitude that can be stored */
    uint32_t frame;
    kv_rope rope;
    uint32_t n_ropes; /* rows of rope.inv_freq */
    float *rotations; /* (n_ropes, frames, 2, n_rot/2) */
    float cap;        /* of scores; 0: none */
    uint64_t shifts;  /* kv_cache_shift has let go of tokens so many times */
    kv_layer *layers;
    kv_stream *streams; /* of all layers, (n_layer, 2 n_kv_head): those of layers with fewer heads come first, the rest is 0 */
    kv_head *heads;     /* likewise */
    kv_evict_cfg evict;
    double reads;           /* of all heads of layers of full attention */
    uint64_t stamp[2];      /* of how tokens are stored (cache_file.h) */
    const float **queries;  /* (n_layer) */
    uint32_t sinks;         /* of the configuration: exact layers have none of their own, but must not let go of them */
    uint32_t *frames;       /* of all heads, kv_n_frames each */
    size_t stage_bytes;     /* what eviction needs of the workspace to put a layer's body together anew, */
    uint32_t stage_blocks;  /* and most blocks of a layer */
    kv_coder f16[2];        /* of streams that the window covers, by side */
    uint32_t passing_elems; /* of a token, in the layer with the most streams that pass through */
    size_t passing_bytes;   /* of the workspace */
    uint32_t rows;          /* most of a query tile */
    uint32_t code_slots;    /* frames that can meet in a range */
};

/* Query heads that read one KV head. */
static inline uint32_t kv_group(const kv_layer *l) {
    return l->n_head / l->n_kv_head;
}

/* Does a layer have keys and values of its own? */
static inline bool kv_stores(const kv_layer *l) {
    return l->n_kv_head && !l->borrows;
}

static inline bool kv_lossy(const kv_stream *l) {
    return !l->coder.ops->exact;
}

/* Tokens that the passing buffer takes for batches of so many. Not a power of two: rows of keys would share few lines of L1. */
static inline size_t kv_passing_tokens(uint32_t n_batch) {
    return n_batch | KV_BATCH;
}

/* Tokens that are encoded when len are held, as every query at position len - 1 sees it. */
static inline uint32_t kv_encoded(const kv_layer *l, uint32_t len) {
    return len > l->window ? (len - l->window) & ~(l->group - 1) : 0;
}

/* Tokens that a head holds when the cache has read len. */
static inline uint32_t kv_held(const kv_layer *l, const kv_head *h, uint32_t len) {
    return min_u32(l->sinks, len) + (len - h->shift > h->first ? len - h->shift - h->first : 0);
}

/* Which of the bases has block b < n_base. */
static inline const kv_base *kv_base_of(const kv_stream *stream, uint32_t b) {
    const kv_base *base = stream->base;
    while (b >= base->end)
        base++;
    return base;
}

/* Block b of slots; not to be written to where it is one of a base. */
static inline uint8_t *kv_body_block(const kv_layer *l, const kv_stream *stream, uint32_t b) {
    if (b < stream->n_base)
        return (uint8_t *)(uintptr_t)kv_base_of(stream, b)->at + (size_t)b * stream->coder.block_bytes;
    return l->body + stream->body_off + (size_t)(b % stream->cap) * stream->coder.block_bytes;
}

static inline float *kv_scores(const kv_layer *l, const kv_head *h) {
    return (float *)(l->body + h->score_off);
}

static inline float *kv_masses(const kv_layer *l, const kv_head *h) {
    return (float *)(l->body + h->mass_off);
}

/* Bits t of slots t0 + t in [from, to). */
static inline uint64_t kv_span(uint32_t t0, uint32_t from, uint32_t to) {
    from = from > t0 ? from - t0 : 0;
    to = to > t0 ? to - t0 : 0;
    if (from >= to || from >= KV_BLOCK)
        return 0;
    return (to < KV_BLOCK ? ((uint64_t)1 << to) - 1 : ~(uint64_t)0) & ~(uint64_t)0 << from;
}

static inline uint32_t kv_n_frames(const kv_cache *c) {
    return c->frame ? (c->n_ctx - 1) / c->frame + 1 : 0;
}

/* RoPE frame of the key in a slot, and where the run of slots ends that are in the same one. */
static inline uint32_t kv_frame_of(const kv_cache *c, const kv_head *h, uint32_t slot, uint32_t *end) {
    uint32_t frame = (slot + h->shift) / c->frame;
    if (slot + h->shift < h->cut) {
        const uint32_t last = (h->cut - 1) / c->frame;
        for (frame = 0; frame < last && h->frames[frame + 1] <= slot;)
            frame++;
        if (frame < last) {
            *end = h->frames[frame + 1];
            return frame;
        }
    }
    *end = (frame + 1) * c->frame - h->shift;
    return frame;
}

/* x (n, dim), vectors or queries of positions of frame `index`, rotated back by its first position. */
static inline void kv_rotate_back(const kv_cache *c, const kv_layer *l, const rt_kernels *k, uint32_t index, float *x,
                                  uint32_t n) {
    const float *rotation = l->rotations + (size_t)index * c->rope.n_rot;
    if (index)
        k->rope(x, n, c->dim, c->rope.n_rot, rotation, rotation + c->rope.n_rot / 2, c->rope.neox);
}

/* The tokens of one cache in a round of kv_attend: none is behind an eviction. */
typedef struct kv_job {
    kv_cache *c;
    kv_work *w;
    kv_layer *layer;
    const rt_kernels *k;
    uint32_t pos, n;
    uint32_t passing;     /* first token in the passing buffer; UINT32_MAX: none */
    uint32_t passing_cap; /* tokens of its part of that buffer, */
    uint16_t *passing_at; /* which begins here */
    const float *q, *key, *val;
    float scale, *out, *lse, *entropy;
    uint32_t tile_tok; /* tokens that a piece of reading takes together */
    uint32_t n_range,
        range_step; /* one token whose heads are read by ranges: most ranges of a head, and how many a piece takes; */
    float *parts;   /* n_range 0: not so. (n_kv_head, n_range) softmaxes */
} kv_job;

/* One thing that is done for all jobs of a round: into how many pieces a job is cut, and one of them. */
typedef struct kv_stage {
    size_t (*count)(const kv_job *j);
    void (*piece)(const kv_job *j, int thread, size_t i);
} kv_stage;
void kv_run(kv_work *w, const kv_stage *stage);

enum { KV_SCRATCH_PARTS = 24 };

struct kv_work {
    rt_exec exec;                  /* its team is borrowed */
    uint32_t n_batch;              /* most rows of a call */
    size_t need[KV_SCRATCH_PARTS]; /* bytes of the parts of a kv_scratch, in its order: the most that any cache asks for */
    kv_scratch *scratch;           /* (n_threads) */
    void *scratch_mem;
    float *parts; /* softmaxes of ranges */
    size_t parts_floats;
    uint16_t *passing;
    size_t passing_elems; /* of all of it */
    size_t passing_taken; /* by jobs of this round */
    size_t passing_spare; /* tokens that it has room for beside those of this round */
    uint8_t *stage;
    size_t stage_bytes;
    uint32_t *keys;  /* (stage_blocks * KV_BLOCK) what eviction sorts by */
    uint64_t *keep;  /* (stage_blocks) */
    uint32_t *fresh; /* frames of a layer's heads, while they change */
    size_t n_keys, n_keep, n_fresh;
    float *lse; /* (n_batch, n_head) of the call; where queries are observed */
    size_t n_lse;
    kv_job *jobs; /* (n_batch) */
    uint32_t n_jobs;
    uint32_t *done; /* (n_batch) tokens of each part of the call that earlier rounds did */
    size_t *starts; /* (n_batch + 1) first piece of each job */
};

/* Floats of one running softmax over `rows` query rows. */
static inline size_t kv_acc_floats(const kv_cache *c, size_t rows) {
    return rows * (4 + (size_t)c->dim + c->cdim);
}

/* Make layer ready to take tokens from position n on (drop what is there, if anything). With dry: only say whether it can. */
kv_status kv_layer_rewind(const kv_cache *c, kv_layer *l, uint32_t n, bool dry, kv_err *err);

/* Wipe what its blocks hold of tokens from position n on. */
void kv_layer_forget(kv_layer *l, uint32_t n);

/* Where p stands, whatever c holds. */
void kv_checkpoint_restore(kv_cache *c, const kv_checkpoint *p);

/* cache/stamp.c: sets the stamp of a cache that is laid out. */
void kv_make_stamp(kv_cache *c, const kv_cache_cfg *cfg);

/* ---- cache/budget.c ---- */

/* The budget of every head, (n_layer, n_kv_head): 0 where it is no limit. KV_EINVAL: less than what always stays. */
kv_status kv_budgets(const kv_cache *c, const kv_cache_cfg *cfg, uint32_t *budget, kv_err *err);
static inline const kv_evict_name *kv_policy(const kv_cache *c) {
    return &kv_evict_names[c->evict.policy];
}
static inline bool kv_scored(const kv_cache *c) {
    return kv_policy(c)->score != KV_SCORE_AGE;
}
static inline bool kv_merges(const kv_cache *c) {
    return kv_policy(c)->folds;
}
/* Scores come from the queries that are read, rather than from the keys or the profile. */
static inline bool kv_observes(const kv_cache *c) {
    return kv_policy(c)->votes != KV_VOTES_NONE;
}
/* A head's evictions happen at multiples of so many positions: often enough that no more than an eighth of its budget waits to
 * be filled, where KV_STEP_LEAST allows. */
static inline uint32_t kv_step(uint32_t budget) {
    uint32_t step = KV_STEP;
    while (step > KV_STEP_LEAST && step > budget / 8)
        step /= 2;
    return step;
}
/* How many tokens an eviction makes room for. */
static inline uint32_t kv_slack(uint32_t budget) {
    const uint32_t step = kv_step(budget);
    return max_u32(step, budget / 8 / step * step);
}
/* Newest tokens that a head keeps, never more than an eviction may leave. */
static inline uint32_t kv_recent(const kv_cache_cfg *cfg, uint32_t budget) {
    const uint32_t stays = kv_slack(budget) + cfg->sinks, most = budget > stays ? budget - stays : 0;
    return max_u32(cfg->evict.recent, min_u32((uint32_t)(cfg->evict.near * (float)budget), most));
}
/* Bytes of a block of slots of a head: both streams, scores and masses. */
size_t kv_head_block_bytes(const kv_cache *c, const kv_layer *l, uint32_t head);
/* Where a head's blocks, `cap` of them, lie in the body, from byte `at` on. */
void kv_place_head(const kv_cache *c, kv_layer *l, uint32_t head, uint32_t cap, size_t at);
/* All heads of a layer, as large as they may become; sets body_bytes. */
void kv_lay_out_heads(const kv_cache *c, kv_layer *l);
static inline uint32_t kv_next_eviction(const kv_layer *l) {
    uint32_t next = UINT32_MAX;
    for (uint32_t h = 0; h < l->n_kv_head; h++)
        next = min_u32(next, l->heads[h].next);
    return next;
}

/* ---- cache/cache_file.c ---- */

/* Blocks of a stream that hold something. Those of sliding layers are a checkpoint's matter. */
uint32_t kv_blocks_held(const kv_layer *l, uint32_t stream, uint32_t len);
/* And how many of them are whole, and never change again. */
uint32_t kv_blocks_whole(const kv_layer *l, uint32_t stream, uint32_t len);

/* ---- cache/schedule.c ---- */

/* As new: nothing is held. */
void kv_evict_clear(const kv_cache *c, kv_layer *l);
/* The first position whose query has a vote in the next eviction of a head; UINT32_MAX: none has. */
uint32_t kv_votes_from(const kv_cache *c, const kv_head *h);
/* When the heads of a layer must next let go of tokens, seen from position `now`. */
void kv_plan_evictions(const kv_cache *c, kv_layer *l, uint32_t now);
/* Scores of n new body slots, whose keys are x (n, dim). */
void kv_new_scores(const kv_cache *c, const kv_layer *l, const kv_head *h, uint32_t slot, uint32_t n, const float *x);

/* ---- cache/put.c, cache/window.c ---- */

/* Decide where the tokens of a job go; first of all. */
void kv_put_plan(kv_job *j);
/* Before attention: tokens come in; those that leave the window are encoded. After it: what the ring has room for moves there
 * from the passing buffer. */
extern const kv_stage kv_store, kv_encode, kv_settle;
/* Give a job its part of the passing buffer. */
void kv_take_passing(kv_job *j);

/* ---- cache/window.c: f16 copies of n tokens from position t on of a lossy stream with a ring ---- */

void kv_f16_put(const kv_job *j, const kv_stream *stream, uint32_t t, uint32_t n, const float *x); /* <- x (n, dim) */
void kv_f16_rows(const kv_job *j, const kv_stream *stream, uint32_t t, uint32_t n, float *x);      /* -> x (n, dim) */
/* A tile as kv_codec.decode gives it. Tokens that there are no copies of come out as anything finite. */
void kv_f16_tile(const kv_job *j, const kv_stream *stream, uint32_t t, uint32_t n, float *tile);
/* One token between calls, as it is stored: row (dim). */
void kv_f16_row(const kv_cache *c, const kv_layer *l, const kv_stream *stream, uint32_t t, uint16_t *row);
/* n of them, as they lie in a ring of n tokens that begins with t: from or to `copy`, n * dim elements. */
void kv_f16_save(const kv_cache *c, const kv_layer *l, const kv_stream *stream, uint32_t t, uint32_t n, uint16_t *copy);
void kv_f16_restore(const kv_cache *c, kv_layer *l, const kv_stream *stream, uint32_t t, uint32_t n, const uint16_t *copy);

#endif
