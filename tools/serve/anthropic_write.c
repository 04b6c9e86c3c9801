/* What Messages are answered: blocks, one after the other. */
#include "serve/anthropic.h"

#include <string.h>

static json_t *usage_of(const sv_usage *u) {
    const uint32_t cached = u->cached < u->prompt ? u->cached : u->prompt;
    return json_pack("{s:I,s:i,s:I,s:I}", "input_tokens", (json_int_t)u->prompt - cached, "cache_creation_input_tokens", 0,
                     "cache_read_input_tokens", (json_int_t)cached, "output_tokens", (json_int_t)u->said);
}

static const char *reason(const sv_choice *c) {
    return has_calls(c) && c->why != SV_WHY_LENGTH ? "tool_use"
           : c->why == SV_WHY_LENGTH               ? "max_tokens"
           : c->stop                               ? "stop_sequence"
                                                   : "end_turn";
}

static json_t *text_block(json_t *text) {
    return json_pack("{s:s,s:o}", "type", "text", "text", text);
}

static json_t *thought_block(json_t *text) {
    return json_pack("{s:s,s:o,s:s}", "type", "thinking", "thinking", text, "signature", "");
}

static json_t *use_block(const sv_call *c, json_t *input) {
    return json_pack("{s:s,s:s,s:s,s:o}", "type", "tool_use", "id", c->id, "name", c->name, "input", input);
}

static json_t *message(const sv_writer *w, json_t *content) {
    return json_pack("{s:s,s:s,s:s,s:o,s:o,s:n,s:n}", "id", w->id, "type", "message", "role", "assistant", "model",
                     out_string(w->model, strlen(w->model)), "content", content, "stop_reason", "stop_sequence");
}

/* Arguments are an object here, not the text of one. */
static json_t *input_of(const sv_call *c) {
    const size_t n = out_waiting(&c->arguments);
    json_t *j = n ? json_loadb(c->arguments.s + c->arguments.at, n, 0, NULL) : NULL;
    if (json_is_object(j))
        return j;
    json_decref(j);
    return json_object();
}

json_t *anthropic_whole(sv_writer *w) {
    const sv_choice *c = &w->choices[0];
    json_t *content = json_array();
    if (out_waiting(&c->thought))
        json_array_append_new(content, thought_block(collected(&c->thought)));
    if (out_waiting(&c->content) || !has_calls(c))
        json_array_append_new(content, text_block(collected(&c->content)));
    for (size_t i = 0; i < c->n_calls; i++)
        json_array_append_new(content, use_block(&c->calls[i], input_of(&c->calls[i])));
    json_t *j = message(w, content);
    json_object_set_new(j, "stop_reason", json_string(reason(c)));
    json_object_set_new(j, "stop_sequence", c->stop ? json_string(c->stop) : json_null());
    json_object_set_new(j, "usage", usage_of(&w->usage));
    return j;
}

/* ---- a stream ---- */

static void tell(sv_writer *w, const char *type, json_t *j) {
    json_object_set_new(j, "type", json_string(type));
    out_sse(w->to, type, j);
}

static void close_block(sv_writer *w) {
    if (w->open == SV_END)
        return;
    tell(w, "content_block_stop", json_pack("{s:I}", "index", (json_int_t)w->n_parts++));
    w->open = SV_END;
}

static void open_block(sv_writer *w, sv_kind kind, json_t *block) {
    w->open = kind;
    tell(w, "content_block_start", json_pack("{s:I,s:o}", "index", (json_int_t)w->n_parts, "content_block", block));
}

static void piece(sv_writer *w, const sv_event *e) {
    static const struct {
        const char *type, *key;
    } rows[] = {[SV_CONTENT] = {"text_delta", "text"},
                [SV_THOUGHT] = {"thinking_delta", "thinking"},
                [SV_ARGUMENTS] = {"input_json_delta", "partial_json"}};
    const sv_kind block = e->kind == SV_ARGUMENTS ? SV_CALL : e->kind;
    if (w->open != block) {
        if (block == SV_CALL)
            return;
        close_block(w);
        open_block(w, block, block == SV_CONTENT ? text_block(json_string("")) : thought_block(json_string("")));
    }
    tell(w, "content_block_delta",
         json_pack("{s:I,s:{s:s,s:s%}}", "index", (json_int_t)w->n_parts, "delta", "type", rows[e->kind].type,
                   rows[e->kind].key, e->text, e->len));
}

void anthropic_stream(sv_writer *w, const sv_event *e) {
    const sv_choice *c = &w->choices[0];
    json_t *j;
    switch (e->kind) {
    case SV_BEGIN:
        j = message(w, json_array());
        json_object_set_new(j, "usage", usage_of(&w->usage));
        tell(w, "message_start", json_pack("{s:o}", "message", j));
        tell(w, "ping", json_object());
        return;
    case SV_CONTENT:
    case SV_THOUGHT:
    case SV_ARGUMENTS:
        if (e->len)
            piece(w, e);
        return;
    case SV_CALL:
        close_block(w);
        if (c->n_calls)
            open_block(w, SV_CALL, use_block(&c->calls[c->n_calls - 1], json_object()));
        return;
    case SV_CALL_END:
        close_block(w);
        return;
    case SV_END:
        if (w->open == SV_END && !w->n_parts) /* nothing was said: an empty block all the same */
            open_block(w, SV_CONTENT, text_block(json_string("")));
        close_block(w);
        tell(w, "message_delta",
             json_pack("{s:{s:s,s:s?},s:o}", "delta", "stop_reason", reason(c), "stop_sequence", c->stop, "usage",
                       usage_of(&w->usage)));
        tell(w, "message_stop", json_object());
        return;
    default:
        return;
    }
}
