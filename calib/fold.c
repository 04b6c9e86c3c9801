/* Scales for keys of which 32 numbers share a step (q4_0, q8_0 and their like in other runtimes).
 *
 * A number that is rounded to a step which the largest number m of its run of 32 sets is off by about m times a constant. With
 * keys times s and queries divided by s, the expected squared error of a score is, but for that constant,
 *     J(s) = mean over tokens of  sum over runs b of  max over i in b of (s_i k_i)^2  *  sum over i in b of q_i^2 / s_i^2
 * where q_i^2 is the mean over all queries that read the head. After a rotation H every run is as wrong everywhere:
 *     J(s) = mean over tokens of  sum over runs b of  max over i in b of (H s k)_i^2  *  32 / dim * sum of q_i^2 / s_i^2
 *
 * J is least where its gradient by log s vanishes: found by Adam (Kingma & Ba, arXiv:1412.6980) from the closed form on, which
 * is what minimises the product of the lengths of both. All tokens at every step, so that the answer is one.
 */
#include "calib_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUN = 32, SAMPLES = 1024, ROUNDS = 300 };
static const double FIRST_STEP = 0.06, LAST_STEP = 0.002;

/* Heads that have the same scales: one, or all of a layer. */
typedef struct problem {
    const cal_fold_cfg *cfg;
    const cal_head *heads;
    uint32_t n_heads, dim;
    bool rotate;
    double u[PROF_MAX_DIM];  /* (n_units) log s */
    double du[PROF_MAX_DIM]; /* gradient of log J */
} problem;

/* ---- closed form ---- */

/* Mean square of dimension i of a head's keys. */
static double key_square(const cal_head *h, uint32_t pad, uint32_t i) {
    const double shift = (double)h->shift[i], n = (double)h->n;
    const double sum = h->kk[(size_t)i * pad + i] + 2 * shift * h->k[i] + n * shift * shift;
    return n > 0 && sum > 0 ? sum / n : 0;
}

static void closed_form(problem *p, uint32_t pad) {
    double kk[PROF_MAX_DIM] = {0}, qq[PROF_MAX_DIM] = {0}, sum = 0;
    uint32_t n = 0;
    for (uint32_t h = 0; h < p->n_heads; h++)
        for (uint32_t i = 0; i < p->dim; i++)
            if (p->cfg->unit[i] < p->cfg->n_units) {
                kk[p->cfg->unit[i]] += key_square(&p->heads[h], pad, i);
                qq[p->cfg->unit[i]] += p->heads[h].n ? p->heads[h].qq[i] / (double)p->heads[h].n : 0;
            }
    for (uint32_t i = 0; i < p->cfg->n_units; i++) {
        const bool known = kk[i] > 0 && qq[i] > 0;
        p->u[i] = known ? log(qq[i] / kk[i]) / 4 : 0;
        sum += p->u[i];
        n += known;
    }
    for (uint32_t i = 0; i < p->cfg->n_units; i++) /* all of them times a number changes nothing: their mean is 1 */
        p->u[i] -= n && kk[i] > 0 && qq[i] > 0 ? sum / n : 0;
}

/* ---- least error of scores ---- */

static void hadamard(double *x, uint32_t dim, uint32_t span) {
    for (uint32_t run = 0; run < dim; run += span)
        for (uint32_t half = 1; half < span; half *= 2)
            for (uint32_t i = run; i < run + span; i += 2 * half)
                for (uint32_t j = i; j < i + half; j++) {
                    const double a = x[j], b = x[j + half];
                    x[j] = a + b;
                    x[j + half] = a - b;
                }
}

/* The sign of entry (i, j) of the matrix that hadamard multiplies with. */
static double hadamard_sign(uint32_t i, uint32_t j) {
    return __builtin_parity(i & j) ? -1 : 1;
}

/* Of one head: J is added to, and its gradient by log s of every dimension. */
static double add_error(const problem *p, const cal_head *h, double *grad) {
    const uint32_t dim = p->dim, span = dim & ~(dim - 1), n_runs = (dim + RUN - 1) / RUN;
    const uint32_t n = h->n_samp < SAMPLES ? h->n_samp : SAMPLES;
    double s[PROF_MAX_DIM], x[PROF_MAX_DIM], weight[PROF_MAX_DIM / RUN + 1] = {0}, worst[PROF_MAX_DIM / RUN + 1] = {0}, all = 0,
                                                                         sum = 0;
    for (uint32_t i = 0; i < dim; i++) {
        const uint16_t u = p->cfg->unit[i];
        s[i] = u < p->cfg->n_units ? exp(p->u[u]) : 1;
        const double w = h->qq[i] / (double)h->n / (s[i] * s[i]);
        weight[i / RUN] += w;
        all += w;
    }
    for (uint32_t b = 0; p->rotate && b < n_runs; b++)
        weight[b] = all * RUN / dim;
    for (uint32_t t = 0; t < n; t++) {
        const float *k = h->k_samp + (size_t)t * h->n_samp / n * dim;
        for (uint32_t i = 0; i < dim; i++)
            x[i] = (double)k[i] * s[i];
        if (p->rotate)
            hadamard(x, dim, span);
        for (uint32_t b = 0; b < n_runs; b++) {
            const uint32_t end = (b + 1) * RUN < dim ? (b + 1) * RUN : dim;
            uint32_t top = b * RUN;
            for (uint32_t i = top; i < end; i++)
                top = fabs(x[i]) > fabs(x[top]) ? i : top;
            worst[b] += x[top] * x[top] / n;
            if (!p->rotate)
                grad[top] += 2 * x[top] * x[top] * weight[b] / n;
            for (uint32_t i = top / span * span; p->rotate && i < (top / span + 1) * span; i++)
                grad[i] += 2 * x[top] * hadamard_sign(top, i) * (double)k[i] * s[i] * weight[b] / n;
        }
    }
    double every = 0;
    for (uint32_t b = 0; b < n_runs; b++) {
        sum += worst[b] * weight[b];
        every += worst[b] * RUN / dim;
    }
    for (uint32_t i = 0; i < dim; i++)
        grad[i] -= 2 * (p->rotate ? every : worst[i / RUN]) * h->qq[i] / (double)h->n / (s[i] * s[i]);
    return sum;
}

