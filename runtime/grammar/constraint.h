/* Tokens that a grammar lets an answer go on with.
 *
 * The sampler chooses first, as if there were no grammar; a token that the text cannot go on with is refused, and the sampler
 * chooses once more from those that it can. So what is chosen is distributed as if all others had been impossible from the
 * start, and the whole vocabulary is looked at only where the model wants something else: in the order of the tokens' bytes, so
 * that what begins alike is followed once, and what cannot begin so is passed over together.
 */
#ifndef RT_CONSTRAINT_H
#define RT_CONSTRAINT_H

#include "grammar/grammar.h"
#include "text/tok.h"

typedef struct constraint constraint;

/* g and t are borrowed. Caller frees with constraint_free. KV_ENOMEM. */
kv_status constraint_new(const grammar *g, const tok *t, constraint **out, kv_err *err);
void constraint_free(constraint *c); /* NULL is fine */

/* Whether the answer can go on with a token; one that ends answers: whether it can end here. Special tokens without a text of
 * their own are never part of an answer. *st as of matcher_take. */
bool constraint_allows(constraint *c, int32_t id, kv_status *st);
/* logits (n_vocab): -INFINITY for all that the answer cannot go on with. KV_ERANGE: nothing is left, or it is too long;
 * KV_ENOMEM. */
kv_status constraint_mask(constraint *c, float *logits, kv_err *err);
/* The token was said: one that is allowed. KV_EINVAL: it is not. */
kv_status constraint_take(constraint *c, int32_t id, kv_err *err);
bool constraint_is_over(const constraint *c); /* the answer is whole, and can only end here */
void constraint_restart(constraint *c);

#endif
