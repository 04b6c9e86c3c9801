#include "api/api_internal.h"
#include "shipped/shipped.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

kv_status api_profile(prof *p, kv_profile **out, kv_err *err) {
    kv_profile *k = malloc(sizeof *k);
    if (!k) {
        prof_free(p);
        return kv_fail(err, KV_ENOMEM, "out of memory for a profile");
    }
    k->p = p;
    *out = k;
    return KV_OK;
}

void kv_profile_free(kv_profile *profile) {
    if (profile)
        prof_free(profile->p);
    free(profile);
}

/* ---- files ---- */

kv_status kv_profile_load(const char *path, kv_profile **out, kv_err *err) {
    prof *p = NULL;
    *out = NULL;
    if (!path)
        return api_missing("path of a profile", err);
    kv_status st = prof_load(path, &p, err);
    return st ? st : api_profile(p, out, err);
}

kv_status kv_profile_save(const kv_profile *profile, const char *path, kv_err *err) {
    return path ? prof_save(profile->p, path, err) : api_missing("path for the profile", err);
}

kv_status kv_profile_of_model(const kv_model *model, kv_profile **out, kv_err *err) {
    prof *p = NULL;
    *out = NULL;
    kv_status st = prof_from_gguf(rt_model_gguf(model->rt), NULL, &p, err);
    return st || !p ? st : api_profile(p, out, err);
}

/* ---- shipped ---- */

kv_status kv_profile_directory(char **out, kv_err *err) {
    char path[SHIPPED_PATH];
    shipped_directory(path);
    *out = strdup(path);
    return *out ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for a path");
}

kv_status kv_profile_find(const char *directory, const char *name, kv_profile **out, kv_err *err) {
    char own[SHIPPED_PATH], path[SHIPPED_PATH], known[SHIPPED_KNOWN];
    *out = NULL;
    if (!name)
        return api_missing("name of a profile", err);
    if (!directory)
        shipped_directory(own);
    const char *dir = directory ? directory : own;
    bool found;
    kv_status st = shipped_by_name(&dir, 1, name, &found, path, known, err);
    if (st)
        return st;
    if (!found)
        return kv_fail(err, KV_EINVAL, "no profile '%.80s' in %.400s; there are: %s", name, dir, *known ? known : "none");
    return kv_profile_load(path, out, err);
}

kv_status kv_profile_for_model(const char *directory, const kv_model *model, kv_profile **out, kv_err *err) {
    char own[SHIPPED_PATH], path[SHIPPED_PATH];
    uint16_t stored[PROF_MAX_LAYERS];
    const prof_shape shape = rt_prof_shape(rt_model_hparams(model->rt), stored);
    *out = NULL;
    if (!directory)
        shipped_directory(own);
    const char *dir = directory ? directory : own;
    prof *p = NULL;
    kv_status st = shipped_by_model(&dir, 1, rt_model_hash(model->rt), &shape, &p, path, NULL, NULL, err);
    return st || !p ? st : api_profile(p, out, err);
}

/* ---- facts ---- */

kv_status kv_profile_fits(const kv_profile *profile, const kv_model *model, kv_err *err) {
    return rt_profile_fits(rt_model_hparams(model->rt), rt_model_hash(model->rt), profile->p, "the profile", err);
}

/* Mean over the heads of a layer; 0: it stores nothing. */
static double layer_bits(const prof *p, uint32_t layer, bool key) {
    const uint32_t n = p->n_kv_head ? prof_kv_heads(p, layer) : 1;
    double sum = 0;
    for (uint32_t h = 0; h < n; h++) {
        const prof_head head = key ? prof_head_k(p, layer, h) : prof_head_v(p, layer, h);
        sum += (double)(head.bits > 0 ? head.bits : kv_codec_bits(head.codec, key, p->head_dim));
    }
    return n ? sum / n : 0;
}

static double mean_bits(const prof *p, bool key) {
    const uint32_t n = p->n_layer ? p->n_layer : 1;
    double sum = 0, all = 0;
    for (uint32_t l = 0; l < n; l++) {
        const double share = p->n_kv_head ? (double)prof_kv_heads(p, l) / p->n_kv_head : 1;
        sum += share * layer_bits(p, l, key);
        all += share;
    }
    return sum / all;
}

kv_status kv_profile_layer_bits(const kv_profile *profile, uint32_t layer, double *bits_k, double *bits_v, kv_err *err) {
    const prof *p = profile->p;
    if (p->n_layer && layer >= p->n_layer)
        return kv_fail(err, KV_ERANGE, "there is no layer %u: the profile has %u", layer, p->n_layer);
    *bits_k = layer_bits(p, layer, true);
    *bits_v = layer_bits(p, layer, false);
    return KV_OK;
}

kv_status kv_profile_get_facts(const kv_profile *profile, kv_profile_facts *out, kv_err *err) {
    const prof *p = profile->p;
    const prof_measured none = {.kld = NAN, .kld_se = NAN, .top1 = NAN, .dppl_percent = NAN},
                        *measured = p->n_measured ? &p->measured[0] : &none;
    const kv_profile_facts facts = {
        .size = sizeof facts,
        .model_hash = p->model_hash,
        .model_name = p->model_name,
        .arch = p->arch,
        .evict = kv_evict_names[p->evict.policy].name,
        .bits_k = mean_bits(p, true),
        .bits_v = mean_bits(p, false),
        .budget_share = (double)p->evict.budget.share,
        .kld = measured->kld,
        .kld_se = measured->kld_se,
        .top1 = measured->top1,
        .perplexity = measured->dppl_percent,
        .budget_tokens = p->evict.budget.tokens,
        .n_layer = p->n_layer,
        .n_head = p->n_head,
        .n_kv_head = p->n_kv_head,
        .head_dim = p->head_dim,
        .window = p->window,
        .sinks = p->sinks,
        .measured_tokens = measured->tokens,
    };
    return api_facts(out, &facts, sizeof facts, "KV_PROFILE_FACTS", err);
}

/* ---- packing ---- */

static kv_status check_match(const prof *p, const gguf *g, kv_err *err) {
    char hash[33];
    rt_hparams hp;
    kv_status st = rt_hparams_read(g, &hp, err);
    if (st || (st = gguf_model_hash(g, hash, err)))
        return st;
    return rt_profile_fits(&hp, hash, p, "the profile", err);
}

kv_status kv_profile_pack(const kv_profile *profile, const char *model, const char *out, kv_err *err) {
    gguf *g;
    if (!model || !out)
        return api_missing(model ? "path for the packed model" : "path of a model", err);
    kv_status st = gguf_open(model, &g, err);
    if (st)
        return st;
    st = check_match(profile->p, g, err);
    if (!st)
        st = prof_pack(g, profile->p, out, err);
    gguf_close(g);
    return st;
}

kv_status kv_profile_strip(const char *model, const char *out, kv_err *err) {
    gguf *g;
    if (!model || !out)
        return api_missing(model ? "path for the model" : "path of a model", err);
    kv_status st = gguf_open(model, &g, err);
    if (st)
        return st;
    if (!prof_is_in_gguf(g))
        st = kv_fail(err, KV_EFORMAT, "%s: holds no profile", model);
    else
        st = prof_pack(g, NULL, out, err);
    gguf_close(g);
    return st;
}
