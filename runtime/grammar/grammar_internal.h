/* Rules as automata, shared by the parser (grammar.c), the automata (automaton.c) and the matcher (matcher.c). */
#ifndef RT_GRAMMAR_INTERNAL_H
#define RT_GRAMMAR_INTERNAL_H

#include "grammar/grammar.h"

enum {
    GRAMMAR_MOST_STATES = 1 << 18, /* of all automata */
    GRAMMAR_MOST_RULES = 1 << 14,
    GRAMMAR_MOST_REPEATS = 4096, /* in {n,m} */
    GRAMMAR_MOST_DEPTH = 64      /* of brackets, and of rules inside rules */
};

/* From a state: without a byte, by a byte in lo .. hi, or by a whole text of a rule. */
typedef enum edge_kind { EDGE_EMPTY, EDGE_BYTES, EDGE_RULE } edge_kind;

typedef struct edge {
    uint8_t kind, lo, hi;
    uint32_t rule, to;
    uint32_t next; /* of the same state; 0: none. Edge 0 is none */
} edge;

typedef struct automata {
    uint32_t *first; /* (n_states) their first edges */
    edge *edges;
    uint32_t n_states, cap_states, n_edges, cap_edges;
    kv_status st; /* what went wrong; then nothing more is added */
} automata;

/* ---- automaton.c: all of these do nothing once st is set ---- */

uint32_t automata_state(automata *a);
void automata_edge(automata *a, uint32_t from, edge e);
void automata_empty(automata *a, uint32_t from, uint32_t to);
/* The characters lo .. hi as UTF-8, from one state to another. */
void automata_chars(automata *a, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi);

/* ---- a grammar that was compiled ---- */

struct grammar {
    automata a;
    uint32_t *start, *final; /* (n_rules) of those that are called; rule 0 is root */
    bool *nullable;          /* (n_rules) */
    uint32_t n_rules;
    bool *is_final;    /* (n_states) */
    uint32_t *rule_of; /* (n_states) whose final state it is */
};

#endif
