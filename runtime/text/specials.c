#include "text/specials.h"

#include <stdio.h>
#include <stdlib.h>

kv_status specials_find(const tok *t, const char *text, size_t len, specials *out, kv_err *err) {
    int32_t *ids = NULL;
    size_t n = 0, shown, plain;
    *out = (specials){0};
    kv_status st = tok_encode(t, text, len < SPECIALS_LOOK ? len : SPECIALS_LOOK, TOK_SPECIAL, &ids, &n, err);
    for (size_t i = 0; i < n && !st; i++) {
        /* Special tokens are those that show their text only to who asks for it. */
        const char *piece = tok_piece(t, ids[i], true, &shown);
        tok_piece(t, ids[i], false, &plain);
        if (shown && !plain && !out->n++)
            snprintf(out->first, sizeof out->first, "%.*s", (int)shown, piece);
    }
    free(ids);
    return st;
}
