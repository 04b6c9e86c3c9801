#include "cli/cli_profile.h"

#include "cli/cli.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAD = 4096 }; /* bytes at the start of a profile in which its model is named */

/* All directories, separated by ':'; caller frees. NULL: out of memory. */
static char *all_dirs(void) {
    const char *own = getenv("KVCALIB_PROFILES"), *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    const bool has_xdg = xdg && *xdg;
    char *dirs;
    int n = asprintf(&dirs, "%s:%s%s/kvcalib/profiles:%s:%s", own ? own : "",
                     has_xdg ? xdg
                     : home  ? home
                             : "",
                     has_xdg ? "" : "/.local/share", KV_PROFILES_INSTALLED, KV_PROFILES_SOURCE);
    return n < 0 ? NULL : dirs;
}

/* Whether name ends with .yaml; names of it alone do not count. */
static bool is_yaml(const char *name) {
    const size_t n = strlen(name);
    return n > 5 && *name != '.' && !strcmp(name + n - 5, ".yaml");
}

static int yaml_filter(const struct dirent *d) {
    return is_yaml(d->d_name);
}

/* Call visit for every .yaml file of dir/sub in alphabetical order, until it returns true. */
static bool each_yaml(const char *dir, const char *sub, bool (*visit)(void *user, const char *path, const char *name),
                      void *user) {
    char path[CLI_PROFILE_PATH];
    struct dirent **files;
    bool done = false;
    if ((size_t)snprintf(path, sizeof path, "%s%s", dir, sub) >= sizeof path)
        return false;
    const int n = scandir(path, &files, yaml_filter, alphasort);
    for (int i = 0; i < n; i++) {
        if (!done && (size_t)snprintf(path, sizeof path, "%s%s/%s", dir, sub, files[i]->d_name) < sizeof path)
            done = visit(user, path, files[i]->d_name);
        free(files[i]);
    }
    if (n >= 0)
        free(files);
    return done;
}

static bool each_dir(const char *sub, bool (*visit)(void *user, const char *path, const char *name), void *user) {
    char *dirs = all_dirs(), *rest = NULL;
    bool done = false;
    for (char *d = dirs ? strtok_r(dirs, ":", &rest) : NULL; d && !done; d = strtok_r(NULL, ":", &rest))
        done = each_yaml(d, sub, visit, user);
    free(dirs);
    return done;
}

/* ---- by name ---- */

typedef struct by_name {
    const char *name;
    char path[CLI_PROFILE_PATH];
    char known[320]; /* names passed by, ", a, b" */
} by_name;

static bool visit_name(void *user, const char *path, const char *file) {
    by_name *s = user;
    const int len = (int)strlen(file) - 5;
    if ((int)strlen(s->name) == len && !strncmp(s->name, file, (size_t)len)) {
        strcpy(s->path, path);
        return true;
    }
    char item[80];
    snprintf(item, sizeof item, ", %.*s", len < 60 ? len : 60, file);
    const char *there = strstr(s->known, item);
    const size_t used = strlen(s->known), n = strlen(item);
    if (!(there && (there[n] == ',' || !there[n])) && used + n < sizeof s->known)
        strcpy(s->known + used, item);
    return false;
}

kv_status cli_profile_path(const char *name_or_path, char *path, kv_err *err) {
    const bool is_path = strchr(name_or_path, '/') || is_yaml(name_or_path);
    by_name s = {.name = name_or_path};
    const bool shipped = !is_path && each_dir("", visit_name, &s);
    if (!is_path && !shipped && access(name_or_path, F_OK))
        return kv_fail(err, KV_EINVAL, "'%.80s' is neither a file nor a shipped profile; those are: %s", name_or_path,
                       s.known[0] ? s.known + 2 : "none");
    snprintf(path, CLI_PROFILE_PATH, "%s", shipped ? s.path : name_or_path);
    return KV_OK;
}

static bool visit_any(void *user, const char *path, const char *file) {
    (void)path;
    fprintf(user, "%.*s\n", (int)strlen(file) - 5, file);
    return false;
}

void cli_profile_names(FILE *to) {
    each_dir("", visit_any, to);
}

kv_status cli_find_profile(const char *name_or_path, prof **out, char *path, kv_err *err) {
    char own[CLI_PROFILE_PATH], *where = path ? path : own;
    *out = NULL;
    kv_status st = cli_profile_path(name_or_path, where, err);
    return st ? st : prof_load(where, out, err);
}

/* ---- by model ---- */

typedef struct by_model {
    const char *tool, *hash;
    const rt_hparams *hp;
    prof *found;
    char *path;
} by_model;

/* Profiles are large: only one that names the hash in its first lines is read whole. */
static bool names_hash(const char *path, const char *hash) {
    char head[HEAD + 1];
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
        st = prof_matches(p, s->hash, s->hp->n_layer, s->hp->n_kv_head, s->hp->head_dim, path, &err);
    if (st) {
        cli_note(s->tool, "warning: the profile shipped for this model is left aside: %s", err.msg);
        prof_free(p);
        return false;
    }
    s->found = p;
    strcpy(s->path, path);
    return true;
}

prof *cli_shipped_profile(const char *tool, const char *hash, const rt_hparams *hp, char *path) {
    by_model s = {.tool = tool, .hash = hash, .hp = hp, .path = path};
    each_dir("/models", visit_model, &s);
    return s.found;
}
