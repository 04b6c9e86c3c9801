/* What the tests of the server's dialects share: requests from texts, and answers of events. */
#ifndef SERVE_FIXTURE_H
#define SERVE_FIXTURE_H

#include "serve/body.h"
#include "serve/dialect.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* JSON with ' for ". */
static inline json_t *json_of(const char *text) {
    char *s = strdup(text);
    json_error_t e;
    for (char *c = s; *c; c++)
        if (*c == '\'')
            *c = '"';
    json_t *j = json_loads(s, JSON_ALLOW_NUL, &e);
    if (!j)
        fail_msg("%s: %s", e.text, s);
    free(s);
    return j;
}

static inline kv_status try_read(const sv_dialect *d, const char *text, sv_request *q, kv_err *err) {
    const sv_defaults defaults = {RT_SAMPLING_DEFAULT, -1};
    json_t *body = json_of(text);
    request_init(q, &defaults);
    const kv_status st = d->read(body, q, err);
    json_decref(body);
    return st;
}

static inline sv_request must_read(const sv_dialect *d, const char *text) {
    sv_request q;
    kv_err err = {0};
    if (try_read(d, text, &q, &err))
        fail_msg("%s: %s", text, err.msg);
    return q;
}

/* It is refused, and the message begins with that. */
static inline void must_refuse(const sv_dialect *d, const char *text, const char *begins) {
    sv_request q;
    kv_err err = {0};
    if (!try_read(d, text, &q, &err))
        fail_msg("taken: %s", text);
    if (strncmp(err.msg, begins, strlen(begins)))
        fail_msg("'%s' does not begin with '%s'", err.msg, begins);
    request_free(&q);
}

/* The same value, whatever the order of keys. */
static inline void same_json(const json_t *j, const char *wanted) {
    json_t *w = json_of(wanted);
    if (!json_equal(j, w)) {
        char *is = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
        fail_msg("%s\n is not %s", is ? is : "nothing", wanted);
    }
    json_decref(w);
}

/* A value inside: "choices.0.delta.content". Borrowed. */
static inline json_t *inside(const json_t *j, const char *path) {
    char *copy = strdup(path), *rest = NULL;
    json_t *at = (json_t *)j;
    for (char *key = strtok_r(copy, ".", &rest); key; key = strtok_r(NULL, ".", &rest))
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(key)) : json_object_get(at, key);
    free(copy);
    return at;
}

static inline const char *text_in(const json_t *j, const char *path) {
    return json_string_value(inside(j, path));
}

/* ---- answers ---- */

typedef struct answering {
    sv_request q;
    sv_writer w;
    sv_out out;
} answering;

static inline void begin_answer(answering *a, const sv_dialect *d, const char *request, uint32_t choices) {
    memset(a, 0, sizeof *a);
    a->q = must_read(d, request);
    assert_false(writer_init(&a->w, d, &a->q, "ABCDEFGHIJKLMNOPQRSTUVWX", "tiny", 1700000000, choices, &a->out));
    a->w.usage.prompt = 10;
    writer_event(&a->w, &(sv_event){.kind = SV_BEGIN});
}

static inline void happens(answering *a, sv_kind kind, const char *text) {
    writer_event(&a->w, &(sv_event){.kind = kind, .text = text, .len = strlen(text)});
}

static inline void end_answer(answering *a, sv_why why, const char *stop) {
    const sv_usage u = {.prompt = 10, .cached = 4, .said = 3, .prefill_s = 0.5, .decode_s = 1, .all_s = 2};
    for (uint32_t i = 0; i < a->w.n_choices; i++)
        writer_event(&a->w, &(sv_event){.kind = SV_CHOICE_END, .choice = i, .why = why, .stop = stop, .usage = &u});
    writer_event(&a->w, &(sv_event){.kind = SV_END, .usage = &u});
    assert_false(a->out.failed);
}

/* All that was written, as one NUL-terminated text. */
static inline const char *written(answering *a) {
    out_add(&a->out, "", 1);
    return a->out.s;
}

/* A whole answer. Caller frees with json_decref. */
static inline json_t *whole_answer(answering *a) {
    json_error_t e;
    json_t *j = json_loadb(a->out.s, a->out.len, 0, &e);
    if (!j)
        fail_msg("%s in %.*s", e.text, (int)a->out.len, a->out.s);
    return j;
}

/* What a stream's events or lines hold, as an array; "[DONE]" as a string, and comments left out. Caller frees. */
static inline json_t *stream_events(answering *a) {
    json_t *all = json_array();
    char *copy = strdup(written(a)), *rest = NULL, event[64] = "";
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (sscanf(line, "event: %63s", event) == 1)
            continue;
        const char *data = strncmp(line, "data: ", 6) ? line : line + 6;
        json_t *j = strcmp(data, "[DONE]") ? json_loads(data, 0, NULL) : json_string(data);
        if (!j)
            fail_msg("no JSON: %s", data);
        if (*event && json_object_get(j, "type")) /* what SSE calls it is what it calls itself */
            assert_string_equal(event, text_in(j, "type"));
        *event = '\0';
        json_array_append_new(all, j);
    }
    free(copy);
    return all;
}

static inline void end_of(answering *a) {
    writer_free(&a->w);
    request_free(&a->q);
    out_free(&a->out);
}

#endif
