/* A document that is being built: between facts_doc.c, which puts it together, and facts_draw.c, which draws its parts. */
#ifndef FACTS_BUILD_H
#define FACTS_BUILD_H

#include "measure/facts.h"

enum { FACTS_MOST_FACTS = 64, FACTS_MOST_VALUES = 3 * FACTS_MOST_QUESTIONS };

typedef struct facts_piece {
    char *text;
    facts_break brk;
    size_t tokens;
} facts_piece;

/* A fact, or a table of them. */
typedef struct facts_placed {
    char *text;
    size_t before; /* goes in front of this piece */
    unsigned hop;  /* 0 or 1 */
    struct facts_part {
        size_t question; /* that needs it */
        size_t at, len;  /* where in the text that fact is */
    } part[FACTS_MOST_ENTRIES];
    size_t n_parts;
} facts_placed;

typedef struct facts_builder {
    const facts_style *style;
    const ask_frame *frame;
    const facts_source *source;
    uint64_t seed, rng;
    bool near_misses; /* are asked for, too */
    facts_filler filler;
    size_t paragraph, in_paragraph; /* of the source: which, and how much of it was taken */
    bool begun;                     /* to take from it */
    facts_piece *piece;
    size_t n, cap;
    facts_placed fact[FACTS_MOST_FACTS];
    size_t n_facts;
    facts_value used[FACTS_MOST_VALUES]; /* all values of the document, each unlike the others */
    size_t n_used;
} facts_builder;

/* Entries of the i-th family of a document. The last, which takes two hops, has no near miss outside tables: small models would
 * hardly answer any. */
size_t facts_entries(const facts_style *s, size_t i_family);
/* Draw the facts and their questions. *good is false where words ran out: draw with another seed. */
kv_status facts_draw(facts_builder *b, facts_doc *d, bool *good, kv_err *err);

/* The next piece of filler: of the style's own, or of the source. */
facts_break facts_next_filler(facts_builder *b, char out[FACTS_PIECE]);

#endif
