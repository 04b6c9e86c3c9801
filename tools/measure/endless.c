#include "measure/endless.h"

#include "base/clock.h"
#include "eval/eval.h"

#include <stdlib.h>

enum { BATCH = 128 };

/* Where the context is full, and nothing is forgotten in place: drop what is to go; the rest is read again with what follows.
 */
static void find_room(rt_session *s, endless_way way, uint32_t at_once, uint32_t from) {
    const uint32_t n_ctx = rt_ctx_n_ctx(rt_session_ctx(s));
    if (way == ENDLESS_IN_PLACE || rt_session_len(s) < n_ctx)
        return;
    rt_session_cut(s, from, way == ENDLESS_HALF ? (n_ctx - from) / 2 : at_once);
}

/* Tokens at .. at+n-1, of which row i predicts token at+i+1. */
static void score(const int32_t *ids, size_t at, uint32_t n, size_t end, const float *logits, uint32_t n_vocab, uint32_t part,
                  endless_part *out) {
    for (size_t i = 0; i < n && at + i + 1 < end; i++) {
        const float *row = logits + i * n_vocab;
        endless_part *p = &out[(at + i + 1) / part];
        p->nll += eval_log_sum_exp(row, n_vocab) - (double)row[ids[at + i + 1]];
        p->tokens++;
    }
}

kv_status endless_run(const rt_model *m, const endless_cfg *cfg, endless_way way, const int32_t *ids, size_t n,
                      kv_progress progress, void *user, endless_part *out, size_t *kv_bytes, uint32_t *at_once, kv_err *err) {
    const uint32_t n_vocab = rt_model_hparams(m)->n_vocab;
    float *logits = malloc(sizeof *logits * BATCH * n_vocab);
    rt_session *s = NULL;
    uint32_t from;
    kv_status st = logits ? rt_session_new(m, &cfg->ctx, &s, err) : kv_fail(err, KV_ENOMEM, "out of memory for logits");
    if (st || (st = rt_session_endless(s, cfg->keep, cfg->forget, err)))
        goto done;
    const uint32_t n_ctx = rt_ctx_n_ctx(rt_session_ctx(s)), n_batch = rt_ctx_n_batch(rt_session_ctx(s));
    *at_once = rt_session_forgets(s, &from);
    *kv_bytes = kv_cache_get_info(rt_ctx_cache(rt_session_ctx(s))).bytes;
    for (size_t i = 0; i < (n + cfg->part - 1) / cfg->part; i++)
        out[i] = (endless_part){0};
    for (size_t at = 0; at < n && !st;) {
        const double started = clock_now();
        find_room(s, way, *at_once, from);
        size_t some = n - at < BATCH ? n - at : BATCH;
        some = some < n_batch ? some : n_batch;
        if (way != ENDLESS_IN_PLACE && some > n_ctx - rt_session_len(s))
            some = n_ctx - rt_session_len(s);
        if (progress && !progress(user, (double)at / (double)n))
            st = kv_fail(err, KV_ECANCEL, "stopped after %zu of %zu tokens", at, n);
        else
            st = rt_session_forward(s, ids + at, (uint32_t)some, (uint32_t)some, logits, err);
        if (st)
            break;
        out[at / cfg->part].seconds += clock_now() - started;
        score(ids, at, (uint32_t)some, n, logits, n_vocab, cfg->part, out);
        at += some;
    }
done:
    rt_session_free(s);
    free(logits);
    return st;
}
