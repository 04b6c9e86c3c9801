/* Statements: output, variables, loops, macros. */
#include "template/tree.h"

#include <string.h>

/* ---- variables ---- */

static void assign_to_space(tpl_run *r, const tpl_node *n, tpl_value v) {
    const tpl_value space = tpl_lookup(r, n->id);
    if (space.kind == TPL_SPACE)
        tpl_dict_set(r, space.d, n->value, v);
    else
        tpl_fail(r, KV_EINVAL, "'%.*s' is no namespace: its attributes cannot be set",
                 (int)(n->name->len < 64 ? n->name->len : 64), n->name->s);
}

static void assign(tpl_run *r, const tpl_node *target, tpl_value v) {
    if (target->kind == N_NAME) {
        tpl_assign(r, target->id, v);
        return;
    }
    if (target->kind == N_SPACE) {
        assign_to_space(r, target, v);
        return;
    }
    const tpl_list *l = tpl_elements(r, v);
    if (l->n != target->list.n)
        tpl_fail(r, KV_EINVAL, "%zu values cannot be taken apart into %zu names", l->n, target->list.n);
    for (size_t i = 0; i < l->n && !r->st; i++)
        assign(r, target->list.v[i], l->v[i]);
}

/* ---- bodies ---- */

static void exec_body(tpl_run *r, const tpl_node *n) {
    for (size_t i = 0; n && i < n->list.n && !r->st && !r->signal; i++)
        tpl_exec(r, n->list.v[i]);
}

/* A body with variables of its own. */
static void exec_inside(tpl_run *r, const tpl_node *body) {
    tpl_scope *outer = r->scope;
    if ((r->scope = tpl_scope_new(r, outer)))
        exec_body(r, body);
    r->scope = outer;
}

/* What a body would print, as a text. */
static tpl_value printed(tpl_run *r, const tpl_node *body) {
    tpl_buf b = {.r = r}, *out = r->out;
    r->out = &b;
    exec_inside(r, body);
    r->out = out;
    return tpl_take(&b);
}

static void exec_if(tpl_run *r, const tpl_node *n) {
    for (size_t i = 0; i + 1 < n->list.n && !r->st; i += 2)
        if (tpl_truth(tpl_eval(r, n->list.v[i]))) {
            exec_body(r, n->list.v[i + 1]);
            return;
        }
    exec_body(r, n->a);
}

/* ---- loops ---- */

struct tpl_loop {
    const tpl_node *node;
    tpl_scope *outer; /* where the loop stands */
    tpl_list *l;
    size_t at;  /* what follows begins here */
    bool all;   /* what follows meets the condition */
    bool ahead; /* next was found already */
    bool has_next;
    tpl_value before, now, next;
    size_t index; /* of now */
    uint32_t depth;
    tpl_value changed; /* what loop.changed() was given last */
};

/* Does the loop's condition hold for the value? */
static bool meets(tpl_run *r, const tpl_loop *loop, tpl_value v) {
    if (!loop->node->c)
        return true;
    tpl_scope *here = r->scope;
    bool yes = false;
    if ((r->scope = tpl_scope_new(r, loop->outer))) {
        assign(r, loop->node->a, v);
        yes = tpl_truth(tpl_eval(r, loop->node->c));
    }
    r->scope = here;
    return yes && !r->st;
}

/* Find the next value: only now, since a condition may ask for what the body has set. */
static bool look_ahead(tpl_run *r, tpl_loop *loop) {
    if (loop->ahead)
        return loop->has_next;
    loop->ahead = true;
    loop->has_next = false;
    while (loop->at < loop->l->n && !r->st && !loop->has_next) {
        loop->next = loop->l->v[loop->at++];
        loop->has_next = loop->all || meets(r, loop, loop->next);
    }
    return loop->has_next;
}

