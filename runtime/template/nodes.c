/* Nodes, and what both parsers ask of tokens. */
#include "template/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TALLEST = 500, MOST_NAMES = 2000 }; /* levels of an expression; different names of a template */

tpl_node *tpl_syntax(tpl_parser *p, const char *fmt, ...) {
    char said[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(said, sizeof said, fmt, ap);
    va_end(ap);
    p->r->line = p->at->line;
    tpl_fail(p->r, strstr(said, "limit of depth") ? KV_ERANGE : KV_EFORMAT, "%s", said);
    return NULL;
}

tpl_node *tpl_node_new(tpl_parser *p, tpl_node_kind kind) {
    tpl_node *n = p->r->st ? NULL : tpl_get(p->r, 1, sizeof *n);
    if (n) {
        n->kind = (uint8_t)kind;
        n->line = p->at->line;
    }
    return n;
}

void tpl_node_over(tpl_parser *p, tpl_node *n, const tpl_node *kid) {
    if (!n || !kid || n->height > kid->height)
        return;
    n->height = kid->height + 1;
    if (n->height > TALLEST)
        tpl_syntax(p, "the limit of depth is reached: an expression has more than %d levels", TALLEST);
}

void tpl_node_add(tpl_parser *p, tpl_node *to, tpl_nodes *list, tpl_node *kid) {
    if (!to || !kid || p->r->st)
        return;
    if (list->n == list->cap) {
        const size_t cap = 2 * list->cap + 4;
        tpl_node **v = tpl_get(p->r, cap, sizeof(tpl_node *));
        if (!v)
            return;
        if (list->n)
            memcpy(v, list->v, list->n * sizeof *v);
        list->v = v;
        list->cap = cap;
    }
    list->v[list->n++] = kid;
    tpl_node_over(p, to, kid);
}

/* Names are numbered; there are few. */
uint32_t tpl_name_id(tpl_parser *p, const tpl_str *name) {
    tpl *t = p->t;
    for (size_t i = 0; i < t->n_names; i++)
        if (t->name[i]->len == name->len && !memcmp(t->name[i]->s, name->s, name->len))
            return (uint32_t)i;
    if (t->n_names == MOST_NAMES) {
        p->r->line = p->at->line;
        tpl_fail(p->r, KV_ERANGE, "the limit of %d different names is reached", MOST_NAMES);
        return 0;
    }
    if (t->n_names == t->cap_names) {
        const size_t cap = 2 * t->cap_names + 64;
        const tpl_str **grown = tpl_get(p->r, cap, sizeof(tpl_str *));
        if (!grown)
            return 0;
        if (t->n_names)
            memcpy(grown, t->name, t->n_names * sizeof *grown);
        t->name = grown;
        t->cap_names = cap;
    }
    t->name[t->n_names] = name;
    return (uint32_t)t->n_names++;
}

const char *tpl_token_text(const tpl_token *t, char buf[40]) {
    static const char *const kinds[] = {[T_END] = "the end of the template",
                                        [T_DATA] = "text",
                                        [T_PRINT] = "'{{'",
                                        [T_PRINT_END] = "'}}'",
                                        [T_BLOCK] = "'{%'",
                                        [T_BLOCK_END] = "'%}'",
                                        [T_STR] = "a text",
                                        [T_INT] = "a number",
                                        [T_FLOAT] = "a number"};
    if (t->kind == T_NAME)
        snprintf(buf, 40, "'%.*s'", (int)(t->text.len < 32 ? t->text.len : 32), t->text.s);
    else if (t->kind == T_OP)
        snprintf(buf, 40, "'%c%s'", t->op & 0xFF, t->op >> 8 ? (char[]){(char)(t->op >> 8), '\0'} : "");
    else
        snprintf(buf, 40, "%s", kinds[t->kind]);
    return buf;
}

bool tpl_is_op(const tpl_parser *p, int op) {
    return p->at->kind == T_OP && p->at->op == op && !p->r->st;
}

bool tpl_is_word(const tpl_parser *p, const char *word) {
    return p->at->kind == T_NAME && tpl_str_is(&p->at->text, word) && !p->r->st;
}

bool tpl_skip_op(tpl_parser *p, int op) {
    const bool is = tpl_is_op(p, op);
    p->at += is;
    return is;
}

bool tpl_skip_word(tpl_parser *p, const char *word) {
    const bool is = tpl_is_word(p, word);
    p->at += is;
    return is;
}

bool tpl_want_op(tpl_parser *p, int op) {
    char what[40];
    if (tpl_skip_op(p, op))
        return true;
    tpl_syntax(p, "'%c' is missing before %s", op, tpl_token_text(p->at, what));
    return false;
}
