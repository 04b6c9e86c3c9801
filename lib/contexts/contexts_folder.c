/* Names, times and sizes: all that is known of stored contexts without opening them. */
#include "contexts/contexts_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { STALE = 3600 }; /* seconds after which nobody is writing a temporary file any more */

uint64_t contexts_hash(const int32_t *ids, size_t n) {
    return XXH3_64bits(ids, n * sizeof *ids);
}

void contexts_name(const contexts_key *key, const int32_t *ids, uint32_t n, char name[CONTEXTS_NAME]) {
    snprintf(name, CONTEXTS_NAME, "%.16s-%.16s-%016" PRIx64 "-%016" PRIx64 "-%" PRIu32 ".kv", key->model, key->cache,
             contexts_hash(ids, CONTEXTS_LEAST), contexts_hash(ids, n), n);
}

/* Whether it is a name that contexts_name makes. */
static bool parse_name(const char *name, contexts_entry *e) {
    char again[CONTEXTS_NAME];
    if (sscanf(name, "%16[0-9a-f]-%16[0-9a-f]-%16" SCNx64 "-%16" SCNx64 "-%9" SCNu32 ".kv", e->model, e->cache, &e->begin,
               &e->all, &e->n) != 5)
        return false;
    snprintf(again, sizeof again, "%.16s-%.16s-%016" PRIx64 "-%016" PRIx64 "-%" PRIu32 ".kv", e->model, e->cache, e->begin,
             e->all, e->n);
    snprintf(e->name, sizeof e->name, "%s", again);
    return !strcmp(name, again);
}

kv_status contexts_path(const contexts *c, const char *name, char path[CONTEXTS_PATH], kv_err *err) {
    const int n = snprintf(path, CONTEXTS_PATH, "%s/%s", c->folder, name);
    return n >= 0 && n < CONTEXTS_PATH ? KV_OK : kv_fail(err, KV_EINVAL, "%s: the path is too long", c->folder);
}

static bool is_temporary(const char *name) {
    const size_t len = strlen(name);
    return name[0] == '.' && len > 4 && !strcmp(name + len - 4, ".tmp");
}

/* A file system without nameless files leaves them where a process is killed. */
static void sweep(int folder, const char *name) {
    struct stat st;
    if (!fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) && time(NULL) - st.st_mtime > STALE)
        unlinkat(folder, name, 0);
}

static kv_status add(contexts_entry **list, size_t *n, size_t *cap, const contexts_entry *e, kv_err *err) {
    if (*n == *cap) {
        *cap = *cap ? 2 * *cap : 64;
        contexts_entry *grown = realloc(*list, *cap * sizeof *grown);
        if (!grown)
            return kv_fail(err, KV_ENOMEM, "out of memory for %zu stored contexts", *cap);
        *list = grown;
    }
    (*list)[(*n)++] = *e;
    return KV_OK;
}

kv_status contexts_scan(const contexts *c, const uint64_t *begin, contexts_entry **out, size_t *n, kv_err *err) {
    size_t cap = 0;
    kv_status st = KV_OK;
    *out = NULL;
    *n = 0;
    DIR *d = opendir(c->folder);
    if (!d)
        return kv_fail(err, KV_EIO, "%s: cannot be looked into: %s", c->folder, strerror(errno));
    for (const struct dirent *file; !st && (file = readdir(d));) {
        contexts_entry e;
        struct stat info;
        if (is_temporary(file->d_name))
            sweep(dirfd(d), file->d_name);
        if (!parse_name(file->d_name, &e) || (begin && e.begin != *begin) ||
            fstatat(dirfd(d), file->d_name, &info, AT_SYMLINK_NOFOLLOW) || !S_ISREG(info.st_mode))
            continue;
        e.bytes = (uint64_t)info.st_size;
        e.used = info.st_mtim;
        st = add(out, n, &cap, &e, err);
    }
    closedir(d);
    if (st) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return st;
}

bool contexts_is_of(const contexts_entry *e, const contexts_key *key) {
    return !strncmp(e->model, key->model, 16) && !strncmp(e->cache, key->cache, 16);
}

void contexts_remove(const contexts *c, const char *name) {
    char path[CONTEXTS_PATH];
    if (!contexts_path(c, name, path, NULL))
        unlink(path);
}

void contexts_touch(const contexts *c, const char *name) {
    const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    char path[CONTEXTS_PATH];
    if (!contexts_path(c, name, path, NULL))
        utimensat(AT_FDCWD, path, now, 0);
}

static int last_used_first(const void *a, const void *b) {
    const struct timespec *x = &((const contexts_entry *)a)->used, *y = &((const contexts_entry *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? 1 : -1;
    return (x->tv_nsec < y->tv_nsec) - (x->tv_nsec > y->tv_nsec);
}

kv_status contexts_shrink(const contexts *c, const char *newest, bool *left, kv_err *err) {
    contexts_entry *all;
    size_t n;
    uint64_t bytes = 0, of_newest = 0;
    *left = true;
    kv_status st = contexts_scan(c, NULL, &all, &n, err);
    if (st)
        return st;
    for (size_t i = 0; i < n; i++) {
        bytes += all[i].bytes;
        if (!strcmp(all[i].name, newest))
            of_newest = all[i].bytes;
    }
    if (n)
        qsort(all, n, sizeof *all, last_used_first);
    while (bytes > c->limit && n--) {
        if (!strcmp(all[n].name, newest))
            continue;
        contexts_remove(c, all[n].name);
        bytes -= all[n].bytes;
    }
    if (of_newest > c->limit) {
        contexts_remove(c, newest);
        *left = false;
    }
    free(all);
    return KV_OK;
}

kv_status contexts_list(contexts *c, contexts_row **out, size_t *n, kv_err *err) {
    contexts_entry *all;
    *out = NULL;
    kv_status st = contexts_scan(c, NULL, &all, n, err);
    if (st)
        return st;
    if (*n)
        qsort(all, *n, sizeof *all, last_used_first);
    if (*n && !(*out = calloc(*n, sizeof **out)))
        st = kv_fail(err, KV_ENOMEM, "out of memory for a list of %zu contexts", *n);
    for (size_t i = 0; i < *n && !st; i++) {
        (*out)[i] = (contexts_row){.tokens = all[i].n, .bytes = all[i].bytes, .used = all[i].used.tv_sec};
        st = contexts_path(c, all[i].name, (*out)[i].path, err);
    }
    if (st) {
        free(*out);
        *out = NULL;
    }
    free(all);
    return st;
}

kv_status contexts_clear(contexts *c, size_t *n, kv_err *err) {
    contexts_entry *all;
    kv_status st = contexts_scan(c, NULL, &all, n, err);
    for (size_t i = 0; i < *n && !st; i++) {
        char path[CONTEXTS_PATH];
        if (!(st = contexts_path(c, all[i].name, path, err)) && unlink(path) && errno != ENOENT)
            st = kv_fail(err, KV_EIO, "%s: cannot be removed: %s", path, strerror(errno));
    }
    free(all);
    return st;
}
