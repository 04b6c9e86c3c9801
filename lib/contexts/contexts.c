#include "contexts/contexts.h"

#include "contexts/contexts_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

kv_status contexts_open(const char *folder, uint64_t limit, contexts **out, kv_err *err) {
    contexts *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c || !(c->folder = strdup(folder))) {
        free(c);
        return kv_fail(err, KV_ENOMEM, "out of memory");
    }
    c->limit = limit;
    if (mkdir(folder, S_IRWXU) && errno != EEXIST) {
        kv_fail(err, KV_EIO, "%s: cannot make this folder: %s", folder, strerror(errno));
        contexts_close(c);
        return KV_EIO;
    }
    *out = c;
    return KV_OK;
}

void contexts_close(contexts *c) {
    if (!c)
        return;
    free(c->folder);
    free(c);
}

static kv_status key_of(rt_session *s, contexts_key *key, kv_err *err) {
    kv_cache_stamp(rt_ctx_cache(rt_session_ctx(s)), key->cache);
    return rt_model_identity(rt_session_model(s), NULL, NULL, key->model, err);
}

uint64_t contexts_limit(const contexts *c) {
    return c->limit;
}

/* ---- taking ---- */

typedef struct candidate {
    const contexts_entry *e;
    uint32_t common, usable;
} candidate;

/* The better one first; of those that are alike, the one that is shorter to read. */
static int better_first(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->usable != y->usable)
        return x->usable < y->usable ? 1 : -1;
    return (x->e->n > y->e->n) - (x->e->n < y->e->n);
}

/* A file that is not whole is of no use to anybody. */
static void pass_over(const contexts *c, const contexts_entry *e, kv_status st, const kv_err *why, contexts_found *out) {
    if (st != KV_EFORMAT)
        return;
    contexts_remove(c, e->name);
    out->damaged++;
    out->why = *why;
}

/* Of those that begin alike, the ones that are of use. */
static size_t weigh(const contexts *c, rt_session *s, const contexts_key *key, const contexts_entry *all, size_t n_all,
                    const int32_t *ids, size_t n, uint32_t beyond, candidate *to, contexts_found *out) {
    const kv_cache *cache = rt_ctx_cache(rt_session_ctx(s));
    size_t found = 0;
    for (size_t i = 0; i < n_all; i++) {
        contexts_view v;
        kv_err why = {0};
        if (!contexts_is_of(&all[i], key) || all[i].n > rt_ctx_n_ctx(rt_session_ctx(s)))
            continue;
        kv_status st = contexts_view_file(c, all[i].name, key, cache, &v, &why);
        if (st) {
            pass_over(c, &all[i], st, &why, out);
            continue;
        }
        const uint32_t common = contexts_common(&v, ids, n), usable = contexts_usable(&v, common);
        if (usable >= CONTEXTS_LEAST && usable > beyond)
            to[found++] = (candidate){&all[i], common, usable};
        contexts_view_close(&v);
    }
    if (found)
        qsort(to, found, sizeof *to, better_first);
    return found;
}

static kv_status load(const contexts *c, rt_session *s, const candidate *best, kv_progress progress, void *user,
                      contexts_found *out, kv_err *err) {
    char path[CONTEXTS_PATH];
    kv_status st = contexts_path(c, best->e->name, path, err);
    if (st || (st = rt_session_load(s, path, progress, user, &out->about, err)))
        return st;
    contexts_touch(c, best->e->name);
    out->tokens = rt_session_go_back(s, best->common);
    return KV_OK;
}

/* Read on to where s parts from what was found, and remember the place. */
static kv_status read_to_parting(rt_session *s, kv_progress progress, void *user, contexts_found *out, kv_err *err) {
    const uint32_t n = rt_session_len(s);
    if (out->tokens == n)
        return KV_OK;
    kv_status st = rt_session_read(s, progress, user, err);
    if (st || (st = rt_session_checkpoint(s, err)))
        return st;
    out->read = n - out->tokens;
    return KV_OK;
}

kv_status contexts_find(contexts *c, rt_session *s, const int32_t *ids, size_t n, uint32_t beyond, kv_progress progress,
                        void *user, contexts_found *out, kv_err *err) {
    contexts_entry *all = NULL;
    candidate *found = NULL;
    contexts_key key;
    size_t n_all = 0;
    memset(out, 0, sizeof *out);
    if (rt_session_len(s))
        return kv_fail(err, KV_EINVAL, "the session has read something already");
    if (n < CONTEXTS_LEAST)
        return KV_OK;
    const uint64_t begin = contexts_hash(ids, CONTEXTS_LEAST);
    kv_status st = contexts_scan(c, &begin, &all, &n_all, err);
    if (st || !n_all || (st = key_of(s, &key, err)))
        goto done;
    if (!(found = calloc(n_all, sizeof *found))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu stored contexts", n_all);
        goto done;
    }
    const size_t n_found = weigh(c, s, &key, all, n_all, ids, n, beyond, found, out);
    for (size_t i = 0; i < n_found && !out->tokens; i++) {
        kv_err why = {0};
        const kv_status missed = load(c, s, &found[i], progress, user, out, &why);
        if (missed == KV_ECANCEL) {
            st = kv_fail(err, missed, "%s", why.msg);
            goto done;
        }
        if (missed)
            pass_over(c, found[i].e, missed, &why, out);
    }
done:
    free(all);
    free(found);
    return st;
}

