#include "cli/cli_paths.h"

#include "base/atomic_file.h"
#include "cli/cli_internal.h"
#include "cli/cli_profile.h"
#include "gguf/gguf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Which file a path names. */
typedef struct place {
    bool known;       /* false: nothing that could be lost */
    bool straight;    /* written into, not replaced: a second writer goes on behind the first */
    dev_t dev;        /* of the file, or with a name, of the folder */
    ino_t ino;        /* likewise */
    const char *name; /* of a file that is not there yet; borrowed from the path. NULL: it is there */
} place;

static bool is_output(const cli_path *p) {
    return p->kind == CLI_OUT || p->kind == CLI_OUT_OR_STDOUT;
}

static bool is_dash(const cli_path *p) {
    return p->path && !strcmp(p->path, "-");
}

static bool is_stdout(const cli_path *p) {
    return p->kind == CLI_OUT_OR_STDOUT && is_dash(p);
}

/* A file that is not there yet: its folder says which one it would be. */
static place place_in_folder(const char *path) {
    char folder[CLI_PROFILE_PATH] = ".";
    struct stat st;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t len = (size_t)(name - path);
    if (len >= sizeof folder)
        return (place){0};
    if (len) {
        memcpy(folder, path, len);
        folder[len] = '\0';
    }
    if (!*name || stat(folder, &st))
        return (place){0};
    return (place){.known = true, .dev = st.st_dev, .ino = st.st_ino, .name = name};
}

/* Where it cannot be found out whether two are one, nothing may be written: KV_EIO, KV_ENOMEM. */
static kv_status place_of(const cli_path *p, place *out, kv_err *err) {
    char profile[CLI_PROFILE_PATH];
    struct stat st;
    kv_err why = {0};
    const char *path = p->path;
    *out = (place){0};
    if (!path || is_stdout(p))
        return KV_OK;
    if (p->kind == CLI_PROFILE) {
        const kv_status found = cli_profile_path(path, profile, &why);
        if (found)
            return found == KV_EINVAL ? KV_OK : kv_fail(err, found, "%s", why.msg);
        path = profile;
    }
    if (stat(path, &st)) {
        if (errno == EIO || errno == ENOMEM)
            return kv_fail(err, KV_EIO, "%s: cannot be looked at: %m", path);
        *out = place_in_folder(p->path);
    } else
        *out = (place){.known = S_ISREG(st.st_mode),
                       .straight = is_output(p) && atomic_file_is_straight(path, &st),
                       .dev = st.st_dev,
                       .ino = st.st_ino};
    return KV_OK;
}

static bool same_place(const place *a, const place *b) {
    if (!a->known || !b->known || a->dev != b->dev || a->ino != b->ino || (a->straight && b->straight))
        return false;
    return a->name && b->name ? !strcmp(a->name, b->name) : a->name == b->name;
}

static bool clash(const cli_path *out, const place *out_place, const cli_path *other, const place *other_place) {
    if (is_stdout(out) || is_stdout(other))
        return is_output(other) && is_dash(out) && is_dash(other);
    return same_place(out_place, other_place);
}

static kv_status refuse(const cli_path *out, const cli_path *other, kv_err *err) {
    if (is_output(other))
        return kv_fail(err, KV_EINVAL, "%s %.400s and %s %.400s are the same file; choose another name for one of them",
                       out->what, out->path, other->what, other->path);
    return kv_fail(err, KV_EINVAL,
                   "%s %.400s and %s %.400s are the same file, and an output may not be an input; choose another name for %s",
                   out->what, out->path, other->what, other->path, out->what);
}

static kv_status check(const cli_path *paths, size_t n, kv_err *err) {
    kv_status st = KV_OK;
    place *places = calloc(n ? n : 1, sizeof *places);
    if (!places)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu paths", n);
    for (size_t i = 0; i < n && !st; i++)
        st = place_of(&paths[i], &places[i], err);
    for (size_t i = 0; i < n && !st; i++)
        for (size_t j = 0; j < n && is_output(&paths[i]) && !st; j++) {
            const bool seen = j == i || (j < i && is_output(&paths[j]));
            if (!seen && clash(&paths[i], &places[i], &paths[j], &places[j]))
                st = refuse(&paths[i], &paths[j], err);
        }
    free(places);
    return st;
}

