/* The search: attention of a KV head on keys as a cache gives them back, and exponents changed one by one. */
#include "calibrate/calibrate_scales.h"

#include "codec/codec.h"
#include "kernels/cap.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SWEEPS = 6 };
static const double BETTER = 1e-6; /* of a mean logarithm: less is no gain */

typedef struct search search;

/* Heads that have the same scales: one, or all of a layer; and the memory of the thread that looks for them. */
typedef struct problem {
    search *all;
    uint32_t layer, head, n_heads, group;
    int8_t e[PROF_MAX_DIM]; /* (n_units) */
    float *exact;           /* (texts, n_heads, rows, dim) what queries get from the keys as they are */
    float *q, *qc, *row;    /* (rows, dim), (rows, cdim) of queries; (rows) biases of scores, which change nothing; then sums */
    float *s, *o;           /* (rows, padded) scores, (rows, dim) what they get */
    float *keys, *tile;     /* (KV_BLOCK, dim), (cdim, KV_BLOCK) */
    uint8_t *block;
    void *scratch;
} problem;

struct search {
    const scales_job *job;
    int8_t *e;
    kv_coder float32, coder[SCALES_MOST_CACHES];
    uint32_t padded, rows, cdim; /* of the longest text; the most of a head; the most of a coder */
    size_t block_bytes, scratch;
    size_t n_problems;
    kv_progress progress;
    void *user;
    pthread_mutex_t lock; /* of what follows */
    size_t done;
    kv_status st; /* the first failure */
    kv_err *err;
};

/* ---- attention ---- */

static const float *of_head(const problem *p, const scales_text *t, const float *x, uint32_t head) {
    const rt_hparams *hp = p->all->job->hp;
    return x + ((size_t)p->layer * hp->n_kv_head + head) * t->n * hp->head_dim;
}

static const float *queries(const problem *p, const scales_text *t, uint32_t head) {
    const rt_hparams *hp = p->all->job->hp;
    return t->q + ((size_t)p->layer * hp->n_head + (size_t)head * p->group) * t->n_q * hp->head_dim;
}

/* First of the rows of t whose queries come at position `pos` or later. */
static uint32_t first_row(const problem *p, const scales_text *t, uint32_t pos) {
    uint32_t i = 0;
    while (i < t->n_q && t->at[i] < pos)
        i++;
    return i * p->group;
}

/* Keys times scales from token `from` on, as the cache gives them back. */
static const float *stored_keys(const problem *p, const kv_coder *c, const float *k, const float *scale, uint32_t n) {
    const rt_kernels *kernels = p->all->job->exec->k;
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t i = 0; i < c->dim; i++)
            p->keys[t * c->dim + i] = k[(size_t)t * c->dim + i] * scale[i];
    memset(p->block, 0, c->block_bytes);
    c->ops->encode(c, kernels, p->block, 0, n, p->keys, p->scratch);
    return c->ops->decode(c, kernels, p->block, n, p->tile);
}

/* Scores s (n) become weights, 0 for what a query at pos does not read; returns their sum. */
static float weigh(const problem *p, float *s, uint32_t n, uint32_t pos) {
    const rt_kernels *k = p->all->job->exec->k;
    const rt_hparams *hp = p->all->job->hp;
    const uint32_t from = rt_layer_swa(hp, p->layer) && pos >= hp->swa ? pos + 1 - hp->swa : 0, end = pos + 1;
    if (hp->attn_cap > 0)
        rt_cap(k, s + from, end - from, hp->attn_cap, NULL);
    memset(s, 0, from * sizeof *s);
    memset(s + end, 0, (n - end) * sizeof *s);
    return k->exp_sum(s + from, end - from, k->max(s + from, end - from));
}

