/* Inside of a model: weights by layer, and the traits of an architecture. Shared by arch.c, model.c and forward.c. */
#ifndef RT_MODEL_INTERNAL_H
#define RT_MODEL_INTERNAL_H

#include "machine/memory.h"
#include "mat/mat.h"
#include "model/model.h"

/* Norms of queries and keys. */
typedef enum rt_qk_norm {
    RT_QK_NONE,
    RT_QK_HEADS, /* every head by the same weights, (key_dim) */
    RT_QK_MAY,   /* the same, where the model has them */
    RT_QK_EACH,  /* every head by weights of its own, (n_head, key_dim); where the model has them */
    RT_QK_ROW    /* all heads of a token as one vector, (n_head * key_dim) */
} rt_qk_norm;

/* What sets one architecture apart; a row of the table in arch.c. Everything else follows from keys and tensors: biases,
 * projections that lie in one tensor, multipliers, RoPE scaling; without an FFN norm, attention and FFN read the same normed
 * stream. */
typedef struct rt_arch {
    const char *name;
    bool rope_neox;   /* pairs (i, i + n_rot/2); else adjacent pairs */
    bool layer_norm;  /* norms take the mean off, and may have biases; else RMS norms */
    bool no_pre_norm; /* attention and FFN read the stream as it is */
    bool parallel;    /* the FFN may have no norm of its own */
    bool post_norm;   /* norms of what attention and FFN add to the stream */
    rt_qk_norm qk_norm;
    bool qk_norm_after_rope;
    bool gelu;                     /* GELU (tanh form); else SiLU */
    bool plain_ffn;                /* no gate */
    bool scale_embd;               /* embeddings times sqrt(n_embd) */
    bool multipliers;              /* of embeddings, scores and what blocks add, from the file */
    bool scales_logits;            /* logits are multiplied with logit_scale, */
    bool divides_logits;           /* or divided by it */
    bool caps_logits, caps_scores; /* where the file says so */
    bool temperature;              /* queries grow with their position where the file says so */
    const char *ffn_norm;          /* name of its tensor; NULL: ffn_norm */
    bool experts;                  /* may have them, */
    bool experts_own_ff;           /* whose width has a key of its own */
    bool experts_as_is;            /* the weights of those chosen are not made to sum to 1, unless the file says so */
    bool router_keys;              /* the file may say how its router goes about it: expert_gating_func and so on */
    bool router_sigmoid;           /* what it does where the file does not say */
    bool dense_layers;             /* the first layers, or all but every so many, may have an FFN instead of experts */
    bool shared_by_count;          /* the width of the shared expert is that of an expert times a number from the file */
    bool shared_as_ff;             /* there is a shared expert as wide as the FFN, unless the file says otherwise */
    bool nextn;                    /* the file may have layers at its end that are not read */
    bool sparse;                   /* layers may be without attention, have its output matrix alone, or be without an FFN */
    bool shares_kv;                /* the last layers may read the keys and values of earlier ones */
    uint32_t swa;                  /* sliding window where the file has none */
    uint32_t swa_every;            /* with a sliding window: every how many layers attention is full, unless the file says so */
    float swa_rope_base;           /* RoPE base of sliding layers, unless the file says so; 0: that of the others */
    bool swa_rope_scaled;          /* RoPE scaling is for sliding layers, too */
    bool rope_swa_only;            /* with a sliding window: full layers do not rotate */
    uint32_t rope_none_every;      /* every how many layers there is no rotation; or 0 */
    uint32_t wide_at;              /* a model of so many layers scales scores by the width of the stream per head; or 0 */
} rt_arch;

/* Tokens of a context, and the most of them in a step, that cfg means, defaults filled in. */
uint32_t rt_ctx_tokens(const rt_hparams *hp, const rt_ctx_cfg *cfg);
uint32_t rt_batch_tokens(const rt_hparams *hp, const rt_ctx_cfg *cfg);

const rt_arch *rt_arch_find(const char *name, size_t len);

/* Weights of a norm (NULL: there is none) and what is added (NULL: nothing). */
typedef struct rt_norm {
    const float *w, *b;
} rt_norm;

