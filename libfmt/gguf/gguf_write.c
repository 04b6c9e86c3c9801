/* Copying a GGUF file with other metadata.
 *
 * What is kept is copied as bytes, not parsed and written anew: every key is one run of bytes from the length of its name to
 * the end of its value, the tensor descriptions are another, the data section a third. Only the counts in the header, the
 * changed keys and the padding before the data section are our own. So unknown keys survive as they are, and copying without
 * changes gives the same file again. The tensors of a split model lie in several files: to become one, their descriptions are
 * written anew, their bytes one after the other; to stay several, every part is copied by itself.
 */
#include "base/atomic_file.h"
#include "gguf/gguf_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* The first failed write stays; so that the writes need no check one by one. */
typedef struct writer {
    FILE *f;
    uint64_t pos;
    int error; /* errno */
} writer;

static void put(writer *w, const void *data, size_t n) {
    if (!w->error && fwrite(data, 1, n, w->f) != n)
        w->error = errno ? errno : EIO;
    w->pos += n;
}

static void put_u32(writer *w, uint32_t v) {
    put(w, &v, sizeof v);
}

static void put_u64(writer *w, uint64_t v) {
    put(w, &v, sizeof v);
}

static void put_set(writer *w, const gguf_set *s) {
    put_u64(w, strlen(s->key));
    put(w, s->key, strlen(s->key));
    put_u32(w, s->type);
    if (s->type == GGUF_ARRAY)
        put_u32(w, GGUF_U8);
    if (s->type != GGUF_U32)
        put_u64(w, s->len);
    put(w, s->data, s->len);
}

static bool has_prefix(gguf_str key, const char *prefix) {
    return prefix && key.len >= strlen(prefix) && !memcmp(key.s, prefix, strlen(prefix));
}

/* What becomes of keys. */
typedef struct changes {
    const char *drop_prefix; /* NULL: none are dropped */
    const gguf_set *sets;
    size_t n_sets;
    bool one_file; /* what was several: the keys split.* stay behind */
} changes;

static bool is_dropped(gguf_str key, const changes *c) {
    return has_prefix(key, c->drop_prefix) || (c->one_file && has_prefix(key, "split."));
}

static bool same_key(const gguf_set *s, gguf_str key) {
    return key.len == strlen(s->key) && !memcmp(key.s, s->key, key.len);
}

/* The set that replaces a key of the source, or NULL. */
static const gguf_set *set_of(gguf_str key, const gguf_set *sets, size_t n_sets) {
    for (size_t i = 0; i < n_sets; i++)
        if (same_key(&sets[i], key))
            return &sets[i];
    return NULL;
}

/* Whether a set comes in place of a key that is kept, instead of at the end. */
static bool replaces(const gguf *src, const gguf_set *s, const changes *c) {
    const gguf_kv *kv = gguf_find(src, s->key);
    return kv && !is_dropped(kv->key, c);
}

static kv_status check_sets(const char *path, const gguf_set *sets, size_t n_sets, kv_err *err) {
    for (size_t i = 0; i < n_sets; i++) {
        const gguf_set *s = &sets[i];
        if (!*s->key || !strcmp(s->key, "general.alignment"))
            return kv_fail(err, KV_EINVAL, "%s: key '%s' cannot be set", path, s->key);
        if (s->type != GGUF_STRING && s->type != GGUF_ARRAY && !(s->type == GGUF_U32 && s->len == sizeof(uint32_t)))
            return kv_fail(err, KV_EINVAL, "%s: key '%s': only strings, u32 and arrays of u8 can be set", path, s->key);
        if (set_of((gguf_str){s->key, strlen(s->key)}, sets, i))
            return kv_fail(err, KV_EINVAL, "%s: key '%s' is set twice", path, s->key);
    }
    return KV_OK;
}

static void put_keys(writer *w, const gguf *src, const changes *c) {
    for (size_t i = 0; i < src->n_kv; i++) {
        const gguf_kv *kv = &src->kv[i];
        const gguf_set *set = set_of(kv->key, c->sets, c->n_sets);
        const uint8_t *begin = (const uint8_t *)kv->key.s - sizeof(uint64_t), *end = kv->raw + kv->raw_bytes;
        if (is_dropped(kv->key, c))
            continue;
        if (set)
            put_set(w, set);
        else
            put(w, begin, (size_t)(end - begin));
    }
    for (size_t i = 0; i < c->n_sets; i++)
        if (!replaces(src, &c->sets[i], c))
            put_set(w, &c->sets[i]);
}

static uint64_t count_keys(const gguf *src, const changes *c) {
    uint64_t n = 0;
    for (size_t i = 0; i < src->n_kv; i++)
        n += !is_dropped(src->kv[i].key, c);
    for (size_t i = 0; i < c->n_sets; i++)
        n += !replaces(src, &c->sets[i], c);
    return n;
}

static void pad(writer *w, uint64_t alignment) {
    while (w->pos % alignment)
        put(w, "", 1);
}

/* Descriptions of all tensors, for data that follow each other, each of them aligned. */
static void put_infos(writer *w, const gguf *src) {
    uint64_t offset = 0;
    for (size_t i = 0; i < src->n_tensors; i++) {
        const gguf_tensor *t = &src->tensors[i];
        put_u64(w, t->name.len);
        put(w, t->name.s, t->name.len);
        put_u32(w, t->n_dims);
        put(w, t->dims, t->n_dims * sizeof *t->dims);
        put_u32(w, t->type->id);
        put_u64(w, offset);
        offset += (t->nbytes + src->alignment - 1) / src->alignment * src->alignment;
    }
}

