/* What a stored context, or a session, could do for a prompt. */
#include "contexts/contexts_internal.h"

#include <string.h>

kv_status contexts_view_file(const contexts *c, const char *name, const contexts_key *key, const kv_cache *like,
                             contexts_view *out, kv_err *err) {
    char path[CONTEXTS_PATH];
    *out = (contexts_view){.anywhere = kv_cache_cuts_anywhere(like)};
    kv_status st = contexts_path(c, name, path, err);
    if (st || (st = ctx_file_open(path, false, NULL, NULL, &out->f, err)) || (st = ctx_file_about(out->f, &out->about, err)) ||
        (st = rt_stored_ids(out->f, &out->about, &out->ids, err)) ||
        (st = rt_stored_places(out->f, &out->about, out->places, &out->n_places, err)) ||
        (st = ctx_file_unchanged(out->f, err)))
        goto done;
    out->n = out->about.n_tokens;
    if (strcmp(out->about.model_id, key->model) || strcmp(out->about.cache_id, key->cache))
        st = kv_fail(err, KV_EMISMATCH, "%s: is of another model or cache", path);
done:
    if (st)
        contexts_view_close(out);
    return st;
}

void contexts_view_session(rt_session *s, contexts_view *out) {
    const kv_cache *cache = rt_ctx_cache(rt_session_ctx(s));
    rt_place p;
    *out = (contexts_view){.ids = rt_session_ids(s), .n = rt_session_len(s), .anywhere = kv_cache_cuts_anywhere(cache)};
    for (uint32_t i = 0; rt_seq_place(rt_ctx_seq(rt_session_ctx(s)), i, &p); i++)
        if (kv_checkpoint_reached(p.state, cache) && kv_checkpoint_len(p.state) < out->n)
            out->places[out->n_places++] = kv_checkpoint_len(p.state);
    out->places[out->n_places++] = out->n; /* saving makes one */
}

void contexts_view_close(contexts_view *v) {
    ctx_file_close(v->f);
    *v = (contexts_view){0};
}

uint32_t contexts_common(const contexts_view *v, const int32_t *ids, size_t n) {
    uint32_t same = 0;
    while (same < v->n && same < n && v->ids[same] == ids[same])
        same++;
    return same;
}

uint32_t contexts_usable(const contexts_view *v, uint32_t n) {
    uint32_t best = v->anywhere ? n : 0;
    for (uint32_t i = 0; i < v->n_places; i++)
        if (v->places[i] <= n && v->places[i] > best)
            best = v->places[i];
    return best;
}

/* One that b can go back to. Sessions thin out their places so that gaps grow with how far back they are: such a gap is no
 * reason to keep b, but only where `a` has read what b has. */
static bool is_near(const contexts_view *a, uint32_t common, uint32_t place) {
    const uint32_t there = contexts_usable(a, place < common ? place : common), missed = place - there;
    return missed < CONTEXTS_LEAST || (place <= common && there && missed <= (a->n - there) / 2);
}

bool contexts_stands_in(const contexts_view *a, const contexts_view *b) {
    const uint32_t common = contexts_common(a, b->ids, b->n);
    for (uint32_t i = 0; i < b->n_places; i++)
        if (!is_near(a, common, b->places[i]))
            return false;
    return true;
}