/* log J, and its gradient into p->du. */
static double error_of(problem *p) {
    double grad[PROF_MAX_DIM] = {0}, sum = 0;
    for (uint32_t h = 0; h < p->n_heads; h++)
        sum += p->heads[h].n && p->heads[h].n_samp ? add_error(p, &p->heads[h], grad) : 0;
    memset(p->du, 0, sizeof p->du);
    for (uint32_t i = 0; i < p->dim && sum > 0; i++)
        if (p->cfg->unit[i] < p->cfg->n_units)
            p->du[p->cfg->unit[i]] += grad[i] / sum;
    return sum > 0 ? log(sum) : 0;
}

/* From p->u on, which becomes the best that was seen. */
static void descend(problem *p) {
    const double keep1 = 0.9, keep2 = 0.99;
    double m[PROF_MAX_DIM] = {0}, v[PROF_MAX_DIM] = {0}, best[PROF_MAX_DIM], least = INFINITY;
    for (int r = 0; r <= ROUNDS; r++) {
        const double error = error_of(p);
        if (error < least) {
            least = error;
            memcpy(best, p->u, sizeof best);
        }
        const double step = FIRST_STEP * pow(LAST_STEP / FIRST_STEP, (double)r / ROUNDS);
        for (uint32_t i = 0; i < p->cfg->n_units; i++) {
            m[i] = keep1 * m[i] + (1 - keep1) * p->du[i];
            v[i] = keep2 * v[i] + (1 - keep2) * p->du[i] * p->du[i];
            const double mean = m[i] / (1 - pow(keep1, r + 1)), size = sqrt(v[i] / (1 - pow(keep2, r + 1)));
            p->u[i] -= step * mean / (size + 1e-12);
        }
    }
    memcpy(p->u, best, sizeof best);
}

/* ---- all heads ---- */

typedef struct fold_job {
    const cal_stats *s;
    const cal_fold_cfg *cfg;
    double *u;
} fold_job;

/* p->u as log2 of the scales of its heads, all alike, about their mean. */
static void write_logs(const problem *p, double *to) {
    double mean = 0;
    for (uint32_t i = 0; i < p->cfg->n_units; i++)
        mean += p->u[i] / p->cfg->n_units;
    for (uint32_t h = 0; h < p->n_heads; h++)
        for (uint32_t i = 0; i < p->dim; i++, to++) {
            const uint16_t u = p->cfg->unit[i];
            *to = u < p->cfg->n_units ? (p->u[u] - mean) / log(2) : 0;
        }
}

/* By every way: at `to` and, for the others, `all` numbers further on each. */
static void solve(problem *p, uint32_t pad, double *to, size_t all) {
    double closed[PROF_MAX_DIM], plain[PROF_MAX_DIM];
    closed_form(p, pad);
    memcpy(closed, p->u, sizeof closed);
    write_logs(p, to + CAL_FOLD_CLOSED * all);
    descend(p);
    memcpy(plain, p->u, sizeof plain);
    write_logs(p, to + CAL_FOLD_BLOCKS * all);
    memcpy(p->u, closed, sizeof closed);
    p->rotate = true;
    descend(p);
    write_logs(p, to + CAL_FOLD_ROTATED * all);
    for (uint32_t i = 0; i < p->cfg->n_units; i++)
        p->u[i] = (p->u[i] + plain[i]) / 2;
    write_logs(p, to + CAL_FOLD_BETWEEN * all);
}

static void fold_some(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const fold_job *j = arg;
    const cal_shape *sh = &j->s->shape;
    const size_t all = (size_t)sh->n_layer * sh->n_kv_head * sh->head_dim;
    for (size_t i = first; i < end; i++) {
        const uint32_t layer = (uint32_t)(i / sh->n_kv_head), head = (uint32_t)(i % sh->n_kv_head), n = cal_kv_heads(sh, layer);
        const bool shared = j->cfg->shared[layer];
        if (head >= n || (shared && head))
            continue;
        problem p = {.cfg = j->cfg, .heads = &j->s->heads[i], .n_heads = shared ? n : 1, .dim = sh->head_dim};
        solve(&p, j->s->pad, j->u + i * sh->head_dim, all);
    }
}

kv_status cal_fold(const cal_stats *s, const cal_fold_cfg *cfg, double *u, kv_err *err) {
    const size_t heads = (size_t)s->shape.n_layer * s->shape.n_kv_head;
    fold_job job = {s, cfg, u};
    if (!s->has_queries)
        return kv_fail(err, KV_EINVAL, "calibration: scales to fold need statistics of queries");
    memset(u, 0, CAL_FOLD_WAYS * heads * s->shape.head_dim * sizeof *u);
    cal_for(cfg->team, heads, fold_some, &job);
    return KV_OK;
}

void cal_fold_round(const double *u, size_t n, double shift, int8_t *e) {
    for (size_t i = 0; i < n; i++)
        e[i] = (int8_t)fmax(-PROF_FOLD_MOST, fmin(PROF_FOLD_MOST, rint(u[i] + shift)));
}
