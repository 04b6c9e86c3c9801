/* Stages that drop candidates by how likely they are.
 *
 *   top-n-sigma  Tang and others, *Top-nsigma: Not All Logits Are You Need*, 2024
 *   typical      Meister and others, *Locally Typical Sampling*, 2022
 *   top-p        Holtzman and others, *The Curious Case of Neural Text Degeneration*, 2019
 *   min-p        Nguyen and others, *Turning Up the Heat: Min-p Sampling*, 2024
 *   XTC          p-e-w, text-generation-webui, pull request 6335, 2024
 *   top-k        Fan, Lewis, Dauphin, *Hierarchical Neural Story Generation*, 2018
 * What happens at the edges (which comparison, what is kept at least) is as in llama.cpp, src/llama-sampling.cpp.
 */
#include "sample/sample_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void sample_top_k(rt_sampler *s) {
    if (s->cfg.top_k < s->choice.n)
        choice_best(&s->choice, (uint32_t)s->cfg.top_k);
}

/* Keep the shortest beginning with at least this weight; false: all is too little. */
static bool keep_weight(choice *ch, double want) {
    double sum = 0;
    choice_weigh(ch);
    for (uint32_t i = 0; i < ch->n; i++) {
        sum += ch->c[i].p;
        if (sum >= want) {
            ch->n = i + 1;
            return true;
        }
    }
    return false;
}

/* The most likely ones that hold top_p of the probability. Mostly that is a few of them, and the others need not be sorted. */
void sample_top_p(rt_sampler *s) {
    choice *ch = &s->choice;
    const float *row = ch->row;
    const double want = s->cfg.top_p * choice_sum(ch);
    for (uint32_t few = 256; row && few <= 4096 && few < ch->n_vocab; few *= 16) {
        choice_best(ch, few);
        if (keep_weight(ch, want))
            return;
        choice_again(ch, row);
    }
    choice_best(ch, ch->n);
    keep_weight(ch, want);
}

/* Those at least min_p times as likely as the best. */
void sample_min_p(rt_sampler *s) {
    choice *ch = &s->choice;
    choice_above(ch, choice_top(ch) + ch->temp * log(s->cfg.min_p));
}

/* Mean and deviation are of the logits that are finite; both scale with a temperature that came before. */
void sample_top_n_sigma(rt_sampler *s) {
    choice *ch = &s->choice;
    double sum = 0, squares = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < ch->n; i++) {
        const double logit = ch->row ? ch->row[i] : ch->c[i].logit;
        sum += isfinite(logit) ? logit : 0;
        n += isfinite(logit) != 0;
    }
    const double mean = n ? sum / n : 0;
    for (uint32_t i = 0; i < ch->n; i++) {
        const double logit = ch->row ? ch->row[i] : ch->c[i].logit;
        squares += isfinite(logit) ? (logit - mean) * (logit - mean) : 0;
    }
    choice_above(ch, choice_top(ch) - s->cfg.top_n_sigma * (n ? sqrt(squares / n) : 0));
}

/* p: how far the surprise is from the mean one. */
static int by_distance(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? -1 : 1;
    return x->logit != y->logit ? (x->logit > y->logit ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

/* The most typical ones that hold more than typical_p of the probability. */
void sample_typical(rt_sampler *s) {
    choice *ch = &s->choice;
    choice_best(ch, ch->n);
    const double top = ch->c[0].logit, sum = choice_weigh(ch);
    double entropy = 0, held = 0;
    for (uint32_t i = 0; i < ch->n; i++) {
        const double p = ch->c[i].p / sum;
        entropy -= p > 0 ? p * log(p) : 0;
    }
    for (uint32_t i = 0; i < ch->n; i++)
        ch->c[i].p = fabs(-log(ch->c[i].p / sum) - entropy);
    qsort(ch->c, ch->n, sizeof *ch->c, by_distance);
    ch->sorted = false;
    for (uint32_t i = 0; i < ch->n; i++) {
        const double logit = ch->c[i].logit;
        held += logit == top ? 1 : exp((logit - top) / ch->temp);
        if (held > s->cfg.typical_p * sum) {
            ch->n = i + 1;
            return;
        }
    }
}

/* Now and then, of all that are likely enough, the least likely is the best that stays. */
void sample_xtc(rt_sampler *s) {
    choice *ch = &s->choice;
    if (ch->n < 2 || sample_uniform(s) > s->cfg.xtc_probability || !isfinite(choice_top(ch)))
        return;
    choice_best(ch, ch->n);
    const double least = s->cfg.xtc_threshold * choice_weigh(ch);
    uint32_t likely = 0;
    while (likely < ch->n && ch->c[likely].p >= least)
        likely++;
    if (likely < 2)
        return;
    ch->n -= likely - 1;
    memmove(ch->c, ch->c + likely - 1, ch->n * sizeof *ch->c);
}
