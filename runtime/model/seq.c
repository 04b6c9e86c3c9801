/* Workspaces, sequences, and contexts, which are one of each. Ways back: marks.c. */
#include "model/work.h"

#include <stdlib.h>
#include <string.h>

/* ---- workspaces ---- */

static bool is_shared(const rt_hparams *hp, uint32_t layer) {
    for (uint32_t l = layer + 1; l < hp->n_layer; l++)
        if (hp->kv_layer[l] == layer)
            return true;
    return false;
}

/* Keys and values of all layers lie in `all`, one layer's after the other's, but for those that are read again; returns the
 * floats that these take. */
static size_t lay_out_kv(rt_work *w, rt_kv all, float *base) {
    const rt_hparams *hp = &w->m->hp;
    size_t at = 0;
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        const bool shared = is_shared(hp, l);
        const size_t len = ((size_t)w->n_batch * hp->kv_heads[l] * hp->head_dim + 15) / 16 * 16;
        if (base)
            w->kv_of[l] = shared ? (rt_kv){base + at, base + at + len} : all;
        at += shared ? 2 * len : 0;
    }
    return at;
}

/* Hand out pieces of one allocation; with base == NULL only count. */
static size_t lay_out(rt_work *w, float *base) {
    const rt_hparams *hp = &w->m->hp;
    rt_kv all = {0};
    const size_t n = w->n_batch, n_q = (size_t)hp->n_head * hp->head_dim, n_kv = (size_t)hp->n_kv_head * hp->head_dim;
    const struct {
        float **p;
        size_t len;
    } parts[] = {
        {&w->x, n * hp->n_embd},
        {&w->h, n * hp->n_embd},
        {&w->both, w->m->arch->parallel || w->m->arch->sparse || hp->n_expert ? n * hp->n_embd : 0},
        {&w->q, n * n_q},
        {&all.k, n * n_kv},
        {&all.v, n * n_kv},
        {&w->o, n * n_q},
        {&w->gate, n * rt_widest_ff(hp)},
        {&w->up, n * rt_widest_ff(hp)},
        {&w->rope.cos, n * hp->n_rot},
        {&w->rope.sin, n * hp->n_rot},
        {&w->rope.gain, n},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (base)
            *parts[i].p = base + at;
        at += (parts[i].len + 15) / 16 * 16; /* whole cache lines */
    }
    at += lay_out_kv(w, all, base ? base + at : NULL);
    return at + experts_lay_out(hp, n, base ? base + at : NULL, &w->moe);
}

static kv_status grab_batch(rt_batch *b, uint32_t n, kv_err *err) {
    b->tokens = calloc(n, sizeof *b->tokens);
    b->pos = calloc(n, sizeof *b->pos);
    b->inv_freq = calloc(n, sizeof *b->inv_freq);
    b->wanted = calloc(n, sizeof *b->wanted);
    b->parts = calloc(n, sizeof *b->parts);
    b->seqs = calloc(n, sizeof *b->seqs);
    if (!b->tokens || !b->pos || !b->inv_freq || !b->wanted || !b->parts || !b->seqs)
        return kv_fail(err, KV_ENOMEM, "out of memory for batches of %u tokens", n);
    return KV_OK;
}

kv_status rt_work_new(const rt_model *m, uint32_t n_batch, rt_work **out, kv_err *err) {
    const rt_hparams *hp = &m->hp;
    const uint32_t n_q = hp->n_head * hp->head_dim, ff = rt_widest_ff(hp), max_cols = ff > hp->n_embd ? ff : hp->n_embd;
    rt_work *w = calloc(1, sizeof *w);
    kv_status st;
    if (!w)
        return kv_fail(err, KV_ENOMEM, "out of memory for a workspace");
    w->m = m;
    w->n_batch = n_batch ? n_batch : RT_BATCH;
    if (!(w->kv_of = calloc(hp->n_layer, sizeof *w->kv_of))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a workspace");
        goto done;
    }
    if ((st = rt_exec_start(&m->exec, &w->exec, err)) ||
        (st = act_new(w->n_batch, n_q > max_cols ? n_q : max_cols, &w->exec, &w->act, err)) ||
        (st = kv_work_new(&w->exec, w->n_batch, &w->kv, err)) || (st = grab_batch(&w->batch, w->n_batch, err)))
        goto done;
    if (!(w->scratch = rt_alloc(lay_out(w, NULL) * sizeof(float)))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for batches of %u tokens", w->n_batch);
        goto done;
    }
    lay_out(w, w->scratch);
    w->rope.cap = w->n_batch;
    *out = w;
    w = NULL;
done:
    rt_work_free(w);
    return st;
}

