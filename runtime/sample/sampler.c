/* Samplers: which stages are on and in which order, checking, opening, and what holds them together. */
#include "sample/sample_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- stages ---- */

static bool cuts_sigma(const rt_sampling *cfg) {
    return cfg->top_n_sigma > 0;
}
static bool cuts_k(const rt_sampling *cfg) {
    return cfg->top_k > 0;
}
static bool cuts_typical(const rt_sampling *cfg) {
    return cfg->typical_p > 0 && cfg->typical_p < 1;
}
static bool cuts_p(const rt_sampling *cfg) {
    return cfg->top_p < 1;
}
static bool cuts_min_p(const rt_sampling *cfg) {
    return cfg->min_p > 0;
}
static bool cuts_xtc(const rt_sampling *cfg) {
    return cfg->xtc_probability > 0 && cfg->xtc_threshold <= 0.5;
}
static bool heats(const rt_sampling *cfg) {
    return cfg->temp != 1 || cfg->dynatemp_range > 0;
}

/* In the order of RT_SAMPLING_ORDER. */
static const stage stages[MOST_STAGES] = {
    {"penalties", "", sampling_penalises, sample_penalties, false},
    {"dry", "", sampling_is_dry, sample_dry, false},
    {"top_n_sigma", " top-n-sigma ", cuts_sigma, sample_top_n_sigma, true},
    {"top_k", " top-k ", cuts_k, sample_top_k, true},
    {"typ_p", " typ-p typical-p typical typ ", cuts_typical, sample_typical, false},
    {"top_p", " top-p nucleus ", cuts_p, sample_top_p, true},
    {"min_p", " min-p ", cuts_min_p, sample_min_p, true},
    {"xtc", "", cuts_xtc, sample_xtc, false},
    {"temperature", " temp ", heats, sample_temperature, false},
};

static const stage *stage_by_name(const char *name, size_t len) {
    char word[24];
    if (!len || len > sizeof word - 3)
        return NULL;
    snprintf(word, sizeof word, " %.*s ", (int)len, name);
    for (const stage *t = stages; t < stages + MOST_STAGES; t++)
        if ((strlen(t->name) == len && !memcmp(t->name, name, len)) || strstr(t->aliases, word))
            return t;
    return NULL;
}

/* The stages that cfg->order names to chain (MOST_STAGES). */
static kv_status read_order(const rt_sampling *cfg, const stage **chain, uint32_t *n, kv_err *err) {
    const char *at = cfg->order ? cfg->order : RT_SAMPLING_ORDER;
    unsigned seen = 0;
    for (*n = 0;; at++) {
        const size_t len = strcspn(at, ";");
        const stage *t = stage_by_name(at, len);
        if (!t)
            return kv_fail(err, KV_EINVAL, "there is no sampler '%.*s'; an order is some of " RT_SAMPLING_ORDER,
                           (int)(len < 60 ? len : 60), at);
        if (seen >> (t - stages) & 1)
            return kv_fail(err, KV_EINVAL, "the order of samplers has %s twice", t->name);
        seen |= 1u << (t - stages);
        chain[(*n)++] = t;
        at += len;
        if (!*at)
            return KV_OK;
    }
}

/* ---- checking ---- */

typedef struct limit {
    const char *name;
    double value, low, high;
} limit;

static kv_status check_breakers(const rt_sampling *cfg, kv_err *err) {
    enum { LONGEST = 40 };
    for (size_t i = 0; cfg->dry_breakers && i < cfg->n_dry_breakers; i++)
        if (!*cfg->dry_breakers[i] || strlen(cfg->dry_breakers[i]) > LONGEST)
            return kv_fail(err, KV_EINVAL, "DRY sequence breaker %zu is %s; 1 to %d bytes are possible", i + 1,
                           *cfg->dry_breakers[i] ? "too long" : "empty", LONGEST);
    return KV_OK;
}

