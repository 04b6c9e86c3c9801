/* Forward and backward through a whole sequence (backward.h).
 *
 * The forward pass keeps the input of every layer; the backward pass computes the rest of a layer again, then goes through it
 * in reverse. In a layer, with g the gradient of the stream behind it (d_x means the gradient with respect to x):
 *
 *   a = o_proj(attention(q, k, v));  mid = in + [norm] a;  f = down(act(gate) * up);  out = mid + [norm] f
 *   (parallel: gate and up read what q, k and v read; out = in + a + f)
 *   d_f from g;  d_(act*up) = d_f W_down;  through the gate;  g += norm^T(d_gate W_gate + d_up W_up)
 *   d_a from g;  d_o = d_a W_o;  attention backward: d_q, d_k, d_v (the far part of these: what the tap sees);  RoPE^T, head
 * norms^T g += norm^T(d_q W_q + d_k W_k + d_v W_v)
 *
 * Every sum is taken in an order that threads do not change.
 */
#include "backward/backward.h"

#include "backward/backward_pass.h"
#include "kernels/cap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

static size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

static size_t transpose_floats(const rt_model *m, size_t n) {
    size_t most = mat_t_floats(m->output, n);
    for (size_t i = 0; i < m->n_mats; i++)
        most = max_size(most, mat_t_floats(m->mats[i], n));
    return most;
}

/* For layers that others read; the gradients begin as zeros. */
static size_t lay_out_shared(pass *p, float *base) {
    const rt_hparams *hp = &p->m->hp;
    size_t at = 0;
    for (uint32_t l = 0, from = 0; l < hp->n_layer; l++) {
        if ((from = hp->kv_layer[l]) == l || (base && p->shared[from].part[0]))
            continue;
        const size_t len = (size_t)p->n * hp->kv_heads[from] * hp->head_dim, room = (len + 15) / 16 * 16;
        for (int i = 0; base && i < SHARED_PARTS; i++) {
            p->shared[from].part[i] = memset(base + at, 0, len * sizeof *base);
            at += room;
        }
        at += base ? 0 : SHARED_PARTS * room; /* counted once for each reader, which is enough */
    }
    return at;
}

/* Hand out pieces of one allocation; with base == NULL only count. */
static size_t lay_out(pass *p, float *base) {
    const rt_hparams *hp = &p->m->hp;
    attn_seq *s = &p->attn;
    const size_t n = p->n, e = n * hp->n_embd, n_q = n * hp->n_head * hp->head_dim, n_kv = n * hp->n_kv_head * hp->head_dim;
    const size_t pad_q = (size_t)s->n_pad * s->n_head * s->dim, pad_kv = (size_t)s->n_pad * s->n_kv_head * s->dim;
    const size_t pad_heads = (size_t)s->n_pad * s->n_head, rot = n * hp->n_rot, ff = n * rt_widest_ff(hp);
    const struct {
        float **p;
        size_t len;
    } parts[] = {
        {&p->in, e * hp->n_layer},
        {&p->x, e},
        {&p->h, e},
        {&p->a, e},
        {&p->f, e},
        {&p->g, e},
        {&p->q, n_q},
        {&p->q_raw, n_q},
        {&p->o, n_q},
        {&p->d_q, n_q},
        {&p->d_o, n_q},
        {&p->k, n_kv},
        {&p->k_raw, n_kv},
        {&p->v, n_kv},
        {&p->d_k, n_kv},
        {&p->d_v, n_kv},
        {&p->far_k, n_kv},
        {&p->far_v, n_kv},
        {&p->gate, ff},
        {&p->up, ff},
        {&p->d_act, ff},
        {&p->d_routes, n * hp->n_expert},
        {&p->d_weights, n * hp->n_expert_used},
        {&p->dots, hp->n_expert ? n : 0},
        {&p->d_expert[0], hp->n_expert ? e : 0},
        {&p->d_expert[1], hp->n_expert ? e : 0},
        {&p->d_expert[2], hp->n_expert ? e : 0},
        {&p->entropy, n * hp->n_head},
        {&p->both, p->m->arch->parallel || hp->n_expert ? e : 0},
        {&p->cut, n * hp->n_head * p->cfg->n_cut},
        {&p->rope.cos, rot},
        {&p->rope.sin, rot},
        {&p->rope.gain, n},
        {&p->rope_back.sin, rot},
        {&p->frame_back.cos, rot},
        {&p->frame_back.sin, rot},
        {&s->q.rows, pad_q},
        {&s->q.cols, pad_q},
        {&s->d_out.rows, pad_q},
        {&s->d_out.cols, pad_q},
        {&s->key.rows, pad_kv},
        {&s->key.cols, pad_kv},
        {&s->val.rows, pad_kv},
        {&s->val.cols, pad_kv},
        {&s->lse, pad_heads},
        {&s->dot, pad_heads},
        {&s->work, (size_t)s->exec->n_threads * attn_work(s)},
        {&p->mat_t, transpose_floats(p->m, n)},
    };
    size_t at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (base)
            *parts[i].p = base + at;
        at += (parts[i].len + 15) / 16 * 16; /* whole cache lines */
    }
    at += lay_out_shared(p, base ? base + at : NULL);
    return at + experts_lay_out(hp, n, base ? base + at : NULL, &p->moe);
}

