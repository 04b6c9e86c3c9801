/* What Responses are answered: items (what was thought, a message, calls), each told in full again when it is done. Every event
 * has its type and its number inside. */
#include "serve/responses.h"

#include <stdio.h>
#include <string.h>

/* ---- items ---- */

static void item_id(const sv_writer *w, const char *prefix, char to[64]) {
    snprintf(to, 64, "%s_%s%u", prefix, w->id + strlen(w->d->prefix), w->n_parts);
}

static json_t *text_part(json_t *text) {
    return json_pack("{s:s,s:o,s:[],s:[]}", "type", "output_text", "text", text, "annotations", "logprobs");
}

static json_t *message_item(const char *id, const char *status, json_t *text) {
    return json_pack("{s:s,s:s,s:s,s:s,s:o}", "id", id, "type", "message", "status", status, "role", "assistant", "content",
                     text ? json_pack("[o]", text_part(text)) : json_array());
}

static json_t *thought_item(const char *id, json_t *text) {
    return json_pack("{s:s,s:s,s:[],s:o}", "id", id, "type", "reasoning", "summary", "content",
                     text ? json_pack("[{s:s,s:o}]", "type", "reasoning_text", "text", text) : json_array());
}

static json_t *call_item(const char *id, const char *status, const sv_call *c, json_t *arguments) {
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:o}", "id", id, "type", "function_call", "status", status, "call_id", c->id, "name",
                     c->name, "arguments", arguments);
}

/* ---- the response itself ---- */

static json_t *usage_of(const sv_usage *u) {
    return json_pack("{s:I,s:{s:I},s:I,s:{s:i},s:I}", "input_tokens", (json_int_t)u->prompt, "input_tokens_details",
                     "cached_tokens", (json_int_t)u->cached, "output_tokens", (json_int_t)u->said, "output_tokens_details",
                     "reasoning_tokens", 0, "total_tokens", (json_int_t)u->prompt + u->said);
}

/* output: taken. done: the answer is complete. */
static json_t *response(const sv_writer *w, json_t *output, bool done) {
    const sv_request *q = w->q;
    const bool cut = done && w->choices[0].why == SV_WHY_LENGTH;
    json_t *j = json_pack("{s:s,s:s,s:I,s:s,s:o,s:o,s:n}", "id", w->id, "object", "response", "created_at",
                          (json_int_t)w->created, "status",
                          !done ? "in_progress"
                          : cut ? "incomplete"
                                : "completed",
                          "model", out_string(w->model, strlen(w->model)), "output", output, "error");
    json_object_set_new(j, "incomplete_details", cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null());
    json_object_set_new(j, "instructions", json_null());
    json_object_set_new(j, "metadata", json_object());
    json_object_set_new(j, "max_output_tokens", q->n_predict > 0 ? json_integer(q->n_predict) : json_null());
    json_object_set_new(j, "parallel_tool_calls", json_boolean(!w->q->one_call));
    json_object_set_new(j, "previous_response_id", json_null());
    json_object_set_new(j, "store", json_false());
    json_object_set_new(j, "temperature", json_real(q->sampling.temp));
    json_object_set_new(j, "top_p", json_real(q->sampling.top_p));
    json_object_set_new(j, "tool_choice", json_string("auto"));
    json_object_set_new(j, "tools", json_array());
    json_object_set_new(j, "truncation", json_string("disabled"));
    json_object_set_new(j, "usage", done ? usage_of(&w->usage) : json_null());
    return j;
}

json_t *responses_whole(sv_writer *w) {
    const sv_choice *c = &w->choices[0];
    json_t *output = json_array();
    char id[64];
    if (out_waiting(&c->thought)) {
        item_id(w, "rs", id);
        w->n_parts++;
        json_array_append_new(output, thought_item(id, collected(&c->thought)));
    }
    if (out_waiting(&c->content) || !has_calls(c)) {
        item_id(w, "msg", id);
        w->n_parts++;
        json_array_append_new(output, message_item(id, "completed", collected(&c->content)));
    }
    for (size_t i = 0; i < c->n_calls; i++) {
        item_id(w, "fc", id);
        w->n_parts++;
        json_array_append_new(output, call_item(id, "completed", &c->calls[i], collected(&c->calls[i].arguments)));
    }
    return response(w, output, true);
}

/* ---- a stream ---- */

/* j: taken; what the event is about. */
static void tell(sv_writer *w, const char *type, json_t *j) {
    json_object_set_new(j, "type", json_string(type));
    json_object_set_new(j, "sequence_number", json_integer(w->sequence++));
    out_sse(w->to, type, j);
}

/* About the item that is open. */
static json_t *about(const sv_writer *w, const char *prefix, bool part) {
    char id[64];
    item_id(w, prefix, id);
    json_t *j = json_pack("{s:s,s:I}", "item_id", id, "output_index", (json_int_t)w->n_parts);
    if (part)
        json_object_set_new(j, "content_index", json_integer(0));
    return j;
}

