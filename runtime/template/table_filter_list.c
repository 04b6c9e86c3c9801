/* Filters of lists and dicts. */
#include "template/text.h"

#include <string.h>

#define FILTER(name) static tpl_value name(tpl_run *r, tpl_value v, const tpl_value *arg, const tpl_call *call)
#define UNUSED(x)    (void)(x)

static tpl_value list_value(tpl_run *r, const tpl_value *v, size_t n, tpl_form form) {
    const tpl_value out = tpl_list_new(r, form, n);
    if (out.l->n)
        memcpy(out.l->v, v, n * sizeof *v);
    return out;
}

FILTER(list) {
    const tpl_list *l = tpl_elements(r, v);
    UNUSED(call), UNUSED(arg);
    return list_value(r, l->v, l->n, TPL_A_LIST);
}

FILTER(items) {
    UNUSED(call), UNUSED(arg);
    if (v.kind != TPL_DICT && v.kind != TPL_UNDEF)
        return tpl_fail(r, KV_EINVAL, "a dict is wanted, not %s", tpl_type(v));
    const tpl_value out = tpl_list_new(r, TPL_A_STREAM, v.kind == TPL_DICT ? v.d->n : 0);
    for (size_t i = 0; i < out.l->n && !r->st; i++)
        out.l->v[i] = tpl_pair_new(r, v.d->p[i].key, v.d->p[i].value);
    return out;
}

FILTER(first) {
    const tpl_list *l = tpl_elements(r, v);
    UNUSED(call), UNUSED(arg);
    return l->n ? l->v[0] : TPL_UNDEFINED;
}

FILTER(last) {
    UNUSED(call), UNUSED(arg);
    if (v.kind == TPL_LIST && v.l->form == TPL_A_STREAM)
        return tpl_fail(r, KV_EINVAL, "a generator has no last value; make it a list first");
    const tpl_list *l = tpl_elements(r, v);
    return l->n ? l->v[l->n - 1] : TPL_UNDEFINED;
}

FILTER(reverse) {
    UNUSED(call), UNUSED(arg);
    const bool stream = v.kind == TPL_LIST && v.l->form == TPL_A_STREAM;
    const tpl_list *l = tpl_elements(r, v);
    tpl_buf b = {.r = r};
    const tpl_value out = tpl_list_new(r, stream ? TPL_A_LIST : TPL_A_STREAM, l->n);
    for (size_t i = 0; i < out.l->n; i++)
        out.l->v[i] = l->v[l->n - 1 - i];
    for (size_t i = 0; v.kind == TPL_STR && i < out.l->n && !r->st; i++)
        tpl_put_str(&b, out.l->v[i].s);
    b.safe = v.kind == TPL_STR && v.s->safe;
    return v.kind == TPL_STR ? tpl_take(&b) : out;
}

/* ---- attributes ---- */

static bool given(tpl_value v) {
    return v.kind != TPL_ABSENT && v.kind != TPL_NONE;
}

/* What stands under a path, or `otherwise` where something of it is missing. */
static tpl_value attribute(tpl_run *r, tpl_value v, tpl_value path, tpl_value otherwise) {
    const tpl_str *s = path.kind == TPL_STR ? path.s : NULL;
    if (!given(path))
        return v;
    if (!given(otherwise))
        return tpl_path(r, v, path);
    for (size_t at = 0; at <= (s ? s->len : 0) && !r->st;) {
        const char *dot = s ? memchr(s->s + at, '.', s->len - at) : NULL;
        const size_t len = !s ? 0 : dot ? (size_t)(dot - s->s) - at : s->len - at;
        v = tpl_path(r, v, s ? tpl_part(r, s, at, len) : path);
        v = v.kind == TPL_UNDEF ? otherwise : v;
        at += len + 1;
    }
    return v;
}

static tpl_value folded(tpl_run *r, tpl_value v, bool sensitive) {
    return v.kind == TPL_STR && !sensitive ? tpl_cased(r, v.s, TPL_LOWER) : v;
}

FILTER(join) {
    const tpl_str *by = arg[0].kind == TPL_ABSENT ? &(const tpl_str){.s = ""} : tpl_string(r, arg[0]);
    const tpl_list *l = tpl_elements(r, v);
    tpl_buf b = {.r = r};
    UNUSED(call);
    for (size_t i = 0; i < l->n && !r->st; i++) {
        if (i)
            tpl_put_str(&b, by);
        tpl_print(&b, attribute(r, l->v[i], arg[1], TPL_NULL));
    }
    return tpl_take(&b);
}

/* ---- order ---- */

typedef struct sortable {
    tpl_value key, value;
} sortable;