static kv_status prepare(pass *p, kv_err *err) {
    const rt_hparams *hp = &p->m->hp;
    p->attn = (attn_seq){
        .n = p->n,
        .n_pad = (p->n + 63) / 64 * 64,
        .n_head = hp->n_head,
        .n_kv_head = hp->n_kv_head,
        .dim = hp->head_dim,
        .exec = &p->exec,
        .k = p->exec.k,
        .cap = hp->attn_cap,
    };
    p->rope.cap = p->rope_back.cap = p->frame_back.cap = p->n;
    p->steps = 2 * (size_t)hp->n_layer + 4;
    const size_t cols = max_size(max_size(rt_widest_ff(hp), hp->n_embd), (size_t)hp->n_head * hp->head_dim);
    kv_status st = act_new(p->n, cols, &p->exec, &p->act, err);
    if (st)
        return st;
    p->scratch = aligned_alloc(64, lay_out(p, NULL) * sizeof(float));
    if (!p->scratch)
        return kv_fail(err, KV_ENOMEM, "out of memory for gradients over %u tokens", p->n);
    lay_out(p, p->scratch);
    p->rope_back.cos = p->rope.cos;
    rows_rope_fill(p->m, &p->exec, NULL, NULL, p->n, 1, &p->rope);
    rows_rope_fill(p->m, &p->exec, NULL, NULL, p->n, p->cfg->frame ? p->cfg->frame : UINT32_MAX, &p->frame_back);
    for (size_t i = 0; i < (size_t)p->n * hp->n_rot / (hp->swa ? 1 : 2); i++) {
        p->rope_back.sin[i] = -p->rope.sin[i];
        p->frame_back.sin[i] = -p->frame_back.sin[i];
    }
    return KV_OK;
}

static kv_status check_ids(const pass *p, const int32_t *tokens, kv_err *err) {
    const uint32_t n_vocab = p->m->hp.n_vocab;
    const int32_t *y = p->cfg->targets;
    if (p->n == 0)
        return kv_fail(err, KV_EINVAL, "gradients of a sequence without tokens");
    if (p->cfg->n_cut > RT_MAX_CUTS)
        return kv_fail(err, KV_EINVAL, "%u cuts: more than %d", p->cfg->n_cut, RT_MAX_CUTS);
    for (uint32_t t = 0; t < p->n; t++) {
        if (tokens[t] < 0 || (uint32_t)tokens[t] >= n_vocab)
            return kv_fail(err, KV_ERANGE, "token %u: id %d is outside the vocabulary of %u", t, tokens[t], n_vocab);
        if (y && (y[t] < -1 || (y[t] >= 0 && (uint32_t)y[t] >= n_vocab)))
            return kv_fail(err, KV_ERANGE, "target %u: id %d is outside the vocabulary of %u", t, y[t], n_vocab);
    }
    return KV_OK;
}