/* What the queries of a head get from keys that a cache holds after they were multiplied: out (rows, dim). */
static void attend(const problem *p, const scales_text *t, uint32_t head, const kv_coder *c, float *out) {
    const search *a = p->all;
    const rt_kernels *k = a->job->exec->k;
    const uint32_t dim = c->dim, rows = t->n_q * p->group;
    const float *q = queries(p, t, head), *keys = of_head(p, t, t->k, head), *v = of_head(p, t, t->v, head), *qc = p->q;
    float scale[PROF_MAX_DIM] = {0}, inverse[PROF_MAX_DIM] = {0};
    for (uint32_t i = 0; i < dim; i++) {
        const uint16_t u = a->job->unit[i];
        scale[i] = ldexpf(1, u < a->job->n_units ? p->e[u] : 0);
        inverse[i] = 1 / scale[i];
    }
    for (size_t i = 0; i < (size_t)rows * dim; i++)
        p->q[i] = q[i] * inverse[i % dim];
    if (c->ops->query) {
        c->ops->query(c, k, p->q, rows, p->qc, p->row);
        qc = p->qc;
    }
    for (uint32_t from = 0; from < t->n; from += KV_BLOCK) {
        const uint32_t n = t->n - from < KV_BLOCK ? t->n - from : KV_BLOCK, r = first_row(p, t, from);
        const float *tile = stored_keys(p, c, keys + (size_t)from * dim, scale, n);
        if (r < rows)
            k->attn_scores(qc + (size_t)r * c->cdim, rows - r, c->cdim, tile, p->s + (size_t)r * a->padded + from, a->padded);
    }
    for (uint32_t r = 0; r < rows; r++)
        p->row[r] = weigh(p, p->s + (size_t)r * a->padded, t->n, t->at[r / p->group]);
    memset(out, 0, (size_t)rows * dim * sizeof *out);
    for (uint32_t from = 0; from < t->n; from += KV_BLOCK) {
        const uint32_t n = t->n - from < KV_BLOCK ? t->n - from : KV_BLOCK, r = first_row(p, t, from);
        if (r < rows)
            k->attn_values(p->s + (size_t)r * a->padded + from, a->padded, rows - r, n, v + (size_t)from * dim, dim,
                           out + (size_t)r * dim);
    }
    for (size_t i = 0; i < (size_t)rows * dim; i++)
        out[i] /= p->row[i / dim];
}

/* ---- the error of scales, and the least ---- */

static float *exact_of(const problem *p, uint32_t text, uint32_t head) {
    const size_t rows = p->all->rows, dim = p->all->job->hp->head_dim;
    return p->exact + ((size_t)text * p->n_heads + head) * rows * dim;
}

static double error_in(const problem *p, const kv_coder *c) {
    double sum = 0;
    for (uint32_t i = 0; i < p->all->job->n_texts; i++) {
        const scales_text *t = &p->all->job->texts[i];
        for (uint32_t h = 0; h < p->n_heads; h++) {
            const float *exact = exact_of(p, i, h);
            attend(p, t, p->head + h, c, p->o);
            for (size_t j = 0; j < (size_t)t->n_q * p->group * c->dim; j++)
                sum += ((double)p->o[j] - exact[j]) * ((double)p->o[j] - exact[j]);
        }
    }
    return sum;
}

static double error_of(const problem *p) {
    double sum = 0;
    for (uint32_t i = 0; i < p->all->job->n_caches; i++)
        sum += log(error_in(p, &p->all->coder[i]) + 1e-30) / p->all->job->n_caches;
    return sum;
}

static void see_exactly(problem *p) {
    memset(p->e, 0, sizeof p->e);
    for (uint32_t i = 0; i < p->all->job->n_texts; i++)
        for (uint32_t h = 0; h < p->n_heads; h++)
            attend(p, &p->all->job->texts[i], p->head + h, &p->all->float32, exact_of(p, i, h));
}

/* Adds the squares of n vectors x, by units. */
static void add_squares(const scales_job *j, const float *x, size_t n, double *to) {
    for (size_t t = 0; t < n; t++, x += j->hp->head_dim)
        for (uint32_t i = 0; i < j->hp->head_dim; i++)
            if (j->unit[i] < j->n_units)
                to[j->unit[i]] += (double)x[i] * x[i];
}

static int8_t exponent(double x) {
    return (int8_t)fmax(-PROF_FOLD_MOST, fmin(PROF_FOLD_MOST, x));
}

