/* Messages and tools, put into the one shape that chat templates know. */
#include "serve/out.h"
#include "serve/request.h"

#include <stdio.h>
#include <string.h>

static kv_status no_memory(kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "out of memory for messages");
}

/* ---- content ---- */

/* Kinds of parts: which hold text, and under which key; what a model that reads text only cannot take. */
static const struct kind {
    const char *type, *key; /* key NULL: it cannot be read */
    const char *what;
} kinds[] = {
    {"text", "text", NULL},          {"input_text", "text", NULL},   {"output_text", "text", NULL},
    {"refusal", "refusal", NULL},    {"image_url", NULL, "images"},  {"input_image", NULL, "images"},
    {"image", NULL, "images"},       {"input_audio", NULL, "audio"}, {"audio", NULL, "audio"},
    {"file", NULL, "files"},         {"input_file", NULL, "files"},  {"video_url", NULL, "videos"},
    {"document", NULL, "documents"},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static kv_status add_part(sv_out *all, const json_t *part, const char *where, size_t i, kv_err *err) {
    const char *type = json_string_value(json_object_get(part, "type"));
    if (json_is_string(part)) { /* of lists of strings, which some clients send */
        out_add(all, json_string_value(part), json_string_length(part));
        return KV_OK;
    }
    if (!json_is_object(part))
        return kv_fail(err, KV_EINVAL, "%s[%zu]: is no part of a message", where, i);
    if (!type && json_is_string(json_object_get(part, "text")))
        type = "text";
    for (size_t k = 0; type && k < N_KINDS; k++) {
        if (strcmp(type, kinds[k].type))
            continue;
        const json_t *text = kinds[k].key ? json_object_get(part, kinds[k].key) : NULL;
        if (!kinds[k].key)
            return kv_fail(err, KV_EINVAL, "%s[%zu]: the model reads text only, no %s", where, i, kinds[k].what);
        if (!json_is_string(text))
            return kv_fail(err, KV_EINVAL, "%s[%zu].%s: must be a string", where, i, kinds[k].key);
        out_add(all, json_string_value(text), json_string_length(text));
        return KV_OK;
    }
    return kv_fail(err, KV_EINVAL, "%s[%zu].type: '%.40s' is no kind of part that is known here", where, i, type ? type : "?");
}

kv_status content_text(const json_t *content, const char *where, json_t **out, kv_err *err) {
    sv_out all = {0};
    kv_status st = KV_OK;
    if (!content || json_is_null(content) || json_is_string(content)) {
        *out = json_is_string(content) ? json_incref((json_t *)content) : json_string("");
        return *out ? KV_OK : no_memory(err);
    }
    if (!json_is_array(content))
        return kv_fail(err, KV_EINVAL, "%s: must be a string or an array of parts", where);
    for (size_t i = 0; !st && i < json_array_size(content); i++)
        st = add_part(&all, json_array_get(content, i), where, i, err);
    if (!st && !(*out = all.failed ? NULL : json_stringn(all.s ? all.s : "", all.len)))
        st = no_memory(err);
    out_free(&all);
    return st;
}

/* ---- messages ---- */

static bool is_system(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && !strcmp(role, "system");
}

/* Two texts as one, with an empty line between them. */
static kv_status join(json_t *first, const json_t *second, kv_err *err) {
    const json_t *a = json_object_get(first, "content"), *b = json_object_get(second, "content");
    sv_out all = {0};
    out_add(&all, json_string_value(a), json_string_length(a));
    if (json_string_length(a) && json_string_length(b))
        out_text(&all, "\n\n");
    out_add(&all, json_string_value(b), json_string_length(b));
    const bool failed = all.failed || json_object_set_new(first, "content", json_stringn(all.s ? all.s : "", all.len));
    out_free(&all);
    return failed ? no_memory(err) : KV_OK;
}

kv_status request_message(sv_request *q, json_t *message, kv_err *err) {
    if (!q->messages)
        q->messages = json_array();
    json_t *first = json_array_get(q->messages, 0);
    if (message && is_system(message) && json_array_size(q->messages) == 1 && is_system(first)) {
        kv_status st = join(first, message, err);
        json_decref(message);
        return st;
    }
    return json_array_append_new(q->messages, message) ? no_memory(err) : KV_OK;
}

kv_status request_system(sv_request *q, const char *text, size_t len, kv_err *err) {
    return request_message(q, json_pack("{s:s,s:s%}", "role", "system", "content", text, len), err);
}

/* ---- tools ---- */

kv_status request_tool(sv_request *q, const char *where, const json_t *name, const json_t *description,
                       const json_t *parameters, kv_err *err) {
    if (!json_is_string(name) || !json_string_length(name) || json_string_length(name) >= SV_NAME)
        return kv_fail(err, KV_EINVAL, "%s.name: must be a name of 1 to %d bytes", where, SV_NAME - 1);
    if (parameters && !json_is_null(parameters) && !json_is_object(parameters))
        return kv_fail(err, KV_EINVAL, "%s.parameters: must be an object, a JSON schema", where);
    json_t *f = json_pack("{s:O}", "name", name);
    if (json_is_string(description))
        json_object_set(f, "description", (json_t *)description);
    if (json_is_object(parameters))
        json_object_set(f, "parameters", (json_t *)parameters);
    else
        json_object_set_new(f, "parameters", json_pack("{s:s,s:{}}", "type", "object", "properties"));
    if (!q->tools)
        q->tools = json_array();
    return json_array_append_new(q->tools, json_pack("{s:s,s:o}", "type", "function", "function", f)) ? no_memory(err) : KV_OK;
}

static bool has_tool(const sv_request *q, const char *name) {
    for (size_t i = 0; i < json_array_size(q->tools); i++) {
        const json_t *f = json_object_get(json_array_get(q->tools, i), "function");
        if (!strcmp(json_string_value(json_object_get(f, "name")), name))
            return true;
    }
    return false;
}

kv_status request_check(sv_request *q, kv_err *err) {
    if (!json_array_size(q->tools) && q->tool_choice >= SV_TOOLS_MUST)
        return kv_fail(err, KV_EINVAL, "tool_choice: asks for a call, but there are no tools");
    if (q->tool_choice == SV_TOOLS_ONE && !has_tool(q, q->tool_name))
        return kv_fail(err, KV_EINVAL, "tool_choice: there is no tool '%s'", q->tool_name);
    if (q->tool_choice >= SV_TOOLS_MUST && q->rules != SV_RULES_NONE)
        return kv_fail(err, KV_EINVAL, "tool_choice: an answer cannot be a call and follow a format of its own");
    if (q->tool_choice == SV_TOOLS_NONE || !json_array_size(q->tools)) {
        json_decref(q->tools);
        q->tools = NULL;
    }
    return rt_sampling_check(&q->sampling, err);
}
