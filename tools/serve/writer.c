/* What happens, collected: whole answers are made of it at their end, and streams tell at theirs what they told in pieces. */
#include "serve/dialect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int http_of(kv_status st) {
    static const struct {
        kv_status st;
        int http;
    } rows[] = {{KV_EINVAL, 400}, {KV_ERANGE, 400},    {KV_EUNSUPP, 400}, {KV_EFORMAT, 400},
                {KV_EBUSY, 503},  {KV_EMISMATCH, 409}, {KV_ECANCEL, 499}, {KV_ENOMEM, 503}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].st == st)
            return rows[i].http;
    return 500;
}

kv_status writer_init(sv_writer *w, const sv_dialect *d, const sv_request *q, const char *id, const char *model,
                      int64_t created, uint32_t n_choices, sv_out *to) {
    *w = (sv_writer){.d = d, .q = q, .to = to, .created = created, .n_choices = n_choices, .open = SV_END};
    snprintf(w->id, sizeof w->id, "%s%s", d->prefix, id);
    snprintf(w->model, sizeof w->model, "%s", model);
    w->choices = calloc(n_choices ? n_choices : 1, sizeof *w->choices);
    return w->choices ? KV_OK : KV_ENOMEM;
}

void writer_free(sv_writer *w) {
    for (uint32_t i = 0; w->choices && i < w->n_choices; i++) {
        sv_choice *c = &w->choices[i];
        for (size_t k = 0; k < c->n_calls; k++)
            out_free(&c->calls[k].arguments);
        free(c->calls);
        free(c->stop);
        out_free(&c->content);
        out_free(&c->thought);
        json_decref(c->logprobs);
    }
    free(w->choices);
    json_decref(w->vectors);
    json_decref(w->items);
    *w = (sv_writer){0};
}

json_t *collected(const sv_out *o) {
    return o->failed ? NULL : json_stringn(o->s ? o->s + o->at : "", out_waiting(o));
}

static void collect_call(sv_writer *w, sv_choice *c, const sv_event *e) {
    if (c->n_calls == SV_MOST_CALLS)
        return;
    sv_call *calls = realloc(c->calls, (c->n_calls + 1) * sizeof *calls);
    if (!calls) {
        w->to->failed = true;
        return;
    }
    c->calls = calls;
    sv_call *call = &calls[c->n_calls++];
    memset(call, 0, sizeof *call);
    /* Unlike in every answer, so that a client that keeps a conversation can tell them apart. */
    const char *id = w->id + strlen(w->d->prefix);
    snprintf(call->id, sizeof call->id, "call_%.16s%02x%02x", id, (unsigned)(e->choice & 255), (unsigned)(c->n_calls & 255));
    snprintf(call->name, sizeof call->name, "%.*s", (int)(e->len < SV_NAME ? e->len : SV_NAME - 1), e->text);
}

static void collect(sv_writer *w, const sv_event *e) {
    sv_choice *c = e->choice < w->n_choices ? &w->choices[e->choice] : NULL;
    if (e->usage && e->kind == SV_END)
        w->usage = *e->usage;
    if (e->kind == SV_VECTOR || !c)
        return;
    if (e->kind == SV_CONTENT)
        out_add(&c->content, e->text, e->len);
    if (e->n_tokens && w->d->gather && !w->q->stream) {
        json_t *more = w->d->gather(e);
        if (!c->logprobs)
            c->logprobs = json_array();
        if (json_array_extend(c->logprobs, more))
            w->to->failed = true;
        json_decref(more);
    }
    if (e->kind == SV_THOUGHT)
        out_add(&c->thought, e->text, e->len);
    if (e->kind == SV_CALL)
        collect_call(w, c, e);
    if (e->kind == SV_ARGUMENTS && e->call < c->n_calls)
        out_add(&c->calls[e->call].arguments, e->text, e->len);
    if (e->kind == SV_CALL_END && e->call < c->n_calls)
        c->calls[e->call].ended = true;
    if (e->kind == SV_CHOICE_END) {
        c->why = e->why;
        c->ended = true;
        c->stop = e->stop ? strdup(e->stop) : NULL;
    }
}

/* In the middle of a stream HTTP has said already that all is well: the dialect's own error is the last event. */
static void write_error(sv_writer *w, const sv_event *e) {
    char message[1100];
    snprintf(message, sizeof message, "%.*s", (int)(e->len < sizeof message ? e->len : sizeof message - 1), e->text);
    if (w->q->stream && w->d->fail) {
        w->d->fail(w, message);
        return;
    }
    json_t *j = w->d->error(http_of(e->status), e->status, message);
    if (!w->q->stream || !w->d->stream)
        out_json(w->to, j);
    else if (w->d->streams == SV_NDJSON)
        out_line(w->to, j);
    else
        out_sse(w->to, "error", j);
}

void writer_event(sv_writer *w, const sv_event *e) {
    if (w->over)
        return;
    w->over = e->kind == SV_END || e->kind == SV_ERROR;
    collect(w, e);
    if (e->kind == SV_ERROR) {
        write_error(w, e);
        return;
    }
    if (e->kind == SV_VECTOR) {
        json_t *v = json_array();
        for (size_t i = 0; v && i < e->n_vector; i++)
            json_array_append_new(v, json_real((double)e->vector[i]));
        if (!w->vectors)
            w->vectors = json_array();
        if (json_array_append_new(w->vectors, v))
            w->to->failed = true;
        return;
    }
    if (w->q->stream && w->d->stream)
        w->d->stream(w, e);
    else if (e->kind == SV_END)
        out_json(w->to, w->d->whole(w));
}