kv_status contexts_take(contexts *c, rt_session *s, const int32_t *ids, size_t n, kv_progress progress, void *user,
                        contexts_found *out, kv_err *err) {
    kv_status st = contexts_find(c, s, ids, n, 0, progress, user, out, err);
    return st || !rt_session_len(s) ? st : read_to_parting(s, progress, user, out, err);
}

/* ---- putting ---- */

static kv_status count_bytes(void *user, const void *data, size_t bytes, kv_err *err) {
    (void)data, (void)err;
    *(uint64_t *)user += bytes;
    return KV_OK;
}

/* What a file of it would take, but for some bytes. */
static uint64_t bytes_of(rt_session *s) {
    const kv_cache *cache = rt_ctx_cache(rt_session_ctx(s));
    uint64_t bytes = rt_seq_checkpoint_bytes(rt_ctx_seq(rt_session_ctx(s)));
    for (uint32_t i = 0; i < kv_cache_pieces(cache); i++)
        kv_cache_write(cache, i, count_bytes, &bytes, NULL);
    return bytes;
}

/* Open one that is of this model and cache, and could be compared. */
static bool open_alike(const contexts *c, const contexts_entry *e, rt_session *s, const contexts_key *key, contexts_view *v) {
    const kv_cache *cache = rt_ctx_cache(rt_session_ctx(s));
    return contexts_is_of(e, key) && !contexts_view_file(c, e->name, key, cache, v, NULL);
}

static kv_status scan_alike(const contexts *c, rt_session *s, contexts_entry **all, size_t *n, kv_err *err) {
    const uint64_t begin = contexts_hash(rt_session_ids(s), CONTEXTS_LEAST);
    return contexts_scan(c, &begin, all, n, err);
}

/* Whether a stored context can stand in for s: then it counts as used. */
static kv_status is_held(const contexts *c, rt_session *s, const contexts_key *key, bool *held, kv_err *err) {
    contexts_entry *all;
    contexts_view mine, v;
    size_t n;
    *held = false;
    kv_status st = scan_alike(c, s, &all, &n, err);
    if (st)
        return st;
    contexts_view_session(s, &mine);
    for (size_t i = 0; i < n && !*held; i++) {
        if (!open_alike(c, &all[i], s, key, &v))
            continue;
        *held = contexts_stands_in(&v, &mine);
        contexts_view_close(&v);
        if (*held)
            contexts_touch(c, all[i].name);
    }
    free(all);
    return KV_OK;
}

/* Those that the file of s can stand in for. */
static kv_status remove_needless(const contexts *c, rt_session *s, const contexts_key *key, const char *stored, kv_err *err) {
    contexts_entry *all = NULL;
    contexts_view mine, v;
    size_t n = 0;
    if (contexts_view_file(c, stored, key, rt_ctx_cache(rt_session_ctx(s)), &mine, NULL))
        return KV_OK; /* another process has removed it already */
    kv_status st = scan_alike(c, s, &all, &n, err);
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(all[i].name, stored) || !open_alike(c, &all[i], s, key, &v))
            continue;
        if (contexts_stands_in(&mine, &v))
            contexts_remove(c, all[i].name);
        contexts_view_close(&v);
    }
    contexts_view_close(&mine);
    free(all);
    return st;
}

static kv_status store(const contexts *c, rt_session *s, const contexts_key *key, const rt_save_cfg *cfg, contexts_end *end,
                       kv_err *err) {
    bool left;
    char name[CONTEXTS_NAME], path[CONTEXTS_PATH];
    contexts_name(key, rt_session_ids(s), rt_session_len(s), name);
    kv_status st = contexts_path(c, name, path, err);
    if (st || (st = rt_session_save(s, path, cfg, NULL, NULL, err)) || (st = remove_needless(c, s, key, name, err)))
        return st;
    st = contexts_shrink(c, name, &left, err);
    *end = left ? CONTEXTS_KEPT : CONTEXTS_LARGE;
    return st;
}

kv_status contexts_put(contexts *c, rt_session *s, const char *title, const char *program, contexts_end *end, kv_err *err) {
    const rt_save_cfg cfg = {.title = title, .program = program, .cache = true};
    contexts_key key;
    bool held, left;
    *end = rt_session_forgotten(s) ? CONTEXTS_SHIFTED : CONTEXTS_SHORT;
    if (*end == CONTEXTS_SHIFTED || rt_session_len(s) < CONTEXTS_LEAST)
        return KV_OK;
    kv_status st = rt_session_read(s, NULL, NULL, err);
    if (st || (st = key_of(s, &key, err)) || (st = is_held(c, s, &key, &held, err)))
        return st;
    *end = held ? CONTEXTS_HELD : bytes_of(s) > c->limit ? CONTEXTS_LARGE : CONTEXTS_KEPT;
    if (*end == CONTEXTS_KEPT)
        return store(c, s, &key, &cfg, end, err);
    return contexts_shrink(c, "", &left, err); /* the limit may be a new one, or a process was killed before it came to this */
}