static json_t *with(json_t *j, const char *key, json_t *value) {
    json_object_set_new(j, key, value);
    return j;
}

static void tell_item(sv_writer *w, const char *type, json_t *item) {
    tell(w, type, json_pack("{s:I,s:o}", "output_index", (json_int_t)w->n_parts, "item", item));
}

static void open_item(sv_writer *w, sv_kind kind, const sv_call *call) {
    char id[64];
    w->open = kind;
    if (kind == SV_CONTENT) {
        item_id(w, "msg", id);
        tell_item(w, "response.output_item.added", message_item(id, "in_progress", NULL));
        tell(w, "response.content_part.added", with(about(w, "msg", true), "part", text_part(json_string(""))));
    } else if (kind == SV_THOUGHT) {
        item_id(w, "rs", id);
        tell_item(w, "response.output_item.added", thought_item(id, NULL));
    } else {
        item_id(w, "fc", id);
        tell_item(w, "response.output_item.added", call_item(id, "in_progress", call, json_string("")));
    }
}

/* The text of the open item: what was collected since the last one of its kind was closed. */
static json_t *take_text(sv_out *o) {
    json_t *j = collected(o);
    o->at = o->len;
    return j;
}

static void close_item(sv_writer *w) {
    sv_choice *c = &w->choices[0];
    json_t *item = NULL, *text;
    char id[64];
    if (w->open == SV_END)
        return;
    if (w->open == SV_CONTENT) {
        text = take_text(&c->content);
        tell(w, "response.output_text.done",
             with(with(about(w, "msg", true), "text", json_incref(text)), "logprobs", json_array()));
        tell(w, "response.content_part.done", with(about(w, "msg", true), "part", text_part(json_incref(text))));
        item_id(w, "msg", id);
        item = message_item(id, "completed", text);
    } else if (w->open == SV_THOUGHT) {
        text = take_text(&c->thought);
        tell(w, "response.reasoning_text.done", with(about(w, "rs", true), "text", json_incref(text)));
        item_id(w, "rs", id);
        item = thought_item(id, text);
    } else {
        sv_call *call = &c->calls[c->n_calls - 1];
        text = collected(&call->arguments);
        tell(w, "response.function_call_arguments.done", with(about(w, "fc", false), "arguments", json_incref(text)));
        item_id(w, "fc", id);
        item = call_item(id, "completed", call, text);
    }
    if (!w->items)
        w->items = json_array();
    json_array_append(w->items, item);
    tell_item(w, "response.output_item.done", item);
    w->n_parts++;
    w->open = SV_END;
}

static void piece(sv_writer *w, const sv_event *e) {
    static const struct {
        const char *type, *prefix;
        bool part;
    } rows[] = {[SV_CONTENT] = {"response.output_text.delta", "msg", true},
                [SV_THOUGHT] = {"response.reasoning_text.delta", "rs", true},
                [SV_ARGUMENTS] = {"response.function_call_arguments.delta", "fc", false}};
    const sv_kind item = e->kind == SV_ARGUMENTS ? SV_CALL : e->kind;
    if (w->open != item) {
        if (item == SV_CALL) /* arguments of no call */
            return;
        close_item(w);
        open_item(w, item, NULL);
    }
    json_t *j = with(about(w, rows[e->kind].prefix, rows[e->kind].part), "delta", json_stringn(e->text, e->len));
    if (e->kind == SV_CONTENT)
        json_object_set_new(j, "logprobs", json_array());
    tell(w, rows[e->kind].type, j);
}

void responses_stream(sv_writer *w, const sv_event *e) {
    sv_choice *c = &w->choices[0];
    switch (e->kind) {
    case SV_BEGIN:
        tell(w, "response.created", json_pack("{s:o}", "response", response(w, json_array(), false)));
        tell(w, "response.in_progress", json_pack("{s:o}", "response", response(w, json_array(), false)));
        return;
    case SV_CONTENT:
    case SV_THOUGHT:
    case SV_ARGUMENTS:
        if (e->len)
            piece(w, e);
        return;
    case SV_CALL:
        close_item(w);
        if (c->n_calls)
            open_item(w, SV_CALL, &c->calls[c->n_calls - 1]);
        return;
    case SV_CALL_END:
        close_item(w);
        return;
    case SV_END:
        if (w->open == SV_END && !w->items) /* nothing was said: an empty message all the same */
            open_item(w, SV_CONTENT, NULL);
        close_item(w);
        tell(w, c->why == SV_WHY_LENGTH ? "response.incomplete" : "response.completed",
             json_pack("{s:o}", "response", response(w, json_incref(w->items), true)));
        return;
    default:
        return;
    }
}

void responses_fail(sv_writer *w, const char *message) {
    json_t *r = response(w, w->items ? json_incref(w->items) : json_array(), false);
    json_object_set_new(r, "status", json_string("failed"));
    json_object_set_new(r, "error",
                        json_pack("{s:s,s:o}", "code", "server_error", "message", out_string(message, strlen(message))));
    tell(w, "response.failed", json_pack("{s:o}", "response", r));
}
