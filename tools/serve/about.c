/* What is served, as each kind of client asks for it. A model that is not loaded is told of by its file. */
#include "serve/handlers.h"
#include "serve/ollama.h"

#include "gguf/gguf.h"

#include <stdio.h>
#include <string.h>

static json_t *text(const char *s) {
    return out_string(s, strlen(s));
}

/* What the file says, of a model that may not be loaded. */
typedef struct facts {
    rt_hparams hp;
    char hash[64];
    uint32_t n_ctx; /* 0: it is not loaded */
    uint64_t takes; /* while it is */
    bool chats;
} facts;

static void look(sv_model *m, facts *f) {
    gguf *g = NULL;
    memset(f, 0, sizeof *f);
    f->chats = true;
    if (models_peek(m)) {
        f->hp = *rt_model_hparams(m->m.model);
        f->n_ctx = m->engine.n_ctx;
        f->takes = models_takes(m);
        f->chats = m->m.format != NULL;
        snprintf(f->hash, sizeof f->hash, "%s", rt_model_hash(m->m.model));
        models_leave(m);
        return;
    }
    if (!gguf_open(m->path, &g, NULL)) {
        rt_hparams_read(g, &f->hp, NULL);
        gguf_close(g);
    }
}

static json_t *capabilities(const facts *f) {
    json_t *all = json_pack("[s]", "completion");
    if (f->chats)
        json_array_append_new(all, json_string("tools"));
    json_array_append_new(all, json_string("embedding"));
    return all;
}

static json_t *details(const facts *f) {
    return json_pack("{s:s,s:s,s:o,s:[o],s:s,s:s}", "parent_model", "", "format", "gguf", "family", text(f->hp.arch),
                     "families", text(f->hp.arch), "parameter_size", "", "quantization_level", "");
}

/* ---- OpenAI, and Anthropic, whose clients ask at the same place ---- */

static json_t *one_model(const sv_server *sv, const sv_model *m, const facts *f) {
    char time[48];
    json_t *j =
        json_pack("{s:o,s:s,s:s,s:o,s:I,s:s,s:s,s:{s:I,s:I,s:I,s:I}}", "id", text(m->name), "object", "model", "type", "model",
                  "display_name", text(*f->hp.name ? f->hp.name : m->name), "created", (json_int_t)sv->started, "created_at",
                  ollama_time(sv->started, time), "owned_by", "kvrun", "meta", "n_ctx_train", (json_int_t)f->hp.n_ctx_train,
                  "n_vocab", (json_int_t)f->hp.n_vocab, "n_embd", (json_int_t)f->hp.n_embd, "size", (json_int_t)m->bytes);
    if (f->n_ctx)
        json_object_set_new(json_object_get(j, "meta"), "n_ctx", json_integer(f->n_ctx));
    return j;
}

static json_t *tag(const sv_model *m, const facts *f) {
    char time[48];
    return json_pack("{s:o,s:o,s:s,s:I,s:s,s:o}", "name", text(m->name), "model", text(m->name), "modified_at",
                     ollama_time(m->changed, time), "size", (json_int_t)m->bytes, "digest", f->hash, "details", details(f));
}

kv_status handle_models(sv_exchange *x, kv_err *err) {
    sv_server *sv = x->sv;
    json_t *data = json_array(), *extra = json_array(); /* Codex looks for a list of that name */
    (void)err;
    for (size_t i = 0; i < sv->models.n; i++) {
        facts f;
        look(&sv->models.v[i], &f);
        json_array_append_new(data, one_model(sv, &sv->models.v[i], &f));
        json_t *t = tag(&sv->models.v[i], &f);
        json_object_set_new(t, "capabilities", capabilities(&f));
        json_array_append_new(extra, t);
    }
    out_json(&x->out, json_pack("{s:s,s:o,s:o,s:b,s:o,s:o}", "object", "list", "data", data, "models", extra, "has_more", 0,
                                "first_id", text(sv->models.v[0].name), "last_id", text(sv->models.v[sv->models.n - 1].name)));
    return KV_OK;
}

