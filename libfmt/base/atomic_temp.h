/* Where an atomic_file is while it is written: nowhere that has a name, where the system can do that (O_TMPFILE), so that
 * nothing is left of it however the process ends. Else as ".NAME.XXXXXX.tmp" beside its target, locked for as long as it is
 * written: what such a file is left without a lock belonged to a process that was killed, and goes when the same target is
 * written next. For atomic_file.c.
 */
#ifndef KV_ATOMIC_TEMP_H
#define KV_ATOMIC_TEMP_H

#include <stdbool.h>
#include <sys/types.h>

enum { ATOMIC_TEMPS = 128 }; /* at once: parts of a model, for example */

typedef struct atomic_slot atomic_slot;

typedef struct atomic_temp {
    atomic_slot *slot; /* NULL: there is none */
    int folder;        /* bytes of the name that are its folder, with the slash */
    int fd;            /* not closed here */
    bool named;
} atomic_temp;

/* All of these: errno where they fail. */

/* A place among those that atomic_temps_cleanup knows, for a file beside the target. False: ENFILE, all are taken;
 * ENAMETOOLONG. */
bool atomic_temp_new(const char *target, atomic_temp *t);
/* Sweep, and create the file, with permissions as the umask gives them. The descriptor, or -1. */
int atomic_temp_open(atomic_temp *t);
/* Give what t->fd holds, which is on the disk, the name of the target, in place of what is there. False: it goes on to be
 * dropped. */
bool atomic_temp_publish(atomic_temp *t, const char *target);
void atomic_temp_drop(atomic_temp *t); /* the name that it may have, and the place */

void atomic_temps_cleanup(void); /* async-signal-safe: remove all that have names */

#endif
