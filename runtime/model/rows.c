/* Embeddings, norms, biases, activations and rotations of a batch of tokens. */
#include "model/rows.h"

#include "kernels/cap.h"

#include <math.h>
#include <string.h>

enum { GRAIN = 8 /* rows at a time */ };

/* Whatever one of the loops below needs. */
typedef struct job {
    const rt_model *m;
    const int32_t *tokens;
    const float *x;
    const float *const *inv_freqs, *inv_freq;
    const rt_norm *norm;
    float *y;
    uint32_t dim, n_head, layer, kind, step;
    bool query;
    const uint32_t *pos;
    const rt_rope *rope;
} job;

static void run(const rt_exec *e, uint32_t n, rt_piece *piece, job j) {
    rt_for(e, n, GRAIN, piece, &j);
}

static void embed(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const gguf_tensor *w = j->m->embd;
    const size_t d = j->dim, bytes = w->nbytes / j->m->hp.n_vocab;
    const float scale = j->m->hp.embd_scale;
    for (size_t t = first; t < end; t++) {
        float *row = j->y + t * d;
        w->type->dequant(w->data + (size_t)j->tokens[t] * bytes, row, d);
        for (size_t i = 0; scale != 1 && i < d; i++)
            row[i] *= scale;
    }
}

void rows_embed(const rt_model *m, const rt_exec *e, const int32_t *tokens, uint32_t n, float *x) {
    run(e, n, embed, (job){.m = m, .tokens = tokens, .y = x, .dim = m->hp.n_embd});
}

/* out (n) = x less its mean; every sum in 16 parts. */
static void center(const float *x, size_t n, float *out) {
    double part[16] = {0}, sum = 0;
    for (size_t i = 0; i < n; i++)
        part[i % 16] += (double)x[i];
    for (size_t i = 0; i < 16; i++)
        sum += part[i];
    const float mean = (float)(sum / (double)n);
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] - mean;
}

/* One vector, weights from `w` on. */
static void norm_one(const rt_model *m, const float *x, const float *w, const float *bias, size_t n, float *out) {
    const rt_kernels *k = m->exec.k;
    if (m->arch->layer_norm) {
        center(x, n, out);
        x = out;
    }
    k->rms_norm(x, w, n, m->hp.norm_eps, out);
    if (bias)
        k->add(out, bias, n);
}

static void norm(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    for (size_t t = first; t < end; t++)
        norm_one(j->m, j->x + t * j->dim, j->norm->w, j->norm->b, j->dim, j->y + t * j->dim);
}

void rows_norm(const rt_model *m, const rt_exec *e, const float *x, const rt_norm *w, uint32_t n, uint32_t dim, float *out) {
    if (w->w)
        run(e, n, norm, (job){.m = m, .x = x, .norm = w, .y = out, .dim = dim});
    else if (out != x)
        memcpy(out, x, (size_t)n * dim * sizeof *out);
}

static void add(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const float by = j->m->hp.residual_scale, *x = j->x + first * j->dim;
    float *y = j->y + first * j->dim;
    if (by == 1)
        j->m->exec.k->add(y, x, (end - first) * j->dim);
    else
        j->m->exec.k->blend(y, 1, x, by, (end - first) * j->dim);
}

void rows_add(const rt_model *m, const rt_exec *e, float *x, const float *y, uint32_t n, uint32_t dim) {
    run(e, n, add, (job){.m = m, .x = y, .y = x, .dim = dim});
}

void rows_project(const rt_model *m, const rt_exec *e, const rows_out *outs, size_t n_outs, const rt_act *a, uint32_t n) {
    mat_out products[ROWS_OUTS] = {0};
    for (size_t i = 0; i < n_outs; i++)
        products[i] = (mat_out){outs[i].w, outs[i].y, mat_rows(outs[i].w)};
    mat_mul_each(products, n_outs, e, a);
    for (size_t i = 0; i < n_outs; i++)
        for (uint32_t t = 0; outs[i].bias && t < n; t++)
            m->exec.k->add(outs[i].y + t * products[i].ldy, outs[i].bias, products[i].ldy);
}

static void gate_mul(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const size_t d = j->dim;
    static const float ones[64] = {[0 ... 63] = 1};
    for (size_t t = first; t < end; t++)
        for (size_t i = 0; i < d; i += j->x ? d : 64) {
            const size_t n = j->x ? d : d - i < 64 ? d - i : 64;
            (j->m->arch->gelu ? j->m->exec.k->gelu_mul : j->m->exec.k->silu_mul)(j->y + t * d + i, j->x ? j->x + t * d : ones,
                                                                                 n);
        }
}

void rows_gate(const rt_model *m, const rt_exec *e, float *gate, const float *up, uint32_t n, uint32_t width) {
    run(e, n, gate_mul, (job){.m = m, .x = up, .y = gate, .dim = width});
}

void rows_ffn(const rt_model *m, const rt_exec *e, const rt_layer *y, const rt_act *a, uint32_t n, bool act, float *gate,
              float *up) {
    const rows_out both[] = {{y->gate, y->gate_bias, gate}, {y->up, y->up_bias, y->gate ? up : gate}};
    rows_project(m, e, y->gate ? both : both + 1, y->gate ? 2 : 1, a, n);
    if (act)
        rows_gate(m, e, gate, y->gate ? up : NULL, n, (uint32_t)mat_rows(y->up));
}

static void logits(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const float by = j->m->hp.logit_scale, cap = j->m->hp.logit_cap;
    for (size_t i = first * j->dim; by != 1 && i < end * j->dim; i++)
        j->y[i] *= by;
    for (size_t t = first; cap > 0 && t < end; t++)
        rt_cap(j->m->exec.k, j->y + t * j->dim, j->dim, cap, NULL);
}

