/* Rules to automata. */
#include "grammar/tree.h"

#include <stdlib.h>

enum { INLINE_MOST = 512 /* states of a rule that several others use, so that each gets its own */ };

/* ---- which rules are called ---- */

static uint32_t sum(uint32_t a, uint32_t b) {
    return a + b < a || a + b > GRAMMAR_MOST_STATES ? GRAMMAR_MOST_STATES + 1 : a + b;
}

static void look_at(parser *p, uint32_t i);

/* States that a node takes; rules that come back to themselves are found on the way. */
static uint32_t size_of(parser *p, const node *n) {
    uint32_t size = 1;
    for (const node *c = n->child; c && !p->st; c = c->next)
        size = sum(size, size_of(p, c));
    if (n->kind == NODE_BYTES || n->kind == NODE_CHARS)
        return sum(size, n->kind == NODE_BYTES ? n->b : 4 * (n->b + 2));
    if (n->kind == NODE_REPEAT) {
        const uint64_t times = n->b == FOREVER ? n->a + 1 : n->b, all = times * size;
        return all > GRAMMAR_MOST_STATES ? GRAMMAR_MOST_STATES + 1 : (uint32_t)all;
    }
    if (n->kind == NODE_RULE) {
        look_at(p, n->a);
        const rule *r = &p->rules[n->a];
        return r->called ? 2 : sum(size, r->size);
    }
    return size;
}

static void look_at(parser *p, uint32_t i) {
    if (p->st || p->rules[i].done)
        return;
    if (p->rules[i].open) { /* back to itself */
        p->rules[i].called = true;
        return;
    }
    if (++p->depth > GRAMMAR_MOST_DEPTH) {
        rules_fail(p, KV_ERANGE, "rules are nested too deep");
        return;
    }
    p->rules[i].open = true;
    const uint32_t size = size_of(p, p->rules[i].body);
    rule *r = &p->rules[i];
    r->size = size;
    r->called |= size > INLINE_MOST && r->uses > 1;
    r->open = false;
    r->done = true;
    p->depth--;
}

static bool is_nullable(const parser *p, const node *n) {
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): every rule has a body */
    bool any = n->kind == NODE_SEQ || !n->child;
    switch (n->kind) {
    case NODE_BYTES:
        return !n->b;
    case NODE_CHARS:
        return false;
    case NODE_RULE:
        return p->rules[n->a].nullable;
    case NODE_REPEAT:
        return !n->a || is_nullable(p, n->child);
    default:
        for (const node *c = n->child; c; c = c->next)
            if (is_nullable(p, c) != any)
                return !any;
        return any;
    }
}

static void find_nullable(parser *p) {
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < p->n_rules; i++)
            if (!p->rules[i].nullable && is_nullable(p, p->rules[i].body))
                p->rules[i].nullable = more = true;
    }
}

/* ---- automata ---- */

static int by_low(const void *a, const void *b) {
    const range *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

static void compile_chars(parser *p, automata *a, const node *n, uint32_t from, uint32_t to) {
    range *r = n->b ? p->ranges + n->a : NULL;
    uint32_t next = 0;
    if (!n->negated) {
        for (uint32_t i = 0; i < n->b; i++)
            automata_chars(a, from, to, r[i].lo, r[i].hi);
        return;
    }
    if (r)
        qsort(r, n->b, sizeof *r, by_low);
    for (uint32_t i = 0; i < n->b; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): ranges there are, or none to look at */
        if (r[i].lo > next)
            automata_chars(a, from, to, next, r[i].lo - 1);
        next = r[i].hi + 1 > next ? r[i].hi + 1 : next;
    }
    if (next <= 0x10FFFF)
        automata_chars(a, from, to, next, 0x10FFFF);
}

static void compile(parser *p, automata *a, const node *n, uint32_t from, uint32_t to);

static void compile_repeat(parser *p, automata *a, const node *n, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < n->a && !a->st; i++) {
        const uint32_t next = automata_state(a);
        compile(p, a, n->child, from, next);
        from = next;
    }
    if (n->b == FOREVER) {
        const uint32_t loop = automata_state(a), back = automata_state(a);
        automata_empty(a, from, loop);
        compile(p, a, n->child, loop, back);
        automata_empty(a, back, loop);
        automata_empty(a, loop, to);
        return;
    }
    for (uint32_t i = n->a; i < n->b && !a->st; i++) {
        const uint32_t next = automata_state(a);
        automata_empty(a, from, to);
        compile(p, a, n->child, from, next);
        from = next;
    }
    automata_empty(a, from, to);
}

