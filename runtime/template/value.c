/* What values are: truth, equality, order, lists and dicts, attributes and elements. Python's rules. */
#include "template/tpl_internal.h"

#include <math.h>
#include <string.h>

const char *tpl_type(tpl_value v) {
    static const char *const kinds[] = {
        [TPL_UNDEF] = "Undefined", [TPL_ABSENT] = "Undefined", [TPL_NONE] = "NoneType", [TPL_BOOL] = "bool",
        [TPL_INT] = "int",         [TPL_FLOAT] = "float",      [TPL_STR] = "str",       [TPL_LIST] = "list",
        [TPL_DICT] = "dict",       [TPL_SPACE] = "namespace",  [TPL_LOOP] = "loop",     [TPL_MACRO] = "macro",
        [TPL_METHOD] = "method",   [TPL_FUNC] = "function"};
    static const char *const forms[] = {[TPL_A_LIST] = "list",   [TPL_A_TUPLE] = "tuple", [TPL_A_GROUP] = "tuple",
                                        [TPL_A_RANGE] = "range", [TPL_A_VIEW] = "view",   [TPL_A_STREAM] = "generator"};
    return v.kind == TPL_LIST ? forms[v.l->form] : kinds[v.kind];
}

bool tpl_truth(tpl_value v) {
    switch (v.kind) {
    case TPL_UNDEF:
    case TPL_ABSENT:
    case TPL_NONE:
        return false;
    case TPL_BOOL:
        return v.b;
    case TPL_INT:
        return v.i;
    case TPL_FLOAT:
        return v.f != 0;
    case TPL_STR:
        return v.s->len;
    case TPL_LIST:
        return v.l->n || v.l->form == TPL_A_STREAM;
    case TPL_DICT:
        return v.d->n;
    default:
        return true;
    }
}

/* ---- equality and order ---- */

static bool same_text(const tpl_str *a, const tpl_str *b) {
    return a->len == b->len && (a->s == b->s || !memcmp(a->s, b->s, a->len));
}

static uint8_t form_of(const tpl_list *l) {
    return l->form == TPL_A_GROUP ? TPL_A_TUPLE : l->form;
}

static bool same_lists(tpl_run *r, const tpl_list *a, const tpl_list *b) {
    if (a == b)
        return true;
    bool same = form_of(a) == form_of(b) && a->n == b->n && a->form < TPL_A_VIEW;
    for (size_t i = 0; same && i < a->n; i++)
        same = tpl_equal(r, a->v[i], b->v[i]);
    return same;
}

static bool same_dicts(tpl_run *r, const tpl_dict *a, const tpl_dict *b) {
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++) {
        const tpl_value *other = tpl_dict_find(r, b, a->p[i].key);
        same = other && tpl_equal(r, a->p[i].value, *other);
    }
    return same;
}

static bool same_numbers(tpl_value a, tpl_value b) {
    return tpl_is_whole(a) && tpl_is_whole(b) ? tpl_whole(a) == tpl_whole(b) : tpl_real(a) == tpl_real(b);
}

bool tpl_equal(tpl_run *r, tpl_value a, tpl_value b) {
    bool same = false;
    if (tpl_is_number(a) && tpl_is_number(b))
        return same_numbers(a, b);
    if (a.kind != b.kind || !tpl_steps(r, a.kind == TPL_STR ? 1 + a.s->len / 256 : 1))
        return false;
    if (a.kind == TPL_STR)
        return same_text(a.s, b.s);
    if (a.kind == TPL_UNDEF || a.kind == TPL_NONE || a.kind == TPL_ABSENT)
        return true;
    if (!tpl_deeper(r))
        return false;
    if (a.kind == TPL_LIST)
        same = same_lists(r, a.l, b.l);
    else if (a.kind == TPL_DICT)
        same = same_dicts(r, a.d, b.d);
    else if (a.kind == TPL_METHOD)
        same = a.method->row == b.method->row && tpl_equal(r, a.method->self, b.method->self);
    else
        same = a.d == b.d;
    tpl_up(r);
    return same;
}

