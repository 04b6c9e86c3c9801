/* Texts that end an answer. What may be the beginning of one is held back until it is certain. */
#ifndef SERVE_STOP_H
#define SERVE_STOP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sv_stop {
    char *const *texts; /* (n) none of them empty; borrowed */
    size_t n;
    char *held;
    size_t len, cap;
    size_t shown;      /* of what is held, by the last call */
    const char *found; /* the one that came; NULL: none */
} sv_stop;

/* More text. What of all of it can be shown is *show, *n bytes, borrowed until the next call. false: memory ran out. Once one
 * of the texts was found nothing more is shown. */
bool stop_push(sv_stop *s, const char *text, size_t len, const char **show, size_t *n);
/* The end of the answer: what was held back. */
void stop_end(sv_stop *s, const char **show, size_t *n);
void stop_free(sv_stop *s);

#endif
