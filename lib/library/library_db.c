#include "library/library_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

kv_status library_memory(kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "out of memory for the library of documents");
}

/* What SQLite's codes mean here, and what can be done. */
static const struct {
    int code;
    kv_status status;
    const char *fix;
} meanings[] = {
    {SQLITE_CORRUPT, KV_EFORMAT,
     "the file is damaged and was left as it is: move its folder away and add the documents again; their texts are in it, "
     "payload/*.txt"},
    {SQLITE_NOTADB, KV_EFORMAT,
     "this is no database, or its beginning is damaged; it was left as it is: move its folder away and add the documents "
     "again; "
     "their texts are in it, payload/*.txt"},
    {SQLITE_BUSY, KV_EIO, "another process has been writing to it for ten seconds; try again"},
    {SQLITE_LOCKED, KV_EIO, "another process has been writing to it for ten seconds; try again"},
    {SQLITE_FULL, KV_EIO, "free some space"},
    {SQLITE_CANTOPEN, KV_EIO, "is it, and its folder, yours to read and write?"},
    {SQLITE_READONLY, KV_EIO, "is it, and its folder, yours to write?"},
    {SQLITE_PERM, KV_EIO, "is it, and its folder, yours to read and write?"},
};

kv_status library_fail(const library *l, kv_err *err) {
    const int code = l->db ? sqlite3_errcode(l->db) & 0xff : SQLITE_NOMEM;
    if (code == SQLITE_NOMEM)
        return library_memory(err);
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (meanings[i].code == code)
            return kv_fail(err, meanings[i].status, "%.400s: %.200s (%s)", l->path, sqlite3_errmsg(l->db), meanings[i].fix);
    return kv_fail(err, KV_EIO, "%.400s: %.400s", l->path, sqlite3_errmsg(l->db));
}

kv_status library_exec(library *l, const char *sql, kv_err *err) {
    return sqlite3_exec(l->db, sql, NULL, NULL, NULL) ? library_fail(l, err) : KV_OK;
}

kv_status library_prepare(library *l, const char *sql, sqlite3_stmt **out, kv_err *err) {
    return sqlite3_prepare_v2(l->db, sql, -1, out, NULL) ? library_fail(l, err) : KV_OK;
}

kv_status library_bind(library *l, sqlite3_stmt *s, int at, const char *text, kv_err *err) {
    return sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC) ? library_fail(l, err) : KV_OK;
}

kv_status library_step(library *l, sqlite3_stmt *s, bool *row, kv_err *err) {
    const int rc = sqlite3_step(s);
    if (row)
        *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? KV_OK : library_fail(l, err);
}

kv_status library_number(library *l, const char *sql, int64_t arg, int64_t *out, kv_err *err) {
    sqlite3_stmt *s = NULL;
    bool row = false;
    *out = 0;
    kv_status st = library_prepare(l, sql, &s, err);
    if (!st && sqlite3_bind_parameter_count(s))
        sqlite3_bind_int64(s, 1, arg);
    if (!st && !(st = library_step(l, s, &row, err)) && row)
        *out = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return st;
}

kv_status library_change(library *l, const char *sql, int64_t arg, kv_err *err) {
    int64_t none;
    return library_number(l, sql, arg, &none, err);
}

kv_status library_begin(library *l, kv_err *err) {
    return library_exec(l, "BEGIN IMMEDIATE", err);
}

kv_status library_end(library *l, kv_status st, kv_err *err) {
    if (!st)
        st = library_exec(l, "COMMIT", err);
    if (st && !sqlite3_get_autocommit(l->db))
        sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

char *library_payload(const library *l, const char *fmt, ...) {
    char *name = NULL, *path = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&name, fmt, ap) < 0)
        name = NULL;
    va_end(ap);
    if (name && asprintf(&path, "%s/%s", l->payload, name) < 0)
        path = NULL;
    free(name);
    return path;
}
