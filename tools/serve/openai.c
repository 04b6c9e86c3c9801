#include "serve/openai.h"

#include <stdio.h>
#include <string.h>

/* ---- errors ---- */

/* "messages[2].content: must be..." is about a parameter, which is what stands before the colon. */
static json_t *param_of(const char *message) {
    const size_t n = strspn(message, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.[]");
    return n && !strncmp(message + n, ": ", 2) ? json_stringn(message, n) : json_null();
}

json_t *openai_error(int http, kv_status st, const char *message) {
    static const struct {
        int http;
        const char *type, *code;
    } rows[] = {{400, "invalid_request_error", NULL},      {401, "authentication_error", "invalid_api_key"},
                {403, "permission_error", NULL},           {404, "not_found_error", "not_found"},
                {405, "invalid_request_error", NULL},      {409, "invalid_request_error", NULL},
                {413, "invalid_request_error", NULL},      {429, "rate_limit_error", "rate_limit_exceeded"},
                {503, "unavailable_error", "unavailable"}, {501, "not_supported_error", NULL}};
    const char *type = "server_error", *code = NULL;
    unsigned long long prompt = 0, ctx = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].http == http) {
            type = rows[i].type;
            code = rows[i].code;
        }
    const char *numbers = strstr(message, "n_prompt_tokens");
    const bool overflow =
        st == KV_ERANGE && numbers && sscanf(numbers, "n_prompt_tokens = %llu, n_ctx = %llu", &prompt, &ctx) == 2;
    json_t *e = json_pack("{s:o,s:s,s:o,s:o}", "message", out_string(message, strlen(message)), "type",
                          overflow ? "exceed_context_size_error" : type, "param", param_of(message), "code",
                          overflow ? json_string("context_length_exceeded")
                          : code   ? json_string(code)
                                   : json_null());
    if (overflow) {
        json_object_set_new(e, "n_prompt_tokens", json_integer((json_int_t)prompt));
        json_object_set_new(e, "n_ctx", json_integer((json_int_t)ctx));
    }
    return json_pack("{s:o}", "error", e);
}

/* ---- reading ---- */

static kv_status take_limits(sv_request *q, const json_t *o, kv_err *err) {
    int64_t n = 1;
    kv_status st = take_int(o, "n_predict", -1, 1 << 30, &q->n_predict, err);
    if (st || (st = take_int(o, "max_tokens", -1, 1 << 30, &q->n_predict, err)) ||
        (st = take_int(o, "max_completion_tokens", -1, 1 << 30, &q->n_predict, err)) ||
        (st = take_int(o, "n", 1, SV_MOST_CHOICES, &n, err)))
        return st;
    q->n = (uint32_t)n;
    return KV_OK;
}

kv_status openai_common(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *options;
    kv_status st = take_name(o, "model", q->model, err);
    if (st || (st = request_sampling(q, o, err)) || (st = request_stops(q, o, "stop", err)) || (st = take_limits(q, o, err)) ||
        (st = request_format(q, o, err)) || (st = request_own(q, o, err)) || (st = take_bool(o, "stream", &q->stream, err)) ||
        (st = take_bool(o, "return_progress", &q->progress, err)) ||
        (st = take_kind(o, "stream_options", JSON_OBJECT, &options, err)))
        return st;
    return options ? take_bool(options, "include_usage", &q->usage, err) : KV_OK;
}

static kv_status take_calls(json_t *to, const json_t *calls, const char *where, kv_err *err) {
    json_t *all = json_array();
    if (!json_is_array(calls)) {
        json_decref(all);
        return kv_fail(err, KV_EINVAL, "%s.tool_calls: must be an array", where);
    }
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i), *f = take_some(call, "function"), *arguments = take_some(f, "arguments");
        const json_t *name = json_object_get(f, "name"), *id = take_some(call, "id");
        if (!json_is_string(name) || (arguments && !json_is_string(arguments) && !json_is_object(arguments))) {
            json_decref(all);
            return kv_fail(err, KV_EINVAL, "%s.tool_calls[%zu].function: must have a name, and arguments as text or object",
                           where, i);
        }
        json_t *out = json_pack("{s:s,s:{s:O}}", "type", "function", "function", "name", name);
        json_t *inner = json_object_get(out, "function");
        if (arguments)
            json_object_set(inner, "arguments", (json_t *)arguments);
        else
            json_object_set_new(inner, "arguments", json_object());
        if (json_is_string(id))
            json_object_set(out, "id", (json_t *)id);
        json_array_append_new(all, out);
    }
    if (!json_array_size(all)) { /* none is none: templates take an empty list for something */
        json_decref(all);
        return KV_OK;
    }
    return json_object_set_new(to, "tool_calls", all) ? kv_fail(err, KV_ENOMEM, "out of memory for messages") : KV_OK;
}

