/* What is served, as each kind of client asks for it. */
#include "serve/handlers.h"
#include "serve/ollama.h"

#include "gguf/gguf.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const rt_hparams *shape(const sv_exchange *x) {
    return rt_model_hparams(x->sv->model.model);
}

static json_t *text(const char *s) {
    return out_string(s, strlen(s));
}

static void file_facts(const sv_exchange *x, int64_t *bytes, int64_t *changed) {
    struct stat st;
    const bool there = !stat(x->sv->cfg->model, &st);
    *bytes = there ? st.st_size : 0;
    *changed = there ? st.st_mtime : 0;
}

static json_t *capabilities(const sv_exchange *x) {
    json_t *all = json_pack("[s]", "completion");
    if (x->sv->engine.format)
        json_array_append_new(all, json_string("tools"));
    json_array_append_new(all, json_string("embedding"));
    return all;
}

static json_t *details(const sv_exchange *x) {
    const rt_hparams *hp = shape(x);
    return json_pack("{s:s,s:s,s:o,s:[o],s:s,s:s}", "parent_model", "", "format", "gguf", "family", text(hp->arch), "families",
                     text(hp->arch), "parameter_size", "", "quantization_level", "");
}

/* ---- OpenAI, and Anthropic, whose clients ask at the same place ---- */

static json_t *one_model(const sv_exchange *x) {
    const sv_server *sv = x->sv;
    const rt_hparams *hp = shape(x);
    int64_t bytes, changed;
    char time[48];
    file_facts(x, &bytes, &changed);
    return json_pack("{s:o,s:s,s:s,s:o,s:I,s:s,s:s,s:{s:I,s:I,s:I,s:I,s:I}}", "id", text(sv->name), "object", "model", "type",
                     "model", "display_name", text(*hp->name ? hp->name : sv->name), "created", (json_int_t)sv->started,
                     "created_at", ollama_time(sv->started, time), "owned_by", "kvrun", "meta", "n_ctx",
                     (json_int_t)sv->engine.n_ctx, "n_ctx_train", (json_int_t)hp->n_ctx_train, "n_vocab",
                     (json_int_t)hp->n_vocab, "n_embd", (json_int_t)hp->n_embd, "size", (json_int_t)bytes);
}

static json_t *tag(const sv_exchange *x) {
    int64_t bytes, changed;
    char time[48];
    file_facts(x, &bytes, &changed);
    return json_pack("{s:o,s:o,s:s,s:I,s:s,s:o}", "name", text(x->sv->name), "model", text(x->sv->name), "modified_at",
                     ollama_time(changed, time), "size", (json_int_t)bytes, "digest", rt_model_hash(x->sv->model.model),
                     "details", details(x));
}

kv_status handle_models(sv_exchange *x, kv_err *err) {
    json_t *extra = tag(x); /* Codex looks for a list of this name */
    (void)err;
    json_object_set_new(extra, "capabilities", capabilities(x));
    out_json(&x->out, json_pack("{s:s,s:[o],s:[o],s:b,s:o,s:o}", "object", "list", "data", one_model(x), "models", extra,
                                "has_more", 0, "first_id", text(x->sv->name), "last_id", text(x->sv->name)));
    return KV_OK;
}

kv_status handle_model(sv_exchange *x, kv_err *err) {
    const char *name = x->path + strlen(x->r->path);
    if (strcmp(name, x->sv->name))
        return x->http = 404, kv_fail(err, KV_EINVAL, "model: there is no '%.100s' here, only '%s'", name, x->sv->name);
    out_json(&x->out, one_model(x));
    return KV_OK;
}

/* ---- Ollama ---- */

kv_status handle_tags(sv_exchange *x, kv_err *err) {
    (void)err;
    out_json(&x->out, json_pack("{s:[o]}", "models", tag(x)));
    return KV_OK;
}

kv_status handle_ps(sv_exchange *x, kv_err *err) {
    json_t *t = tag(x);
    (void)err;
    json_object_set_new(t, "expires_at", json_string("2318-01-01T00:00:00Z")); /* it stays */
    json_object_set_new(t, "size_vram", json_integer(0));
    json_object_set_new(t, "context_length", json_integer(x->sv->engine.n_ctx));
    out_json(&x->out, json_pack("{s:[o]}", "models", t));
    return KV_OK;
}

/* Numbers of the model under the keys of its file. */
static json_t *model_info(const sv_exchange *x) {
    const rt_hparams *hp = shape(x);
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
    int64_t bytes, changed;
    char time[48];
    (void)err;
    file_facts(x, &bytes, &changed);
    out_json(&x->out, json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:[]}", "license", "", "modelfile", "", "parameters", "",
                                "template", "{{ .Prompt }}", "modified_at", ollama_time(changed, time), "details", details(x),
                                "model_info", model_info(x), "capabilities", capabilities(x), "tensors"));
    return KV_OK;
}

kv_status handle_version(sv_exchange *x, kv_err *err) {
    (void)err;
    /* What of Ollama's is spoken here: clients ask for at least 0.6.4. */
    out_json(&x->out, json_pack("{s:s,s:s}", "version", "0.12.0", "kvrun", KV_TOOL_VERSION));
    return KV_OK;
}

kv_status handle_root(sv_exchange *x, kv_err *err) {
    (void)err;
    x->type = "text/plain; charset=utf-8";
    out_text(&x->out, "kvrun " KV_TOOL_VERSION " is running\n");
    return KV_OK;
}

kv_status handle_props(sv_exchange *x, kv_err *err) {
    (void)err;
    out_json(&x->out,
             json_pack("{s:{s:I},s:I,s:o,s:o,s:s}", "default_generation_settings", "n_ctx", (json_int_t)x->sv->engine.n_ctx,
                       "total_slots", (json_int_t)x->sv->cfg->slots, "model_alias", text(x->sv->name), "model_path",
                       text(x->sv->cfg->model), "build_info", "kvrun " KV_TOOL_VERSION));
    return KV_OK;
}
