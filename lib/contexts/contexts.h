/* What was read before: a folder of .kv files. A prompt that begins as one of them does need not be read from its beginning.
 *
 * Files are called after what decides whether they can be of use, so that one look at the folder leaves only those that begin
 * alike (contexts_internal.h). Of these, ids and places to go back to are looked at; only the one that is used is read in full
 * and checked. When a file was used last is its mtime, so there is nothing but the files: any number of processes share a
 * folder, a file appears whole or not at all, and one that is removed while somebody uses it stays there for them.
 *
 * What would save less than CONTEXTS_LEAST tokens is neither kept nor used: reading them is as fast as a file. So of contexts
 * that begin alike one stays where it can do what the other could; docs/prefix-cache.md says when that is.
 */
#ifndef CONTEXTS_H
#define CONTEXTS_H

#include "session/store.h"

enum { CONTEXTS_LEAST = 256 };

typedef struct contexts contexts;

/* The folder is made if it is not there, for the user alone. limit: bytes that all files together may take. KV_EIO, KV_ENOMEM.
 * Caller frees with contexts_close. What is open may be used by several threads at once. */
kv_status contexts_open(const char *folder, uint64_t limit, contexts **out, kv_err *err);
void contexts_close(contexts *c); /* NULL is fine */
uint64_t contexts_limit(const contexts *c);

/* What was found for a prompt. */
typedef struct contexts_found {
    uint32_t tokens;  /* of its beginning that were read before; 0: nothing was found */
    uint32_t read;    /* more of them that were read now, up to where the prompt and what was found part */
    ctx_about about;  /* of what was found */
    uint32_t damaged; /* files that were removed, as they were not whole, */
    kv_err why;       /* and what the last of them had */
} contexts_found;

/* Into s, which is empty: as much of a prompt's n ids as some stored context of the same model and cache has read, the longest
 * beginning that can be had. Where prompt and context part, s remembers the place, for prompts that part there, too; s stays
 * empty where nothing is found. What is wrong with a stored context is no error: the next best is taken. KV_ECANCEL;
 * KV_EINVAL: s is not empty; errors of rt_session_read. */
kv_status contexts_take(contexts *c, rt_session *s, const int32_t *ids, size_t n, kv_progress progress, void *user,
                        contexts_found *out, kv_err *err);

/* The same without reading on, and only where more than `beyond` tokens are found: s then holds all ids that prompt and context
 * have in common, of which out->tokens are read. Reads no model, but for finding out which one it is. */
kv_status contexts_find(contexts *c, rt_session *s, const int32_t *ids, size_t n, uint32_t beyond, kv_progress progress,
                        void *user, contexts_found *out, kv_err *err);

typedef enum contexts_end {
    CONTEXTS_KEPT,    /* there is a new file */
    CONTEXTS_HELD,    /* a stored one can do the same, and counts as used now */
    CONTEXTS_SHORT,   /* fewer than CONTEXTS_LEAST tokens */
    CONTEXTS_SHIFTED, /* it has forgotten some: no prompt of these ids would come to the same */
    CONTEXTS_LARGE    /* by itself more than the limit */
} contexts_end;

/* Keep what s has read, with its places to go back to; what it has not read yet is read first. Those that it makes needless are
 * removed, and then those that were not used for longest, until the limit is kept. title: or NULL. Errors of rt_session_save.
 */
kv_status contexts_put(contexts *c, rt_session *s, const char *title, const char *program, contexts_end *end, kv_err *err);

/* ---- for people ---- */

typedef struct contexts_row {
    char path[4096];
    uint32_t tokens;
    uint64_t bytes;
    int64_t used; /* seconds since 1970 */
} contexts_row;

/* What there is, that which was used last first. *out (n): caller frees. KV_EIO, KV_ENOMEM. */
kv_status contexts_list(contexts *c, contexts_row **out, size_t *n, kv_err *err);
/* Remove all. *n: how many there were. KV_EIO: one could not be removed. */
kv_status contexts_clear(contexts *c, size_t *n, kv_err *err);

#endif
