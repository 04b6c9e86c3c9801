/* The forward pass: a batch of rows goes through all layers at once, matrix by matrix.
 *
 *   x  (n, n_embd) the stream;  h (n, n_embd) its normed copy, later what a block adds to it
 *   q  (n, n_head, head_dim);  k, v (n, n_kv_head, head_dim);  o (n, n_head, head_dim) attention's result
 *   gate, up (n, width of the FFN);  heads and widths are the layer's own
 *   both (n, n_embd) the normed copy where `h` is written before it was read for the last time
 *
 * Every row's result is computed by the same sums in the same order whatever the batch and the number of threads.
 */
#include "model/work.h"

#include <string.h>

/* x += what a block computed (in h), normed first where the architecture does so. */
static void add_block(rt_work *w, const rt_norm *post_norm) {
    const uint32_t n = w->batch.n, d = w->m->hp.n_embd;
    rows_norm(w->m, &w->exec, w->h, post_norm, n, d, w->h);
    rows_add(w->m, &w->exec, w->x, w->h, n, d);
}

static void show_tap(rt_work *w, uint32_t layer) {
    const rt_hparams *hp = &w->m->hp;
    const uint32_t n_head = hp->heads[layer], n_kv = hp->kv_heads[layer];
    const rt_kv at = rt_kv_of(w, layer);
    for (uint32_t i = 0; i < w->batch.n_parts; i++) {
        const kv_rows *p = &w->batch.parts[i];
        const size_t q = (size_t)p->first * n_head, kv = (size_t)p->first * n_kv * hp->head_dim;
        w->tap(w->tap_user, &(rt_tap_view){layer, kv_cache_len(p->c), p->n, n_head, n_kv, w->q + q * hp->head_dim, at.k + kv,
                                           at.v + kv, w->lse + q, w->entropy + q});
    }
}

/* q, k and v of a layer from its input, as they are stored. A layer that reads those of another has queries alone. */
static void project_heads(rt_work *w, uint32_t layer) {
    const rt_model *m = w->m;
    const rt_hparams *hp = &m->hp;
    const rt_exec *e = &w->exec;
    const rt_layer *y = &m->layers[layer];
    const uint32_t n = w->batch.n, heads = hp->heads[layer], kv = rt_layer_stored(hp, layer);
    const rt_kv to = rt_kv_of(w, layer);
    const rows_out qkv[] = {{y->q, y->q_bias, w->q}, {y->k, y->k_bias, to.k}, {y->v, y->v_bias, to.v}};
    rows_project(m, e, qkv, kv ? 3 : 1, w->act, n);
    rows_rotate(m, e, layer, &w->rope, (rows_head){&y->q_norm, heads, true}, n, w->q);
    rows_spread(hp->key_dim, hp->head_dim, (size_t)n * heads, w->q);
    if (!kv)
        return;
    rows_spread(hp->value_dim, hp->head_dim, (size_t)n * kv, to.v);
    rows_rotate(m, e, layer, &w->rope, (rows_head){&y->k_norm, kv, false}, n, to.k);
    rows_spread(hp->key_dim, hp->head_dim, (size_t)n * kv, to.k);
}

