/* The KV cache and attention over it.
 *
 * Per layer and KV head a token is a sink (one of the first `sinks`, f16), in the window (newest `window`, f16) or in the body
 * (encoded, once, in blocks of KV_BLOCK tokens laid out for SIMD). There is no other copy of the body. Query i reads key j at
 * full precision exactly when j < sinks or j is in the window, in prefill and decode alike: i - j < window; but tokens leave a
 * window of 64 or more sixteen at a time, positions 16n .. 16n+15, as soon as 16n is no longer in it. The f16 ring holds the
 * window, the tokens of a batch pass through a buffer that all layers share, and a token is encoded before the first query that
 * must read it so. Streams (K or V of one KV head) whose codec is f32 or f16 have no such states: with both of a layer so,
 * everything is body.
 * With a budget, layers of full attention let go of tokens of the body: every KV head holds no more than its budget, at any
 * time, and memory is allocated for that alone. Keys keep the positions that they were read at.
 * The bytes of the cache depend on the tokens alone, not on how they were batched.
 */
#ifndef RT_CACHE_H
#define RT_CACHE_H

#include "kernels/exec.h"
#include "profile/codec_id.h"
#include "profile/evict_id.h"
#include "profile/profile.h"

#include <stddef.h>
#include <stdint.h>

typedef struct kv_cache kv_cache;

/* Codec of one KV head's K or V. */
typedef struct kv_codec_sel {
    kv_codec_id id;
    const prof_tc *tc; /* KV_TC only; borrowed for the life of the cache */
} kv_codec_sel;

/* How RoPE rotates keys: pair i by inv_freq[i] per position. */
typedef struct kv_rope {
    const float *inv_freq; /* (kinds of layers, n_rot/2); borrowed */
    uint32_t n_rot;        /* dimensions that rotate, at most head_dim */
    bool neox;             /* pairs (i, i + n_rot/2); else adjacent ones */
    const uint8_t *kind;   /* (n_layer) which row of inv_freq; read by kv_cache_new only. NULL: 1 for sliding layers, else 0 */
} kv_rope;

/* What to let go of where a context is longer than the budget: docs/budgets.md. */
typedef struct kv_evict_cfg {
    kv_evict_id policy; /* KV_EVICT_NONE: keep everything; the rest means nothing then */
    kv_budget budget;   /* tokens of a KV head, sinks and window included: mean over the heads of layers of full attention */
    const float
        *loss; /* (n_layer, n_kv_head, KV_CUTS), likewise: budgets are those with the least sum (loss_curve.h); or NULL: by */
    const float *weight; /* (n_layer, n_kv_head) ratios of the budgets of heads, > 0; or NULL: all alike. Both are read by
                            kv_cache_new and kv_cache_size only */
    bool ada;            /* heads of a layer share its budget: tokens of all of them compete (AdaKV) */
    uint32_t recent;     /* newest tokens that stay, whatever their score: so many, */
    float near;          /* and at least this share of the head's budget, 0..1 */
    uint32_t observe;    /* snapkv: last queries before an eviction that vote */
    uint32_t pool;       /* snapkv: slots around a token whose best vote counts for it, odd */
    const float *const *queries; /* expected: (n_layer) of (n_kv_head, PROF_QUERIES, head_dim), before RoPE; the list is read
                                    by kv_cache_new only, what it names stays borrowed */
} kv_evict_cfg;

typedef struct kv_cache_cfg {
    uint32_t n_layer, n_head, n_kv_head, head_dim; /* heads: the most of any layer */
    /* What layers have, (n_layer) each, read by kv_cache_new and kv_cache_size only; or NULL: n_head, n_kv_head, and a cache of
     * its own. A layer of 0 KV heads has no attention, and is never shown to kv_attend. One whose kv_layer is another, earlier
     * one reads what that stores, as many KV heads; it stores nothing but f16 copies for the window, as its queries come later.
     */
    const uint16_t *heads, *kv_heads, *kv_layer;
    uint32_t n_ctx;   /* most tokens */
    uint32_t n_batch; /* most tokens per kv_put */
    uint32_t sinks, window;
    /* RoPE frames: codec tc stores keys rotated back by the first position of their run of `frame` positions (a multiple of
     * PROF_FRAME), so that they look alike wherever they stand; queries are rotated likewise for each run. 0: as they come. */
    uint32_t frame;
    kv_rope rope; /* needed where frame is not 0 or evict.policy is KV_EVICT_EXPECTED; by kv_cache_new only */
    kv_evict_cfg evict;
    float cap;                 /* scores become cap tanh(score / cap); 0: they do not */
    const uint32_t *swa;       /* (n_layer) sliding window of the model's attention, 0 = full; or NULL: all full. Query i sees
                                  key j when i - j < swa. Blocks behind it are reused: such a layer holds no more than it reads. */
    const kv_codec_sel *k, *v; /* (n_layer, n_kv_head), of layers with fewer heads the first; read by kv_cache_new only (the
                                  prof_tc stay borrowed) */
} kv_cache_cfg;

