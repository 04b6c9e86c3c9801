#include "kvrun/repl_complete.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void repl_offers_free(repl_offers *o) {
    for (size_t i = 0; i < o->n; i++)
        free(o->v[i]);
    free(o->v);
    *o = (repl_offers){0};
}

bool repl_offer(repl_offers *o, const char *word, const char *offer, const char *more) {
    char *text = NULL;
    if (strncmp(offer, word, strlen(word)))
        return true;
    if (o->n == o->cap) {
        const size_t cap = 2 * o->cap + 16;
        char **grown = realloc(o->v, cap * sizeof *grown);
        if (!grown)
            return false;
        o->v = grown;
        o->cap = cap;
    }
    if (asprintf(&text, "%s%s", offer, more) < 0)
        return false;
    o->v[o->n++] = text;
    return true;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void repl_offers_sort(repl_offers *o) {
    if (o->n)
        qsort(o->v, o->n, sizeof *o->v, by_bytes);
}

size_t repl_offers_common(const repl_offers *o) {
    size_t n = o->n ? strlen(o->v[0]) : 0;
    for (size_t i = 1; i < o->n; i++) {
        size_t same = 0;
        while (same < n && o->v[i][same] == o->v[0][same])
            same++;
        n = same;
    }
    while (n && ((unsigned char)o->v[0][n] & 0xC0) == 0x80)
        n--;
    return n;
}

/* ---- paths ---- */

char *repl_path(const char *path) {
    const char *home = getenv("HOME");
    char *out = NULL;
    if (path[0] != '~' || (path[1] && path[1] != '/') || !home)
        return strdup(path);
    return asprintf(&out, "%s%s", home, path + 1) < 0 ? NULL : out;
}

static bool ends_so(const char *name, const char *ends) {
    const size_t n = strlen(name), m = ends ? strlen(ends) : 0;
    return m <= n && !memcmp(name + n - m, ends ? ends : "", m);
}

/* folder: as it is typed, with its slash; opened: the same, for the system. */
static bool offer_entry(repl_offers *o, const char *word, const char *folder, const char *opened, const char *name,
                        const char *ends) {
    char *typed = NULL, *path = NULL;
    struct stat info;
    bool good = asprintf(&typed, "%s%s", folder, name) >= 0;
    typed = good ? typed : NULL;
    good = good && asprintf(&path, "%s/%s", *opened ? opened : ".", name) >= 0;
    path = good ? path : NULL;
    if (good && !stat(path, &info) && (S_ISDIR(info.st_mode) || ends_so(name, ends)))
        good = repl_offer(o, word, typed, S_ISDIR(info.st_mode) ? "/" : "");
    free(typed);
    free(path);
    return good;
}

bool repl_offer_paths(repl_offers *o, const char *word, const char *ends) {
    const char *slash = strrchr(word, '/');
    const size_t len = slash ? (size_t)(slash - word) + 1 : 0;
    char *folder = strndup(word, len), *opened = folder ? repl_path(folder) : NULL;
    DIR *d = opened ? opendir(*opened ? opened : ".") : NULL;
    bool good = opened != NULL;
    for (const struct dirent *e; d && good && (e = readdir(d));)
        if ((e->d_name[0] != '.' || word[len] == '.') && strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
            !strncmp(e->d_name, word + len, strlen(word + len)))
            good = offer_entry(o, word, folder, opened, e->d_name, ends);
    if (d)
        closedir(d);
    free(folder);
    free(opened);
    return good;
}
