/* Values as text, as Python's str() and repr() write them. */
#include "template/tpl_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The shortest digits that read back as the same number, with an exponent where it is below -4 or above 15. */
void tpl_put_float(tpl_buf *b, double f) {
    char digits[40], out[48];
    int precision = 0;
    if (isnan(f) || isinf(f)) {
        tpl_puts(b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    do
        snprintf(digits, sizeof digits, "%.*e", precision, f);
    while (strtod(digits, NULL) != f && ++precision < 17);
    const int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent < -4 || exponent > 15) {
        tpl_puts(b, digits);
        return;
    }
    const int after = precision > exponent ? precision - exponent : 0;
    snprintf(out, sizeof out, "%.*f", after, f);
    tpl_puts(b, out);
    if (!after)
        tpl_puts(b, ".0");
}

static void put_int(tpl_buf *b, int64_t i) {
    char out[24];
    snprintf(out, sizeof out, "%" PRId64, i);
    tpl_puts(b, out);
}

/* ---- repr ---- */

static bool is_printable(int32_t c) {
    if (c < 0x7F)
        return c >= ' ';
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
        return false;
    default:
        return true;
    }
}

static void put_quoted_char(tpl_buf *b, const tpl_str *s, size_t at, size_t n, int32_t c, char quote) {
    char out[16];
    if (c == quote || c == '\\')
        snprintf(out, sizeof out, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(out, sizeof out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (is_printable(c)) {
        tpl_put_part(b, s, at, n);
        return;
    } else
        snprintf(out, sizeof out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    tpl_put(b, out, strlen(out), tpl_from_input(s, at));
}

static void put_quoted(tpl_buf *b, const tpl_str *s) {
    const bool single = memchr(s->s, '\'', s->len), twice = memchr(s->s, '"', s->len);
    const char quote = single && !twice ? '"' : '\'';
    tpl_put(b, &quote, 1, false);
    for (size_t i = 0, n; i < s->len && !b->r->st; i += n) {
        int32_t c;
        n = tpl_char(s->s + i, s->len - i, &c);
        put_quoted_char(b, s, i, n, c, quote);
    }
    tpl_put(b, &quote, 1, false);
}

static void put_list(tpl_buf *b, const tpl_list *l) {
    static const char *const begin[] = {[TPL_A_LIST] = "[", [TPL_A_TUPLE] = "(", [TPL_A_GROUP] = "(", [TPL_A_VIEW] = "view(["};
    static const char *const end[] = {[TPL_A_LIST] = "]", [TPL_A_TUPLE] = ")", [TPL_A_GROUP] = ")", [TPL_A_VIEW] = "])"};
    if (l->form == TPL_A_RANGE || l->form == TPL_A_STREAM) {
        tpl_fail(b->r, KV_EINVAL, "a %s has no text; make it a list first", l->form == TPL_A_RANGE ? "range" : "generator");
        return;
    }
    tpl_puts(b, begin[l->form]);
    for (size_t i = 0; i < l->n && !b->r->st; i++) {
        tpl_puts(b, i ? ", " : "");
        tpl_repr(b, l->v[i]);
    }
    tpl_puts(b, l->n == 1 && l->form == TPL_A_TUPLE ? "," : "");
    tpl_puts(b, end[l->form]);
}

static void put_dict(tpl_buf *b, const tpl_dict *d) {
    tpl_puts(b, "{");
    for (size_t i = 0; i < d->n && !b->r->st; i++) {
        tpl_puts(b, i ? ", " : "");
        tpl_repr(b, d->p[i].key);
        tpl_puts(b, ": ");
        tpl_repr(b, d->p[i].value);
    }
    tpl_puts(b, "}");
}

static void put_nested(tpl_buf *b, tpl_value v) {
    if (!tpl_deeper(b->r))
        return;
    if (v.kind == TPL_SPACE)
        tpl_puts(b, "<Namespace ");
    if (v.kind == TPL_LIST)
        put_list(b, v.l);
    else
        put_dict(b, v.d);
    if (v.kind == TPL_SPACE)
        tpl_puts(b, ">");
    tpl_up(b->r);
}

void tpl_repr(tpl_buf *b, tpl_value v) {
    if (!tpl_steps(b->r, 1))
        return;
    if (v.kind == TPL_UNDEF)
        tpl_puts(b, "Undefined");
    else if (v.kind == TPL_STR)
        put_quoted(b, v.s);
    else
        tpl_print(b, v);
}

void tpl_print(tpl_buf *b, tpl_value v) {
    switch (v.kind) {
    case TPL_UNDEF:
    case TPL_ABSENT:
        break;
    case TPL_NONE:
        tpl_puts(b, "None");
        break;
    case TPL_BOOL:
        tpl_puts(b, v.b ? "True" : "False");
        break;
    case TPL_INT:
        put_int(b, v.i);
        break;
    case TPL_FLOAT:
        tpl_put_float(b, v.f);
        break;
    case TPL_STR:
        tpl_put_str(b, v.s);
        break;
    case TPL_LIST:
    case TPL_DICT:
    case TPL_SPACE:
        put_nested(b, v);
        break;
    default:
        tpl_fail(b->r, KV_EINVAL, "a %s has no text", tpl_type(v));
    }
}

const tpl_str *tpl_string(tpl_run *r, tpl_value v) {
    static const tpl_str none = {.s = ""};
    tpl_buf b = {.r = r};
    if (v.kind != TPL_STR) {
        tpl_print(&b, v);
        v = tpl_take(&b);
    }
    return v.kind == TPL_STR ? v.s : &none;
}