kv_status rt_sampling_check(const rt_sampling *cfg, kv_err *err) {
    const stage *chain[MOST_STAGES];
    uint32_t n;
    const limit limits[] = {
        {"temperature", cfg->temp, -1e3, 1e30},
        {"top-p", cfg->top_p, 0, 1e3},
        {"min-p", cfg->min_p, 0, 1e3},
        {"typical-p", cfg->typical_p, 0, 1e3},
        {"top-n-sigma", cfg->top_n_sigma, -1e3, 1e3},
        {"dynatemp range", cfg->dynatemp_range, 0, 1e3},
        {"dynatemp exponent", cfg->dynatemp_exponent, -1e3, 1e3},
        {"XTC probability", cfg->xtc_probability, 0, 1},
        {"XTC threshold", cfg->xtc_threshold, 0, 1},
        {"repeat penalty", cfg->repeat_penalty, 0, 1e3},
        {"presence penalty", cfg->presence_penalty, -1e3, 1e3},
        {"frequency penalty", cfg->frequency_penalty, -1e3, 1e3},
        {"number of tokens that penalties look back over", (double)cfg->repeat_last_n, -1, INT32_MAX},
        {"DRY multiplier", cfg->dry_multiplier, 0, 1e3},
        {"DRY base", sampling_is_dry(cfg) ? cfg->dry_base : 1, 1, 1e3},
        {"DRY allowed length", (double)cfg->dry_allowed_length, 0, INT32_MAX},
        {"number of tokens that DRY looks back over", (double)cfg->dry_penalty_last_n, -1, INT32_MAX},
        {"version of Mirostat", (double)cfg->mirostat, 0, 2},
        {"Mirostat entropy", cfg->mirostat_tau, 0, 1e3},
        {"Mirostat learning rate", cfg->mirostat_eta, 0, 1e3},
    };
    for (const limit *l = limits; l < limits + sizeof limits / sizeof *limits; l++)
        if (!(l->value >= l->low && l->value <= l->high))
            return kv_fail(err, KV_EINVAL, "sampling: the %s is %g; %g to %g is possible", l->name, l->value, l->low, l->high);
    kv_status st = check_breakers(cfg, err);
    return st ? st : read_order(cfg, chain, &n, err);
}

/* ---- opening ---- */

/* Those of the order that are on. What comes right before the choice of the most likely one and never drops that, has no
 * effect. */
static kv_status make_chain(rt_sampler *s, kv_err *err) {
    const stage *all[MOST_STAGES];
    uint32_t n;
    const bool greedy = s->cfg.temp <= 0 && s->cfg.dynatemp_range <= 0;
    kv_status st = read_order(&s->cfg, all, &n, err);
    for (uint32_t i = 0; i < n && !st; i++) {
        if (!all[i]->on(&s->cfg) || (s->cfg.mirostat && all[i]->apply != sample_temperature))
            continue;
        while (greedy && all[i]->apply == sample_temperature && s->n_chain && s->chain[s->n_chain - 1]->keeps_best)
            s->n_chain--;
        s->chain[s->n_chain++] = all[i];
    }
    return st;
}

static kv_status no_memory(uint32_t n_vocab, kv_err *err) {
    return kv_fail(err, KV_ENOMEM, "sampling: no memory for a vocabulary of %u", n_vocab);
}

static kv_status take_memory(rt_sampler *s, const sample_vocab *v, kv_err *err) {
    choice *ch = &s->choice;
    const bool penalises = sampling_penalises(&s->cfg), dry = sampling_is_dry(&s->cfg);
    ch->n_vocab = v->n_vocab;
    ch->c = malloc(v->n_vocab * sizeof *ch->c); /* of which only as much is touched as stages leave */
    if (!ch->c)
        return no_memory(v->n_vocab, err);
    if ((penalises || dry || s->cfg.n_bias || s->cfg.ignore_eos) && !(ch->own = malloc(v->n_vocab * sizeof *ch->own)))
        return no_memory(v->n_vocab, err);
    if (penalises || dry) {
        s->tally.count = calloc(v->n_vocab, sizeof *s->tally.count);
        s->tally.ids = malloc(v->n_vocab * sizeof *s->tally.ids);
        if (!s->tally.count || !s->tally.ids)
            return no_memory(v->n_vocab, err);
    }
    if (!dry)
        return KV_OK;
    const int64_t last = s->cfg.dry_penalty_last_n;
    s->n_repeats = last < 0 || last > v->n_ctx_train ? v->n_ctx_train : (uint32_t)last;
    s->repeats = malloc(s->n_repeats * sizeof *s->repeats);
    return s->repeats || !s->n_repeats ? KV_OK : kv_fail(err, KV_ENOMEM, "sampling: no memory for %u tokens", s->n_repeats);
}

