/* "{} and {name}".format(...): places by order, number or name, and what may stand behind ":". */
#include "template/text.h"

#include <stdio.h>
#include <string.h>

typedef struct spec {
    char fill, align, sign, type; /* 0: none */
    bool zero, commas;
    int width, precision; /* -1: none */
} spec;

enum { WIDEST = 1000 };

static int take_number(const char *s, size_t len, size_t *at) {
    int n = -1;
    for (; *at < len && s[*at] >= '0' && s[*at] <= '9' && n < WIDEST; ++*at)
        n = 10 * (n < 0 ? 0 : n) + s[*at] - '0';
    return n;
}

static spec read_spec(tpl_run *r, const char *s, size_t len) {
    spec p = {.fill = ' ', .width = -1, .precision = -1};
    size_t at = 0;
    if (len > 1 && strchr("<>^", s[1])) {
        p.fill = s[0];
        p.align = s[1];
        at = 2;
    } else if (len && strchr("<>^", s[0]))
        p.align = s[at++];
    if (at < len && strchr("+- ", s[at]))
        p.sign = s[at++];
    if (at < len && s[at] == '0') {
        p.zero = true;
        at++;
    }
    p.width = take_number(s, len, &at);
    if (at < len && s[at] == ',') {
        p.commas = true;
        at++;
    }
    if (at < len && s[at] == '.') {
        at++;
        p.precision = take_number(s, len, &at);
    }
    if (at < len && strchr("sdxXobeEfFgG", s[at]))
        p.type = s[at++];
    if (at < len || p.commas || p.width > WIDEST || p.precision > 100 || (unsigned char)p.fill >= 0x80 || p.type == 'b')
        tpl_fail(r, KV_EUNSUPP, "the format ':%.*s' is not supported", (int)(len < 32 ? len : 32), s);
    return p;
}

static void put_number(tpl_buf *b, tpl_value v, const spec *p) {
    char out[512], pattern[16];
    const bool real = v.kind == TPL_FLOAT || (p->type && strchr("eEfFgG", p->type));
    const char *sign = p->sign == '+' ? "+" : p->sign == ' ' ? " " : "";
    if (real && !p->type && p->precision < 0) {
        tpl_put_float(b, tpl_real(v));
        return;
    }
    snprintf(pattern, sizeof pattern, real ? "%%%s.*%c" : "%%%s.*l%c", sign, p->type ? p->type : real ? 'g' : 'd');
    if (real)
        snprintf(out, sizeof out, pattern, p->precision < 0 ? 6 : p->precision, tpl_real(v));
    else
        snprintf(out, sizeof out, pattern, 1, (long)tpl_whole(v));
    tpl_puts(b, out);
}

static void put_formatted(tpl_buf *b, tpl_value v, const char *s, size_t len) {
    tpl_run *r = b->r;
    const spec p = read_spec(r, s, len);
    tpl_buf own = {.r = r};
    const bool number = tpl_is_number(v) && (v.kind != TPL_BOOL || p.type);
    if (p.type && number == (p.type == 's'))
        tpl_fail(r, KV_EINVAL, "the format '%c' does not go with %s", p.type, tpl_type(v));
    if (v.kind != TPL_STR && !number)
        tpl_fail(r, KV_EINVAL, "a format does not go with %s", tpl_type(v));
    if (r->st)
        return;
    if (number)
        put_number(&own, v, &p);
    else
        tpl_put_part(&own, v.s, 0, p.precision < 0 ? v.s->len : tpl_offset(v.s->s, v.s->len, (size_t)p.precision));
    const tpl_str *text = tpl_string(r, tpl_take(&own));
    const char align = p.align ? p.align : number ? '>' : '<';
    const bool inside = p.zero && !p.align && number && text->len && strchr("+- ", text->s[0]);
    if (inside) /* zeros stand behind the sign */
        tpl_put_part(b, text, 0, 1);
    if (inside)
        text = tpl_string(r, tpl_part(r, text, 1, text->len - 1));
    const int64_t width = p.width - inside;
    const int64_t n = (int64_t)tpl_count(text->s, text->len), all = width > n ? width - n : 0;
    const int64_t front = align == '<' ? 0 : align == '>' ? all : all / 2;
    const char fill = p.zero && !p.align && number ? '0' : p.fill;
    for (int64_t i = 0; i <= all && !r->st; i++) {
        if (i == front)
            tpl_put_str(b, text);
        if (i < all)
            tpl_put(b, &fill, 1, false);
    }
}