void rows_logits(const rt_model *m, const rt_exec *e, float *y, uint32_t n) {
    if (m->hp.logit_scale != 1 || m->hp.logit_cap > 0)
        run(e, n, logits, (job){.m = m, .y = y, .dim = m->hp.n_vocab});
}

/* ---- keys or values that are narrower than what is stored ---- */

void rows_spread(uint32_t dim, uint32_t wide, size_t n, float *x) {
    const size_t from = dim, to = wide;
    while (from < to && n-- > 0) {
        memmove(x + n * to, x + n * from, from * sizeof *x);
        memset(x + n * to + from, 0, (to - from) * sizeof *x);
    }
}

void rows_pack(uint32_t dim, uint32_t wide, size_t n, float *x) {
    const size_t from = wide, to = dim;
    for (size_t i = 1; to < from && i < n; i++)
        memmove(x + i * to, x + i * from, to * sizeof *x);
}

/* ---- RoPE ---- */

static void fill(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const rt_hparams *hp = &j->m->hp;
    const uint32_t half = hp->n_rot / 2;
    const size_t base = (size_t)j->kind * j->rope->cap * half;
    for (size_t t = first; t < end; t++) {
        const uint32_t pos = j->pos ? j->pos[t] : (uint32_t)t;
        const float *inv_freq = (j->inv_freqs ? j->inv_freqs[t] : j->inv_freq) + j->kind * half;
        for (uint32_t i = 0; i < half; i++) {
            const double angle = (double)(pos / j->step * j->step) * inv_freq[i];
            j->rope->cos[base + t * half + i] = (float)cos(angle);
            j->rope->sin[base + t * half + i] = (float)sin(angle);
        }
        if (j->rope->gain)
            j->rope->gain[t] = hp->query_gain > 0 ? 1 + hp->query_gain * logf(1 + floorf((float)pos / hp->query_step)) : 1;
    }
}

void rows_rope_fill(const rt_model *m, const rt_exec *e, const uint32_t *pos, const float *const *inv_freq, uint32_t n,
                    uint32_t step, const rt_rope *r) {
    const float *one = rt_inv_freq(m, n);
    for (uint32_t kind = 0; kind < (m->hp.swa ? 2u : 1u); kind++)
        run(e, n, fill,
            (job){.m = m, .inv_freqs = inv_freq, .inv_freq = one, .kind = kind, .pos = pos, .step = step, .rope = r});
}

/* Row t of x, whose heads are n_head of d. */
static void turn_row(const job *j, size_t t, float *row) {
    const rt_hparams *hp = &j->m->hp;
    const rt_rope_kind kind = rt_layer_rope(hp, j->layer);
    const size_t at = ((size_t)kind * j->rope->cap + t) * (hp->n_rot / 2);
    if (kind != RT_ROPE_NONE)
        j->m->exec.k->rope(row, j->n_head, j->dim, hp->n_rot, j->rope->cos + at, j->rope->sin + at, j->m->arch->rope_neox);
}

static void norm_row(const job *j, float *row) {
    const uint32_t d = j->dim;
    const rt_qk_norm kind = j->m->arch->qk_norm;
    if (!j->norm || !j->norm->w)
        return;
    if (kind == RT_QK_ROW)
        norm_one(j->m, row, j->norm->w, NULL, (size_t)j->n_head * d, row);
    for (uint32_t h = 0; kind != RT_QK_ROW && h < j->n_head; h++)
        norm_one(j->m, row + h * d, j->norm->w + (kind == RT_QK_EACH ? h * d : 0), NULL, d, row + h * d);
}

/* What of a row grows: its rotated dimensions by the gain of RoPE scaling, all of them by that of its position. */
static void scale_row(const job *j, size_t t, float *row) {
    const rt_hparams *hp = &j->m->hp;
    const rt_rope_kind kind = rt_layer_rope(hp, j->layer);
    const float rope = kind == RT_ROPE_NONE ? 1 : kind == RT_ROPE_SWA ? hp->scaling_swa.gain : hp->scaling.gain;
    const float all = j->query && hp->query_gain > 0 ? j->rope->gain[t] : 1;
    for (uint32_t h = 0; rope != 1 && h < j->n_head; h++)
        for (uint32_t i = 0; i < hp->n_rot; i++)
            row[h * j->dim + i] *= rope;
    for (size_t i = 0; all != 1 && i < (size_t)j->n_head * j->dim; i++)
        row[i] *= all;
}

static void rotate(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const bool late = j->m->arch->qk_norm_after_rope;
    for (size_t t = first; t < end; t++) {
        float *row = j->y + t * j->n_head * j->dim;
        if (!late)
            norm_row(j, row);
        turn_row(j, t, row);
        scale_row(j, t, row);
        if (late)
            norm_row(j, row);
    }
}

void rows_rotate(const rt_model *m, const rt_exec *e, uint32_t layer, const rt_rope *r, rows_head h, uint32_t n, float *x) {
    run(e, n, rotate,
        (job){.m = m,
              .layer = layer,
              .rope = r,
              .norm = h.norm,
              .n_head = h.n_head,
              .dim = m->hp.key_dim,
              .query = h.query,
              .y = x});
}

static void turn(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    for (size_t t = first; t < end; t++)
        turn_row(j, t, j->y + t * j->n_head * j->dim);
}

void rows_turn(const rt_model *m, const rt_exec *e, uint32_t layer, const rt_rope *r, uint32_t n_head, uint32_t n, float *x) {
    run(e, n, turn, (job){.m = m, .layer = layer, .rope = r, .n_head = n_head, .dim = m->hp.head_dim, .y = x});
}
