/* What Ollama's clients are answered: lines of JSON, the last of which has the figures. */
#include "serve/ollama.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

char *ollama_time(int64_t seconds, char to[48]) {
    const time_t t = (time_t)seconds;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || !strftime(to, 48, "%Y-%m-%dT%H:%M:%S.000000Z", &tm))
        snprintf(to, 48, "1970-01-01T00:00:00.000000Z");
    return to;
}

static json_t *line(const sv_writer *w, bool done) {
    char time[48];
    return json_pack("{s:o,s:s,s:b}", "model", out_string(w->model, strlen(w->model)), "created_at",
                     ollama_time(w->created, time), "done", done);
}

static json_int_t nanoseconds(double s) {
    return s > 0 && s < 1e9 ? (json_int_t)(s * 1e9) : 0;
}

/* A last line: why, and the figures. */
static json_t *last(const sv_writer *w) {
    const sv_usage *u = &w->usage;
    json_t *j = line(w, true);
    json_object_set_new(j, "done_reason",
                        json_string(w->q->load_only                      ? "load"
                                    : w->choices[0].why == SV_WHY_LENGTH ? "length"
                                                                         : "stop"));
    if (w->q->load_only)
        return j;
    json_object_set_new(j, "total_duration", json_integer(nanoseconds(u->all_s)));
    json_object_set_new(j, "load_duration", json_integer(nanoseconds(u->load_s)));
    json_object_set_new(j, "prompt_eval_count", json_integer(u->prompt));
    json_object_set_new(j, "prompt_eval_duration", json_integer(nanoseconds(u->prefill_s)));
    json_object_set_new(j, "eval_count", json_integer(u->said));
    json_object_set_new(j, "eval_duration", json_integer(nanoseconds(u->decode_s)));
    return j;
}

/* Arguments are an object here, not the text of one. */
static json_t *call_of(const sv_call *c, size_t i) {
    const size_t n = out_waiting(&c->arguments);
    json_t *arguments = n ? json_loadb(c->arguments.s + c->arguments.at, n, 0, NULL) : NULL;
    if (!json_is_object(arguments)) {
        json_decref(arguments);
        arguments = json_object();
    }
    return json_pack("{s:s,s:{s:I,s:s,s:o}}", "id", c->id, "function", "index", (json_int_t)i, "name", c->name, "arguments",
                     arguments);
}

/* ---- chat ---- */

static json_t *message(json_t *content) {
    return json_pack("{s:s,s:o}", "role", "assistant", "content", content);
}

void ollama_chat_stream(sv_writer *w, const sv_event *e) {
    const sv_choice *c = &w->choices[0];
    json_t *m = NULL, *j;
    switch (e->kind) {
    case SV_CONTENT:
        if (e->len)
            m = message(json_stringn(e->text, e->len));
        break;
    case SV_THOUGHT:
        m = message(json_string(""));
        json_object_set_new(m, "thinking", json_stringn(e->text, e->len));
        break;
    case SV_CALL_END: /* calls come whole */
        if (e->call < c->n_calls) {
            m = message(json_string(""));
            json_object_set_new(m, "tool_calls", json_pack("[o]", call_of(&c->calls[e->call], e->call)));
        }
        break;
    case SV_END:
        j = last(w);
        json_object_set_new(j, "message", message(json_string("")));
        out_line(w->to, j);
        return;
    default:
        break;
    }
    if (!m)
        return;
    j = line(w, false);
    json_object_set_new(j, "message", m);
    out_line(w->to, j);
}

json_t *ollama_chat_whole(sv_writer *w) {
    const sv_choice *c = &w->choices[0];
    json_t *m = message(collected(&c->content)), *j = last(w);
    if (out_waiting(&c->thought))
        json_object_set_new(m, "thinking", collected(&c->thought));
    if (has_calls(c)) { /* no key at all where there are none */
        json_t *calls = json_array();
        for (size_t i = 0; i < c->n_calls; i++)
            json_array_append_new(calls, call_of(&c->calls[i], i));
        json_object_set_new(m, "tool_calls", calls);
    }
    json_object_set_new(j, "message", m);
    return j;
}

/* ---- generate ---- */

void ollama_generate_stream(sv_writer *w, const sv_event *e) {
    json_t *j;
    if (e->kind == SV_CONTENT ? !e->len : e->kind != SV_THOUGHT && e->kind != SV_END)
        return;
    j = e->kind == SV_END ? last(w) : line(w, false);
    json_object_set_new(j, "response", e->kind == SV_CONTENT ? json_stringn(e->text, e->len) : json_string(""));
    if (e->kind == SV_THOUGHT)
        json_object_set_new(j, "thinking", json_stringn(e->text, e->len));
    out_line(w->to, j);
}

json_t *ollama_generate_whole(sv_writer *w) {
    const sv_choice *c = &w->choices[0];
    json_t *j = last(w);
    json_object_set_new(j, "response", collected(&c->content));
    if (out_waiting(&c->thought))
        json_object_set_new(j, "thinking", collected(&c->thought));
    return j;
}

/* ---- embeddings ---- */

json_t *ollama_embed_whole(sv_writer *w) {
    return json_pack("{s:o,s:O,s:I,s:I,s:I}", "model", out_string(w->model, strlen(w->model)), "embeddings", w->vectors,
                     "total_duration", nanoseconds(w->usage.all_s), "load_duration", nanoseconds(w->usage.load_s),
                     "prompt_eval_count", (json_int_t)w->usage.prompt);
}

json_t *ollama_embeddings_whole(sv_writer *w) {
    return json_pack("{s:O}", "embedding", json_array_get(w->vectors, 0));
}