/* The value of a place: "", "0" or "name", and then ".attribute" and "[index]". */
static tpl_value place_value(tpl_run *r, const tpl_str *f, size_t from, size_t end, const tpl_call *call, size_t *next) {
    size_t at = from;
    tpl_value v = TPL_UNDEFINED;
    while (at < end && f->s[at] != '.' && f->s[at] != '[')
        at++;
    const tpl_value name = tpl_part(r, f, from, at - from);
    size_t digits = from;
    const int number = take_number(f->s, at, &digits);
    if (r->st)
        return v;
    if (at == from || (number >= 0 && digits == at)) {
        const size_t i = at == from ? (*next)++ : (size_t)number;
        v = i < call->n ? call->v[i] : tpl_fail(r, KV_EINVAL, "there is no value for place %zu", i);
    } else {
        const tpl_value *named = call->named ? tpl_dict_find(r, call->named, name) : NULL;
        v = named ? *named : tpl_fail(r, KV_EINVAL, "there is no value for a name");
    }
    while (at < end && !r->st) {
        const bool index = f->s[at] == '[';
        size_t to = ++at;
        while (to < end && (index ? f->s[to] != ']' : f->s[to] != '.' && f->s[to] != '['))
            to++;
        size_t behind = at;
        const int n = take_number(f->s, to, &behind);
        const tpl_value key = tpl_part(r, f, at, to - at);
        v = index ? tpl_item(r, v, n >= 0 && behind == to ? tpl_int(n) : key) : key.kind == TPL_STR ? tpl_attr(r, v, key.s) : v;
        at = to + index;
    }
    return v;
}

/* A place, from behind its "{" on. Returns where the text goes on. */
static size_t put_place(tpl_buf *b, const tpl_str *f, size_t at, const tpl_call *call, size_t *next) {
    tpl_run *r = b->r;
    const char *close = memchr(f->s + at, '}', f->len - at);
    const size_t end = close ? (size_t)(close - f->s) : f->len;
    size_t name_end = at;
    if (!close || memchr(f->s + at, '{', end - at)) {
        tpl_fail(r, KV_EINVAL, "'{' without '}', or a place inside of another");
        return f->len;
    }
    while (name_end < end && f->s[name_end] != ':' && f->s[name_end] != '!')
        name_end++;
    tpl_value v = place_value(r, f, at, name_end, call, next);
    size_t spec_at = name_end;
    if (name_end < end && f->s[name_end] == '!') {
        tpl_buf text = {.r = r};
        const char how = name_end + 1 < end ? f->s[name_end + 1] : '\0';
        (how == 'r' ? tpl_repr : tpl_print)(&text, v);
        v = tpl_take(&text);
        spec_at = name_end + 2 < end ? name_end + 2 : end;
    }
    if (r->st)
        return f->len;
    if (spec_at + 1 < end && f->s[spec_at] == ':')
        put_formatted(b, v, f->s + spec_at + 1, end - spec_at - 1);
    else
        tpl_print(b, v);
    return end + 1;
}

tpl_value tpl_format_braces(tpl_run *r, const tpl_str *f, const tpl_call *call) {
    tpl_buf b = {.r = r, .safe = f->safe};
    size_t next = 0;
    for (size_t at = 0; at < f->len && !r->st;) {
        const char c = f->s[at];
        const bool twice = at + 1 < f->len && f->s[at + 1] == c;
        if (c != '{' && c != '}') {
            size_t end = at;
            while (end < f->len && f->s[end] != '{' && f->s[end] != '}')
                end++;
            tpl_put_part(&b, f, at, end - at);
            at = end;
        } else if (twice) {
            tpl_put_part(&b, f, at, 1);
            at += 2;
        } else if (c == '{')
            at = put_place(&b, f, at + 1, call, &next);
        else
            tpl_fail(r, KV_EINVAL, "'}' without '{'");
    }
    return tpl_take(&b);
}