/* Stable; `down`: the greatest first, equal ones as they were. */
static void merge_sort(tpl_run *r, sortable *v, sortable *spare, size_t n, bool down) {
    if (n < 2 || r->st)
        return;
    const size_t half = n / 2;
    merge_sort(r, v, spare, half, down);
    merge_sort(r, v + half, spare, n - half, down);
    memcpy(spare, v, n * sizeof *v);
    for (size_t i = 0, a = 0, b = half; i < n && tpl_steps(r, 1); i++) {
        bool right = a == half;
        if (!right && b < n) {
            const int order = tpl_order(r, spare[b].key, spare[a].key, "<");
            right = down ? order == 1 || (order > 0 && order != 2) : order < 0;
        }
        v[i] = right ? spare[b++] : spare[a++];
    }
}

/* Put values in the order of keys. */
static bool sort_by(tpl_run *r, sortable *v, size_t n, bool down) {
    sortable *spare = tpl_get(r, n, sizeof *spare);
    if (spare)
        merge_sort(r, v, spare, n, down);
    return !r->st;
}

/* The key of a value by "a,b": a list of attributes; by "a": that one. */
static tpl_value sort_key(tpl_run *r, tpl_value v, tpl_value path, tpl_value otherwise, bool sensitive) {
    if (path.kind != TPL_STR || !memchr(path.s->s, ',', path.s->len))
        return folded(r, attribute(r, v, path, otherwise), sensitive);
    size_t n = 1, k = 0;
    for (size_t i = 0; i < path.s->len; i++)
        n += path.s->s[i] == ',';
    const tpl_value out = tpl_list_new(r, TPL_A_LIST, n);
    for (size_t at = 0; k < out.l->n && !r->st; k++) {
        const char *comma = memchr(path.s->s + at, ',', path.s->len - at);
        const size_t end = comma ? (size_t)(comma - path.s->s) : path.s->len;
        out.l->v[k] = folded(r, attribute(r, v, tpl_part(r, path.s, at, end - at), otherwise), sensitive);
        at = end + 1;
    }
    return out;
}

static sortable *keyed(tpl_run *r, const tpl_list *l, tpl_value path, tpl_value otherwise, bool sensitive) {
    sortable *s = tpl_get(r, l->n, sizeof *s);
    for (size_t i = 0; s && i < l->n && !r->st; i++)
        s[i] = (sortable){sort_key(r, l->v[i], path, otherwise, sensitive), l->v[i]};
    return r->st ? NULL : s;
}

FILTER(sort) {
    const tpl_list *l = tpl_elements(r, v);
    sortable *s = keyed(r, l, arg[2], TPL_NULL, tpl_truth(arg[1]));
    UNUSED(call);
    if (!s || !sort_by(r, s, l->n, tpl_truth(arg[0])))
        return TPL_UNDEFINED;
    const tpl_value out = tpl_list_new(r, TPL_A_LIST, l->n);
    for (size_t i = 0; i < out.l->n; i++)
        out.l->v[i] = s[i].value;
    return out;
}

FILTER(dictsort) {
    const bool by_value = arg[1].kind == TPL_STR && tpl_str_is(arg[1].s, "value");
    UNUSED(call);
    if (v.kind != TPL_DICT)
        return tpl_fail(r, KV_EINVAL, "a dict is wanted, not %s", tpl_type(v));
    if (given(arg[1]) && !by_value && (arg[1].kind != TPL_STR || !tpl_str_is(arg[1].s, "key")))
        return tpl_fail(r, KV_EINVAL, "a dict is sorted by 'key' or 'value'");
    const size_t n = v.d->n;
    sortable *s = tpl_get(r, n, sizeof *s);
    for (size_t i = 0; s && i < n && !r->st; i++)
        s[i] = (sortable){folded(r, by_value ? v.d->p[i].value : v.d->p[i].key, tpl_truth(arg[0])),
                          tpl_pair_new(r, v.d->p[i].key, v.d->p[i].value)};
    if (r->st || !sort_by(r, s, n, tpl_truth(arg[2])))
        return TPL_UNDEFINED;
    const tpl_value out = tpl_list_new(r, TPL_A_LIST, n);
    for (size_t i = 0; i < out.l->n; i++)
        out.l->v[i] = s[i].value;
    return out;
}

