/* Which cache a model's context gets: options over profile over f16, head by head. Needs no weights, so that sizes can be told
 * of a model that is not loaded. */
#include "model/model_internal.h"

#include <stdlib.h>
#include <string.h>

/* The codec of K or V of every head: the override, else the profile's, else f16. */
static kv_status select_codecs(const rt_hparams *hp, const rt_ctx_cfg *cfg, bool is_k, kv_codec_sel *sel, kv_err *err) {
    const prof *p = cfg->profile;
    const int override = is_k ? cfg->ctk : cfg->ctv;
    for (uint32_t l = 0; l < hp->n_layer; l++)
        for (uint32_t g = 0; g < rt_layer_stored(hp, l); g++) {
            kv_codec_sel *s = &sel[l * hp->n_kv_head + g];
            const prof_head h = !p ? (prof_head){.codec = KV_F16} : is_k ? prof_head_k(p, l, g) : prof_head_v(p, l, g);
            s->id = override >= 0 ? (kv_codec_id) override : h.codec;
            s->tc = h.tc;
            if (s->id == KV_TC && !s->tc)
                return kv_fail(err, KV_EINVAL, "codec 'tc' needs a calibrated profile (make one with kvcalib)");
        }
    return KV_OK;
}

/* What an option says, else the profile, else nothing. */
static uint32_t choose(int option, const prof *p, uint32_t of_profile) {
    return option >= 0 ? (uint32_t)option : p ? of_profile : 0;
}

/* Whether the budgets of heads in a profile are meant to be used. Those that come free with every calibration, by entropy, lose
 * more than equal ones (docs/budgets.md) and count only where somebody asked for them: the profile then has a budget or a
 * policy. */
static bool shares_heads(const prof *p) {
    const bool asked = kv_budget_given(p->evict.budget) || p->evict.policy != KV_EVICT_NONE;
    return p->layers && (p->budget_by == PROF_BY_LOSS || asked);
}

/* Ratios of the budgets of heads, as the profile has them. */
static kv_status head_weights(const rt_hparams *hp, const prof *p, const float **out, kv_err *err) {
    float *w = malloc((size_t)hp->n_layer * hp->n_kv_head * sizeof *w);
    if (!w)
        return kv_fail(err, KV_ENOMEM, "out of memory for the budgets of %u layers", hp->n_layer);
    for (uint32_t l = 0; l < hp->n_layer; l++)
        for (uint32_t h = 0; h < rt_layer_stored(hp, l); h++)
            w[l * hp->n_kv_head + h] = (float)(p->layers[l].budgets ? p->layers[l].budgets[h] : p->layers[l].budget);
    *out = w;
    return KV_OK;
}

/* What heads lose, as a profile by loss has it. Nothing where a layer of full attention does not say. */
static kv_status head_losses(const rt_hparams *hp, const prof *p, const float **out, kv_err *err) {
    const size_t row = (size_t)hp->n_kv_head * KV_CUTS;
    for (uint32_t l = 0; l < hp->n_layer; l++)
        if (p->budget_by != PROF_BY_LOSS || (!p->layers[l].losses && !rt_layer_swa(hp, l) && rt_layer_caches(hp, l)))
            return KV_OK;
    float *loss = calloc(hp->n_layer * row, sizeof *loss);
    if (!loss)
        return kv_fail(err, KV_ENOMEM, "out of memory for the losses of %u layers", hp->n_layer);
    for (uint32_t l = 0; l < hp->n_layer; l++)
        if (p->layers[l].losses)
            memcpy(loss + l * row, p->layers[l].losses, (size_t)rt_layer_stored(hp, l) * KV_CUTS * sizeof *loss);
    *out = loss;
    return KV_OK;
}

static kv_status head_queries(const rt_hparams *hp, const prof *p, kv_evict_cfg *out, kv_err *err) {
    const float **q = calloc(hp->n_layer, sizeof *q);
    if (!q)
        return kv_fail(err, KV_ENOMEM, "out of memory for the queries of %u layers", hp->n_layer);
    out->queries = q;
    for (uint32_t l = 0; l < hp->n_layer; l++)
        if (!p || !p->layers || (!(q[l] = p->layers[l].queries) && rt_layer_caches(hp, l)))
            return kv_fail(err, KV_EINVAL,
                           "eviction by expected attention needs a profile with queries (make one with kvcalib)");
    return KV_OK;
}

static bool all_have_queries(const rt_hparams *hp, const prof *p) {
    bool all = p->layers != NULL;
    for (uint32_t l = 0; all && l < hp->n_layer; l++)
        all = p->layers[l].queries || !rt_layer_caches(hp, l);
    return all;
}

