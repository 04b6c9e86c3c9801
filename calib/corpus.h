/* The calibration text embedded in the binary: what kvcalib reads when no --text is given.
 * Written for this project; UTF-8; many domains in turn (encyclopedic articles the largest share, then code, dialogue, stories,
 * manuals, news, mathematics, tables, letters, other languages). The texts lie in calib/corpus/fit/ and calib/corpus/heldout/,
 * are joined in the order of their names with one blank line between them, and are embedded by calib/corpus/embed.cmake.
 *
 * The domains alternate from file to file, but each file is one domain: who needs only part of the text should take pieces
 * spread over its whole length, not its beginning.
 */
#ifndef CAL_CORPUS_H
#define CAL_CORPUS_H

#include <stddef.h>

/* For fitting (about 100 KB). Borrowed, static; NUL-terminated; *len (if len is not NULL) counts the bytes without the NUL. */
const char *cal_corpus_fit(size_t *len);
/* For measuring (about 20 KB): the same domains, no text in common with the one above. Otherwise as above. */
const char *cal_corpus_heldout(size_t *len);
/* Text i of those that ask for what they said: a passage full of names and numbers, a line CAL_CORPUS_ASKS, and questions with
 * answers in words of the passage. Between the two halves a calibration puts other text, so that heads fetch from far (a
 * calibration on running text alone sees little of that). NULL: there are no more. Borrowed, static. */
const char *cal_corpus_recall(size_t i);
#define CAL_CORPUS_ASKS "\n----\n"

#endif