/* Allocates everything. KV_EINVAL: shapes that do not fit, or a budget too small for what always stays (says how small it may
 * be); KV_EUNSUPP: a codec that tokens cannot be taken out of, with a budget; KV_ERANGE: prof_tc broken (singular basis);
 * KV_ENOMEM. */
kv_status kv_cache_new(const kv_cache_cfg *cfg, const rt_exec *e, kv_cache **out, kv_err *err);
void kv_cache_free(kv_cache *c);
void kv_cache_clear(kv_cache *c);
uint32_t kv_cache_len(const kv_cache *c); /* tokens held: the next position */
/* Drop everything from position n on, n <= len. KV_EINVAL where bytes before n would have to change (n is inside the encoded
 * part and cuts a block whose f16 neighbours are gone, or tokens from n on had a part in an eviction): then clear and feed
 * again. */
kv_status kv_cache_truncate(kv_cache *c, uint32_t n, kv_err *err);
/* Whether kv_cache_truncate could. */
bool kv_cache_can_truncate(const kv_cache *c, uint32_t n);
/* Whether it could at every n, however many tokens there are. */
bool kv_cache_cuts_anywhere(const kv_cache *c);
/* Make `to` hold what `from` holds. Both must have been made from the same configuration (KV_EINVAL), and no batch be under
 * way.
 */
kv_status kv_cache_copy(kv_cache *to, const kv_cache *from, kv_err *err);

/* Let go of positions keep .. keep+n-1 for good: what came later moves down by n, as if it had always stood there
 * (docs/cache.md, "Going on"). Heads with a budget forget whole RoPE frames, the first n positions behind the frame in which
 * keep ends. KV_EINVAL: not so many, not from there on, or too few tokens are newer than what goes (says how long a context
 * would do); KV_EUNSUPP: tokens were evicted, and there are no RoPE frames; KV_ENOMEM. Nothing changes on failure. No
 * checkpoint from before can be reached afterwards. */
kv_status kv_cache_shift(kv_cache *c, const rt_exec *e, uint32_t keep, uint32_t n, kv_err *err);
/* Whether it could be done whenever n_ctx tokens are held; the same errors. */
kv_status kv_shift_fits(const kv_cache *c, uint32_t keep, uint32_t n, kv_err *err);
uint32_t kv_shift_step(const kv_cache *c);                /* n is a multiple of this */
uint32_t kv_shift_keep(const kv_cache *c, uint32_t keep); /* the least that keep may be: sinks stay, and groups of keys whole */

/* Working memory of attention, and the threads: one for any number of caches, which are made known to it with kv_work_fit. For
 * one caller at a time. Calls have at most n_batch tokens together. e is copied, its team borrowed. */
typedef struct kv_work kv_work;
kv_status kv_work_new(const rt_exec *e, uint32_t n_batch, kv_work **out, kv_err *err);
void kv_work_free(kv_work *w);
/* Make it large enough for calls that c has a part in. KV_ENOMEM: it stays as it was. */
kv_status kv_work_fit(kv_work *w, const kv_cache *c, kv_err *err);
size_t kv_work_bytes(const kv_work *w);

/* n more tokens are in all layers. */
void kv_cache_commit(kv_cache *c, uint32_t n);

/* What going back to where a cache stands now will need: the f16 copies that later tokens push out, blocks of sliding layers,
 * scores. Caller frees. */
