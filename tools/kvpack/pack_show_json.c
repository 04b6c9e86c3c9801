/* The profile as one JSON object. What is not known without the model is null. */
#include "cli/cli_json.h"
#include "cli/cli_profile.h"
#include "kvpack/pack_show.h"

#include <jansson.h>

enum { DIGITS = 9 };

static json_t *text_or_null(const char *s) {
    return *s ? cli_json_text(s) : json_null();
}

static json_t *real_or_null(double v) {
    return v > 0 ? json_real(v) : json_null();
}

static json_t *floats(const float *v, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; v && i < n; i++)
        cli_json_add(&list, json_real((double)v[i]));
    return list;
}

static json_t *json_head(prof_head h) {
    json_t *all = json_pack("{s:s, s:o}", "codec", kv_codec_names[h.codec].name, "bits", real_or_null((double)h.bits));
    if (h.tc) {
        char dims[PROF_DIMS_TEXT];
        float spectrum[PROF_SPECTRUM];
        prof_tc_dims(h.tc, dims);
        cli_json_set(&all, "dims", json_string(dims));
        cli_json_set(&all, "spectrum", floats(spectrum, prof_tc_spectrum(h.tc, spectrum)));
    }
    return all;
}

/* K or V of a layer: a name and bits, and every head; null where the layer stores none. */
static json_t *json_stream(const prof *p, const rt_hparams *hp, bool v, uint32_t layer) {
    const pack_stream stream = pack_sum(p, hp, v, layer);
    if (!pack_n_heads(p, hp, layer))
        return json_null();
    json_t *heads = json_array();
    for (uint32_t h = 0; h < pack_n_heads(p, hp, layer); h++)
        cli_json_add(&heads, json_head(pack_head(p, hp, v, layer, h)));
    return json_pack("{s:s, s:o, s:o}", "codec", stream.mixed ? "mixed" : kv_codec_names[stream.codec].name, "bits",
                     real_or_null(stream.bits), "heads", heads);
}

/* Of every KV head; null where the layer has one for all. */
static json_t *json_budgets(const prof *p, uint32_t layer) {
    const prof_layer *l = p->layers ? &p->layers[layer] : NULL;
    if (!l || !l->budgets)
        return json_null();
    json_t *list = json_array();
    for (uint32_t h = 0; h < prof_kv_heads(p, layer); h++)
        cli_json_add(&list, json_integer(l->budgets[h]));
    return list;
}

/* What is kept of a long context; null: all. */
static json_t *json_evict(const prof *p) {
    const prof_evict *e = &p->evict;
    char budget[KV_BUDGET_TEXT];
    if (e->policy == KV_EVICT_NONE)
        return json_null();
    kv_budget_format(e->budget, budget);
    return json_pack("{s:s, s:o, s:b, s:i, s:f, s:i, s:i}", "policy", kv_evict_names[e->policy].name, "budget",
                     kv_budget_given(e->budget) ? json_string(budget) : json_null(), "ada", e->ada, "recent", (int)e->recent,
                     "near", e->near, "observe", (int)e->observe, "pool", (int)e->pool);
}

static json_t *json_layers(const prof *p, const rt_hparams *hp) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < pack_n_layers(p, hp); i++) {
        const prof_layer *l = p->layers ? &p->layers[i] : NULL;
        cli_json_add(&list, json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "k", json_stream(p, hp, false, i), "v",
                                      json_stream(p, hp, true, i), "entropy", floats(l ? l->entropy : NULL, prof_heads(p, i)),
                                      "importance", floats(l ? l->importance : NULL, prof_kv_heads(p, i)), "budget",
                                      l ? (json_int_t)l->budget : 0, "budgets", json_budgets(p, i), "losses",
                                      floats(l ? l->losses : NULL, prof_kv_heads(p, i) * KV_CUTS)));
    }
    return list;
}

static json_t *json_override(const prof_override *o) {
    char text[PROF_RANGES_TEXT];
    json_t *all = json_object();
    if (o->layers.n) {
        prof_ranges_format(&o->layers, text);
        cli_json_set(&all, "layers", json_string(text));
    }
    if (o->heads.n) {
        prof_ranges_format(&o->heads, text);
        cli_json_set(&all, "heads", json_string(text));
    }
    if (o->k.set)
        cli_json_set(&all, "k", json_string(kv_codec_names[o->k.codec].name));
    if (o->v.set)
        cli_json_set(&all, "v", json_string(kv_codec_names[o->v.codec].name));
    return all;
}