static int order_of_texts(const tpl_str *a, const tpl_str *b) {
    const size_t len = a->len < b->len ? a->len : b->len;
    const int c = memcmp(a->s, b->s, len); /* the order of UTF-8 is that of code points */
    return c ? (c > 0) - (c < 0) : (a->len > b->len) - (a->len < b->len);
}

static int order_of_numbers(tpl_value a, tpl_value b) {
    if (tpl_is_whole(a) && tpl_is_whole(b))
        return (tpl_whole(a) > tpl_whole(b)) - (tpl_whole(a) < tpl_whole(b));
    const double x = tpl_real(a), y = tpl_real(b);
    return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
}

static int order_of_lists(tpl_run *r, const tpl_list *a, const tpl_list *b, const char *op) {
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (!tpl_equal(r, a->v[i], b->v[i]))
            return tpl_order(r, a->v[i], b->v[i], op);
    return (a->n > b->n) - (a->n < b->n);
}

int tpl_order(tpl_run *r, tpl_value a, tpl_value b, const char *op) {
    int order = 0;
    if (tpl_is_number(a) && tpl_is_number(b))
        return order_of_numbers(a, b);
    if (a.kind == TPL_STR && b.kind == TPL_STR)
        return tpl_steps(r, 1 + a.s->len / 256) ? order_of_texts(a.s, b.s) : 0;
    if (a.kind == TPL_LIST && b.kind == TPL_LIST && form_of(a.l) == form_of(b.l) && a.l->form <= TPL_A_GROUP && tpl_deeper(r)) {
        order = order_of_lists(r, a.l, b.l, op);
        tpl_up(r);
    } else if (a.kind == TPL_UNDEF || b.kind == TPL_UNDEF) {
        tpl_fail(r, KV_EINVAL, "'%s' with something undefined", op);
    } else
        tpl_fail(r, KV_EINVAL, "'%s' not supported between %s and %s", op, tpl_type(a), tpl_type(b));
    return order;
}

/* ---- lists and dicts ---- */

tpl_value tpl_list_new(tpl_run *r, tpl_form form, size_t n) {
    tpl_list *l = tpl_get(r, 1, sizeof *l);
    tpl_value *v = tpl_steps(r, n / 8) ? tpl_get(r, n, sizeof *v) : NULL;
    static tpl_list none;
    if (!l || !v)
        return (tpl_value){.kind = TPL_LIST, .l = &none};
    *l = (tpl_list){.v = v, .n = n, .form = (uint8_t)form};
    return (tpl_value){.kind = TPL_LIST, .l = l};
}

tpl_value tpl_pair_new(tpl_run *r, tpl_value a, tpl_value b) {
    tpl_value pair = tpl_list_new(r, TPL_A_TUPLE, 2);
    if (pair.l->n) {
        pair.l->v[0] = a;
        pair.l->v[1] = b;
    }
    return pair;
}

tpl_value tpl_dict_new(tpl_run *r, tpl_kind kind, size_t room) {
    static tpl_dict none;
    tpl_dict *d = tpl_get(r, 1, sizeof *d);
    if (!d)
        return (tpl_value){.kind = (uint8_t)kind, .d = &none};
    *d = (tpl_dict){.p = tpl_get(r, room, sizeof *d->p), .cap = room};
    return (tpl_value){.kind = (uint8_t)kind, .d = d};
}

const tpl_value *tpl_dict_find(tpl_run *r, const tpl_dict *d, tpl_value key) {
    for (size_t i = 0; i < d->n; i++) {
        const tpl_value k = d->p[i].key;
        if (k.kind == TPL_STR && key.kind == TPL_STR ? same_text(k.s, key.s) : tpl_equal(r, k, key))
            return tpl_steps(r, i / 16) ? &d->p[i].value : NULL;
    }
    tpl_steps(r, d->n / 16);
    return NULL;
}

