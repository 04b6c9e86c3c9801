/* Ollama's /api/chat, /api/generate, /api/embed and /api/embeddings: what is asked; ollama_write.c has what is answered. */
#include "serve/ollama.h"

#include <stdio.h>
#include <string.h>

static kv_status no_memory(kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "out of memory for a request");
}

/* ---- what all have ---- */

static kv_status read_format(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *f = take_some(o, "format");
    if (!f || (json_is_string(f) && !json_string_length(f)))
        return KV_OK;
    if (json_is_string(f) && !strcmp(json_string_value(f), "json"))
        return request_rules(q, SV_RULES_JSON, NULL, err);
    if (!json_is_object(f))
        return kv_fail(err, KV_EINVAL, "format: must be \"json\" or a JSON schema");
    return request_rules(q, SV_RULES_SCHEMA, f, err);
}

/* true, false, or how much. */
static kv_status read_think(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *t = take_some(o, "think");
    if (!t)
        return KV_OK;
    if (!json_is_boolean(t) && !json_is_string(t))
        return kv_fail(err, KV_EINVAL, "think: must be true, false, or how much");
    return request_extra(q, "enable_thinking", json_boolean(!json_is_false(t)), err);
}

/* num_ctx and what else is about loading a model is passed over: the server has one context, and says so where a prompt does
 * not fit into it. */
static kv_status read_common(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *options;
    kv_status st = take_name(o, "model", q->model, err);
    q->stream = true;
    if (st || (st = take_bool(o, "stream", &q->stream, err)) || (st = take_kind(o, "options", JSON_OBJECT, &options, err)) ||
        (st = read_format(q, o, err)) || (st = read_think(q, o, err)) || (st = request_own(q, o, err)) || !options)
        return st;
    if ((st = request_sampling(q, options, err)) || (st = request_stops(q, options, "stop", err)))
        return st;
    int64_t n = q->n_predict;
    if ((st = take_int(options, "num_predict", -2, 1 << 30, &n, err)))
        return st;
    q->n_predict = n < 0 ? -1 : n;
    return KV_OK;
}

static bool has_images(const json_t *o) {
    return json_array_size(take_some(o, "images")) > 0;
}

/* ---- chat ---- */

static kv_status take_calls(json_t *to, const json_t *calls, const char *where, kv_err *err) {
    json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *f = take_some(json_array_get(calls, i), "function"), *arguments = take_some(f, "arguments");
        const json_t *name = json_object_get(f, "name");
        if (!json_is_string(name) || (arguments && !json_is_object(arguments))) {
            json_decref(all);
            return kv_fail(err, KV_EINVAL, "%s.tool_calls[%zu].function: must have a name, and an object of arguments", where,
                           i);
        }
        json_array_append_new(all, json_pack("{s:s,s:{s:O,s:o}}", "type", "function", "function", "name", name, "arguments",
                                             arguments ? json_incref((json_t *)arguments) : json_object()));
    }
    if (json_array_size(all))
        return json_object_set_new(to, "tool_calls", all) ? no_memory(err) : KV_OK;
    json_decref(all);
    return KV_OK;
}

static kv_status read_message(sv_request *q, const json_t *m, const char *where, kv_err *err) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    const char *named = json_string_value(json_object_get(m, "role")), *role = NULL;
    char place[96];
    json_t *text;
    for (size_t i = 0; named && i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(named, roles[i]))
            role = roles[i];
    if (!role)
        return kv_fail(err, KV_EINVAL, "%s.role: '%.40s' is none of system, user, assistant and tool", where,
                       named ? named : "?");
    if (has_images(m))
        return kv_fail(err, KV_EINVAL, "%s.images: the model reads text only, no images", where);
    snprintf(place, sizeof place, "%s.content", where);
    kv_status st = content_text(json_object_get(m, "content"), place, &text, err);
    if (st)
        return st;
    json_t *to = json_pack("{s:s,s:o}", "role", role, "content", text);
    if (json_is_string(json_object_get(m, "thinking")))
        json_object_set(to, "reasoning_content", json_object_get(m, "thinking"));
    if (json_is_string(json_object_get(m, "tool_name")))
        json_object_set(to, "name", json_object_get(m, "tool_name"));
    if (take_some(m, "tool_calls") && (st = take_calls(to, take_some(m, "tool_calls"), where, err))) {
        json_decref(to);
        return st;
    }
    return request_message(q, to, err);
}

