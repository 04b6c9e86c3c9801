/* The way back through norms, products, activations and what blocks add. */
#include "backward/backward_pass.h"

#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* ---- norms ---- */

typedef struct norm_job {
    const float *x, *w, *d;
    size_t dim, n_weights;
    double eps;
    bool layer, add;
    float *g;
} norm_job;

static void norm_rows(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const norm_job *j = arg;
    const size_t dim = j->dim;
    for (size_t t = first; t < end; t++) {
        const float *xr = j->x + t * dim, *dr = j->d + t * dim, *w = j->w + t % j->n_weights * dim;
        float *gr = j->g + t * dim;
        double square = 0, along = 0, mean = 0, flat = 0;
        for (size_t i = 0; j->layer && i < dim; i++) {
            mean += (double)xr[i] / (double)dim;
            flat += (double)(w[i] * dr[i]) / (double)dim;
        }
        for (size_t i = 0; i < dim; i++) {
            const double x = (double)xr[i] - mean;
            square += x * x;
            along += (double)(w[i] * dr[i]) * x;
        }
        const double r = 1 / sqrt(square / (double)dim + j->eps);
        const float scale = (float)r, back = (float)(r * r * r * along / (double)dim), less = (float)mean,
                    all = (float)(r * flat);
        for (size_t i = 0; i < dim; i++) {
            float v = scale * w[i] * dr[i] - back * (j->layer ? xr[i] - less : xr[i]);
            if (j->layer)
                v -= all;
            gr[i] = j->add ? gr[i] + v : v;
        }
    }
}

void back_norm(const pass *p, const float *x, const float *w, size_t n_weights, const float *d, size_t n, size_t dim, bool add,
               float *g) {
    rt_for(&p->exec, n, BACK_GRAIN, norm_rows,
           &(norm_job){x, w, d, dim, n_weights, p->m->hp.norm_eps, p->m->arch->layer_norm, add, g});
}

void back_stream(const pass *p, const float *x, const rt_norm *norm, const float *d, float *g) {
    const uint32_t dim = p->m->hp.n_embd;
    const size_t n = (size_t)p->n * dim;
    if (norm->w)
        back_norm(p, x, norm->w, 1, d, p->n, dim, true, g);
    for (size_t i = 0; !norm->w && i < n; i++)
        g[i] += d[i];
}

const float *back_block(const pass *p, float *x, const rt_norm *norm) {
    const uint32_t dim = p->m->hp.n_embd;
    const float by = p->m->hp.residual_scale;
    const size_t n = (size_t)p->n * dim;
    if (!norm->w && by == 1)
        return p->g;
    if (norm->w)
        back_norm(p, x, norm->w, 1, p->g, p->n, dim, false, x);
    else
        memcpy(x, p->g, n * sizeof *x);
    for (size_t i = 0; by != 1 && i < n; i++)
        x[i] *= by;
    return x;
}

/* ---- products and activations ---- */

void back_through(const pass *p, const rt_mat *w, const float *x, float *y, bool add) {
    mat_mul_t(w, &p->exec, x, p->n, y, add, p->mat_t);
}

/* Gradients through act(gate) * up: gate and up (n) in, their gradients out; d (n): gradient of the product.
 * Both activations are x s, s = 1 / (1 + exp(-u(x))): SiLU with u = x, GELU (tanh form) with u = 2 sqrt(2/pi) (x + 0.044715
 * x^3). Derivative: s + x s (1 - s) u'. */
static void gate_backward(const rt_kernels *k, bool gelu, const float *d, size_t n, float *gate, float *up) {
    enum { SOME = 256 };
    const float c = 1.5957691216f, cube = c * 0.044715f;
    float e[SOME];
    for (; n; d += SOME, gate += SOME, up += SOME) {
        const size_t len = n < SOME ? n : SOME;
        for (size_t i = 0; i < len; i++)
            e[i] = gelu ? -gate[i] * (c + cube * gate[i] * gate[i]) : -gate[i];
        k->exp_sum(e, len, 0);
        for (size_t i = 0; i < len; i++) {
            const float x = gate[i], s = 1 / (1 + e[i]), slope = gelu ? c + 3 * cube * x * x : 1;
            gate[i] = d[i] * up[i] * (s + x * s * (1 - s) * slope);
            up[i] = d[i] * x * s;
        }
        n -= len;
    }
}

typedef struct gate_job {
    const pass *p;
    size_t width;
} gate_job;

static void gate_rows(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const gate_job *j = arg;
    const pass *p = j->p;
    for (size_t at = first * j->width; at < end * j->width; at += j->width)
        gate_backward(p->exec.k, p->m->arch->gelu, p->d_act + at, j->width, p->gate + at, p->up + at);
}

void back_gate(pass *p, uint32_t n, size_t width) {
    rt_for(&p->exec, n, BACK_GRAIN, gate_rows, &(gate_job){p, width});
}
