/* What was typed before, in a file for the user alone (0600): a line each, the newest last. In an entry, a newline is written
 * as \n and a backslash as \\. Any number of processes add to it at the same time, and none of what they add is lost.
 */
#ifndef KVRUN_REPL_HISTORY_H
#define KVRUN_REPL_HISTORY_H

#include "base/status.h"

#include <stddef.h>

enum {
    HISTORY_ENTRY = 64 << 10, /* bytes of an entry as it is written: longer ones are not kept */
    HISTORY_FILE = 1 << 20    /* where the file becomes larger, the older half goes */
};

typedef struct history_entries {
    char **v;
    size_t n;
} history_entries; /* starts as {0} */
void history_entries_free(history_entries *e);

/* What is there, the oldest first; a file that is not there is empty. Lines that no entry is written as are left out. KV_EIO,
 * KV_ERANGE: it is larger than any history; KV_ENOMEM. */
kv_status history_file_read(const char *path, history_entries *out, kv_err *err);
/* Add an entry at the end; the file is made if it is not there. KV_EIO, KV_ENOMEM. */
kv_status history_file_add(const char *path, const char *text, kv_err *err);

#endif
