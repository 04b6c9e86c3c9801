/* Expressions. */
#include "template/tree.h"

#include <string.h>

/* ---- calls ---- */

static void add_named(tpl_run *r, const tpl_node *n, tpl_dict *to) {
    const tpl_value key = {.kind = TPL_STR, .s = n->name};
    if (tpl_dict_find(r, to, key))
        tpl_fail(r, KV_EINVAL, "the argument '%.*s' is given twice", (int)(n->name->len < 64 ? n->name->len : 64), n->name->s);
    tpl_dict_set(r, to, key, tpl_eval(r, n->a));
}

static void add_dict(tpl_run *r, tpl_value v, tpl_dict *to) {
    if (v.kind != TPL_DICT)
        tpl_fail(r, KV_EINVAL, "'**' wants a dict, not %s", tpl_type(v));
    for (size_t i = 0; v.kind == TPL_DICT && i < v.d->n && !r->st; i++) {
        if (v.d->p[i].key.kind != TPL_STR)
            tpl_fail(r, KV_EINVAL, "'**' wants keys that are texts");
        tpl_dict_set(r, to, v.d->p[i].key, v.d->p[i].value);
    }
}

bool tpl_eval_args(tpl_run *r, const tpl_args *args, tpl_call *out) {
    *out = (tpl_call){0};
    if (!args)
        return !r->st;
    const tpl_list *many = args->many ? tpl_elements(r, tpl_eval(r, args->many)) : NULL;
    const size_t n = args->list.n, more = many ? many->n : 0;
    if (n + more && !(out->v = tpl_get(r, n + more, sizeof *out->v)))
        return false;
    for (size_t i = 0; i < n && !r->st; i++)
        out->v[i] = tpl_eval(r, args->list.v[i]);
    if (more && !r->st)
        memcpy(out->v + n, many->v, more * sizeof *many->v);
    out->n = n + more;
    if (!args->named.n && !args->dict)
        return !r->st;
    out->named = tpl_dict_new(r, TPL_DICT, args->named.n).d;
    for (size_t i = 0; i < args->named.n && !r->st; i++)
        add_named(r, args->named.v[i], out->named);
    if (args->dict)
        add_dict(r, tpl_eval(r, args->dict), out->named);
    return !r->st;
}

tpl_value tpl_invoke(tpl_run *r, tpl_value f, const tpl_call *call) {
    tpl_value out = TPL_UNDEFINED;
    if (!tpl_deeper(r))
        return out;
    if (f.kind == TPL_MACRO)
        out = r->above->call_macro(r, f.macro, call);
    else if (f.kind == TPL_FUNC)
        out = tpl_call_row(r, "function", f.func, TPL_NULL, call);
    else if (f.kind == TPL_METHOD)
        out = tpl_call_row(r, "method", f.method->row, f.method->self, call);
    else if (f.kind == TPL_LOOP)
        out = r->above->loop_again(r, f.loop, call);
    else if (f.kind == TPL_UNDEF && f.unsafe)
        tpl_fail(r, KV_EINVAL, "'%.*s' would change a value, or reach outside, which templates may not",
                 (int)(f.name->len < 64 ? f.name->len : 64), f.name->s);
    else if (f.kind == TPL_UNDEF && f.name)
        tpl_fail(r, KV_EINVAL, "'%.*s' is undefined: it cannot be called", (int)(f.name->len < 64 ? f.name->len : 64),
                 f.name->s);
    else
        tpl_fail(r, KV_EINVAL, "a value of type %s cannot be called", tpl_type(f));
    tpl_up(r);
    return out;
}

static tpl_value call(tpl_run *r, const tpl_node *n) {
    tpl_call args;
    const tpl_value f = tpl_eval(r, n->a);
    if (r->st || !tpl_eval_args(r, n->args, &args))
        return TPL_UNDEFINED;
    r->line = n->line;
    return tpl_invoke(r, f, &args);
}

tpl_value tpl_eval_filters(tpl_run *r, const tpl_node *n, tpl_value v) {
    tpl_call args;
    if (!n || !tpl_deeper(r))
        return v;
    if (n->a)
        v = tpl_eval_filters(r, n->a, v);
    tpl_up(r);
    return tpl_eval_args(r, n->args, &args) ? tpl_filter(r, n->name, v, &args) : TPL_UNDEFINED;
}

static tpl_value filter(tpl_run *r, const tpl_node *n) {
    tpl_call args;
    const tpl_value v = tpl_eval(r, n->a);
    if (r->st || !tpl_eval_args(r, n->args, &args))
        return TPL_UNDEFINED;
    r->line = n->line;
    return tpl_filter(r, n->name, v, &args);
}

static tpl_value test(tpl_run *r, const tpl_node *n) {
    tpl_call args;
    const tpl_value v = tpl_eval(r, n->a);
    if (r->st || !tpl_eval_args(r, n->args, &args))
        return TPL_UNDEFINED;
    r->line = n->line;
    return tpl_bool(tpl_test(r, n->name, v, &args));
}

/* ---- values ---- */

static tpl_value list(tpl_run *r, const tpl_node *n, tpl_form form) {
    const tpl_value out = tpl_list_new(r, form, n->list.n);
    for (size_t i = 0; i < out.l->n && !r->st; i++)
        out.l->v[i] = tpl_eval(r, n->list.v[i]);
    return out;
}

