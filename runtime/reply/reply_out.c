/* What comes out of the parser, marks, and the life of a call. */
#include "reply/reply_parser.h"

#include <stdio.h>
#include <string.h>

/* ---- coming out ---- */

bool reply_is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

void reply_add(reply *r, reply_buf *b, const char *s, size_t n) {
    if (!r->st && !reply_buf_add(b, s, n))
        r->st = KV_ENOMEM;
}

void reply_clear(reply *r, reply_buf *b) {
    b->n = 0;
    reply_add(r, b, "", 0);
}

void reply_flush(reply *r) {
    const reply_events *e = &r->cfg.events;
    if (!r->out.n || r->st)
        return;
    if (r->kind == ARGUMENT)
        e->arguments(r->cfg.user, r->n_calls - 1, r->out.s, r->out.n);
    else
        (r->kind == THINKING ? e->thought : e->content)(r->cfg.user, r->out.s, r->out.n);
    r->out.n = 0;
}

void reply_emit(reply *r, kind k, const char *s, size_t n) {
    if (r->kind != k)
        reply_flush(r);
    r->kind = k;
    reply_add(r, &r->out, s, n);
}

static void tell_content(reply *r, const char *s, size_t n) {
    for (size_t i = 0; i < n && !r->said; i++)
        r->said = !reply_is_space(s[i]);
    r->drops = r->drops && !r->said;
    reply_emit(r, CONTENT, s, n);
}

void reply_release(reply *r, kind k) {
    if (k == CONTENT)
        tell_content(r, r->held.s, r->held.n);
    else
        reply_emit(r, k, r->held.s, r->held.n);
    r->held.n = r->mark = 0;
}

void reply_hold(reply *r, char c) {
    reply_add(r, &r->held, &c, 1);
}

/* ---- marks ---- */

match reply_match_one(const char *mark, const char *s, size_t n) {
    const size_t len = mark ? strlen(mark) : 0;
    if (n > len || memcmp(mark, s, n))
        return NO;
    return n < len ? PART : FULL;
}

match reply_match_any(const char *const *marks, const char *s, size_t n) {
    match best = NO;
    for (; *marks && best < FULL; marks++) {
        const match m = reply_match_one(*marks, s, n);
        best = m > best ? m : best;
    }
    return best;
}

match reply_best_of(match a, match b) {
    return a > b ? a : b;
}

void reply_retry(reply *r, kind k) {
    char rest[MARK];
    const size_t n = r->mark;
    memcpy(rest, r->held.s + r->held.n - n, n);
    r->held.n -= n - 1;
    reply_release(r, k);
    for (size_t i = 1; i < n && !r->st; i++)
        r->step(r, rest[i]);
}

/* ---- calls ---- */

void reply_forget_call(reply *r) {
    r->started = r->got_name = r->got_arguments = r->in_value = false;
    reply_buf *const texts[] = {&r->name, &r->key, &r->args, &r->value};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        reply_clear(r, texts[i]);
    r->n_tail = 0;
    r->field = NO_FIELD;
    r->base = 1;
    r->scan = (json_scan){0};
}

void reply_give_up(reply *r) {
    if (r->started) {
        reply_flush(r);
        r->cfg.events.call_end(r->cfg.user, r->n_calls - 1, false);
        r->said = true;
    }
    r->in_list = false;
    reply_forget_call(r);
    r->at = TEXT;
    r->drops = false;
    reply_release(r, CONTENT);
}

void reply_give_up_at(reply *r, char c) {
    reply_give_up(r);
    r->step(r, c);
}

static void tell_call(reply *r) {
    reply_flush(r);
    r->cfg.events.call(r->cfg.user, r->n_calls++, r->name.s);
    r->started = true;
    r->held.n = r->mark = 0;
    reply_emit(r, ARGUMENT, r->args.s, r->args.n);
    r->args.n = 0;
}

bool reply_is_name(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_-.:/", c)) || c < 0))
            return false;
    }
    return n && n <= NAME;
}

/* false: nothing is called so. */
bool reply_set_name(reply *r) {
    if (!reply_is_name(r->name.s, r->name.n) || (!r->marked && !reply_find_tool(r->cfg.tools, r->name.s)))
        return false;
    r->got_name = true;
    if (!r->cfg.whole && r->got_arguments)
        tell_call(r);
    return true;
}

void reply_put_args(reply *r, const char *s, size_t n) {
    r->got_arguments = true;
    if (!r->started && r->got_name && !r->cfg.whole)
        tell_call(r);
    if (r->started)
        reply_emit(r, ARGUMENT, s, n);
    else
        reply_add(r, &r->args, s, n);
}

/* A byte of JSON: control characters in texts are spelled as JSON wants them. */
void reply_put_arg(reply *r, char c, bool in_string) {
    char spelled[8];
    int n = 1;
    spelled[0] = c;
    if (in_string && c >= 0 && c < ' ')
        n = c == '\n'   ? sprintf(spelled, "\\n")
            : c == '\t' ? sprintf(spelled, "\\t")
                        : sprintf(spelled, "\\u%04x", (unsigned)c);
    reply_put_args(r, spelled, (size_t)n);
}

void reply_end_call(reply *r) {
    if (!r->got_arguments)
        reply_put_args(r, "{}", 2);
    if (!r->started)
        tell_call(r);
    reply_flush(r);
    r->cfg.events.call_end(r->cfg.user, r->n_calls - 1, true);
    reply_forget_call(r);
    r->held.n = r->mark = 0;
    r->at = AFTER;
}