static kv_status attention_block(rt_work *w, uint32_t layer, kv_err *err) {
    const rt_model *m = w->m;
    const rt_hparams *hp = &m->hp;
    const rt_exec *e = &w->exec;
    const rt_layer *y = &m->layers[layer];
    const uint32_t n = w->batch.n;
    const uint32_t heads = hp->heads[layer];
    const bool read_again = rt_layer_parallel(m->arch, y) || !hp->kv_heads[layer]; /* once `h` is written */
    float *in = read_again ? w->both : w->h;
    if (!heads)
        return KV_OK;
    rows_norm(m, e, w->x, &y->attn_norm, n, hp->n_embd, in);
    act_set(w->act, e, in, n, hp->n_embd);
    if (hp->kv_heads[layer]) { /* else the output matrix reads the stream itself */
        const rt_kv at = rt_kv_of(w, layer);
        project_heads(w, layer);
        const size_t n_kv = (size_t)n * rt_layer_stored(hp, layer) * hp->head_dim;
        kv_status st = kv_attend(w->kv, w->batch.parts, w->batch.n_parts, layer, w->q, at.k, at.v, hp->attn_scale, w->o,
                                 w->tap ? w->lse : NULL, w->tap ? w->entropy : NULL, err);
        if (st == KV_ERANGE) { /* it takes finite numbers only: name the weights that make others */
            kv_status why = rt_check_finite(m, at.k, n_kv, layer, "keys", err);
            if (!why)
                why = rt_check_finite(m, at.v, n_kv, layer, "values", err);
            return why ? why : st;
        }
        if (st)
            return st;
        if (w->tap)
            show_tap(w, layer);
        rows_pack(hp->value_dim, hp->head_dim, (size_t)n * heads, w->o);
        act_set(w->act, e, w->o, n, (size_t)heads * hp->value_dim);
    }
    rows_project(m, e, &(rows_out){y->o, y->o_bias, w->h}, 1, w->act, n);
    add_block(w, &y->post_attn_norm);
    return KV_OK;
}

static void ffn_block(rt_work *w, uint32_t layer) {
    const rt_model *m = w->m;
    const rt_hparams *hp = &m->hp;
    const rt_exec *e = &w->exec;
    const rt_layer *y = &m->layers[layer];
    const uint32_t n = w->batch.n;
    const bool parallel = rt_layer_parallel(m->arch, y);
    float *in = parallel || y->experts.router ? w->both : w->h;
    if (!hp->ff[layer])
        return;
    if (!parallel)
        rows_norm(m, e, w->x, &y->ffn_norm, n, hp->n_embd, in);
    if (y->experts.router) {
        experts_run(m, e, y, w->act, in, n, &w->moe, w->gate, w->up, w->h);
    } else {
        act_set(w->act, e, in, n, hp->n_embd);
        rows_ffn(m, e, y, w->act, n, true, w->gate, w->up);
        act_set(w->act, e, w->gate, n, hp->ff[layer]);
        rows_project(m, e, &(rows_out){y->down, y->down_bias, w->h}, 1, w->act, n);
    }
    add_block(w, &y->post_ffn_norm);
}

static kv_status output_block(rt_work *w, float *logits, kv_err *err) {
    const rt_model *m = w->m;
    const rt_batch *b = &w->batch;
    const uint32_t n = b->n_wanted, d = m->hp.n_embd;
    for (uint32_t i = 0; i < n; i++) /* nobody reads the others any more */
        if (b->wanted[i] != i)
            memmove(w->x + (size_t)i * d, w->x + (size_t)b->wanted[i] * d, d * sizeof *w->x);
    rows_norm(m, &w->exec, w->x, &m->output_norm, n, d, w->h);
    act_set(w->act, &w->exec, w->h, n, d);
    mat_mul(m->output, &w->exec, w->act, logits, m->hp.n_vocab);
    kv_status st =
        rt_check_finite(m, logits, m->hp.n_vocab, m->hp.n_layer, "logits", err); /* a broken weight shows in any row */
    rows_logits(m, &w->exec, logits, n);
    return st;
}

kv_status rt_full(const rt_seq *s, size_t n, kv_err *err) {
    return kv_fail(err, KV_ERANGE, "context is full: %u of %u tokens are taken, %zu more do not fit", kv_cache_len(s->cache),
                   s->n_ctx, n);
}

kv_status rt_check_id(const rt_seq *s, const int32_t *tokens, size_t t, kv_err *err) {
    if (tokens[t] < 0 || (uint32_t)tokens[t] >= s->m->hp.n_vocab)
        return kv_fail(err, KV_ERANGE, "token %zu: id %d is outside the vocabulary of %u", t, tokens[t], s->m->hp.n_vocab);
    return KV_OK;
}

