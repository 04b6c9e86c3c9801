/* GBNF: text to a tree, rules to automata. */
#include "grammar/grammar_internal.h"

#include <stdlib.h>
#include <string.h>

typedef enum node_kind { NODE_BYTES, NODE_CHARS, NODE_RULE, NODE_SEQ, NODE_ALT, NODE_REPEAT } node_kind;

enum { FOREVER = UINT32_MAX, NAME = 128, INLINE_MOST = 512 };

/* Children of sequences and alternatives are linked by next. */
typedef struct node {
    node_kind kind;
    uint32_t a, b; /* bytes: where and how many; chars: ranges, from and how many; rule: which; repeat: least and most */
    struct node *child, *next;
    bool negated;
} node;

typedef struct rule {
    char name[NAME];
    node *body; /* NULL: used, and not defined so far */
    unsigned line;
    uint32_t uses, size; /* size: states, with rules inside */
    bool called, nullable, done, open;
    uint32_t number; /* of those that are called */
} rule;

typedef struct range {
    uint32_t lo, hi;
} range;

typedef struct parser {
    const char *at, *end, *where;
    unsigned line;
    kv_err *err;
    kv_status st;
    unsigned depth;
    node **blocks; /* all nodes, to be freed */
    size_t n_blocks, cap_blocks;
    rule *rules;
    uint32_t n_rules, cap_rules;
    char *bytes;
    size_t n_bytes, cap_bytes;
    range *ranges;
    size_t n_ranges, cap_ranges;
} parser;

/* ---- memory and errors ---- */

static void fail(parser *p, kv_status st, const char *what) {
    if (!p->st)
        p->st = kv_fail(p->err, st, "%s:%u: %s", p->where, p->line, what);
}

static bool room(parser *p, void **list, size_t *cap, size_t need, size_t size) {
    if (p->st || need <= *cap)
        return !p->st;
    void *grown = realloc(*list, 2 * need * size);
    if (!grown) {
        fail(p, KV_ENOMEM, "out of memory");
        return false;
    }
    *list = grown;
    *cap = 2 * need;
    return true;
}

static node *new_node(parser *p, node_kind kind, uint32_t a, uint32_t b, node *child) {
    if (!room(p, (void **)&p->blocks, &p->cap_blocks, p->n_blocks + 1, sizeof *p->blocks))
        return NULL;
    node *n = malloc(sizeof *n);
    if (!n) {
        fail(p, KV_ENOMEM, "out of memory");
        return NULL;
    }
    *n = (node){.kind = kind, .a = a, .b = b, .child = child};
    p->blocks[p->n_blocks++] = n;
    if (p->n_blocks > GRAMMAR_MOST_STATES)
        fail(p, KV_ERANGE, "the grammar is too large");
    return n;
}

static void parser_free(parser *p) {
    for (size_t i = 0; i < p->n_blocks; i++)
        free(p->blocks[i]);
    free(p->blocks);
    free(p->rules);
    free(p->bytes);
    free(p->ranges);
}

/* ---- words ---- */

static bool is_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* White space and comments; lines end a rule, but inside of brackets. */
static void skip(parser *p, bool lines) {
    for (; p->at < p->end; p->at++) {
        if (*p->at == '#') {
            while (p->at < p->end && *p->at != '\n')
                p->at++;
            p->at--;
        } else if (*p->at == '\n') {
            if (!lines)
                return;
            p->line++;
        } else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\r') {
            return;
        }
    }
}

static uint32_t hex(parser *p, int digits) {
    uint32_t v = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        const char c = p->at < p->end ? *p->at : '\0';
        const int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0) {
            fail(p, KV_EFORMAT, "an escape needs hexadecimal digits: \\xHH, \\uHHHH or \\UHHHHHHHH");
            return 0;
        }
        v = v * 16 + (uint32_t)d;
    }
    if (v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF))
        fail(p, KV_EFORMAT, "an escape is no character");
    return v;
}

static uint32_t escaped(parser *p) {
    static const char from[] = "nrt\\\"[]-^", to[] = "\n\r\t\\\"[]-^";
    const char c = ++p->at < p->end ? *p->at : '\0';
    const char *known = c ? strchr(from, c) : NULL;
    if (c == 'x' || c == 'u' || c == 'U') {
        p->at++;
        return hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    }
    if (!known) {
        fail(p, KV_EFORMAT, "an unknown escape; \\n, \\r, \\t, \\\\, \\\", \\[, \\], \\xHH, \\uHHHH and \\UHHHHHHHH are known");
        return 0;
    }
    p->at++;
    return (unsigned char)to[known - from];
}

