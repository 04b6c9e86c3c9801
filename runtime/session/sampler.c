/* Sampling: top-k, top-p, min-p, temperature, draw, in that order (llama.cpp's default chain of the same filters).
 *
 * The candidates are an array sorted by falling logit, lowest id first among equals; every filter only shortens it. Up to
 * top_k candidates are found with a heap, so that the whole vocabulary is sorted only when top-k is off.
 * Randomness: SplitMix64 (Steele, Lea, Flood 2014), one step per token drawn.
 */
#include "session/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

typedef struct candidate {
    float logit;
    int32_t id;
    double p;
} candidate;

struct rt_sampler {
    rt_sampling cfg;
    uint32_t n_vocab;
    uint64_t state;
    candidate *c; /* (n_vocab) or (top_k) */
    uint32_t cap;
};

kv_status rt_sampler_new(const rt_sampling *cfg, uint32_t n_vocab, rt_sampler **out, kv_err *err) {
    if (!n_vocab)
        return kv_fail(err, KV_EINVAL, "sampling: the vocabulary is empty");
    if (!isfinite(cfg->temp) || !(cfg->top_p >= 0) || !(cfg->min_p >= 0))
        return kv_fail(err, KV_EINVAL, "sampling: temperature %g, top-p %g or min-p %g is not a number that makes sense",
                       cfg->temp, cfg->top_p, cfg->min_p);
    rt_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "sampling: out of memory");
    s->cfg = *cfg;
    s->n_vocab = n_vocab;
    s->state = cfg->seed;
    s->cap = cfg->top_k > 0 && cfg->top_k < n_vocab ? (uint32_t)cfg->top_k : n_vocab;
    s->c = malloc(s->cap * sizeof *s->c);
    if (!s->c) {
        free(s);
        return kv_fail(err, KV_ENOMEM, "sampling: no memory for a vocabulary of %u", n_vocab);
    }
    *out = s;
    return KV_OK;
}

void rt_sampler_free(rt_sampler *s) {
    if (!s)
        return;
    free(s->c);
    free(s);
}

/* Uniform in [0, 1). */
static double draw(rt_sampler *s) {
    uint64_t z = s->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* NaN counts as impossible, so that a broken model cannot break the order. */
static float clean(float logit) {
    return isnan(logit) ? -INFINITY : logit;
}

static bool better(const candidate *a, const candidate *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int by_rank(const void *a, const void *b) {
    return better(a, b) ? -1 : 1;
}

/* Heap with the worst candidate on top. */
static void sift_down(candidate *c, uint32_t n, uint32_t i) {
    for (;;) {
        uint32_t worst = i;
        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (better(&c[worst], &c[child]))
                worst = child;
        if (worst == i)
            return;
        candidate t = c[i];
        c[i] = c[worst];
        c[worst] = t;
        i = worst;
    }
}

static void take_best(rt_sampler *s, const float *logits) {
    candidate *c = s->c;
    uint32_t n = s->cap;
    for (uint32_t i = 0; i < n; i++)
        c[i] = (candidate){.logit = clean(logits[i]), .id = (int32_t)i};
    if (n < s->n_vocab) {
        for (uint32_t i = n / 2; i-- > 0;)
            sift_down(c, n, i);
        for (uint32_t i = n; i < s->n_vocab; i++) {
            candidate next = {.logit = clean(logits[i]), .id = (int32_t)i};
            if (better(&next, &c[0])) {
                c[0] = next;
                sift_down(c, n, 0);
            }
        }
    }
    qsort(c, n, sizeof *c, by_rank);
}

/* Weights exp((logit - best) / temp) into p; returns their sum. */
static double weigh(candidate *c, uint32_t n, double temp) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += c[i].p = exp(((double)c[i].logit - c[0].logit) / temp);
    return sum;
}

/* The shortest beginning that holds top_p of the probability. */
static uint32_t keep_top_p(candidate *c, uint32_t n, double top_p) {
    double want = top_p * weigh(c, n, 1), sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += c[i].p;
        if (sum >= want)
            return i + 1;
    }
    return n;
}

/* Those at least min_p times as likely as the best one; the best always stays. */
static uint32_t keep_min_p(const candidate *c, uint32_t n, double min_p) {
    double floor = c[0].logit + log(min_p);
    uint32_t kept = 1;
    while (kept < n && c[kept].logit >= floor)
        kept++;
    return kept;
}

static int32_t greedy(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (clean(logits[i]) > clean(logits[best]))
            best = i;
    return (int32_t)best;
}

int32_t rt_sample(rt_sampler *s, const float *logits) {
    if (s->cfg.temp <= 0)
        return greedy(logits, s->n_vocab);
    take_best(s, logits);
    candidate *c = s->c;
    uint32_t n = s->cap;
    if (!isfinite(c[0].logit)) /* nothing to weigh: all are impossible, or one is certain */
        return c[0].id;
    if (s->cfg.top_p < 1)
        n = keep_top_p(c, n, s->cfg.top_p);
    if (s->cfg.min_p > 0)
        n = keep_min_p(c, n, s->cfg.min_p);
    double left = draw(s) * weigh(c, n, s->cfg.temp);
    for (uint32_t i = 0; i + 1 < n; i++) {
        left -= c[i].p;
        if (left < 0)
            return c[i].id;
    }
    return c[n - 1].id;
}
