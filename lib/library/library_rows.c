/* Documents as rows: reading, finding and removing them. */
#include "library/library_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <utf8proc.h>

enum { MICRO = 1000000 };

/* ---- reading ---- */

void library_free(library_document *d) {
    char *const all[] = {d->name, d->title, d->source, d->model_name, d->model_hash, d->payload_path, d->text_path, d->snippet};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

void library_list_free(library_list *list) {
    for (size_t i = 0; i < list->n; i++)
        library_free(&list->v[i]);
    free(list->v);
    *list = (library_list){0};
}

static char *copy_text(sqlite3_stmt *s, int column) {
    const unsigned char *text = sqlite3_column_text(s, column);
    return strdup(text ? (const char *)text : "");
}

static bool is_whole(const library_document *d) {
    return d->name && d->title && d->source && d->model_name && d->model_hash && d->payload_path && d->text_path && d->snippet;
}

static library_document read_document(const library *l, sqlite3_stmt *s) {
    const int64_t id = sqlite3_column_int64(s, 0);
    struct stat there;
    library_document d = {.id = id,
                          .name = copy_text(s, 1),
                          .title = copy_text(s, 2),
                          .source = copy_text(s, 3),
                          .model_name = copy_text(s, 4),
                          .model_hash = copy_text(s, 5),
                          .payload_path = library_payload(l, "%lld.kv", (long long)id),
                          .text_path = library_payload(l, "%lld.txt", (long long)id),
                          .snippet = strdup(""),
                          .added = sqlite3_column_int64(s, 6) / MICRO,
                          .used = sqlite3_column_int64(s, 7) / MICRO,
                          .bytes = (uint64_t)sqlite3_column_int64(s, 8),
                          .tokens = (uint32_t)sqlite3_column_int64(s, 9)};
    d.missing = d.payload_path && stat(d.payload_path, &there) && errno == ENOENT; /* else it could only not be looked at */
    return d;
}

kv_status library_rows(library *l, sqlite3_stmt *s, library_more *more, library_list *list, kv_err *err) {
    bool row;
    kv_status st;
    while (!(st = library_step(l, s, &row, err)) && row) {
        library_document *grown = realloc(list->v, (list->n + 1) * sizeof *grown);
        if (!grown) {
            st = library_memory(err);
            break;
        }
        list->v = grown;
        library_document *d = &list->v[list->n++];
        *d = read_document(l, s);
        if (more)
            more(d, s);
        if (!is_whole(d)) {
            st = library_memory(err);
            break;
        }
    }
    if (st)
        library_list_free(list);
    return st;
}

/* Rows of a statement that takes the hash of a model, or NULL for all. */
static kv_status select_rows(library *l, const char *sql, const char *model_hash, library_list *out, kv_err *err) {
    sqlite3_stmt *s = NULL;
    *out = (library_list){0};
    kv_status st = library_prepare(l, sql, &s, err);
    if (!st && sqlite3_bind_parameter_count(s))
        st = library_bind(l, s, 1, model_hash, err);
    if (!st)
        st = library_rows(l, s, NULL, out, err);
    sqlite3_finalize(s);
    return st;
}

kv_status library_all(library *l, library_order order, library_list *out, kv_err *err) {
    static const char *const by[] = {
        [LIBRARY_BY_USE] = "SELECT " LIBRARY_COLUMNS " FROM document d ORDER BY d.used DESC",
        [LIBRARY_BY_NAME] = "SELECT " LIBRARY_COLUMNS " FROM document d ORDER BY d.name COLLATE NOCASE, d.name, d.used DESC"};
    return select_rows(l, by[order], NULL, out, err);
}

/* ---- finding ---- */

/* A name as it is compared: normal form C, and without case where that does not matter. NULL: no memory, or not UTF-8. */
static char *normal(const char *name, bool fold) {
    utf8proc_uint8_t *out = NULL;
    utf8proc_map((const utf8proc_uint8_t *)name, 0, &out,
                 (utf8proc_option_t)(UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPOSE | (fold ? UTF8PROC_CASEFOLD : 0)));
    return (char *)out;
}

/* How well a name fits what was asked for; the less the better. */
typedef enum fit { FIT_EXACT, FIT_CASE, FIT_BEGINS, FIT_NOT } fit;

static fit fit_of(const char *wanted, const char *folded, const char *name) {
    char *other = normal(name, true);
    const fit f = !strcmp(wanted, name)                                         ? FIT_EXACT
                  : other && !strcmp(folded, other)                             ? FIT_CASE
                  : other && *folded && !strncmp(folded, other, strlen(folded)) ? FIT_BEGINS
                                                                                : FIT_NOT;
    free(other);
    return f;
}

/* Letters in which the beginnings of two names differ, by the fewest changes from one to the other (Levenshtein 1966). */
static size_t difference(const char *a, const char *b) {
    enum { MOST = 64 };
    size_t row[MOST + 1], n = strlen(b) < MOST ? strlen(b) : MOST;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] && i <= MOST; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t swap = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            const size_t least = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = swap < least ? swap : least;
        }
    }
    return row[n];
}