/* The next character of a string or class, escapes read. */
static uint32_t character(parser *p) {
    const unsigned char *s = (const unsigned char *)p->at;
    const size_t left = (size_t)(p->end - p->at);
    if (*s == '\\')
        return escaped(p);
    const int n = *s < 0x80 ? 1 : *s < 0xC2 ? 0 : *s < 0xE0 ? 2 : *s < 0xF0 ? 3 : *s < 0xF5 ? 4 : 0;
    uint32_t c = n == 1 ? *s : n == 2 ? *s & 0x1Fu : n == 3 ? *s & 0x0Fu : *s & 0x07u;
    for (int i = 1; i < n && (size_t)n <= left; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            fail(p, KV_EFORMAT, "not UTF-8");
            return 0;
        }
        c = c << 6 | (s[i] & 0x3Fu);
    }
    if (!n || (size_t)n > left || c > 0x10FFFF || (n == 3 && (c < 0x800 || (c >= 0xD800 && c < 0xE000))) ||
        (n == 4 && c < 0x10000)) {
        fail(p, KV_EFORMAT, "not UTF-8");
        return 0;
    }
    if (c == '\n')
        p->line++;
    p->at += n;
    return c;
}

static size_t put_utf8(uint32_t c, char out[4]) {
    const int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (int i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(n == 1 ? c : lead[n] | c);
    return (size_t)n;
}

static node *string(parser *p) {
    const size_t from = p->n_bytes;
    for (p->at++; !p->st;) {
        if (p->at >= p->end || *p->at == '\n') {
            fail(p, KV_EFORMAT, "a string has no end");
            return NULL;
        }
        if (*p->at == '"')
            break;
        const uint32_t c = character(p);
        if (!room(p, (void **)&p->bytes, &p->cap_bytes, p->n_bytes + 4, 1))
            return NULL;
        p->n_bytes += put_utf8(c, p->bytes + p->n_bytes);
    }
    p->at++;
    return new_node(p, NODE_BYTES, (uint32_t)from, (uint32_t)(p->n_bytes - from), NULL);
}

static void add_range(parser *p, uint32_t lo, uint32_t hi) {
    if (room(p, (void **)&p->ranges, &p->cap_ranges, p->n_ranges + 1, sizeof *p->ranges))
        p->ranges[p->n_ranges++] = (range){lo, hi};
}

static node *class(parser *p) {
    const size_t from = p->n_ranges;
    bool negated = false;
    p->at++;
    if (p->at < p->end && *p->at == '^') {
        negated = true;
        p->at++;
    }
    while (!p->st) {
        if (p->at >= p->end || *p->at == '\n') {
            fail(p, KV_EFORMAT, "a class [...] has no end");
            return NULL;
        }
        if (*p->at == ']')
            break;
        const uint32_t lo = character(p);
        uint32_t hi = lo;
        if (p->end - p->at > 1 && *p->at == '-' && p->at[1] != ']') {
            p->at++;
            hi = character(p);
        }
        if (hi < lo)
            fail(p, KV_EFORMAT, "a range of characters is the wrong way round");
        add_range(p, lo, hi);
    }
    p->at++;
    node *n = new_node(p, NODE_CHARS, (uint32_t)from, (uint32_t)(p->n_ranges - from), NULL);
    if (n)
        n->negated = negated;
    return n;
}

static uint32_t rule_named(parser *p, const char *name, size_t len) {
    for (uint32_t i = 0; i < p->n_rules; i++)
        if (strlen(p->rules[i].name) == len && !memcmp(p->rules[i].name, name, len))
            return i;
    size_t cap = p->cap_rules;
    if (len >= NAME || p->n_rules >= GRAMMAR_MOST_RULES) {
        fail(p, KV_ERANGE, len >= NAME ? "the name of a rule is too long" : "too many rules");
        return 0;
    }
    if (!room(p, (void **)&p->rules, &cap, p->n_rules + 1, sizeof *p->rules))
        return 0;
    p->cap_rules = (uint32_t)cap;
    rule *r = &p->rules[p->n_rules];
    *r = (rule){.line = p->line};
    memcpy(r->name, name, len);
    return p->n_rules++;
}

static size_t name_len(const parser *p) {
    size_t n = 0;
    while (p->at + n < p->end && is_name(p->at[n]))
        n++;
    return n;
}

/* ---- expressions ---- */

static node *alternatives(parser *p, bool nested);

static node *primary(parser *p, bool nested) {
    node *n = NULL;
    if (*p->at == '"')
        return string(p);
    if (*p->at == '[')
        return class(p);
    if (*p->at == '.') {
        p->at++;
        n = new_node(p, NODE_CHARS, (uint32_t)p->n_ranges, 0, NULL);
        if (n)
            n->negated = true; /* all but none */
        return n;
    }
    if (*p->at == '(') {
        if (++p->depth > GRAMMAR_MOST_DEPTH)
            fail(p, KV_ERANGE, "brackets are nested too deep");
        p->at++;
        n = p->st ? NULL : alternatives(p, true);
        p->depth--;
        if (!p->st && (p->at >= p->end || *p->at != ')'))
            fail(p, KV_EFORMAT, "a '(' has no ')'");
        p->at++;
        return n;
    }
    const size_t len = name_len(p);
    if (!len) {
        fail(p, KV_EFORMAT,
             nested ? "a string, a class, a rule or '(' is missing"
                    : "a rule is missing, or a character that means nothing here");
        return NULL;
    }
    const uint32_t i = rule_named(p, p->at, len);
    p->at += len;
    if (!p->st)
        p->rules[i].uses++;
    return new_node(p, NODE_RULE, i, 0, NULL);
}

static uint32_t number(parser *p) {
    uint32_t n = 0;
    if (p->at >= p->end || *p->at < '0' || *p->at > '9')
        fail(p, KV_EFORMAT, "a number is missing in {...}");
    for (; !p->st && p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if ((n = n * 10 + (uint32_t)(*p->at - '0')) > GRAMMAR_MOST_REPEATS)
            fail(p, KV_ERANGE, "more repetitions than are possible (4096)");
    return n;
}

/* * + ? {n} {n,} {n,m}, several of them too. */
static node *repeated(parser *p, node *n) {
    unsigned times = 0;
    while (!p->st && p->at < p->end && *p->at && strchr("*+?{", *p->at)) {
        uint32_t least = *p->at == '+', most = *p->at == '?' ? 1 : FOREVER;
        if (*p->at++ == '{') {
            least = most = number(p);
            if (p->at < p->end && *p->at == ',') {
                p->at++;
                most = p->at < p->end && *p->at == '}' ? FOREVER : number(p);
            }
            if (!p->st && (p->at >= p->end || *p->at != '}' || most < least))
                fail(p, KV_EFORMAT, "{...} holds a number, or two with a comma between, the smaller first");
            p->at++;
        }
        if (++times > GRAMMAR_MOST_DEPTH)
            fail(p, KV_ERANGE, "too many repetitions of repetitions");
        n = new_node(p, NODE_REPEAT, least, most, n);
    }
    return n;
}

static node *sequence(parser *p, bool nested) {
    node *first = NULL, **last = &first;
    for (;;) {
        skip(p, nested);
        if (p->st || p->at >= p->end || *p->at == '|' || *p->at == ')' || *p->at == '\n')
            break;
        /* the name of the next rule ends this one, where lines do not */
        node *n = repeated(p, primary(p, nested));
        if (p->st)
            break;
        *last = n;
        last = &n->next;
    }
    return new_node(p, NODE_SEQ, 0, 0, first);
}

static node *alternatives(parser *p, bool nested) {
    node *first = NULL, **last = &first;
    for (;;) {
        node *n = sequence(p, nested);
        if (p->st)
            return NULL;
        *last = n;
        last = &n->next;
        if (p->at < p->end && *p->at == '|') {
            p->at++;
            skip(p, true); /* a line may end behind it */
            continue;
        }
        /* or the next one begins with it */
        const char *at = p->at;
        const unsigned line = p->line;
        skip(p, true);
        if (p->at < p->end && *p->at == '|') {
            p->at++;
            skip(p, true);
            continue;
        }
        if (!nested) {
            p->at = at;
            p->line = line;
        }
        return new_node(p, NODE_ALT, 0, 0, first);
    }
}

static void one_rule(parser *p) {
    const size_t len = name_len(p);
    if (!len) {
        fail(p, KV_EFORMAT, "the name of a rule is missing");
        return;
    }
    const uint32_t i = rule_named(p, p->at, len);
    p->at += len;
    skip(p, false);
    if (!p->st && (p->end - p->at < 3 || memcmp(p->at, "::=", 3)))
        fail(p, KV_EFORMAT, "'::=' is missing behind the name of a rule");
    if (!p->st && p->rules[i].body)
        fail(p, KV_EFORMAT, "a rule is there twice");
    if (p->st)
        return;
    p->at += 3;
    const unsigned line = p->line;
    skip(p, true);
    node *body = alternatives(p, false);
    if (p->st)
        return;
    p->rules[i].body = body;
    p->rules[i].line = line;
    if (p->at < p->end && *p->at == ')')
        fail(p, KV_EFORMAT, "a ')' has no '('");
}

static void all_rules(parser *p) {
    rule_named(p, "root", 4);
    for (skip(p, true); !p->st && p->at < p->end; skip(p, true))
        one_rule(p);
    for (uint32_t i = 0; i < p->n_rules && !p->st; i++)
        if (!p->rules[i].body) {
            p->line = p->rules[i].line;
            p->st = i ? kv_fail(p->err, KV_EFORMAT, "%s:%u: the rule '%s' is used, and is nowhere", p->where, p->line,
                                p->rules[i].name)
                      : kv_fail(p->err, KV_EFORMAT, "%s: there is no rule 'root', which an answer follows", p->where);
        }
}

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
        fail(p, KV_ERANGE, "rules are nested too deep");
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
    all_rules(&p);
    st = p.st ? p.st : build(&p, g);
    if (st && !p.st)
        kv_fail(err, st, st == KV_ENOMEM ? "%s: out of memory" : "%s: the grammar is too large", where);
    parser_free(&p);
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