/* All exponents times a number of their own change nothing: their mean becomes 0, or nearly so. */
static void centre(problem *p) {
    const uint32_t n = p->all->job->n_units;
    int sum = 0;
    for (uint32_t u = 0; u < n; u++)
        sum += p->e[u];
    const int mean = (int)rint((double)sum / n);
    for (uint32_t u = 0; u < n; u++)
        p->e[u] = exponent(p->e[u] - mean);
}

/* (rms q / rms k)^1/2, which minimises the product of both lengths. */
static void closed_form(problem *p) {
    const scales_job *j = p->all->job;
    double kk[PROF_MAX_DIM] = {0}, qq[PROF_MAX_DIM] = {0}, mean = 0;
    for (uint32_t i = 0; i < j->n_texts; i++)
        for (uint32_t h = p->head; h < p->head + p->n_heads; h++) {
            const scales_text *t = &j->texts[i];
            add_squares(j, of_head(p, t, t->k, h), t->n, kk);
            add_squares(j, queries(p, t, h), (size_t)t->n_q * p->group, qq);
        }
    for (uint32_t u = 0; u < j->n_units; u++) {
        kk[u] = kk[u] > 0 && qq[u] > 0 ? log2(qq[u] / kk[u]) / 4 : 0;
        mean += kk[u] / j->n_units;
    }
    for (uint32_t u = 0; u < j->n_units; u++)
        p->e[u] = exponent(rint(kk[u] - mean));
}

/* As far as unit u may go one way; returns the error there. */
static double go(problem *p, uint32_t u, int way, double least) {
    while (abs(p->e[u] + way) <= PROF_FOLD_MOST) {
        p->e[u] = (int8_t)(p->e[u] + way);
        const double error = error_of(p);
        if (!(error < least - BETTER)) {
            p->e[u] = (int8_t)(p->e[u] - way);
            break;
        }
        least = error;
    }
    return least;
}

/* Whether to go on. Progress is told by the calling thread alone. */
static bool go_on(search *a, int thread) {
    pthread_mutex_lock(&a->lock);
    if (!a->st && !thread && a->progress && !a->progress(a->user, (double)a->done / (double)a->n_problems))
        a->st = kv_fail(a->err, KV_ECANCEL, "interrupted");
    const bool yes = !a->st;
    pthread_mutex_unlock(&a->lock);
    return yes;
}

static void note(search *a, bool enough_memory) {
    pthread_mutex_lock(&a->lock);
    a->done++;
    if (!a->st && !enough_memory)
        a->st = kv_fail(a->err, KV_ENOMEM, "out of memory to find scales");
    pthread_mutex_unlock(&a->lock);
}

static void descend(problem *p, int thread) {
    const uint32_t n = p->all->job->n_units;
    double least = error_of(p), before = INFINITY;
    for (int sweep = 0; sweep < SWEEPS && least < before; sweep++) {
        before = least;
        for (uint32_t u = 0; u < n && go_on(p->all, thread); u++)
            least = go(p, u, -1, go(p, u, 1, least));
    }
    centre(p);
}

/* ---- all heads ---- */

static bool problem_alloc(problem *p) {
    const search *a = p->all;
    const size_t rows = a->rows, dim = a->job->hp->head_dim;
    p->exact = malloc(a->job->n_texts * p->n_heads * rows * dim * sizeof *p->exact);
    p->q = malloc(rows * dim * sizeof *p->q);
    p->qc = malloc(rows * a->cdim * sizeof *p->qc);
    p->row = malloc(rows * sizeof *p->row);
    p->s = malloc(rows * a->padded * sizeof *p->s);
    p->o = malloc(rows * dim * sizeof *p->o);
    p->keys = malloc(KV_BLOCK * dim * sizeof *p->keys);
    p->tile = malloc(KV_BLOCK * a->cdim * sizeof *p->tile);
    p->block = malloc(a->block_bytes);
    p->scratch = malloc(a->scratch);
    return p->exact && p->q && p->qc && p->row && p->s && p->o && p->keys && p->tile && p->block && p->scratch;
}