/* ---- forward ---- */

/* y (n, rows) = W x + bias */
static void project(pass *p, const rt_mat *w, const float *bias, const float *x, float *y) {
    act_set(p->act, &p->exec, x, p->n, mat_cols(w));
    rows_project(p->m, &p->exec, &(rows_out){w, bias, y}, 1, p->act, p->n);
}

static uint32_t window_of(const pass *p, uint32_t layer) {
    return rt_layer_swa(&p->m->hp, layer) ? p->m->hp.swa : 0;
}

/* q or k: what is projected, and that normed and rotated, as it is stored. */
static void project_rotated(pass *p, uint32_t layer, const rt_mat *w, const float *bias, rows_head h, float *raw, float *y) {
    const rt_hparams *hp = &p->m->hp;
    const size_t rows = mat_rows(w);
    rows_project(p->m, &p->exec, &(rows_out){w, bias, raw}, 1, p->act, p->n);
    memcpy(y, raw, p->n * rows * sizeof *y);
    rows_rotate(p->m, &p->exec, layer, &p->rope, h, p->n, y);
    rows_spread(hp->key_dim, hp->head_dim, (size_t)p->n * h.n_head, y);
}

static size_t kv_floats(const pass *p, uint32_t layer) {
    return (size_t)p->n * p->m->hp.kv_heads[layer] * p->m->hp.head_dim;
}

/* k and v: the layer's own, or those that it reads. */
static void project_kv(pass *p, uint32_t layer) {
    const rt_hparams *hp = &p->m->hp;
    const rt_layer *y = &p->m->layers[layer];
    const uint32_t kv = hp->kv_heads[layer];
    const size_t bytes = kv_floats(p, layer) * sizeof(float);
    float *const *shared = p->shared[hp->kv_layer[layer]].part;
    if (!rt_layer_caches(hp, layer)) {
        memcpy(p->k, shared[SHARED_K], bytes);
        memcpy(p->v, shared[SHARED_V], bytes);
        return;
    }
    project_rotated(p, layer, y->k, y->k_bias, (rows_head){&y->k_norm, kv, false}, p->k_raw, p->k);
    rows_project(p->m, &p->exec, &(rows_out){y->v, y->v_bias, p->v}, 1, p->act, p->n);
    rows_spread(hp->value_dim, hp->head_dim, (size_t)p->n * kv, p->v);
    if (shared[0]) {
        memcpy(shared[SHARED_K], p->k, bytes);
        memcpy(shared[SHARED_V], p->v, bytes);
    }
}

/* What `o` reads of attention, as its columns are. The whole is read once more, so it is packed in a copy. */
static const float *packed_output(pass *p, uint32_t layer) {
    const rt_hparams *hp = &p->m->hp;
    const size_t heads = (size_t)p->n * hp->heads[layer];
    if (hp->value_dim == hp->head_dim)
        return p->o;
    memcpy(p->d_o, p->o, heads * hp->head_dim * sizeof *p->o);
    rows_pack(hp->value_dim, hp->head_dim, heads, p->d_o);
    return p->d_o;
}

/* What attention adds, into p->a; p->act: its input. entropy: as in attn_forward. */
static void attention_forward(pass *p, uint32_t layer, float *entropy) {
    const rt_hparams *hp = &p->m->hp;
    const rt_layer *y = &p->m->layers[layer];
    if (!hp->kv_heads[layer]) { /* the output matrix alone */
        rows_project(p->m, &p->exec, &(rows_out){y->o, y->o_bias, p->a}, 1, p->act, p->n);
        return;
    }
    project_rotated(p, layer, y->q, y->q_bias, (rows_head){&y->q_norm, hp->heads[layer], true}, p->q_raw, p->q);
    project_kv(p, layer);
    p->attn.n_head = hp->heads[layer];
    p->attn.n_kv_head = hp->kv_heads[layer];
    attn_forward(&p->attn, p->q, p->k, p->v, hp->attn_scale, window_of(p, layer), p->o, entropy);
    project(p, y->o, y->o_bias, packed_output(p, layer), p->a);
}