/* What to keep: options over profile over everything. */
static kv_status select_eviction(const rt_hparams *hp, const rt_ctx_cfg *cfg, kv_evict_cfg *out, kv_err *err) {
    const prof *p = cfg->profile;
    const prof_evict from = p ? p->evict : PROF_EVICT_DEFAULT;
    const bool asked = kv_budget_given(cfg->budget);
    kv_status st = KV_OK;
    *out = (kv_evict_cfg){.policy = cfg->evict >= 0 ? (kv_evict_id)cfg->evict : from.policy,
                          .budget = asked ? cfg->budget : from.budget,
                          .ada = cfg->ada || from.ada,
                          .recent = cfg->recent >= 0 ? (uint32_t)cfg->recent : from.recent,
                          .near = (float)from.near,
                          .observe = from.observe,
                          .pool = from.pool};
    if (cfg->evict < 0 && asked && out->policy == KV_EVICT_NONE)
        out->policy = p && all_have_queries(hp, p) ? KV_EVICT_EXPECTED : KV_EVICT_SNAPKV;
    if (out->policy == KV_EVICT_NONE)
        return KV_OK;
    if (!kv_budget_given(out->budget))
        return kv_fail(err, KV_EINVAL,
                       "eviction by '%s' needs a budget: how many tokens to keep, or which share of the context",
                       kv_evict_names[out->policy].name);
    if (p && !cfg->equal_budgets && shares_heads(p)) {
        st = head_losses(hp, p, &out->loss, err);
        if (!st && !out->loss)
            st = head_weights(hp, p, &out->weight, err);
    }
    if (!st && kv_evict_names[out->policy].calibrated)
        st = head_queries(hp, p, out, err);
    return st;
}

uint32_t rt_ctx_tokens(const rt_hparams *hp, const rt_ctx_cfg *cfg) {
    return cfg->n_ctx ? cfg->n_ctx : hp->n_ctx_train < 4096 ? hp->n_ctx_train : 4096;
}

uint32_t rt_batch_tokens(const rt_hparams *hp, const rt_ctx_cfg *cfg) {
    const uint32_t n_batch = cfg->n_batch ? cfg->n_batch : RT_BATCH, n_ctx = rt_ctx_tokens(hp, cfg);
    return n_batch < n_ctx ? n_batch : n_ctx;
}

kv_status rt_cache_cfg_new(const rt_hparams *hp, const rt_ctx_cfg *wanted, kv_cache_cfg *out, kv_err *err) {
    const prof *p = prof_for_window(wanted->profile, wanted->window);
    rt_ctx_cfg own = *wanted;
    const rt_ctx_cfg *cfg = &own;
    own.profile = p;
    const size_t n = (size_t)hp->n_layer * hp->n_kv_head;
    kv_codec_sel *k = calloc(n, sizeof *k), *v = calloc(n, sizeof *v);
    uint32_t *swa = calloc(hp->n_layer, sizeof *swa);
    uint8_t *kind = calloc(hp->n_layer, sizeof *kind);
    kv_status st = KV_OK;
    *out = (kv_cache_cfg){
        .n_layer = hp->n_layer,
        .n_head = hp->n_head,
        .n_kv_head = hp->n_kv_head,
        .head_dim = hp->head_dim,
        .heads = hp->heads,
        .kv_heads = hp->kv_heads,
        .kv_layer = hp->kv_layer,
        .n_ctx = rt_ctx_tokens(hp, cfg),
        .n_batch = rt_batch_tokens(hp, cfg),
        .sinks = choose(cfg->sinks, p, p ? p->sinks : 0),
        .window = choose(cfg->window, p, p ? p->window : 0),
        .frame = p ? p->frame : 0,
        .rope = {.kind = kind},
        .cap = hp->attn_cap,
        .swa = swa,
        .k = k,
        .v = v,
    };
    if (!k || !v || !swa || !kind) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for the codecs of %u layers", hp->n_layer);
        goto done;
    }
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        swa[l] = rt_layer_swa(hp, l) ? hp->swa : 0;
        kind[l] = (uint8_t)rt_layer_rope(hp, l);
    }
    if (!(st = select_codecs(hp, cfg, true, k, err)))
        st = select_codecs(hp, cfg, false, v, err);
    if (!st)
        st = select_eviction(hp, cfg, &out->evict, err);
done:
    if (st)
        rt_cache_cfg_free(out);
    return st;
}

void rt_cache_cfg_free(kv_cache_cfg *cfg) {
    free((void *)cfg->k);
    free((void *)cfg->v);
    free((void *)cfg->swa);
    free((void *)cfg->rope.kind);
    free((void *)cfg->evict.weight);
    free((void *)cfg->evict.loss);
    free((void *)cfg->evict.queries);
    *cfg = (kv_cache_cfg){0};
}
