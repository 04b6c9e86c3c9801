/* Tests, and the functions that templates can call. */
#include "template/text.h"

#include <string.h>
#include <time.h>

#define ROW(name) static tpl_value name(tpl_run *r, tpl_value v, const tpl_value *arg, const tpl_call *call)
#define UNUSED    (void)r, (void)v, (void)arg, (void)call

/* ---- tests of kinds ---- */

#define KIND(name, condition)                                                                                                  \
    ROW(name) {                                                                                                                \
        UNUSED;                                                                                                                \
        return tpl_bool(condition);                                                                                            \
    }

KIND(defined, v.kind != TPL_UNDEF)
KIND(undefined, v.kind == TPL_UNDEF)
KIND(none, v.kind == TPL_NONE)
KIND(boolean, v.kind == TPL_BOOL)
KIND(true_, v.kind == TPL_BOOL && v.b)
KIND(false_, v.kind == TPL_BOOL && !v.b)
KIND(integer, v.kind == TPL_INT)
KIND(float_, v.kind == TPL_FLOAT)
KIND(number, tpl_is_number(v))
KIND(string, v.kind == TPL_STR)
KIND(mapping, v.kind == TPL_DICT)
KIND(sequence, tpl_has_length(v) && (v.kind != TPL_LIST || v.l->form <= TPL_A_RANGE))
KIND(iterable, tpl_has_length(v) || v.kind == TPL_LIST || v.kind == TPL_LOOP)
KIND(callable, v.kind >= TPL_LOOP || v.kind == TPL_UNDEF)
KIND(escaped, v.kind == TPL_STR && v.s->safe)
KIND(lower, tpl_is_case(tpl_string(r, v), TPL_LOWER))
KIND(upper, tpl_is_case(tpl_string(r, v), TPL_UPPER))
KIND(filter, v.kind == TPL_STR && r->above->find(TPL_FILTERS, v.s))
KIND(test, v.kind == TPL_STR && r->above->find(TPL_TESTS, v.s))

/* ---- tests with a number or another value ---- */

static bool leaves(tpl_run *r, tpl_value v, tpl_value by, int64_t rest) {
    const tpl_value left = tpl_operate(r, '%', v, by);
    return !r->st && tpl_equal(r, left, tpl_int(rest));
}

KIND(odd, leaves(r, v, tpl_int(2), 1))
KIND(even, leaves(r, v, tpl_int(2), 0))
KIND(divisibleby, leaves(r, v, arg[0], 0))
KIND(equal, tpl_equal(r, v, arg[0]))
KIND(unequal, !tpl_equal(r, v, arg[0]))
KIND(less, tpl_order(r, v, arg[0], "<") < 0)
KIND(at_most, tpl_order(r, v, arg[0], "<=") <= 0)
KIND(greater, tpl_order(r, v, arg[0], ">") == 1)
KIND(at_least, tpl_order(r, v, arg[0], ">=") == 0 || tpl_order(r, v, arg[0], ">=") == 1)
KIND(in, tpl_contains(r, arg[0], v))

ROW(sameas) {
    UNUSED;
    const bool plain = v.kind <= TPL_FLOAT || v.kind == TPL_STR;
    return tpl_bool(v.kind == arg[0].kind && (plain ? tpl_equal(r, v, arg[0]) : v.l == arg[0].l));
}

const tpl_row tpl_test_rows[] = {
    {"defined", defined, "", 0},
    {"undefined", undefined, "", 0},
    {"none", none, "", 0},
    {"boolean", boolean, "", 0},
    {"true", true_, "", 0},
    {"false", false_, "", 0},
    {"integer", integer, "", 0},
    {"float", float_, "", 0},
    {"number", number, "", 0},
    {"string", string, "", 0},
    {"mapping", mapping, "", 0},
    {"sequence", sequence, "", 0},
    {"iterable", iterable, "", 0},
    {"callable", callable, "", 0},
    {"escaped", escaped, "", 0},
    {"lower", lower, "", 0},
    {"upper", upper, "", 0},
    {"filter", filter, "", 0},
    {"test", test, "", 0},
    {"odd", odd, "", 0},
    {"even", even, "", 0},
    {"divisibleby", divisibleby, "num", 1},
    {"eq", equal, "other", 1},
    {"==", equal, "other", 1},
    {"equalto", equal, "other", 1},
    {"ne", unequal, "other", 1},
    {"!=", unequal, "other", 1},
    {"lt", less, "other", 1},
    {"<", less, "other", 1},
    {"lessthan", less, "other", 1},
    {"le", at_most, "other", 1},
    {"<=", at_most, "other", 1},
    {"gt", greater, "other", 1},
    {">", greater, "other", 1},
    {"greaterthan", greater, "other", 1},
    {"ge", at_least, "other", 1},
    {">=", at_least, "other", 1},
    {"in", in, "seq", 1},
    {"sameas", sameas, "other", 1},
    {0},
};

