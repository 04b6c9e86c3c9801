/* Anthropic's /v1/messages and /v1/messages/count_tokens: what is asked; anthropic_write.c has what is answered. */
#include "serve/anthropic.h"

#include <stdio.h>
#include <string.h>

static kv_status no_memory(kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "out of memory for messages");
}

/* ---- system ---- */

/* Claude Code puts a line there that is another one in every request, for its own servers: read as a part of the prompt, it
 * would leave nothing of it to be found again. */
static bool is_note(const char *text) {
    return !strncmp(text, "x-anthropic-", strlen("x-anthropic-"));
}

static kv_status read_system(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *system = take_some(o, "system");
    kv_status st = KV_OK;
    if (json_is_string(system))
        return request_system(q, json_string_value(system), json_string_length(system), err);
    if (system && !json_is_array(system))
        return kv_fail(err, KV_EINVAL, "system: must be a string or an array of text blocks");
    for (size_t i = 0; !st && i < json_array_size(system); i++) {
        const json_t *text = json_object_get(json_array_get(system, i), "text");
        if (!json_is_string(text))
            return kv_fail(err, KV_EINVAL, "system[%zu]: must be a text block", i);
        if (!is_note(json_string_value(text)))
            st = request_system(q, json_string_value(text), json_string_length(text), err);
    }
    return st;
}

/* ---- messages ---- */

/* A message that is being put together from blocks. */
typedef struct turn {
    const char *role;
    sv_out text;
    json_t *thought, *calls;
} turn;

static kv_status take_text(turn *t, const json_t *text, const char *where, kv_err *err) {
    if (!json_is_string(text))
        return kv_fail(err, KV_EINVAL, "%s: must have a text", where);
    out_add(&t->text, json_string_value(text), json_string_length(text));
    return t->text.failed ? no_memory(err) : KV_OK;
}

static kv_status take_use(turn *t, const json_t *block, const char *where, kv_err *err) {
    const json_t *name = json_object_get(block, "name"), *id = json_object_get(block, "id"), *input = take_some(block, "input");
    if (!json_is_string(name) || !json_is_string(id) || (input && !json_is_object(input)))
        return kv_fail(err, KV_EINVAL, "%s: a tool_use needs id, name, and an object as input", where);
    if (!t->calls)
        t->calls = json_array();
    json_t *call = json_pack("{s:O,s:s,s:{s:O,s:o}}", "id", id, "type", "function", "function", "name", name, "arguments",
                             input ? json_incref((json_t *)input) : json_object());
    return json_array_append_new(t->calls, call) ? no_memory(err) : KV_OK;
}

/* What a tool gave back is a message of its own, before what the user says in the same turn. */
static kv_status take_result(sv_request *q, const json_t *block, const char *where, kv_err *err) {
    const json_t *id = json_object_get(block, "tool_use_id");
    char place[96];
    json_t *text;
    snprintf(place, sizeof place, "%s.content", where);
    if (!json_is_string(id))
        return kv_fail(err, KV_EINVAL, "%s: a tool_result needs a tool_use_id", where);
    kv_status st = content_text(json_object_get(block, "content"), place, &text, err);
    if (st)
        return st;
    return request_message(q, json_pack("{s:s,s:O,s:o}", "role", "tool", "tool_call_id", id, "content", text), err);
}

static kv_status take_document(turn *t, const json_t *block, const char *where, kv_err *err) {
    const json_t *source = json_object_get(block, "source");
    const char *type = json_string_value(json_object_get(source, "type"));
    if (!type || strcmp(type, "text"))
        return kv_fail(err, KV_EUNSUPP, "%s: the model reads text only; documents must be of a source of type text", where);
    return take_text(t, json_object_get(source, "data"), where, err);
}

