/* A session keeps the ids of its tokens; its context holds a beginning of them. What it does not hold yet is fed when logits
 * are wanted: after a decoded token, and after a way back that the cache could not go. A checkpoint keeps the logits, too, so
 * that one can decode from there at once. Ways back all lead over rt_seq_go_back, which knows which checkpoints are still good.
 */
#include "api/api_internal.h"
#include "session/sampler.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_CTX = 1 << 24 };

struct kv_session {
    const kv_model *m;
    rt_ctx *ctx;
    kv_text_stream *stream; /* of decode */
    int32_t *ids;           /* (n_ctx); the context holds the first rt_ctx_len of them */
    uint32_t n, n_vocab;
    uint32_t window, sinks;
    bool has_profile;
    bool fresh;    /* logits belong to the last id */
    float *logits; /* (n_vocab) */
    struct {
        uint32_t n;
        float *logits;
    } kept[RT_CHECKPOINTS]; /* of checkpoints, in ascending order of their positions */
    uint32_t n_kept;
    kv_tap tap;
    void *tap_user;
    int32_t tap_layer; /* -1: all */
    bool tap_stopped;
};

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
    if (o->flags & ~known || o->reserved)
        return kv_fail(err, KV_EINVAL, "unknown flags %#x of a session", o->reserved ? o->reserved : o->flags & ~known);
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

kv_status kv_session_new(const kv_model *model, const kv_session_options *options, kv_session **out, kv_err *err) {
    static const kv_session_options defaults = KV_SESSION_OPTIONS_INIT;
    kv_session_options o;
    rt_ctx_cfg cfg;
    *out = NULL;
    kv_status st = api_options(options, &defaults, sizeof o, &o, "KV_SESSION_OPTIONS", err);
    if (st || (st = cache_of(model, &o, &cfg, err)))
        return st;
    kv_session *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "out of memory for a session");
    s->m = model;
    s->n_vocab = rt_model_hparams(model->rt)->n_vocab;
    if ((st = rt_ctx_new(model->rt, &cfg, &s->ctx, err)) || (st = note_cache(s, &cfg, err)) ||
        (st = kv_text_stream_new(model, 0, &s->stream, err)))
        goto done;
    s->ids = malloc(rt_ctx_n_ctx(s->ctx) * sizeof *s->ids);
    s->logits = malloc(s->n_vocab * sizeof *s->logits);
    if (!s->ids || !s->logits) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a session of %u tokens", rt_ctx_n_ctx(s->ctx));
        goto done;
    }
    *out = s;
    s = NULL;
done:
    kv_session_free(s);
    return st;
}

/* Logits of what comes after more than n tokens are those of a sequence that is no more. */
static void forget(kv_session *s, uint32_t n) {
    while (s->n_kept && s->kept[s->n_kept - 1].n > n)
        free(s->kept[--s->n_kept].logits);
}

void kv_session_free(kv_session *session) {
    if (!session)
        return;
    rt_ctx_free(session->ctx);
    kv_text_stream_free(session->stream);
    forget(session, 0);
    free(session->ids);
    free(session->logits);
    free(session);
}

/* ---- tokens in ---- */

static kv_status check_new(const kv_session *s, uint32_t held, const int32_t *ids, size_t n, kv_err *err) {
    const uint32_t n_ctx = rt_ctx_n_ctx(s->ctx);
    if (n && !ids)
        return api_missing("tokens", err);
    if (n > n_ctx - held)
        return kv_fail(err, KV_ERANGE, "the session has room for %u tokens and holds %u: %zu more do not fit", n_ctx, held, n);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= s->n_vocab)
            return kv_fail(err, KV_ERANGE, "token %zu: id %d is outside the vocabulary of %u", i, ids[i], s->n_vocab);
    return KV_OK;
}

/* One batch through the model; logits (n_out, n_vocab) may be NULL with n_out 0. Those of the last are kept where `keep` says.
 */
