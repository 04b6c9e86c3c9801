/* Texts that grow, and a run's limits. */
#include "template/tpl_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- failing ---- */

tpl_value tpl_fail(tpl_run *r, kv_status st, const char *fmt, ...) {
    char said[sizeof r->err->msg];
    va_list ap;
    if (r->st)
        return TPL_UNDEFINED;
    va_start(ap, fmt);
    vsnprintf(said, sizeof said, fmt, ap);
    va_end(ap);
    r->st = kv_fail(r->err, st, "chat template, line %u: %s%s%s%s%s", r->line, r->what ? r->what : "", r->what ? " '" : "",
                    r->what ? r->who : "", r->what ? "': " : "", said);
    return TPL_UNDEFINED;
}

bool tpl_steps(tpl_run *r, uint64_t n) {
    r->steps += n;
    if (!r->st && r->steps > r->max_steps)
        tpl_fail(r, KV_ERANGE, "the limit of %llu steps is reached", (unsigned long long)r->max_steps);
    return !r->st;
}

bool tpl_deeper(tpl_run *r) {
    if (r->st || r->depth >= r->max_depth) {
        tpl_fail(r, KV_ERANGE, "the limit of depth is reached: %u calls, expressions or values inside each other",
                 r->max_depth);
        return false;
    }
    r->depth++;
    return true;
}

void tpl_up(tpl_run *r) {
    r->depth--;
}

static void no_memory(tpl_run *r) {
    if (r->arena.full)
        tpl_fail(r, KV_ERANGE, "the limit of memory is reached: %zu bytes of values", r->arena.max);
    else
        tpl_fail(r, KV_ENOMEM, "out of memory");
}

void *tpl_get(tpl_run *r, size_t n, size_t size) {
    void *p = r->st || n > SIZE_MAX / 4 / size ? NULL : tpl_arena_get(&r->arena, n * size);
    if (!p)
        no_memory(r);
    return p;
}

bool tpl_fits(tpl_run *r, int64_t n, size_t size) {
    const size_t most = r->arena.max ? r->arena.max : SIZE_MAX / 4;
    if (n > 0 && size && (uint64_t)n > most / size)
        tpl_fail(r, KV_ERANGE, "the limit of memory is reached: %zu bytes of values", most);
    return !r->st;
}

/* ---- growing ---- */

static bool make_room(tpl_buf *b, size_t more) {
    tpl_run *r = b->r;
    if (b->max && more > b->max - b->len) {
        tpl_fail(r, KV_ERANGE, "the limit of output is reached: %zu bytes", b->max);
        return false;
    }
    if (!tpl_steps(r, more / 64))
        return false;
    if (more <= b->cap - b->len)
        return true;
    const size_t cap = 2 * (b->len + more) + 32;
    char *s = cap > SIZE_MAX / 8 ? NULL : tpl_arena_grow(&r->arena, b->s, b->cap, cap);
    uint8_t *mark = s && b->mark ? tpl_arena_grow(&r->arena, b->mark, b->cap, cap) : NULL;
    if (!s || (b->mark && !mark)) {
        no_memory(r);
        return false;
    }
    b->s = s;
    b->mark = mark;
    b->cap = cap;
    return true;
}

/* Make bytes distinguishable that were all of one kind. */
static bool mix(tpl_buf *b) {
    if (b->mark)
        return true;
    if (!(b->mark = tpl_get(b->r, b->cap, 1)))
        return false;
    memset(b->mark, b->input, b->len);
    return true;
}

static void append(tpl_buf *b, const char *s, size_t len, bool input, const uint8_t *mark) {
    if (!len || !make_room(b, len))
        return;
    if (!b->len && !mark)
        b->input = input;
    else if ((b->mark || mark || b->input != input) && !mix(b))
        return;
    memcpy(b->s + b->len, s, len);
    if (b->mark && mark)
        memcpy(b->mark + b->len, mark, len);
    else if (b->mark)
        memset(b->mark + b->len, input, len);
    b->len += len;
}

void tpl_put(tpl_buf *b, const char *s, size_t len, bool input) {
    append(b, s, len, input, NULL);
}

void tpl_puts(tpl_buf *b, const char *s) {
    append(b, s, strlen(s), false, NULL);
}

void tpl_put_part(tpl_buf *b, const tpl_str *s, size_t from, size_t len) {
    append(b, s->s + from, len, s->input, s->mark ? s->mark + from : NULL);
}

void tpl_put_str(tpl_buf *b, const tpl_str *s) {
    tpl_put_part(b, s, 0, s->len);
}

bool tpl_from_input(const tpl_str *s, size_t at) {
    return s->mark ? s->mark[at] : s->input;
}

static tpl_value value_of(tpl_run *r, tpl_str s) {
    tpl_str *out = tpl_get(r, 1, sizeof *out);
    if (!out)
        return TPL_UNDEFINED;
    *out = s;
    return (tpl_value){.kind = TPL_STR, .s = out};
}

tpl_value tpl_take(tpl_buf *b) {
    return value_of(b->r, (tpl_str){b->s ? b->s : "", b->len, b->mark, b->input, b->safe});
}

tpl_value tpl_part(tpl_run *r, const tpl_str *s, size_t from, size_t len) {
    return value_of(r, (tpl_str){s->s + from, len, s->mark ? s->mark + from : NULL, s->input, s->safe});
}

tpl_value tpl_text_value(tpl_run *r, const char *s, size_t len, bool input) {
    return value_of(r, (tpl_str){s, len, NULL, input, false});
}
