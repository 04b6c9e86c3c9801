#include "cli/cli_profile.h"

#include "cli/cli.h"
#include "cli/cli_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DIRS = 64 };

/* Where profiles are looked for, in this order. */
typedef struct places {
    const char *dir[MAX_DIRS];
    size_t n;
    char *own; /* $KVCALIB_PROFILES, cut into pieces */
    char home[SHIPPED_PATH], shipped[SHIPPED_PATH];
} places;

static kv_status find_places(places *p, kv_err *err) {
    const char *own = getenv("KVCALIB_PROFILES"), *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    const bool has_xdg = xdg && *xdg;
    char *rest = NULL;
    p->n = 0;
    p->own = own ? strdup(own) : NULL;
    if (own && !p->own)
        return kv_fail(err, KV_ENOMEM, "out of memory for the folders of profiles");
    for (char *d = p->own ? strtok_r(p->own, ":", &rest) : NULL; d && p->n < MAX_DIRS - 2; d = strtok_r(NULL, ":", &rest))
        p->dir[p->n++] = d;
    snprintf(p->home, sizeof p->home, "%s%s/kvcalib/profiles",
             has_xdg ? xdg
             : home  ? home
                     : "",
             has_xdg ? "" : "/.local/share");
    p->dir[p->n++] = p->home;
    shipped_directory(p->shipped);
    p->dir[p->n++] = p->shipped;
    return KV_OK;
}

static bool is_yaml(const char *name) {
    const size_t n = strlen(name);
    return n > 5 && !strcmp(name + n - 5, ".yaml");
}

kv_status cli_profile_path(const char *name_or_path, char *path, kv_err *err) {
    places where;
    char known[SHIPPED_KNOWN];
    if (!strchr(name_or_path, '/') && !is_yaml(name_or_path)) {
        bool shipped;
        kv_status st = find_places(&where, err);
        if (st)
            return st;
        st = shipped_by_name(where.dir, where.n, name_or_path, &shipped, path, known, err);
        free(where.own);
        if (st || shipped)
            return st;
        if (access(name_or_path, F_OK))
            return kv_fail(err, KV_EINVAL, "'%.80s' is neither a file nor a shipped profile; those are: %s", name_or_path,
                           *known ? known : "none");
    }
    snprintf(path, CLI_PROFILE_PATH, "%s", name_or_path);
    return KV_OK;
}

static void print_name(void *to, const char *name) {
    fprintf(to, "%s\n", name);
}

void cli_profile_names(FILE *to) {
    places where;
    if (find_places(&where, NULL))
        return;
    shipped_names(where.dir, where.n, print_name, to, NULL);
    free(where.own);
}

kv_status cli_find_profile(const char *name_or_path, prof **out, char *path, kv_err *err) {
    char own[CLI_PROFILE_PATH], *where = path ? path : own;
    *out = NULL;
    kv_status st = cli_profile_path(name_or_path, where, err);
    return st ? st : prof_load(where, out, err);
}

static void note_broken(void *tool, const kv_err *why) {
    cli_note(tool, "warning: the profile shipped for this model is left aside: %s", why->msg);
}

kv_status cli_shipped_profile(const char *tool, const char *hash, const rt_hparams *hp, prof **out, char *path, kv_err *err) {
    places where;
    uint16_t stored[PROF_MAX_LAYERS];
    const prof_shape shape = rt_prof_shape(hp, stored);
    *out = NULL;
    kv_status st = find_places(&where, err);
    if (st)
        return st;
    st = shipped_by_model(where.dir, where.n, hash, &shape, out, path, note_broken, (void *)tool, err);
    free(where.own);
    return st;
}

struct json_t *cli_profile_folding(const prof *p) {
    json_t *a = json_array();
    for (uint32_t i = 0; i < p->n_folding; i++) {
        const prof_folding *f = &p->folding[i];
        cli_json_add(&a, json_pack("{s:s, s:i, s:i, s:f, s:f, s:f, s:f}", "cache", kv_codec_names[f->cache].name, "ctx",
                                   (int)f->ctx, "tokens", (int)f->tokens, "before", f->before, "before_se", f->before_se,
                                   "after", f->after, "after_se", f->after_se));
    }
    return a;
}