void rt_work_free(rt_work *w) {
    if (!w)
        return;
    kv_work_free(w->kv);
    act_free(w->act);
    rt_exec_stop(&w->exec);
    free(w->batch.tokens);
    free(w->batch.pos);
    free(w->batch.inv_freq);
    free(w->batch.wanted);
    free(w->batch.parts);
    free(w->batch.seqs);
    free(w->kv_of);
    free(w->scratch);
    free(w->lse);
    free(w);
}

const rt_exec *rt_work_exec(const rt_work *w) {
    return &w->exec;
}

size_t rt_work_bytes(const rt_work *w) {
    rt_work counted = *w;
    return lay_out(&counted, NULL) * sizeof(float) + act_bytes(w->act) + kv_work_bytes(w->kv);
}

kv_status rt_work_set_tap(rt_work *w, rt_tap tap, void *user, kv_err *err) {
    const size_t n = (size_t)w->n_batch * w->m->hp.n_head;
    if (tap && !w->lse) {
        w->lse = malloc(2 * n * sizeof(float));
        if (!w->lse)
            return kv_fail(err, KV_ENOMEM, "out of memory for a tap on batches of %u tokens", w->n_batch);
        w->entropy = w->lse + n;
    }
    w->tap = tap;
    w->tap_user = user;
    return KV_OK;
}

void rt_work_set_states(rt_work *w, float *to) {
    w->states = to;
}

/* ---- sequences ---- */

kv_status rt_seq_new(rt_work *w, const rt_ctx_cfg *cfg, rt_seq **out, kv_err *err) {
    const rt_model *m = w->m;
    const rt_hparams *hp = &m->hp;
    kv_cache_cfg cc = {0};
    kv_status st = KV_OK;
    rt_seq *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "out of memory for a sequence");
    s->m = m;
    if (cfg->profile && (st = rt_profile_fits(hp, m->hash, cfg->profile, gguf_path(m->file), err)))
        goto done;
    if ((st = rt_cache_cfg_new(hp, cfg, &cc, err)))
        goto done;
    s->inv_freq = rt_inv_freq(m, cc.n_ctx);
    cc.rope.inv_freq = s->inv_freq;
    cc.rope.n_rot = hp->n_rot;
    cc.rope.neox = m->arch->rope_neox;
    cc.n_batch = cc.n_batch < w->n_batch ? cc.n_batch : w->n_batch;
    s->n_ctx = cc.n_ctx;
    s->n_batch = cc.n_batch;
    s->every = cfg->checkpoint_every;
    if ((st = kv_cache_new(&cc, &w->exec, &s->cache, err)) == KV_ERANGE && err) /* a transform that is of no use */
        kv_fail(err, st, "%s: the profile: %s", gguf_path(m->file), err->msg);
    if (st || (st = kv_work_fit(w->kv, s->cache, err)))
        goto done;
    if (!(s->tokens = calloc(s->n_ctx, sizeof *s->tokens))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a sequence of %u tokens", s->n_ctx);
        goto done;
    }
    *out = s;
    s = NULL;
done:
    rt_cache_cfg_free(&cc);
    rt_seq_free(s);
    return st;
}

void rt_seq_free(rt_seq *s) {
    if (!s)
        return;
    rt_drop_marks(s, 0);
    kv_cache_free(s->cache);
    free(s->tokens);
    free(s);
}

kv_cache *rt_seq_cache(rt_seq *s) {
    return s->cache;
}
uint32_t rt_seq_n_ctx(const rt_seq *s) {
    return s->n_ctx;
}
uint32_t rt_seq_len(const rt_seq *s) {
    return kv_cache_len(s->cache);
}
const int32_t *rt_seq_tokens(const rt_seq *s) {
    return s->tokens;
}
void rt_seq_clear(rt_seq *s) {
    kv_cache_clear(s->cache);
    rt_drop_marks(s, 0);
}

/* A weight of each dimension after the rotation is not the same as one before it. */
static kv_status turns_back(const rt_model *m, kv_err *err) {
    if (m->arch->qk_norm_after_rope && m->hp.n_layer && m->layers[0].k_norm.w)
        return kv_fail(err, KV_EUNSUPP,
                       "models of architecture %s cannot go on past their context in place, as they norm keys after rotating "
                       "them: read what is to stay anew",
                       m->hp.arch);
    return KV_OK;
}

kv_status rt_seq_shift(rt_work *w, rt_seq *s, uint32_t keep, uint32_t n, kv_err *err) {
    kv_status st = turns_back(s->m, err);
    if (st || (st = kv_cache_shift(s->cache, &w->exec, keep, n, err)))
        return st;
    memmove(s->tokens + keep, s->tokens + keep + n, (kv_cache_len(s->cache) - keep) * sizeof *s->tokens);
    rt_drop_marks(s, 0);
    return KV_OK;
}