static kv_status run(kv_session *s, const int32_t *ids, uint32_t n, uint32_t n_out, float *logits, bool keep, kv_err *err) {
    const bool own = keep && !n_out;
    kv_status st = rt_forward(s->ctx, ids, n, own ? 1 : n_out, own ? s->logits : logits, err);
    if (st)
        return st;
    if (n_out && keep && logits != s->logits)
        memcpy(s->logits, logits + (size_t)(n_out - 1) * s->n_vocab, s->n_vocab * sizeof *logits);
    s->fresh = keep;
    if (!s->tap_stopped)
        return KV_OK;
    s->tap_stopped = false;
    rt_ctx_set_tap(s->ctx, NULL, NULL, NULL);
    return kv_fail(err, KV_ECANCEL, "stopped after %u tokens by who looked on", rt_ctx_len(s->ctx));
}

/* Make the context hold no more than n tokens: those, or where it cannot go there, fewer. Returns how many. */
static uint32_t rewind_ctx(kv_session *s, uint32_t n) {
    uint32_t reached = rt_ctx_len(s->ctx);
    if (reached > n)
        rt_seq_go_back(rt_ctx_seq(s->ctx), n, &reached);
    return reached;
}

/* Feed what the context does not hold; afterwards the logits are those of the last id. */
static kv_status catch_up(kv_session *s, kv_progress progress, void *user, kv_err *err) {
    if (!s->n)
        return kv_fail(err, KV_EINVAL, "the session is empty: there is nothing to go on from");
    if (s->fresh && rt_ctx_len(s->ctx) == s->n)
        return KV_OK;
    rewind_ctx(s, s->n - 1);
    const uint32_t from = rt_ctx_len(s->ctx), n_batch = rt_ctx_n_batch(s->ctx);
    for (uint32_t at = from; at < s->n;) {
        if (progress && !progress(user, (double)(at - from) / (s->n - from)))
            return kv_fail(err, KV_ECANCEL, "stopped in prefill, after %u of %u tokens", at, s->n);
        const uint32_t n = s->n - at < n_batch ? s->n - at : n_batch;
        kv_status st = run(s, s->ids + at, n, 0, NULL, at + n == s->n, err);
        if (st)
            return st;
        at += n;
    }
    if (progress)
        progress(user, 1);
    return KV_OK;
}

static void add(kv_session *s, const int32_t *ids, size_t n) {
    if (n)
        memcpy(s->ids + s->n, ids, n * sizeof *ids);
    s->n += (uint32_t)n;
    s->fresh = s->fresh && !n;
}

kv_status kv_session_prefill(kv_session *session, const int32_t *ids, size_t n, kv_progress progress, void *user, kv_err *err) {
    const uint32_t before = session->n;
    kv_status st = check_new(session, before, ids, n, err);
    if (st || !(before + n))
        return st;
    add(session, ids, n);
    st = catch_up(session, progress, user, err);
    if (st && session->n > before) {
        const uint32_t held = rt_ctx_len(session->ctx);
        session->n = held > before ? held : before;
    }
    return st;
}

kv_status kv_session_prompt(kv_session *session, const int32_t *ids, size_t n, uint32_t *reused, kv_progress progress,
                            void *user, kv_err *err) {
    uint32_t same = 0, reached = 0;
    kv_status st = check_new(session, 0, ids, n, err);
    if (st)
        return st;
    while (same < n && same < session->n && session->ids[same] == ids[same])
        same++;
    kv_session_go_back(session, same, &reached, NULL);
    if (same && same == n && !session->fresh) /* the last is read again for its logits */
        kv_session_go_back(session, --same, &reached, NULL);
    if (reused)
        *reused = reached;
    return kv_session_prefill(session, ids + same, n - same, progress, user, err);
}

