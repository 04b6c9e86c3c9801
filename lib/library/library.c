/* Opening: folders, the database and what it must be, and what FTS5 is taught. */
#include "base/folder.h"
#include "library/library_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    APPLICATION = 0x6b764c62, /* "kvLb": PRAGMA application_id of our databases */
    VERSION = 1,              /* PRAGMA user_version: of the tables below */
    WAIT = 10000              /* milliseconds for another process that writes */
};

static const char schema[] =
    "CREATE TABLE document ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT," /* never used again: a file of that name may still be mapped */
    "  name TEXT NOT NULL, title TEXT NOT NULL, source TEXT NOT NULL,"
    "  model_name TEXT NOT NULL, model_hash TEXT NOT NULL,"
    "  added INTEGER NOT NULL, used INTEGER NOT NULL," /* microseconds since 1970 */
    "  bytes INTEGER NOT NULL, tokens INTEGER NOT NULL,"
    "  UNIQUE (name, model_hash));"
    "CREATE TABLE setting (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE VIRTUAL TABLE words USING fts5(title, text, tokenize = 'kvcalib');"; /* rowid is the document's id */

/* Durable also where the journal's end is only the removal of its file; pages are kept in memory until the end, so that nobody
 * who reads has to wait before; and what was removed is overwritten. */
static const char habits[] = "PRAGMA synchronous = EXTRA; PRAGMA cache_spill = 0; PRAGMA secure_delete = 1;"
                             "PRAGMA temp_store = MEMORY;";

/* ---- folders ---- */

static kv_status default_folder(char **out, kv_err *err) {
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n;
    if (data && *data == '/') /* the specification ignores others */
        n = asprintf(out, "%s/kvcalib/library", data);
    else if (home && *home == '/')
        n = asprintf(out, "%s/.local/share/kvcalib/library", home);
    else
        return kv_fail(err, KV_EINVAL, "there is no home folder to keep documents in: set HOME or XDG_DATA_HOME");
    if (n < 0)
        *out = NULL;
    return *out ? KV_OK : library_memory(err);
}

static kv_status set_paths(library *l, const char *folder, kv_err *err) {
    kv_status st = KV_OK;
    if (!folder)
        st = default_folder(&l->folder, err);
    else if (!*folder)
        return kv_fail(err, KV_EINVAL, "the library's folder has no name");
    else if (!(l->folder = strdup(folder)))
        st = library_memory(err);
    if (st)
        return st;
    if (asprintf(&l->path, "%s/library.db", l->folder) < 0)
        l->path = NULL;
    if (asprintf(&l->payload, "%s/payload", l->folder) < 0)
        l->payload = NULL;
    return l->path && l->payload ? KV_OK : library_memory(err);
}

/* ---- the database ---- */

static bool is_there(const library *l) {
    struct stat there;
    return !stat(l->path, &there) || errno != ENOENT;
}

static kv_status orphaned(const library *l, size_t payloads, kv_err *err) {
    return kv_fail(err, KV_EFORMAT,
                   "%.500s: is not there or empty, but payload/ beside it holds %zu files of documents: put it back, or move "
                   "the folder away and add the documents again (their texts are payload/*.txt)",
                   l->path, payloads);
}

static kv_status make_database(const library *l, kv_err *err) {
    const int fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite would make it readable for others */
    if (fd < 0)
        return kv_fail(err, KV_EIO, "%.500s: cannot make it: %m", l->path);
    close(fd);
    return KV_OK;
}

static kv_status teach(library *l, kv_err *err) {
    sqlite3_stmt *s = NULL;
    fts5_api *api = NULL;
    kv_status st = library_prepare(l, "SELECT fts5(?1)", &s, NULL);
    if (!st) {
        sqlite3_bind_pointer(s, 1, &api, "fts5_api_ptr", NULL);
        sqlite3_step(s);
    }
    sqlite3_finalize(s);
    if (!api)
        return kv_fail(err, KV_EUNSUPP,
                       "this machine's SQLite (%s) was built without FTS5, which the library of documents needs",
                       sqlite3_libversion());
    return library_add_tokenizer(api) || library_add_functions(api) ? library_memory(err) : KV_OK;
}

static void close_database(library *l) {
    sqlite3_close(l->db);
    l->db = NULL;
}

static kv_status open_database(library *l, const char *path, kv_err *err) {
    const int flags = SQLITE_OPEN_READWRITE | (strcmp(path, ":memory:") ? 0 : SQLITE_OPEN_CREATE) | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(path, &l->db, flags, NULL))
        return library_fail(l, err);
    sqlite3_busy_timeout(l->db, WAIT);
    kv_status st = library_exec(l, habits, err);
    return st ? st : teach(l, err);
}

