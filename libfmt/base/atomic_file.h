/* Files that appear whole or not at all: written without a name or under a temporary one beside the target, fsynced, renamed.
 * A process that is killed in between leaves the target untouched, and at most a temporary that the next one to write this
 * target removes; unfinished ones are removed by atomic_file_cleanup(), which is async-signal-safe and which tools call from
 * their signal handlers. A file that is there keeps its permissions and owners; a new one gets what the umask leaves.
 */
#ifndef KV_ATOMIC_FILE_H
#define KV_ATOMIC_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stdio.h>

struct stat;

typedef struct atomic_file atomic_file;

/* Whether what is at the path, as stat() has it, is written into as it is rather than replaced: a pipe, a terminal, a device.
 * /dev/stdout may be a redirected regular file: that one the shell has open, it must not be replaced. */
bool atomic_file_is_straight(const char *path, const struct stat *there);
kv_status atomic_file_open(const char *path, atomic_file **out, kv_err *err);
/* Whether a file could be written there, found out by beginning to; what is written straight is only asked about. Nothing is
 * left of it. */
kv_status atomic_file_check(const char *path, kv_err *err);
/* What can be made again: for the user alone whatever the umask says, and not forced onto the disk, so that it may turn out
 * damaged when the power fails. Before anything is written. KV_EIO. */
kv_status atomic_file_as_cache(atomic_file *f, kv_err *err);
FILE *atomic_file_stream(atomic_file *f); /* borrowed; do not close */
/* Flush, fsync, rename over the target, fsync the folder; frees f in every case. */
kv_status atomic_file_commit(atomic_file *f, kv_err *err);
/* The same for n files that belong together: all appear, or none does. Where a name cannot be given, those that were given
 * already are taken away again. Frees all in every case. */
kv_status atomic_files_commit(atomic_file *const *files, size_t n, kv_err *err);
void atomic_file_abort(atomic_file *f); /* removes the temporary; NULL is fine */
void atomic_file_cleanup(void);         /* from a signal handler: unlink the temporaries still open */

/* Whole-file helpers. *out: caller frees with free(); a NUL byte is appended beyond *len. max: KV_ERANGE when larger. For texts
 * that people write, see base/text.h. */
kv_status file_read(const char *path, size_t max, char **out, size_t *len, kv_err *err);
kv_status stream_read(FILE *f, const char *where, size_t max, char **out, size_t *len, kv_err *err); /* up to its end */
kv_status file_write(const char *path, const void *data, size_t len, kv_err *err);

#endif
