/* The folder as its files see it.
 *
 * A file is called MODEL-CACHE-BEGIN-ALL-TOKENS.kv: 16 digits each of the model's id, of the cache's stamp, of the XXH3-64 of
 * the first CONTEXTS_LEAST ids and of that of all, and how many ids there are. Other files in the folder are left alone.
 */
#ifndef CONTEXTS_INTERNAL_H
#define CONTEXTS_INTERNAL_H

#include "contexts/contexts.h"

#include <time.h>

struct contexts {
    char *folder;
    uint64_t limit;
};

enum { CONTEXTS_NAME = 96, CONTEXTS_PATH = 4096 };

/* What a file belongs to: model_id and cache_id of ctx_about, in full. */
typedef struct contexts_key {
    char model[33], cache[33];
} contexts_key;

typedef struct contexts_entry {
    char name[CONTEXTS_NAME], model[17], cache[17];
    uint64_t begin, all;
    uint32_t n;
    uint64_t bytes;
    struct timespec used;
} contexts_entry;

/* ---- contexts_folder.c ---- */

uint64_t contexts_hash(const int32_t *ids, size_t n);
void contexts_name(const contexts_key *key, const int32_t *ids, uint32_t n, char name[CONTEXTS_NAME]);
/* KV_EINVAL: it is too long. */
kv_status contexts_path(const contexts *c, const char *name, char path[CONTEXTS_PATH], kv_err *err);
/* All files that are ours; begin: those alone whose first ids have this hash, or NULL. *out (n): caller frees. */
kv_status contexts_scan(const contexts *c, const uint64_t *begin, contexts_entry **out, size_t *n, kv_err *err);
bool contexts_is_of(const contexts_entry *e, const contexts_key *key);
void contexts_remove(const contexts *c, const char *name);
void contexts_touch(const contexts *c, const char *name);
/* Remove what was used longest ago until the limit is kept; `newest`, if any, goes last. *left: whether that one stayed. */
kv_status contexts_shrink(const contexts *c, const char *newest, bool *left, kv_err *err);

/* ---- contexts_view.c ---- */

/* What a context has read, and where one can go back to: of a file, or of a session. */
typedef struct contexts_view {
    ctx_file *f; /* or NULL */
    ctx_about about;
    const int32_t *ids; /* (n); borrowed from file or session */
    uint32_t n, n_places, places[RT_CHECKPOINTS + 1];
    bool anywhere; /* one can go back to any length */
} contexts_view;

/* like: a cache of the same stamp. KV_EMISMATCH: it is of another model or cache after all; errors of ctx_file_open. */
kv_status contexts_view_file(const contexts *c, const char *name, const contexts_key *key, const kv_cache *like,
                             contexts_view *out, kv_err *err);
void contexts_view_session(rt_session *s, contexts_view *out);
void contexts_view_close(contexts_view *v);
uint32_t contexts_common(const contexts_view *v, const int32_t *ids, size_t n);
/* How many of the first n ids one has read who goes back to where that is possible. */
uint32_t contexts_usable(const contexts_view *v, uint32_t n);
/* Whether `a` does for any prompt about what `b` would. */
bool contexts_stands_in(const contexts_view *a, const contexts_view *b);

#endif