/* How many values there are, which all are looked for now. */
static size_t loop_length(tpl_run *r, tpl_loop *loop) {
    if (!loop->node->c)
        return loop->l->n;
    look_ahead(r, loop);
    if (!loop->all) {
        tpl_list *rest = tpl_list_new(r, TPL_A_LIST, loop->l->n - loop->at).l;
        size_t n = 0;
        for (; loop->at < loop->l->n && !r->st; loop->at++)
            if (meets(r, loop, loop->l->v[loop->at]))
                rest->v[n++] = loop->l->v[loop->at];
        rest->n = n;
        loop->l = rest;
        loop->at = 0;
        loop->all = true;
    }
    return loop->index + 1 + loop->has_next + (loop->l->n - loop->at);
}

static tpl_value loop_cycle(tpl_run *r, tpl_value self, const tpl_value *arg, const tpl_call *call) {
    (void)arg;
    return call->n ? call->v[self.loop->index % call->n] : tpl_fail(r, KV_EINVAL, "there is nothing to choose from");
}

static tpl_value loop_changed(tpl_run *r, tpl_value self, const tpl_value *arg, const tpl_call *call) {
    const tpl_value all = tpl_list_new(r, TPL_A_TUPLE, call->n);
    (void)arg;
    if (all.l->n)
        memcpy(all.l->v, call->v, call->n * sizeof *call->v);
    const bool same = self.loop->changed.kind == TPL_LIST && tpl_equal(r, self.loop->changed, all);
    self.loop->changed = all;
    return tpl_bool(!same);
}

static tpl_value loop_method(tpl_run *r, tpl_loop *l, bool changed) {
    static const tpl_row cycle = {"cycle", loop_cycle, NULL, 0}, change = {"changed", loop_changed, NULL, 0};
    tpl_method *m = tpl_get(r, 1, sizeof *m);
    if (!m)
        return TPL_UNDEFINED;
    *m = (tpl_method){{.kind = TPL_LOOP, .loop = l}, changed ? &change : &cycle};
    return (tpl_value){.kind = TPL_METHOD, .method = m};
}

tpl_value tpl_loop_attr(tpl_run *r, tpl_loop *l, const tpl_str *name) {
    static const char *const names[] = {"index",    "index0",   "first", "last",   "length", "revindex", "revindex0",
                                        "previtem", "nextitem", "depth", "depth0", "cycle",  "changed"};
    enum { INDEX, INDEX0, FIRST, LAST, LENGTH, REV, REV0, PREVIOUS, NEXT, DEPTH, DEPTH0, CYCLE, CHANGED };
    size_t i = 0;
    while (i < sizeof names / sizeof *names && !tpl_str_is(name, names[i]))
        i++;
    switch (i) {
    case INDEX:
    case INDEX0:
        return tpl_int((int64_t)l->index + (i == INDEX));
    case FIRST:
        return tpl_bool(!l->index);
    case LAST:
        return tpl_bool(!look_ahead(r, l));
    case LENGTH:
        return tpl_int((int64_t)loop_length(r, l));
    case REV:
    case REV0:
        return tpl_int((int64_t)(loop_length(r, l) - l->index) - (i == REV0));
    case PREVIOUS:
        return l->index ? l->before : TPL_UNDEFINED;
    case NEXT:
        return look_ahead(r, l) ? l->next : TPL_UNDEFINED;
    case DEPTH:
    case DEPTH0:
        return tpl_int((int64_t)l->depth + (i == DEPTH));
    case CYCLE:
    case CHANGED:
        return loop_method(r, l, i == CHANGED);
    default:
        return (tpl_value){.kind = TPL_UNDEF, .name = name};
    }
}

static void go_over(tpl_run *r, const tpl_node *n, tpl_value v, uint32_t depth) {
    tpl_scope *outer = r->scope;
    tpl_loop *loop = tpl_get(r, 1, sizeof *loop);
    if (!loop)
        return;
    *loop = (tpl_loop){.node = n, .outer = outer, .l = tpl_elements(r, v), .all = !n->c, .depth = depth};
    size_t count = 0;
    for (; !r->st && look_ahead(r, loop) && tpl_steps(r, 1); count++) {
        loop->before = loop->now;
        loop->now = loop->next;
        loop->index = count;
        loop->ahead = false;
        if (!(r->scope = tpl_scope_new(r, outer)))
            break;
        assign(r, n->a, loop->now);
        tpl_assign(r, TPL_ID_LOOP, (tpl_value){.kind = TPL_LOOP, .loop = loop});
        exec_body(r, n->d);
        r->scope = outer;
        const bool leaves = r->signal == TPL_BREAK;
        r->signal = TPL_GO_ON;
        if (leaves) {
            count++;
            break;
        }
    }
    r->scope = outer;
    if (!count && n->list.n && !r->st)
        exec_inside(r, n->list.v[0]);
}

