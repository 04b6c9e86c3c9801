/* Words that were perhaps meant. */
#ifndef CLI_NEAR_H
#define CLI_NEAR_H

#include <stddef.h>
#include <stdint.h>

/* Keep candidate (NULL is none) in *best if it is a likelier reading of given than what was there. Start with *best_distance =
 * SIZE_MAX. */
void cli_consider(const char *given, const char *candidate, const char **best, size_t *best_distance);

#endif
