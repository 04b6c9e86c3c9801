/* A loaded model and contexts that run it.
 *
 *   rt_model    weights, tokenizer, hyper-parameters; read-only after loading, shared by any number of contexts
 *   rt_ctx      KV cache and scratch memory of one sequence
 */
#ifndef RT_MODEL_H
#define RT_MODEL_H

#include "cache/cache.h"
#include "gguf/gguf.h"
#include "kernels/exec.h"
#include "profile/profile.h"
#include "text/tok.h"

typedef struct rt_hparams {
    char arch[32], name[128];
    uint32_t n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx_train;
    float rms_eps, rope_base, rope_base_swa, attn_scale, embd_scale;
    uint32_t n_rot;          /* rotated dimensions of a head */
    uint32_t swa, swa_every; /* sliding window, and every how many layers attention is full; 0: all layers full */
} rt_hparams;

/* True for layers whose attention slides. */
static inline bool rt_layer_swa(const rt_hparams *hp, uint32_t layer) {
    return hp->swa && (layer + 1) % hp->swa_every != 0;
}

/* Read and check them without loading the model. KV_EUNSUPP, KV_EFORMAT as rt_model_load. n_vocab is left 0. */
kv_status rt_hparams_read(const gguf *g, rt_hparams *out, kv_err *err);

typedef struct rt_model rt_model;

/* Open, check and pack. e is copied. KV_EUNSUPP: architecture (lists those supported). Caller frees with rt_model_free. */
kv_status rt_model_load(const char *path, const rt_exec *e, rt_model **out, kv_err *err);
void rt_model_free(rt_model *m);
const rt_hparams *rt_model_hparams(const rt_model *m);
const gguf *rt_model_gguf(const rt_model *m);
const tok *rt_model_tok(const rt_model *m);
const rt_exec *rt_model_exec(const rt_model *m);
const char *rt_model_hash(const rt_model *m); /* gguf_model_hash */
const char *rt_archs(void);                   /* "llama, qwen2, ..." for messages */

/* What the weight matrices cost: of the layers for every token, and of the output matrix for every token whose logits are
 * wanted. For rooflines. */
typedef struct rt_work {
    double bytes;   /* of the matrices, as they lie in memory: read once per batch */
    double i8, f32; /* multiply-adds for one token, by the arithmetic that does them */
} rt_work;
void rt_model_work(const rt_model *m, rt_work *layers, rt_work *output);

/* What a tap sees after one layer's attention: all borrowed, valid during the call. */
typedef struct rt_tap_view {
    uint32_t layer, pos0, n; /* n tokens from position pos0 */
    const float *q;          /* (n, n_head, head_dim) after RoPE */
    const float *k, *v;      /* (n, n_kv_head, head_dim) after RoPE, as handed to the cache */
    const float *lse;        /* (n, n_head) log-sum-exp of the scaled scores: a_ij = exp(scale q_i.k_j - lse_i) */
    const float *entropy;    /* (n, n_head) nats */
} rt_tap_view;
typedef void (*rt_tap)(void *user, const rt_tap_view *view);

/* How a context stores its cache. Zero-initialise, then set what matters. */
typedef struct rt_ctx_cfg {
    uint32_t n_ctx;      /* 0: min(4096, n_ctx_train) */
    uint32_t n_batch;    /* most tokens per rt_forward; 0: 512 */
    const prof *profile; /* or NULL; borrowed for the life of the context; must match the model */
    int ctk, ctv;        /* kv_codec_id that overrides the profile's, or -1: profile, else f16. Not KV_TC without a profile */
    int window, sinks;   /* override, or -1: profile's, else 0 */
    int evict, recent;   /* kv_evict_id; newest tokens that stay. Likewise: -1 */
    kv_budget budget;    /* overrides the profile's; nothing in it: does not. Where no policy is said: expected if
                            the profile has queries for it, else snapkv */
    bool ada,
        equal_budgets; /* AdaKV, even if the profile does not say so; all heads alike, even if the profile says otherwise */
} rt_ctx_cfg;
#define RT_CTX_CFG_DEFAULT ((rt_ctx_cfg){.ctk = -1, .ctv = -1, .window = -1, .sinks = -1, .evict = -1, .recent = -1})

/* The cache that a context with cfg gets for a model of this shape; a profile must match the model (prof_matches). Arrays
 * belong to *out: free with rt_cache_cfg_free. KV_EINVAL: tc, or eviction by expected attention, without calibrated data; a
 * policy without a budget; KV_ENOMEM. */
kv_status rt_cache_cfg_new(const rt_hparams *hp, const rt_ctx_cfg *cfg, kv_cache_cfg *out, kv_err *err);
void rt_cache_cfg_free(kv_cache_cfg *cfg);

typedef struct rt_ctx rt_ctx;
kv_status rt_ctx_new(const rt_model *m, const rt_ctx_cfg *cfg, rt_ctx **out, kv_err *err);
void rt_ctx_free(rt_ctx *c);
kv_status rt_ctx_set_tap(rt_ctx *c, rt_tap tap, void *user, kv_err *err); /* NULL: none. KV_ENOMEM */
const rt_exec *rt_ctx_exec(const rt_ctx *c);                              /* its threads, between calls; borrowed */
kv_cache *rt_ctx_cache(rt_ctx *c);                                        /* borrowed */
uint32_t rt_ctx_n_ctx(const rt_ctx *c);
uint32_t rt_ctx_n_batch(const rt_ctx *c);
uint32_t rt_ctx_len(const rt_ctx *c);
void rt_ctx_clear(rt_ctx *c);

/* Run n tokens (1 <= n <= n_batch) at the next positions; logits (n_out, n_vocab) of the last n_out of them (0: none wanted).
 * KV_ERANGE: context full (says how many tokens fit) or a token id outside the vocabulary. Nothing is added on failure. */
kv_status rt_forward(rt_ctx *c, const int32_t *tokens, uint32_t n, uint32_t n_out, float *logits, kv_err *err);
/* The same for any n, in batches; logits of the last token only (n_vocab), or NULL. */
kv_status rt_prefill(rt_ctx *c, const int32_t *tokens, size_t n, float *logits, kv_err *err);

#endif
