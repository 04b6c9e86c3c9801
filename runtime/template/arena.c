#include "template/tpl_internal.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64 << 10, ALIGN = 16 };

struct tpl_chunk {
    tpl_chunk *before;
    size_t used, size; /* of the bytes behind this */
};
_Static_assert(sizeof(tpl_chunk) <= 2 * ALIGN, "a chunk's head takes two units");

static char *bytes_of(tpl_chunk *c) {
    return (char *)c + 2 * ALIGN;
}

static size_t rounded(size_t n) {
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

/* Counts what is given out; false: too much. */
static bool count(tpl_arena *a, size_t more) {
    a->full = a->max && more > a->max - a->used;
    if (!a->full)
        a->used += more;
    return !a->full;
}

void *tpl_arena_get(tpl_arena *a, size_t bytes) {
    if (bytes > SIZE_MAX / 4)
        return NULL;
    bytes = rounded(bytes ? bytes : 1);
    if (!count(a, bytes))
        return NULL;
    if (!a->last || a->last->size - a->last->used < bytes) {
        const size_t size = bytes > CHUNK / 4 ? bytes : CHUNK;
        tpl_chunk *c = malloc(2 * ALIGN + size);
        if (!c)
            return NULL;
        *c = (tpl_chunk){a->last, 0, size};
        a->last = c;
    }
    char *p = bytes_of(a->last) + a->last->used;
    a->last->used += bytes;
    return memset(p, 0, bytes);
}

void *tpl_arena_grow(tpl_arena *a, void *p, size_t bytes, size_t wanted) {
    const size_t old = rounded(bytes ? bytes : 1), more = rounded(wanted) - old;
    if (p && a->last && (char *)p + old == bytes_of(a->last) + a->last->used && a->last->size - a->last->used >= more) {
        if (!count(a, more))
            return NULL;
        memset((char *)p + old, 0, more);
        a->last->used += more;
        return p;
    }
    void *q = tpl_arena_get(a, wanted);
    if (p && q)
        memcpy(q, p, bytes);
    return q;
}

void tpl_arena_free(tpl_arena *a) {
    while (a->last) {
        tpl_chunk *c = a->last;
        a->last = c->before;
        free(c);
    }
    *a = (tpl_arena){0};
}