static void compile_sequence(parser *p, automata *a, const node *n, uint32_t from, uint32_t to) {
    for (const node *c = n->child; c && !a->st; c = c->next) {
        const uint32_t next = automata_state(a);
        compile(p, a, c, from, next);
        from = next;
    }
    automata_empty(a, from, to);
}

static void compile_bytes(parser *p, automata *a, const node *n, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < n->b; i++) {
        const uint32_t next = automata_state(a);
        const uint8_t c = (uint8_t)p->bytes[n->a + i];
        automata_edge(a, from, (edge){.kind = EDGE_BYTES, .lo = c, .hi = c, .to = next});
        from = next;
    }
    automata_empty(a, from, to);
}

static void compile(parser *p, automata *a, const node *n, uint32_t from, uint32_t to) {
    const rule *r;
    switch (n->kind) {
    case NODE_BYTES:
        compile_bytes(p, a, n, from, to);
        break;
    case NODE_CHARS:
        compile_chars(p, a, n, from, to);
        break;
    case NODE_SEQ:
        compile_sequence(p, a, n, from, to);
        break;
    case NODE_ALT:
        for (const node *c = n->child; c; c = c->next)
            compile(p, a, c, from, to);
        break;
    case NODE_REPEAT:
        compile_repeat(p, a, n, from, to);
        break;
    case NODE_RULE:
        r = &p->rules[n->a];
        if (r->called)
            automata_edge(a, from, (edge){.kind = EDGE_RULE, .rule = r->number, .to = to});
        else
            compile(p, a, r->body, from, to);
    }
}

static kv_status build(parser *p, grammar *g) {
    for (uint32_t i = 0; i < p->n_rules && !p->st; i++)
        look_at(p, i);
    if (p->st)
        return p->st;
    find_nullable(p);
    p->rules[0].called = true;
    for (uint32_t i = 0; i < p->n_rules; i++)
        if (p->rules[i].called)
            p->rules[i].number = g->n_rules++;
    g->start = calloc(g->n_rules, sizeof *g->start);
    g->final = calloc(g->n_rules, sizeof *g->final);
    g->nullable = calloc(g->n_rules, sizeof *g->nullable);
    if (!g->start || !g->final || !g->nullable)
        return KV_ENOMEM;
    for (uint32_t i = 0; i < p->n_rules && !g->a.st; i++) {
        const rule *r = &p->rules[i];
        if (!r->called)
            continue;
        g->start[r->number] = automata_state(&g->a);
        g->final[r->number] = automata_state(&g->a);
        g->nullable[r->number] = r->nullable;
        compile(p, &g->a, r->body, g->start[r->number], g->final[r->number]);
    }
    if (g->a.st)
        return g->a.st;
    g->is_final = calloc(g->a.n_states, sizeof *g->is_final);
    g->rule_of = calloc(g->a.n_states, sizeof *g->rule_of);
    if (!g->is_final || !g->rule_of)
        return KV_ENOMEM;
    for (uint32_t i = 0; i < g->n_rules; i++) {
        g->is_final[g->final[i]] = true;
        g->rule_of[g->final[i]] = i;
    }
    return KV_OK;
}

kv_status grammar_parse(const char *text, size_t len, const char *where, grammar **out, kv_err *err) {
    parser p = {.at = text, .end = text + len, .where = where, .line = 1, .err = err};
    grammar *g = calloc(1, sizeof *g);
    kv_status st;
    *out = NULL;
    if (!g)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", where);
    rules_read(&p);
    st = p.st ? p.st : build(&p, g);
    if (st && !p.st)
        kv_fail(err, st, st == KV_ENOMEM ? "%s: out of memory" : "%s: the grammar is too large", where);
    rules_free(&p);
    if (st)
        grammar_free(g);
    else
        *out = g;
    return st;
}

void grammar_free(grammar *g) {
    if (!g)
        return;
    free(g->a.first);
    free(g->a.edges);
    free(g->start);
    free(g->final);
    free(g->nullable);
    free(g->is_final);
    free(g->rule_of);
    free(g);
}
