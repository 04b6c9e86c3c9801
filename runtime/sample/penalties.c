/* Stages that look at what was said: penalties on tokens, and on sequences of them.
 *
 *   repetition   Keskar and others, *CTRL: A Conditional Transformer Language Model for Controllable Generation*, 2019, where a
 *                logit is divided; one below 0 is multiplied instead, or it would become likelier
 *   frequency, presence  as OpenAI's API describes them
 *   DRY          p-e-w, text-generation-webui, pull request 5677, 2024; in one pass over the tokens and with breakers of
 * several tokens: pi6am, koboldcpp, pull request 982, 2024 Which tokens are looked at, and the limits, are those of llama.cpp.
 */
#include "sample/sample_internal.h"

#include <math.h>

bool sampling_penalises(const rt_sampling *cfg) {
    const bool divides = cfg->repeat_penalty > 0 && cfg->repeat_penalty != 1;
    return cfg->repeat_last_n && (divides || cfg->presence_penalty != 0 || cfg->frequency_penalty != 0);
}

bool sampling_is_dry(const rt_sampling *cfg) {
    return cfg->dry_multiplier > 0 && cfg->dry_penalty_last_n;
}

/* What is counted is at least 1; the highest count of an id stays, or with `add` the sum. */
static void count(rt_sampler *s, int32_t id, uint32_t n, bool add) {
    tally *t = &s->tally;
    if (id < 0 || (uint32_t)id >= s->choice.n_vocab)
        return;
    if (!t->count[id])
        t->ids[t->n++] = id;
    if (add)
        t->count[id] += n;
    else if (t->count[id] < n)
        t->count[id] = n;
}

void tally_clear(tally *t) {
    for (uint32_t i = 0; i < t->n; i++)
        t->count[t->ids[i]] = 0;
    t->n = 0;
}

/* ---- penalties ---- */

static float penalised(const rt_sampling *cfg, float logit, uint32_t times) {
    const double by = cfg->repeat_penalty > 0 ? cfg->repeat_penalty : 1;
    const double repeated = logit <= 0 ? logit * by : logit / by;
    return (float)(repeated - (times * cfg->frequency_penalty + cfg->presence_penalty));
}

void sample_penalties(rt_sampler *s) {
    const int64_t last = s->cfg.repeat_last_n;
    const size_t n = last < 0 || (uint64_t)last > s->n_ids ? s->n_ids : (size_t)last;
    for (size_t i = s->n_ids - n; i < s->n_ids; i++)
        count(s, s->ids[i], 1, true);
    choice_adjust(&s->choice, s->tally.count, s->tally.ids, s->tally.n, &s->cfg, penalised);
    tally_clear(&s->tally);
}

/* ---- DRY ---- */

/* len[k], 0 < k < n: how many tokens up to the one k before the newest are those up to the newest. That is the Z function of
 * the tokens read backwards (Gusfield, *Algorithms on Strings, Trees, and Sequences*, 1997), in linear time: [from, to) is the
 * match that reaches farthest of those found. */
static void match_ends(const int32_t *ids, uint32_t n, uint32_t *len) {
    uint32_t from = 0, to = 0;
    for (uint32_t k = 1; k < n; k++) {
        uint32_t m = 0;
        if (k < to)
            m = len[k - from] < to - k ? len[k - from] : to - k;
        while (k + m < n && ids[n - 1 - m] == ids[n - 1 - k - m])
            m++;
        len[k] = m;
        if (k + m > to) {
            from = k;
            to = k + m;
        }
    }
}

/* times: one more than the length of the repetition that the token would go on with. */
static float dried(const rt_sampling *cfg, float logit, uint32_t times) {
    const double most = cfg->dry_base > 1.000001 ? floor(log(3.402823466e38) / log(cfg->dry_base)) : 0; /* as floats go */
    const double over = (double)(times - 1) - (double)cfg->dry_allowed_length;
    return (float)(logit - cfg->dry_multiplier * pow(cfg->dry_base, most > 0 && over > most ? most : over));
}

void sample_dry(rt_sampler *s) {
    const int64_t allowed = s->cfg.dry_allowed_length;
    const uint32_t n = s->n_ids < s->n_repeats ? (uint32_t)s->n_ids : s->n_repeats;
    const int32_t *ids = n ? s->ids + s->n_ids - n : NULL;
    if (n <= allowed)
        return;
    const uint32_t limit = breakers_limit(&s->breakers, ids, n);
    if (limit < allowed)
        return;
    match_ends(ids, n, s->repeats);
    for (uint32_t k = 1; k < n; k++) {
        const uint32_t len = s->repeats[k] < limit ? s->repeats[k] : limit;
        const int32_t next = ids[n - k];
        if (len >= allowed && !breakers_has(&s->breakers, next))
            count(s, next, len + 1, false);
    }
    choice_adjust(&s->choice, s->tally.count, s->tally.ids, s->tally.n, &s->cfg, dried);
    tally_clear(&s->tally);
}