/* Whose database this is, and of which version; *fresh: nothing is in it yet. Within a transaction: all of that is of one
 * moment.
 */
static kv_status check_schema(library *l, bool *fresh, kv_err *err) {
    int64_t application, version, tables;
    kv_status st = library_number(l, "PRAGMA application_id", 0, &application, err);
    st = st ? st : library_number(l, "PRAGMA user_version", 0, &version, err);
    st = st ? st : library_number(l, "SELECT count(*) FROM sqlite_master", 0, &tables, err);
    *fresh = !st && !application && !version && !tables;
    if (st || *fresh)
        return st;
    if (application != APPLICATION)
        return kv_fail(err, KV_EFORMAT, "%.500s: is another program's database; it was left as it is: name another folder",
                       l->path);
    if (version > VERSION)
        return kv_fail(err, KV_EFORMAT,
                       "%.500s: is of version %lld, made by a later kvcalib; this one knows version %d: use the later one",
                       l->path, (long long)version, VERSION);
    return version < 1 ? kv_fail(err, KV_EFORMAT, "%.500s: says that it is of version %lld, which there is not", l->path,
                                 (long long)version)
                       : KV_OK;
}

static kv_status make_schema(library *l, kv_err *err) {
    char pragmas[128];
    bool fresh;
    snprintf(pragmas, sizeof pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION, VERSION);
    kv_status st = library_begin(l, err);
    if (st)
        return st;
    if (!(st = check_schema(l, &fresh, err)) && fresh) { /* still: another process may have been quicker */
        st = library_exec(l, schema, err);
        st = st ? st : library_exec(l, pragmas, err);
    }
    return library_end(l, st, err);
}

/* A library that is only read, and is not there or not finished, is an empty one in memory. */
static kv_status open_empty(library *l, kv_err *err) {
    close_database(l);
    kv_status st = open_database(l, ":memory:", err);
    return st ? st : make_schema(l, err);
}

/* Payloads are counted before the database is looked for: who has added some meanwhile has made one, too. */
static kv_status open_there(library *l, kv_err *err) {
    size_t payloads;
    bool fresh = true;
    kv_status st = library_count_payloads(l, &payloads, err);
    bool there = is_there(l);
    if (st || (!there && payloads))
        return st ? st : orphaned(l, payloads, err);
    if (!there && l->use == LIBRARY_WRITE) {
        if ((st = make_database(l, err)))
            return st;
        there = true;
    }
    if (there && !(st = open_database(l, l->path, err)) && !(st = library_exec(l, "BEGIN", err)))
        st = library_end(l, check_schema(l, &fresh, err), err);
    if (st)
        return st;
    if (fresh && payloads)
        return orphaned(l, payloads, err);
    return !fresh ? KV_OK : l->use == LIBRARY_READ ? open_empty(l, err) : make_schema(l, err);
}

/* ---- all of it ---- */

kv_status library_open(const char *folder, library_use use, library **out, kv_err *err) {
    library *l = calloc(1, sizeof *l);
    if (!l)
        return library_memory(err);
    l->use = use;
    kv_status st = set_paths(l, folder, err);
    if (!st && use == LIBRARY_WRITE)
        st = folder_make(l->payload, err);
    st = st ? st : open_there(l, err);
    if (!st && use == LIBRARY_WRITE)
        st = library_sweep(l, err);
    if (st)
        library_close(l);
    else
        *out = l;
    return st;
}

void library_close(library *l) {
    if (!l)
        return;
    close_database(l);
    free(l->folder);
    free(l->path);
    free(l->payload);
    free(l);
}

const char *library_folder(const library *l) {
    return l->folder;
}

kv_status library_check(library *l, kv_err *err) {
    sqlite3_stmt *s = NULL;
    bool row = false;
    kv_status st = library_prepare(l, "PRAGMA quick_check(1)", &s, err);
    st = st ? st : library_step(l, s, &row, err);
    const char *said = row ? (const char *)sqlite3_column_text(s, 0) : NULL;
    if (!st && (!said || strcmp(said, "ok")))
        st = kv_fail(err, KV_EFORMAT,
                     "%.400s: is damaged (%.200s): move its folder away and add the documents again; their texts are in it, "
                     "payload/*.txt",
                     l->path, said ? said : "nothing is known of it");
    sqlite3_finalize(s);
    return st ? st : library_exec(l, "INSERT INTO words (words) VALUES ('integrity-check')", err);
}
