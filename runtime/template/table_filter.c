/* Filters of single values. */
#include "template/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name) static tpl_value name(tpl_run *r, tpl_value v, const tpl_value *arg, const tpl_call *call)
#define UNUSED(x)    (void)(x)

static tpl_value str_value(const tpl_str *s) {
    return (tpl_value){.kind = TPL_STR, .s = s};
}

/* ---- texts ---- */

FILTER(trim) {
    UNUSED(call);
    return tpl_strip(r, tpl_string(r, v), tpl_arg_str(r, arg[0]), true, true);
}

FILTER(upper) {
    UNUSED(call), UNUSED(arg);
    return tpl_cased(r, tpl_string(r, v), TPL_UPPER);
}

FILTER(lower) {
    UNUSED(call), UNUSED(arg);
    return tpl_cased(r, tpl_string(r, v), TPL_LOWER);
}

FILTER(capitalize) {
    UNUSED(call), UNUSED(arg);
    return tpl_capitalised(r, tpl_string(r, v));
}

/* The first letter behind white space, brackets and hyphens is large. */
FILTER(title) {
    const tpl_str *s = tpl_string(r, v);
    tpl_buf b = {.r = r, .safe = s->safe};
    bool first = true;
    UNUSED(call), UNUSED(arg);
    for (size_t i = 0, n; i < s->len && !r->st; i += n) {
        int32_t c;
        n = tpl_char(s->s + i, s->len - i, &c);
        tpl_put_case(&b, s, i, n, first ? TPL_UPPER : TPL_LOWER);
        first = tpl_is_space(c) || (c && c < 0x80 && strchr("-({[<", (int)c));
    }
    return tpl_take(&b);
}

FILTER(replace) {
    const tpl_str *old = tpl_string(r, arg[0]), *with = tpl_string(r, arg[1]);
    UNUSED(call);
    return tpl_replace(r, tpl_string(r, v), old, with, arg[2].kind == TPL_NONE ? -1 : tpl_arg_int(r, arg[2], -1));
}

FILTER(string) {
    UNUSED(call), UNUSED(arg);
    return str_value(tpl_string(r, v));
}

static tpl_value declared_safe(tpl_run *r, const tpl_str *s) {
    const tpl_value out = tpl_part(r, s, 0, s->len);
    if (out.kind == TPL_STR)
        ((tpl_str *)out.s)->safe = true;
    return out;
}

FILTER(safe) {
    UNUSED(call), UNUSED(arg);
    return declared_safe(r, tpl_string(r, v));
}

FILTER(escape) {
    static const tpl_str none = {.s = "", .safe = true};
    const tpl_str *s = tpl_string(r, v);
    UNUSED(call), UNUSED(arg);
    return s->safe ? str_value(s) : tpl_concat(r, str_value(&none), str_value(s));
}

FILTER(forceescape) {
    static const tpl_str none = {.s = "", .safe = true};
    tpl_str plain = *tpl_string(r, v);
    UNUSED(call), UNUSED(arg);
    plain.safe = false;
    return tpl_concat(r, str_value(&none), str_value(&plain));
}

FILTER(indent) {
    const tpl_str *s = tpl_arg_str(r, v), *with = arg[0].kind == TPL_STR ? arg[0].s : NULL;
    const int64_t width = with ? 0 : tpl_arg_int(r, arg[0], 4);
    tpl_buf spaces = {.r = r}, b = {.r = r};
    UNUSED(call);
    if (!s)
        return tpl_fail(r, KV_EINVAL, "a text is wanted, not %s", tpl_type(v));
    for (int64_t i = 0; tpl_fits(r, width, 1) && i < width; i++)
        tpl_puts(&spaces, " ");
    if (!with)
        with = tpl_string(r, tpl_take(&spaces));
    tpl_buf ended = {.r = r};
    tpl_put_str(&ended, s);
    tpl_puts(&ended, "\n");
    const tpl_value lines = tpl_split_lines(r, tpl_string(r, tpl_take(&ended)));
    for (size_t i = 0; lines.kind == TPL_LIST && i < lines.l->n && !r->st; i++) {
        if (i)
            tpl_puts(&b, "\n");
        if (i ? lines.l->v[i].s->len || tpl_truth(arg[2]) : tpl_truth(arg[1]))
            tpl_put_str(&b, with);
        tpl_put_str(&b, lines.l->v[i].s);
    }
    b.safe = s->safe;
    return tpl_take(&b);
}