/* x += y, normed first where the architecture does so; y stays as it is. */
static void add_block(pass *p, const float *y, const rt_norm *post_norm) {
    const uint32_t dim = p->m->hp.n_embd;
    if (post_norm->w)
        rows_norm(p->m, &p->exec, y, post_norm, p->n, dim, p->h);
    rows_add(p->m, &p->exec, p->x, post_norm->w ? p->h : y, p->n, dim);
}

/* A layer up to what `down` reads, before the activation (after it: `act`), from its input in x; x becomes the stream between
 * attention and FFN. entropy: as in attn_forward. */
static void layer_forward(pass *p, uint32_t layer, float *entropy, bool act) {
    const rt_model *m = p->m;
    const rt_hparams *hp = &m->hp;
    const rt_layer *y = &m->layers[layer];
    const bool parallel = rt_layer_parallel(m->arch, y);
    if (hp->heads[layer]) {
        rows_norm(m, &p->exec, p->x, &y->attn_norm, p->n, hp->n_embd, p->h);
        act_set(p->act, &p->exec, p->h, p->n, hp->n_embd);
        if (parallel)
            rows_ffn(m, &p->exec, y, p->act, p->n, act, p->gate, p->up);
        attention_forward(p, layer, entropy);
        add_block(p, p->a, &y->post_attn_norm);
    }
    if (parallel || !hp->ff[layer])
        return;
    rows_norm(m, &p->exec, p->x, &y->ffn_norm, p->n, hp->n_embd, p->h);
    act_set(p->act, &p->exec, p->h, p->n, hp->n_embd);
    if (!y->experts.router)
        rows_ffn(m, &p->exec, y, p->act, p->n, act, p->gate, p->up);
}

static kv_status forward(pass *p, const int32_t *tokens, kv_err *err) {
    const rt_model *m = p->m;
    const size_t e = (size_t)p->n * m->hp.n_embd;
    kv_status st = KV_OK;
    rows_embed(m, &p->exec, tokens, p->n, p->x);
    for (uint32_t l = 0; !st && l < m->hp.n_layer; l++) {
        const rt_layer *y = &m->layers[l];
        memcpy(p->in + l * e, p->x, e * sizeof *p->x);
        layer_forward(p, l, NULL, true);
        if (y->experts.router)
            experts_run(m, &p->exec, y, p->act, p->h, p->n, &p->moe, p->gate, p->up, p->f);
        else if (y->down)
            project(p, y->down, y->down_bias, p->gate, p->f);
        if (m->hp.ff[l])
            add_block(p, p->f, &y->post_ffn_norm);
        st = back_advance(p, 1, err);
    }
    return st;
}

/* ---- backward ---- */

/* From g behind the FFN to g before it; gate and up become their gradients. Where attention reads the same, what comes back is
 * left in p->both for it. */
static void ffn_backward(pass *p, uint32_t layer) {
    const rt_model *m = p->m;
    const rt_layer *y = &m->layers[layer];
    const size_t n_ff = m->hp.ff[layer];
    const bool parallel = rt_layer_parallel(m->arch, y);
    float *back = parallel ? p->both : p->h;
    if (!n_ff)
        return;
    if (y->experts.router) {
        back_experts(p, y);
        return;
    }
    if (!y->gate) /* act(up) is act(gate) times 1, gate being up */
        for (size_t i = 0; i < p->n * n_ff; i++)
            p->up[i] = 1;
    if (y->post_ffn_norm.w) {
        memcpy(p->d_act, p->gate, p->n * n_ff * sizeof *p->d_act);
        rows_gate(m, &p->exec, p->d_act, p->up, p->n, (uint32_t)n_ff);
        project(p, y->down, y->down_bias, p->d_act, p->f);
    }
    back_through(p, y->down, back_block(p, p->f, &y->post_ffn_norm), p->d_act, false);
    back_gate(p, p->n, n_ff);
    back_through(p, y->gate ? y->gate : y->up, p->gate, back, false);
    if (y->gate)
        back_through(p, y->up, p->up, back, true);
    if (!parallel)
        back_stream(p, p->x, &y->ffn_norm, p->h, p->g);
}

