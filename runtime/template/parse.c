/* Tokens to trees: statements. */
#include "template/tree.h"

#include <string.h>

enum { DEEPEST = 200 }; /* brackets and statements inside each other */

static void want_end(tpl_parser *p) {
    char what[40];
    if (p->at->kind == T_BLOCK_END)
        p->at++;
    else
        tpl_syntax(p, "'%%}' is missing before %s", tpl_token_text(p->at, what));
}

/* ---- targets and parameters ---- */

static bool can_be_target(const tpl_node *n, bool spaces) {
    if (n->kind == N_NAME || (n->kind == N_SPACE && spaces))
        return true;
    bool can = n->kind == N_TUPLE;
    for (size_t i = 0; can && i < n->list.n; i++)
        can = can_be_target(n->list.v[i], spaces);
    return can;
}

tpl_node *tpl_parse_target(tpl_parser *p, bool spaces, const char *end) {
    tpl_node *n = tpl_parse_tuple(p, true, false, false, end);
    return !n || can_be_target(n, spaces) ? n : tpl_syntax(p, "what stands here cannot be assigned to");
}

tpl_node *tpl_parse_param(tpl_parser *p) {
    char what[40];
    if (p->at->kind != T_NAME)
        return tpl_syntax(p, "a name is missing before %s", tpl_token_text(p->at, what));
    tpl_node *n = tpl_node_new(p, N_NAME);
    if (n) {
        n->name = &p->at->text;
        n->id = tpl_name_id(p, n->name);
    }
    p->at++;
    return n;
}

static void signature(tpl_parser *p, tpl_node *macro) {
    tpl_want_op(p, '(');
    while (!p->r->st && !tpl_is_op(p, ')')) {
        tpl_node_add(p, macro, &macro->list, tpl_parse_param(p));
        if (tpl_skip_op(p, '='))
            tpl_node_add(p, macro, &macro->more, tpl_parse_expr(p));
        else if (macro->more.n)
            tpl_syntax(p, "a parameter without a default stands behind one with a default");
        if (!tpl_is_op(p, ')') && !tpl_want_op(p, ','))
            return;
    }
    tpl_want_op(p, ')');
}

/* ---- statements ---- */

/* What ends a body: words, separated by spaces. */
static bool is_any_word(const tpl_parser *p, const char *words) {
    while (*words) {
        const size_t len = strcspn(words, " ");
        if (p->at->kind == T_NAME && p->at->text.len == len && !memcmp(p->at->text.s, words, len))
            return true;
        words += len + (words[len] == ' ');
    }
    return false;
}

static void statement(tpl_parser *p, tpl_node *body);

/* Everything up to one of the words, which is left to be read; words NULL: up to the end. */
static tpl_node *parts(tpl_parser *p, const char *words) {
    tpl_node *body = tpl_node_new(p, N_BODY), *n;
    const uint32_t line = p->at->line;
    while (!p->r->st && p->at->kind != T_END) {
        const tpl_token *t = p->at++;
        if (t->kind == T_DATA) {
            if ((n = tpl_node_new(p, N_DATA)))
                n->value = (tpl_value){.kind = TPL_STR, .s = &t->text};
            tpl_node_add(p, body, &body->list, n);
        } else if (t->kind == T_PRINT) {
            if ((n = tpl_node_new(p, N_PRINT)))
                tpl_node_over(p, n, n->a = tpl_parse_tuple(p, false, true, false, NULL));
            char what[40];
            if (p->at->kind != T_PRINT_END)
                tpl_syntax(p, "'}}' is missing before %s", tpl_token_text(p->at, what));
            tpl_node_add(p, body, &body->list, n);
            p->at++;
        } else if (words && is_any_word(p, words))
            return body;
        else
            statement(p, body);
    }
    if (words && !p->r->st) {
        tpl_syntax(p, "a statement of line %u does not end: '%s' is missing", line,
                   strrchr(words, ' ') ? strrchr(words, ' ') + 1 : words);
    }
    return body;
}

/* The rest of a statement's mark and its body. */
static tpl_node *body_until(tpl_parser *p, const char *words) {
    tpl_skip_op(p, ':');
    want_end(p);
    if (p->depth >= DEEPEST)
        return tpl_syntax(p, "the limit of depth is reached: %d levels of brackets and statements", DEEPEST);
    p->depth++;
    tpl_node *body = parts(p, words);
    p->depth--;
    return body;
}

