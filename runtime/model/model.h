/* A loaded model and what runs it.
 *
 *   rt_model    weights, tokenizer, hyper-parameters; read-only after loading, shared by all that follow
 *   rt_work     threads, activations and scratch memory of a step: one for any number of sequences
 *   rt_seq      a sequence: its KV cache, the ids of its tokens, the checkpoints that it can go back to
 *   rt_ctx      a sequence with a workspace of its own, for those who need but one
 */
#ifndef RT_MODEL_H
#define RT_MODEL_H

#include "base/progress.h"
#include "cache/cache_file.h"
#include "gguf/gguf.h"
#include "kernels/exec.h"
#include "profile/profile.h"
#include "text/tok.h"

/* How a layer rotates keys and queries. */
typedef enum rt_rope_kind { RT_ROPE_FULL, RT_ROPE_SWA /* sliding layers */, RT_ROPE_NONE, RT_ROPE_KINDS } rt_rope_kind;

/* RoPE beyond the context that it was trained for. After Peng et al., YaRN, arXiv:2309.00071. */
typedef struct rt_rope_scaling {
    float factor;     /* frequencies are divided by it; by YaRN those alone that turn too seldom */
    float yarn;       /* 0: by the factor alone; 1: YaRN */
    float fast, slow; /* turns within the original context, between which YaRN changes over */
    float gain;       /* of what is rotated */
    uint32_t n_ctx;   /* the original context */
} rt_rope_scaling;

enum { RT_MAX_EXPERTS = 1024 };

typedef struct rt_hparams {
    char arch[32], name[128];
    char folded_from[36]; /* hash of the model before scales were folded into it (fold.h); "": they are not */
    uint32_t n_layer, n_embd, n_vocab, n_ctx_train;
    uint32_t n_head, n_kv_head, n_ff; /* the most of any layer */
    uint16_t heads[PROF_MAX_LAYERS];  /* query heads of each layer; 0: it has no attention */
    /* KV heads that a layer's queries read; 0 where there are queries: its output matrix alone stands for attention. */
    uint16_t kv_heads[PROF_MAX_LAYERS];
    uint16_t kv_layer[PROF_MAX_LAYERS]; /* whose keys and values these are: the layer's own, or those of an earlier one */
    uint32_t ff[PROF_MAX_LAYERS];       /* width of each layer's FFN; 0: it has none */
    /* Dimensions of a key and of a value, and of both as they are stored: head_dim is the larger one, rounded up to 4, and the
     * dimensions beyond are 0. */
    uint32_t key_dim, value_dim, head_dim;
    float norm_eps, rope_base, rope_base_swa, attn_scale;
    float embd_scale, residual_scale, logit_scale; /* factors of embeddings, of what blocks add, of logits */
    float attn_cap, logit_cap;                     /* x becomes cap tanh(x / cap); 0: it does not */
    float query_gain; /* queries at position p: times 1 + query_gain log(1 + floor(p / query_step)); 0: as they are */
    float query_step;
    uint32_t n_expert, n_expert_used;      /* 0: an FFN for all tokens */
    uint32_t n_ff_expert, n_ff_shared;     /* widths of an expert, and of the one for all (0: there is none) */
    uint32_t n_dense, expert_every;        /* layers before this one, and those between every so many, have an FFN instead */
    uint32_t n_expert_group, n_group_used; /* experts are chosen from the best groups; 1 of 1: from all */
    bool expert_sigmoid;                   /* logits of the router go through a sigmoid; else a softmax */
    bool expert_norm;                      /* weights of those chosen are made to sum to 1, */
    float expert_scale;                    /* and multiplied with this */
    uint32_t n_nextn;                      /* layers at the end of the file that predict further ahead, and are not read */
    uint32_t n_rot;                        /* rotated dimensions of a head */
    uint32_t swa, swa_every;               /* sliding window, and every how many layers attention is full; 0: all layers full */
    bool rope_swa_only;                    /* full layers do not rotate */
    uint32_t rope_none_every;              /* every how many layers there is no rotation; 0: never */
    rt_rope_scaling scaling, scaling_swa;
} rt_hparams;

