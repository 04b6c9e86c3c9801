/* Measuring cache settings: perplexity and KL divergence against an exact cache, all settings in one pass over the text.
 *
 * Protocol of llama.cpp's perplexity tool: the text is cut into chunks of ctx tokens (BOS replaces the first token of a chunk
 * where the model adds one), each chunk starts with an empty cache, and the tokens of its second half are scored. One context
 * per setting and one for the baseline run in lock-step, and every attended token is read from the cache as a streaming decoder
 * would see it. Matrix products should be exact (f32), so that the figures show the cache and nothing else; where tokens are
 * timed, those of real use. Timed tokens are read by one setting after the other, token by token, so that a machine that is
 * disturbed disturbs them all alike.
 */
#ifndef EVAL_H
#define EVAL_H

#include "base/progress.h"
#include "model/model.h"

enum { EVAL_NO_BASELINE = -1, EVAL_CACHE_BYTES = 1 << 30 };

typedef struct eval_setting {
    const char *name; /* for messages; or NULL */
    rt_ctx_cfg cache; /* n_ctx and n_batch are set by who measures */
} eval_setting;

typedef struct eval_cfg {
    uint32_t ctx, chunks; /* chunks 0: all whole ones */
    uint32_t decode; /* so many tokens at the end of the last chunk are read one by one and timed; they must be scored ones */
    int baseline;    /* kv_codec_id of the cache to compare with; EVAL_NO_BASELINE: what needs it is NaN */
    size_t cache_bytes; /* of caches at once; 0: EVAL_CACHE_BYTES */
} eval_cfg;

typedef struct eval_result {
    double ppl, ppl_se, ppl_base, ppl_base_se;
    double kld, kld_se; /* mean over tokens, nats: KL(baseline || setting) */
    double kld_p50, kld_p90, kld_p99, kld_p999, kld_max;
    double top1;                    /* percent of tokens with the same most likely one */
    double dppl_percent, dppl_se;   /* PPL against the baseline's, in percent, from paired differences */
    double bits_k, bits_v, seconds; /* seconds: of the whole run */
    size_t kv_bytes, kv_bytes_f16;
    double sinks, newest, chosen; /* what an eviction leaves, by why it stays: kv_cache_info */
    double held;                  /* tokens that a KV head of full attention holds at the end of a chunk, mean */
    double reads_percent;         /* tokens that queries have read, of those that they would have read without eviction */
    double decode_tps;            /* tokens a second of those that were timed; NaN without */
    uint32_t chunks;
    size_t tokens; /* scored */
} eval_result;

/* Measure n_settings > 0 settings; out: one result each, the same as if it had been measured alone. As many run at once as keep
 * their caches within cfg->cache_bytes; the baseline is computed once for each such group.
 * tokens: the whole text as tok_encode with TOK_BOS gives it, which is what llama.cpp cuts into chunks; borrowed.
 * KV_ECANCEL where progress (or NULL) says so. KV_ERANGE: fewer tokens than one chunk (says how many). Every setting is tried
 * out before anything is measured.
 */
kv_status eval_run(const rt_model *m, const eval_cfg *cfg, const eval_setting *settings, size_t n_settings,
                   const int32_t *tokens, size_t n_tokens, kv_progress progress, void *user, eval_result *out, kv_err *err);

/* log(sum(exp(x[i]))) over n > 0 logits, in double. */
double eval_log_sum_exp(const float *x, size_t n);

/* The value below which `share` (0..1) of n > 0 ascending values lie, interpolated between neighbours as llama.cpp does. */
double eval_percentile(const double *ascending, size_t n, double share);

#endif