static tpl_value dict(tpl_run *r, const tpl_node *n) {
    const tpl_value out = tpl_dict_new(r, TPL_DICT, n->list.n / 2);
    for (size_t i = 0; i + 1 < n->list.n && !r->st; i += 2) {
        const tpl_value key = tpl_eval(r, n->list.v[i]);
        tpl_dict_set(r, out.d, key, tpl_eval(r, n->list.v[i + 1]));
    }
    return out;
}

static tpl_value name(tpl_run *r, const tpl_node *n) {
    tpl_value v = tpl_lookup(r, n->id);
    if (v.kind == TPL_UNDEF && !v.name && !v.unsafe)
        v.name = n->name;
    return v;
}

static tpl_value slice(tpl_run *r, const tpl_node *n) {
    const tpl_value v = tpl_eval(r, n->a);
    const tpl_value part[3] = {n->b ? tpl_eval(r, n->b) : TPL_NULL, n->c ? tpl_eval(r, n->c) : TPL_NULL,
                               n->d ? tpl_eval(r, n->d) : TPL_NULL};
    return r->st ? TPL_UNDEFINED : tpl_slice(r, v, part);
}

/* ---- operators ---- */

static bool holds(tpl_run *r, int op, tpl_value a, tpl_value b) {
    int order;
    switch (op) {
    case TPL_OP_IN:
    case TPL_OP_NOT_IN:
        return tpl_contains(r, b, a) == (op == TPL_OP_IN);
    case TPL_OP('=', '='):
    case TPL_OP('!', '='):
        return tpl_equal(r, a, b) == (op == TPL_OP('=', '='));
    case '<':
        return tpl_order(r, a, b, "<") < 0;
    case TPL_OP('<', '='):
        return tpl_order(r, a, b, "<=") <= 0;
    case '>':
        order = tpl_order(r, a, b, ">");
        return order > 0 && order != 2;
    default:
        order = tpl_order(r, a, b, ">=");
        return order >= 0 && order != 2;
    }
}

static tpl_value compare(tpl_run *r, const tpl_node *n) {
    tpl_value left = tpl_eval(r, n->a);
    bool yes = true;
    for (size_t i = 0; yes && i < n->list.n && !r->st; i++) {
        const tpl_value right = tpl_eval(r, n->list.v[i]->a);
        yes = !r->st && holds(r, n->list.v[i]->op, left, right);
        left = right;
    }
    return tpl_bool(yes);
}

static tpl_value concat(tpl_run *r, const tpl_node *n) {
    tpl_buf b = {.r = r};
    for (size_t i = 0; i < n->list.n && !r->st; i++)
        tpl_print(&b, tpl_eval(r, n->list.v[i]));
    return tpl_take(&b);
}

static tpl_value sign(tpl_run *r, const tpl_node *n) {
    const tpl_value v = tpl_eval(r, n->a);
    if (r->st || (n->op == '+' && tpl_is_number(v)))
        return tpl_is_whole(v) ? tpl_int(tpl_whole(v)) : v;
    return tpl_negate(r, v);
}

static tpl_value operate(tpl_run *r, const tpl_node *n) {
    const tpl_value a = tpl_eval(r, n->a), b = tpl_eval(r, n->b);
    r->line = r->st ? r->line : n->line;
    return r->st ? TPL_UNDEFINED : tpl_operate(r, n->op, a, b);
}

static tpl_value conditional(tpl_run *r, const tpl_node *n) {
    if (tpl_truth(tpl_eval(r, n->b)))
        return tpl_eval(r, n->a);
    return n->c ? tpl_eval(r, n->c) : TPL_UNDEFINED;
}

static tpl_value eval(tpl_run *r, const tpl_node *n) {
    tpl_value v;
    switch (n->kind) {
    case N_CONST:
        return n->value;
    case N_NAME:
        return name(r, n);
    case N_LIST:
    case N_TUPLE:
        return list(r, n, n->kind == N_LIST ? TPL_A_LIST : TPL_A_TUPLE);
    case N_DICT:
        return dict(r, n);
    case N_ATTR:
        v = tpl_eval(r, n->a);
        return r->st ? v : tpl_attr(r, v, n->name);
    case N_ITEM: {
        v = tpl_eval(r, n->a);
        const tpl_value key = tpl_eval(r, n->b);
        return r->st ? v : tpl_item(r, v, key);
    }
    case N_SLICE:
        return slice(r, n);
    case N_CALL:
        return call(r, n);
    case N_FILTER:
        return filter(r, n);
    case N_TEST:
        return test(r, n);
    case N_NOT:
        return tpl_bool(!tpl_truth(tpl_eval(r, n->a)));
    case N_SIGN:
        return sign(r, n);
    case N_OP:
        return operate(r, n);
    case N_AND:
    case N_OR:
        v = tpl_eval(r, n->a);
        return r->st || tpl_truth(v) == (n->kind == N_OR) ? v : tpl_eval(r, n->b);
    case N_CONCAT:
        return concat(r, n);
    case N_COMPARE:
        return compare(r, n);
    case N_COND:
        return conditional(r, n);
    default:
        return tpl_fail(r, KV_EFORMAT, "an expression that is none");
    }
}

tpl_value tpl_eval(tpl_run *r, const tpl_node *n) {
    if (!tpl_steps(r, 1) || !tpl_deeper(r))
        return TPL_UNDEFINED;
    r->line = n->line;
    const tpl_value v = eval(r, n);
    tpl_up(r);
    return r->st ? TPL_UNDEFINED : v;
}
