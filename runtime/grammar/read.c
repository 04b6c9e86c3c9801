/* GBNF: text to a tree. */
#include "grammar/tree.h"

#include <stdlib.h>
#include <string.h>

/* ---- memory and errors ---- */

void rules_fail(parser *p, kv_status st, const char *what) {
    if (!p->st)
        p->st = kv_fail(p->err, st, "%s:%u: %s", p->where, p->line, what);
}

static bool room(parser *p, void **list, size_t *cap, size_t need, size_t size) {
    if (p->st || need <= *cap)
        return !p->st;
    void *grown = realloc(*list, 2 * need * size);
    if (!grown) {
        rules_fail(p, KV_ENOMEM, "out of memory");
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
        rules_fail(p, KV_ENOMEM, "out of memory");
        return NULL;
    }
    *n = (node){.kind = kind, .a = a, .b = b, .child = child};
    p->blocks[p->n_blocks++] = n;
    if (p->n_blocks > GRAMMAR_MOST_STATES)
        rules_fail(p, KV_ERANGE, "the grammar is too large");
    return n;
}

void rules_free(parser *p) {
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
            rules_fail(p, KV_EFORMAT, "an escape needs hexadecimal digits: \\xHH, \\uHHHH or \\UHHHHHHHH");
            return 0;
        }
        v = v * 16 + (uint32_t)d;
    }
    if (v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF))
        rules_fail(p, KV_EFORMAT, "an escape is no character");
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
        rules_fail(p, KV_EFORMAT,
                   "an unknown escape; \\n, \\r, \\t, \\\\, \\\", \\[, \\], \\xHH, \\uHHHH and \\UHHHHHHHH are known");
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
            rules_fail(p, KV_EFORMAT, "not UTF-8");
            return 0;
        }
        c = c << 6 | (s[i] & 0x3Fu);
    }
    if (!n || (size_t)n > left || c > 0x10FFFF || (n == 3 && (c < 0x800 || (c >= 0xD800 && c < 0xE000))) ||
        (n == 4 && c < 0x10000)) {
        rules_fail(p, KV_EFORMAT, "not UTF-8");
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
            rules_fail(p, KV_EFORMAT, "a string has no end");
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
            rules_fail(p, KV_EFORMAT, "a class [...] has no end");
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
            rules_fail(p, KV_EFORMAT, "a range of characters is the wrong way round");
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
        rules_fail(p, KV_ERANGE, len >= NAME ? "the name of a rule is too long" : "too many rules");
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
            rules_fail(p, KV_ERANGE, "brackets are nested too deep");
        p->at++;
        n = p->st ? NULL : alternatives(p, true);
        p->depth--;
        if (!p->st && (p->at >= p->end || *p->at != ')'))
            rules_fail(p, KV_EFORMAT, "a '(' has no ')'");
        p->at++;
        return n;
    }
    const size_t len = name_len(p);
    if (!len) {
        rules_fail(p, KV_EFORMAT,
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
        rules_fail(p, KV_EFORMAT, "a number is missing in {...}");
    for (; !p->st && p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        if ((n = n * 10 + (uint32_t)(*p->at - '0')) > GRAMMAR_MOST_REPEATS)
            rules_fail(p, KV_ERANGE, "more repetitions than are possible (4096)");
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
                rules_fail(p, KV_EFORMAT, "{...} holds a number, or two with a comma between, the smaller first");
            p->at++;
        }
        if (++times > GRAMMAR_MOST_DEPTH)
            rules_fail(p, KV_ERANGE, "too many repetitions of repetitions");
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
        rules_fail(p, KV_EFORMAT, "the name of a rule is missing");
        return;
    }
    const uint32_t i = rule_named(p, p->at, len);
    p->at += len;
    skip(p, false);
    if (!p->st && (p->end - p->at < 3 || memcmp(p->at, "::=", 3)))
        rules_fail(p, KV_EFORMAT, "'::=' is missing behind the name of a rule");
    if (!p->st && p->rules[i].body)
        rules_fail(p, KV_EFORMAT, "a rule is there twice");
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
        rules_fail(p, KV_EFORMAT, "a ')' has no '('");
}

void rules_read(parser *p) {
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
