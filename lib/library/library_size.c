/* How much the library may take, and what goes when it is too much. */
#include "library/library_internal.h"

#include <stdlib.h>

kv_status library_limit(library *l, uint64_t *out, kv_err *err) {
    int64_t limit;
    kv_status st = library_number(l, "SELECT value FROM setting WHERE key = 'limit'", 0, &limit, err);
    *out = limit > 0 ? (uint64_t)limit : 0;
    return st;
}

/* What a document takes: nothing where its payload has vanished. */
static uint64_t size_of(const library_document *d) {
    return d->missing ? 0 : d->bytes;
}

static uint64_t total(const library_list *all) {
    uint64_t sum = 0;
    for (size_t i = 0; i < all->n; i++)
        sum += size_of(&all->v[i]);
    return sum;
}

kv_status library_evict(library *l, uint64_t limit, int64_t keep, library_list *gone, kv_err *err) {
    library_list all;
    *gone = (library_list){0};
    kv_status st = library_all(l, LIBRARY_BY_USE, &all, err);
    if (st)
        return st;
    uint64_t sum = limit ? total(&all) : 0;
    if (!(gone->v = calloc(all.n + 1, sizeof *gone->v))) {
        library_list_free(&all);
        return library_memory(err);
    }
    while (all.n) { /* from the one that was not used for longest */
        library_document *d = &all.v[--all.n];
        const bool goes = !st && sum > limit && d->id != keep && size_of(d);
        if (goes) {
            st = library_delete(l, d->id, err);
            sum -= d->bytes;
            gone->v[gone->n++] = *d;
        } else
            library_free(d);
    }
    library_list_free(&all);
    if (st)
        library_list_free(gone);
    return st;
}

kv_status library_set_limit(library *l, uint64_t bytes, library_list *gone, kv_err *err) {
    library_list went = {0};
    if (bytes > INT64_MAX)
        return kv_fail(err, KV_EINVAL, "a limit of %llu bytes is more than any disk holds", (unsigned long long)bytes);
    kv_status st = library_begin(l, err);
    if (st)
        return st;
    st = library_change(l, "INSERT OR REPLACE INTO setting (key, value) VALUES ('limit', ?1)", (int64_t)bytes, err);
    if (!st)
        st = library_evict(l, bytes, -1, &went, err);
    st = library_end(l, st, err);
    for (size_t i = 0; i < went.n && !st; i++)
        library_unlink(l, went.v[i].id);
    if (gone && !st)
        *gone = went;
    else
        library_list_free(&went);
    return st;
}

kv_status library_get_totals(library *l, library_totals *out, kv_err *err) {
    library_list all;
    *out = (library_totals){0};
    kv_status st = library_all(l, LIBRARY_BY_USE, &all, err);
    if (st)
        return st;
    out->documents = all.n;
    out->bytes = total(&all);
    for (size_t i = 0; i < all.n; i++)
        out->missing += all.v[i].missing;
    library_list_free(&all);
    return library_limit(l, &out->limit, err);
}