tpl_value tpl_loop_again(tpl_run *r, const tpl_loop *l, const tpl_call *call) {
    tpl_buf b = {.r = r}, *out = r->out;
    tpl_scope *here = r->scope;
    if (!l->node->flag || call->n != 1)
        return tpl_fail(r, KV_EINVAL, "a loop can be called only if it is recursive, with what it goes over");
    r->out = &b;
    r->scope = l->outer;
    go_over(r, l->node, call->v[0], l->depth + 1);
    r->scope = here;
    r->out = out;
    return tpl_take(&b);
}

/* ---- macros ---- */

static tpl_value macro_new(tpl_run *r, const tpl_node *n) {
    tpl_macro *m = tpl_get(r, 1, sizeof *m);
    if (!m)
        return TPL_UNDEFINED;
    *m = (tpl_macro){n, r->scope};
    return (tpl_value){.kind = TPL_MACRO, .macro = m};
}

static bool is_param(const tpl_node *n, const tpl_str *name) {
    for (size_t i = 0; i < n->list.n; i++)
        if (n->list.v[i]->name->len == name->len && !memcmp(n->list.v[i]->name->s, name->s, name->len))
            return true;
    return false;
}

/* Named arguments that are no parameters: `caller`, and what goes to `kwargs`. */
static void bind_rest(tpl_run *r, const tpl_node *n, const tpl_dict *named) {
    const tpl_value rest = tpl_dict_new(r, TPL_DICT, named ? named->n : 0);
    tpl_value caller = TPL_UNDEFINED;
    for (size_t i = 0; named && i < named->n && !r->st; i++) {
        const tpl_str *name = named->p[i].key.s;
        if (is_param(n, name))
            continue;
        if (n->uses & TPL_USES_CALLER && tpl_str_is(name, "caller"))
            caller = named->p[i].value;
        else if (n->uses & TPL_USES_KWARGS)
            tpl_dict_set(r, rest.d, named->p[i].key, named->p[i].value);
        else
            tpl_fail(r, KV_EINVAL, "there is no parameter '%.*s'", (int)(name->len < 64 ? name->len : 64), name->s);
    }
    if (n->uses & TPL_USES_CALLER)
        tpl_assign(r, TPL_ID_CALLER, caller);
    if (n->uses & TPL_USES_KWARGS)
        tpl_assign(r, TPL_ID_KWARGS, rest);
}

static void bind_arguments(tpl_run *r, const tpl_node *n, const tpl_call *call) {
    const size_t n_params = n->list.n, n_plain = n_params - n->more.n;
    for (size_t i = 0; i < n_params && !r->st; i++) {
        const tpl_node *param = n->list.v[i];
        const tpl_value *named =
            call->named ? tpl_dict_find(r, call->named, (tpl_value){.kind = TPL_STR, .s = param->name}) : NULL;
        if (named && i < call->n)
            tpl_fail(r, KV_EINVAL, "the parameter '%.*s' is given twice", (int)(param->name->len < 64 ? param->name->len : 64),
                     param->name->s);
        tpl_assign(r, param->id,
                   i < call->n    ? call->v[i]
                   : named        ? *named
                   : i >= n_plain ? tpl_eval(r, n->more.v[i - n_plain])
                                  : (tpl_value){.kind = TPL_UNDEF, .name = param->name});
    }
    bind_rest(r, n, call->named);
    const size_t over = call->n > n_params ? call->n - n_params : 0;
    if (n->uses & TPL_USES_VARARGS) {
        const tpl_value rest = tpl_list_new(r, TPL_A_TUPLE, over);
        if (over && rest.l->n)
            memcpy(rest.l->v, call->v + n_params, over * sizeof *call->v);
        tpl_assign(r, TPL_ID_VARARGS, rest);
    } else if (over)
        tpl_fail(r, KV_EINVAL, "%zu arguments are given, but there are %zu parameters", call->n, n_params);
}

