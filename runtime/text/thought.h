/* What stands around a thought, by the habits of the models that think. */
#ifndef RT_THOUGHT_H
#define RT_THOUGHT_H

#include "text/tok.h"

typedef struct thought_marks {
    const char *open, *close;
} thought_marks;

extern const thought_marks thought_marks_all[]; /* ends with a row of NULL */

/* What a token adds to the text of an answer: as tok_piece without special tokens, but those that are marks of thoughts are
 * spelled out: without them nobody could tell thoughts from answers. */
const char *thought_piece(const tok *t, int32_t id, size_t *len);

#endif
