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

enum { LOGITS = 1 << 25 /* floats of logits at a time */, MIN_ROWS = 16 };

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

static kv_status advance(pass *p, size_t steps, kv_err *err) {
    p->step += steps;
    if (p->cfg->progress && !p->cfg->progress(p->cfg->progress_user, (double)p->step / (double)p->steps))
        return kv_fail(err, KV_ECANCEL, "cancelled");
    return gguf_unchanged(p->m->file, err);
}

/* ---- forward ---- */

/* y (n, rows) = W x + bias */
static void project(pass *p, const rt_mat *w, const float *bias, const float *x, float *y) {
    act_set(p->act, &p->exec, x, p->n, mat_cols(w));
    rows_project(p->m, &p->exec, &(rows_out){w, bias, y}, 1, p->act, p->n);
}

/* q or k: what is projected, and that normed and rotated. */
static void project_rotated(pass *p, uint32_t layer, const rt_mat *w, const float *bias, rows_head h, float *raw, float *y) {
    const size_t rows = mat_rows(w);
    rows_project(p->m, &p->exec, &(rows_out){w, bias, raw}, 1, p->act, p->n);
    memcpy(y, raw, p->n * rows * sizeof *y);
    rows_rotate(p->m, &p->exec, layer, &p->rope, h, p->n, y);
}

static uint32_t window_of(const pass *p, uint32_t layer) {
    return rt_layer_swa(&p->m->hp, layer) ? p->m->hp.swa : 0;
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
    rows_norm(m, &p->exec, p->x, &y->attn_norm, p->n, hp->n_embd, p->h);
    act_set(p->act, &p->exec, p->h, p->n, hp->n_embd);
    project_rotated(p, layer, y->q, y->q_bias, (rows_head){&y->q_norm, hp->n_head, true}, p->q_raw, p->q);
    project_rotated(p, layer, y->k, y->k_bias, (rows_head){&y->k_norm, hp->n_kv_head, false}, p->k_raw, p->k);
    rows_project(m, &p->exec, &(rows_out){y->v, y->v_bias, p->v}, 1, p->act, p->n);
    rows_spread(hp, (size_t)p->n * hp->n_kv_head, p->v);
    if (parallel)
        rows_ffn(m, &p->exec, y, p->act, p->n, act, p->gate, p->up);
    attn_forward(&p->attn, p->q, p->k, p->v, hp->attn_scale, window_of(p, layer), p->o, entropy);
    const float *o = p->o;
    if (hp->value_dim < hp->head_dim) { /* packed in a copy: the whole is read once more */
        memcpy(p->d_o, p->o, (size_t)p->n * hp->n_head * hp->head_dim * sizeof *p->o);
        rows_pack(hp, (size_t)p->n * hp->n_head, p->d_o);
        o = p->d_o;
    }
    project(p, y->o, y->o_bias, o, p->a);
    add_block(p, p->a, &y->post_attn_norm);
    if (parallel)
        return;
    rows_norm(m, &p->exec, p->x, &y->ffn_norm, p->n, hp->n_embd, p->h);
    act_set(p->act, &p->exec, p->h, p->n, hp->n_embd);
    if (!hp->n_expert)
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
        if (m->hp.n_expert)
            experts_run(m, &p->exec, y, p->act, p->h, p->n, &p->moe, p->gate, p->up, p->f);
        else
            project(p, y->down, y->down_bias, p->gate, p->f);
        add_block(p, p->f, &y->post_ffn_norm);
        st = advance(p, 1, err);
    }
    return st;
}

/* ---- the output layer: predictions, draws, and the gradient that starts it all ---- */

