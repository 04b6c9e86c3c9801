/* Operators, with Python's rules for numbers of 64 bits. */
#include "template/tree.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *op_text(int op, char out[3]) {
    out[0] = (char)(op & 0xFF);
    out[1] = (char)(op >> 8);
    out[2] = '\0';
    return out;
}

static tpl_value too_large(tpl_run *r) {
    return tpl_fail(r, KV_ERANGE, "a whole number does not fit into 64 bits");
}

static tpl_value cannot(tpl_run *r, int op, tpl_value a, tpl_value b) {
    char text[3];
    const tpl_value undefined = a.kind == TPL_UNDEF ? a : b;
    if (undefined.kind == TPL_UNDEF && undefined.name)
        return tpl_fail(r, KV_EINVAL, "'%.*s' is undefined: it cannot be an operand of '%s'",
                        (int)(undefined.name->len < 64 ? undefined.name->len : 64), undefined.name->s, op_text(op, text));
    return tpl_fail(r, KV_EINVAL, "'%s' not supported between %s and %s", op_text(op, text), tpl_type(a), tpl_type(b));
}

/* ---- numbers ---- */

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b && (a < 0) != (b < 0));
}

static tpl_value whole_power(tpl_run *r, int64_t a, int64_t b) {
    int64_t out = 1;
    if (b < 0)
        return a ? tpl_float(pow((double)a, (double)b)) : tpl_fail(r, KV_EINVAL, "0 to a negative power");
    for (; b; b >>= 1) {
        if (b & 1 && __builtin_mul_overflow(out, a, &out))
            return too_large(r);
        if (b > 1 && __builtin_mul_overflow(a, a, &a))
            return too_large(r);
    }
    return tpl_int(out);
}

static tpl_value whole(tpl_run *r, int op, int64_t a, int64_t b) {
    int64_t out = 0;
    bool over = false;
    switch (op) {
    case '+':
        over = __builtin_add_overflow(a, b, &out);
        break;
    case '-':
        over = __builtin_sub_overflow(a, b, &out);
        break;
    case '*':
        over = __builtin_mul_overflow(a, b, &out);
        break;
    case TPL_OP('*', '*'):
        return whole_power(r, a, b);
    case '/':
        return tpl_float((double)a / (double)b);
    default: /* division by -1 alone can leave 64 bits */
        over = b == -1 && a == INT64_MIN;
        if (!over)
            out = op == '%' ? a - floor_div(a, b) * b : floor_div(a, b);
    }
    return over ? too_large(r) : tpl_int(out);
}

static tpl_value real(tpl_run *r, int op, double a, double b) {
    double rest;
    switch (op) {
    case '+':
        return tpl_float(a + b);
    case '-':
        return tpl_float(a - b);
    case '*':
        return tpl_float(a * b);
    case '/':
        return tpl_float(a / b);
    case TPL_OP('*', '*'):
        if ((a < 0 && b != floor(b)) || (!a && b < 0))
            return tpl_fail(r, KV_EINVAL, "this power is no real number");
        return tpl_float(pow(a, b));
    default: /* as Python: the rest has the divisor's sign */
        rest = fmod(a, b);
        if (rest && (b < 0) != (rest < 0))
            rest += b;
        return tpl_float(op == '%' ? rest : floor((a - rest) / b + 0.5));
    }
}

static tpl_value numbers(tpl_run *r, int op, tpl_value a, tpl_value b) {
    const bool divides = op == '/' || op == '%' || op == TPL_OP('/', '/');
    if (divides && tpl_real(b) == 0)
        return tpl_fail(r, KV_EINVAL, "division by zero");
    return tpl_is_whole(a) && tpl_is_whole(b) ? whole(r, op, tpl_whole(a), tpl_whole(b))
                                              : real(r, op, tpl_real(a), tpl_real(b));
}

tpl_value tpl_negate(tpl_run *r, tpl_value v) {
    if (v.kind == TPL_FLOAT)
        return tpl_float(-v.f);
    return tpl_is_whole(v) ? whole(r, '-', 0, tpl_whole(v)) : tpl_fail(r, KV_EINVAL, "'-' not supported for %s", tpl_type(v));
}

/* ---- texts and lists ---- */

