/* Text for documents that hide facts: kinds of documents, the facts that they may hold, filler and words. All of it is made up.
 *
 * Templates hold names in braces. {k}, {b} and {a} are what a fact is about, what leads there, and what is asked for; any other
 * name is a rule, of the style or of all (facts_words.c), and stands for one of its alternatives, which may hold braces in
 * turn.
 * "[this/that]" is one of the two, except in blocks, where brackets are brackets.
 */
#ifndef FACTS_TEXT_H
#define FACTS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FACTS_PIECE = 1024,
    FACTS_VALUE = 64,
    FACTS_WANTED = 256,
    FACTS_WORDINGS = 3,
    FACTS_SENTENCES = 24,
    FACTS_SUBJECTS = 12,
    FACTS_SEEN = 1024
};

typedef struct facts_rule {
    const char *name, *alternatives; /* with '|' between them */
} facts_rule;

/* Entries of a family differ in everything. One of them is asked for, the others are near misses.
 * One hop: `fact` says {a} of {k}, and `question` asks by {k}.
 * Two hops: `fact` says {b} of {k}, `second` says {a} of {k}, and `question` asks by {b}. */
typedef struct facts_family {
    const char *key, *bridge, *answer;                         /* kinds of values, see facts_draw_value; bridge NULL: one hop */
    const char *fact[FACTS_WORDINGS], *second[FACTS_WORDINGS]; /* in other words; NULL: no more */
    const char *question;
    const char *head, *second_head; /* of the tables that hold the rows; tables only */
} facts_family;

typedef struct facts_subject {
    const char *title; /* alternatives */
    const char *sentence[FACTS_SENTENCES];
} facts_subject;

typedef enum facts_layout {
    FACTS_PROSE,  /* facts are sentences of paragraphs */
    FACTS_BLOCKS, /* sentences and facts are blocks of lines */
    FACTS_TABLES, /* entries of a family are rows of a table between paragraphs */
    FACTS_TURNS   /* paragraphs are what somebody says, and so are facts */
} facts_layout;

typedef struct facts_style {
    const char *name, *summary;
    facts_layout layout;
    const char *opening, *heading; /* heading: of a section, {title} being that of its subject */
    unsigned sentences[2];         /* of a paragraph: least and most */
    unsigned paragraphs[2];        /* of a section, likewise */
    unsigned entries;              /* of a family */
    const facts_rule *rules;       /* ends with {0} */
    const facts_subject *subjects; /* ends with {0} */
    const facts_family *one, *two; /* of one hop and of two; end with {0} */
} facts_style;

enum { FACTS_REPORT, FACTS_MINUTES, FACTS_CODE, FACTS_TABLE, FACTS_DIALOGUE, FACTS_STYLES };
extern const facts_style facts_style_report, facts_style_minutes, facts_style_code, facts_style_table, facts_style_dialogue;
extern const facts_style *const facts_styles[FACTS_STYLES];

/* A value: as texts show it, and the answers that count as right, with '|' between them. */
typedef struct facts_value {
    char shown[FACTS_VALUE], wanted[FACTS_WANTED];
} facts_value;

/* Draw a value of a kind: person, amount, count, date, code, decimal, integer, or one of a rule's alternatives. */
void facts_draw_value(const facts_style *s, const char *kind, uint64_t *rng, facts_value *out);

/* Fill a template; values may be NULL. What does not fit is cut. */
typedef struct facts_slots {
    const char *k, *b, *a, *title;
} facts_slots;
void facts_expand(const facts_style *s, const char *text, const facts_slots *slots, uint64_t *rng, char out[FACTS_PIECE]);

/* How a piece of text stands behind what is before it. */
typedef enum facts_break { FACTS_SPACE, FACTS_PARAGRAPH, FACTS_HEADING } facts_break;

/* Where the filler is. Starts as {.style = ...}. */
typedef struct facts_filler {
    const facts_style *style;
    unsigned subject, section, sentences, paragraphs; /* what is left of the last two */
    uint32_t used[FACTS_SUBJECTS];                    /* sentences, as bits */
    uint64_t seen[FACTS_SEEN];                        /* hashes of the last texts, none of which is drawn again */
    unsigned n_seen;
} facts_filler;
/* The next sentence, block or heading. */
facts_break facts_draw_filler(facts_filler *f, uint64_t *rng, char out[FACTS_PIECE]);

#endif