static void problem_free(problem *p) {
    free(p->exact);
    free(p->q);
    free(p->qc);
    free(p->row);
    free(p->s);
    free(p->o);
    free(p->keys);
    free(p->tile);
    free(p->block);
    free(p->scratch);
}

static void solve(search *a, uint32_t layer, uint32_t head, uint32_t n_heads, int thread) {
    const rt_hparams *hp = a->job->hp;
    problem p = {.all = a, .layer = layer, .head = head, .n_heads = n_heads, .group = hp->heads[layer] / hp->kv_heads[layer]};
    const bool enough = problem_alloc(&p);
    if (enough) {
        see_exactly(&p);
        closed_form(&p);
        descend(&p, thread);
        int8_t *e = a->e + ((size_t)layer * hp->n_kv_head + head) * hp->head_dim;
        for (uint32_t i = 0; i < n_heads * hp->head_dim; i++) {
            const uint16_t u = a->job->unit[i % hp->head_dim];
            e[i] = u < a->job->n_units ? p.e[u] : 0;
        }
    }
    problem_free(&p);
    note(a, enough);
}

static void solve_some(void *arg, int thread, size_t first, size_t end) {
    search *a = arg;
    const rt_hparams *hp = a->job->hp;
    for (size_t i = first; i < end && go_on(a, thread); i++) {
        const uint32_t layer = (uint32_t)(i / hp->n_kv_head), head = (uint32_t)(i % hp->n_kv_head),
                       n = rt_layer_stored(hp, layer);
        if (head < n && !(head && a->job->shared[layer]))
            solve(a, layer, head, a->job->shared[layer] ? n : 1, thread);
        else
            note(a, true);
    }
}

static kv_status coder_for(search *a, kv_codec_id id, kv_coder *c, kv_err *err) {
    const kv_status st = kv_coder_init(c, kv_codec_get(id), KV_SIDE_K, a->job->hp->head_dim, NULL, err);
    if (st)
        return st;
    a->cdim = c->cdim > a->cdim ? c->cdim : a->cdim;
    a->block_bytes = c->block_bytes > a->block_bytes ? c->block_bytes : a->block_bytes;
    a->scratch = c->scratch > a->scratch ? c->scratch : a->scratch;
    return KV_OK;
}

kv_status scales_search(const scales_job *job, kv_progress progress, void *user, int8_t *e, kv_err *err) {
    const rt_hparams *hp = job->hp;
    search a = {.job = job,
                .e = e,
                .scratch = 1,
                .n_problems = (size_t)hp->n_layer * hp->n_kv_head,
                .progress = progress,
                .user = user,
                .lock = PTHREAD_MUTEX_INITIALIZER,
                .err = err};
    memset(e, 0, a.n_problems * hp->head_dim);
    uint32_t longest = 0, n_q = 0, group = 0;
    for (uint32_t i = 0; i < job->n_texts; i++) {
        longest = job->texts[i].n > longest ? job->texts[i].n : longest;
        n_q = job->texts[i].n_q > n_q ? job->texts[i].n_q : n_q;
    }
    for (uint32_t l = 0; l < hp->n_layer; l++)
        if (hp->kv_heads[l] && hp->heads[l] / hp->kv_heads[l] > group)
            group = hp->heads[l] / hp->kv_heads[l];
    a.rows = n_q * group;
    a.padded = (longest + KV_BLOCK - 1) / KV_BLOCK * KV_BLOCK;
    a.st = coder_for(&a, KV_F32, &a.float32, err);
    for (uint32_t i = 0; i < job->n_caches && !a.st; i++)
        a.st = coder_for(&a, job->cache[i], &a.coder[i], err);
    if (!a.st)
        rt_for(job->exec, a.n_problems, 1, solve_some, &a);
    kv_coder_free(&a.float32);
    for (uint32_t i = 0; i < job->n_caches; i++)
        kv_coder_free(&a.coder[i]);
    pthread_mutex_destroy(&a.lock);
    return a.st;
}