/* Tensors that lie in a file: the first part knows of those of all. */
static uint64_t own_tensors(const gguf *g) {
    uint64_t n = g->n_tensors;
    for (size_t i = 0; i < g->n_others; i++)
        n -= g->others[i]->n_tensors;
    return n;
}

static int by_place(const void *a, const void *b) {
    const gguf_change *const *x = a, *const *y = b;
    return (*x)->was < (*y)->was ? -1 : (*x)->was > (*y)->was;
}

/* The data section of g, a part of src, with what was edited in it. */
static void put_data(writer *w, const gguf *src, const gguf *g) {
    const uint8_t *at = g->map + g->data_begin, *end = g->map + g->size;
    const gguf_change **in = malloc((src->n_changes + 1) * sizeof *in);
    size_t n = 0;
    if (!in)
        w->error = w->error ? w->error : ENOMEM;
    for (size_t i = 0; in && i < src->n_changes; i++)
        if (src->changes[i].was >= at && src->changes[i].was < end)
            in[n++] = &src->changes[i];
    if (n)
        qsort(in, n, sizeof *in, by_place);
    for (size_t i = 0; i < n; at = in[i]->was + in[i]->nbytes, i++) {
        put(w, at, (size_t)(in[i]->was - at));
        put(w, in[i]->now, in[i]->nbytes);
    }
    put(w, at, (size_t)(end - at));
    free(in);
}

/* src, or a part of it. */
static void put_file(writer *w, const gguf *whole, const gguf *src, const changes *c) {
    put(w, "GGUF", 4);
    put_u32(w, src->version);
    put_u64(w, c->one_file ? src->n_tensors : own_tensors(src));
    put_u64(w, count_keys(src, c));
    put_keys(w, src, c);
    if (!c->one_file) {
        put(w, src->map + src->infos_begin, src->infos_end - src->infos_begin);
        pad(w, src->alignment);
        put_data(w, whole, src);
        return;
    }
    put_infos(w, src);
    pad(w, src->alignment);
    for (size_t i = 0; i < src->n_tensors; i++) {
        put(w, src->tensors[i].data, src->tensors[i].nbytes);
        pad(w, src->alignment);
    }
}

/* Whether a file is one of those that the model is in. */
static bool is_part(const gguf *src, const struct stat *file) {
    bool yes = file->st_dev == src->dev && file->st_ino == src->ino;
    for (size_t i = 0; i < src->n_others; i++)
        yes |= file->st_dev == src->others[i]->dev && file->st_ino == src->others[i]->ino;
    return yes;
}

static kv_status check_place(const gguf *src, const char *path, kv_err *err) {
    struct stat info;
    if (stat(path, &info) == 0 && is_part(src, &info))
        return kv_fail(err, KV_EINVAL, "%s: is the model itself%s (write to another file)", path,
                       src->n_others ? ", or a part of it" : "");
    return KV_OK;
}

/* Begin a file of a model and write it: all of it, or part g. Not there yet under its name. */
static kv_status write_file(const gguf *src, const gguf *g, const char *path, const changes *c, atomic_file **out,
                            kv_err *err) {
    kv_status st = check_place(src, path, err);
    if (st != KV_OK || (st = atomic_file_open(path, out, err)) != KV_OK)
        return st;
    writer w = {.f = atomic_file_stream(*out)};
    errno = 0;
    put_file(&w, src, g, c);
    if ((st = gguf_unchanged(src, err)) || w.error) { /* what the model lost is no fault of where it is written to */
        atomic_file_abort(*out);
        return st ? st : kv_fail(err, KV_EIO, "%s: cannot write: %s", path, strerror(w.error));
    }
    return KV_OK;
}

/* Every part by itself, the first with its keys changed. path: of any of them. */
static kv_status copy_parts(const gguf *src, const char *path, const changes *c, kv_err *err) {
    const size_t n = src->n_others + 1;
    char *part = malloc(strlen(path) + 1);
    atomic_file **files = calloc(n, sizeof *files);
    size_t done = 0;
    kv_status st = part && files ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory", path);
    for (; !st && done < n; done += !st) {
        gguf_split_path(path, (unsigned)done + 1, part);
        st = done ? write_file(src, src->others[done - 1], part, &(changes){0}, &files[done], err)
                  : write_file(src, src, part, c, &files[0], err);
    }
    if (!st)
        st = atomic_files_commit(files, n, err);
    else
        for (size_t i = 0; i < done; i++)
            atomic_file_abort(files[i]);
    free(files);
    free(part);
    return st;
}

kv_status gguf_copy(const gguf *src, const char *path, const char *drop_prefix, const gguf_set *sets, size_t n_sets,
                    kv_err *err) {
    const unsigned count = gguf_split_count(path);
    const changes c = {drop_prefix, sets, n_sets, src->n_others && count == 1};
    atomic_file *file;
    kv_status st = check_sets(path, sets, n_sets, err);
    if (st != KV_OK)
        return st;
    if (gguf_find(src, "general.alignment") && has_prefix((gguf_str){"general.alignment", 17}, drop_prefix))
        return kv_fail(err, KV_EINVAL, "%s: keys '%s*' cannot be dropped: general.alignment is needed", path, drop_prefix);
    if (count > 1 && count != src->n_others + 1)
        return kv_fail(err, KV_EINVAL,
                       "%s: is called like a part of %u, but the model is in %zu file%s: take a name that says so, or, for one "
                       "file, one without numbers",
                       path, count, src->n_others + 1, src->n_others ? "s" : "");
    if (count > 1)
        return copy_parts(src, path, &c, err);
    st = write_file(src, src, path, &c, &file, err);
    return st == KV_OK ? atomic_file_commit(file, err) : st;
}
