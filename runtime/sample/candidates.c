/* Candidates: found with a heap, so that the whole vocabulary is sorted only where nothing cuts it first. */
#include "sample/sample_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

void choice_begin(choice *ch, const float *logits) {
    ch->row = logits;
    ch->n = ch->n_vocab;
    ch->sorted = false;
    ch->temp = 1;
}

static candidate candidate_at(const choice *ch, uint32_t i) {
    return ch->row ? (candidate){.logit = clean(ch->row[i]), .id = (int32_t)i} : ch->c[i];
}

void choice_again(choice *ch, const float *row) {
    ch->row = row;
    ch->n = ch->n_vocab;
    ch->sorted = false;
}

/* From the row to the list of candidates. */
static void spread(choice *ch) {
    for (uint32_t i = 0; ch->row && i < ch->n; i++)
        ch->c[i] = candidate_at(ch, i);
    ch->row = NULL;
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

/* The k best of the row or of the list, as a heap in c, k < n. */
static void heap_best(choice *ch, uint32_t k) {
    candidate *c = ch->c;
    const float *row = ch->row;
    const uint32_t n = ch->n;
    for (uint32_t i = 0; i < k; i++)
        c[i] = candidate_at(ch, i);
    for (uint32_t i = k / 2; i-- > 0;)
        sift_down(c, k, i);
    for (uint32_t i = k; i < n; i++) {
        if (row && !(row[i] > c[0].logit)) /* most of them; of equals, the one that came before has the lower id */
            continue;
        const candidate next = candidate_at(ch, i);
        if (better(&next, &c[0])) {
            c[0] = next;
            sift_down(c, k, 0);
        }
    }
}

void choice_best(choice *ch, uint32_t k) {
    if (k >= ch->n) {
        spread(ch);
        k = ch->n;
    } else if (!ch->sorted)
        heap_best(ch, k);
    ch->row = NULL;
    ch->n = k;
    if (!ch->sorted)
        qsort(ch->c, k, sizeof *ch->c, by_rank);
    ch->sorted = true;
}

float choice_top(const choice *ch) {
    if (ch->sorted)
        return ch->c[0].logit;
    float top = -INFINITY;
    for (uint32_t i = 0; i < ch->n; i++) {
        const float logit = ch->row ? ch->row[i] : ch->c[i].logit; /* a NaN is greater than nothing */
        top = logit > top ? logit : top;
    }
    return top;
}

void choice_above(choice *ch, double floor) {
    uint32_t kept = 0;
    const double top = choice_top(ch);
    const double least = floor < top ? floor : top;
    for (uint32_t i = 0; i < ch->n; i++) {
        const candidate next = candidate_at(ch, i);
        if (next.logit >= least)
            ch->c[kept++] = next;
        else if (ch->sorted)
            break;
    }
    ch->row = NULL;
    ch->n = kept;
}

static double weight(const choice *ch, double logit, double top) {
    return logit == top ? 1 : exp((logit - top) / ch->temp);
}

double choice_weigh(choice *ch) {
    const double top = choice_top(ch);
    double sum = 0;
    spread(ch);
    for (uint32_t i = 0; i < ch->n; i++)
        sum += ch->c[i].p = weight(ch, ch->c[i].logit, top);
    return sum;
}

double choice_sum(const choice *ch) {
    const double top = choice_top(ch);
    double sum = 0;
    for (uint32_t i = 0; i < ch->n; i++)
        sum += weight(ch, candidate_at(ch, i).logit, top);
    return sum;
}

/* Divide logits by the temperature now, as they are about to change. */
static void settle(choice *ch) {
    if (ch->temp == 1)
        return;
    spread(ch);
    for (uint32_t i = 0; i < ch->n; i++)
        ch->c[i].logit = (float)(ch->c[i].logit / ch->temp);
    ch->temp = 1;
}

void choice_adjust(choice *ch, const uint32_t *count, const int32_t *ids, uint32_t n, const rt_sampling *cfg,
                   choice_change change) {
    settle(ch);
    if (ch->row && ch->row != ch->own)
        ch->row = memcpy(ch->own, ch->row, ch->n_vocab * sizeof *ch->own);
    for (uint32_t i = 0; ch->row && i < n; i++)
        ch->own[ids[i]] = change(cfg, ch->own[ids[i]], count[ids[i]]);
    for (uint32_t i = 0; !ch->row && i < ch->n; i++)
        if (count[ch->c[i].id])
            ch->c[i].logit = clean(change(cfg, ch->c[i].logit, count[ch->c[i].id]));
    ch->sorted = false;
}
