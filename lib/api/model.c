#include "api/api_internal.h"

#include <stdlib.h>
#include <string.h>

static kv_status start(const kv_model_options *o, rt_exec *e, kv_err *err) {
    if (o->wait < KV_WAIT_AUTO || o->wait > KV_WAIT_SLEEP)
        return kv_fail(err, KV_EINVAL, "%d is no way to wait", o->wait);
    if (o->threads < 0 || o->threads > 1024)
        return kv_fail(err, KV_EINVAL, "%d threads; 1 to 1024 are possible, 0: one per core", o->threads);
    kv_status st = rt_exec_init(e, o->isa, o->threads, o->exact != 0, err);
    if (st)
        return st;
    e->wait = o->wait == KV_WAIT_SPIN ? RT_WAIT_SPIN : o->wait == KV_WAIT_SLEEP ? RT_WAIT_SLEEP : RT_WAIT_AUTO;
    e->in_place = o->in_place != 0;
    return KV_OK;
}

kv_status kv_model_load(const char *path, const kv_model_options *options, kv_model **out, kv_err *err) {
    static const kv_model_options defaults = KV_MODEL_OPTIONS_INIT;
    kv_model_options o;
    rt_exec e;
    if (!path || !out)
        return api_missing(path ? "place for the model" : "path of a model", err);
    *out = NULL;
    kv_status st = api_options(options, &defaults, sizeof o, &o, "KV_MODEL_OPTIONS", err);
    if (st || (st = start(&o, &e, err)))
        return st;
    kv_model *m = calloc(1, sizeof *m);
    if (!m || !(m->path = strdup(path))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a model");
        goto done;
    }
    if ((st = rt_model_load_cfg(
             path, &e, &(rt_load_cfg){.set = o.set, .n_set = o.n_set, .progress = o.progress, .user = o.user}, &m->rt, err)) ||
        (st = rt_own_profile(rt_model_gguf(m->rt), rt_model_hparams(m->rt), rt_model_hash(m->rt), &m->profile, err)))
        goto done;
    st = chat_open(rt_model_gguf(m->rt), rt_model_tok(m->rt), NULL, &m->chat, &m->no_chat);
    if (st == KV_ENOMEM) {
        st = kv_fail(err, st, "%s", m->no_chat.msg);
        goto done;
    }
    st = KV_OK; /* a template that cannot be used is said by kv_text_chat */
    *out = m;
    m = NULL;
done:
    kv_model_free(m);
    return st;
}

void kv_model_free(kv_model *model) {
    if (!model)
        return;
    chat_free(model->chat);
    prof_free(model->profile);
    rt_model_free(model->rt);
    free(model->path);
    free(model);
}

kv_status kv_guard_model_files(kv_err *err) {
    return gguf_guard(err);
}

kv_status kv_model_get_facts(const kv_model *model, kv_model_facts *out, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(model->rt);
    const kv_model_facts facts = {
        .size = sizeof facts,
        .arch = hp->arch,
        .name = hp->name,
        .hash = rt_model_hash(model->rt),
        .n_layer = hp->n_layer,
        .n_embd = hp->n_embd,
        .n_head = hp->n_head,
        .n_kv_head = hp->n_kv_head,
        .head_dim = hp->head_dim,
        .n_vocab = hp->n_vocab,
        .n_ctx_train = hp->n_ctx_train,
        .sliding_window = hp->swa,
        .threads = (uint32_t)rt_model_exec(model->rt)->n_threads,
        .has_profile = model->profile != NULL,
    };
    return api_facts(out, &facts, sizeof facts, "KV_MODEL_FACTS", err);
}
