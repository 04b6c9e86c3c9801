/* Pieces of a text that are special tokens of the model, such as "<|im_start|>": read plainly they are other tokens, so whoever
 * reads texts from outside wants to know of them. */
#ifndef RT_SPECIALS_H
#define RT_SPECIALS_H

#include "text/tok.h"

enum { SPECIALS_LOOK = 1 << 20, SPECIALS_NAME = 48 };

typedef struct specials {
    size_t n;                  /* how many stand in the first SPECIALS_LOOK bytes */
    char first[SPECIALS_NAME]; /* the text of one; cut where it is long */
} specials;

/* KV_ENOMEM. */
kv_status specials_find(const tok *t, const char *text, size_t len, specials *out, kv_err *err);

#endif
