#include "shipped/shipped.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 4096 }; /* bytes at the start of a profile in which its model is named */

/* Files whose names end with .yaml; names of it alone do not count. */
static int is_yaml(const struct dirent *d) {
    const size_t n = strlen(d->d_name);
    return n > 5 && *d->d_name != '.' && !strcmp(d->d_name + n - 5, ".yaml");
}

typedef bool visitor(void *user, const char *path, const char *name);

/* Call visit for every profile of dir/sub in alphabetical order, until it returns true. */
static bool each_file(const char *dir, const char *sub, visitor *visit, void *user) {
    char path[SHIPPED_PATH];
    struct dirent **files;
    bool done = false;
    if ((size_t)snprintf(path, sizeof path, "%s%s", dir, sub) >= sizeof path)
        return false;
    const int n = scandir(path, &files, is_yaml, alphasort);
    for (int i = 0; i < n; i++) {
        if (!done && (size_t)snprintf(path, sizeof path, "%s%s/%s", dir, sub, files[i]->d_name) < sizeof path)
            done = visit(user, path, files[i]->d_name);
        free(files[i]);
    }
    if (n >= 0)
        free(files);
    return done;
}

static bool each(const char *const *dirs, size_t n, const char *sub, visitor *visit, void *user) {
    for (size_t i = 0; i < n; i++)
        if (each_file(dirs[i], sub, visit, user))
            return true;
    return false;
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

static bool visit_name(void *user, const char *path, const char *file) {
    by_name *s = user;
    const int len = (int)strlen(file) - 5;
    if ((int)strlen(s->name) == len && !strncmp(s->name, file, (size_t)len)) {
        strcpy(s->path, path);
        return true;
    }
    list(s->known, file, len);
    return false;
}

bool shipped_by_name(const char *const *dirs, size_t n, const char *name, char path[SHIPPED_PATH], char known[SHIPPED_KNOWN]) {
    *known = '\0';
    return each(dirs, n, "", visit_name, &(by_name){name, path, known});
}

typedef struct by_any {
    shipped_name *show;
    void *user;
} by_any;

static bool visit_any(void *user, const char *path, const char *file) {
    (void)path;
    const by_any *s = user;
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)strlen(file) - 5, file);
    s->show(s->user, name);
    return false;
}

void shipped_names(const char *const *dirs, size_t n, shipped_name *show, void *user) {
    each(dirs, n, "", visit_any, &(by_any){show, user});
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
static bool names_hash(const char *path, const char *hash) {
    char head[HEAD];
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    const size_t n = fread(head, 1, HEAD, f);
    fclose(f);
    return memmem(head, n, hash, strlen(hash)) != NULL;
}

static bool visit_model(void *user, const char *path, const char *file) {
    (void)file;
    by_model *s = user;
    prof *p = NULL;
    kv_err err = {0};
    if (!names_hash(path, s->hash))
        return false;
    kv_status st = prof_load(path, &p, &err);
    if (!st && strcmp(p->model_hash, s->hash)) { /* it names the hash as something else */
        prof_free(p);
        return false;
    }
    if (!st)
        st = prof_matches(p, s->hash, s->shape, path, &err);
    if (st) {
        if (s->broken)
            s->broken(s->user, &err);
        prof_free(p);
        return false;
    }
    s->found = p;
    strcpy(s->path, path);
    return true;
}

prof *shipped_by_model(const char *const *dirs, size_t n, const char *hash, const prof_shape *shape, char path[SHIPPED_PATH],
                       shipped_broken *broken, void *user) {
    by_model s = {hash, shape, path, broken, user, NULL};
    each(dirs, n, "/models", visit_model, &s);
    return s.found;
}
