/* Prompt lookup (Saxena 2023; n-grams of the prompt as drafts of speculative decoding, Leviathan et al. 2023, arXiv
 * 2211.17192): where the last few tokens stood before, what followed there is a guess of what follows now. A batch reads
 * guesses together with the token that is due; those that the sampler chooses as well are read already. What is said does not
 * depend on guesses, only how fast it is.
 */
#ifndef RT_LOOKUP_H
#define RT_LOOKUP_H

#include "session/session.h"

/* What followed the longest and then latest run of tokens, at least `least` of them, that ends as ids (n) end: up to `most` to
 * out. Returns how many. */
uint32_t rt_lookup(const int32_t *ids, size_t n, uint32_t least, uint32_t most, int32_t *out);

/* How many guesses pay, found out while they are made; starts as {0}. */
typedef struct rt_guesser {
    double plain;       /* seconds of a step without guesses, smoothed; 0: not known yet */
    double balance;     /* seconds won so far, older ones counting less */
    uint32_t width;     /* of the next guess */
    uint32_t rest, ban; /* steps to go without guesses, and how many after the next loss */
    uint32_t made;      /* guesses of the last step */
    uint64_t guessed, right;
} rt_guesser;

/* rt_session_read, with guesses where they seem to pay. */
kv_status rt_session_read_ahead(rt_session *s, rt_guesser *g, kv_err *err);
/* What became of the guesses of that: so many were right; to be called before the next. */
void rt_guesser_learn(rt_guesser *g, uint32_t right);

#endif