static void put_escaped(tpl_buf *b, const tpl_str *s) {
    for (size_t i = 0; i < s->len && !b->r->st; i++) {
        const char *name = s->s[i] == '&'    ? "&amp;"
                           : s->s[i] == '<'  ? "&lt;"
                           : s->s[i] == '>'  ? "&gt;"
                           : s->s[i] == '"'  ? "&#34;"
                           : s->s[i] == '\'' ? "&#39;"
                                             : NULL;
        if (name)
            tpl_put(b, name, strlen(name), tpl_from_input(s, i));
        else
            tpl_put_part(b, s, i, 1);
    }
}

tpl_value tpl_concat(tpl_run *r, tpl_value a, tpl_value b) {
    tpl_buf out = {.r = r, .safe = a.s->safe || b.s->safe};
    for (int i = 0; i < 2; i++) {
        const tpl_str *s = i ? b.s : a.s;
        if (out.safe && !s->safe)
            put_escaped(&out, s);
        else
            tpl_put_str(&out, s);
    }
    return tpl_take(&out);
}

static tpl_value joined(tpl_run *r, const tpl_list *a, const tpl_list *b) {
    const tpl_value out = tpl_list_new(r, a->form == TPL_A_GROUP ? TPL_A_TUPLE : (tpl_form)a->form, a->n + b->n);
    if (out.l->n && a->n)
        memcpy(out.l->v, a->v, a->n * sizeof *a->v);
    if (out.l->n && b->n)
        memcpy(out.l->v + a->n, b->v, b->n * sizeof *b->v);
    return out;
}

static tpl_value repeated(tpl_run *r, tpl_value v, int64_t times) {
    tpl_buf b = {.r = r};
    if (!tpl_fits(r, times, v.kind == TPL_STR ? v.s->len : v.l->n * sizeof(tpl_value)))
        return TPL_UNDEFINED;
    if (v.kind == TPL_STR) {
        b.safe = v.s->safe;
        for (int64_t i = 0; v.s->len && i < times && tpl_steps(r, 1); i++)
            tpl_put_str(&b, v.s);
        return tpl_take(&b);
    }
    const size_t n = v.l->n;
    const tpl_value out = tpl_list_new(r, (tpl_form)v.l->form, times > 0 ? n * (size_t)times : 0);
    for (size_t i = 0; i < out.l->n; i++)
        out.l->v[i] = v.l->v[i % n];
    return out;
}

static bool is_row(tpl_value v) { /* what + and * know, besides texts */
    return v.kind == TPL_LIST && v.l->form <= TPL_A_GROUP;
}

tpl_value tpl_operate(tpl_run *r, int op, tpl_value a, tpl_value b) {
    if (tpl_is_number(a) && tpl_is_number(b))
        return numbers(r, op, a, b);
    if (op == '+' && a.kind == TPL_STR && b.kind == TPL_STR)
        return tpl_concat(r, a, b);
    if (op == '+' && is_row(a) && is_row(b) && (a.l->form == TPL_A_LIST) == (b.l->form == TPL_A_LIST))
        return joined(r, a.l, b.l);
    if (op == '*' && tpl_is_whole(b) && (a.kind == TPL_STR || is_row(a)))
        return repeated(r, a, tpl_whole(b));
    if (op == '*' && tpl_is_whole(a) && (b.kind == TPL_STR || is_row(b)))
        return repeated(r, b, tpl_whole(a));
    if (op == '%' && a.kind == TPL_STR)
        return tpl_format_percent(r, a.s, b);
    return cannot(r, op, a, b);
}

/* ---- text % values ---- */

typedef struct percent {
    tpl_buf out;
    const tpl_str *format;
    tpl_value args;
    size_t next; /* of a tuple's values */
} percent;

/* The value of a place: by its name in parentheses, or the next one. *at: behind "%"; moves on behind the name. */
static tpl_value place_value(percent *p, size_t *at) {
    tpl_run *r = p->out.r;
    const tpl_str *f = p->format;
    if (*at < f->len && f->s[*at] == '(') {
        const char *end = memchr(f->s + *at, ')', f->len - *at);
        if (!end || p->args.kind != TPL_DICT)
            return tpl_fail(r, KV_EINVAL, "'%%(': the name does not end, or there is no dict");
        const tpl_value name = tpl_part(r, f, *at + 1, (size_t)(end - f->s) - *at - 1);
        *at = (size_t)(end - f->s) + 1;
        const tpl_value *v = tpl_dict_find(r, p->args.d, name);
        return v ? *v : tpl_fail(r, KV_EINVAL, "'%%(': the dict has no such key");
    }
    if (p->args.kind == TPL_LIST && p->args.l->form != TPL_A_LIST)
        return p->next < p->args.l->n ? p->args.l->v[p->next++] : tpl_fail(r, KV_EINVAL, "'%%': there are not enough values");
    return p->next++ ? tpl_fail(r, KV_EINVAL, "'%%': there are not enough values") : p->args;
}

