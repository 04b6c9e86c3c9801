#include "models/store.h"

#include "gguf/gguf.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char ending[] = ".gguf", part_ending[] = ".gguf.part", split_tail[] = "-00001-of-00001.gguf";

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), m = strlen(end);
    return n > m && !strcasecmp(s + n - m, end);
}

bool store_name(const char *file, char *out) {
    const size_t len = strlen(file);
    if (!ends_with(file, ending) || len >= STORE_NAME || *file == '.')
        return false;
    const bool split = gguf_split_count(file) > 1;
    if (split && !strstr(file + len - strlen(split_tail), "-00001-of-"))
        return false;
    snprintf(out, STORE_NAME, "%.*s", (int)(len - strlen(split ? split_tail : ending)), file);
    return *out != '\0';
}

kv_status store_part_folder(const char *path, char out[STORE_PATH], kv_err *err) {
    const int n = snprintf(out, STORE_PATH, "%s.part", path);
    return n > 0 && n < STORE_PATH ? KV_OK : kv_fail(err, KV_EINVAL, "%.600s: this path is too long", path);
}

static void add_file(store_row *row, const char *path) {
    struct stat st;
    if (stat(path, &st) || !S_ISREG(st.st_mode)) {
        row->missing++;
        return;
    }
    row->bytes += (uint64_t)st.st_size;
    if (st.st_mtime > row->when)
        row->when = st.st_mtime;
}

/* What is there of a model that is being fetched. */
static void add_partial(store_row *row, const char *folder) {
    char path[STORE_PATH + STORE_NAME];
    DIR *d = opendir(folder);
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (*e->d_name == '.' || ends_with(e->d_name, ".from") || stat(path, &st) || !S_ISREG(st.st_mode))
            continue;
        row->bytes += (uint64_t)st.st_size;
        if (st.st_mtime > row->when)
            row->when = st.st_mtime;
    }
    if (d)
        closedir(d);
}

/* Fill in what is at path, called file in its folder; partial: without .part at its end. False: no model. */
static kv_status look_at(store_row *row, const char *folder, const char *file, bool partial, kv_err *err) {
    char path[STORE_PATH];
    const int n = snprintf(path, sizeof path, "%s/%s", folder, file);
    if (n < 0 || n >= STORE_PATH)
        return kv_fail(err, KV_EINVAL, "%.600s: this path is too long", folder);
    row->partial = partial;
    row->files = gguf_split_count(file);
    if (!(row->path = strdup(path)))
        return kv_fail(err, KV_ENOMEM, "%.600s: out of memory", folder);
    if (partial) {
        char parts[STORE_PATH];
        kv_status st = store_part_folder(path, parts, err);
        if (!st)
            add_partial(row, parts);
        return st;
    }
    for (unsigned no = 1; no <= row->files; no++) {
        if (row->files > 1)
            gguf_split_path(path, no, path);
        add_file(row, path);
    }
    return KV_OK;
}

static int by_name(const void *a, const void *b) {
    const store_row *x = a, *y = b;
    const int c = strcasecmp(x->name, y->name);
    return c ? c : x->partial - y->partial;
}

kv_status store_read(const char *folder, store_list *out, kv_err *err) {
    kv_status st = KV_OK;
    *out = (store_list){0};
    DIR *d = opendir(folder);
    if (!d)
        return errno == ENOENT || errno == ENOTDIR
                   ? KV_OK
                   : kv_fail(err, KV_EIO, "%.600s: cannot be read: %s", folder, strerror(errno));
    for (const struct dirent *e; !st && (e = readdir(d));) {
        char file[STORE_NAME];
        store_row row = {0};
        const bool partial = ends_with(e->d_name, part_ending);
        const size_t len = strlen(e->d_name) - (partial ? strlen(".part") : 0);
        if (len >= sizeof file)
            continue;
        memcpy(file, e->d_name, len);
        file[len] = '\0';
        if (!store_name(file, row.name))
            continue;
        store_row *grown = realloc(out->v, (out->n + 1) * sizeof *grown);
        if (!grown) {
            st = kv_fail(err, KV_ENOMEM, "%.600s: out of memory", folder);
            break;
        }
        out->v = grown;
        st = look_at(&row, folder, file, partial, err);
        out->v[out->n++] = row;
    }
    closedir(d);
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, by_name);
    return st;
}

void store_free(store_list *l) {
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].path);
    free(l->v);
    *l = (store_list){0};
}

static kv_status remove_file(const char *path, kv_err *err) {
    return !unlink(path) || errno == ENOENT ? KV_OK
                                            : kv_fail(err, KV_EIO, "%.600s: cannot be removed: %s", path, strerror(errno));
}

/* A folder of files that were being fetched, and are not any more. */
static kv_status remove_partial(const char *folder, kv_err *err) {
    char path[STORE_PATH + STORE_NAME];
    kv_status st = KV_OK;
    DIR *d = opendir(folder);
    if (d && flock(dirfd(d), LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        st = kv_fail(err, KV_EIO, "%.600s: another process is fetching this model", folder);
    for (const struct dirent *e; d && !st && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            st = remove_file(path, err);
        }
    if (d)
        closedir(d);
    if (!st && rmdir(folder) && errno != ENOENT)
        st = kv_fail(err, KV_EIO, "%.600s: cannot be removed: %s", folder, strerror(errno));
    return st;
}

kv_status store_remove(const store_row *row, kv_err *err) {
    char path[STORE_PATH];
    kv_status st = KV_OK;
    if (row->partial)
        return (st = store_part_folder(row->path, path, err)) ? st : remove_partial(path, err);
    snprintf(path, sizeof path, "%s", row->path);
    for (unsigned no = row->files; no >= 1 && !st; no--) { /* the first last: without it there is no model */
        if (row->files > 1)
            gguf_split_path(path, no, path);
        st = remove_file(path, err);
    }
    return st;
}
