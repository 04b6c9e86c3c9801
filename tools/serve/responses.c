/* OpenAI's /v1/responses: what is asked, as far as it needs no memory of earlier answers. responses_write.c has the other half.
 */
#include "serve/responses.h"

#include "serve/openai.h"

#include <stdio.h>
#include <string.h>

/* ---- items of the input ---- */

/* Messages of the assistant that follow each other are one with calls: text first, then what it called. */
static kv_status add_call(sv_request *q, const json_t *item, const char *where, kv_err *err) {
    const json_t *name = json_object_get(item, "name"), *arguments = take_some(item, "arguments"),
                 *id = take_some(item, "call_id");
    json_t *last = json_array_get(q->messages, json_array_size(q->messages) ? json_array_size(q->messages) - 1 : 0);
    if (!json_is_string(name) || (arguments && !json_is_string(arguments)))
        return kv_fail(err, KV_EINVAL, "%s: a call needs a name, and arguments as text", where);
    json_t *call = json_pack("{s:s,s:{s:O,s:o}}", "type", "function", "function", "name", name, "arguments",
                             arguments ? json_incref((json_t *)arguments) : json_string("{}"));
    if (json_is_string(id))
        json_object_set(call, "id", (json_t *)id);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (role && !strcmp(role, "assistant")) {
        if (!json_object_get(last, "tool_calls"))
            json_object_set_new(last, "tool_calls", json_array());
        return json_array_append_new(json_object_get(last, "tool_calls"), call)
                   ? kv_fail(err, KV_ENOMEM, "out of memory for messages")
                   : KV_OK;
    }
    return request_message(q, json_pack("{s:s,s:s,s:[o]}", "role", "assistant", "content", "", "tool_calls", call), err);
}

static kv_status add_result(sv_request *q, const json_t *item, const char *where, kv_err *err) {
    const json_t *id = take_some(item, "call_id");
    char place[96];
    json_t *text = NULL;
    snprintf(place, sizeof place, "%s.output", where);
    kv_status st = content_text(json_object_get(item, "output"), place, &text, err);
    if (st)
        return st;
    json_t *m = json_pack("{s:s,s:o}", "role", "tool", "content", text);
    if (json_is_string(id))
        json_object_set(m, "tool_call_id", (json_t *)id);
    return request_message(q, m, err);
}

static kv_status add_item(sv_request *q, const json_t *item, const char *where, kv_err *err) {
    const char *type = json_string_value(json_object_get(item, "type"));
    if (!json_is_object(item))
        return kv_fail(err, KV_EINVAL, "%s: must be an object", where);
    if (!type || !strcmp(type, "message"))
        return openai_message(q, item, where, err);
    if (!strcmp(type, "function_call"))
        return add_call(q, item, where, err);
    if (!strcmp(type, "function_call_output"))
        return add_result(q, item, where, err);
    if (!strcmp(type, "item_reference"))
        return kv_fail(err, KV_EUNSUPP, "%s: nothing is stored here that it could refer to", where);
    return KV_OK; /* reasoning, and what only OpenAI's own tools leave behind */
}

static kv_status read_input(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *input = take_some(o, "input"), *told;
    kv_status st = take_kind(o, "instructions", JSON_STRING, &told, err);
    if (st || (told && (st = request_system(q, json_string_value(told), json_string_length(told), err))))
        return st;
    if (json_is_string(input))
        return request_message(q, json_pack("{s:s,s:O}", "role", "user", "content", input), err);
    if (!json_array_size(input))
        return kv_fail(err, KV_EINVAL, "input: must be a string or an array of at least one item");
    for (size_t i = 0; !st && i < json_array_size(input); i++) {
        char where[48];
        snprintf(where, sizeof where, "input[%zu]", i);
        st = add_item(q, json_array_get(input, i), where, err);
    }
    if (!st && !q->messages)
        return kv_fail(err, KV_EINVAL, "input: there is no message in it");
    return st;
}

/* ---- the rest ---- */

static kv_status read_tools(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *tools;
    kv_status st = take_kind(o, "tools", JSON_ARRAY, &tools, err);
    for (size_t i = 0; !st && i < json_array_size(tools); i++) {
        const json_t *t = json_array_get(tools, i);
        const char *type = json_string_value(json_object_get(t, "type"));
        char where[48];
        snprintf(where, sizeof where, "tools[%zu]", i);
        if (type && !strcmp(type, "function")) /* others are run by OpenAI's servers, or are no matter of JSON */
            st = request_tool(q, where, json_object_get(t, "name"), take_some(t, "description"), take_some(t, "parameters"),
                              err);
    }
    return st;
}

/* text.format has what response_format has, one level higher. */
static kv_status read_format(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *format = take_some(take_some(o, "text"), "format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!type || !strcmp(type, "text"))
        return KV_OK;
    if (!strcmp(type, "json_object"))
        return request_rules(q, SV_RULES_JSON, NULL, err);
    if (strcmp(type, "json_schema") || !take_some(format, "schema"))
        return kv_fail(err, KV_EINVAL, "text.format: must be text, json_object, or json_schema with a schema");
    return request_rules(q, SV_RULES_SCHEMA, take_some(format, "schema"), err);
}

/* A choice of a tool that was passed over is no choice. */
static kv_status read_choice(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *c = take_some(o, "tool_choice");
    const char *type = json_string_value(json_object_get(c, "type"));
    return type && strcmp(type, "function") ? KV_OK : openai_tool_choice(q, o, err);
}

static kv_status read_responses(const json_t *o, sv_request *q, kv_err *err) {
    kv_status st;
    if (take_some(o, "previous_response_id"))
        return kv_fail(err, KV_EINVAL,
                       "previous_response_id: answers are not stored here; send the whole conversation as input");
    if (take_some(o, "conversation"))
        return kv_fail(err, KV_EINVAL, "conversation: conversations are not stored here; send all of it as input");
    if (take_some(o, "background") && json_is_true(take_some(o, "background")))
        return kv_fail(err, KV_EUNSUPP, "background: answers are given at once or not at all");
    if ((st = take_name(o, "model", q->model, err)) || (st = request_sampling(q, o, err)) ||
        (st = request_stops(q, o, "stop", err)) || (st = request_own(q, o, err)) ||
        (st = take_int(o, "max_output_tokens", 1, 1 << 30, &q->n_predict, err)) ||
        (st = take_bool(o, "stream", &q->stream, err)) || (st = read_input(q, o, err)) || (st = read_tools(q, o, err)) ||
        (st = read_choice(q, o, err)) || (st = request_parallel(q, o, err)) || (st = read_format(q, o, err)))
        return st;
    return request_check(q, err);
}

const sv_dialect sv_responses = {.name = "openai-responses",
                                 .prefix = "resp_",
                                 .streams = SV_SSE,
                                 .read = read_responses,
                                 .stream = responses_stream,
                                 .whole = responses_whole,
                                 .error = openai_error,
                                 .fail = responses_fail};
