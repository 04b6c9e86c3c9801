/* The library: documents that a model has read once, kept to be asked ever after.
 *
 * A document is the cache that a model made of a text (a .kv file), the text itself, and a row that says what it is called. The
 * same name may be there once for each model. All of it is in one folder of the user's:
 *
 *   library.db        rows, and the index of words: SQLite 3 with FTS5
 *   payload/ID.kv     caches; ID is a number that is never used again, so no name becomes a path
 *   payload/ID.txt    texts: for reading anew with another model, and for whoever lost library.db
 *   payload/new-*     what is being added, with a lock for as long as its process lives
 *
 * Any number of processes may use it at the same time. The journal is SQLite's rollback journal, not WAL: writing is rare and
 * short here, home folders on network file systems work, and at rest the database is one file that can be copied. A process
 * waits up to ten seconds for another that writes. Readers see a document whole or not at all. A process that is killed at any
 * moment leaves nothing that is half there: what has no row, and what has no living process, goes when the library is opened
 * for writing next. A payload that is in use, mapped, survives its removal for as long as it is.
 *
 * The index holds texts of its own (FTS5 with content, neither contentless nor external): a row of it can only be removed with
 * the very text that it was made of, and a file may be changed or lost. Next to a cache, a text is small. Words are those of
 * tokenizer unicode61 without diacritics, English endings off (Porter 1980), and every CJK character by itself, which finds any
 * run of them in languages that do not part words. What is looked for is never taken for the query language of FTS5.
 *
 * A library belongs to one thread at a time and does not go through fork(). Errors of all functions: KV_EIO: the system
 * refused, or another process writes for too long; KV_EFORMAT: library.db is damaged, of a later version, or not ours (it is
 * left as it is); KV_ENOMEM.
 */
#ifndef LIBRARY_H
#define LIBRARY_H

#include "base/status.h"

enum {
    LIBRARY_NAME = 500, /* bytes of a name, a title, and of what a model is called and known by */
    LIBRARY_WORDS = 64  /* different words that are looked for; further ones are not */
};

typedef struct library library;

typedef enum library_use {
    LIBRARY_READ, /* makes no files: a library that is not there is empty */
    LIBRARY_WRITE /* makes it if it is not there, and removes what killed processes left */
} library_use;

/* folder: NULL for $XDG_DATA_HOME/kvcalib/library, else ~/.local/share/kvcalib/library. What is made is for the user alone
 * (0700, 0600). KV_EINVAL: there is no home folder; or payloads are there, but no library.db: a new one would orphan them.
 * *out: caller frees with library_close. */
kv_status library_open(const char *folder, library_use use, library **out, kv_err *err);
void library_close(library *l); /* NULL is fine */
const char *library_folder(const library *l);
/* Look at all pages of the database and at all of the index, which takes time in proportion, and nobody else can write
 * meanwhile: KV_EFORMAT says what is wrong. */
kv_status library_check(library *l, kv_err *err);

/* ---- documents ---- */

typedef struct library_document {
    int64_t id;
    char *name, *title;             /* title: empty where there is none */
    char *source;                   /* the path that it was read from, as it was given */
    char *model_name, *model_hash;  /* the model that read it */
    char *payload_path, *text_path; /* in the library's folder */
    char *snippet;                  /* of a search: where the words are, one line, with [ ] around them; else empty */
    double rank;                    /* of a search: greater is better */
    int64_t added, used;            /* seconds since 1970 */
    uint64_t bytes;                 /* of payload and text */
    uint32_t tokens;
    bool missing; /* its payload has vanished: it can be removed, or added anew */
} library_document;

/* Caller frees what is in it with library_list_free; {0} is an empty one. */
typedef struct library_list {
    library_document *v;
    size_t n;
} library_list;
void library_list_free(library_list *list);

typedef enum library_order { LIBRARY_BY_USE, LIBRARY_BY_NAME } library_order; /* by use: newest first */
kv_status library_all(library *l, library_order order, library_list *out, kv_err *err);

/* The document of that name: exactly, else but for case, else the only one whose name begins so. model_hash NULL: by every
 * model that has read it, newest use first; else by that one. KV_EINVAL: there is none, or several begin so; the message names
 * those that are near. Between this and opening payload_path another process may remove or replace the document: where the
 * file is not there, look again. */
kv_status library_find(library *l, const char *name, const char *model_hash, library_list *out, kv_err *err);

/* Documents with these words in name, title or text, best first, at most n: those that have all of them; where none has, those
 * that have any. Ranked by BM25, words of names and titles counting four times. model_hash NULL: of all models. KV_EINVAL:
 * there is no word in `words`. */
kv_status library_search(library *l, const char *words, const char *model_hash, size_t n, library_list *out, kv_err *err);
/* Documents that may answer a question, best first, at most n: those with any of its words; words that any question has (the,
 * what, is) count only where there are no others. */
kv_status library_pick(library *l, const char *question, const char *model_hash, size_t n, library_list *out, kv_err *err);

kv_status library_touch(library *l, int64_t id, kv_err *err); /* it was used now; one that is not there any more is fine */
/* KV_EINVAL: it is not there. */
kv_status library_remove(library *l, int64_t id, kv_err *err);

/* ---- adding ---- */

typedef struct library_entry {
    const char *name;   /* one line of UTF-8, kept in normal form C; KV_EINVAL otherwise, or where it is empty or too long */
    const char *title;  /* or NULL */
    const char *source; /* or NULL */
    const char *model_name; /* or NULL */
    const char *model_hash; /* what the model is known by */
    const char *text;       /* (text_len): what was read */
    size_t text_len;
} library_entry;

typedef struct library_adding library_adding;

/* Begin to add a document; the entry is copied. The payload is to be written to library_adding_path, any way one likes. *out:
 * goes with library_add_commit or library_add_abandon, before the library. */
kv_status library_add_begin(library *l, const library_entry *entry, library_adding **out, kv_err *err);
const char *library_adding_path(const library_adding *a);
/* The document, of so many tokens, is there from now on, durably, in place of one of the same name and model. Where there is a
 * limit, those that were not used for longest go until it is met, never this one; *gone (or NULL) has what they were, caller
 * frees. Frees a in every case; on failure nothing has changed. KV_EINVAL: no payload was written. */
kv_status library_add_commit(library_adding *a, uint32_t tokens, library_list *gone, kv_err *err);
void library_add_abandon(library_adding *a); /* NULL is fine */

/* ---- size ---- */

typedef struct library_totals {
    size_t documents, missing; /* missing: of these, those without payload */
    uint64_t bytes;            /* of payloads and texts that are there */
    uint64_t limit;            /* 0: none */
} library_totals;
kv_status library_get_totals(library *l, library_totals *out, kv_err *err);
/* Keep the total size below a limit from now on, 0: none. What is too much goes at once, those first that were not used for
 * longest; *gone as above. */
kv_status library_set_limit(library *l, uint64_t bytes, library_list *gone, kv_err *err);

#endif