static kv_status not_found(const char *name, const char *folded, const char *model_hash, const library_list *all, kv_err *err) {
    const char *of = model_hash ? " that this model has read" : "", *nearest = NULL;
    size_t least = strlen(folded) / 3 + 1;
    for (size_t i = 0; i < all->n; i++) {
        char *other = normal(all->v[i].name, true);
        const size_t d = other ? difference(folded, other) : SIZE_MAX;
        /* A piece of a longer name is a good guess, too, though a worse one than a typing error. */
        const size_t as = d > least && other && *folded && strstr(other, folded) ? least : d;
        if (as < least || (as == least && !nearest)) {
            nearest = all->v[i].name;
            least = as;
        }
        free(other);
    }
    if (nearest)
        return kv_fail(err, KV_EINVAL, "no document%s is called '%.200s'; did you mean '%.200s'?", of, name, nearest);
    return kv_fail(err, KV_EINVAL, "no document%s is called '%.200s'", of, name);
}

static kv_status several(const char *name, const library_list *all, const fit *fits, fit best, kv_err *err) {
    char names[512] = "";
    size_t len = 0, more = 0;
    const char *last = NULL;
    for (size_t i = 0; i < all->n; i++) {
        if (fits[i] != best || (last && !strcmp(last, all->v[i].name)))
            continue;
        last = all->v[i].name;
        if (len + strlen(last) + 4 < sizeof names)
            len += (size_t)snprintf(names + len, sizeof names - len, "%s'%s'", len ? ", " : "", last);
        else
            more++;
    }
    return kv_fail(err, KV_EINVAL, "'%.200s' may be %s%s; say more of the name", name, names, more ? " and others" : "");
}

/* Keep those that fit best, if they are of one name. */
static kv_status choose(library_list *all, const char *name, const char *model_hash, kv_err *err) {
    kv_status st = KV_OK;
    fit best = FIT_NOT;
    const char *chosen = NULL;
    char *wanted = normal(name, false), *folded = normal(name, true);
    fit *fits = calloc(all->n + 1, sizeof *fits);
    if (!wanted || !folded || !fits) {
        st = fits ? kv_fail(err, KV_EINVAL, "no document is called '%.200s', which is not UTF-8", name) : library_memory(err);
        goto done;
    }
    for (size_t i = 0; i < all->n; i++) {
        fits[i] = fit_of(wanted, folded, all->v[i].name);
        best = fits[i] < best ? fits[i] : best;
    }
    if (best == FIT_NOT)
        st = not_found(name, folded, model_hash, all, err);
    for (size_t i = 0; i < all->n && !st; i++)
        if (fits[i] == best && chosen && strcmp(chosen, all->v[i].name))
            st = several(name, all, fits, best, err);
        else if (fits[i] == best)
            chosen = all->v[i].name;
    size_t kept = 0;
    for (size_t i = 0; i < all->n && !st; i++)
        if (fits[i] == best)
            all->v[kept++] = all->v[i];
        else
            library_free(&all->v[i]);
    if (!st)
        all->n = kept;
done:
    free(fits);
    free(wanted);
    free(folded);
    return st;
}

kv_status library_find(library *l, const char *name, const char *model_hash, library_list *out, kv_err *err) {
    kv_status st = select_rows(l,
                               "SELECT " LIBRARY_COLUMNS " FROM document d WHERE ?1 IS NULL OR d.model_hash = ?1 "
                               "ORDER BY d.name, d.used DESC",
                               model_hash, out, err);
    if (!st && (st = choose(out, name, model_hash, err)))
        library_list_free(out);
    return st;
}

/* ---- changing ---- */

kv_status library_now(library *l, int64_t *out, kv_err *err) {
    struct timespec t;
    int64_t last;
    kv_status st = library_number(l, "SELECT max(used) FROM document", 0, &last, err);
    clock_gettime(CLOCK_REALTIME, &t);
    *out = (int64_t)t.tv_sec * MICRO + t.tv_nsec / 1000;
    *out = *out > last ? *out : last + 1; /* the order holds, whatever the clock does */
    return st;
}

kv_status library_touch(library *l, int64_t id, kv_err *err) {
    sqlite3_stmt *s = NULL;
    int64_t now;
    kv_status st = library_begin(l, err);
    if (st)
        return st;
    if (!(st = library_now(l, &now, err)) &&
        !(st = library_prepare(l, "UPDATE document SET used = ?2 WHERE id = ?1", &s, err))) {
        sqlite3_bind_int64(s, 1, id);
        sqlite3_bind_int64(s, 2, now);
        st = library_step(l, s, NULL, err);
    }
    sqlite3_finalize(s);
    return library_end(l, st, err);
}

kv_status library_delete(library *l, int64_t id, kv_err *err) {
    kv_status st = library_change(l, "DELETE FROM words WHERE rowid = ?1", id, err);
    return st ? st : library_change(l, "DELETE FROM document WHERE id = ?1", id, err);
}

void library_unlink(const library *l, int64_t id) {
    static const char *const kinds[] = {"kv", "txt"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char *path = library_payload(l, "%lld.%s", (long long)id, kinds[i]);
        if (path)
            unlink(path);
        free(path);
    }
}

kv_status library_remove(library *l, int64_t id, kv_err *err) {
    int64_t there;
    kv_status st = library_begin(l, err);
    if (st)
        return st;
    st = library_number(l, "SELECT count(*) FROM document WHERE id = ?1", id, &there, err);
    if (!st && !there)
        st = kv_fail(err, KV_EINVAL, "that document is not there any more");
    if (!st)
        st = library_delete(l, id, err);
    if (!(st = library_end(l, st, err)))
        library_unlink(l, id);
    return st;
}