tpl_value tpl_call_macro(tpl_run *r, const tpl_macro *m, const tpl_call *call) {
    tpl_buf b = {.r = r}, *out = r->out;
    tpl_scope *here = r->scope;
    const uint32_t line = r->line;
    char name[48];
    const char *what = r->what, *who = r->who;
    const size_t len = m->node->name->len < sizeof name - 1 ? m->node->name->len : sizeof name - 1;
    memcpy(name, m->node->name->s, len);
    name[len] = '\0';
    r->what = "macro";
    r->who = name;
    r->scope = tpl_scope_new(r, m->scope);
    if (r->scope)
        bind_arguments(r, m->node, call);
    r->what = what;
    r->who = who;
    r->out = &b;
    if (!r->st)
        exec_body(r, m->node->d);
    r->out = out;
    r->scope = here;
    r->line = r->st ? r->line : line;
    return tpl_take(&b);
}

/* ---- the others ---- */

static void exec_call(tpl_run *r, const tpl_node *n) {
    static const tpl_str name = {.s = "caller", .len = 6};
    tpl_call call;
    const tpl_value f = tpl_eval(r, n->a->a);
    if (r->st || !tpl_eval_args(r, n->a->args, &call))
        return;
    if (!call.named)
        call.named = tpl_dict_new(r, TPL_DICT, 1).d;
    tpl_dict_set(r, call.named, (tpl_value){.kind = TPL_STR, .s = &name}, macro_new(r, n->b));
    tpl_print(r->out, tpl_invoke(r, f, &call));
}

static void exec_with(tpl_run *r, const tpl_node *n) {
    tpl_scope *outer = r->scope, *inner = tpl_scope_new(r, outer);
    for (size_t i = 0; inner && i + 1 < n->list.n && !r->st; i += 2) /* values know nothing of each other */
        tpl_bind(r, inner, n->list.v[i]->id, tpl_eval(r, n->list.v[i + 1]));
    r->scope = inner;
    if (!r->st)
        exec_body(r, n->d);
    r->scope = outer;
}

static void exec_set_block(tpl_run *r, const tpl_node *n) {
    const tpl_value v = printed(r, n->d);
    if (!r->st && !r->signal)
        assign(r, n->a, tpl_eval_filters(r, n->b, v));
}

void tpl_exec(tpl_run *r, const tpl_node *n) {
    if (!tpl_steps(r, 1) || !tpl_deeper(r))
        return;
    r->line = n->line;
    switch (n->kind) {
    case N_BODY:
        exec_body(r, n);
        break;
    case N_DATA:
        tpl_put_str(r->out, n->value.s);
        break;
    case N_PRINT:
        tpl_print(r->out, tpl_eval(r, n->a));
        break;
    case N_IF:
        exec_if(r, n);
        break;
    case N_FOR:
        go_over(r, n, tpl_eval(r, n->b), 0);
        break;
    case N_SET:
        assign(r, n->a, tpl_eval(r, n->b));
        break;
    case N_SET_BLOCK:
        exec_set_block(r, n);
        break;
    case N_MACRO:
        tpl_assign(r, n->id, macro_new(r, n));
        break;
    case N_CALL_BLOCK:
        exec_call(r, n);
        break;
    case N_FILTER_BLOCK:
        tpl_print(r->out, tpl_eval_filters(r, n->b, printed(r, n->d)));
        break;
    case N_WITH:
        exec_with(r, n);
        break;
    case N_SCOPE:
        exec_inside(r, n->d);
        break;
    case N_BREAK:
    case N_CONTINUE:
        r->signal = n->kind == N_BREAK ? TPL_BREAK : TPL_CONTINUE;
        break;
    default:
        tpl_fail(r, KV_EFORMAT, "a statement that is none");
    }
    tpl_up(r);
}