void tpl_dict_set(tpl_run *r, tpl_dict *d, tpl_value key, tpl_value value) {
    tpl_value *there = (tpl_value *)tpl_dict_find(r, d, key);
    if (r->st)
        return;
    if (there) {
        *there = value;
        return;
    }
    if (key.kind == TPL_DICT || key.kind == TPL_SPACE || (key.kind == TPL_LIST && form_of(key.l) == TPL_A_LIST)) {
        tpl_fail(r, KV_EINVAL, "a %s cannot be the key of a dict", tpl_type(key));
        return;
    }
    if (d->n == d->cap) {
        const size_t cap = 2 * d->cap + 4;
        tpl_pair *p = tpl_get(r, cap, sizeof *p);
        if (!p)
            return;
        if (d->n)
            memcpy(p, d->p, d->n * sizeof *p);
        d->p = p;
        d->cap = cap;
    }
    d->p[d->n++] = (tpl_pair){key, value};
}

/* ---- going over, and lengths ---- */

static tpl_list *characters(tpl_run *r, const tpl_str *s) {
    const tpl_value list = tpl_list_new(r, TPL_A_LIST, tpl_count(s->s, s->len));
    size_t at = 0;
    for (size_t i = 0; i < list.l->n && !r->st; i++) {
        const size_t n = tpl_offset(s->s + at, s->len - at, 1);
        list.l->v[i] = tpl_part(r, s, at, n);
        at += n;
    }
    return list.l;
}

tpl_list *tpl_elements(tpl_run *r, tpl_value v) {
    static tpl_list none;
    tpl_list *l = &none;
    if (v.kind == TPL_LIST) {
        l = v.l->spent ? &none : v.l;
        if (v.l->form == TPL_A_STREAM)
            v.l->spent = true;
    } else if (v.kind == TPL_STR) {
        l = characters(r, v.s);
    } else if (v.kind == TPL_DICT) {
        l = tpl_list_new(r, TPL_A_LIST, v.d->n).l;
        for (size_t i = 0; i < l->n; i++)
            l->v[i] = v.d->p[i].key;
    } else if (v.kind != TPL_UNDEF || v.unsafe)
        tpl_fail(r, KV_EINVAL, "a value of type %s cannot be gone over", tpl_type(v));
    return r->st ? &none : l;
}

bool tpl_has_length(tpl_value v) {
    return v.kind == TPL_STR || v.kind == TPL_DICT || v.kind == TPL_UNDEF || (v.kind == TPL_LIST && v.l->form != TPL_A_STREAM);
}

size_t tpl_length(tpl_run *r, tpl_value v) {
    if (!tpl_has_length(v))
        tpl_fail(r, KV_EINVAL, "a value of type %s has no length", tpl_type(v));
    else if (v.kind == TPL_STR)
        return tpl_steps(r, v.s->len / 64) ? tpl_count(v.s->s, v.s->len) : 0;
    else if (v.kind != TPL_UNDEF)
        return v.kind == TPL_DICT ? v.d->n : v.l->n;
    return 0;
}

/* ---- attributes and elements ---- */

static tpl_value missing(const tpl_str *name) {
    return (tpl_value){.kind = TPL_UNDEF, .name = name};
}

/* A method of v by that name; one that would change v is undefined. */
static bool method_of(tpl_run *r, tpl_value v, const tpl_str *name, tpl_value *out) {
    const tpl_row *row = v.kind == TPL_STR                                ? r->above->find(TPL_STR_METHODS, name)
                         : v.kind == TPL_DICT                             ? r->above->find(TPL_DICT_METHODS, name)
                         : v.kind == TPL_LIST && v.l->form <= TPL_A_RANGE ? r->above->find(TPL_LIST_METHODS, name)
                                                                          : NULL;
    if (!row)
        return false;
    *out = (tpl_value){.kind = TPL_UNDEF, .unsafe = true, .name = name};
    if (!row->fn)
        return true;
    tpl_method *m = tpl_get(r, 1, sizeof *m);
    if (m) {
        *m = (tpl_method){v, row};
        *out = (tpl_value){.kind = TPL_METHOD, .method = m};
    }
    return true;
}

