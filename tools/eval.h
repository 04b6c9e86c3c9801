/* Measuring a cache setting: perplexity and KL divergence against the f32 cache, in one pass over the text.
 *
 * Protocol of llama.cpp's perplexity tool: the text is cut into chunks of ctx tokens (BOS replaces the first token of a chunk
 * where the model adds one), each chunk starts with an empty cache, and the tokens of its second half are scored. Two contexts
 * run in lock-step, one with the f32 cache and one with the setting, and every attended token is read from the cache as a
 * streaming decoder would see it. Matrix products are exact (f32), so that the figures show the cache and nothing else.
 */
#ifndef EVAL_H
#define EVAL_H

#include "model.h"

typedef struct eval_cfg {
    uint32_t ctx, chunks; /* chunks 0: all whole ones */
    rt_ctx_cfg cache;     /* the setting (n_ctx and n_batch are set by eval) */
    bool baseline;        /* false: skip the f32 run; KLD fields are NaN */
} eval_cfg;

typedef struct eval_result {
    double ppl, ppl_se, ppl_base, ppl_base_se;
    double kld, kld_se;           /* nats, setting against f32 cache */
    double top1;                  /* percent of tokens with the same most likely one */
    double dppl_percent, dppl_se; /* PPL against the f32 cache's, in percent, from paired differences */
    double bits_k, bits_v, seconds;
    size_t kv_bytes, kv_bytes_f16;
    uint32_t chunks;
    size_t tokens; /* scored */
} eval_result;

/* tokens: the whole text as tok_encode with TOK_BOS gives it, which is what llama.cpp cuts into chunks; borrowed. progress as
 * in calib.h. KV_ERANGE: fewer tokens than one chunk (says how many).
 */
kv_status eval_ppl(const rt_model *m, const eval_cfg *cfg, const int32_t *tokens, size_t n, bool (*progress)(void *, double),
                   void *user, eval_result *out, kv_err *err);

/* log(sum(exp(x[i]))) over n > 0 logits, in double. */
double eval_log_sum_exp(const float *x, size_t n);

#endif