kv_status kv_session_forward(kv_session *session, const int32_t *ids, uint32_t n, uint32_t n_out, float *logits, kv_err *err) {
    kv_status st = check_new(session, session->n, ids, n, err);
    if (st)
        return st;
    if (n < 1 || n > rt_ctx_n_batch(session->ctx) || n_out > n)
        return kv_fail(err, KV_EINVAL, "a batch of %u tokens with %u outputs: 1..%u tokens are possible", n, n_out,
                       rt_ctx_n_batch(session->ctx));
    if (n_out && !logits)
        return api_missing("place for logits", err);
    if (rt_ctx_len(session->ctx) < session->n && (st = catch_up(session, NULL, NULL, err)))
        return st;
    st = run(session, ids, n, n_out, logits, true, err);
    if (rt_ctx_len(session->ctx) > session->n) { /* also where a tap said to stop afterwards */
        const bool fresh = session->fresh;
        add(session, ids, n);
        session->fresh = fresh;
    }
    return st;
}

kv_status kv_session_step(kv_session *session, int32_t id, float *logits, kv_err *err) {
    return kv_session_forward(session, &id, 1, logits != NULL, logits, err);
}

/* ---- what comes next ---- */

kv_status kv_session_logits(kv_session *session, const float **logits, kv_err *err) {
    kv_status st = catch_up(session, NULL, NULL, err);
    *logits = st ? NULL : session->logits;
    return st;
}

struct kv_sampler {
    rt_sampler *rt;
};

kv_status kv_sampler_new(const kv_model *model, const kv_sampler_options *options, kv_sampler **out, kv_err *err) {
    static const kv_sampler_options defaults = KV_SAMPLER_OPTIONS_INIT;
    kv_sampler_options o;
    *out = NULL;
    kv_status st = api_options(options, &defaults, sizeof o, &o, "KV_SAMPLER_OPTIONS", err);
    if (st || (st = api_check_range("the temperature", o.temperature, 0, 100, err)) ||
        (st = api_check_range("top-p", o.top_p, 0, 1, err)) || (st = api_check_range("min-p", o.min_p, 0, 1, err)))
        return st;
    const rt_sampling how = {.temp = o.temperature, .top_k = o.top_k, .top_p = o.top_p, .min_p = o.min_p, .seed = o.seed};
    kv_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "out of memory for a sampler");
    if ((st = rt_sampler_new(&how, rt_model_hparams(model->rt)->n_vocab, &s->rt, err)))
        free(s);
    else
        *out = s;
    return st;
}

void kv_sampler_free(kv_sampler *sampler) {
    if (sampler)
        rt_sampler_free(sampler->rt);
    free(sampler);
}

int32_t kv_sampler_pick(kv_sampler *sampler, const float *logits) {
    return rt_sample(sampler->rt, logits);
}

static int32_t pick(const kv_session *s, kv_sampler *sampler) {
    if (sampler)
        return rt_sample(sampler->rt, s->logits);
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->n_vocab; i++)
        best = s->logits[i] > s->logits[best] ? i : best;
    return (int32_t)best;
}

kv_status kv_session_sample(kv_session *session, kv_sampler *sampler, int32_t *id, kv_err *err) {
    kv_status st = catch_up(session, NULL, NULL, err);
    if (!st)
        *id = pick(session, sampler);
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
    if (s->n == rt_ctx_n_ctx(s->ctx)) {
        *end = KV_END_CONTEXT;
        return KV_OK;
    }
    t.position = s->n;
    if ((st = kv_text_stream_push(s->stream, t.id, &t.text, &t.len, err)))
        return st;
    add(s, &t.id, 1);
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
    kv_status flushed = kv_text_stream_end(session->stream, &rest.text, &rest.len, st ? NULL : err);
    rest.position = session->n;
    if (!st && !flushed && rest.len && on_token && how != KV_END_STOPPED)
        on_token(user, &rest);
    if (end)
        *end = how;
    return st ? st : flushed;
}

/* ---- tokens held, and ways back ---- */

uint32_t kv_session_len(const kv_session *session) {
    return session->n;
}

const int32_t *kv_session_ids(const kv_session *session) {
    return session->ids;
}

static kv_status check_back(const kv_session *s, uint32_t n, kv_err *err) {
    return n > s->n ? kv_fail(err, KV_EINVAL, "the session holds %u tokens: there is no way back to %u", s->n, n) : KV_OK;
}