static kv_status read_tools(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *tools;
    kv_status st = take_kind(o, "tools", JSON_ARRAY, &tools, err);
    for (size_t i = 0; !st && i < json_array_size(tools); i++) {
        const json_t *f = take_some(json_array_get(tools, i), "function");
        char where[48];
        snprintf(where, sizeof where, "tools[%zu].function", i);
        if (!json_is_object(f))
            return kv_fail(err, KV_EINVAL, "%s: must be an object", where);
        st = request_tool(q, where, json_object_get(f, "name"), take_some(f, "description"), take_some(f, "parameters"), err);
    }
    return st;
}

static kv_status read_chat(const json_t *o, sv_request *q, kv_err *err) {
    const json_t *all;
    kv_status st = read_common(q, o, err);
    if (st || (st = take_kind(o, "messages", JSON_ARRAY, &all, err)))
        return st;
    q->load_only = !json_array_size(all);
    for (size_t i = 0; !st && i < json_array_size(all); i++) {
        char where[48];
        snprintf(where, sizeof where, "messages[%zu]", i);
        st = read_message(q, json_array_get(all, i), where, err);
    }
    if (st || (st = read_tools(q, o, err)))
        return st;
    return request_check(q, err);
}

/* ---- generate ---- */

static kv_status read_generate(const json_t *o, sv_request *q, kv_err *err) {
    const json_t *prompt, *system;
    bool raw = false;
    kv_status st = read_common(q, o, err);
    if (st || (st = take_kind(o, "prompt", JSON_STRING, &prompt, err)) ||
        (st = take_kind(o, "system", JSON_STRING, &system, err)) || (st = take_bool(o, "raw", &raw, err)))
        return st;
    if (has_images(o))
        return kv_fail(err, KV_EINVAL, "images: the model reads text only, no images");
    if (json_string_length(take_some(o, "suffix")))
        return kv_fail(err, KV_EUNSUPP, "suffix: filling in between two texts is not supported");
    q->load_only = !prompt || !json_string_length(prompt);
    if (q->load_only)
        return request_check(q, err);
    if (raw)
        st = request_prompts(q, o, "prompt", err);
    else if (!system || !(st = request_system(q, json_string_value(system), json_string_length(system), err)))
        st = request_message(q, json_pack("{s:s,s:O}", "role", "user", "content", prompt), err);
    return st ? st : request_check(q, err);
}

/* ---- embeddings ---- */

static kv_status read_embed(const json_t *o, sv_request *q, kv_err *err) {
    kv_status st = take_name(o, "model", q->model, err);
    if (take_some(o, "dimensions"))
        return kv_fail(err, KV_EUNSUPP, "dimensions: embeddings of this model have one width and cannot be shortened");
    q->n_predict = 0;
    return st ? st : request_prompts(q, o, "input", err);
}

static kv_status read_embeddings(const json_t *o, sv_request *q, kv_err *err) {
    kv_status st = take_name(o, "model", q->model, err);
    q->n_predict = 0;
    return st ? st : request_prompts(q, o, "prompt", err);
}

json_t *ollama_error(int http, kv_status st, const char *message) {
    (void)http, (void)st;
    return json_pack("{s:o}", "error", out_string(message, strlen(message)));
}

const sv_dialect sv_ollama_chat = {.name = "ollama-chat",
                                   .prefix = "",
                                   .streams = SV_NDJSON,
                                   .read = read_chat,
                                   .stream = ollama_chat_stream,
                                   .whole = ollama_chat_whole,
                                   .error = ollama_error};
const sv_dialect sv_ollama_generate = {.name = "ollama-generate",
                                       .prefix = "",
                                       .streams = SV_NDJSON,
                                       .read = read_generate,
                                       .stream = ollama_generate_stream,
                                       .whole = ollama_generate_whole,
                                       .error = ollama_error};
const sv_dialect sv_ollama_embed = {
    .name = "ollama-embed", .prefix = "", .read = read_embed, .whole = ollama_embed_whole, .error = ollama_error};
const sv_dialect sv_ollama_embeddings = {.name = "ollama-embeddings",
                                         .prefix = "",
                                         .read = read_embeddings,
                                         .whole = ollama_embeddings_whole,
                                         .error = ollama_error};
