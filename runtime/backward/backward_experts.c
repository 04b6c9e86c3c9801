/* Gradients through a mixture of experts: every expert once more, with all rows that chose it, and the router. With w_k the
 * weight and o_k the answer of expert k: d_k = w_k d through the expert, d . o_k is the gradient of w_k, and those of the
 * weights go through the softmax back into the router. */
#include "backward/backward_pass.h"

#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* Rows x (n, n_embd) through an expert, whose answer has the gradient d (n, n_embd): d_x (n, n_embd), gradient of x. dot (n; or
 * NULL) gets the products of answers and `of` (n, n_embd). */
static void expert_backward(pass *p, const rt_mat *const mats[3], const float *x, uint32_t n, const float *d, const float *of,
                            float *dot, float *d_x) {
    const rt_model *m = p->m;
    const size_t width = mat_rows(mats[0]), e = m->hp.n_embd;
    act_set(p->act, &p->exec, x, n, e);
    rows_project(m, &p->exec, (rows_out[]){{mats[0], NULL, p->gate}, {mats[1], NULL, p->up}}, 2, p->act, n);
    if (dot) {
        memcpy(p->d_act, p->gate, n * width * sizeof *p->d_act);
        rows_gate(m, &p->exec, p->d_act, p->up, n, (uint32_t)width);
        act_set(p->act, &p->exec, p->d_act, n, width);
        rows_project(m, &p->exec, &(rows_out){mats[2], NULL, d_x}, 1, p->act, n);
        for (uint32_t i = 0; i < n; i++)
            dot[i] = m->exec.k->dot(d_x + i * e, of + i * e, e);
    }
    mat_mul_t(mats[2], &p->exec, d, n, p->d_act, false, p->mat_t);
    back_gate(p, n, width);
    mat_mul_t(mats[0], &p->exec, p->gate, n, d_x, false, p->mat_t);
    mat_mul_t(mats[1], &p->exec, p->up, n, d_x, true, p->mat_t);
}

/* From the gradients of the weights of those chosen, w (n_used), to those of all logits of a row, d (n_expert). A softmax: all
 * logits have a part in it, unless the weights sum to 1 (then what was chosen is a softmax by itself). A sigmoid s has the
 * derivative s (1 - s), so that of a weight is the weight times 1 - s. */
static void route_gradient(const rt_hparams *hp, const rt_routes *r, size_t t, const float *w, float *d) {
    const uint32_t used = hp->n_expert_used, *expert = r->expert + t * used;
    const float *weight = r->weight + t * used, *logits = r->logits + t * hp->n_expert;
    const bool as_is = !hp->expert_norm && !hp->expert_sigmoid;
    double along = 0, all = 0, top = (double)logits[0];
    for (uint32_t k = 0; k < used; k++)
        along += (double)weight[k] * (double)w[k];
    for (uint32_t i = 0; i < hp->n_expert; i++)
        top = fmax(top, (double)logits[i]);
    for (uint32_t i = 0; i < hp->n_expert; i++) {
        d[i] = 0;
        all += exp((double)logits[i] - top);
    }
    for (uint32_t i = 0; as_is && i < hp->n_expert; i++)
        d[i] = (float)(-exp((double)logits[i] - top) / all * along);
    const float less = hp->expert_norm ? (float)(along / (double)hp->expert_scale) : 0;
    for (uint32_t k = 0; k < used; k++) {
        const float slope = hp->expert_sigmoid ? 1 / (1 + expf(logits[expert[k]])) : 1;
        d[expert[k]] += weight[k] * (w[k] - less) * slope;
    }
}

/* The shared expert and what weighs it, for all rows; d_in gets its part. */
static void shared_backward(pass *p, const rt_layer *y, const float *x, const float *d_out, float *d_in) {
    const rt_model *m = p->m;
    const rt_experts *ex = &y->experts;
    const size_t d = m->hp.n_embd;
    float *weighted = p->d_expert[1], *d_x = p->d_expert[2], *dot = p->dots;
    for (size_t t = 0; t < p->n; t++) {
        const float s = experts_shared_weight(m, y, x + t * d);
        for (size_t i = 0; i < d; i++)
            weighted[t * d + i] = s * d_out[t * d + i];
    }
    expert_backward(p, (const rt_mat *const[]){ex->shared_gate, ex->shared_up, ex->shared_down}, x, p->n, weighted, d_out,
                    ex->shared_weight ? dot : NULL, d_x);
    for (size_t t = 0; t < p->n; t++) {
        const float s = experts_shared_weight(m, y, x + t * d), by = ex->shared_weight ? s * (1 - s) * dot[t] : 0;
        for (size_t i = 0; i < d; i++)
            d_in[t * d + i] += d_x[t * d + i] + (ex->shared_weight ? by * ex->shared_weight[i] : 0);
    }
}

void back_experts(pass *p, const rt_layer *y) {
    const rt_model *m = p->m;
    const rt_hparams *hp = &m->hp;
    const rt_experts *ex = &y->experts;
    const size_t d = hp->n_embd;
    const uint32_t used = hp->n_expert_used;
    rt_routes *r = &p->moe.routes;
    float *in = p->both, *back = p->d_expert[0];
    memcpy(in, p->h, p->n * d * sizeof *in);
    if (y->post_ffn_norm.w)
        experts_run(m, &p->exec, y, p->act, in, p->n, &p->moe, p->gate, p->up, p->f);
    const float *d_out = back_block(p, p->f, &y->post_ffn_norm);
    experts_route(m, &p->exec, y, p->act, in, p->n, r);
    memset(back, 0, p->n * d * sizeof *back);
    for (uint32_t i = 0; i < hp->n_expert; i++) {
        const uint32_t first = r->first[i], rows = r->first[i + 1] - first;
        float *x = p->moe.x, *of = p->moe.y, *weighted = p->d_expert[1], *d_x = p->d_expert[2];
        if (!rows)
            continue;
        experts_gather(hp, r, i, in, x);
        experts_gather(hp, r, i, d_out, of);
        for (uint32_t j = 0; j < rows; j++)
            for (size_t c = 0; c < d; c++)
                weighted[j * d + c] = r->weight[r->row[first + j] * used + r->k[first + j]] * of[j * d + c];
        expert_backward(p, (const rt_mat *const[]){ex->gate[i], ex->up[i], ex->down[i]}, x, rows, weighted, of, p->dots, d_x);
        for (uint32_t j = 0; j < rows; j++) {
            const uint32_t t = r->row[first + j];
            p->d_weights[t * used + r->k[first + j]] = p->dots[j];
            m->exec.k->add(back + t * d, d_x + j * d, d);
        }
    }
    for (size_t t = 0; t < p->n; t++)
        route_gradient(hp, r, t, p->d_weights + t * used, p->d_routes + t * hp->n_expert);
    back_through(p, ex->router, p->d_routes, back, true);
    if (ex->shared_gate)
        shared_backward(p, y, in, d_out, back);
    back_stream(p, p->x, &y->ffn_norm, back, p->g);
}
