/* Shared by the files of this room. */
#ifndef LIBRARY_INTERNAL_H
#define LIBRARY_INTERNAL_H

#include "library/library.h"

#include <sqlite3.h>

struct library {
    sqlite3 *db;
    char *folder, *path, *payload; /* path: of library.db; payload: the folder of caches and texts */
    library_use use;
};

/* ---- library_db.c: SQLite's way of saying things, and ours ---- */

kv_status library_memory(kv_err *err); /* KV_ENOMEM */
/* What the last call to SQLite failed with. */
kv_status library_fail(const library *l, kv_err *err);
kv_status library_exec(library *l, const char *sql, kv_err *err);
/* *out: goes with sqlite3_finalize. */
kv_status library_prepare(library *l, const char *sql, sqlite3_stmt **out, kv_err *err);
kv_status library_bind(library *l, sqlite3_stmt *s, int at, const char *text, kv_err *err); /* borrowed; NULL: NULL */
/* *row: whether there is one; NULL: none is wanted. */
kv_status library_step(library *l, sqlite3_stmt *s, bool *row, kv_err *err);
/* A number that a statement with one number in it comes to; 0 where there is no row. */
kv_status library_number(library *l, const char *sql, int64_t arg, int64_t *out, kv_err *err);
/* A statement with a number in it. */
kv_status library_change(library *l, const char *sql, int64_t arg, kv_err *err);

/* From here to library_end nobody else writes, nor gives files of payload/ their names. */
kv_status library_begin(library *l, kv_err *err);
/* st KV_OK: all of it is there, durably; else, or where that fails, nothing is. Returns st, or why it failed. */
kv_status library_end(library *l, kv_status st, kv_err *err);

/* Paths in payload/: printf-like. NULL: no memory. */
char *library_payload(const library *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- library_rows.c: documents ---- */

#define LIBRARY_COLUMNS "d.id, d.name, d.title, d.source, d.model_name, d.model_hash, d.added, d.used, d.bytes, d.tokens"
/* Add the rows of a statement that begins with these columns to a list; `more` (or NULL) is told of each. On failure the list
 * is empty. */
typedef void library_more(library_document *d, sqlite3_stmt *s);
kv_status library_rows(library *l, sqlite3_stmt *s, library_more *more, library_list *list, kv_err *err);
void library_free(library_document *d); /* what is in it */
/* Within a transaction: the row and its words. */
kv_status library_delete(library *l, int64_t id, kv_err *err);
/* Behind it: the files. What cannot be removed now is removed when the library is opened for writing. */
void library_unlink(const library *l, int64_t id);
/* Now, in microseconds, and later than whatever was used before. */
kv_status library_now(library *l, int64_t *out, kv_err *err);

/* ---- library_size.c ---- */

/* Within a transaction: delete what was not used for longest until the limit is met, but never `keep`. */
kv_status library_evict(library *l, uint64_t limit, int64_t keep, library_list *gone, kv_err *err);
kv_status library_limit(library *l, uint64_t *out, kv_err *err);

/* ---- library_sweep.c: files without rows ---- */

/* How many files of payload/ belong to documents. */
kv_status library_count_payloads(const library *l, size_t *out, kv_err *err);
/* Remove files that no row and no living process has. */
kv_status library_sweep(library *l, kv_err *err);
enum { LIBRARY_STEM = 16 };
/* A name for files of payload/ that are nobody else's: "new-" and letters. *lock: a descriptor; while it is open, here or in a
 * child, they are not swept. */
kv_status library_reserve(const library *l, char stem[LIBRARY_STEM], int *lock, kv_err *err);

/* ---- library_words.c, library_rank.c: what FTS5 is taught ---- */

/* Characters of languages that do not part words. */
bool library_is_cjk(int32_t c);
/* Tokenizer `kvcalib`. */
int library_add_tokenizer(fts5_api *api);
/* kv_rank(words): BM25, greater is better. kv_snippet(words): where in the text the words lie closest. */
int library_add_functions(fts5_api *api);

#endif