static tpl_node *set_d(tpl_parser *p, tpl_node *n, const char *end) {
    tpl_node_over(p, n, n->d = body_until(p, end));
    p->at += !p->r->st;
    return n;
}

static tpl_node *parse_if(tpl_parser *p, tpl_node *n) {
    do {
        tpl_node_add(p, n, &n->list, tpl_parse_tuple(p, false, false, false, NULL));
        tpl_node_add(p, n, &n->list, body_until(p, "elif else endif"));
    } while (tpl_skip_word(p, "elif"));
    if (tpl_skip_word(p, "else"))
        tpl_node_over(p, n, n->a = body_until(p, "endif"));
    p->at += !p->r->st;
    return n;
}

static tpl_node *parse_for(tpl_parser *p, tpl_node *n) {
    char what[40];
    tpl_node_over(p, n, n->a = tpl_parse_target(p, false, "in"));
    if (!tpl_skip_word(p, "in"))
        return tpl_syntax(p, "'in' is missing before %s", tpl_token_text(p->at, what));
    tpl_node_over(p, n, n->b = tpl_parse_tuple(p, false, false, false, "recursive"));
    if (tpl_skip_word(p, "if"))
        tpl_node_over(p, n, n->c = tpl_parse_expr(p));
    n->flag = tpl_skip_word(p, "recursive");
    p->loops++;
    tpl_node_over(p, n, n->d = body_until(p, "else endfor"));
    p->loops--;
    if (tpl_skip_word(p, "else"))
        tpl_node_add(p, n, &n->list, body_until(p, "endfor"));
    p->at += !p->r->st;
    return n;
}

static tpl_node *parse_set(tpl_parser *p, tpl_node *n) {
    tpl_node_over(p, n, n->a = tpl_parse_target(p, true, NULL));
    if (tpl_skip_op(p, '=')) {
        tpl_node_over(p, n, n->b = tpl_parse_tuple(p, false, true, false, NULL));
        return n;
    }
    n->kind = N_SET_BLOCK;
    tpl_node_over(p, n, n->b = tpl_parse_filters(p, NULL, false));
    return set_d(p, n, "endset");
}

/* A body that names and breaks of the outside do not belong to. */
static tpl_node *macro_body(tpl_parser *p, tpl_node *n, const char *end) {
    const unsigned loops = p->loops;
    if (p->n_macros == sizeof p->macro / sizeof *p->macro)
        return tpl_syntax(p, "the limit of depth is reached: too many macros inside each other");
    p->macro[p->n_macros++] = n;
    p->loops = 0;
    set_d(p, n, end);
    p->loops = loops;
    p->n_macros--;
    return n;
}

static tpl_node *parse_macro(tpl_parser *p, tpl_node *n) {
    const tpl_node *name = tpl_parse_param(p);
    if (!name)
        return NULL;
    n->name = name->name;
    n->id = name->id;
    signature(p, n);
    return macro_body(p, n, "endmacro");
}

static tpl_node *parse_call(tpl_parser *p, tpl_node *n) {
    static const tpl_str name = {.s = "caller", .len = 6};
    tpl_node *caller = tpl_node_new(p, N_MACRO);
    if (!caller)
        return NULL;
    caller->name = &name;
    if (tpl_is_op(p, '('))
        signature(p, caller);
    tpl_node_over(p, n, n->a = tpl_parse_expr(p));
    if (n->a && n->a->kind != N_CALL)
        return tpl_syntax(p, "'call' wants a call");
    tpl_node_over(p, n, n->b = macro_body(p, caller, "endcall"));
    return n;
}

static tpl_node *parse_filter(tpl_parser *p, tpl_node *n) {
    tpl_node_over(p, n, n->b = tpl_parse_filters(p, NULL, true));
    return set_d(p, n, "endfilter");
}

static tpl_node *parse_with(tpl_parser *p, tpl_node *n) {
    while (!p->r->st && p->at->kind != T_BLOCK_END) {
        if (n->list.n)
            tpl_want_op(p, ',');
        tpl_node_add(p, n, &n->list, tpl_parse_param(p));
        tpl_want_op(p, '=');
        tpl_node_add(p, n, &n->list, tpl_parse_expr(p));
    }
    return set_d(p, n, "endwith");
}