static kv_status check_finite(const pass *p, uint32_t layer, kv_err *err) {
    const size_t n = (size_t)p->n * p->attn.n_kv_head * p->attn.dim;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(p->d_k[i]) || !isfinite(p->d_v[i]))
            return kv_fail(err, KV_ERANGE, "%s: layer %u: a gradient is not finite: weights or activations are out of range",
                           gguf_path(p->m->file), layer);
    return KV_OK;
}

/* Through the norm of heads; raw: what went into it. */
static void unnorm(const pass *p, rows_head h, const float *raw, float *d) {
    const uint32_t dim = p->m->hp.key_dim;
    const rt_qk_norm kind = p->m->arch->qk_norm;
    const bool row = kind == RT_QK_ROW;
    if (h.norm->w)
        back_norm(p, raw, h.norm->w, kind == RT_QK_EACH ? h.n_head : 1, d, (size_t)p->n * (row ? 1 : h.n_head),
                  row ? (size_t)h.n_head * dim : dim, false, d);
}

/* Gradient with respect to q or k before norm and RoPE, in place; it comes as it is stored. */
static void unrotate(const pass *p, uint32_t layer, rows_head h, float *raw, float *d) {
    const rt_rope back = {p->rope_back.cos, p->rope_back.sin, p->rope.gain, p->rope.cap};
    rows_pack(p->m->hp.key_dim, p->m->hp.head_dim, (size_t)p->n * h.n_head, d);
    const bool late = p->m->arch->qk_norm_after_rope;
    if (late) {
        rows_rotate(p->m, &p->exec, layer, &p->rope, (rows_head){NULL, h.n_head, h.query}, p->n, raw);
        unnorm(p, h, raw, d);
    }
    rows_rotate(p->m, &p->exec, layer, &back, (rows_head){NULL, h.n_head, h.query}, p->n, d);
    if (!late)
        unnorm(p, h, raw, d);
}

static void add_floats(float *to, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        to[i] += x[i];
}

/* Gradients of keys and values that layers share: a reader's are kept for the layer that has them, which adds them to its own.
 */
static void share_gradients(pass *p, uint32_t layer) {
    const size_t n = kv_floats(p, layer);
    float *const *shared = p->shared[p->m->hp.kv_layer[layer]].part;
    float *const own[] = {p->d_k, p->d_v, p->far_k, p->far_v};
    const bool has = rt_layer_caches(&p->m->hp, layer);
    for (int i = 0; shared[0] && i < 4; i++)
        add_floats(has ? own[i] : shared[SHARED_DK + i], has ? shared[SHARED_DK + i] : own[i], n);
}

static void show(pass *p, uint32_t layer, bool is_cut) {
    const rt_model *m = p->m;
    const uint32_t kv = m->hp.kv_heads[layer];
    rt_backward_view v = {.layer = layer, .n = p->n, .q = p->q, .entropy = p->entropy, .cut = is_cut ? p->cut : NULL};
    rows_turn(m, &p->exec, layer, &p->rope_back, m->hp.heads[layer], p->n, p->q); /* attention has read it */
    if (rt_layer_caches(&m->hp, layer)) {
        rows_turn(m, &p->exec, layer, &p->frame_back, kv, p->n, p->k);
        rows_turn(m, &p->exec, layer, &p->frame_back, kv, p->n, p->far_k);
        v.k = p->k;
        v.v = p->v;
        v.dk = p->far_k;
        v.dv = p->far_v;
    }
    p->cfg->tap(p->cfg->tap_user, &v);
}