/* n tokens are left, and the context has been rewound. */
static void shorten(kv_session *s, uint32_t n) {
    s->fresh = s->fresh && s->n == n;
    s->n = n;
    forget(s, n);
    if (!s->fresh && s->n_kept && s->kept[s->n_kept - 1].n == n && rt_ctx_len(s->ctx) == n) {
        memcpy(s->logits, s->kept[s->n_kept - 1].logits, s->n_vocab * sizeof *s->logits);
        s->fresh = true;
    }
}

void kv_session_clear(kv_session *session) {
    rt_ctx_clear(session->ctx);
    shorten(session, 0);
}

kv_status kv_session_truncate(kv_session *session, uint32_t n, kv_err *err) {
    kv_status st = check_back(session, n, err);
    if (!st && n < rt_ctx_len(session->ctx))
        st = kv_cache_truncate(rt_ctx_cache(session->ctx), n, err);
    if (st)
        return st;
    uint32_t reached;
    rt_seq_go_back(rt_ctx_seq(session->ctx), n, &reached); /* which is where it is now: checkpoints behind it are void */
    shorten(session, n);
    return KV_OK;
}

kv_status kv_session_checkpoint(kv_session *session, kv_err *err) {
    kv_session *s = session;
    kv_status st = s->n ? catch_up(s, NULL, NULL, err) : KV_OK;
    if (st || !s->n || (s->n_kept && s->kept[s->n_kept - 1].n == s->n))
        return st; /* an empty session needs no help to become empty */
    float *logits = malloc(s->n_vocab * sizeof *logits);
    if (!logits)
        return kv_fail(err, KV_ENOMEM, "out of memory for a checkpoint");
    if ((st = rt_seq_checkpoint(rt_ctx_seq(s->ctx), err))) {
        free(logits);
        return st;
    }
    memcpy(logits, s->logits, s->n_vocab * sizeof *logits);
    if (s->n_kept == RT_CHECKPOINTS) { /* as the engine does: the first one stays */
        free(s->kept[1].logits);
        memmove(s->kept + 1, s->kept + 2, (RT_CHECKPOINTS - 2) * sizeof *s->kept);
        s->n_kept--;
    }
    s->kept[s->n_kept].n = s->n;
    s->kept[s->n_kept++].logits = logits;
    return KV_OK;
}

kv_status kv_session_go_back(kv_session *session, uint32_t n, uint32_t *reached, kv_err *err) {
    kv_status st = check_back(session, n, err);
    if (st)
        return st;
    const uint32_t held = rewind_ctx(session, n);
    shorten(session, n);
    if (reached)
        *reached = held;
    return KV_OK;
}

/* ---- the cache ---- */

kv_status kv_session_get_facts(const kv_session *session, kv_session_facts *out, kv_err *err) {
    const kv_cache_info info = kv_cache_get_info(rt_ctx_cache(session->ctx));
    const uint64_t kept = (uint64_t)session->n_kept * session->n_vocab * sizeof(float);
    const kv_session_facts facts = {
        .size = sizeof facts,
        .bytes = info.bytes,
        .bytes_checkpoints = kept + rt_seq_checkpoint_bytes(rt_ctx_seq(session->ctx)),
        .bytes_f16 = info.bytes_f16,
        .bits_k = info.bits_k,
        .bits_v = info.bits_v,
        .held = info.held,
        .most = info.most,
        .n_ctx = rt_ctx_n_ctx(session->ctx),
        .n_batch = rt_ctx_n_batch(session->ctx),
        .len = session->n,
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
                              .n_head = hp->n_head,
                              .n_kv_head = hp->n_kv_head,
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
    kv_status st = rt_ctx_set_tap(session->ctx, tap ? show : NULL, session, err);
    if (st)
        return st;
    session->tap = tap;
    session->tap_user = user;
    session->tap_layer = layer;
    session->tap_stopped = false;
    return KV_OK;
}
