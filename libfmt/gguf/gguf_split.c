/* Models in several files, NAME-00001-of-00003.gguf and so on.
 *
 * The first part has the metadata and perhaps tensors, the others have tensors. Each is a whole GGUF file with three keys more:
 * split.no (from 0), split.count, and split.tensors.count, the tensors of all parts. Parts find each other by their names, and
 * must agree with these: a part that lies in the place of another, or comes from another model, is named. Source: gguf-split of
 * llama.cpp.
 */
#include "gguf/gguf_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- names ---- */

enum { DIGITS = 5 };
static const char pattern[] = "-00001-of-00003.gguf"; /* any digits */

/* The numbers at the end of a path that is called like a part: no and count, 1 <= no <= count. */
static bool name_says(const char *path, unsigned *no, unsigned *count) {
    const size_t len = strlen(path), tail = strlen(pattern);
    if (len < tail)
        return false;
    path += len - tail;
    unsigned number[2] = {0, 0};
    for (size_t i = 0, digits = 0; i < tail; i++) {
        const bool is_digit = path[i] >= '0' && path[i] <= '9';
        if (pattern[i] < '0' || pattern[i] > '9') {
            if (path[i] != pattern[i])
                return false;
        } else if (!is_digit) {
            return false;
        } else {
            unsigned *n = &number[digits++ / DIGITS];
            *n = *n * 10 + (unsigned)(path[i] - '0');
        }
    }
    *no = number[0];
    *count = number[1];
    return *no >= 1 && *no <= *count;
}

unsigned gguf_split_count(const char *path) {
    unsigned no, count;
    return name_says(path, &no, &count) ? count : 1;
}

void gguf_split_path(const char *path, unsigned no, char *out) {
    const size_t len = strlen(path), at = len - strlen(pattern) + 1; /* of the digits */
    memmove(out, path, len + 1);
    for (size_t i = DIGITS; i-- > 0; no /= 10)
        out[at + i] = (char)('0' + no % 10);
}

/* ---- parts ---- */

/* What the keys of a part say. */
typedef struct split {
    uint32_t no, count, tensors;
} split;

static kv_status read_split(const gguf *g, split *s, kv_err *err) {
    kv_status st = gguf_get_u32(g, "split.no", true, &s->no, err);
    if (!st)
        st = gguf_get_u32(g, "split.count", true, &s->count, err);
    return st ? st : gguf_get_u32(g, "split.tensors.count", true, &s->tensors, err);
}

/* That the name of a part and its keys agree. */
static kv_status check_name(const gguf *g, const split *s, kv_err *err) {
    unsigned no, count;
    if (!name_says(g->path, &no, &count))
        return kv_fail(err, KV_EFORMAT,
                       "%s: is part %" PRIu64
                       " of a model in %u files, but is not called so: the others are found by its name, which "
                       "must end in -%05" PRIu64 "-of-%05u.gguf (give all parts their names back)",
                       g->path, (uint64_t)s->no + 1, s->count, (uint64_t)s->no + 1, s->count);
    if (count != s->count)
        return kv_fail(err, KV_EFORMAT, "%s: its name says %u parts, but key 'split.count' is %u", g->path, count, s->count);
    if (no != (uint64_t)s->no + 1)
        return kv_fail(err, KV_EFORMAT,
                       "%s: its name says part %u, but key 'split.no' is %u, which is part %" PRIu64
                       " (parts have changed places; give them their names back)",
                       g->path, no, s->no, (uint64_t)s->no + 1);
    return KV_OK;
}

static bool is(gguf_str name, const char *text) {
    return name.len == strlen(text) && !memcmp(name.s, text, name.len);
}

static bool same_value(const gguf_kv *a, const gguf_kv *b) {
    return a->type == b->type && a->elem_type == b->elem_type && a->raw_bytes == b->raw_bytes &&
           !memcmp(a->raw, b->raw, a->raw_bytes);
}

/* All metadata is in the first part; what another one repeats must be the same there. */
static kv_status check_keys(const gguf *first, const gguf *g, kv_err *err) {
    for (size_t i = 0; i < g->n_kv; i++) {
        const gguf_kv *kv = &g->kv[i], *other = gguf_index_find(&first->by_key, kv->key);
        const int len = kv->key.len < 100 ? (int)kv->key.len : 100;
        if (is(kv->key, "split.no") || is(kv->key, "general.alignment"))
            continue;
        if (!other)
            return kv_fail(err, KV_EFORMAT, "%s: key '%.*s' is not in the first part, %s (are these parts of one model?)",
                           g->path, len, kv->key.s, first->path);
        if (!same_value(kv, other))
            return kv_fail(err, KV_EFORMAT, "%s: key '%.*s' is not what it is in %s: these are parts of different models",
                           g->path, len, kv->key.s, first->path);
    }
    return KV_OK;
}