static kv_status take_block(sv_request *q, turn *t, const json_t *block, const char *where, kv_err *err) {
    const char *type = json_string_value(json_object_get(block, "type"));
    if (!type)
        return kv_fail(err, KV_EINVAL, "%s: must be an object with a type", where);
    if (!strcmp(type, "text"))
        return take_text(t, json_object_get(block, "text"), where, err);
    if (!strcmp(type, "tool_use"))
        return take_use(t, block, where, err);
    if (!strcmp(type, "tool_result"))
        return take_result(q, block, where, err);
    if (!strcmp(type, "document"))
        return take_document(t, block, where, err);
    if (!strcmp(type, "image"))
        return kv_fail(err, KV_EINVAL, "%s: the model reads text only, no images", where);
    if (!strcmp(type, "thinking") && json_is_string(json_object_get(block, "thinking")))
        t->thought = json_object_get(block, "thinking");
    return KV_OK; /* what only Anthropic's own servers understand */
}

static kv_status end_turn(sv_request *q, turn *t, bool only_results, kv_err *err) {
    kv_status st = KV_OK;
    if (!only_results || t->text.len || t->calls) {
        json_t *m = json_pack("{s:s,s:s%}", "role", t->role, "content", t->text.s ? t->text.s : "", t->text.len);
        if (t->thought)
            json_object_set(m, "reasoning_content", t->thought);
        if (t->calls)
            json_object_set(m, "tool_calls", t->calls);
        st = request_message(q, m, err);
    }
    out_free(&t->text);
    json_decref(t->calls);
    return st;
}

static kv_status read_message(sv_request *q, const json_t *m, size_t i, kv_err *err) {
    const json_t *content = take_some(m, "content");
    const char *role = json_string_value(json_object_get(m, "role"));
    turn t = {.role = role};
    kv_status st = KV_OK, end;
    char where[64];
    bool results = false;
    if (!role || (strcmp(role, "user") && strcmp(role, "assistant") && strcmp(role, "system")))
        return kv_fail(err, KV_EINVAL, "messages[%zu].role: must be user or assistant", i);
    if (json_is_string(content))
        return request_message(q, json_pack("{s:s,s:O}", "role", role, "content", content), err);
    if (!json_is_array(content))
        return kv_fail(err, KV_EINVAL, "messages[%zu].content: must be a string or an array of blocks", i);
    for (size_t k = 0; !st && k < json_array_size(content); k++) {
        const json_t *block = json_array_get(content, k);
        const char *type = json_string_value(json_object_get(block, "type"));
        snprintf(where, sizeof where, "messages[%zu].content[%zu]", i, k);
        results |= type && !strcmp(type, "tool_result");
        st = take_block(q, &t, block, where, err);
    }
    end = end_turn(q, &t, results, st ? NULL : err);
    return st ? st : end;
}

static kv_status read_messages(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *all = take_some(o, "messages");
    kv_status st = KV_OK;
    if (!json_is_array(all) || !json_array_size(all))
        return kv_fail(err, KV_EINVAL, "messages: must be an array of at least one message");
    for (size_t i = 0; !st && i < json_array_size(all); i++)
        st = read_message(q, json_array_get(all, i), i, err);
    return st;
}

/* ---- tools, and the rest ---- */

static kv_status read_tools(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *tools;
    kv_status st = take_kind(o, "tools", JSON_ARRAY, &tools, err);
    for (size_t i = 0; !st && i < json_array_size(tools); i++) {
        const json_t *t = json_array_get(tools, i);
        const char *type = json_string_value(json_object_get(t, "type"));
        char where[48];
        snprintf(where, sizeof where, "tools[%zu]", i);
        if (!type || !strcmp(type, "custom")) /* others are run by Anthropic's servers */
            st = request_tool(q, where, json_object_get(t, "name"), take_some(t, "description"), take_some(t, "input_schema"),
                              err);
    }
    return st;
}

