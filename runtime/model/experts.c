/* Experts are taken one after the other, each with all rows that chose it, so that its weights are read once; a row's answers
 * are summed in the order of the experts' numbers, whatever else is in the batch. */
#include "model/experts.h"

#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { GRAIN = 8 /* rows at a time */ };

size_t experts_lay_out(const rt_hparams *hp, size_t n, float *base, rt_moe *to) {
    _Static_assert(sizeof(uint32_t) == sizeof(float), "numbers lie among floats");
    const size_t chosen = n * hp->n_expert_used;
    rt_routes *r = &to->routes;
    const struct {
        void *p;
        size_t len;
    } parts[] = {
        {&r->logits, n * hp->n_expert}, {&r->weight, chosen},     {&r->expert, chosen},
        {&r->first, hp->n_expert + 1},  {&r->row, chosen},        {&r->k, chosen},
        {&to->x, n * hp->n_embd},       {&to->y, n * hp->n_embd},
    };
    size_t at = 0;
    for (size_t i = 0; hp->n_expert && i < sizeof parts / sizeof *parts; i++) {
        float *here = base ? base + at : NULL;
        if (base)
            memcpy(parts[i].p, &here, sizeof here);
        at += (parts[i].len + 15) / 16 * 16;
    }
    return at;
}

/* ---- routes ---- */

typedef struct choice {
    const rt_hparams *hp;
    const float *logits;
    double top, all;             /* the greatest logit; the sum of e^(logit - top) */
    double rank[RT_MAX_EXPERTS]; /* (n_expert) what experts are compared by */
    bool closed[RT_MAX_EXPERTS]; /* (n_expert) those that cannot be chosen, or are already */
} choice;

/* What the router makes of expert i, before weights are made to sum to 1 or not. */
static double answer_of(const choice *c, uint32_t i) {
    const double x = (double)c->logits[i];
    return c->hp->expert_sigmoid ? 1 / (1 + exp(-x)) : exp(x - c->top);
}

/* Without a bias and groups, logits are compared: nothing is rounded away. */
static void fill_ranks(choice *c, const float *bias) {
    const double by = c->hp->expert_sigmoid ? 1 : c->all;
    for (uint32_t i = 0; i < c->hp->n_expert; i++) {
        c->closed[i] = false;
        c->rank[i] =
            !bias && c->hp->n_expert_group == 1 ? (double)c->logits[i] : answer_of(c, i) / by + (bias ? (double)bias[i] : 0);
    }
}

/* The best of experts first .. end-1 that are open, ties by the lower number; end: there is none. */
static uint32_t best_of(const choice *c, uint32_t first, uint32_t end) {
    uint32_t best = end;
    for (uint32_t i = first; i < end; i++)
        /* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Branch): fill_ranks was there */
        if (!c->closed[i] && (best == end || c->rank[i] > c->rank[best]))
            best = i;
    return best;
}

/* A group is as good as its two best experts together (DeepSeek-V3, arXiv:2412.19437). */
static double group_rank(choice *c, uint32_t first, uint32_t end) {
    const uint32_t one = best_of(c, first, end);
    c->closed[one] = true;
    const uint32_t two = best_of(c, first, end);
    c->closed[one] = false;
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): groups have experts, all with ranks */
    return c->rank[one] + (two < end ? c->rank[two] : 0);
}

/* Close all groups but the best. */
static void close_groups(choice *c) {
    const uint32_t groups = c->hp->n_expert_group, each = c->hp->n_expert / groups;
    double rank[RT_MAX_EXPERTS];
    bool stays[RT_MAX_EXPERTS] = {false};
    for (uint32_t g = 0; g < groups; g++)
        rank[g] = group_rank(c, g * each, (g + 1) * each);
    for (uint32_t k = 0; k < c->hp->n_group_used; k++) {
        uint32_t best = groups;
        for (uint32_t g = 0; g < groups; g++)
            if (!stays[g] && (best == groups || rank[g] > rank[best]))
                best = g;
        stays[best] = true;
    }
    for (uint32_t i = 0; i < c->hp->n_expert; i++)
        c->closed[i] = !stays[i / each];
}

/* n_used experts, best first, and their weights. */
static void choose(const rt_hparams *hp, const float *logits, const float *bias, uint32_t *expert, float *weight) {
    const uint32_t n = hp->n_expert, used = hp->n_expert_used;
    choice c;
    double sum = 0;
    c.hp = hp;
    c.logits = logits;
    c.top = (double)logits[0];
    c.all = 0;
    for (uint32_t i = 1; i < n; i++)
        c.top = fmax(c.top, (double)logits[i]);
    for (uint32_t i = 0; !hp->expert_sigmoid && i < n; i++)
        c.all += exp((double)logits[i] - c.top);
    fill_ranks(&c, bias);
    if (hp->n_expert_group > 1)
        close_groups(&c);
    for (uint32_t k = 0; k < used; k++) {
        expert[k] = best_of(&c, 0, n);
        c.closed[expert[k]] = true;
        sum += answer_of(&c, expert[k]);
    }
    const double by = hp->expert_norm ? sum : hp->expert_sigmoid ? 1 : c.all;
    for (uint32_t k = 0; k < used; k++)
        weight[k] = (float)(answer_of(&c, expert[k]) / by * (double)hp->expert_scale);
}