FILTER(center) {
    UNUSED(call);
    return tpl_padded(r, tpl_string(r, v), tpl_arg_int(r, arg[0], 80), ' ', 0);
}

FILTER(truncate) {
    const tpl_str *s = tpl_string(r, v), *end = arg[2].kind == TPL_STR ? arg[2].s : &(const tpl_str){.s = "...", .len = 3};
    const int64_t most = tpl_arg_int(r, arg[0], 255), leeway = arg[3].kind == TPL_NONE ? 5 : tpl_arg_int(r, arg[3], 5);
    const int64_t room = most - (int64_t)tpl_count(end->s, end->len), n = (int64_t)tpl_count(s->s, s->len);
    UNUSED(call);
    if (room < 0 || leeway < 0)
        return tpl_fail(r, KV_EINVAL, "the length is less than that of the end");
    if (n - leeway <= most)
        return str_value(s);
    size_t len = tpl_offset(s->s, s->len, (size_t)room);
    const char *space = tpl_truth(arg[1]) ? NULL : memrchr(s->s, ' ', len);
    len = space ? (size_t)(space - s->s) : len;
    tpl_buf b = {.r = r};
    tpl_put_part(&b, s, 0, len);
    tpl_put_str(&b, end);
    return tpl_take(&b);
}

FILTER(wordcount) {
    const tpl_str *s = tpl_string(r, v);
    int64_t n = 0;
    bool inside = false;
    UNUSED(call), UNUSED(arg);
    for (size_t i = 0; i < s->len; i++) {
        const unsigned char c = (unsigned char)s->s[i];
        const bool is = c >= 0x80 || c == '_' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
        n += is && !inside;
        inside = is;
    }
    return tpl_int(n);
}

FILTER(format) {
    UNUSED(arg);
    if (call->named && call->named->n)
        return tpl_format_percent(r, tpl_string(r, v), (tpl_value){.kind = TPL_DICT, .d = call->named});
    tpl_value all = tpl_list_new(r, TPL_A_TUPLE, call->n);
    if (all.l->n)
        memcpy(all.l->v, call->v, call->n * sizeof *call->v);
    return tpl_format_percent(r, tpl_string(r, v), all);
}

FILTER(tojson) {
    /* ensure_ascii and sort_keys are what they are called in Python; the order is that of transformers */
    tpl_buf b = {.r = r};
    UNUSED(call);
    tpl_put_json(&b, v, arg);
    return tpl_take(&b);
}

/* ---- numbers ---- */

static tpl_value undefined_number(tpl_run *r) {
    return tpl_fail(r, KV_EINVAL, "something undefined is no number");
}

FILTER(int_) {
    int64_t i;
    double f;
    UNUSED(call);
    const tpl_value otherwise = arg[0].kind == TPL_ABSENT ? tpl_int(0) : arg[0];
    if (v.kind == TPL_UNDEF)
        return undefined_number(r);
    if (tpl_is_whole(v))
        return tpl_int(tpl_whole(v));
    if (v.kind == TPL_STR && tpl_read_int(r, v.s, tpl_arg_int(r, arg[1], 10), &i))
        return tpl_int(i);
    if (v.kind == TPL_FLOAT)
        f = v.f;
    else if (v.kind != TPL_STR || !tpl_read_float(v.s, &f) || isinf(f))
        return otherwise;
    if (isnan(f))
        return otherwise;
    return fabs(f) < 9e18 ? tpl_int((int64_t)f) : tpl_fail(r, KV_ERANGE, "a whole number does not fit into 64 bits");
}

FILTER(float_) {
    double f;
    UNUSED(call);
    if (v.kind == TPL_UNDEF)
        return undefined_number(r);
    if (tpl_is_number(v))
        return tpl_float(tpl_real(v));
    if (v.kind == TPL_STR && tpl_read_float(v.s, &f))
        return tpl_float(f);
    return arg[0].kind == TPL_ABSENT ? tpl_float(0) : arg[0];
}

