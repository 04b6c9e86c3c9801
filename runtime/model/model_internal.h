/* Inside of a model: weights by layer, and the traits of an architecture. Shared by arch.c, model.c and forward.c. */
#ifndef RT_MODEL_INTERNAL_H
#define RT_MODEL_INTERNAL_H

#include "machine/memory.h"
#include "mat/mat.h"
#include "model/model.h"

/* What sets one architecture apart; a row of the table in arch.c. Everything else follows from keys and tensors. */
typedef struct rt_arch {
    const char *name;
    bool rope_neox;     /* pairs (i, i + n_rot/2); else adjacent pairs */
    bool qk_norm;       /* RMS norm of every q and k head before RoPE */
    bool post_norm;     /* RMS norm of what attention and FFN add to the stream */
    bool gelu;          /* gated GELU (tanh form); else SiLU */
    bool scale_embd;    /* embeddings times sqrt(n_embd) */
    uint32_t swa_every; /* with a sliding window: every how many layers attention is full */
    uint32_t wide_at;   /* a model of so many layers scales scores by the width of the stream per head, not by head_dim; or 0 */
} rt_arch;

/* Tokens of a context, and the most of them in a step, that cfg means, defaults filled in. */
uint32_t rt_ctx_tokens(const rt_hparams *hp, const rt_ctx_cfg *cfg);
uint32_t rt_batch_tokens(const rt_hparams *hp, const rt_ctx_cfg *cfg);

const rt_arch *rt_arch_find(const char *name, size_t len);

/* One transformer block. Norms and biases are f32 vectors in the mapping's place or copies; NULL where the model has none. */
typedef struct rt_layer {
    const float *attn_norm, *q_norm, *k_norm, *post_attn_norm, *ffn_norm, *post_ffn_norm;
    const float *q_bias, *k_bias, *v_bias, *o_bias;
    rt_mat *q, *k, *v, *o, *gate, *up, *down;
} rt_layer;

struct rt_model {
    bool borrowed; /* everything it points to is another's */
    rt_hparams hp;
    const rt_arch *arch;
    rt_exec exec;
    rt_arena weights; /* packed */
    gguf *file;
    tok *tok;
    char hash[33];
    const gguf_tensor *embd;  /* (n_vocab, n_embd), rows dequantised on demand */
    const float *output_norm; /* (n_embd) */
    rt_mat *output;           /* (n_vocab, n_embd) */
    rt_layer *layers;         /* (n_layer) */
    float *vectors;           /* all norms and biases, back to back; layers point into it */
    float *inv_freq;          /* (2, n_rot/2) rotations per position: full layers, sliding-window layers */
};

#endif
