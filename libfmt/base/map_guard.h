/* Files that are mapped, and become shorter meanwhile.
 *
 * The pages behind a file's new end are taken away, and who reads these gets SIGBUS. The handler puts zeros in their place and
 * takes a note; the work goes on with these and fails at its end, where map_guard_lost is asked.
 */
#ifndef KV_MAP_GUARD_H
#define KV_MAP_GUARD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct map_guard map_guard;

/* Set up the handler for SIGBUS, once for all; false, with errno: it cannot be. */
bool map_guard_start(void);
/* Watch over a mapping from now on. NULL: there are too many, and this one is not watched. */
map_guard *map_guard_take(const void *map, size_t size);
void map_guard_leave(map_guard *g);      /* NULL is fine */
bool map_guard_lost(const map_guard *g); /* some of it became zeros; NULL: false */

#endif