static kv_status take_bias(rt_sampler *s, const sample_vocab *v, kv_err *err) {
    const rt_sampling *cfg = &s->cfg;
    size_t ends = 0;
    for (uint32_t id = 0; cfg->ignore_eos && v->tok && id < v->n_vocab; id++)
        ends += tok_is_eog(v->tok, (int32_t)id);
    if (!(s->bias = malloc((cfg->n_bias + ends + 1) * sizeof *s->bias)))
        return kv_fail(err, KV_ENOMEM, "sampling: out of memory for %zu biases", cfg->n_bias);
    for (size_t i = 0; i < cfg->n_bias; i++) {
        const rt_logit_bias b = cfg->bias[i];
        if (b.id < 0 || (uint32_t)b.id >= v->n_vocab)
            return kv_fail(err, KV_ERANGE, "logit bias: token %d is outside the vocabulary of %u", b.id, v->n_vocab);
        if (isnan(b.bias))
            return kv_fail(err, KV_EINVAL, "logit bias: the bias of token %d is not a number", b.id);
        s->bias[s->n_bias++] = b;
    }
    for (uint32_t id = 0; ends && id < v->n_vocab; id++)
        if (tok_is_eog(v->tok, (int32_t)id))
            s->bias[s->n_bias++] = (rt_logit_bias){(int32_t)id, -INFINITY};
    return KV_OK;
}

static kv_status take_breakers(rt_sampler *s, const tok *t, kv_err *err) {
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    if (!sampling_is_dry(&s->cfg) || !t)
        return KV_OK;
    if (!s->cfg.dry_breakers)
        return breakers_read(&s->breakers, t, usual, sizeof usual / sizeof *usual, err);
    return breakers_read(&s->breakers, t, s->cfg.dry_breakers, s->cfg.n_dry_breakers, err);
}

kv_status sample_new(const rt_sampling *cfg, const sample_vocab *v, rt_sampler **out, kv_err *err) {
    kv_status st = rt_sampling_check(cfg, err);
    if (!st && !v->n_vocab)
        st = kv_fail(err, KV_EINVAL, "sampling: the vocabulary is empty");
    if (st)
        return st;
    rt_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "sampling: out of memory");
    s->cfg = *cfg;
    s->state = cfg->seed;
    s->mu = 2 * cfg->mirostat_tau;
    s->pick = cfg->mirostat ? sample_mirostat : sample_draw;
    if (cfg->mirostat)
        s->cfg.dynatemp_range = 0;
    if ((st = make_chain(s, err)) || (st = take_memory(s, v, err)) || (st = take_bias(s, v, err)) ||
        (st = take_breakers(s, v->tok, err)))
        goto done;
    s->cfg.dry_breakers = NULL;
    s->cfg.bias = NULL;
    s->cfg.order = NULL;
    *out = s;
    s = NULL;
done:
    rt_sampler_free(s);
    return st;
}

kv_status rt_sampler_new(const rt_sampling *cfg, const rt_model *m, rt_sampler **out, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(m);
    return sample_new(cfg, &(sample_vocab){hp->n_vocab, hp->n_ctx_train, rt_model_tok(m)}, out, err);
}

rt_sampler_place rt_sampler_where(const rt_sampler *s) {
    return (rt_sampler_place){s->state, s->mu};
}

void rt_sampler_put(rt_sampler *s, rt_sampler_place at) {
    s->state = at.random;
    if (isfinite(at.surprise))
        s->mu = at.surprise;
}

void rt_sampler_free(rt_sampler *s) {
    if (!s)
        return;
    free(s->choice.c);
    free(s->choice.own);
    free(s->tally.count);
    free(s->tally.ids);
    free(s->repeats);
    free(s->bias);
    breakers_free(&s->breakers);
    free(s);
}

/* ---- choosing ---- */

int32_t rt_sample(rt_sampler *s, const float *logits, const int32_t *ids, size_t n) {
    choice *ch = &s->choice;
    choice_begin(ch, logits);
    s->ids = ids;
    s->n_ids = n;
    if (s->n_bias)
        ch->row = memcpy(ch->own, logits, ch->n_vocab * sizeof *logits);
    for (size_t i = 0; i < s->n_bias; i++)
        ch->own[s->bias[i].id] += s->bias[i].bias;
    for (uint32_t i = 0; i < s->n_chain; i++)
        s->chain[i]->apply(s);
    return s->pick(s);
}