static json_t *json_policy(const prof *p, const rt_hparams *hp) {
    json_t *windows = json_array();
    for (const prof *q = p; q; q = q->narrower)
        cli_json_add(&windows, json_integer(q->window));
    json_t *policy = json_pack("{s:i, s:i, s:o, s:o, s:o}", "sinks", (int)p->sinks, "window", (int)p->window, "windows",
                               windows, "evict", json_evict(p), "budget_by",
                               prof_has_budgets(p) ? json_string(prof_budget_by_name(p->budget_by)) : json_null());
    if (p->layers)
        return policy;
    prof by_default = *p;
    by_default.n_override = 0;
    cli_json_set(&policy, "k", json_head(pack_head(&by_default, hp, false, 0, 0)));
    cli_json_set(&policy, "v", json_head(pack_head(&by_default, hp, true, 0, 0)));
    json_t *overrides = json_array();
    for (uint32_t i = 0; i < p->n_override; i++)
        cli_json_add(&overrides, json_override(&p->overrides[i]));
    cli_json_set(&policy, "overrides", overrides);
    return policy;
}

/* Of all windows. */
static json_t *json_measured(const prof *p) {
    json_t *list = json_array();
    for (; p; p = p->narrower)
        for (uint32_t i = 0; i < p->n_measured; i++) {
            const prof_measured *m = &p->measured[i];
            cli_json_add(&list,
                         json_pack("{s:o, s:i, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "text",
                                   cli_json_text(m->text), "window", (int)p->window, "ctx", (json_int_t)m->ctx, "tokens",
                                   (json_int_t)m->tokens, "kld", m->kld, "kld_se", m->kld_se, "dppl_percent", m->dppl_percent,
                                   "top1", m->top1, "bits_k", m->bits_k, "bits_v", m->bits_v, "bytes_per_token",
                                   m->bytes_per_token, "f16_bytes_per_token", m->f16_bytes_per_token));
        }
    return list;
}

static json_t *json_facts(const prof *p) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->n_facts; i++) {
        const prof_facts *f = &p->facts[i];
        cli_json_add(&list, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "ctx", (json_int_t)f->ctx, "docs",
                                      (json_int_t)f->docs, "seed", (json_int_t)f->seed, "questions", (json_int_t)f->questions,
                                      "right_f16", (json_int_t)f->right_f16, "right", (json_int_t)f->right, "low", f->low,
                                      "high", f->high));
    }
    return list;
}

static json_t *json_model(const prof *p, const rt_hparams *hp) {
    return json_pack("{s:o, s:o, s:o, s:i, s:i, s:i, s:i}", "hash", text_or_null(p->model_hash), "name",
                     text_or_null(p->model_name), "arch", text_or_null(hp ? hp->arch : p->arch), "layers",
                     (int)(hp ? hp->n_layer : p->n_layer), "heads", (int)(hp ? hp->n_head : p->n_head), "kv_heads",
                     (int)(hp ? hp->n_kv_head : p->n_kv_head), "head_dim", (int)(hp ? hp->head_dim : p->head_dim));
}

static json_t *json_made(const prof *p) {
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:f}", "tool", text_or_null(p->tool_version), "text",
                     text_or_null(p->text_hash), "tokens", (json_int_t)p->calib_tokens, "ctx", (json_int_t)p->calib_ctx,
                     "entropy_sinks", (json_int_t)p->entropy_sinks, "seed", (json_int_t)p->seed, "target_bits", p->target_bits);
}

static json_t *json_sizes(const kv_cache_info *info) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < PACK_SIZES; i++)
        cli_json_add(&list, json_pack("{s:I, s:I, s:I}", "tokens", (json_int_t)pack_tokens[i], "f16_bytes",
                                      (json_int_t)info[i].bytes_f16, "bytes", (json_int_t)info[i].bytes));
    return list;
}

kv_status pack_show_json(const prof *p, const rt_hparams *hp, const char *where, kv_err *err) {
    kv_cache_info info[PACK_SIZES];
    pack_token token;
    kv_status st = pack_token_bytes(p, hp, &token, err);
    if (st || (hp && (st = pack_sizes(p, hp, info, err))))
        return st;
    json_t *all = json_pack("{s:o, s:i, s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "file",
                            cli_json_text(where), "version", (int)prof_version(p), "model", json_model(p, hp), "made",
                            json_made(p), "policy", json_policy(p, hp), "aim", "bits", real_or_null(p->aim_bits), "kld",
                            real_or_null(p->aim_kld), "measured", json_measured(p), "facts", json_facts(p), "folded_from",
                            text_or_null(hp ? hp->folded_from : ""), "fold_for", text_or_null(p->fold_for), "folding",
                            cli_profile_folding(p), "layers", json_layers(p, hp), "bytes_per_token", real_or_null(token.bytes),
                            "f16_bytes_per_token", real_or_null(token.f16), "cache", hp ? json_sizes(info) : json_null());
    return cli_json_print(all, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS), err);
}
