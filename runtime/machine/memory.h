/* Memory for weights and work. */
#ifndef RT_MEMORY_H
#define RT_MEMORY_H

#include <stddef.h>

/* Memory aligned to 64 bytes; large pieces ask the system for large pages, which spares translating addresses where they are
 * read from end to end. NULL where there is none; free() it. */
void *rt_alloc(size_t bytes);

/* What lies there is not needed any more, though it is not freed yet: whole pages of it are given back to the system. What is
 * read there later may be anything. */
void rt_give_pages_back(void *p, size_t bytes);

/* Many allocations that end together, side by side in pieces of large pages: a matrix of its own is often smaller than one.
 * Starts as zeros. */
typedef struct rt_arena {
    void **pieces;
    size_t n;
    char *next; /* free bytes of the last shared piece */
    size_t left;
} rt_arena;

/* Aligned to 64 bytes; NULL where there is no memory. */
void *rt_arena_take(rt_arena *a, size_t bytes);
void rt_arena_free(rt_arena *a);

#endif