typedef struct choice_job {
    const rt_model *m;
    const float *bias;
    const rt_routes *to;
} choice_job;

static void choose_rows(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const choice_job *j = arg;
    const size_t n = j->m->hp.n_expert, used = j->m->hp.n_expert_used;
    for (size_t t = first; t < end; t++)
        choose(&j->m->hp, j->to->logits + t * n, j->bias, j->to->expert + t * used, j->to->weight + t * used);
}

void experts_route(const rt_model *m, const rt_exec *e, const rt_layer *y, rt_act *a, const float *x, uint32_t n,
                   rt_routes *to) {
    const rt_hparams *hp = &m->hp;
    const uint32_t used = hp->n_expert_used;
    act_set(a, e, x, n, hp->n_embd);
    rows_project(m, e, &(rows_out){y->experts.router, NULL, to->logits}, 1, a, n);
    memset(to->first, 0, (hp->n_expert + 1) * sizeof *to->first);
    rt_for(e, n, GRAIN, choose_rows, &(choice_job){m, y->experts.bias, to});
    for (size_t i = 0; i < (size_t)n * used; i++)
        to->first[to->expert[i] + 1]++;
    for (uint32_t i = 0; i < hp->n_expert; i++)
        to->first[i + 1] += to->first[i];
    uint32_t *next = to->first; /* moved on while they are filled, and back again */
    for (uint32_t t = 0; t < n; t++)
        for (uint32_t k = 0; k < used; k++) {
            const uint32_t at = next[to->expert[t * used + k]]++;
            to->row[at] = t;
            to->k[at] = k;
        }
    memmove(to->first + 1, to->first, hp->n_expert * sizeof *to->first);
    to->first[0] = 0;
}

void experts_gather(const rt_hparams *hp, const rt_routes *r, uint32_t expert, const float *x, float *to) {
    for (uint32_t i = r->first[expert]; i < r->first[expert + 1]; i++, to += hp->n_embd)
        memcpy(to, x + (size_t)r->row[i] * hp->n_embd, hp->n_embd * sizeof *to);
}

/* ---- what they add ---- */

float experts_shared_weight(const rt_model *m, const rt_layer *y, const float *x) {
    const rt_hparams *hp = &m->hp;
    return y->experts.shared_weight ? 1 / (1 + expf(-m->exec.k->dot(x, y->experts.shared_weight, hp->n_embd))) : 1;
}

/* y (n, n_embd) = FFN of x (n, n_embd), which is in the activations a. */
static void ffn(const rt_model *m, const rt_exec *e, const rt_mat *const mats[3], rt_act *a, uint32_t n, float *gate, float *up,
                float *y) {
    const size_t width = mat_rows(mats[0]);
    rows_project(m, e, (rows_out[]){{mats[0], NULL, gate}, {mats[1], NULL, up}}, 2, a, n);
    rows_gate(m, e, gate, up, n, (uint32_t)width);
    act_set(a, e, gate, n, width);
    rows_project(m, e, &(rows_out){mats[2], NULL, y}, 1, a, n);
}

void experts_run(const rt_model *m, const rt_exec *e, const rt_layer *y, rt_act *a, const float *x, uint32_t n, rt_moe *s,
                 float *gate, float *up, float *out) {
    const rt_hparams *hp = &m->hp;
    const rt_experts *ex = &y->experts;
    const rt_routes *r = &s->routes;
    const size_t d = hp->n_embd;
    experts_route(m, e, y, a, x, n, &s->routes);
    memset(out, 0, n * d * sizeof *out);
    for (uint32_t i = 0; i < hp->n_expert; i++) {
        const uint32_t first = r->first[i], rows = r->first[i + 1] - first;
        if (!rows)
            continue;
        experts_gather(hp, r, i, x, s->x);
        act_set(a, e, s->x, rows, d);
        ffn(m, e, (const rt_mat *const[]){ex->gate[i], ex->up[i], ex->down[i]}, a, rows, gate, up, s->y);
        for (uint32_t j = 0; j < rows; j++) {
            const uint32_t t = r->row[first + j];
            m->exec.k->blend(out + t * d, 1, s->y + j * d, r->weight[t * hp->n_expert_used + r->k[first + j]], d);
        }
    }
    if (!ex->shared_gate)
        return;
    act_set(a, e, x, n, d);
    ffn(m, e, (const rt_mat *const[]){ex->shared_gate, ex->shared_up, ex->shared_down}, a, n, gate, up, s->y);
    for (size_t t = 0; t < n; t++)
        m->exec.k->blend(out + t * d, 1, s->y + t * d, experts_shared_weight(m, y, x + t * d), d);
}