static void put_padded(percent *p, const tpl_str *s, const char *flags, int width) {
    const size_t n = tpl_count(s->s, s->len);
    const bool left = strchr(flags, '-');
    if (left)
        tpl_put_str(&p->out, s);
    for (size_t i = n; i < (size_t)width && !p->out.r->st; i++)
        tpl_puts(&p->out, " ");
    if (!left)
        tpl_put_str(&p->out, s);
}

static void put_number(percent *p, char type, tpl_value v, const char *flags, int width, int precision) {
    char spec[24], out[512];
    tpl_run *r = p->out.r;
    const bool is_real = strchr("eEfFgG", type);
    if (!tpl_is_number(v) || (!is_real && type != 'd' && type != 'i' && type != 'u' && v.kind == TPL_FLOAT)) {
        tpl_fail(r, KV_EINVAL, "'%%%c' wants a number, not %s", type, tpl_type(v));
        return;
    }
    if (v.kind == TPL_FLOAT && !is_real && !(fabs(v.f) < 9e18)) {
        too_large(r);
        return;
    }
    const int64_t i = v.kind == TPL_FLOAT ? (int64_t)v.f : tpl_whole(v);
    snprintf(spec, sizeof spec,
             is_real ? "%%%s*.*%c"
                     : "%%%s*.*"
                       "l%c",
             flags, type == 'u' || type == 'i' ? 'd' : type);
    if (is_real)
        snprintf(out, sizeof out, spec, width, precision < 0 ? 6 : precision, tpl_real(v));
    else
        snprintf(out, sizeof out, spec, width, precision, (long)i);
    tpl_puts(&p->out, out);
}

/* One place, from behind its "%" on. Returns where the text goes on. */
static size_t put_place(percent *p, size_t at) {
    enum { WIDEST = 100 };
    tpl_run *r = p->out.r;
    const tpl_str *f = p->format;
    char flags[6] = "";
    size_t n = 0;
    int width = 0, precision = -1;
    if (at < f->len && f->s[at] == '%') {
        tpl_puts(&p->out, "%");
        return at + 1;
    }
    const tpl_value v = place_value(p, &at);
    for (; at < f->len && n < 5 && strchr("-+ #0", f->s[at]); at++)
        flags[n++] = f->s[at];
    for (; at < f->len && f->s[at] >= '0' && f->s[at] <= '9' && width < WIDEST; at++)
        width = 10 * width + f->s[at] - '0';
    if (at < f->len && f->s[at] == '.')
        for (precision = 0, at++; at < f->len && f->s[at] >= '0' && f->s[at] <= '9' && precision < WIDEST; at++)
            precision = 10 * precision + f->s[at] - '0';
    const char type = at < f->len ? f->s[at] : '\0';
    if (r->st || !type || !strchr("srdiuxXoeEfFgG", type) || width > WIDEST || precision > WIDEST) {
        tpl_fail(r, KV_EINVAL, "'%%' with a format that is not supported, or too wide");
    } else if (type == 's' || type == 'r') {
        tpl_buf b = {.r = r};
        (type == 's' ? tpl_print : tpl_repr)(&b, v);
        const tpl_str *s = tpl_string(r, tpl_take(&b));
        if (precision >= 0)
            s = tpl_string(r, tpl_part(r, s, 0, tpl_offset(s->s, s->len, (size_t)precision)));
        put_padded(p, s, flags, width);
    } else
        put_number(p, type, v, flags, width, precision);
    return at + 1;
}

tpl_value tpl_format_percent(tpl_run *r, const tpl_str *format, tpl_value args) {
    percent p = {.out = {.r = r, .safe = format->safe}, .format = format, .args = args};
    size_t at = 0;
    while (at < format->len && !r->st) {
        const char *mark = memchr(format->s + at, '%', format->len - at);
        const size_t end = mark ? (size_t)(mark - format->s) : format->len;
        tpl_put_part(&p.out, format, at, end - at);
        at = mark ? put_place(&p, end + 1) : end;
    }
    const bool tuple = args.kind == TPL_LIST && args.l->form != TPL_A_LIST;
    if (!r->st && (tuple ? p.next < args.l->n : !p.next && args.kind != TPL_DICT && args.kind != TPL_LIST))
        return tpl_fail(r, KV_EINVAL, "'%%': there are more values than places");
    return tpl_take(&p.out);
}