/* ---- lists ---- */

typedef struct path_list {
    cli_path *v;
    size_t n;
} path_list;

static kv_status add(path_list *l, cli_kind kind, const char *what, const char *path, kv_err *err) {
    cli_path *grown = realloc(l->v, (l->n + 1) * sizeof *grown);
    if (!grown)
        return kv_fail(err, KV_ENOMEM, "out of memory for the paths");
    grown[l->n++] = (cli_path){kind, what, path};
    l->v = grown;
    return KV_OK;
}

/* The parts of the split model that p is a part of, if it is: with paths that the caller frees. */
static kv_status add_parts(path_list *l, const cli_path *p, kv_err *err) {
    const unsigned n = p->kind == CLI_IN && p->path ? gguf_split_count(p->path) : 1;
    kv_status st = KV_OK;
    for (unsigned no = 1; no <= n && n > 1 && !st; no++) {
        char *path = strdup(p->path);
        if (!path)
            return kv_fail(err, KV_ENOMEM, "out of memory for the paths");
        gguf_split_path(p->path, no, path);
        if ((st = add(l, p->kind, p->what, path, err)))
            free(path);
    }
    return st;
}

kv_status cli_paths_check(const cli_path *paths, size_t n, kv_err *err) {
    path_list l = {0};
    kv_status st = KV_OK;
    for (size_t i = 0; i < n && !st; i++)
        st = add(&l, paths[i].kind, paths[i].what, paths[i].path, err);
    for (size_t i = 0; i < n && !st; i++)
        st = add_parts(&l, &paths[i], err);
    if (!st)
        st = check(l.v, l.n, err);
    for (size_t i = n; i < l.n; i++)
        free((char *)l.v[i].path);
    free(l.v);
    return st;
}

/* ---- a whole command line ---- */

static cli_kind file_kind(cli_kind kind) {
    return kind == CLI_MODEL || kind == CLI_MODEL_OR_ELSE ? CLI_IN : kind;
}

static kv_status add_option(path_list *l, const cli_opt *o, kv_err *err) {
    kv_status st = KV_OK;
    switch (o->kind) {
    case CLI_IN:
    case CLI_MODEL:
    case CLI_MODEL_OR_ELSE:
    case CLI_PROFILE:
    case CLI_OUT:
    case CLI_OUT_OR_STDOUT:
        return add(l, file_kind(o->kind), o->name, *(const char **)o->dst, err);
    case CLI_INS: {
        const cli_strs *files = o->dst;
        for (size_t i = 0; i < files->n && !st; i++)
            st = add(l, CLI_IN, o->name, files->v[i], err);
        return st;
    }
    default:
        return KV_OK;
    }
}

/* What an option names can be read, or written: found out before any work. */
static kv_status check_access(const cli_path *p, kv_err *err) {
    char path[CLI_PROFILE_PATH];
    if (!p->path || is_dash(p))
        return KV_OK;
    if (is_output(p))
        return atomic_file_check(p->path, err);
    if (p->kind != CLI_PROFILE)
        return access(p->path, R_OK) ? kv_fail(err, KV_EIO, "%s %s: cannot open: %m", p->what, p->path) : KV_OK;
    kv_status st = strcmp(p->path, "none") ? cli_profile_path(p->path, path, err) : KV_OK;
    return st || !strcmp(p->path, "none") || !access(path, R_OK) ? st : kv_fail(err, KV_EIO, "%s: cannot open: %m", path);
}

kv_status cli_check_files(const cli_spec *spec, kv_err *err) {
    path_list l = {0};
    kv_status st = KV_OK;
    for (const cli_arg *a = spec->args; a && a->name && !st; a++)
        st = a->kind == CLI_STR ? KV_OK : add(&l, file_kind(a->kind), a->name, *a->dst, err);
    if (spec->rest && !st)
        st = add_option(&l, spec->rest, err);
    const size_t n_args = l.n;
    for (const cli_opt *o = spec->opts; cli_opt_at(o) && !st; o++)
        st = add_option(&l, o, err);
    if (!st)
        st = cli_paths_check(l.v, l.n, err);
    for (size_t i = n_args; i < l.n && !st && !spec->err; i++) /* arguments may be names, and are opened first of all */
        st = check_access(&l.v[i], err);
    free(l.v);
    return st;
}
