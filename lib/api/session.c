/* Sessions of the engine with what the public API adds: options by name, facts, taps that can stop, one-liners for answers. */
#include "api/api_internal.h"
#include "session/store.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_CTX = 1 << 24 };

/* ---- options ---- */

static kv_status codec_by_name(const char *name, int *codec, kv_err *err) {
    char names[256] = "";
    if (!name || (*codec = kv_codec_by_name(name)) >= 0)
        return KV_OK;
    for (int i = 0; i < KV_CODEC_COUNT; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, kv_codec_names[i].name, sizeof names - strlen(names) - 1);
    }
    return kv_fail(err, KV_EINVAL, "unknown cache type '%.80s'; there are: %s", name, names);
}

static kv_status cache_of(const kv_model *m, const kv_session_options *o, rt_ctx_cfg *cfg, kv_err *err) {
    const uint32_t known = KV_SESSION_NO_PROFILE | KV_SESSION_ADA | KV_SESSION_EQUAL_BUDGETS;
    kv_status st;
    *cfg = RT_CTX_CFG_DEFAULT;
    if (o->flags & ~known)
        return kv_fail(err, KV_EINVAL, "unknown flags %#x of a session", o->flags & ~known);
    if (o->profile && o->flags & KV_SESSION_NO_PROFILE)
        return kv_fail(err, KV_EINVAL, "a profile was given, and none is to apply");
    if (o->n_ctx > MOST_CTX || o->window > MOST_CTX || o->sinks > MOST_CTX || o->recent > MOST_CTX)
        return kv_fail(err, KV_EINVAL, "a session has no more than %d tokens", MOST_CTX);
    if (o->window < -1 || o->sinks < -1 || o->recent < -1)
        return kv_fail(err, KV_EINVAL, "window, sinks and recent tokens are numbers of tokens, or -1");
    if ((st = codec_by_name(o->cache_k, &cfg->ctk, err)) || (st = codec_by_name(o->cache_v, &cfg->ctv, err)) ||
        (st = api_evict(o->evict, &cfg->evict, err)) || (st = api_budget(o->budget_tokens, o->budget_share, &cfg->budget, err)))
        return st;
    cfg->profile = o->profile ? o->profile->p : o->flags & KV_SESSION_NO_PROFILE ? NULL : m->profile;
    cfg->n_ctx = o->n_ctx;
    cfg->n_batch = o->n_batch;
    cfg->window = o->window;
    cfg->sinks = o->sinks;
    cfg->recent = o->recent;
    cfg->checkpoint_every = o->checkpoint_every;
    cfg->ada = o->flags & KV_SESSION_ADA;
    cfg->equal_budgets = o->flags & KV_SESSION_EQUAL_BUDGETS;
    return KV_OK;
}

/* What became of options and profile together. */
static kv_status note_cache(kv_session *s, const rt_ctx_cfg *cfg, kv_err *err) {
    kv_cache_cfg cache;
    kv_status st = rt_cache_cfg_new(rt_model_hparams(s->m->rt), cfg, &cache, err);
    if (st)
        return st;
    s->window = cache.window;
    s->sinks = cache.sinks;
    s->has_profile = cfg->profile != NULL;
    rt_cache_cfg_free(&cache);
    return KV_OK;
}

/* A session that is still to get an engine's. */
static kv_status begin(const kv_model *model, const kv_session_options *options, rt_ctx_cfg *cfg, kv_session **out,
                       kv_err *err) {
    static const kv_session_options defaults = KV_SESSION_OPTIONS_INIT;
    kv_session_options o;
    kv_status st = api_options(options, &defaults, sizeof o, &o, "KV_SESSION_OPTIONS", err);
    if (st || (st = cache_of(model, &o, cfg, err)))
        return st;
    if (o.pool && o.pool->m != model)
        return kv_fail(err, KV_EINVAL, "the pool was made for another model than the session");
    kv_session *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "out of memory for a session");
    s->m = model;
    s->pool = o.pool;
    s->asked_profile = o.profile != NULL;
    s->n_vocab = rt_model_hparams(model->rt)->n_vocab;
    *out = s;
    return KV_OK;
}

