/* Going back to `depth` tokens after every measurement: by truncation where the cache can do that, else by copying the cache of
 * a second context that holds them (what left the window is encoded, and there is no way back from that).
 */
#include "measure/speed.h"

#include "base/clock.h"

#include <stdlib.h>

struct speed_bench {
    speed_cfg cfg;
    rt_ctx *ctx, *prefix; /* prefix: NULL at depth 0 */
    float *logits;
    int32_t *ids; /* (depth + the longer of both) */
};

static bool may_go_on(const speed_bench *b, double done) {
    return !b->cfg.progress || b->cfg.progress(b->cfg.user, done);
}

kv_status speed_new(const rt_model *m, const speed_cfg *cfg, speed_bench **out, kv_err *err) {
    const uint32_t n_vocab = rt_model_hparams(m)->n_vocab, more = cfg->prefill > cfg->decode ? cfg->prefill : cfg->decode;
    const uint32_t n = cfg->depth + more;
    kv_status st = KV_OK;
    speed_bench *b = calloc(1, sizeof *b);
    if (!b)
        return kv_fail(err, KV_ENOMEM, "out of memory for timing");
    b->cfg = *cfg;
    b->cfg.ctx.n_ctx = n;
    b->logits = malloc(n_vocab * sizeof *b->logits);
    b->ids = malloc(n * sizeof *b->ids);
    if (!b->logits || !b->ids) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %u tokens", n);
        goto done;
    }
    for (uint32_t i = 0; i < n; i++)
        b->ids[i] = (int32_t)((i * 37u + 11u) % (n_vocab < 1000 ? n_vocab : 1000));
    if ((st = rt_ctx_new(m, &b->cfg.ctx, &b->ctx, err)))
        goto done;
    if (cfg->depth && (st = rt_ctx_new(m, &b->cfg.ctx, &b->prefix, err)))
        goto done;
    for (uint32_t at = 0; at < cfg->depth && !st;) {
        const uint32_t batch = rt_ctx_n_batch(b->prefix), step = cfg->depth - at < batch ? cfg->depth - at : batch;
        st = may_go_on(b, (double)at / cfg->depth)
                 ? rt_forward(b->prefix, b->ids + at, step, 0, NULL, err)
                 : kv_fail(err, KV_ECANCEL, "stopped in the prefill of the first %u tokens", cfg->depth);
        at += step;
    }
done:
    if (st)
        speed_free(b);
    else
        *out = b;
    return st;
}

void speed_free(speed_bench *b) {
    if (!b)
        return;
    rt_ctx_free(b->ctx);
    rt_ctx_free(b->prefix);
    free(b->logits);
    free(b->ids);
    free(b);
}

size_t speed_kv_bytes(speed_bench *b) {
    return kv_cache_get_info(rt_ctx_cache(b->ctx)).bytes;
}

/* The context holds exactly the first `depth` tokens afterwards; untimed. */
static kv_status go_back(speed_bench *b, kv_err *err) {
    const uint32_t depth = b->cfg.depth;
    if (rt_ctx_len(b->ctx) >= depth && !kv_cache_truncate(rt_ctx_cache(b->ctx), depth, NULL))
        return KV_OK;
    return kv_cache_copy(rt_ctx_cache(b->ctx), rt_ctx_cache(b->prefix), err);
}

/* Time n tokens: in one piece, or one by one. done: how far speed_once is afterwards. */
static kv_status time_tokens(speed_bench *b, uint32_t n, bool one_by_one, double done, double *tps, kv_err *err) {
    const int32_t *ids = b->ids + b->cfg.depth;
    kv_status st = go_back(b, err);
    const double started = clock_now();
    if (!one_by_one && !st)
        st = rt_prefill(b->ctx, ids, n, b->logits, err);
    for (uint32_t i = 0; one_by_one && i < n && !st; i++)
        st = rt_forward(b->ctx, ids + i, 1, 1, b->logits, err);
    *tps = n / (clock_now() - started);
    if (!st && !may_go_on(b, done))
        st = kv_fail(err, KV_ECANCEL, "stopped while timing");
    return st;
}

kv_status speed_once(speed_bench *b, double *prefill_tps, double *decode_tps, kv_err *err) {
    kv_status st = time_tokens(b, b->cfg.prefill, false, 0.5, prefill_tps, err);
    return st ? st : time_tokens(b, b->cfg.decode, true, 1, decode_tps, err);
}
