/* Embeddings, norms, biases, activations and rotations of a batch of tokens. */
#include "model/rows.h"

#include "kernels/kernels.h"

#include <math.h>

enum { GRAIN = 8 /* rows at a time */ };

/* Whatever one of the loops below needs. */
typedef struct job {
    const rt_model *m;
    const int32_t *tokens;
    const float *x, *w;
    float *y;
    uint32_t dim, n_head, layer, kind, step;
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

static void norm(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    for (size_t t = first; t < end; t++)
        j->m->exec.k->rms_norm(j->x + t * j->dim, j->w, j->dim, j->m->hp.rms_eps, j->y + t * j->dim);
}

void rows_norm(const rt_model *m, const rt_exec *e, const float *x, const float *w, uint32_t n, uint32_t dim, float *out) {
    run(e, n, norm, (job){.m = m, .x = x, .w = w, .y = out, .dim = dim});
}

static void add(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    j->m->exec.k->add(j->y + first * j->dim, j->x + first * j->dim, (end - first) * j->dim);
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
    (j->m->arch->gelu ? j->m->exec.k->gelu_mul : j->m->exec.k->silu_mul)(j->y + first * d, j->x + first * d, (end - first) * d);
}

void rows_gate(const rt_model *m, const rt_exec *e, float *gate, const float *up, uint32_t n) {
    run(e, n, gate_mul, (job){.m = m, .x = up, .y = gate, .dim = m->hp.n_ff});
}

static void fill(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const uint32_t half = j->m->hp.n_rot / 2;
    const float *inv_freq = j->m->inv_freq + j->kind * half;
    const size_t base = (size_t)j->kind * j->rope->cap * half;
    for (size_t t = first; t < end; t++)
        for (uint32_t i = 0; i < half; i++) {
            double angle = (double)((j->pos ? j->pos[t] : (uint32_t)t) / j->step * j->step) * inv_freq[i];
            j->rope->cos[base + t * half + i] = (float)cos(angle);
            j->rope->sin[base + t * half + i] = (float)sin(angle);
        }
}

void rows_rope_fill(const rt_model *m, const rt_exec *e, const uint32_t *pos, uint32_t n, uint32_t step, const rt_rope *r) {
    for (uint32_t kind = 0; kind < (m->hp.swa ? 2u : 1u); kind++)
        run(e, n, fill, (job){.m = m, .kind = kind, .pos = pos, .step = step, .rope = r});
}

static void rotate(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const job *j = arg;
    const rt_hparams *hp = &j->m->hp;
    const rt_kernels *k = j->m->exec.k;
    const uint32_t d = hp->head_dim, half = hp->n_rot / 2;
    const size_t base = rt_layer_swa(hp, j->layer) ? (size_t)j->rope->cap * half : 0;
    for (size_t t = first; t < end; t++) {
        float *row = j->y + t * j->n_head * d;
        for (uint32_t h = 0; j->w && h < j->n_head; h++)
            k->rms_norm(row + h * d, j->w, d, hp->rms_eps, row + h * d);
        k->rope(row, j->n_head, d, hp->n_rot, j->rope->cos + base + t * half, j->rope->sin + base + t * half,
                j->m->arch->rope_neox);
    }
}

void rows_rotate(const rt_model *m, const rt_exec *e, uint32_t layer, const rt_rope *r, const float *norm, uint32_t n,
                 uint32_t n_head, float *x) {
    run(e, n, rotate, (job){.m = m, .layer = layer, .rope = r, .w = norm, .n_head = n_head, .y = x});
}