/* From gradients of q, k and v to that of the normed stream that they read, in `back`; with `add` onto what is there. */
static void project_back(pass *p, uint32_t layer, float *back, bool add) {
    const rt_hparams *hp = &p->m->hp;
    const rt_layer *y = &p->m->layers[layer];
    const uint32_t kv = hp->kv_heads[layer];
    unrotate(p, layer, (rows_head){&y->q_norm, hp->heads[layer], true}, p->q_raw, p->d_q);
    back_through(p, y->q, p->d_q, back, add);
    if (!rt_layer_caches(hp, layer))
        return;
    unrotate(p, layer, (rows_head){&y->k_norm, kv, false}, p->k_raw, p->d_k);
    back_through(p, y->k, p->d_k, back, true);
    rows_pack(hp->value_dim, hp->head_dim, (size_t)p->n * kv, p->d_v);
    back_through(p, y->v, p->d_v, back, true);
}

/* From g behind attention to g before it. */
static kv_status attention_backward(pass *p, uint32_t layer, kv_err *err) {
    const rt_model *m = p->m;
    const rt_hparams *hp = &m->hp;
    const rt_layer *y = &m->layers[layer];
    const bool parallel = rt_layer_parallel(m->arch, y);
    float *back = parallel ? p->both : p->h;
    if (!hp->heads[layer])
        return KV_OK;
    const float *d = back_block(p, p->a, &y->post_attn_norm);
    if (hp->kv_heads[layer]) {
        back_through(p, y->o, d, p->d_o, false);
        rows_spread(hp->value_dim, hp->head_dim, (size_t)p->n * hp->heads[layer], p->d_o);
        const attn_cut cuts = {p->cfg->cuts, p->cfg->n_cut, p->cfg->cut_sinks, p->cut};
        const bool is_cut = cuts.n && !window_of(p, layer);
        attn_backward(&p->attn, p->o, p->d_o, hp->attn_scale, window_of(p, layer), p->cfg->window,
                      &(attn_grad){p->d_q, p->d_k, p->d_v, p->far_k, p->far_v}, is_cut ? &cuts : NULL);
        share_gradients(p, layer);
        kv_status st = check_finite(p, layer, err);
        if (st)
            return st;
        show(p, layer, is_cut);
        if (layer == 0) /* nobody asks for gradients of the embeddings */
            return KV_OK;
        project_back(p, layer, back, parallel);
    } else {
        back_through(p, y->o, d, back, parallel);
    }
    back_stream(p, p->in + (size_t)layer * p->n * hp->n_embd, &y->attn_norm, back, p->g);
    return KV_OK;
}

kv_status rt_backward(const rt_model *m, const int32_t *tokens, uint32_t n, const rt_backward_cfg *cfg, kv_err *err) {
    pass p = {.m = m, .cfg = cfg, .n = n};
    const size_t e = (size_t)n * m->hp.n_embd;
    kv_status st;
    if ((st = check_ids(&p, tokens, err)) || (st = rt_exec_start(&m->exec, &p.exec, err)) || (st = prepare(&p, err)) ||
        (st = forward(&p, tokens, err)) || (st = back_output(&p, err)) || (st = back_advance(&p, 4, err)))
        goto done;
    for (uint32_t l = m->hp.n_layer; !st && l-- > 0;) {
        memcpy(p.x, p.in + l * e, e * sizeof *p.x);
        layer_forward(&p, l, p.entropy, false);
        if ((st = back_advance(&p, 0, err)))
            break;
        ffn_backward(&p, l);
        if (!(st = back_advance(&p, 0, err)) && !(st = attention_backward(&p, l, err)))
            st = back_advance(&p, 1, err);
    }
done:
    rt_exec_stop(&p.exec);
    act_free(p.act);
    free(p.scratch);
    return st;
}
