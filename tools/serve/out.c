#include "serve/out.h"

#include "cli/cli_json.h"
#include "text/tok.h"

#include <stdlib.h>
#include <string.h>

void out_free(sv_out *o) {
    free(o->s);
    *o = (sv_out){0};
}

static bool make_room(sv_out *o, size_t n) {
    if (o->cap - o->len >= n)
        return true;
    if (o->at) {
        memmove(o->s, o->s + o->at, o->len - o->at);
        o->len -= o->at;
        o->at = 0;
    }
    size_t cap = o->cap ? o->cap : 1024;
    while (cap - o->len < n)
        cap *= 2;
    char *s = cap > o->cap ? realloc(o->s, cap) : o->s;
    if (!s)
        return false;
    o->s = s;
    o->cap = cap;
    return true;
}

void out_add(sv_out *o, const char *s, size_t len) {
    if (o->failed || !len)
        return;
    if (!make_room(o, len)) {
        o->failed = true;
        return;
    }
    memcpy(o->s + o->len, s, len);
    o->len += len;
}

void out_text(sv_out *o, const char *s) {
    out_add(o, s, strlen(s));
}

static int take_piece(const char *s, size_t len, void *out) {
    out_add(out, s, len);
    return ((sv_out *)out)->failed ? -1 : 0;
}

void out_json(sv_out *o, json_t *j) {
    if (!j || json_dump_callback(j, take_piece, o, JSON_COMPACT | JSON_ENCODE_ANY) || cli_json_lost())
        o->failed = true;
    json_decref(j);
}

void out_line(sv_out *o, json_t *j) {
    out_json(o, j);
    out_add(o, "\n", 1);
}

void out_sse(sv_out *o, const char *event, json_t *j) {
    if (event) {
        out_text(o, "event: ");
        out_text(o, event);
        out_add(o, "\n", 1);
    }
    out_text(o, "data: ");
    out_json(o, j);
    out_text(o, "\n\n");
}

size_t out_take(sv_out *o, char *to, size_t most) {
    const size_t n = out_waiting(o) < most ? out_waiting(o) : most;
    if (n)
        memcpy(to, o->s + o->at, n);
    o->at += n;
    if (o->at == o->len)
        o->at = o->len = 0;
    return n;
}

json_t *out_string(const char *s, size_t len) {
    json_t *j = json_stringn(s, len); /* NULL: not UTF-8 */
    if (j)
        return j;
    tok_writer w = {0};
    const char *text, *end;
    size_t n = 0, more = 0;
    sv_out all = {0};
    if (!tok_writer_push(&w, s, len, &text, &n, NULL)) {
        out_add(&all, text, n);
        if (!tok_writer_end(&w, &end, &more, NULL)) {
            out_add(&all, end, more);
            j = all.failed ? NULL : json_stringn(all.s ? all.s : "", all.len);
        }
    }
    tok_writer_free(&w);
    out_free(&all);
    return j;
}
