/* OpenAI's /v1/chat/completions. */
#include "serve/openai.h"

#include <stdio.h>
#include <string.h>

/* ---- reading ---- */

static kv_status read_messages(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *all = take_some(o, "messages");
    kv_status st = KV_OK;
    if (!json_is_array(all) || !json_array_size(all))
        return kv_fail(err, KV_EINVAL, "messages: must be an array of at least one message");
    for (size_t i = 0; !st && i < json_array_size(all); i++) {
        char where[48];
        snprintf(where, sizeof where, "messages[%zu]", i);
        st = openai_message(q, json_array_get(all, i), where, err);
    }
    return st;
}

static kv_status read_tools(sv_request *q, const json_t *o, kv_err *err) {
    const json_t *tools;
    kv_status st = take_kind(o, "tools", JSON_ARRAY, &tools, err);
    for (size_t i = 0; !st && i < json_array_size(tools); i++) {
        const json_t *t = json_array_get(tools, i), *f = take_some(t, "function");
        const char *type = json_string_value(json_object_get(t, "type"));
        char where[48];
        snprintf(where, sizeof where, "tools[%zu].function", i);
        if (type && strcmp(type, "function")) /* of kinds that only OpenAI's own servers have */
            continue;
        if (!json_is_object(f))
            return kv_fail(err, KV_EINVAL, "%s: must be an object", where);
        st = request_tool(q, where, json_object_get(f, "name"), take_some(f, "description"), take_some(f, "parameters"), err);
    }
    return st;
}

static kv_status read_chat(const json_t *o, sv_request *q, kv_err *err) {
    int64_t top = 0;
    kv_status st = openai_common(q, o, err);
    if (st || (st = read_messages(q, o, err)) || (st = read_tools(q, o, err)) || (st = openai_tool_choice(q, o, err)) ||
        (st = request_parallel(q, o, err)) || (st = take_bool(o, "logprobs", &q->logprobs, err)) ||
        (st = take_int(o, "top_logprobs", 0, SV_MOST_TOP, &top, err)))
        return st;
    if (top && !q->logprobs)
        return kv_fail(err, KV_EINVAL, "top_logprobs: needs logprobs to be true");
    q->top = (uint32_t)top;
    return request_check(q, err);
}

/* ---- log-probabilities ---- */

static json_t *one_logprob(const sv_logprob *l) {
    json_t *bytes = json_array();
    for (size_t i = 0; i < l->len; i++)
        json_array_append_new(bytes, json_integer((unsigned char)l->text[i]));
    return json_pack("{s:o,s:f,s:o}", "token", out_string(l->text, l->len), "logprob", (double)l->logprob, "bytes", bytes);
}

static json_t *logprobs_of(const sv_event *e) {
    json_t *all = json_array();
    for (size_t i = 0; i < e->n_tokens; i++) {
        json_t *t = one_logprob(&e->tokens[i].said), *top = json_array();
        for (uint32_t k = 0; k < e->tokens[i].n_top; k++)
            json_array_append_new(top, one_logprob(&e->tokens[i].top[k]));
        json_object_set_new(t, "top_logprobs", top);
        json_array_append_new(all, t);
    }
    return all;
}

/* ---- a stream ---- */

/* delta: taken. finish: NULL while it goes on. */
static json_t *chunk(sv_writer *w, uint32_t choice, json_t *delta, json_t *logprobs, const char *finish) {
    json_t *j = openai_head(w, "chat.completion.chunk");
    json_object_set_new(j, "choices",
                        json_pack("[{s:I,s:o,s:o?,s:s?}]", "index", (json_int_t)choice, "delta", delta, "logprobs",
                                  logprobs ? json_pack("{s:o,s:n}", "content", logprobs, "refusal") : NULL, "finish_reason",
                                  finish));
    if (w->q->usage)
        json_object_set_new(j, "usage", json_null());
    return j;
}

static json_t *call_delta(const sv_choice *c, const sv_event *e) {
    if (e->kind == SV_ARGUMENTS)
        return json_pack("{s:[{s:I,s:{s:s%}}]}", "tool_calls", "index", (json_int_t)e->call, "function", "arguments", e->text,
                         e->len);
    const sv_call *call = &c->calls[e->call];
    return json_pack("{s:[{s:I,s:s,s:s,s:{s:s,s:s}}]}", "tool_calls", "index", (json_int_t)e->call, "id", call->id, "type",
                     "function", "function", "name", call->name, "arguments", "");
}