/* Part no of the model that `named` is a part of. */
static kv_status open_part(const gguf *named, unsigned no, unsigned count, gguf **out, kv_err *err) {
    struct stat info;
    split s;
    kv_status st;
    char *path = malloc(strlen(named->path) + 1);
    if (!path)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", named->path);
    gguf_split_path(named->path, no, path);
    if (stat(path, &info) != 0 && errno == ENOENT)
        st = kv_fail(err, KV_EIO, "%s: is missing: part %u of %u of the model (get it, and put it beside the others)", path, no,
                     count);
    else if (!(st = gguf_open_file(path, out, err)) && !(st = read_split(*out, &s, err)))
        st = check_name(*out, &s, err);
    free(path);
    return st;
}

/* ---- one model of all ---- */

/* Whose tensor it is: for a message. */
static const gguf *owner(const gguf *first, const gguf_tensor *t) {
    for (size_t i = 0; i < first->n_others; i++) {
        const gguf *g = first->others[i];
        if ((const uint8_t *)t->name.s >= g->map && (const uint8_t *)t->name.s < g->map + g->size)
            return g;
    }
    return first;
}

/* Give the first part the tensors of all; it has the others already. */
static kv_status join_tensors(gguf *first, const split *s, kv_err *err) {
    gguf_index by_name;
    size_t n = first->n_tensors;
    for (size_t i = 0; i < first->n_others; i++)
        n += first->others[i]->n_tensors;
    if (n != s->tensors)
        return kv_fail(err, KV_EFORMAT, "%s: its parts have %zu tensors, but key 'split.tensors.count' is %u", first->path, n,
                       s->tensors);
    gguf_tensor *all = calloc(n + 1, sizeof *all);
    if (!all || !gguf_index_alloc(&by_name, all, sizeof *all, n)) {
        free(all);
        return kv_fail(err, KV_ENOMEM, "%s: out of memory", first->path);
    }
    memcpy(all, first->tensors, first->n_tensors * sizeof *all);
    for (size_t i = 0, at = first->n_tensors; i < first->n_others; at += first->others[i++]->n_tensors)
        memcpy(all + at, first->others[i]->tensors, first->others[i]->n_tensors * sizeof *all);
    free(first->tensors);
    free(first->by_name.slots);
    first->tensors = all;
    first->n_tensors = n;
    first->by_name = by_name;
    for (size_t i = 0; i < n; i++)
        if (!gguf_index_add(&first->by_name, i)) {
            const gguf_tensor *twin = gguf_index_find(&first->by_name, all[i].name);
            return kv_fail(err, KV_EFORMAT, "%s: tensor '%.*s' is in %s as well", owner(first, &all[i])->path,
                           (int)all[i].name.len, all[i].name.s, owner(first, twin)->path);
        }
    return KV_OK;
}

/* All parts, of which `named` is one: this moves into *out, or is closed. */
static kv_status join(gguf *named, gguf **out, kv_err *err) {
    split s = {0};
    gguf **parts = NULL, *first = NULL;
    unsigned own = 0;
    kv_status st = read_split(named, &s, err);
    if (st || (st = check_name(named, &s, err)))
        goto done;
    own = s.no;
    if (!(parts = calloc(s.count, sizeof *parts))) {
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory", named->path);
        goto done;
    }
    for (unsigned i = 0; i < s.count && !st; i++) {
        if (i != own)
            st = open_part(named, i + 1, s.count, &parts[i], err);
        else
            parts[i] = named;
        if (!st && i > 0)
            st = check_keys(parts[0], parts[i], err);
    }
    if (st)
        goto done;
    first = parts[0];
    first->others = parts;
    first->n_others = s.count - 1;
    memmove(parts, parts + 1, first->n_others * sizeof *parts);
    st = join_tensors(first, &s, err);
    if (st)
        gguf_close(first);
    else
        *out = first;
    return st;
done:
    for (unsigned i = 0; parts && i < s.count; i++)
        if (i != own)
            gguf_close(parts[i]);
    free(parts);
    gguf_close(named);
    return st;
}

kv_status gguf_open(const char *path, gguf **out, kv_err *err) {
    gguf *g;
    uint32_t count = 0;
    kv_status st = gguf_open_file(path, &g, err);
    if (st)
        return st;
    if ((st = gguf_get_u32(g, "split.count", false, &count, err)))
        gguf_close(g);
    else if (count > 1)
        st = join(g, out, err);
    else
        *out = g;
    return st;
}
