/* Adding a document. The order is what makes it safe: files are whole and on the disk before they get the names that their row
 * will say, and get those within the transaction that adds the row. Killed before the end of the transaction, they are files
 * without a row; after it, what was replaced is. Either are swept.
 */
#include "library/library_internal.h"

#include "base/atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utf8proc.h>

struct library_adding {
    library *l;
    library_document d; /* texts of it that come from the entry */
    char *text, *new_payload, *new_text, *lock_path;
    size_t text_len;
    int lock;
};

/* ---- what may be a name ---- */

/* In normal form C, so that a name is the same however it was typed. *out: caller frees. */
static kv_status take_line(const char *what, const char *s, char **out, kv_err *err) {
    utf8proc_uint8_t *normal = NULL;
    s = s ? s : "";
    *out = NULL;
    if (strlen(s) > LIBRARY_NAME)
        return kv_fail(err, KV_EINVAL, "the %s has %zu bytes, and may have %d: '%.60s...'", what, strlen(s), LIBRARY_NAME, s);
    const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)s, 0, &normal,
                                            (utf8proc_option_t)(UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (n < 0)
        return n == UTF8PROC_ERROR_NOMEM ? library_memory(err) : kv_fail(err, KV_EINVAL, "the %s '%s' is not UTF-8", what, s);
    for (const char *at = (char *)normal; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f) {
            kv_fail(err, KV_EINVAL, "the %s '%s' has a line break or another control character in it; give it another one",
                    what, s);
            free(normal);
            return KV_EINVAL;
        }
    *out = (char *)normal;
    return KV_OK;
}

static bool is_blank(const char *s) {
    return !s[strspn(s, " ")];
}

static kv_status take_copy(const char *s, size_t len, char **out, kv_err *err) {
    if (!(*out = malloc(len + 1)))
        return library_memory(err);
    if (len)
        memcpy(*out, s, len);
    (*out)[len] = '\0';
    return KV_OK;
}

static kv_status take_entry(library_adding *a, const library_entry *e, kv_err *err) {
    const char *source = e->source ? e->source : "", *text = e->text ? e->text : "";
    library_document *d = &a->d;
    if (!e->name || is_blank(e->name))
        return kv_fail(err, KV_EINVAL, "a document needs a name");
    if (!e->model_hash || is_blank(e->model_hash))
        return kv_fail(err, KV_EINVAL, "document '%.200s': it does not say which model has read it", e->name);
    if (e->text_len > INT_MAX)
        return kv_fail(err, KV_ERANGE, "document '%.200s': its text is larger than 2 GiB", e->name);
    kv_status st = take_line("name", e->name, &d->name, err);
    st = st ? st : take_line("title", e->title, &d->title, err);
    st = st ? st : take_line("name of the model", e->model_name, &d->model_name, err);
    st = st ? st : take_line("hash of the model", e->model_hash, &d->model_hash, err);
    st = st ? st : take_copy(source, strlen(source), &d->source, err);
    st = st ? st : take_copy(text, a->text_len = e->text_len, &a->text, err);
    return st;
}

/* ---- begin, abandon ---- */

/* Whatever there still is of files goes, the lock last. */
static void release(library_adding *a) {
    char *const files[] = {a->new_payload, a->new_text, a->lock >= 0 ? a->lock_path : NULL};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i] && a->lock >= 0)
            unlink(files[i]);
    if (a->lock >= 0)
        close(a->lock);
    library_free(&a->d);
    free(a->text);
    free(a->new_payload);
    free(a->new_text);
    free(a->lock_path);
    free(a);
}

kv_status library_add_begin(library *l, const library_entry *entry, library_adding **out, kv_err *err) {
    char stem[LIBRARY_STEM];
    if (l->use != LIBRARY_WRITE)
        return kv_fail(err, KV_EINVAL, "%.500s: the library was opened for reading", l->folder);
    library_adding *a = calloc(1, sizeof *a);
    if (!a)
        return library_memory(err);
    a->l = l;
    a->lock = -1;
    kv_status st = take_entry(a, entry, err);
    if (!st && !(st = library_reserve(l, stem, &a->lock, err))) {
        a->lock_path = library_payload(l, "%s.lock", stem);
        a->new_payload = library_payload(l, "%s.kv", stem);
        a->new_text = library_payload(l, "%s.txt", stem);
        if (!a->lock_path || !a->new_payload || !a->new_text)
            st = library_memory(err);
    }
    if (st)
        release(a);
    else
        *out = a;
    return st;
}

const char *library_adding_path(const library_adding *a) {
    return a->new_payload;
}

void library_add_abandon(library_adding *a) {
    if (a)
        release(a);
}

/* ---- commit ---- */

/* A file is on the disk, and nobody else's to read. *bytes grows by its size. */
static kv_status finish(const char *path, uint64_t *bytes, kv_err *err) {
    struct stat there;
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? kv_fail(err, KV_EINVAL, "%.500s: nothing was written there", path)
                               : kv_fail(err, KV_EIO, "%.500s: cannot open: %m", path);
    const bool good = !fstat(fd, &there) && !fchmod(fd, 0600) && !fsync(fd);
    const int why = errno;
    close(fd);
    errno = why;
    *bytes += good ? (uint64_t)there.st_size : 0;
    return good ? KV_OK : kv_fail(err, KV_EIO, "%.500s: cannot write: %m", path);
}