static kv_status read_choice(sv_request *q, const json_t *o, kv_err *err) {
    static const struct {
        const char *type;
        sv_tools choice;
    } rows[] = {{"auto", SV_TOOLS_AUTO}, {"none", SV_TOOLS_NONE}, {"any", SV_TOOLS_MUST}, {"tool", SV_TOOLS_ONE}};
    const json_t *c = take_some(o, "tool_choice");
    const char *type = json_string_value(json_object_get(c, "type"));
    kv_status st;
    if (!c)
        return KV_OK;
    for (size_t i = 0; type && i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(type, rows[i].type)) {
            q->tool_choice = rows[i].choice;
            if ((st = take_bool(c, "disable_parallel_tool_use", &q->one_call, err)))
                return kv_fail(err, st, "tool_choice.disable_parallel_tool_use: must be true or false");
            return take_name(c, "name", q->tool_name, err);
        }
    return kv_fail(err, KV_EINVAL, "tool_choice: must be an object whose type is auto, any, tool or none");
}

static kv_status read_thinking(sv_request *q, const json_t *o, kv_err *err) {
    const char *type = json_string_value(json_object_get(take_some(o, "thinking"), "type"));
    if (!type)
        return KV_OK;
    return request_extra(q, "enable_thinking", json_boolean(strcmp(type, "disabled")), err);
}

static kv_status read_count(const json_t *o, sv_request *q, kv_err *err) {
    kv_status st;
    if ((st = take_name(o, "model", q->model, err)) || (st = request_own(q, o, err)) || (st = read_system(q, o, err)) ||
        (st = read_messages(q, o, err)) || (st = read_tools(q, o, err)) || (st = read_choice(q, o, err)) ||
        (st = read_thinking(q, o, err)))
        return st;
    return request_check(q, err);
}

/* output_config.format, as of late 2025; and output_format before. */
static kv_status read_format(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *f = take_some(take_some(o, "output_config"), "format");
    if (!f)
        f = take_some(o, "output_format");
    const char *type = json_string_value(json_object_get(f, "type"));
    if (!type || strcmp(type, "json_schema"))
        return KV_OK;
    if (!take_some(f, "schema"))
        return kv_fail(err, KV_EINVAL, "output_format: there is no schema in it");
    return request_rules(q, SV_RULES_SCHEMA, take_some(f, "schema"), err);
}

static kv_status read_messages_request(const json_t *o, sv_request *q, kv_err *err) {
    kv_status st;
    if (!take_some(o, "max_tokens"))
        return kv_fail(err, KV_EINVAL, "max_tokens: is missing");
    if ((st = take_int(o, "max_tokens", 1, 1 << 30, &q->n_predict, err)) || (st = request_sampling(q, o, err)) ||
        (st = request_stops(q, o, "stop_sequences", err)) || (st = take_bool(o, "stream", &q->stream, err)) ||
        (st = read_format(q, o, err)))
        return st;
    return read_count(o, q, err);
}

json_t *anthropic_error(int http, kv_status st, const char *message) {
    static const struct {
        int http;
        const char *type;
    } rows[] = {{400, "invalid_request_error"}, {401, "authentication_error"}, {403, "permission_error"},
                {404, "not_found_error"},       {413, "request_too_large"},    {429, "rate_limit_error"},
                {503, "overloaded_error"},      {529, "overloaded_error"}};
    const char *type = http >= 400 && http < 500 ? "invalid_request_error" : "api_error";
    (void)st;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].http == http)
            type = rows[i].type;
    return json_pack("{s:s,s:{s:s,s:o}}", "type", "error", "error", "type", type, "message",
                     out_string(message, strlen(message)));
}

static json_t *whole_count(sv_writer *w) {
    return json_pack("{s:I}", "input_tokens", (json_int_t)w->usage.prompt);
}

const sv_dialect sv_messages = {.name = "anthropic-messages",
                                .prefix = "msg_",
                                .streams = SV_SSE,
                                .read = read_messages_request,
                                .stream = anthropic_stream,
                                .whole = anthropic_whole,
                                .error = anthropic_error};
const sv_dialect sv_count = {
    .name = "anthropic-count", .prefix = "cnt_", .read = read_count, .whole = whole_count, .error = anthropic_error};