/* Uniform in [0, 1) for position i. SplitMix64 (Steele, Lea, Flood 2014) over a start that seed and i mix. */
static double uniform(uint64_t seed, uint64_t i) {
    uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* The id at share u of weights w (n) that sum to about `sum`. */
static int32_t draw(const float *w, size_t n, double sum, double u) {
    double left = u * sum;
    size_t last = 0; /* where rounding leaves nothing: the last that is possible */
    for (size_t i = 0; i < n; i++) {
        left -= w[i];
        if (left < 0)
            return (int32_t)i;
        last = w[i] > 0 ? i : last;
    }
    return (int32_t)last;
}

/* Logits of position i, as the output matrix gives them, become the gradient of log p(y) with respect to them: (id == y) - p,
 * for logits that are neither scaled nor capped. slope (n_vocab): scratch, where they are capped. */
static void logit_gradient(const pass *p, size_t i, float *x, float *slope) {
    const size_t n = p->m->hp.n_vocab;
    const rt_kernels *k = p->m->exec.k;
    const rt_hparams *hp = &p->m->hp;
    for (size_t j = 0; hp->logit_scale != 1 && j < n; j++)
        x[j] *= hp->logit_scale;
    if (hp->logit_cap > 0)
        rt_cap(k, x, n, hp->logit_cap, slope);
    const float sum = k->exp_sum(x, n, k->max(x, n));
    const int32_t y = p->cfg->targets ? p->cfg->targets[i] : draw(x, n, sum, uniform(p->cfg->seed, i));
    const float by = y < 0 ? 0 : -1 / sum;
    for (size_t j = 0; j < n; j++)
        x[j] *= by;
    if (y >= 0)
        x[y] += 1;
    for (size_t j = 0; hp->logit_cap > 0 && j < n; j++)
        x[j] *= slope[j];
    for (size_t j = 0; hp->logit_scale != 1 && j < n; j++)
        x[j] *= hp->logit_scale;
    if (p->cfg->drawn)
        p->cfg->drawn[i] = y;
}

typedef struct logit_job {
    const pass *p;
    size_t at; /* position of the first row */
    float *logits, *slopes;
} logit_job;

static void logit_rows(void *arg, int thread, size_t first, size_t end) {
    const logit_job *j = arg;
    const size_t n_vocab = j->p->m->hp.n_vocab;
    for (size_t t = first; t < end; t++)
        logit_gradient(j->p, j->at + t, j->logits + t * n_vocab, j->slopes + (size_t)thread * n_vocab);
}

static kv_status output_layer(pass *p, kv_err *err) {
    const rt_model *m = p->m;
    const uint32_t dim = m->hp.n_embd;
    const size_t n_vocab = m->hp.n_vocab, fit = LOGITS / n_vocab, slice = fit < MIN_ROWS ? MIN_ROWS : fit < p->n ? fit : p->n;
    float *logits = malloc((slice + (size_t)p->exec.n_threads) * n_vocab * sizeof *logits), *slopes = logits + slice * n_vocab;
    kv_status st;
    if (!logits)
        return kv_fail(err, KV_ENOMEM, "out of memory for logits of %zu tokens", slice);
    rows_norm(m, &p->exec, p->x, &m->output_norm, p->n, dim, p->h);
    for (size_t at = 0; at < p->n; at += slice) {
        const size_t n = p->n - at < slice ? p->n - at : slice;
        act_set(p->act, &p->exec, p->h + at * dim, n, dim);
        mat_mul(m->output, &p->exec, p->act, logits, n_vocab);
        rt_for(&p->exec, n, BACK_GRAIN, logit_rows, &(logit_job){p, at, logits, slopes});
        mat_mul_t(m->output, &p->exec, logits, n, p->g + at * dim, false, p->mat_t);
        if ((st = advance(p, 0, err)))
            goto done;
    }
    back_norm(p, p->x, m->output_norm.w, 1, p->g, p->n, dim, false, p->g);
    st = advance(p, 4, err);
done:
    free(logits);
    return st;
}

/* ---- backward ---- */

/* From g behind the FFN to g before it; gate and up become their gradients. Where attention reads the same, what comes back is
 * left in p->both for it. */
static void ffn_backward(pass *p, uint32_t layer) {
    const rt_model *m = p->m;
    const rt_layer *y = &m->layers[layer];
    const size_t n_ff = m->hp.n_ff;
    const bool parallel = rt_layer_parallel(m->arch, y);
    float *back = parallel ? p->both : p->h;
    if (m->hp.n_expert) {
        back_experts(p, y);
        return;
    }
    if (!y->gate) /* act(up) is act(gate) times 1, gate being up */
        for (size_t i = 0; i < p->n * n_ff; i++)
            p->up[i] = 1;
    if (y->post_ffn_norm.w) {
        memcpy(p->d_act, p->gate, p->n * n_ff * sizeof *p->d_act);
        rows_gate(m, &p->exec, p->d_act, p->up, p->n);
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
    const uint32_t dim = p->m->hp.head_dim;
    const rt_qk_norm kind = p->m->arch->qk_norm;
    const bool row = kind == RT_QK_ROW;
    if (h.norm->w)
        back_norm(p, raw, h.norm->w, kind == RT_QK_EACH ? h.n_head : 1, d, (size_t)p->n * (row ? 1 : h.n_head),
                  row ? (size_t)h.n_head * dim : dim, false, d);
}

/* Gradient with respect to q or k before norm and RoPE, in place. */
static void unrotate(const pass *p, uint32_t layer, rows_head h, float *raw, float *d) {
    const rt_rope back = {p->rope_back.cos, p->rope_back.sin, p->rope.gain, p->rope.cap};
    const bool late = p->m->arch->qk_norm_after_rope;
    if (late) {
        rows_rotate(p->m, &p->exec, layer, &p->rope, (rows_head){NULL, h.n_head, h.query}, p->n, raw);
        unnorm(p, h, raw, d);
    }
    rows_rotate(p->m, &p->exec, layer, &back, (rows_head){NULL, h.n_head, h.query}, p->n, d);
    if (!late)
        unnorm(p, h, raw, d);
}

/* From g behind attention to g before it. */
static kv_status attention_backward(pass *p, uint32_t layer, kv_err *err) {
    const rt_model *m = p->m;
    const rt_hparams *hp = &m->hp;
    const rt_layer *y = &m->layers[layer];
    const float *in = p->in + (size_t)layer * p->n * hp->n_embd;
    back_through(p, y->o, back_block(p, p->a, &y->post_attn_norm), p->d_o, false);
    rows_spread(hp, (size_t)p->n * hp->n_head, p->d_o);
    const attn_cut cuts = {p->cfg->cuts, p->cfg->n_cut, p->cfg->cut_sinks, p->cut};
    const bool is_cut = cuts.n && !window_of(p, layer);
    attn_backward(&p->attn, p->o, p->d_o, hp->attn_scale, window_of(p, layer), p->cfg->window,
                  &(attn_grad){p->d_q, p->d_k, p->d_v, p->far_k, p->far_v}, is_cut ? &cuts : NULL);
    kv_status st = check_finite(p, layer, err);
    if (st)
        return st;
    rows_turn(m, &p->exec, layer, &p->frame_back, hp->n_kv_head, p->n, p->k);
    rows_turn(m, &p->exec, layer, &p->frame_back, hp->n_kv_head, p->n, p->far_k);
    rows_turn(m, &p->exec, layer, &p->rope_back, hp->n_head, p->n, p->q); /* attention has read it */
    p->cfg->tap(p->cfg->tap_user,
                &(rt_backward_view){layer, p->n, p->q, p->k, p->v, p->far_k, p->far_v, p->entropy, is_cut ? p->cut : NULL});
    if (layer == 0) /* nobody asks for gradients of the embeddings */
        return KV_OK;
    unrotate(p, layer, (rows_head){&y->q_norm, hp->n_head, true}, p->q_raw, p->d_q);
    unrotate(p, layer, (rows_head){&y->k_norm, hp->n_kv_head, false}, p->k_raw, p->d_k);
    const bool parallel = rt_layer_parallel(m->arch, y);
    float *back = parallel ? p->both : p->h;
    back_through(p, y->q, p->d_q, back, parallel);
    back_through(p, y->k, p->d_k, back, true);
    rows_pack(hp, (size_t)p->n * hp->n_kv_head, p->d_v);
    back_through(p, y->v, p->d_v, back, true);
    back_stream(p, in, &y->attn_norm, back, p->g);
    return KV_OK;
}

kv_status rt_backward(const rt_model *m, const int32_t *tokens, uint32_t n, const rt_backward_cfg *cfg, kv_err *err) {
    pass p = {.m = m, .cfg = cfg, .n = n};
    const size_t e = (size_t)n * m->hp.n_embd;
    kv_status st;
    if ((st = check_ids(&p, tokens, err)) || (st = rt_exec_start(&m->exec, &p.exec, err)) || (st = prepare(&p, err)) ||
        (st = forward(&p, tokens, err)) || (st = output_layer(&p, err)))
        goto done;
    for (uint32_t l = m->hp.n_layer; !st && l-- > 0;) {
        memcpy(p.x, p.in + l * e, e * sizeof *p.x);
        layer_forward(&p, l, p.entropy, false);
        if ((st = advance(&p, 0, err)))
            break;
        ffn_backward(&p, l);
        if (!(st = advance(&p, 0, err)) && !(st = attention_backward(&p, l, err)))
            st = advance(&p, 1, err);
    }
done:
    rt_exec_stop(&p.exec);
    act_free(p.act);
    free(p.scratch);
    return st;
}