/* ---- functions ---- */

ROW(range) {
    enum { MOST = 100000 }; /* as jinja2's sandbox */
    UNUSED;
    const bool one = arg[1].kind == TPL_ABSENT;
    const int64_t from = one ? 0 : tpl_arg_int(r, arg[0], 0), to = tpl_arg_int(r, arg[one ? 0 : 1], 0),
                  step = tpl_arg_int(r, arg[2], 1);
    if (!step)
        return tpl_fail(r, KV_EINVAL, "the step is 0");
    int64_t span, n = 0;
    if (step > 0 ? to > from : to < from) {
        if (__builtin_sub_overflow(to, from, &span) || step == INT64_MIN)
            return tpl_fail(r, KV_ERANGE, "the limit of a range is reached: %d numbers", MOST);
        n = step > 0 ? (span - 1) / step + 1 : (-span - 1) / -step + 1;
    }
    if (n > MOST)
        return tpl_fail(r, KV_ERANGE, "the limit of a range is reached: %d numbers", MOST);
    const tpl_value out = tpl_list_new(r, TPL_A_RANGE, (size_t)n);
    for (size_t i = 0; i < out.l->n; i++)
        out.l->v[i] = tpl_int(from + (int64_t)i * step);
    return out;
}

static void add_pairs(tpl_run *r, tpl_value from, tpl_dict *to) {
    if (from.kind == TPL_DICT || from.kind == TPL_SPACE) {
        for (size_t i = 0; i < from.d->n && !r->st; i++)
            tpl_dict_set(r, to, from.d->p[i].key, from.d->p[i].value);
        return;
    }
    const tpl_list *l = tpl_elements(r, from);
    for (size_t i = 0; i < l->n && !r->st; i++) {
        const tpl_list *pair = tpl_elements(r, l->v[i]);
        if (pair->n == 2)
            tpl_dict_set(r, to, pair->v[0], pair->v[1]);
        else
            tpl_fail(r, KV_EINVAL, "a dict is made of pairs");
    }
}

static tpl_value make_dict(tpl_run *r, tpl_kind kind, const tpl_call *call) {
    const tpl_value out = tpl_dict_new(r, kind, 4);
    if (call->n > 1)
        return tpl_fail(r, KV_EINVAL, "at most one argument without a name is possible");
    if (call->n)
        add_pairs(r, call->v[0], out.d);
    if (call->named)
        add_pairs(r, (tpl_value){.kind = TPL_DICT, .d = call->named}, out.d);
    return out;
}

ROW(dict) {
    UNUSED;
    return make_dict(r, TPL_DICT, call);
}

ROW(namespace) {
    UNUSED;
    return make_dict(r, TPL_SPACE, call);
}

ROW(raise_exception) {
    UNUSED;
    const tpl_str *s = tpl_string(r, arg[0]);
    r->what = NULL;
    return tpl_fail(r, KV_EINVAL, "the template refuses: %.*s", (int)(s->len < 300 ? s->len : 300), s->s);
}

ROW(strftime_now) {
    enum { ROOM = 512 };
    UNUSED;
    char format[ROOM / 4], out[ROOM];
    const tpl_str *s = tpl_arg_str(r, arg[0]);
    const time_t now = (time_t)r->now;
    struct tm tm;
    if (!s || s->len >= sizeof format - 1 || memchr(s->s, '\0', s->len) || !localtime_r(&now, &tm))
        return tpl_fail(r, KV_EINVAL, "a format of less than %zu bytes is wanted", sizeof format - 1);
    memcpy(format, s->s, s->len);
    format[s->len] = '.'; /* so that nothing is not the same as too much */
    format[s->len + 1] = '\0';
    const size_t n = strftime(out, sizeof out, format, &tm);
    char *kept = n ? tpl_get(r, n, 1) : NULL;
    if (!n)
        return tpl_fail(r, KV_EINVAL, "the date is too long");
    if (kept)
        memcpy(kept, out, n - 1);
    return kept ? tpl_text_value(r, kept, n - 1, false) : TPL_UNDEFINED;
}

const tpl_row tpl_function_rows[] = {
    {"range", range, "start stop step", 1},      {"dict", dict, NULL, 0},
    {"namespace", namespace, NULL, 0},           {"raise_exception", raise_exception, "message", 1},
    {"strftime_now", strftime_now, "format", 1}, {0},
};