typedef struct kv_checkpoint kv_checkpoint;
kv_status kv_checkpoint_new(const kv_cache *c, kv_checkpoint **out, kv_err *err);
void kv_checkpoint_free(kv_checkpoint *p);
kv_checkpoint *kv_checkpoint_ref(kv_checkpoint *p); /* the same once more: each is freed, from any thread */
uint32_t kv_checkpoint_len(const kv_checkpoint *p);
size_t kv_checkpoint_bytes(const kv_checkpoint *p);
/* Whether c can still go back to p. What was let go of since then, or dropped in front of it, stays so. */
bool kv_checkpoint_reached(const kv_checkpoint *p, const kv_cache *c);
/* Make c, which has gone on from there, hold what it held then, bit for bit. KV_EINVAL: it holds less, or has let go of tokens
 * since. */
kv_status kv_cache_go_back(kv_cache *c, const kv_checkpoint *p, kv_err *err);

/* Make an empty cache hold what `from` held at a checkpoint that it can still go back to, bit for bit. Both are of the same
 * stamp (cache_file.h). Whole blocks of full layers that do not evict are used where they lie and not copied: as long as c uses
 * them, `from` stays, and may grow, but not hold fewer tokens than c has of these. KV_EINVAL: it cannot go there; KV_ERANGE: c
 * has no room for them. */
kv_status kv_cache_share(kv_cache *c, const kv_cache *from, const kv_checkpoint *at, kv_err *err);
/* From now on c is there for those alone that share its first n tokens: memory of what it has beyond goes back to the system.
 */
void kv_cache_leave_shared(kv_cache *c, uint32_t n);
/* Bytes of blocks, sinks and f16 copies that hold something: of its own, and those that lie elsewhere. */
void kv_cache_used(const kv_cache *c, uint64_t *own, uint64_t *elsewhere);
/* Of the tokens that it was given, how many a KV head has in f32 or f16 now, and how many encoded: means over all heads of
 * layers of full attention. A budget let go of the rest. Both 0 where there is no such layer. */
void kv_cache_states(const kv_cache *c, double *exact, double *encoded);

/* What the cache costs. All are bytes really allocated for blocks, their scores, sinks and ring (parameters such as codebooks
 * not counted). */
typedef struct kv_cache_info {
    size_t bytes;          /* all of it, at capacity */
    size_t body_bytes;     /* the encoded part, at capacity */
    size_t fp_bytes;       /* sinks and ring, and what a call needs of the workspace beside them */
    double bits_k, bits_v; /* true bits per element of the body, metadata included */
    size_t bytes_f16;      /* what a cache of all n_ctx tokens costs with an f16 codec */
    double held, most;     /* tokens that a KV head holds now, and may hold: mean over all heads of layers of full attention */
    /* What an eviction leaves in a head with a budget: sinks, tokens that stay for being new (window included) and tokens that
     * the policy chose; mean over these heads, 0 where there are none. */
    double sinks, newest, chosen;
    double reads; /* tokens that all queries since the cache was empty have read: mean over the same heads */
} kv_cache_info;
kv_cache_info kv_cache_get_info(const kv_cache *c);

/* What a layer holds and costs: bytes as above, but for what all layers share; tokens by their state, mean over its KV heads.
 */
typedef struct kv_layer_info {
    uint32_t n_kv_head;
    bool stores; /* keys and values of its own; else there is nothing but bytes */
    bool slides; /* sliding attention */
    bool exact;  /* both codecs are: nothing is in a window */
    size_t bytes, bytes_f16;
    double sinks, window; /* in f16 */
    double body;          /* as the codecs have it */
    double past;          /* no longer read, as the model's sliding window has gone on */
    double evicted;
} kv_layer_info;
kv_layer_info kv_cache_get_layer(const kv_cache *c, uint32_t layer);

/* What caches of cfg's shape for n_ctx[0] .. n_ctx[n-1] tokens would cost (cfg->n_ctx is not read): what kv_cache_get_info says
 * of them, from the same computation, but without allocating them. out (n). Errors as of kv_cache_new. */
kv_status kv_cache_size(const kv_cache_cfg *cfg, const uint32_t *n_ctx, uint32_t n, kv_cache_info *out, kv_err *err);

/* XXH3-64 of the bytes that hold the first len tokens: for tests of batch independence. */
uint64_t kv_cache_digest(const kv_cache *c);

#endif