static tpl_value undefined_has(tpl_run *r, tpl_value v, const tpl_str *name) {
    const int len = name ? (int)(name->len < 64 ? name->len : 64) : 0;
    if (v.name)
        return tpl_fail(r, KV_EINVAL, "'%.*s' is undefined: it has no '%.*s'", (int)(v.name->len < 64 ? v.name->len : 64),
                        v.name->s, len, name ? name->s : "");
    return tpl_fail(r, KV_EINVAL, "something undefined has no '%.*s'", len, name ? name->s : "");
}

/* An attribute that is no key. */
static bool own_attr(tpl_run *r, tpl_value v, const tpl_str *name, tpl_value *out) {
    if (v.kind == TPL_LOOP)
        *out = r->above->loop_attr(r, v.loop, name);
    else if (v.kind == TPL_LIST && v.l->form == TPL_A_GROUP && tpl_str_is(name, "grouper"))
        *out = v.l->v[0];
    else if (v.kind == TPL_LIST && v.l->form == TPL_A_GROUP && tpl_str_is(name, "list"))
        *out = v.l->v[1];
    else if (v.kind == TPL_SPACE) {
        const tpl_value *there = tpl_dict_find(r, v.d, (tpl_value){.kind = TPL_STR, .s = name});
        *out = there ? *there : missing(name);
    } else
        return method_of(r, v, name, out);
    return true;
}

tpl_value tpl_attr(tpl_run *r, tpl_value v, const tpl_str *name) {
    tpl_value out;
    if (v.kind == TPL_UNDEF)
        return undefined_has(r, v, name);
    if (own_attr(r, v, name, &out))
        return out;
    const tpl_value *there = v.kind == TPL_DICT ? tpl_dict_find(r, v.d, (tpl_value){.kind = TPL_STR, .s = name}) : NULL;
    return there ? *there : missing(name);
}

static tpl_value element(tpl_run *r, tpl_value v, int64_t at) {
    const int64_t n = (int64_t)tpl_length(r, v);
    at += at < 0 ? n : 0;
    if (r->st || at < 0 || at >= n)
        return missing(NULL);
    if (v.kind == TPL_LIST)
        return v.l->v[at];
    const size_t from = tpl_offset(v.s->s, v.s->len, (size_t)at);
    return tpl_part(r, v.s, from, tpl_offset(v.s->s + from, v.s->len - from, 1));
}

tpl_value tpl_item(tpl_run *r, tpl_value v, tpl_value key) {
    tpl_value out;
    const tpl_str *name = key.kind == TPL_STR ? key.s : NULL;
    if (v.kind == TPL_UNDEF)
        return undefined_has(r, v, name);
    if (v.kind == TPL_DICT) {
        const tpl_value *there = tpl_dict_find(r, v.d, key);
        if (there)
            return *there;
    } else if (tpl_is_whole(key) && (v.kind == TPL_STR || (v.kind == TPL_LIST && v.l->form <= TPL_A_RANGE)))
        return element(r, v, tpl_whole(key));
    return name && own_attr(r, v, name, &out) ? out : missing(name);
}

/* A bound of a slice; otherwise: where there is none. */
static int64_t bound(tpl_run *r, tpl_value v, int64_t otherwise, int64_t n, int64_t least, int64_t most) {
    if (v.kind == TPL_NONE || v.kind == TPL_ABSENT)
        return otherwise;
    if (!tpl_is_whole(v)) {
        tpl_fail(r, KV_EINVAL, "bounds of slices are whole numbers, not %s", tpl_type(v));
        return 0;
    }
    int64_t at = tpl_whole(v);
    at += at < 0 ? n : 0;
    return at < least ? least : at > most ? most : at;
}