/* True for layers whose attention slides. */
static inline bool rt_layer_swa(const rt_hparams *hp, uint32_t layer) {
    return hp->swa && (layer + 1) % hp->swa_every != 0;
}

static inline rt_rope_kind rt_layer_rope(const rt_hparams *hp, uint32_t layer) {
    const bool swa = rt_layer_swa(hp, layer);
    if ((hp->rope_none_every && (layer + 1) % hp->rope_none_every == 0) || (hp->rope_swa_only && hp->swa && !swa))
        return RT_ROPE_NONE;
    return swa ? RT_ROPE_SWA : RT_ROPE_FULL;
}

/* Does a layer store keys and values? And how many KV heads. */
static inline bool rt_layer_caches(const rt_hparams *hp, uint32_t layer) {
    return hp->kv_heads[layer] && hp->kv_layer[layer] == layer;
}
static inline uint32_t rt_layer_stored(const rt_hparams *hp, uint32_t layer) {
    return rt_layer_caches(hp, layer) ? hp->kv_heads[layer] : 0;
}
uint32_t rt_stored_heads(const rt_hparams *hp); /* of all layers */
/* What a profile must be made for. stored is filled in, and borrowed by what is returned. */
prof_shape rt_prof_shape(const rt_hparams *hp, uint16_t stored[PROF_MAX_LAYERS]);
/* prof_matches for a model that may not be loaded. */
kv_status rt_profile_fits(const rt_hparams *hp, const char *hash, const prof *p, const char *where, kv_err *err);
/* The profile that a model's file has inside, which must be for it (prof_from_gguf). */
kv_status rt_own_profile(const gguf *g, const rt_hparams *hp, const char *hash, prof **out, kv_err *err);

/* Read and check them without loading the model. KV_EUNSUPP, KV_EFORMAT as rt_model_load. n_vocab is left 0. */
kv_status rt_hparams_read(const gguf *g, rt_hparams *out, kv_err *err);

typedef struct rt_model rt_model;

/* Open, check and pack. e is copied. KV_EUNSUPP: architecture (lists those supported). Caller frees with rt_model_free. */
kv_status rt_model_load(const char *path, const rt_exec *e, rt_model **out, kv_err *err);
/* The same, and more. */
typedef struct rt_load_cfg {
    const char *const *set; /* (n_set) keys in place of those of the file: as gguf_override takes them; a key that begins with a
                               dot is one of the architecture: ".rope.freq_base=float:1e6" */
    size_t n_set;
    kv_progress progress; /* hears what share of the weights is there, and may stop it: KV_ECANCEL; or NULL */
    void *user;
    const char *identities; /* a folder for rt_model_identity; NULL: none */
    /* Called with the file when keys are set: may change tensors (gguf_edit); or NULL. */
    kv_status (*edit)(void *edit_user, gguf *g, kv_err *err);
    void *edit_user;
} rt_load_cfg;
kv_status rt_model_load_cfg(const char *path, const rt_exec *e, const rt_load_cfg *cfg, rt_model **out, kv_err *err);
/* The same weights multiplied exactly, to measure with: what a model loaded with `exact` computes, bit for bit. m is borrowed
 * and freed afterwards. KV_ENOMEM. */
kv_status rt_model_exact(const rt_model *m, rt_model **out, kv_err *err);
void rt_model_free(rt_model *m);
const rt_hparams *rt_model_hparams(const rt_model *m);
const gguf *rt_model_gguf(const rt_model *m);
const tok *rt_model_tok(const rt_model *m);
const rt_exec *rt_model_exec(const rt_model *m);
const char *rt_model_hash(const rt_model *m); /* gguf_model_hash */
/* What the model is, all of it: gguf_identity. It is found out the first time that it is asked for; any thread may ask. Errors
 * of gguf_identity. */