/* Names of roles, and what they are to a template. */
static const char *role_of(const char *role) {
    static const char *const roles[][2] = {{"system", "system"},       {"developer", "system"}, {"user", "user"},
                                           {"assistant", "assistant"}, {"tool", "tool"},        {"function", "tool"}};
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(roles[i][0], role))
            return roles[i][1];
    return NULL;
}

kv_status openai_message(sv_request *q, const json_t *m, const char *where, kv_err *err) {
    static const char *const texts[] = {"reasoning_content", "tool_call_id", "name"}; /* that templates may want to see */
    char place[SV_NAME];
    json_t *content = NULL;
    const char *named = json_string_value(json_object_get(m, "role")), *role = role_of(named);
    if (!json_is_object(m))
        return kv_fail(err, KV_EINVAL, "%s: must be an object with role and content", where);
    if (!role)
        return kv_fail(err, KV_EINVAL, "%s.role: '%.40s' is none of system, developer, user, assistant and tool", where,
                       named ? named : "?");
    snprintf(place, sizeof place, "%s.content", where);
    kv_status st = content_text(json_object_get(m, "content"), place, &content, err);
    if (st)
        return st;
    json_t *to = json_pack("{s:s,s:o}", "role", role, "content", content);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (json_is_string(json_object_get(m, texts[i])))
            json_object_set(to, texts[i], json_object_get(m, texts[i]));
    if (take_some(m, "tool_calls") && (st = take_calls(to, take_some(m, "tool_calls"), where, err))) {
        json_decref(to);
        return st;
    }
    return request_message(q, to, err);
}

kv_status openai_tool_choice(sv_request *q, const json_t *o, kv_err *err) {
    static const struct {
        const char *word;
        sv_tools choice;
    } words[] = {{"auto", SV_TOOLS_AUTO}, {"none", SV_TOOLS_NONE}, {"required", SV_TOOLS_MUST}, {"any", SV_TOOLS_MUST}};
    const json_t *c = take_some(o, "tool_choice"), *f = take_some(c, "function");
    if (!c)
        return KV_OK;
    for (size_t i = 0; json_is_string(c) && i < sizeof words / sizeof *words; i++)
        if (!strcmp(json_string_value(c), words[i].word)) {
            q->tool_choice = words[i].choice;
            return KV_OK;
        }
    if (!json_is_object(c) || !json_is_string(json_object_get(f ? f : c, "name")))
        return kv_fail(err, KV_EINVAL,
                       "tool_choice: must be \"none\", \"auto\", \"required\" or an object that names a function");
    q->tool_choice = SV_TOOLS_ONE;
    return take_name(f ? f : c, "name", q->tool_name, err);
}

/* ---- writing ---- */

json_t *openai_usage(const sv_usage *u) {
    return json_pack("{s:I,s:I,s:I,s:{s:I}}", "prompt_tokens", (json_int_t)u->prompt, "completion_tokens", (json_int_t)u->said,
                     "total_tokens", (json_int_t)u->prompt + u->said, "prompt_tokens_details", "cached_tokens",
                     (json_int_t)u->cached);
}

static double per(double a, double b) {
    return b > 0 ? a / b : 0;
}

json_t *openai_timings(const sv_usage *u) {
    const double read = (double)(u->prompt - (u->cached < u->prompt ? u->cached : u->prompt));
    return json_pack("{s:I,s:I,s:f,s:f,s:f,s:I,s:f,s:f,s:f}", "cache_n", (json_int_t)u->cached, "prompt_n", (json_int_t)read,
                     "prompt_ms", 1e3 * u->prefill_s, "prompt_per_token_ms", per(1e3 * u->prefill_s, read), "prompt_per_second",
                     per(read, u->prefill_s), "predicted_n", (json_int_t)u->said, "predicted_ms", 1e3 * u->decode_s,
                     "predicted_per_token_ms", per(1e3 * u->decode_s, u->said), "predicted_per_second",
                     per(u->said, u->decode_s));
}

const char *openai_finish(const sv_choice *c) {
    static const char *const names[] = {[SV_WHY_STOP] = "stop", [SV_WHY_LENGTH] = "length", [SV_WHY_CALLS] = "tool_calls"};
    return names[c->why];
}

json_t *openai_head(const sv_writer *w, const char *object) {
    return json_pack("{s:s,s:s,s:I,s:o,s:s}", "id", w->id, "object", object, "created", (json_int_t)w->created, "model",
                     out_string(w->model, strlen(w->model)), "system_fingerprint", "kvrun-" KV_TOOL_VERSION);
}