/* A mixture of experts (Shazeer et al., arXiv:1701.06538; Fedus et al., 2101.03961): FFNs of which a router chooses some for
 * each token, and one that all tokens go through. */
typedef struct rt_experts {
    rt_mat *router;                                /* (n_expert, n_embd) */
    rt_mat **gate, **up, **down;                   /* (n_expert) */
    rt_mat *shared_gate, *shared_up, *shared_down; /* NULL: there is none */
    const float *shared_weight; /* (n_embd) the sigmoid of its product with the input weighs the shared one; NULL: 1 */
    const float *bias;          /* (n_expert) is added to the router's answers to choose by, not to weigh with; or NULL */
} rt_experts;

/* One transformer block. Norms and biases are f32 vectors; NULL where the model has none. */
typedef struct rt_layer {
    rt_norm attn_norm, q_norm, k_norm, post_attn_norm, ffn_norm, post_ffn_norm;
    const float *q_bias, *k_bias, *v_bias, *o_bias, *gate_bias, *up_bias, *down_bias;
    rt_mat *q, *k, *v, *o, *gate, *up, *down;
    rt_experts experts; /* instead of gate, up and down, where it has a router */
} rt_layer;

/* Does attention read the same normed stream as the FFN? Then both are added at the end. */
static inline bool rt_layer_parallel(const rt_arch *a, const rt_layer *y) {
    return a->parallel && !y->ffn_norm.w;
}

/* identity.c */
typedef struct rt_identity rt_identity;
kv_status rt_identity_new(const char *folder, rt_identity **out, kv_err *err);
void rt_identity_free(rt_identity *id); /* NULL is fine */

struct rt_model {
    bool borrowed; /* everything it points to is another's */
    rt_hparams hp;
    const rt_arch *arch;
    rt_exec exec;
    rt_arena weights; /* packed */
    gguf *file;
    tok *tok;
    char hash[33];
    rt_identity *identity;
    const gguf_tensor *embd; /* (n_vocab, n_embd), rows dequantised on demand */
    rt_norm output_norm;     /* (n_embd) */
    rt_mat *output;          /* (n_vocab, n_embd) */
    rt_layer *layers;        /* (n_layer) */
    rt_mat **mats;           /* (n_mats) of all layers */
    size_t n_mats;
    rt_mat **experts; /* (n_layer, 3, n_expert) what layers point to; NULL in layers without them */
    float *vectors;   /* all norms and biases, back to back; layers point into it */
    float *inv_freq;  /* (2, RT_ROPE_KINDS, n_rot/2) rotations per position; the second for long contexts */
    bool has_long;    /* the second is another */
};

static inline uint32_t rt_widest_ff(const rt_hparams *hp) {
    const uint32_t a = hp->n_ff > hp->n_ff_expert ? hp->n_ff : hp->n_ff_expert;
    return a > hp->n_ff_shared ? a : hp->n_ff_shared;
}

/* ---- unknown.c ---- */

/* KV_EUNSUPP: names the architecture, why it does not run where that is known, and those that do. */
kv_status rt_unknown_arch(const gguf *g, gguf_str name, kv_err *err);

/* ---- keys.c ---- */

/* KV_EUNSUPP: a key changes what the model computes in a way that is not supported; it is named. */
kv_status rt_check_keys(const gguf *g, const rt_arch *a, kv_err *err);

/* ---- finite.c ---- */

bool rt_all_finite(const float *x, size_t n);
/* KV_ERANGE: NaN or Inf among the n numbers, of which `what` says what they are, that `layer` computed (n_layer: what comes
 * behind the layers). The message names the tensor that has such weights. */
kv_status rt_check_finite(const rt_model *m, const float *x, size_t n, uint32_t layer, const char *what, kv_err *err);

/* ---- hparams.c ---- */

/* Of m->file, into m->arch and m->hp. */
kv_status rt_read_hparams(rt_model *m, kv_err *err);
/* The same frequencies of a context of n_ctx tokens. */
const float *rt_inv_freq(const rt_model *m, uint32_t n_ctx);
/* Frequencies of all kinds of layers, (RT_ROPE_KINDS, n_rot/2); divide (n_rot/2): of every pair, or NULL. */
void rt_fill_inv_freq(const rt_hparams *hp, const float *divide, float *inv_freq);

#endif
