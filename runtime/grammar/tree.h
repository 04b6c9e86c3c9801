/* Rules as they were read: between the reader (read.c) and what makes automata of them (grammar.c). */
#ifndef RT_GRAMMAR_TREE_H
#define RT_GRAMMAR_TREE_H

#include "grammar/grammar_internal.h"

typedef enum node_kind { NODE_BYTES, NODE_CHARS, NODE_RULE, NODE_SEQ, NODE_ALT, NODE_REPEAT } node_kind;

enum { FOREVER = UINT32_MAX, NAME = 128 };

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

/* ---- read.c ---- */

/* All rules of p's text; p->st says how it went. */
void rules_read(parser *p);
void rules_fail(parser *p, kv_status st, const char *what); /* unless something failed already; names the line */
void rules_free(parser *p);

#endif