FILTER(groupby) {
    const tpl_list *l = tpl_elements(r, v);
    sortable *s = keyed(r, l, arg[0], arg[1], tpl_truth(arg[2]));
    UNUSED(call);
    if (!s || !sort_by(r, s, l->n, false))
        return TPL_UNDEFINED;
    const tpl_value out = tpl_list_new(r, TPL_A_LIST, l->n);
    size_t n = 0;
    for (size_t from = 0, to; from < out.l->n && !r->st; from = to) {
        for (to = from + 1; to < l->n && tpl_equal(r, s[from].key, s[to].key); to++)
            ;
        const tpl_value group = tpl_list_new(r, TPL_A_LIST, to - from);
        for (size_t i = 0; i < group.l->n; i++)
            group.l->v[i] = s[from + i].value;
        tpl_value pair = tpl_pair_new(r, attribute(r, s[from].value, arg[0], arg[1]), group);
        pair.l->form = pair.l->n ? TPL_A_GROUP : pair.l->form;
        out.l->v[n++] = pair;
    }
    if (out.l->n)
        out.l->n = n;
    return out;
}

FILTER(unique) {
    const tpl_list *l = tpl_elements(r, v);
    sortable *s = keyed(r, l, arg[1], TPL_NULL, tpl_truth(arg[0]));
    UNUSED(call);
    if (!s)
        return TPL_UNDEFINED;
    const tpl_value out = tpl_list_new(r, TPL_A_STREAM, l->n);
    size_t n = 0;
    for (size_t i = 0; i < out.l->n && !r->st; i++) {
        size_t k = 0;
        while (k < n && !tpl_equal(r, s[k].key, s[i].key))
            k++;
        if (k < n)
            continue;
        s[n] = s[i];
        out.l->v[n++] = s[i].value;
    }
    if (out.l->n)
        out.l->n = n;
    return out;
}

static tpl_value extreme(tpl_run *r, tpl_value v, const tpl_value *arg, int want) {
    const tpl_list *l = tpl_elements(r, v);
    const sortable *s = keyed(r, l, arg[1], TPL_NULL, tpl_truth(arg[0]));
    size_t best = 0;
    if (!s || !l->n)
        return TPL_UNDEFINED;
    for (size_t i = 1; i < l->n && !r->st; i++) {
        const int order = tpl_order(r, s[i].key, s[best].key, want < 0 ? "<" : ">");
        if (want < 0 ? order < 0 : order > 0 && order != 2)
            best = i;
    }
    return s[best].value;
}

FILTER(min) {
    UNUSED(call);
    return extreme(r, v, arg, -1);
}

FILTER(max) {
    UNUSED(call);
    return extreme(r, v, arg, 1);
}

FILTER(sum) {
    const tpl_list *l = tpl_elements(r, v);
    tpl_value total = arg[1].kind == TPL_ABSENT ? tpl_int(0) : arg[1];
    UNUSED(call);
    if (total.kind == TPL_STR)
        return tpl_fail(r, KV_EINVAL, "texts are joined, not summed");
    for (size_t i = 0; i < l->n && !r->st; i++)
        total = tpl_operate(r, '+', total, attribute(r, l->v[i], arg[0], TPL_NULL));
    return total;
}

/* ---- choosing ---- */

/* What is left of the arguments behind the first n. */
static tpl_call behind(const tpl_call *call, size_t n) {
    return (tpl_call){call->n > n ? call->v + n : NULL, call->n - n, call->named};
}

static const tpl_str *name_arg(tpl_run *r, const tpl_call *call, size_t i) {
    if (i < call->n && call->v[i].kind == TPL_STR)
        return call->v[i].s;
    tpl_fail(r, KV_EINVAL, "a name is missing");
    return NULL;
}

static tpl_value choose(tpl_run *r, tpl_value v, const tpl_call *call, bool by_attribute, bool wanted) {
    const size_t skip = by_attribute;
    const bool tests = call->n > skip;
    if (by_attribute && !call->n)
        return tpl_fail(r, KV_EINVAL, "the name of an attribute is missing");
    if (!tpl_truth(v))
        return tpl_list_new(r, TPL_A_STREAM, 0);
    const tpl_list *l = tpl_elements(r, v);
    const tpl_str *test = tests ? name_arg(r, call, skip) : NULL;
    const tpl_call rest = behind(call, tests ? skip + 1 : call->n);
    const tpl_value out = tpl_list_new(r, TPL_A_STREAM, l->n);
    size_t n = 0;
    for (size_t i = 0; i < out.l->n && !r->st; i++) {
        const tpl_value x = by_attribute ? tpl_path(r, l->v[i], call->v[0]) : l->v[i];
        if (!r->st && (tests ? r->above->test(r, test, x, &rest) : tpl_truth(x)) == wanted)
            out.l->v[n++] = l->v[i];
    }
    if (out.l->n)
        out.l->n = n;
    return out;
}