/* *id: of the document that is replaced; 0: none is. */
static kv_status replace(const library_adding *a, int64_t *id, kv_err *err) {
    sqlite3_stmt *s = NULL;
    bool row = false;
    *id = 0;
    kv_status st = library_prepare(a->l, "SELECT id FROM document WHERE name = ?1 AND model_hash = ?2", &s, err);
    st = st ? st : library_bind(a->l, s, 1, a->d.name, err);
    st = st ? st : library_bind(a->l, s, 2, a->d.model_hash, err);
    st = st ? st : library_step(a->l, s, &row, err);
    if (row)
        *id = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return row ? library_delete(a->l, *id, err) : st;
}

static kv_status insert_document(library_adding *a, kv_err *err) {
    library_document *d = &a->d;
    const char *const texts[] = {d->name, d->title, d->source, d->model_name, d->model_hash};
    enum { TEXTS = sizeof texts / sizeof *texts };
    sqlite3_stmt *s = NULL;
    int64_t now;
    kv_status st = library_now(a->l, &now, err);
    st = st ? st
            : library_prepare(a->l,
                              "INSERT INTO document (name, title, source, model_name, model_hash, added, used, bytes, tokens) "
                              "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)",
                              &s, err);
    for (int i = 0; i < TEXTS && !st; i++)
        st = library_bind(a->l, s, i + 1, texts[i], err);
    if (!st) {
        sqlite3_bind_int64(s, TEXTS + 1, now);
        sqlite3_bind_int64(s, TEXTS + 2, (int64_t)d->bytes);
        sqlite3_bind_int64(s, TEXTS + 3, d->tokens);
        st = library_step(a->l, s, NULL, err);
    }
    sqlite3_finalize(s);
    if (!st)
        d->id = sqlite3_last_insert_rowid(a->l->db);
    return st;
}

/* Name and title are one column of the index. */
static kv_status insert_words(library_adding *a, kv_err *err) {
    sqlite3_stmt *s = NULL;
    kv_status st =
        library_prepare(a->l, "INSERT INTO words (rowid, title, text) VALUES (?1, ?2 || char(10) || ?3, ?4)", &s, err);
    st = st ? st : library_bind(a->l, s, 2, a->d.name, err);
    st = st ? st : library_bind(a->l, s, 3, a->d.title, err);
    if (!st) {
        sqlite3_bind_int64(s, 1, a->d.id);
        st = sqlite3_bind_text(s, 4, a->text, (int)a->text_len, SQLITE_STATIC) ? library_fail(a->l, err)
                                                                               : library_step(a->l, s, NULL, err);
    }
    sqlite3_finalize(s);
    return st;
}

/* Give the files the names that the row says, durably. */
static kv_status name_files(const library_adding *a, kv_err *err) {
    char *payload = library_payload(a->l, "%lld.kv", (long long)a->d.id),
         *text = library_payload(a->l, "%lld.txt", (long long)a->d.id);
    kv_status st = payload && text ? KV_OK : library_memory(err);
    if (!st && (rename(a->new_payload, payload) || rename(a->new_text, text)))
        st = kv_fail(err, KV_EIO, "%.500s: cannot give the finished file its name: %m", a->new_payload);
    const int folder = st ? -1 : open(a->l->payload, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) { /* a file system that cannot sync folders is no reason to fail */
        fsync(folder);
        close(folder);
    }
    free(payload);
    free(text);
    return st;
}

/* All that happens within the transaction. */
static kv_status add_row(library_adding *a, int64_t *replaced, library_list *gone, kv_err *err) {
    uint64_t limit;
    kv_status st = replace(a, replaced, err);
    st = st ? st : insert_document(a, err);
    st = st ? st : insert_words(a, err);
    st = st ? st : name_files(a, err);
    st = st ? st : library_limit(a->l, &limit, err);
    return st ? st : library_evict(a->l, limit, a->d.id, gone, err);
}

kv_status library_add_commit(library_adding *a, uint32_t tokens, library_list *gone, kv_err *err) {
    library *l = a->l;
    library_list went = {0};
    int64_t replaced = 0;
    a->d.tokens = tokens;
    kv_status st = file_write(a->new_text, a->text, a->text_len, err);
    st = st ? st : finish(a->new_payload, &a->d.bytes, err);
    st = st ? st : finish(a->new_text, &a->d.bytes, err);
    if (st || (st = library_begin(l, err)))
        goto done;
    st = add_row(a, &replaced, &went, err);
    if (!st)
        st = library_exec(l, "COMMIT", err);
    /* While the transaction lasts, nobody else can have given files these names. */
    if (st && a->d.id && !sqlite3_get_autocommit(l->db))
        library_unlink(l, a->d.id);
    if (st)
        library_end(l, st, err);
    if (replaced && !st)
        library_unlink(l, replaced);
    for (size_t i = 0; i < went.n && !st; i++)
        library_unlink(l, went.v[i].id);
done:
    if (gone && !st)
        *gone = went;
    else
        library_list_free(&went);
    release(a);
    return st;
}