static tpl_node *parse_generation(tpl_parser *p, tpl_node *n) {
    return set_d(p, n, "endgeneration");
}

static tpl_node *parse_leave(tpl_parser *p, tpl_node *n) {
    return p->loops ? n : tpl_syntax(p, "'%s' outside of a loop", n->kind == N_BREAK ? "break" : "continue");
}

static tpl_node *parse_print(tpl_parser *p, tpl_node *n) {
    tpl_node_over(p, n, n->a = tpl_parse_expr(p));
    return n;
}

static const struct {
    const char *word;
    tpl_node_kind kind;
    tpl_node *(*parse)(tpl_parser *p, tpl_node *n); /* NULL: what is not supported */
} statements[] = {
    {"if", N_IF, parse_if},
    {"for", N_FOR, parse_for},
    {"set", N_SET, parse_set},
    {"macro", N_MACRO, parse_macro},
    {"call", N_CALL_BLOCK, parse_call},
    {"filter", N_FILTER_BLOCK, parse_filter},
    {"with", N_WITH, parse_with},
    {"generation", N_SCOPE, parse_generation},
    {"break", N_BREAK, parse_leave},
    {"continue", N_CONTINUE, parse_leave},
    {"print", N_PRINT, parse_print},
    {"extends", N_BODY, NULL},
    {"include", N_BODY, NULL},
    {"import", N_BODY, NULL},
    {"from", N_BODY, NULL},
    {"block", N_BODY, NULL},
    {"autoescape", N_BODY, NULL},
};

/* A statement, behind its mark. */
static void statement(tpl_parser *p, tpl_node *body) {
    char what[40];
    tpl_token_text(p->at, what);
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!tpl_is_word(p, statements[i].word))
            continue;
        if (!statements[i].parse) {
            p->r->line = p->at->line;
            tpl_fail(p->r, KV_EUNSUPP, "the statement %s is not supported", what);
            return;
        }
        tpl_node *n = tpl_node_new(p, statements[i].kind);
        p->at++;
        if (n)
            tpl_node_add(p, body, &body->list, statements[i].parse(p, n));
        if (!p->r->st)
            want_end(p);
        return;
    }
    tpl_syntax(p, "there is no statement %s here", what);
}

/* ---- names of filters and tests ---- */

static void check_names(tpl_parser *p, const tpl_node *n, bool soft);

static void check_list(tpl_parser *p, const tpl_nodes *list, bool soft) {
    for (size_t i = 0; i < list->n; i++)
        check_names(p, list->v[i], soft);
}

/* Filters and tests that do not exist are errors even where they are never reached, but for conditional parts: there templates
 * ask whether they exist. */
static void check_names(tpl_parser *p, const tpl_node *n, bool soft) {
    if (!n || p->r->st)
        return;
    if (n->kind == N_IF || n->kind == N_COND)
        soft = true;
    else if (n->kind == N_MACRO || n->kind == N_SCOPE || n->kind == N_FILTER_BLOCK || n->kind == N_SET_BLOCK ||
             n->kind == N_WITH)
        soft = false;
    p->r->line = n->line;
    if (!soft && n->kind == N_FILTER && !p->r->above->find(TPL_FILTERS, n->name))
        tpl_fail(p->r, KV_EFORMAT, "there is no filter '%.*s'", (int)(n->name->len < 64 ? n->name->len : 64), n->name->s);
    if (!soft && n->kind == N_TEST && !p->r->above->find(TPL_TESTS, n->name))
        tpl_fail(p->r, KV_EFORMAT, "there is no test '%.*s'", (int)(n->name->len < 64 ? n->name->len : 64), n->name->s);
    check_names(p, n->a, soft);
    check_names(p, n->b, soft);
    check_names(p, n->c, soft && n->kind != N_FOR);
    check_names(p, n->d, soft && n->kind != N_FOR);
    check_list(p, &n->list, soft);
    check_list(p, &n->more, soft);
    if (!n->args)
        return;
    check_list(p, &n->args->list, soft);
    check_list(p, &n->args->named, soft);
    check_names(p, n->args->many, soft);
    check_names(p, n->args->dict, soft);
}

tpl_node *tpl_parse(tpl_parser *p) {
    tpl_node *body = parts(p, NULL);
    check_names(p, body, false);
    return p->r->st ? NULL : body;
}