kv_status rt_model_identity(const rt_model *m, kv_progress progress, void *user, char out[33], kv_err *err);
enum { RT_ARCHS = 1024 };
const char *rt_archs(char buf[RT_ARCHS]); /* "llama, qwen2, ..." for messages; returns buf */

/* What the weight matrices cost: of the layers for every token, and of the output matrix for every token whose logits are
 * wanted. For rooflines. */
typedef struct rt_cost {
    double bytes;   /* of the matrices, as they lie in memory: read once per batch */
    double i8, f32; /* multiply-adds for one token, by the arithmetic that does them */
} rt_cost;
void rt_model_cost(const rt_model *m, rt_cost *layers, rt_cost *output);
/* What the weights take in memory: all matrices as they lie there, experts included, norms and biases, and of the file the
 * table of embeddings, whose rows are read where they lie. */
size_t rt_model_bytes(const rt_model *m);

/* What a tap sees after one layer's attention: all borrowed, valid during the call. */
typedef struct rt_tap_view {
    uint32_t layer, pos0, n;    /* n tokens from position pos0 */
    uint32_t n_head, n_kv_head; /* of this layer. Layers without attention are not shown */
    const float *q;             /* (n, n_head, head_dim) after RoPE */
    const float *k, *v;   /* (n, n_kv_head, head_dim) after RoPE, as handed to the cache, or to that of an earlier layer */
    const float *lse;     /* (n, n_head) log-sum-exp of the scaled scores: a_ij = exp(scale q_i.k_j - lse_i) */
    const float *entropy; /* (n, n_head) nats */
} rt_tap_view;
typedef void (*rt_tap)(void *user, const rt_tap_view *view);

/* How a context stores its cache. Zero-initialise, then set what matters. */
typedef struct rt_ctx_cfg {
    uint32_t n_ctx;      /* 0: min(4096, n_ctx_train) */
    uint32_t n_batch;    /* most tokens per rt_forward; 0: RT_BATCH */
    const prof *profile; /* or NULL; borrowed for the life of the context; must fit the model */
    int ctk, ctv;        /* kv_codec_id that overrides the profile's, or -1: profile, else f16. Not KV_TC without a profile */
    int window, sinks;   /* override, or -1: profile's, else 0 */
    int evict, recent;   /* kv_evict_id; newest tokens that stay. Likewise: -1 */
    kv_budget budget;    /* overrides the profile's; nothing in it: does not. Where no policy is said: expected if
                            the profile has queries for it, else snapkv */
    bool ada,
        equal_budgets; /* AdaKV, even if the profile does not say so; all heads alike, even if the profile says otherwise */
    uint32_t
        checkpoint_every; /* take a checkpoint at the end of the step that makes it so many tokens since the last; 0: do not */
} rt_ctx_cfg;
#define RT_CTX_CFG_DEFAULT ((rt_ctx_cfg){.ctk = -1, .ctv = -1, .window = -1, .sinks = -1, .evict = -1, .recent = -1})

/* The cache that a context with cfg gets for a model of this shape; a profile must fit the model (rt_profile_fits); of one that
 * was made for several windows, what prof_for_window says is taken. Arrays
 * belong to *out, but for those that are hp's: free with rt_cache_cfg_free. KV_EINVAL: tc, or eviction by expected attention,
 * without calibrated data; a policy without a budget; KV_ENOMEM. */
kv_status rt_cache_cfg_new(const rt_hparams *hp, const rt_ctx_cfg *cfg, kv_cache_cfg *out, kv_err *err);
void rt_cache_cfg_free(kv_cache_cfg *cfg);

/* ---- a workspace, sequences, steps ---- */

/* For steps of up to n_batch rows (0: RT_BATCH), for one caller at a time, with as many threads of its own as the model was
 * loaded for. */