kv_status kv_session_new(const kv_model *model, const kv_session_options *options, kv_session **out, kv_err *err) {
    rt_ctx_cfg cfg;
    kv_session *s = NULL;
    *out = NULL;
    kv_status st = begin(model, options, &cfg, &s, err);
    if (st)
        return st;
    st = s->pool ? rt_session_new_in(s->pool->rt, &cfg, &s->rt, err) : rt_session_new(model->rt, &cfg, &s->rt, err);
    if (st || (st = note_cache(s, &cfg, err)))
        kv_session_free(s);
    else
        *out = s;
    return st;
}

kv_status kv_context_open(const kv_model *model, const char *path, const kv_session_options *options, kv_session **out,
                          kv_err *err) {
    rt_ctx_cfg cfg;
    kv_session *s = NULL;
    *out = NULL;
    if (!path)
        return api_missing("path of a context", err);
    kv_status st = begin(model, options, &cfg, &s, err);
    if (st)
        return st;
    if (!(st = rt_session_open(model->rt, s->pool ? s->pool->rt : NULL, &cfg, path, NULL, NULL, &s->rt, err))) {
        const rt_ctx_cfg *now = rt_session_cfg(s->rt);
        st = s->asked_profile && !now->profile
                 ? kv_fail(err, KV_EMISMATCH, "%s: was written without a profile, and is to be opened with one", path)
                 : note_cache(s, now, err);
    }
    if (st)
        kv_session_free(s);
    else
        *out = s;
    return st;
}

void kv_session_free(kv_session *session) {
    if (!session)
        return;
    rt_session_free(session->rt);
    free(session);
}

static rt_ctx *ctx_of(const kv_session *s) {
    return rt_session_ctx(s->rt);
}

/* ---- tokens in ---- */

kv_status api_check_ids(const kv_session *s, uint32_t held, const int32_t *ids, size_t n, kv_err *err) {
    const uint32_t n_ctx = rt_ctx_n_ctx(ctx_of(s));
    if (n && !ids)
        return api_missing("tokens", err);
    if (n > n_ctx - held)
        return kv_fail(err, KV_ERANGE, "the session has room for %u tokens and holds %u: %zu more do not fit", n_ctx, held, n);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= s->n_vocab)
            return kv_fail(err, KV_ERANGE, "token %zu: id %d is outside the vocabulary of %u", i, ids[i], s->n_vocab);
    return KV_OK;
}

/* Whoever looks on stops a call after the batch that runs. */
static kv_status heed_tap(kv_session *s, kv_status st, kv_err *err) {
    if (!s->tap_stopped)
        return st;
    s->tap_stopped = false;
    rt_ctx_set_tap(ctx_of(s), NULL, NULL, NULL);
    return kv_fail(err, KV_ECANCEL, "stopped after %u tokens by who looked on", rt_ctx_len(ctx_of(s)));
}

typedef struct reader {
    const kv_session *s;
    kv_progress progress;
    void *user;
} reader;

static bool go_on(void *user, double done) {
    const reader *r = user;
    return !r->s->tap_stopped && (!r->progress || r->progress(r->user, done));
}

static kv_status read_rest(kv_session *s, kv_progress progress, void *user, kv_err *err) {
    return heed_tap(s, rt_session_read(s->rt, go_on, &(reader){s, progress, user}, err), err);
}

static kv_status catch_up(kv_session *s, kv_err *err) {
    return rt_ctx_len(ctx_of(s)) < rt_session_len(s->rt) ? read_rest(s, NULL, NULL, err) : KV_OK;
}

kv_status kv_session_prefill(kv_session *session, const int32_t *ids, size_t n, kv_progress progress, void *user, kv_err *err) {
    const uint32_t before = rt_session_len(session->rt);
    kv_status st = api_check_ids(session, before, ids, n, err);
    if (st || !(before + n) || (st = rt_session_add(session->rt, ids, n, err)))
        return st;
    st = read_rest(session, progress, user, err);
    if (st && n) {
        const uint32_t held = rt_ctx_len(ctx_of(session));
        rt_session_go_back(session->rt, held > before ? held : before);
    }
    return st;
}

