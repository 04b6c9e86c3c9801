/* Temperature, also one that follows the entropy; and Mirostat, which steers it.
 *
 * Dynamic temperature: kalomaze, llama.cpp, pull request 4972, 2024. Mirostat: Basu and others, *Mirostat: A Neural Text
 * Decoding Algorithm that Directly Controls Perplexity*, 2021; the numbers that it leaves open are those of llama.cpp.
 */
#include "sample/sample_internal.h"

#include <math.h>

enum { ZIPF = 100 /* most likely tokens that the exponent of Mirostat 1 is fitted to */ };

static void scale(choice *ch, double temp) {
    if (temp > 0)
        ch->temp *= temp;
    else
        choice_best(ch, 1);
}

/* From temp - range where one token is certain to temp + range where all are equally likely. */
static double by_entropy(rt_sampler *s) {
    const rt_sampling *cfg = &s->cfg;
    choice *ch = &s->choice;
    const double low = fmax(0, cfg->temp - cfg->dynatemp_range), high = cfg->temp + cfg->dynatemp_range;
    const double sum = choice_weigh(ch);
    double entropy = 0;
    for (uint32_t i = 0; i < ch->n; i++) {
        const double p = ch->c[i].p / sum;
        entropy -= p > 0 ? p * log(p) : 0;
    }
    return low + (high - low) * pow(fmax(0, entropy) / log(ch->n), cfg->dynatemp_exponent);
}

void sample_temperature(rt_sampler *s) {
    if (s->cfg.dynatemp_range <= 0)
        scale(&s->choice, s->cfg.temp);
    else if (s->choice.n > 1)
        scale(&s->choice, by_entropy(s));
}

/* ---- Mirostat ---- */

/* Version 1: how many tokens give the surprise mu, if probabilities follow Zipf's law with the exponent of the first ones. */
static void zipf_cut(rt_sampler *s) {
    choice *ch = &s->choice;
    const float *row = ch->row;
    double tb = 0, tt = 0;
    choice_best(ch, ZIPF);
    choice_weigh(ch);
    for (uint32_t i = 0; i + 1 < ZIPF && i + 1 < ch->n && ch->c[i + 1].p > 0; i++) {
        const double t = log((i + 2.0) / (i + 1.0));
        tb += t * log(ch->c[i].p / ch->c[i + 1].p);
        tt += t * t;
    }
    const double exponent = tb / tt, eps = exponent - 1;
    const double k = pow(eps * exp2(s->mu) / (1 - pow(ch->n_vocab, -eps)), 1 / exponent);
    if (k > ch->n && row) /* more than were looked at */
        choice_again(ch, row);
    choice_best(ch, !(k >= 1) ? 1 : k < ch->n ? (uint32_t)k : ch->n);
}

/* Version 2: those whose surprise is at most mu. */
static void surprise_cut(rt_sampler *s) {
    choice *ch = &s->choice;
    choice_above(ch, choice_top(ch) + ch->temp * log(choice_sum(ch) * exp2(-s->mu)));
}

int32_t sample_mirostat(rt_sampler *s) {
    choice *ch = &s->choice;
    if (!isfinite(choice_top(ch)))
        return sample_draw(s);
    if (s->cfg.mirostat == 1)
        zipf_cut(s);
    else
        surprise_cut(s);
    const int32_t id = sample_draw(s);
    const double left = choice_weigh(ch);
    for (uint32_t i = 0; i < ch->n; i++)
        if (ch->c[i].id == id)
            s->mu -= s->cfg.mirostat_eta * (-log2(ch->c[i].p / left) - s->cfg.mirostat_tau);
    return id;
}