/* That the parts fit; and the positions of their rows. */
static kv_status place_rows(rt_work *w, kv_err *err) {
    rt_batch *b = &w->batch;
    kv_status st;
    for (uint32_t i = 0; i < b->n_parts; i++) {
        const kv_rows *p = &b->parts[i];
        rt_seq *s = b->seqs[i];
        const uint32_t len = kv_cache_len(s->cache);
        rt_drop_marks(s, len); /* a cache may have been cut behind our back */
        if (p->n > s->n_ctx - len)
            return rt_full(s, p->n, err);
        for (uint32_t t = 0; t < p->n; t++) {
            if ((st = rt_check_id(s, b->tokens + p->first, t, err)))
                return st;
            b->pos[p->first + t] = len + t;
            b->inv_freq[p->first + t] = s->inv_freq;
        }
    }
    return KV_OK;
}

kv_status rt_run_batch(rt_work *w, float *logits, kv_err *err) {
    const rt_batch *b = &w->batch;
    kv_status st = place_rows(w, err);
    if (st)
        return st;
    rows_embed(w->m, &w->exec, b->tokens, b->n, w->x);
    rows_rope_fill(w->m, &w->exec, b->pos, b->inv_freq, b->n, 1, &w->rope);
    for (uint32_t l = 0; l < w->m->hp.n_layer; l++) {
        if ((st = attention_block(w, l, err)))
            return st;
        ffn_block(w, l);
    }
    const uint32_t last = w->m->hp.n_layer - 1; /* what is broken in the stream stays so up to here */
    if ((st = rt_check_finite(w->m, w->x, (size_t)b->n * w->m->hp.n_embd, last, "activations", err)))
        return st;
    if (w->states)
        rows_norm(w->m, &w->exec, w->x, &w->m->output_norm, b->n, w->m->hp.n_embd, w->states);
    if ((b->n_wanted && (st = output_block(w, logits, err))) ||
        (st = gguf_unchanged(w->m->file, err))) /* weights may have been read from it */
        return st;
    for (uint32_t i = 0; i < b->n_parts; i++) {
        memcpy(b->seqs[i]->tokens + kv_cache_len(b->parts[i].c), b->tokens + b->parts[i].first,
               b->parts[i].n * sizeof *b->tokens);
        kv_cache_commit(b->parts[i].c, b->parts[i].n);
        rt_mark_progress(b->seqs[i]);
    }
    return KV_OK;
}

kv_status rt_step(rt_work *w, const rt_row *rows, uint32_t n, float *logits, kv_err *err) {
    rt_batch *b = &w->batch;
    if (n < 1 || n > w->n_batch)
        return kv_fail(err, KV_EINVAL, "a step of %u rows: 1..%u are possible", n, w->n_batch);
    b->n = n;
    b->n_parts = b->n_wanted = 0;
    for (uint32_t i = 0; i < n; i++) {
        b->tokens[i] = rows[i].token;
        if (rows[i].logits)
            b->wanted[b->n_wanted++] = i;
        if (!b->n_parts || b->seqs[b->n_parts - 1] != rows[i].seq) {
            for (uint32_t j = 0; j < b->n_parts; j++)
                if (b->seqs[j] == rows[i].seq)
                    return kv_fail(err, KV_EINVAL, "a step with rows of one sequence apart from each other (row %u)", i);
            b->seqs[b->n_parts] = rows[i].seq;
            b->parts[b->n_parts++] = (kv_rows){rows[i].seq->cache, i, 0};
        }
        if (++b->parts[b->n_parts - 1].n > rows[i].seq->n_batch)
            return kv_fail(err, KV_EINVAL, "a step with more than %u rows of one sequence", rows[i].seq->n_batch);
    }
    return rt_run_batch(w, logits, err);
}
