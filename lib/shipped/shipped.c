#include "shipped/shipped.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 4096 }; /* bytes at the start of a profile in which its model is named */

/* Files whose names end with .yaml; names of it alone do not count. */
static int is_yaml(const struct dirent *d) {
    const size_t n = strlen(d->d_name);
    return n > 5 && *d->d_name != '.' && !strcmp(d->d_name + n - 5, ".yaml");
}

/* What such a failure means: what is not there or not for us is passed over. */
static kv_status check_errno(const char *path, const char *what, kv_err *err) {
    static const int passed[] = {ENOENT, ENOTDIR, EISDIR, EACCES, EPERM, ELOOP, ENAMETOOLONG};
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (errno == passed[i])
            return KV_OK;
    return kv_fail(err, errno == ENOMEM ? KV_ENOMEM : KV_EIO, "%.500s: %s: %s", path, what, strerror(errno));
}

typedef kv_status visitor(void *user, const char *path, const char *name, bool *done, kv_err *err);

/* Call visit for every profile of dir/sub in alphabetical order, until it is done or fails. */
static kv_status each_file(const char *dir, const char *sub, visitor *visit, void *user, bool *done, kv_err *err) {
    char path[SHIPPED_PATH];
    struct dirent **files;
    kv_status st = KV_OK;
    if ((size_t)snprintf(path, sizeof path, "%s%s", dir, sub) >= sizeof path)
        return KV_OK;
    const int n = scandir(path, &files, is_yaml, alphasort);
    if (n < 0)
        return check_errno(path, "cannot list its profiles", err);
    for (int i = 0; i < n; i++) {
        if (!*done && !st && (size_t)snprintf(path, sizeof path, "%s%s/%s", dir, sub, files[i]->d_name) < sizeof path)
            st = visit(user, path, files[i]->d_name, done, err);
        free(files[i]);
    }
    free(files);
    return st;
}

static kv_status each(const char *const *dirs, size_t n, const char *sub, visitor *visit, void *user, bool *done, kv_err *err) {
    kv_status st = KV_OK;
    *done = false;
    for (size_t i = 0; i < n && !*done && !st; i++)
        st = each_file(dirs[i], sub, visit, user, done, err);
    return st;
}

/* ---- by name ---- */

typedef struct by_name {
    const char *name;
    char *path, *known;
} by_name;

static void list(char *known, const char *file, int len) {
    char item[80];
    snprintf(item, sizeof item, "%s%.*s", *known ? ", " : "", len < 60 ? len : 60, file);
    const char *name = *known ? item + 2 : item;
    const size_t n = strlen(name);
    for (const char *at = known; (at = strstr(at, name)); at += n) /* once is enough: several directories may have it */
        if ((at == known || at[-1] == ' ') && (at[n] == ',' || !at[n]))
            return;
    if (strlen(known) + strlen(item) < SHIPPED_KNOWN)
        strcat(known, item);
}

static kv_status visit_name(void *user, const char *path, const char *file, bool *done, kv_err *err) {
    (void)err;
    by_name *s = user;
    const int len = (int)strlen(file) - 5;
    if ((int)strlen(s->name) == len && !strncmp(s->name, file, (size_t)len)) {
        strcpy(s->path, path);
        *done = true;
        return KV_OK;
    }
    list(s->known, file, len);
    return KV_OK;
}

kv_status shipped_by_name(const char *const *dirs, size_t n, const char *name, bool *found, char path[SHIPPED_PATH],
                          char known[SHIPPED_KNOWN], kv_err *err) {
    *known = '\0';
    return each(dirs, n, "", visit_name, &(by_name){name, path, known}, found, err);
}

typedef struct by_any {
    shipped_name *show;
    void *user;
} by_any;

static kv_status visit_any(void *user, const char *path, const char *file, bool *done, kv_err *err) {
    (void)path, (void)done, (void)err;
    const by_any *s = user;
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)strlen(file) - 5, file);
    s->show(s->user, name);
    return KV_OK;
}

kv_status shipped_names(const char *const *dirs, size_t n, shipped_name *show, void *user, kv_err *err) {
    bool done;
    return each(dirs, n, "", visit_any, &(by_any){show, user}, &done, err);
}

/* ---- by model ---- */

typedef struct by_model {
    const char *hash;
    const prof_shape *shape;
    char *path;
    shipped_broken *broken;
    void *user;
    prof *found;
} by_model;

/* Profiles are large: only one that names the hash in its first lines is read whole. */
static kv_status names_hash(const char *path, const char *hash, bool *yes, kv_err *err) {
    char head[HEAD];
    *yes = false;
    FILE *f = fopen(path, "rbe");
    if (!f)
        return check_errno(path, "cannot open", err);
    const size_t n = fread(head, 1, HEAD, f);
    const bool failed = ferror(f);
    const int why = errno;
    fclose(f);
    if (failed) {
        errno = why;
        return check_errno(path, "cannot read", err);
    }
    *yes = memmem(head, n, hash, strlen(hash));
    return KV_OK;
}

static kv_status visit_model(void *user, const char *path, const char *file, bool *done, kv_err *err) {
    (void)file;
    by_model *s = user;
    prof *p = NULL;
    kv_err why = {0};
    kv_status st = names_hash(path, s->hash, done, err);
    if (st || !*done)
        return st;
    *done = false;
    st = prof_load(path, &p, &why);
    if (st == KV_ENOMEM || st == KV_EIO)
        return kv_fail(err, st, "%s", why.msg);
    if (!st && strcmp(p->model_hash, s->hash)) { /* it names the hash as something else */
        prof_free(p);
        return KV_OK;
    }
    if (!st)
        st = prof_matches(p, s->hash, s->shape, path, &why);
    if (st) {
        if (s->broken)
            s->broken(s->user, &why);
        prof_free(p);
        return KV_OK;
    }
    s->found = p;
    strcpy(s->path, path);
    *done = true;
    return KV_OK;
}

kv_status shipped_by_model(const char *const *dirs, size_t n, const char *hash, const prof_shape *shape, prof **out,
                           char path[SHIPPED_PATH], shipped_broken *broken, void *user, kv_err *err) {
    by_model s = {hash, shape, path, broken, user, NULL};
    bool done;
    kv_status st = each(dirs, n, "/models", visit_model, &s, &done, err);
    *out = s.found;
    return st;
}