static void stream_end(sv_writer *w) {
    if (w->q->usage) {
        json_t *j = openai_head(w, "chat.completion.chunk");
        json_object_set_new(j, "choices", json_array());
        json_object_set_new(j, "usage", openai_usage(&w->usage));
        out_sse(w->to, NULL, j);
    }
    out_text(w->to, "data: [DONE]\n\n");
}

static void stream_chat(sv_writer *w, const sv_event *e) {
    const sv_choice *c = &w->choices[e->choice < w->n_choices ? e->choice : 0];
    json_t *j = NULL;
    switch (e->kind) {
    case SV_BEGIN:
        for (uint32_t i = 0; i < w->n_choices; i++)
            out_sse(w->to, NULL, chunk(w, i, json_pack("{s:s,s:s}", "role", "assistant", "content", ""), NULL, NULL));
        return;
    case SV_PROGRESS:
        j = chunk(w, e->choice, json_object(), NULL, NULL);
        json_object_set_new(j, "prompt_progress",
                            json_pack("{s:I,s:I,s:I,s:f}", "total", (json_int_t)e->usage->prompt, "cache",
                                      (json_int_t)e->usage->cached, "processed", (json_int_t)e->usage->read, "time_ms",
                                      1e3 * e->usage->all_s));
        break;
    case SV_CONTENT:
        j = chunk(w, e->choice, json_pack("{s:s%}", "content", e->text, e->len), e->n_tokens ? logprobs_of(e) : NULL, NULL);
        break;
    case SV_THOUGHT:
        j = chunk(w, e->choice, json_pack("{s:s%}", "reasoning_content", e->text, e->len), NULL, NULL);
        break;
    case SV_CALL:
    case SV_ARGUMENTS:
        if (e->call >= c->n_calls)
            return;
        j = chunk(w, e->choice, call_delta(c, e), NULL, NULL);
        break;
    case SV_CHOICE_END:
        j = chunk(w, e->choice, json_object(), NULL, openai_finish(c));
        if (e->usage)
            json_object_set_new(j, "timings", openai_timings(e->usage));
        break;
    case SV_END:
        stream_end(w);
        return;
    default:
        return;
    }
    out_sse(w->to, NULL, j);
}

/* ---- a whole answer ---- */

static json_t *message_of(const sv_choice *c) {
    json_t *m = json_pack("{s:s,s:n}", "role", "assistant", "refusal");
    if (out_waiting(&c->content) || !has_calls(c))
        json_object_set_new(m, "content", collected(&c->content));
    else
        json_object_set_new(m, "content", json_null());
    if (out_waiting(&c->thought))
        json_object_set_new(m, "reasoning_content", collected(&c->thought));
    if (!has_calls(c)) /* no key at all: clients take an empty list for calls */
        return m;
    json_t *calls = json_array();
    for (size_t i = 0; i < c->n_calls; i++)
        json_array_append_new(calls, json_pack("{s:s,s:s,s:{s:s,s:o}}", "id", c->calls[i].id, "type", "function", "function",
                                               "name", c->calls[i].name, "arguments", collected(&c->calls[i].arguments)));
    json_object_set_new(m, "tool_calls", calls);
    return m;
}

static json_t *whole_chat(sv_writer *w) {
    json_t *j = openai_head(w, "chat.completion"), *choices = json_array();
    for (uint32_t i = 0; i < w->n_choices; i++) {
        sv_choice *c = &w->choices[i];
        json_t *logprobs = c->logprobs ? json_pack("{s:O,s:n}", "content", c->logprobs, "refusal") : json_null();
        json_array_append_new(choices, json_pack("{s:I,s:o,s:o,s:s}", "index", (json_int_t)i, "message", message_of(c),
                                                 "logprobs", logprobs, "finish_reason", openai_finish(c)));
    }
    json_object_set_new(j, "choices", choices);
    json_object_set_new(j, "usage", openai_usage(&w->usage));
    json_object_set_new(j, "timings", openai_timings(&w->usage));
    return j;
}

const sv_dialect sv_chat = {.name = "openai-chat",
                            .prefix = "chatcmpl-",
                            .streams = SV_SSE,
                            .read = read_chat,
                            .stream = stream_chat,
                            .whole = whole_chat,
                            .gather = logprobs_of,
                            .error = openai_error};
