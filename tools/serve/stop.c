#include "serve/stop.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Where the first of the texts begins; the longer one where two begin there. SIZE_MAX: none does. */
static size_t find(sv_stop *s) {
    size_t best = SIZE_MAX, best_len = 0;
    for (size_t i = 0; i < s->n; i++) {
        const size_t len = strlen(s->texts[i]);
        const char *at = len ? memmem(s->held, s->len, s->texts[i], len) : NULL;
        const size_t where = at ? (size_t)(at - s->held) : SIZE_MAX;
        if (where < best || (where == best && at && len > best_len)) {
            best = where;
            best_len = len;
            s->found = s->texts[i];
        }
    }
    return best;
}

/* How many bytes at the end may be the beginning of one. */
static size_t may_begin(const sv_stop *s) {
    size_t most = 0;
    for (size_t i = 0; i < s->n; i++) {
        const size_t len = strlen(s->texts[i]);
        for (size_t n = len - (len > 0) < s->len ? len - (len > 0) : s->len; n > most; n--)
            if (!memcmp(s->held + s->len - n, s->texts[i], n))
                most = n;
    }
    return most;
}

static bool hold(sv_stop *s, const char *text, size_t len) {
    if (s->cap - s->len < len) {
        const size_t cap = 2 * s->cap + len + 64;
        char *held = realloc(s->held, cap);
        if (!held)
            return false;
        s->held = held;
        s->cap = cap;
    }
    if (len)
        memcpy(s->held + s->len, text, len);
    s->len += len;
    return true;
}

bool stop_push(sv_stop *s, const char *text, size_t len, const char **show, size_t *n) {
    *show = "";
    *n = 0;
    if (s->found)
        return true;
    if (!s->n) {
        *show = text;
        *n = len;
        return true;
    }
    /* What the last call showed stands in front until now. */
    if (s->shown)
        memmove(s->held, s->held + s->shown, s->len - s->shown);
    s->len -= s->shown;
    s->shown = 0;
    if (!hold(s, text, len))
        return false;
    const size_t at = find(s);
    s->shown = at == SIZE_MAX ? s->len - may_begin(s) : at;
    *show = s->held ? s->held : "";
    *n = s->shown;
    return true;
}

void stop_end(sv_stop *s, const char **show, size_t *n) {
    const bool none = s->found || s->len == s->shown;
    *show = none ? "" : s->held + s->shown;
    *n = none ? 0 : s->len - s->shown;
    s->len = s->shown = 0;
}

void stop_free(sv_stop *s) {
    free(s->held);
    *s = (sv_stop){0};
}