FILTER(select_) {
    UNUSED(arg);
    return choose(r, v, call, false, true);
}

FILTER(reject) {
    UNUSED(arg);
    return choose(r, v, call, false, false);
}

FILTER(selectattr) {
    UNUSED(arg);
    return choose(r, v, call, true, true);
}

FILTER(rejectattr) {
    UNUSED(arg);
    return choose(r, v, call, true, false);
}

static tpl_value named(tpl_run *r, const tpl_call *call, const char *name, size_t len) {
    const tpl_value key = {.kind = TPL_STR, .s = &(const tpl_str){.s = name, .len = len}};
    const tpl_value *v = call->named ? tpl_dict_find(r, call->named, key) : NULL;
    return v ? *v : (tpl_value){.kind = TPL_ABSENT};
}

FILTER(map) {
    const tpl_value path = named(r, call, "attribute", 9), otherwise = named(r, call, "default", 7);
    UNUSED(arg);
    if (!tpl_truth(v))
        return tpl_list_new(r, TPL_A_STREAM, 0);
    const bool by_path = !call->n && path.kind != TPL_ABSENT;
    const tpl_str *filter = by_path ? NULL : name_arg(r, call, 0);
    const tpl_call rest = call->n ? behind(call, 1) : *call;
    const tpl_list *l = tpl_elements(r, v);
    const tpl_value out = tpl_list_new(r, TPL_A_STREAM, l->n);
    for (size_t i = 0; i < out.l->n && !r->st; i++)
        out.l->v[i] = by_path ? attribute(r, l->v[i], path, otherwise) : r->above->filter(r, filter, l->v[i], &rest);
    return out;
}

/* ---- rows of a table ---- */

FILTER(batch) {
    const int64_t size = tpl_arg_int(r, arg[0], 1);
    const tpl_list *l = tpl_elements(r, v);
    UNUSED(call);
    if (size < 1 || size > 1 << 20)
        return tpl_fail(r, KV_EINVAL, "a batch has at least one value");
    const size_t by = (size_t)size;
    const tpl_value out = tpl_list_new(r, TPL_A_STREAM, (l->n + by - 1) / by);
    for (size_t i = 0; i < out.l->n && !r->st; i++) {
        const size_t from = i * by, n = l->n - from < by ? l->n - from : by;
        const tpl_value row = tpl_list_new(r, TPL_A_LIST, given(arg[1]) ? by : n);
        for (size_t k = 0; k < row.l->n; k++)
            row.l->v[k] = k < n ? l->v[from + k] : arg[1];
        out.l->v[i] = row;
    }
    return out;
}

FILTER(slice) {
    const int64_t parts = tpl_arg_int(r, arg[0], 1);
    const tpl_list *l = tpl_elements(r, v);
    UNUSED(call);
    if (parts < 1 || parts > 1 << 20)
        return tpl_fail(r, KV_EINVAL, "there is at least one slice");
    const size_t by = l->n / (size_t)parts, longer = l->n % (size_t)parts;
    const tpl_value out = tpl_list_new(r, TPL_A_STREAM, (size_t)parts);
    for (size_t i = 0, from = 0; i < out.l->n && !r->st; i++) {
        const size_t n = by + (i < longer);
        const tpl_value row = tpl_list_new(r, TPL_A_LIST, n + (given(arg[1]) && i >= longer));
        for (size_t k = 0; k < row.l->n; k++)
            row.l->v[k] = k < n ? l->v[from + k] : arg[1];
        out.l->v[i] = row;
        from += n;
    }
    return out;
}

const tpl_row tpl_filter_list_rows[] = {
    {"list", list, "", 0},
    {"items", items, "", 0},
    {"first", first, "", 0},
    {"last", last, "", 0},
    {"reverse", reverse, "", 0},
    {"join", join, "d attribute", 0},
    {"sort", sort, "reverse case_sensitive attribute", 0},
    {"dictsort", dictsort, "case_sensitive by reverse", 0},
    {"groupby", groupby, "attribute default case_sensitive", 1},
    {"unique", unique, "case_sensitive attribute", 0},
    {"min", min, "case_sensitive attribute", 0},
    {"max", max, "case_sensitive attribute", 0},
    {"sum", sum, "attribute start", 0},
    {"select", select_, NULL, 0},
    {"reject", reject, NULL, 0},
    {"selectattr", selectattr, NULL, 0},
    {"rejectattr", rejectattr, NULL, 0},
    {"map", map, NULL, 0},
    {"batch", batch, "linecount fill_with", 1},
    {"slice", slice, "slices fill_with", 1},
    {0},
};
