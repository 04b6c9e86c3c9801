/* Words for a needle in a haystack: facts to be found, and filler to hide them in. All of it is made up here.
 *
 * Answers, and what facts are about, share no word with the filler, and the filler holds no digit.
 */
#ifndef NIAH_TEXT_H
#define NIAH_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NIAH_SENTENCE = 256, NIAH_PRIME = 128, NIAH_ANSWER = 64, NIAH_KEY = 64 };

/* A kind of fact. In its texts, {key} is what the fact is about and {answer} what is asked for. */
typedef struct niah_template {
    const char *name, *summary;
    const char *fact, *question;
    const char *prime;   /* how the assistant's turn begins */
    unsigned others;     /* facts of the same kind about other things in the same haystack */
    const char *near[3]; /* near misses: about the same key, {answer} being another one; NULL: no more */
    int keys, answers;   /* where they are drawn from (niah_text.c) */
} niah_template;

enum { NIAH_TEMPLATES = 5 };
extern const niah_template niah_templates[NIAH_TEMPLATES];
int niah_template_by_name(const char *name); /* -1: unknown */

typedef struct niah_fact {
    char key[NIAH_KEY], answer[NIAH_ANSWER];
    char text[NIAH_SENTENCE], question[NIAH_SENTENCE], prime[NIAH_PRIME];
} niah_fact;

/* Write text, question and prime of a fact with its key and answer. */
void niah_write_fact(const niah_template *t, niah_fact *f);
/* Draw a fact. rng: state of splitmix64. */
void niah_draw_fact(const niah_template *t, uint64_t *rng, niah_fact *out);
/* A near miss to `fact`: text alone. */
void niah_draw_near(const niah_template *t, const niah_fact *fact, unsigned which, uint64_t *rng, niah_fact *out);

/* Where the filler is: a paragraph is a few sentences on one subject. Starts as {0}. */
typedef struct niah_filler {
    unsigned subject, left; /* sentences left of this paragraph */
    unsigned used;          /* sentences of this subject that the paragraph has used, as bits */
} niah_filler;
/* The next sentence. *begins: it begins a paragraph. */
void niah_draw_filler(niah_filler *f, uint64_t *rng, char out[NIAH_SENTENCE], bool *begins);

#endif
