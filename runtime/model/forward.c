/* Contexts and the forward pass: a batch of tokens goes through all layers at once, matrix by matrix.
 *
 *   x  (n, n_embd) the stream;  h (n, n_embd) its normed copy, later what a block adds to it
 *   q  (n, n_head, head_dim);  k, v (n, n_kv_head, head_dim);  o (n, n_head, head_dim) attention's result
 *   gate, up (n, n_ff)
 *
 * Every token's result is computed by the same sums in the same order whatever the batch and the number of threads.
 */
#include "model/rows.h"

#include <stdlib.h>
#include <string.h>

struct rt_ctx {
    const rt_model *m;
    rt_exec exec; /* the model's, with threads of its own */
    kv_cache *cache;
    uint32_t n_ctx, n_batch;
    rt_act *act;
    float *scratch; /* one allocation for all that follow */
    float *x, *h, *q, *k, *v, *o, *gate, *up;
    rt_rope rope;
    rt_tap tap;
    void *tap_user;
    float *lse, *entropy; /* (n_batch, n_head), while a tap is set */
};

/* ---- contexts ---- */

/* Hand out pieces of one allocation; with base == NULL only count. */
static size_t lay_out(rt_ctx *c, float *base) {
    const rt_hparams *hp = &c->m->hp;
    const size_t n = c->n_batch, n_q = (size_t)hp->n_head * hp->head_dim, n_kv = (size_t)hp->n_kv_head * hp->head_dim;
    const struct {
        float **p;
        size_t len;
    } parts[] = {
        {&c->x, n * hp->n_embd},
        {&c->h, n * hp->n_embd},
        {&c->q, n * n_q},
        {&c->k, n * n_kv},
        {&c->v, n * n_kv},
        {&c->o, n * n_q},
        {&c->gate, n * hp->n_ff},
        {&c->up, n * hp->n_ff},
        {&c->rope.cos, n * hp->n_rot},
        {&c->rope.sin, n * hp->n_rot},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (base)
            *parts[i].p = base + at;
        at += (parts[i].len + 15) / 16 * 16; /* whole cache lines */
    }
    return at;
}

kv_status rt_ctx_new(const rt_model *m, const rt_ctx_cfg *cfg, rt_ctx **out, kv_err *err) {
    const rt_hparams *hp = &m->hp;
    kv_cache_cfg cc = {0};
    kv_status st = KV_OK;
    rt_ctx *c = calloc(1, sizeof *c);
    if (!c)
        return kv_fail(err, KV_ENOMEM, "out of memory for a context");
    c->m = m;
    if (cfg->profile &&
        (st = prof_matches(cfg->profile, m->hash, hp->n_layer, hp->n_kv_head, hp->head_dim, gguf_path(m->file), err)))
        goto done;
    if ((st = rt_cache_cfg_new(hp, cfg, &cc, err)))
        goto done;
    cc.rope = (kv_rope){m->inv_freq, hp->n_rot, m->arch->rope_neox};
    if ((st = rt_exec_start(&m->exec, &c->exec, err)))
        goto done;
    c->n_ctx = cc.n_ctx;
    c->n_batch = cc.n_batch;
    uint32_t n_q = hp->n_head * hp->head_dim;
    uint32_t max_cols = hp->n_ff > hp->n_embd ? hp->n_ff : hp->n_embd;
    if ((st = act_new(c->n_batch, n_q > max_cols ? n_q : max_cols, &c->exec, &c->act, err)) ||
        (st = kv_cache_new(&cc, &c->exec, &c->cache, err)))
        goto done;
    c->scratch = rt_alloc(lay_out(c, NULL) * sizeof(float));
    if (!c->scratch) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for batches of %u tokens", c->n_batch);
        goto done;
    }
    lay_out(c, c->scratch);
    c->rope.cap = c->n_batch;
    *out = c;
    c = NULL;
done:
    rt_cache_cfg_free(&cc);
    rt_ctx_free(c);
    return st;
}

void rt_ctx_free(rt_ctx *c) {
    if (!c)
        return;
    act_free(c->act);
    kv_cache_free(c->cache);
    rt_exec_stop(&c->exec);
    free(c->scratch);
    free(c->lse);
    free(c);
}

kv_status rt_ctx_set_tap(rt_ctx *c, rt_tap tap, void *user, kv_err *err) {
    const size_t n = (size_t)c->n_batch * c->m->hp.n_head;
    if (tap && !c->lse) {
        c->lse = malloc(2 * n * sizeof(float));
        if (!c->lse)
            return kv_fail(err, KV_ENOMEM, "out of memory for a tap on batches of %u tokens", c->n_batch);
        c->entropy = c->lse + n;
    }
    c->tap = tap;
    c->tap_user = user;
    return KV_OK;
}

const rt_exec *rt_ctx_exec(const rt_ctx *c) {
    return &c->exec;
}
kv_cache *rt_ctx_cache(rt_ctx *c) {
    return c->cache;
}
uint32_t rt_ctx_n_ctx(const rt_ctx *c) {
    return c->n_ctx;
}
uint32_t rt_ctx_n_batch(const rt_ctx *c) {
    return c->n_batch;
}
uint32_t rt_ctx_len(const rt_ctx *c) {
    return kv_cache_len(c->cache);
}
void rt_ctx_clear(rt_ctx *c) {
    kv_cache_clear(c->cache);
}

/* ---- a layer ---- */