enum { RT_BATCH = 512 };
typedef struct rt_work rt_work;
kv_status rt_work_new(const rt_model *m, uint32_t n_batch, rt_work **out, kv_err *err);
void rt_work_free(rt_work *w);                 /* its sequences first */
const rt_exec *rt_work_exec(const rt_work *w); /* its threads, between steps; borrowed */
size_t rt_work_bytes(const rt_work *w);
kv_status rt_work_set_tap(rt_work *w, rt_tap tap, void *user, kv_err *err); /* NULL: none. KV_ENOMEM */
/* From now on every step leaves there what its rows come to after all layers and the last norm, whether or not logits are
 * wanted of them: (rows, n_embd). to: (n_batch, n_embd), borrowed; NULL: nowhere. */
void rt_work_set_states(rt_work *w, float *to);

/* A sequence that w can run. n_batch of cfg: most of its rows in a step, no more than w has; errors as of rt_cache_cfg_new and
 * kv_cache_new. Caller frees before w. */
typedef struct rt_seq rt_seq;
kv_status rt_seq_new(rt_work *w, const rt_ctx_cfg *cfg, rt_seq **out, kv_err *err);
void rt_seq_free(rt_seq *s);
kv_cache *rt_seq_cache(rt_seq *s); /* borrowed */
uint32_t rt_seq_n_ctx(const rt_seq *s);
uint32_t rt_seq_len(const rt_seq *s);          /* tokens held */
const int32_t *rt_seq_tokens(const rt_seq *s); /* their ids, (rt_seq_len); borrowed until the next step */
void rt_seq_clear(rt_seq *s);

/* One token to be run. */
typedef struct rt_row {
    rt_seq *seq;
    int32_t token;
    bool logits; /* are they wanted? */
} rt_row;

/* Run n rows (1 <= n <= n_batch), those of a sequence side by side and in order, at its next positions; some sequences may
 * prefill while others decode. logits (wanted rows, n_vocab), in the order of the rows. What a sequence gets has the same bits
 * whatever else is in the step. KV_EINVAL: rows of a sequence apart from each other; KV_ERANGE: its context is full, or an id
 * outside the vocabulary. Nothing is added on failure. */
kv_status rt_step(rt_work *w, const rt_row *rows, uint32_t n, float *logits, kv_err *err);

/* Remember where the sequence stands, so that it can go back there exactly. It keeps RT_CHECKPOINTS of them, those included
 * that it takes by itself (checkpoint_every of rt_ctx_cfg; one that finds no memory is left out). Where there are more, those
 * that were asked for first and last stay; of the others the one goes that is missed least, so that they lie the closer
 * together the newer they are. logits (n_vocab) of what comes next are remembered as well; NULL: they are not. */
enum { RT_CHECKPOINTS = 8, RT_CHECKPOINT_EVERY = 1024 /* what suits conversations */ };
kv_status rt_seq_checkpoint(rt_seq *s, const float *logits, kv_err *err);
const float *rt_seq_checkpoint_logits(const rt_seq *s); /* remembered of where it stands now; or NULL. Borrowed */
size_t rt_seq_checkpoint_bytes(const rt_seq *s);        /* of all that there are */
/* Go back to n tokens, n <= len, or where that cannot be done exactly to the nearest place before: *reached, from where the
 * caller runs the rest again (rt_seq_tokens still holds the ids up to the old length). */
void rt_seq_go_back(rt_seq *s, uint32_t n, uint32_t *reached);

/* How many of the first n tokens it could go back to, n <= len. */
uint32_t rt_seq_reach(const rt_seq *s, uint32_t n);
/* Make an empty sequence hold the first n tokens of another one of the same stamp, or as many of them as it can take
 * over: *reached. It has read them, to the bit, and can go back where `from` can. Whole blocks are used where they lie
 * (kv_cache_share): as long as `to` is there, `from` stays, and holds those tokens. KV_EINVAL: `to` is not empty, or of another
 * stamp; KV_ERANGE, KV_ENOMEM: `to` is empty then. */