kv_status kv_session_prompt(kv_session *session, const int32_t *ids, size_t n, uint32_t *reused, kv_progress progress,
                            void *user, kv_err *err) {
    uint32_t stays = 0;
    kv_status st = api_check_ids(session, 0, ids, n, err);
    if (st || (st = rt_session_prompt(session->rt, ids, n, &stays, err)))
        return st;
    if (reused)
        *reused = stays;
    if (!n)
        return KV_OK;
    if ((st = read_rest(session, progress, user, err)))
        rt_session_go_back(session->rt, rt_ctx_len(ctx_of(session)));
    return st;
}

kv_status kv_session_forward(kv_session *session, const int32_t *ids, uint32_t n, uint32_t n_out, float *logits, kv_err *err) {
    const uint32_t n_batch = rt_ctx_n_batch(ctx_of(session));
    kv_status st = api_check_ids(session, rt_session_len(session->rt), ids, n, err);
    if (st)
        return st;
    if (n < 1 || n > n_batch || n_out > n)
        return kv_fail(err, KV_EINVAL, "a batch of %u tokens with %u outputs: 1..%u tokens are possible", n, n_out, n_batch);
    if (n_out && !logits)
        return api_missing("place for logits", err);
    if ((st = catch_up(session, err)))
        return st;
    return heed_tap(session, rt_session_forward(session->rt, ids, n, n_out, logits, err), err);
}

kv_status kv_session_step(kv_session *session, int32_t id, float *logits, kv_err *err) {
    return kv_session_forward(session, &id, 1, logits != NULL, logits, err);
}

/* ---- what comes next ---- */

kv_status kv_session_logits(kv_session *session, const float **logits, kv_err *err) {
    kv_status st = read_rest(session, NULL, NULL, err);
    *logits = st ? NULL : rt_session_logits(session->rt);
    return st;
}

kv_status kv_session_sample(kv_session *session, kv_sampler *sampler, int32_t *id, kv_err *err) {
    kv_status st = read_rest(session, NULL, NULL, err);
    if (!st)
        *id = api_pick(sampler, session->n_vocab, rt_session_logits(session->rt), rt_session_ids(session->rt),
                       rt_session_len(session->rt));
    return st;
}

/* Choose a token, add and show it; *end is set where that was the last. */
static kv_status decode_one(kv_session *s, kv_sampler *sampler, kv_on_token on_token, void *user, kv_end *end, bool *last,
                            kv_err *err) {
    kv_token t;
    kv_status st = kv_session_sample(s, sampler, &t.id, err);
    if (st)
        return st;
    *last = true;
    if (kv_text_is_end(s->m, t.id)) {
        *end = KV_END_TURN;
        return KV_OK;
    }
    t.position = rt_session_len(s->rt);
    if (t.position == rt_ctx_n_ctx(ctx_of(s))) {
        *end = KV_END_CONTEXT;
        return KV_OK;
    }
    if ((st = rt_session_say(s->rt, t.id, &t.text, &t.len, err)))
        return st;
    *last = on_token && !on_token(user, &t);
    if (*last)
        *end = KV_END_STOPPED;
    return KV_OK;
}

kv_status kv_session_decode(kv_session *session, kv_sampler *sampler, int64_t n_max, kv_on_token on_token, void *user,
                            kv_end *end, kv_err *err) {
    kv_end how = KV_END_LIMIT;
    kv_token rest = {.id = -1};
    kv_status st = KV_OK;
    bool last = false;
    for (int64_t i = 0; i != n_max && !last && !st; i++)
        st = decode_one(session, sampler, on_token, user, &how, &last, err);
    kv_status flushed = rt_session_said(session->rt, &rest.text, &rest.len, st ? NULL : err);
    rest.position = rt_session_len(session->rt);
    if (!st && !flushed && rest.len && on_token && how != KV_END_STOPPED)
        on_token(user, &rest);
    if (end)
        *end = how;
    return st ? st : flushed;
}