/* Here a name must be right, also of a single model. */
static sv_model *named(sv_exchange *x, const char *name, kv_err *err) {
    sv_model *m = models_find(&x->sv->models, name);
    if (m && !strcmp(m->name, name))
        return m;
    x->http = 404;
    kv_fail(err, KV_EINVAL, "model: there is no '%.100s' here (GET /v1/models lists them)", name);
    return NULL;
}

kv_status handle_model(sv_exchange *x, kv_err *err) {
    sv_model *m = named(x, x->path + strlen(x->r->path), err);
    facts f;
    if (!m)
        return KV_EINVAL;
    look(m, &f);
    out_json(&x->out, one_model(x->sv, m, &f));
    return KV_OK;
}

/* ---- Ollama ---- */

static void add_tags(sv_exchange *x, bool loaded) {
    json_t *all = json_array();
    for (size_t i = 0; i < x->sv->models.n; i++) {
        sv_model *m = &x->sv->models.v[i];
        facts f;
        look(m, &f);
        if (loaded && !f.n_ctx)
            continue;
        json_t *t = tag(m, &f);
        if (loaded) {
            json_object_set_new(t, "expires_at", json_string("2318-01-01T00:00:00Z")); /* it stays until there is no room */
            json_object_set_new(t, "size", json_integer((json_int_t)f.takes));
            json_object_set_new(t, "size_vram", json_integer(0));
            json_object_set_new(t, "context_length", json_integer(f.n_ctx));
        }
        json_array_append_new(all, t);
    }
    out_json(&x->out, json_pack("{s:o}", "models", all));
}

kv_status handle_tags(sv_exchange *x, kv_err *err) {
    (void)err;
    add_tags(x, false);
    return KV_OK;
}

kv_status handle_ps(sv_exchange *x, kv_err *err) {
    (void)err;
    add_tags(x, true);
    return KV_OK;
}

/* Numbers of the model under the keys of its file. */
static json_t *model_info(const rt_hparams *hp) {
    json_t *info = json_pack("{s:o,s:o}", "general.architecture", text(hp->arch), "general.basename", text(hp->name));
    const struct {
        const char *key;
        uint32_t value;
    } rows[] = {{"context_length", hp->n_ctx_train},  {"embedding_length", hp->n_embd},           {"block_count", hp->n_layer},
                {"attention.head_count", hp->n_head}, {"attention.head_count_kv", hp->n_kv_head}, {"vocab_size", hp->n_vocab}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char key[96];
        snprintf(key, sizeof key, "%s.%s", hp->arch, rows[i].key);
        json_object_set_new(info, key, json_integer(rows[i].value));
    }
    return info;
}

kv_status handle_show(sv_exchange *x, kv_err *err) {
    json_t *body = NULL;
    char name[SV_NAME] = "", time[48];
    facts f;
    kv_status st = answer_json(x, &body, err);
    if (!st && !(st = take_name(body, "name", name, err)))
        st = take_name(body, "model", name, err);
    json_decref(body);
    if (st)
        return st;
    sv_model *m = models_find(&x->sv->models, name);
    if (!m)
        return named(x, name, err) ? KV_OK : KV_EINVAL;
    look(m, &f);
    out_json(&x->out, json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:[]}", "license", "", "modelfile", "", "parameters", "",
                                "template", "{{ .Prompt }}", "modified_at", ollama_time(m->changed, time), "details",
                                details(&f), "model_info", model_info(&f.hp), "capabilities", capabilities(&f), "tensors"));
    return KV_OK;
}

kv_status handle_version(sv_exchange *x, kv_err *err) {
    (void)err;
    /* What of Ollama's is spoken here: clients ask for at least 0.6.4. */
    out_json(&x->out, json_pack("{s:s,s:s}", "version", "0.12.0", "kvrun", KV_TOOL_VERSION));
    return KV_OK;
}

kv_status handle_props(sv_exchange *x, kv_err *err) {
    sv_model *m = models_find(&x->sv->models, "");
    facts f;
    (void)err;
    look(m, &f);
    out_json(&x->out, json_pack("{s:{s:I},s:I,s:o,s:o,s:s}", "default_generation_settings", "n_ctx", (json_int_t)f.n_ctx,
                                "total_slots", (json_int_t)x->sv->cfg->slots, "model_alias", text(m->name), "model_path",
                                text(m->path), "build_info", "kvrun " KV_TOOL_VERSION));
    return KV_OK;
}
