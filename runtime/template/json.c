/* Values as JSON, as Python's json.dumps writes them. What of them is the template's stays so: brackets and quotes are. */
#include "template/tpl_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct writer {
    tpl_buf *b;
    bool ascii, sorted, lines;
    const tpl_str *indent;              /* of one level, where lines */
    const tpl_str *between, *after_key; /* elements; a key and its value */
    unsigned level;
} writer;

static void put_value(writer *w, tpl_value v);

static void put_char(writer *w, const tpl_str *s, size_t at, size_t n, int32_t c) {
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    char out[16];
    const char *name = c > 0 && c < 0x80 ? strchr(names, (int)c) : NULL;
    if (name)
        snprintf(out, sizeof out, "\\%c", letters[name - names]);
    else if (c < ' ' || (w->ascii && c > 0x7E && c < 0x10000))
        snprintf(out, sizeof out, "\\u%04x", (unsigned)c);
    else if (w->ascii && c >= 0x10000)
        snprintf(out, sizeof out, "\\u%04x\\u%04x", 0xD800 + ((unsigned)(c - 0x10000) >> 10), 0xDC00 + ((unsigned)c & 0x3FF));
    else {
        tpl_put_part(w->b, s, at, n);
        return;
    }
    tpl_put(w->b, out, strlen(out), tpl_from_input(s, at));
}

static void put_text(writer *w, const tpl_str *s) {
    tpl_puts(w->b, "\"");
    for (size_t i = 0, n; i < s->len && !w->b->r->st; i += n) {
        int32_t c;
        n = tpl_char(s->s + i, s->len - i, &c);
        put_char(w, s, i, n, c);
    }
    tpl_puts(w->b, "\"");
}

static void put_line(writer *w) {
    if (!w->lines)
        return;
    tpl_puts(w->b, "\n");
    for (unsigned i = 0; i < w->level && !w->b->r->st; i++)
        tpl_put_str(w->b, w->indent);
}

static void put_list(writer *w, const tpl_list *l) {
    tpl_puts(w->b, "[");
    w->level++;
    for (size_t i = 0; i < l->n && !w->b->r->st; i++) {
        if (i)
            tpl_put_str(w->b, w->between);
        put_line(w);
        put_value(w, l->v[i]);
    }
    w->level--;
    if (l->n)
        put_line(w);
    tpl_puts(w->b, "]");
}

/* Keys that are no texts are written as if they were. */
static void put_key(writer *w, tpl_value key) {
    if (key.kind == TPL_STR) {
        put_text(w, key.s);
    } else if (tpl_is_number(key) || key.kind == TPL_NONE) {
        tpl_puts(w->b, "\"");
        put_value(w, key);
        tpl_puts(w->b, "\"");
    } else
        tpl_fail(w->b->r, KV_EINVAL, "a %s cannot be a key of JSON", tpl_type(key));
}

static int by_key(const void *a, const void *b) {
    const tpl_str *x = (*(const tpl_pair *const *)a)->key.s, *y = (*(const tpl_pair *const *)b)->key.s;
    const int c = memcmp(x->s, y->s, x->len < y->len ? x->len : y->len);
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

static const tpl_pair **in_order(writer *w, const tpl_dict *d) {
    const tpl_pair **p = tpl_get(w->b->r, d->n, sizeof *p);
    for (size_t i = 0; p && i < d->n; i++) {
        p[i] = &d->p[i];
        if (w->sorted && d->p[i].key.kind != TPL_STR)
            tpl_fail(w->b->r, KV_EINVAL, "only keys that are texts can be sorted");
    }
    if (w->sorted && !w->b->r->st && d->n)
        qsort(p, d->n, sizeof *p, by_key); /* no two are the same */
    return p;
}

static void put_dict(writer *w, const tpl_dict *d) {
    const tpl_pair **p = in_order(w, d);
    tpl_puts(w->b, "{");
    w->level++;
    for (size_t i = 0; i < d->n && !w->b->r->st; i++) {
        if (i)
            tpl_put_str(w->b, w->between);
        put_line(w);
        put_key(w, p[i]->key);
        tpl_put_str(w->b, w->after_key);
        put_value(w, p[i]->value);
    }
    w->level--;
    if (d->n)
        put_line(w);
    tpl_puts(w->b, "}");
}

static void put_value(writer *w, tpl_value v) {
    tpl_run *r = w->b->r;
    if (!tpl_steps(r, 1) || !tpl_deeper(r))
        return;
    if (v.kind == TPL_NONE)
        tpl_puts(w->b, "null");
    else if (v.kind == TPL_BOOL)
        tpl_puts(w->b, v.b ? "true" : "false");
    else if (v.kind == TPL_FLOAT && !isfinite(v.f))
        tpl_puts(w->b, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
    else if (tpl_is_number(v))
        tpl_print(w->b, v);
    else if (v.kind == TPL_STR)
        put_text(w, v.s);
    else if (v.kind == TPL_LIST && v.l->form <= TPL_A_GROUP)
        put_list(w, v.l);
    else if (v.kind == TPL_DICT)
        put_dict(w, v.d);
    else
        tpl_fail(r, KV_EINVAL, "a value of type %s cannot be written as JSON", tpl_type(v));
    tpl_up(r);
}

static bool given(tpl_value v) {
    return v.kind != TPL_ABSENT && v.kind != TPL_NONE;
}

static void set_separators(writer *w, tpl_value v) {
    const bool pair = v.kind == TPL_LIST && v.l->n == 2 && v.l->v[0].kind == TPL_STR && v.l->v[1].kind == TPL_STR;
    if (!pair) {
        tpl_fail(w->b->r, KV_EINVAL, "separators are two texts");
        return;
    }
    w->between = v.l->v[0].s;
    w->after_key = v.l->v[1].s;
}

void tpl_put_json(tpl_buf *b, tpl_value v, const tpl_value arg[4]) {
    static const tpl_str comma = {.s = ",", .len = 1}, comma_space = {.s = ", ", .len = 2}, colon = {.s = ": ", .len = 2};
    writer w = {.b = b, .ascii = tpl_truth(arg[0]), .sorted = tpl_truth(arg[3]), .lines = given(arg[1]), .after_key = &colon};
    tpl_buf indent = {.r = b->r};
    const tpl_value width = arg[1];
    if (w.lines && width.kind != TPL_STR) {
        const int64_t n = tpl_arg_int(b->r, width, 0);
        if (!tpl_fits(b->r, n, 1))
            return;
        for (int64_t i = 0; i < n && !b->r->st; i++)
            tpl_puts(&indent, " ");
        w.indent = tpl_string(b->r, tpl_take(&indent));
    } else if (w.lines)
        w.indent = width.s;
    w.between = w.lines ? &comma : &comma_space;
    if (given(arg[2]))
        set_separators(&w, arg[2]);
    put_value(&w, v);
}