/* ---- tokens held, and ways back ---- */

uint32_t kv_session_len(const kv_session *session) {
    return rt_session_len(session->rt);
}

const int32_t *kv_session_ids(const kv_session *session) {
    return rt_session_ids(session->rt);
}

static kv_status check_back(const kv_session *s, uint32_t n, kv_err *err) {
    const uint32_t len = rt_session_len(s->rt);
    return n > len ? kv_fail(err, KV_EINVAL, "the session holds %u tokens: there is no way back to %u", len, n) : KV_OK;
}

void kv_session_clear(kv_session *session) {
    rt_session_go_back(session->rt, 0);
}

kv_status kv_session_truncate(kv_session *session, uint32_t n, kv_err *err) {
    kv_status st = check_back(session, n, err);
    return st ? st : rt_session_truncate(session->rt, n, err);
}

kv_status kv_session_checkpoint(kv_session *session, kv_err *err) {
    kv_status st = rt_session_len(session->rt) ? read_rest(session, NULL, NULL, err) : KV_OK;
    return st ? st : rt_session_checkpoint(session->rt, err);
}

kv_status kv_session_go_back(kv_session *session, uint32_t n, uint32_t *reached, kv_err *err) {
    kv_status st = check_back(session, n, err);
    if (st)
        return st;
    const uint32_t held = rt_session_go_back(session->rt, n);
    if (reached)
        *reached = held;
    return KV_OK;
}

/* ---- the cache ---- */

kv_status kv_session_get_facts(const kv_session *session, kv_session_facts *out, kv_err *err) {
    rt_ctx *ctx = ctx_of(session);
    const kv_cache_info info = kv_cache_get_info(rt_ctx_cache(ctx));
    const kv_session_facts facts = {
        .size = sizeof facts,
        .bytes = info.bytes,
        .bytes_checkpoints = rt_seq_checkpoint_bytes(rt_ctx_seq(ctx)),
        .bytes_f16 = info.bytes_f16,
        .bits_k = info.bits_k,
        .bits_v = info.bits_v,
        .held = info.held,
        .most = info.most,
        .n_ctx = rt_ctx_n_ctx(ctx),
        .n_batch = rt_ctx_n_batch(ctx),
        .len = rt_session_len(session->rt),
        .window = session->window,
        .sinks = session->sinks,
        .has_profile = session->has_profile,
    };
    return api_facts(out, &facts, sizeof facts, "KV_SESSION_FACTS", err);
}

static void show(void *user, const rt_tap_view *v) {
    kv_session *s = user;
    const rt_hparams *hp = rt_model_hparams(s->m->rt);
    if (s->tap_stopped || (s->tap_layer >= 0 && v->layer != (uint32_t)s->tap_layer))
        return;
    const kv_tap_view view = {.layer = v->layer,
                              .position = v->pos0,
                              .n = v->n,
                              .n_head = v->n_head,
                              .n_kv_head = v->n_kv_head,
                              .head_dim = hp->head_dim,
                              .q = v->q,
                              .k = v->k,
                              .v = v->v,
                              .lse = v->lse,
                              .entropy = v->entropy};
    s->tap_stopped = !s->tap(s->tap_user, &view);
}

kv_status kv_session_set_tap(kv_session *session, int32_t layer, kv_tap tap, void *user, kv_err *err) {
    const uint32_t n_layer = rt_model_hparams(session->m->rt)->n_layer;
    if (layer < -1 || layer >= (int32_t)n_layer)
        return kv_fail(err, KV_ERANGE, "there is no layer %d: the model has %u", layer, n_layer);
    if (tap && session->pool)
        return kv_fail(err, KV_EINVAL, "a session of a pool cannot show its attention");
    kv_status st = session->pool ? KV_OK : rt_ctx_set_tap(ctx_of(session), tap ? show : NULL, session, err);
    if (st)
        return st;
    session->tap = tap;
    session->tap_user = user;
    session->tap_layer = layer;
    session->tap_stopped = false;
    return KV_OK;
}
