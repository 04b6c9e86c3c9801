/* Before anything is run: whether a calibration can end well.
 *
 * What the end of it would find out needs no statistics: the cache of a profile is laid out by its policy and its bits alone.
 * So a stand-in of the smallest profile goes through all that the finished one will: the cache that it is measured with, and
 * the size of the one that is to fit.
 */
#include "base/format.h"
#include "calibrate/calibrate_budget.h"
#include "quant/trellis.h"

static const double SLACK = 1.02; /* heads of a finished profile are not all alike */

static kv_status check_windows(const calibrate_cfg *cfg, kv_err *err) {
    uint32_t last = cfg->window;
    if (cfg->n_narrower >= PROF_MAX_WINDOWS)
        return kv_fail(err, KV_EINVAL, "a profile holds transforms for %d windows at most, not for %u", PROF_MAX_WINDOWS,
                       cfg->n_narrower + 1);
    for (uint32_t i = 0; i < cfg->n_narrower; last = cfg->narrower[i++].window)
        if (cfg->narrower[i].window >= last)
            return kv_fail(err, KV_EINVAL, "a window of %u is not narrower than one of %u", cfg->narrower[i].window, last);
    return KV_OK;
}

static kv_status check_chunks(const calibrate_cfg *cfg, const rt_hparams *hp, kv_err *err) {
    if (cfg->ctx > hp->n_ctx_train)
        return kv_fail(err, KV_EINVAL, "chunks of %u tokens are longer than the %u that the model was trained for", cfg->ctx,
                       hp->n_ctx_train);
    if (cfg->sinks >= cfg->ctx / 2)
        return kv_fail(err, KV_EINVAL, "%u sinks leave too little of a chunk of %u tokens", cfg->sinks, cfg->ctx);
    if (cfg->window > cfg->ctx / 2)
        return kv_fail(err, KV_EINVAL,
                       "a window of %u leaves too little of a chunk of %u tokens to calibrate for; take longer chunks",
                       cfg->window, cfg->ctx);
    return check_windows(cfg, err);
}

/* A head of CALIBRATE_LEAST_BITS per element, gain included, in the basis that it came in. */
static kv_status stand_in_head(prof_tc *t, uint32_t dim, kv_err *err) {
    kv_status st = prof_tc_alloc(t, dim, err);
    for (uint32_t i = 0; i < dim && !st; i++) {
        t->bits[i] = i + TRELLIS_GAIN_BITS < CALIBRATE_LEAST_BITS * dim;
        t->basis[(size_t)i * dim + i] = 1;
        t->sigma[i] = 1;
    }
    for (int b = 0; b <= PROF_MAX_BITS && !st; b++)
        t->step[b] = 1;
    return st;
}

void calibrate_heads(const rt_hparams *hp, uint16_t heads[PROF_MAX_LAYERS], uint16_t stored[PROF_MAX_LAYERS]) {
    rt_prof_shape(hp, stored);
    for (uint32_t l = 0; l < hp->n_layer; l++)
        heads[l] = hp->kv_heads[l] ? hp->heads[l] : 0;
}

kv_status calibrate_new_profile(const rt_hparams *hp, prof **out, kv_err *err) {
    uint16_t heads[PROF_MAX_LAYERS], stored[PROF_MAX_LAYERS];
    calibrate_heads(hp, heads, stored);
    kv_status st = prof_new(hp->n_layer, hp->n_head, hp->n_kv_head, hp->head_dim, out, err);
    if (!st && (st = prof_set_heads(*out, heads, stored, err))) {
        prof_free(*out);
        *out = NULL;
    }
    return st;
}

/* Of the model's shape, with the policy that is asked for. Caller frees with prof_free, in any case. */
static kv_status stand_in(const calibrate_cfg *cfg, const rt_hparams *hp, prof **out, kv_err *err) {
    *out = NULL;
    kv_status st = calibrate_new_profile(hp, out, err);
    for (uint32_t l = 0; l < hp->n_layer && !st; l++) {
        prof_layer *y = &(*out)->layers[l];
        for (uint32_t h = 0; h < rt_layer_stored(hp, l) && !st; h++)
            if (!(st = stand_in_head(&y->k.heads[h], hp->head_dim, err)))
                st = stand_in_head(&y->v.heads[h], hp->head_dim, err);
        if (!st && rt_layer_caches(hp, l))
            st = prof_queries_alloc(*out, y, err);
    }
    if (st)
        return st;
    (*out)->sinks = cfg->sinks;
    (*out)->window = cfg->window;
    (*out)->frame = cfg->frame;
    (*out)->evict = cfg->evict;
    return KV_OK;
}

kv_status calibrate_cache_bytes(const rt_hparams *hp, const prof *p, uint32_t n_ctx, size_t *bytes, kv_err *err) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    kv_cache_cfg cache;
    kv_cache_info info;
    cfg.profile = p;
    cfg.n_ctx = n_ctx;
    kv_status st = rt_cache_cfg_new(hp, &cfg, &cache, err);
    if (st)
        return st;
    st = kv_cache_size(&cache, &n_ctx, 1, &info, err);
    rt_cache_cfg_free(&cache);
    if (!st)
        *bytes = info.bytes;
    return st;
}

static kv_status check_measuring(const calibrate_cfg *cfg, const rt_hparams *hp, const prof *p, kv_err *err) {
    kv_err why = {0};
    size_t bytes;
    kv_status st = calibrate_cache_bytes(hp, p, cfg->ctx, &bytes, &why);
    if (!st || !kv_budget_given(cfg->evict.budget))
        return st ? kv_fail(err, st, "%s", why.msg) : st;
    return kv_fail(err, st, "%s; or longer chunks: what the profile loses is measured in a context of one, %u tokens", why.msg,
                   cfg->ctx);
}

static kv_status check_fit(const calibrate_aim *aim, const rt_hparams *hp, const prof *p, kv_err *err) {
    char a[FORMAT_BYTES], b[FORMAT_BYTES];
    size_t least = 0;
    kv_status st = calibrate_cache_bytes(hp, p, aim->fit_ctx, &least, err);
    if (st || (double)least <= SLACK * (double)aim->fit_bytes)
        return st;
    return kv_fail(err, KV_ERANGE,
                   "%u tokens do not fit into %s: with 1 bit per number they take %s; give more memory, fewer tokens, or a "
                   "smaller window",
                   aim->fit_ctx, format_bytes((double)aim->fit_bytes, a), format_bytes((double)least, b));
}

kv_status calibrate_check(const rt_hparams *hp, const calibrate_cfg *cfg, const calibrate_aim *aim, kv_err *err) {
    prof *p = NULL;
    kv_status st = check_chunks(cfg, hp, err);
    if (st || !aim || (st = stand_in(cfg, hp, &p, err)))
        goto done;
    if (aim->measure || aim->kld > 0)
        st = check_measuring(cfg, hp, p, err);
    if (!st && aim->fit_bytes)
        st = check_fit(aim, hp, p, err);
done:
    prof_free(p);
    return st;
}