/* x += what a block computed (in h), normed first where the architecture does so. */
static void add_block(rt_ctx *c, const float *post_norm, uint32_t n) {
    const uint32_t d = c->m->hp.n_embd;
    if (post_norm)
        rows_norm(c->m, &c->exec, c->h, post_norm, n, d, c->h);
    rows_add(c->m, &c->exec, c->x, c->h, n, d);
}

static kv_status attention_block(rt_ctx *c, uint32_t layer, uint32_t n, kv_err *err) {
    const rt_model *m = c->m;
    const rt_hparams *hp = &m->hp;
    const rt_exec *e = &c->exec;
    const rt_layer *y = &m->layers[layer];
    rows_norm(m, e, c->x, y->attn_norm, n, hp->n_embd, c->h);
    act_set(c->act, e, c->h, n, hp->n_embd);
    const rows_out qkv[] = {{y->q, y->q_bias, c->q}, {y->k, y->k_bias, c->k}, {y->v, y->v_bias, c->v}};
    rows_project(m, e, qkv, 3, c->act, n);
    rows_rotate(m, e, layer, &c->rope, y->q_norm, n, hp->n_head, c->q);
    rows_rotate(m, e, layer, &c->rope, y->k_norm, n, hp->n_kv_head, c->k);

    float *lse = c->tap ? c->lse : NULL, *entropy = c->tap ? c->entropy : NULL;
    kv_status st = kv_attend(c->cache, e, layer, c->q, c->k, c->v, n, hp->attn_scale, c->o, lse, entropy, err);
    if (st)
        return st;
    if (c->tap)
        c->tap(c->tap_user, &(rt_tap_view){layer, rt_ctx_len(c), n, c->q, c->k, c->v, lse, entropy});
    act_set(c->act, e, c->o, n, (size_t)hp->n_head * hp->head_dim);
    rows_project(m, e, &(rows_out){y->o, y->o_bias, c->h}, 1, c->act, n);
    add_block(c, y->post_attn_norm, n);
    return KV_OK;
}

static void ffn_block(rt_ctx *c, uint32_t layer, uint32_t n) {
    const rt_model *m = c->m;
    const rt_hparams *hp = &m->hp;
    const rt_exec *e = &c->exec;
    const rt_layer *y = &m->layers[layer];
    rows_norm(m, e, c->x, y->ffn_norm, n, hp->n_embd, c->h);
    act_set(c->act, e, c->h, n, hp->n_embd);
    rows_project(m, e, (rows_out[]){{y->gate, NULL, c->gate}, {y->up, NULL, c->up}}, 2, c->act, n);
    rows_gate(m, e, c->gate, c->up, n);
    act_set(c->act, e, c->gate, n, hp->n_ff);
    rows_project(m, e, &(rows_out){y->down, NULL, c->h}, 1, c->act, n);
    add_block(c, y->post_ffn_norm, n);
}

static kv_status check_tokens(const rt_ctx *c, const int32_t *tokens, size_t n, kv_err *err) {
    const uint32_t len = rt_ctx_len(c);
    if (n > c->n_ctx - len)
        return kv_fail(err, KV_ERANGE,
                       "context is full: %u of %u tokens are taken, %zu more do not fit (a larger context is needed)", len,
                       c->n_ctx, n);
    for (size_t t = 0; t < n; t++)
        if (tokens[t] < 0 || (uint32_t)tokens[t] >= c->m->hp.n_vocab)
            return kv_fail(err, KV_ERANGE, "token %zu: id %d is outside the vocabulary of %u", t, tokens[t], c->m->hp.n_vocab);
    return KV_OK;
}

kv_status rt_forward(rt_ctx *c, const int32_t *tokens, uint32_t n, uint32_t n_out, float *logits, kv_err *err) {
    const rt_hparams *hp = &c->m->hp;
    if (n < 1 || n > c->n_batch || n_out > n)
        return kv_fail(err, KV_EINVAL, "a batch of %u tokens with %u outputs: 1..%u tokens are possible", n, n_out, c->n_batch);
    kv_status st = check_tokens(c, tokens, n, err);
    if (st)
        return st;
    rows_embed(c->m, &c->exec, tokens, n, c->x);
    rows_rope_fill(c->m, &c->exec, rt_ctx_len(c), n, 1, &c->rope);
    for (uint32_t l = 0; l < hp->n_layer; l++) {
        if ((st = attention_block(c, l, n, err)))
            return st;
        ffn_block(c, l, n);
    }
    kv_cache_commit(c->cache, n);
    if (n_out) {
        rows_norm(c->m, &c->exec, c->x + (size_t)(n - n_out) * hp->n_embd, c->m->output_norm, n_out, hp->n_embd, c->h);
        act_set(c->act, &c->exec, c->h, n_out, hp->n_embd);
        mat_mul(c->m->output, &c->exec, c->act, logits, hp->n_vocab);
    }
    return KV_OK;
}

kv_status rt_prefill(rt_ctx *c, const int32_t *tokens, size_t n, float *logits, kv_err *err) {
    kv_status st = check_tokens(c, tokens, n, err);
    for (size_t at = 0; !st && at < n;) {
        uint32_t step = n - at < c->n_batch ? (uint32_t)(n - at) : c->n_batch;
        st = rt_forward(c, tokens + at, step, logits && at + step == n, logits, err);
        at += step;
    }
    return st;
}
