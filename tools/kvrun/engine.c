#include "kvrun/engine.h"

#include "base/format.h"

#include <stdio.h>

/* Whether options say all of the cache, so that no profile matters. */
static bool all_by_option(const cli_cache *c) {
    return c->ctk >= 0 && c->ctv >= 0;
}

static kv_status open_format(engine *e, kv_err *err) {
    const char *template = e->cfg.template;
    kv_err why = {0}; /* of the model's own template, which cli_note_plain says again */
    kv_status st = chat_open(rt_model_gguf(e->model), rt_model_tok(e->model), template, &e->format, &why);
    if (st && (template || st == KV_ENOMEM))
        return kv_fail(err, st, "%s%s", template ? "--chat-template: " : "", why.msg);
    return KV_OK;
}

kv_status engine_open(const engine_cfg *cfg, engine *out, kv_err *err) {
    cli_model m;
    *out = (engine){.cfg = *cfg};
    kv_status st = cli_model_open(cfg->tool, cfg->model, cfg->cache->profile, cfg->machine, false, true, &m, err);
    if (st)
        return st;
    out->model = m.model;
    out->profile = m.profile;
    if (!out->profile && !cfg->cache->profile && !all_by_option(cfg->cache) &&
        (st = cli_shipped_profile(cfg->tool, rt_model_hash(m.model), rt_model_hparams(m.model), &out->profile, out->shipped,
                                  err)))
        return st;
    return cfg->plain ? KV_OK : open_format(out, err);
}

void engine_close(engine *e) {
    chat_free(e->format);
    cli_model_close(&(cli_model){e->model, e->profile});
    *e = (engine){0};
}

kv_status engine_ctx_cfg(const engine *e, int64_t n_ctx, rt_ctx_cfg *out, kv_err *err) {
    const uint32_t trained = rt_model_hparams(e->model)->n_ctx_train;
    kv_status st = cli_cache_cfg(e->cfg.cache, e->profile, out, err);
    if (st)
        return st;
    out->checkpoint_every = RT_CHECKPOINT_EVERY;
    out->n_ctx = n_ctx > 0 ? (uint32_t)n_ctx : n_ctx == 0 ? trained : 0;
    if (out->n_ctx > trained)
        cli_note(e->cfg.tool, "a context of %u tokens is more than the %u the model was trained for", out->n_ctx, trained);
    return KV_OK;
}

kv_status engine_gen(engine *e, gen_cfg *cfg, gen **out, kv_err *err) {
    kv_status st = gen_new(e->model, cfg, out, err);
    if (st != KV_ERANGE || !*e->shipped)
        return st;
    /* found out only now: its transforms cannot be inverted */
    cli_note(e->cfg.tool, "warning: the profile shipped for this model is left aside: %s: %s", e->shipped, err->msg);
    prof_free(e->profile);
    cfg->ctx.profile = e->profile = NULL;
    return gen_new(e->model, cfg, out, err);
}

void engine_say_cache(const engine *e, gen *g) {
    const cli_cache *o = e->cfg.cache;
    const prof *p = e->profile;
    const kv_cache_info info = kv_cache_get_info(rt_ctx_cache(gen_ctx(g)));
    char now[24], f16[24], source[CLI_PROFILE_PATH + 128] = "no profile, f16 cache";
    const bool override = cli_cache_given(o);
    if (p && all_by_option(o))
        snprintf(source, sizeof source, "profile overridden");
    else if (p && *e->shipped)
        snprintf(source, sizeof source, "profile %s is for this model and applies%s (--profile none: without)", e->shipped,
                 override ? ", changed by options" : "");
    else if (p)
        snprintf(source, sizeof source, "profile %s applies%s", o->profile ? o->profile : "in the model file",
                 override ? ", changed by options" : "");
    else if (override)
        snprintf(source, sizeof source, "no profile, cache set by options");
    cli_note(e->cfg.tool, "%s: K %.2f, V %.2f bits; %u tokens take %s (f16: %s, %.1fx)", source, info.bits_k, info.bits_v,
             rt_ctx_n_ctx(gen_ctx(g)), format_bytes((double)info.bytes, now), format_bytes((double)info.bytes_f16, f16),
             info.bytes ? (double)info.bytes_f16 / (double)info.bytes : 0);
    if (info.most < rt_ctx_n_ctx(gen_ctx(g)))
        cli_note(e->cfg.tool,
                 "a budget applies: KV heads keep %.0f tokens on average; what else they have read is forgotten (--evict none: "
                 "all is kept)",
                 info.most);
    cli_note_window(e->cfg.tool, p, o->window);
    if (!p && !override && !o->profile)
        engine_say_gain(e, g);
}