/* ---- contexts ---- */

struct rt_ctx {
    rt_work *work, *own; /* own: the same, or NULL where it is somebody else's */
    rt_seq *seq;
};

/* w NULL: one of its own. */
static kv_status new_ctx(const rt_model *m, rt_work *w, const rt_ctx_cfg *cfg, rt_ctx **out, kv_err *err) {
    rt_ctx *c = calloc(1, sizeof *c);
    kv_status st = KV_OK;
    if (!c)
        return kv_fail(err, KV_ENOMEM, "out of memory for a context");
    if (!w)
        st = rt_work_new(m, rt_batch_tokens(&m->hp, cfg), &c->own, err);
    c->work = w ? w : c->own;
    if (st || (st = rt_seq_new(c->work, cfg, &c->seq, err)))
        goto done;
    *out = c;
    c = NULL;
done:
    rt_ctx_free(c);
    return st;
}

kv_status rt_ctx_new(const rt_model *m, const rt_ctx_cfg *cfg, rt_ctx **out, kv_err *err) {
    return new_ctx(m, NULL, cfg, out, err);
}

kv_status rt_ctx_new_in(rt_work *w, const rt_ctx_cfg *cfg, rt_ctx **out, kv_err *err) {
    return new_ctx(w->m, w, cfg, out, err);
}

void rt_ctx_free(rt_ctx *c) {
    if (!c)
        return;
    rt_seq_free(c->seq);
    rt_work_free(c->own);
    free(c);
}

kv_status rt_ctx_set_tap(rt_ctx *c, rt_tap tap, void *user, kv_err *err) {
    return rt_work_set_tap(c->work, tap, user, err);
}
const rt_exec *rt_ctx_exec(const rt_ctx *c) {
    return &c->work->exec;
}
rt_seq *rt_ctx_seq(rt_ctx *c) {
    return c->seq;
}
kv_cache *rt_ctx_cache(rt_ctx *c) {
    return c->seq->cache;
}
uint32_t rt_ctx_n_ctx(const rt_ctx *c) {
    return c->seq->n_ctx;
}
uint32_t rt_ctx_n_batch(const rt_ctx *c) {
    return c->seq->n_batch;
}
uint32_t rt_ctx_len(const rt_ctx *c) {
    return rt_seq_len(c->seq);
}
void rt_ctx_clear(rt_ctx *c) {
    rt_seq_clear(c->seq);
}

kv_status rt_ctx_shift(rt_ctx *c, uint32_t keep, uint32_t n, kv_err *err) {
    return rt_seq_shift(c->work, c->seq, keep, n, err);
}
kv_status rt_ctx_shifts(const rt_ctx *c, uint32_t keep, uint32_t n, kv_err *err) {
    kv_status st = turns_back(c->seq->m, err);
    return st ? st : kv_shift_fits(c->seq->cache, keep, n, err);
}

kv_status rt_forward(rt_ctx *c, const int32_t *tokens, uint32_t n, uint32_t n_out, float *logits, kv_err *err) {
    rt_batch *b = &c->work->batch;
    if (n < 1 || n > c->seq->n_batch || n_out > n)
        return kv_fail(err, KV_EINVAL, "a batch of %u tokens with %u outputs: 1..%u tokens are possible", n, n_out,
                       c->seq->n_batch);
    b->n = n;
    b->n_parts = 1;
    b->n_wanted = n_out;
    b->seqs[0] = c->seq;
    b->parts[0] = (kv_rows){c->seq->cache, 0, n};
    memcpy(b->tokens, tokens, n * sizeof *tokens);
    for (uint32_t i = 0; i < n_out; i++)
        b->wanted[i] = n - n_out + i;
    return rt_run_batch(c->work, logits, err);
}

kv_status rt_prefill(rt_ctx *c, const int32_t *tokens, size_t n, float *logits, kv_err *err) {
    const uint32_t len = rt_ctx_len(c), n_batch = c->seq->n_batch;
    kv_status st = KV_OK;
    if (n > c->seq->n_ctx - len)
        return rt_full(c->seq, n, err);
    for (size_t t = 0; t < n; t++)
        if ((st = rt_check_id(c->seq, tokens, t, err)))
            return st;
    for (size_t at = 0; !st && at < n;) {
        const uint32_t step = n - at < n_batch ? (uint32_t)(n - at) : n_batch;
        st = rt_forward(c, tokens + at, step, logits && at + step == n, logits, err);
        at += step;
    }
    return st;
}
