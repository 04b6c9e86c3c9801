/* Aligned memory in large pages, and arenas. */
#include "machine/memory.h"

#include <stdint.h>
#include <stdlib.h>
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

enum {
    LINE = 64,
    LARGE_PAGE = 2 << 20,
#if defined(__SANITIZE_ADDRESS__)
    PIECE = 0, /* a piece for each, so that reads beyond its end are found */
#else
    PIECE = 32 << 20, /* of an arena */
#endif
};

void *rt_alloc(size_t bytes) {
    void *p;
    if (posix_memalign(&p, bytes >= LARGE_PAGE ? LARGE_PAGE : LINE, bytes) != 0)
        return NULL;
#if defined(__linux__)
    if (bytes >= LARGE_PAGE) /* whole large pages only: the rest, like the whole where this fails, stays in small ones */
        madvise(p, bytes / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
    return p;
}

void rt_give_pages_back(void *p, size_t bytes) {
#if defined(__linux__)
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (page - (uintptr_t)p % page) % page;
    if (bytes > before + page)
        madvise((char *)p + before, (bytes - before) / page * page, MADV_DONTNEED);
#else
    (void)p, (void)bytes;
#endif
}

static void *new_piece(rt_arena *a, size_t bytes) {
    void **pieces = realloc(a->pieces, (a->n + 1) * sizeof *pieces);
    if (!pieces)
        return NULL;
    a->pieces = pieces;
    void *p = rt_alloc(bytes);
    if (p)
        a->pieces[a->n++] = p;
    return p;
}

void *rt_arena_take(rt_arena *a, size_t bytes) {
    if (bytes > PIECE / 4)
        return new_piece(a, bytes);
    bytes = (bytes + LINE - 1) / LINE * LINE;
    if (bytes > a->left) {
        char *p = new_piece(a, PIECE);
        if (!p)
            return NULL;
        a->next = p;
        a->left = PIECE;
    }
    void *taken = a->next;
    a->next += bytes;
    a->left -= bytes;
    return taken;
}

void rt_arena_free(rt_arena *a) {
    for (size_t i = 0; i < a->n; i++)
        free(a->pieces[i]);
    free(a->pieces);
    *a = (rt_arena){0};
}