tpl_value tpl_slice(tpl_run *r, tpl_value v, const tpl_value part[3]) {
    if (v.kind != TPL_STR && (v.kind != TPL_LIST || v.l->form > TPL_A_RANGE))
        return tpl_fail(r, KV_EINVAL, "a value of type %s cannot be sliced", tpl_type(v));
    const int64_t n = (int64_t)tpl_length(r, v);
    const int64_t step = part[2].kind == TPL_NONE ? 1 : tpl_is_whole(part[2]) ? tpl_whole(part[2]) : 0;
    if (!step || step == INT64_MIN)
        return tpl_fail(r, KV_EINVAL, "the step of a slice is a whole number other than 0");
    const int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    const int64_t from = bound(r, part[0], step < 0 ? high : low, n, low, high);
    const int64_t to = bound(r, part[1], step < 0 ? low : high, n, low, high);
    const uint64_t span = step < 0 ? (from > to ? (uint64_t)(from - to) : 0) : to > from ? (uint64_t)(to - from) : 0;
    const uint64_t by = step < 0 ? 0 - (uint64_t)step : (uint64_t)step;
    const size_t count = (size_t)(span ? (span - 1) / by + 1 : 0);
    if (v.kind == TPL_STR && step == 1) {
        const size_t first = tpl_offset(v.s->s, v.s->len, (size_t)from);
        return tpl_part(r, v.s, first, count ? tpl_offset(v.s->s + first, v.s->len - first, count) : 0);
    }
    const tpl_list *l = v.kind == TPL_STR ? characters(r, v.s) : v.l;
    tpl_buf b = {.r = r};
    const tpl_value list = tpl_list_new(r, v.kind == TPL_STR || v.l->form == TPL_A_LIST ? TPL_A_LIST : form_of(v.l), count);
    for (size_t i = 0; i < count && !r->st; i++)
        list.l->v[i] = l->v[from + (int64_t)i * step];
    for (size_t i = 0; v.kind == TPL_STR && i < count && !r->st; i++)
        tpl_put_str(&b, list.l->v[i].s);
    return v.kind == TPL_STR ? tpl_take(&b) : list;
}

bool tpl_contains(tpl_run *r, tpl_value all, tpl_value one) {
    if (all.kind == TPL_STR) {
        if (one.kind != TPL_STR)
            return tpl_fail(r, KV_EINVAL, "'in' of a text wants a text, not %s", tpl_type(one)).b;
        return tpl_steps(r, all.s->len / 64) && memmem(all.s->s, all.s->len, one.s->s, one.s->len);
    }
    if (all.kind == TPL_DICT)
        return tpl_dict_find(r, all.d, one);
    const tpl_list *l = tpl_elements(r, all);
    for (size_t i = 0; i < l->n && !r->st; i++)
        if (tpl_equal(r, l->v[i], one))
            return !r->st;
    return false;
}

/* ---- arguments ---- */

int64_t tpl_arg_int(tpl_run *r, tpl_value v, int64_t otherwise) {
    if (v.kind == TPL_ABSENT)
        return otherwise;
    if (!tpl_is_whole(v)) {
        tpl_fail(r, KV_EINVAL, "a whole number is wanted, not %s", tpl_type(v));
        return otherwise;
    }
    return tpl_whole(v);
}

const tpl_str *tpl_arg_str(tpl_run *r, tpl_value v) {
    if (v.kind == TPL_STR)
        return v.s;
    if (v.kind != TPL_ABSENT && v.kind != TPL_NONE)
        tpl_fail(r, KV_EINVAL, "a text is wanted, not %s", tpl_type(v));
    return NULL;
}

tpl_value tpl_path(tpl_run *r, tpl_value v, tpl_value path) {
    if (path.kind != TPL_STR)
        return tpl_item(r, v, path);
    for (size_t at = 0; at <= path.s->len && !r->st;) {
        const char *dot = memchr(path.s->s + at, '.', path.s->len - at);
        const size_t len = dot ? (size_t)(dot - path.s->s) - at : path.s->len - at;
        int64_t index = 0;
        size_t i = 0;
        for (; i < len && i < 9 && path.s->s[at + i] >= '0' && path.s->s[at + i] <= '9'; i++)
            index = 10 * index + path.s->s[at + i] - '0';
        v = tpl_item(r, v, i == len && len ? tpl_int(index) : tpl_part(r, path.s, at, len));
        at += len + 1;
    }
    return v;
}