FILTER(abs_) {
    UNUSED(call), UNUSED(arg);
    if (v.kind == TPL_FLOAT)
        return tpl_float(fabs(v.f));
    if (!tpl_is_whole(v))
        return tpl_fail(r, KV_EINVAL, "a number is wanted, not %s", tpl_type(v));
    return tpl_whole(v) < 0 ? tpl_negate(r, v) : tpl_int(tpl_whole(v));
}

FILTER(round_) {
    enum { MOST = 300 };
    char text[700];
    const int64_t places = tpl_arg_int(r, arg[0], 0);
    const tpl_str common = {.s = "common", .len = 6}, *how = arg[1].kind == TPL_STR ? arg[1].s : &common;
    UNUSED(call);
    if (!tpl_is_number(v) || places > MOST || places < -MOST)
        return tpl_fail(r, KV_EINVAL, "a number is wanted, and not too many places");
    if (tpl_str_is(how, "ceil") || tpl_str_is(how, "floor")) {
        const double by = pow(10, (double)places), x = tpl_real(v) * by;
        return tpl_float((*how->s == 'c' ? ceil(x) : floor(x)) / by);
    }
    if (!tpl_str_is(how, "common"))
        return tpl_fail(r, KV_EINVAL, "the method is common, ceil or floor");
    if (tpl_is_whole(v) && places >= 0)
        return tpl_int(tpl_whole(v));
    if (places < 0) {
        const double by = pow(10, -(double)places), x = rint(tpl_real(v) / by) * by;
        return tpl_is_whole(v) ? tpl_int((int64_t)x) : tpl_float(x);
    }
    snprintf(text, sizeof text, "%.*f", (int)places, v.f); /* to even, from all digits, as Python does */
    return tpl_float(isfinite(v.f) ? strtod(text, NULL) : v.f);
}

/* ---- any values ---- */

FILTER(default_) {
    UNUSED(r), UNUSED(call);
    const bool missing = v.kind == TPL_UNDEF || (tpl_truth(arg[1]) && !tpl_truth(v));
    static const tpl_str none = {.s = ""};
    return !missing ? v : arg[0].kind == TPL_ABSENT ? str_value(&none) : arg[0];
}

FILTER(length) {
    UNUSED(call), UNUSED(arg);
    return tpl_int((int64_t)tpl_length(r, v));
}

FILTER(attr) {
    const tpl_str *name = tpl_arg_str(r, arg[0]);
    UNUSED(call);
    if (!name)
        return tpl_fail(r, KV_EINVAL, "a name is wanted");
    if (v.kind == TPL_DICT && !r->above->find(TPL_DICT_METHODS, name)) /* keys are no attributes */
        return (tpl_value){.kind = TPL_UNDEF, .name = name};
    return tpl_attr(r, v, name);
}

const tpl_row tpl_filter_rows[] = {
    {"trim", trim, "chars", 0},
    {"upper", upper, "", 0},
    {"lower", lower, "", 0},
    {"capitalize", capitalize, "", 0},
    {"title", title, "", 0},
    {"replace", replace, "old new count", 2},
    {"string", string, "", 0},
    {"safe", safe, "", 0},
    {"escape", escape, "", 0},
    {"e", escape, "", 0},
    {"forceescape", forceescape, "", 0},
    {"indent", indent, "width first blank", 0},
    {"center", center, "width", 0},
    {"truncate", truncate, "length killwords end leeway", 0},
    {"wordcount", wordcount, "", 0},
    {"format", format, NULL, 0},
    {"tojson", tojson, "ensure_ascii indent separators sort_keys", 0},
    {"int", int_, "default base", 0},
    {"float", float_, "default", 0},
    {"abs", abs_, "", 0},
    {"round", round_, "precision method", 0},
    {"default", default_, "default_value boolean", 0},
    {"d", default_, "default_value boolean", 0},
    {"length", length, "", 0},
    {"count", length, "", 0},
    {"attr", attr, "name", 1},
    {0},
};
