/* Embeddings, norms, biases, activations and rotations of a batch of tokens. */
#include "model/rows.h"

#include "kernels/kernels.h"

#include <math.h>

#define FOR_ROWS(n)                                                                                                            \
    _Pragma("omp parallel for schedule(dynamic, 8) num_threads(n_threads) if (n > 1)") for (uint32_t t = 0; t < n; t++)

void rows_embed(const rt_model *m, const int32_t *tokens, uint32_t n, float *x) {
    const gguf_tensor *w = m->embd;
    const size_t d = m->hp.n_embd, bytes = w->nbytes / m->hp.n_vocab;
    const float scale = m->hp.embd_scale;
    const int n_threads = m->exec.n_threads;
    FOR_ROWS(n) {
        float *row = x + t * d;
        w->type->dequant(w->data + (size_t)tokens[t] * bytes, row, d);
        for (size_t i = 0; scale != 1 && i < d; i++)
            row[i] *= scale;
    }
}

void rows_norm(const rt_model *m, const float *x, const float *w, uint32_t n, uint32_t dim, float *out) {
    const int n_threads = m->exec.n_threads;
    FOR_ROWS(n) {
        m->exec.k->rms_norm(x + (size_t)t * dim, w, dim, m->hp.rms_eps, out + (size_t)t * dim);
    }
}

void rows_add(const rt_model *m, float *x, const float *y, uint32_t n, uint32_t dim) {
    const int n_threads = m->exec.n_threads;
    FOR_ROWS(n) {
        m->exec.k->add(x + (size_t)t * dim, y + (size_t)t * dim, dim);
    }
}

void rows_project(const rt_model *m, const rows_out *outs, size_t n_outs, const rt_act *a, uint32_t n) {
    mat_out products[ROWS_OUTS] = {0};
    for (size_t i = 0; i < n_outs; i++)
        products[i] = (mat_out){outs[i].w, outs[i].y, mat_rows(outs[i].w)};
    mat_mul_each(products, n_outs, &m->exec, a);
    for (size_t i = 0; i < n_outs; i++)
        for (uint32_t t = 0; outs[i].bias && t < n; t++)
            m->exec.k->add(outs[i].y + t * products[i].ldy, outs[i].bias, products[i].ldy);
}

void rows_gate(const rt_model *m, float *gate, const float *up, uint32_t n) {
    const size_t n_ff = m->hp.n_ff;
    const int n_threads = m->exec.n_threads;
    void (*const mul)(float *, const float *, size_t) = m->arch->gelu ? m->exec.k->gelu_mul : m->exec.k->silu_mul;
    FOR_ROWS(n) {
        mul(gate + t * n_ff, up + t * n_ff, n_ff);
    }
}

void rows_rope_fill(const rt_model *m, uint32_t pos0, uint32_t n, uint32_t step, const rt_rope *r) {
    const uint32_t half = m->hp.n_rot / 2;
    const int n_threads = m->exec.n_threads;
    for (uint32_t kind = 0; kind < (m->hp.swa ? 2u : 1u); kind++) {
        const float *inv_freq = m->inv_freq + kind * half;
        const size_t base = (size_t)kind * r->cap * half;
        FOR_ROWS(n) {
            for (uint32_t i = 0; i < half; i++) {
                double angle = (double)((pos0 + t) / step * step) * inv_freq[i];
                r->cos[base + t * half + i] = (float)cos(angle);
                r->sin[base + t * half + i] = (float)sin(angle);
            }
        }
    }
}

void rows_rotate(const rt_model *m, uint32_t layer, const rt_rope *r, const float *norm, uint32_t n, uint32_t n_head,
                 float *x) {
    const rt_hparams *hp = &m->hp;
    const rt_kernels *k = m->exec.k;
    const uint32_t d = hp->head_dim, half = hp->n_rot / 2;
    const size_t base = rt_layer_swa(hp, layer) ? (size_t)r->cap * half : 0;
    const int n_threads = m->exec.n_threads;
    FOR_ROWS(n) {
        float *row = x + (size_t)t * n_head * d;
        for (uint32_t h = 0; norm && h < n_head; h++)
            k->rms_norm(row + h * d, norm, d, hp->rms_eps, row + h * d);
        k->rope(row, n_head, d, hp->n_rot, r->cos + base + t * half, r->sin + base + t * half, m->arch->rope_neox);
    }
}
