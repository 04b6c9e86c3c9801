/* The output layer: predictions, draws, and the gradient that starts it all. */
#include "backward/backward_pass.h"
#include "kernels/cap.h"

#include <stdlib.h>

enum { LOGITS = 1 << 25 /* floats of logits at a time */, MIN_ROWS = 16 };

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

kv_status back_output(pass *p, kv_err *err) {
    const rt_model *m = p->m;
    const uint32_t dim = m->hp.n_embd;
    const size_t n_vocab = m->hp.n_vocab, fit = LOGITS / n_vocab, slice = fit < MIN_ROWS ? MIN_ROWS : fit < p->n ? fit : p->n;
    float *logits = malloc((slice + (size_t)p->exec.n_threads) * n_vocab * sizeof *logits);
    kv_status st = KV_OK;
    if (!logits)
        return kv_fail(err, KV_ENOMEM, "out of memory for logits of %zu tokens", slice);
    rows_norm(m, &p->exec, p->x, &m->output_norm, p->n, dim, p->h);
    for (size_t at = 0; at < p->n && !st; at += slice) {
        const size_t n = p->n - at < slice ? p->n - at : slice;
        act_set(p->act, &p->exec, p->h + at * dim, n, dim);
        mat_mul(m->output, &p->exec, p->act, logits, n_vocab);
        rt_for(&p->exec, n, BACK_GRAIN, logit_rows, &(logit_job){p, at, logits, logits + slice * n_vocab});
        mat_mul_t(m->output, &p->exec, logits, n, p->g + at * dim, false, p->mat_t);
        st = back_advance(p, 0, err);
    }
    free(logits);
    if (!st)
        back_norm(p, p->x, m->output_norm.w, 1, p->g, p->n, dim, false, p->g);
    return st;
}