kv_status rt_seq_share(rt_seq *to, rt_seq *from, uint32_t n, uint32_t *reached, kv_err *err);

/* From now on it is there for those alone that share its first n tokens: it cannot go on nor back. */
void rt_seq_leave_shared(rt_seq *s, uint32_t n);

/* Forget tokens keep .. keep+n-1 for good, as kv_cache_shift has it; those that came later are then held at lower positions. No
 * checkpoint from before is left. w: its workspace. Errors of kv_cache_shift, and KV_EUNSUPP where the model norms keys after
 * they were rotated. */
kv_status rt_seq_shift(rt_work *w, rt_seq *s, uint32_t keep, uint32_t n, kv_err *err);

/* What a file keeps of a sequence and gives back (cache/cache_file.h). Its places to go back to, and one more where it stands:
 * rt_seq_checkpoint first. state, logits: borrowed; or NULL. false: there is no place i. */
typedef struct rt_place {
    kv_checkpoint *state;
    const float *logits; /* (n_vocab) of what comes next there; or NULL */
    bool asked;          /* somebody wanted it */
} rt_place;
bool rt_seq_place(const rt_seq *s, uint32_t i, rt_place *out);
/* An empty sequence takes its tokens and what the cache knows of them: pieces, as kv_cache_restore has them, and borrowed
 * as there; places (n >= 1) in the order of their lengths, the last of all n_tokens. The states of the places move. On
 * failure the sequence is to be freed. */
kv_status rt_seq_restore(rt_seq *s, const int32_t *tokens, uint32_t n_tokens, const kv_piece *pieces, rt_place *places,
                         uint32_t n, kv_err *err);

/* ---- a sequence with a workspace of its own ---- */

typedef struct rt_ctx rt_ctx;
kv_status rt_ctx_new(const rt_model *m, const rt_ctx_cfg *cfg, rt_ctx **out, kv_err *err);
/* The same in a workspace that others use, too; the caller frees the context first, and uses one of them at a time. */
kv_status rt_ctx_new_in(rt_work *w, const rt_ctx_cfg *cfg, rt_ctx **out, kv_err *err);
void rt_ctx_free(rt_ctx *c);
kv_status rt_ctx_set_tap(rt_ctx *c, rt_tap tap, void *user, kv_err *err); /* as rt_work_set_tap */
const rt_exec *rt_ctx_exec(const rt_ctx *c);
rt_seq *rt_ctx_seq(rt_ctx *c);     /* borrowed */
kv_cache *rt_ctx_cache(rt_ctx *c); /* borrowed */
uint32_t rt_ctx_n_ctx(const rt_ctx *c);
uint32_t rt_ctx_n_batch(const rt_ctx *c);
uint32_t rt_ctx_len(const rt_ctx *c);
void rt_ctx_clear(rt_ctx *c);
kv_status rt_ctx_shift(rt_ctx *c, uint32_t keep, uint32_t n, kv_err *err); /* as rt_seq_shift */
/* Whether that can be done whenever the context is full; the same errors. */
kv_status rt_ctx_shifts(const rt_ctx *c, uint32_t keep, uint32_t n, kv_err *err);

/* Run n tokens (1 <= n <= n_batch) at the next positions; logits (n_out, n_vocab) of the last n_out of them (0: none wanted).
 * KV_ERANGE: context full (says how many tokens fit) or a token id outside the vocabulary. Nothing is added on failure. */
kv_status rt_forward(rt_ctx *c, const int32_t *tokens, uint32_t n, uint32_t n_out, float *logits, kv_err *err);
/* The same for any n, in batches; logits of the last token only (n_vocab), or NULL. */
kv_status rt_prefill(rt_ctx *c, const int32_t *tokens, size_t n, float *logits, kv_err *err);

#endif
