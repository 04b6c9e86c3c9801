/* Grammars that answers must follow: GBNF, as llama.cpp's users write it, or made from a JSON schema (schema.h).
 *
 *     root  ::= "yes" | "no" ", because " reason
 *     reason ::= [A-Za-z ,]{3,80} "."                 # to the end of the line
 *
 * "text" with the escapes \n \r \t \\ \" \[ \] \xHH \uHHHH \UHHHHHHHH, [a-z] and [^a-z], . for any character, rules by name,
 * ( ), |, and * + ? {n} {n,} {n,m} behind any of these. Names are letters, digits, - and _. The answer follows `root`.
 *
 * A grammar is compiled to automata over bytes: rules that do not come back to themselves become part of those that use them,
 * the others are called. A matcher keeps for every byte of the text the states that it can be in, and where the rules began
 * that they belong to (Earley 1970): left and right recursion, empty rules and ambiguity are all fine, and going back is
 * dropping what came later.
 */
#ifndef RT_GRAMMAR_H
#define RT_GRAMMAR_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct grammar grammar; /* does not change: any number of matchers may use it */

/* KV_EFORMAT names line and what is wrong there; KV_ERANGE: it is too large; KV_ENOMEM. where: begins messages. *out: caller
 * frees with grammar_free. */
kv_status grammar_parse(const char *text, size_t len, const char *where, grammar **out, kv_err *err);
void grammar_free(grammar *g); /* NULL is fine */

/* ---- following one ---- */

typedef struct matcher matcher;
/* g is borrowed. Caller frees with matcher_free. KV_ENOMEM. */
kv_status matcher_new(const grammar *g, matcher **out, kv_err *err);
void matcher_free(matcher *m); /* NULL is fine */

size_t matcher_len(const matcher *m);      /* bytes taken */
void matcher_back(matcher *m, size_t len); /* drop all but so many */
/* Take n more bytes. false: the text cannot go on so, and nothing is taken; or *st is set: KV_ENOMEM, KV_ERANGE (the answer is
 * too long to be followed, or can be read in too many ways). */
bool matcher_take(matcher *m, const char *bytes, size_t n, kv_status *st);
bool matcher_may_end(const matcher *m);  /* what was taken is a whole text of the grammar */
bool matcher_must_end(const matcher *m); /* and nothing can follow it */

#endif
