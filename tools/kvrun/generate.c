#include "kvrun/generate.h"

#include "base/clock.h"
#include "grammar/constraint.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct gen {
    rt_session *s;
    const tok *tok;
    rt_sampler *sampler;
    constraint *constraint; /* or NULL */
    float *masked;          /* (n_vocab) logits, while there is a constraint */
    bool shift, endless, lookup, wants_lookup;
    rt_guesser guesser;
    bool (*stop)(void);
    gen_recall recall;
    void *recall_user;
    size_t keep;
    uint64_t dropped;
    uint32_t n_ctx_train;
    gen_stats stats;
};

kv_status gen_new(const rt_model *m, const gen_cfg *cfg, gen **out, kv_err *err) {
    rt_session *s;
    kv_status st = rt_session_new(m, &cfg->ctx, &s, err);
    return st ? st : gen_of(m, cfg, s, out, err);
}

/* Wrong guesses are taken back, which is no way back where tokens were let go of for them. */
static bool keeps_all(const kv_cache *c) {
    const kv_cache_info info = kv_cache_get_info(c);
    return info.chosen == 0 && info.newest == 0;
}

static kv_status constrain(gen *g, const rt_model *m, const grammar *rules, kv_err *err) {
    g->masked = malloc(rt_model_hparams(m)->n_vocab * sizeof *g->masked);
    if (!g->masked)
        return kv_fail(err, KV_ENOMEM, "out of memory for a vocabulary of %u", rt_model_hparams(m)->n_vocab);
    return constraint_new(rules, g->tok, &g->constraint, err);
}

kv_status gen_of(const rt_model *m, const gen_cfg *cfg, rt_session *s, gen **out, kv_err *err) {
    gen *g = calloc(1, sizeof *g);
    if (!g) {
        rt_session_free(s);
        return kv_fail(err, KV_ENOMEM, "out of memory");
    }
    g->s = s;
    g->tok = rt_model_tok(m);
    g->n_ctx_train = rt_model_hparams(m)->n_ctx_train;
    g->shift = cfg->shift;
    g->wants_lookup = cfg->lookup;
    g->lookup = cfg->lookup && keeps_all(rt_ctx_cache(rt_session_ctx(s)));
    g->endless = cfg->endless;
    g->stop = cfg->stop;
    g->recall = cfg->recall;
    g->recall_user = cfg->recall_user;
    kv_status st = rt_sampler_new(&cfg->sampling, m, &g->sampler, err);
    if (!st && g->endless)
        st = rt_session_endless(s, 0, 0, err);
    if (!st && cfg->grammar)
        st = constrain(g, m, cfg->grammar, err);
    if (st)
        gen_free(g);
    else
        *out = g;
    return st;
}

void gen_free(gen *g) {
    if (!g)
        return;
    rt_session_free(g->s);
    rt_sampler_free(g->sampler);
    constraint_free(g->constraint);
    free(g->masked);
    free(g);
}

rt_ctx *gen_ctx(gen *g) {
    return rt_session_ctx(g->s);
}

rt_session *gen_session(gen *g) {
    return g->s;
}

rt_sampler *gen_sampler(gen *g) {
    return g->sampler;
}

kv_status gen_take(gen *g, rt_session *s, kv_err *err) {
    kv_status st = g->endless ? rt_session_endless(s, 0, 0, err) : KV_OK;
    if (st)
        return st;
    rt_session_free(g->s);
    g->s = s;
    g->keep = 0;
    g->lookup = g->wants_lookup && keeps_all(rt_ctx_cache(rt_session_ctx(s)));
    return KV_OK;
}

kv_status gen_set_sampling(gen *g, const rt_sampling *how, kv_err *err) {
    rt_sampler *fresh;
    kv_status st = rt_sampler_new(how, rt_session_model(g->s), &fresh, err);
    if (st)
        return st;
    rt_sampler_free(g->sampler);
    g->sampler = fresh;
    return KV_OK;
}

const gen_stats *gen_get_stats(const gen *g) {
    return &g->stats;
}

size_t gen_len(const gen *g) {
    return rt_session_len(g->s);
}

const int32_t *gen_ids(const gen *g) {
    return rt_session_ids(g->s);
}

kv_status gen_set_keep(gen *g, size_t keep, kv_err *err) {
    g->keep = keep;
    return g->endless ? rt_session_endless(g->s, (uint32_t)keep, 0, err) : KV_OK;
}

uint64_t gen_forgotten(const gen *g, uint32_t *at_once) {
    uint32_t from;
    *at_once = rt_session_forgets(g->s, &from);
    return rt_session_forgotten(g->s);
}

uint64_t gen_dropped(const gen *g) {
    return g->dropped;
}

kv_status gen_append(gen *g, const int32_t *ids, size_t n, kv_err *err) {
    return rt_session_add(g->s, ids, n, err);
}

void gen_truncate(gen *g, size_t n) {
    if (n < gen_len(g))
        rt_session_go_back(g->s, (uint32_t)n);
}

/* What the session need not read, as it was read before. */
static kv_status recall(gen *g, const int32_t *ids, size_t n, kv_err *err) {
    const double started = clock_now();
    size_t read = 0;
    kv_status st = g->recall(g->recall_user, g->s, ids, n, &read, err);
    g->stats.prompt_tokens += read;
    g->stats.prompt_seconds += read ? clock_now() - started : 0;
    return st;
}

kv_status gen_set(gen *g, const int32_t *ids, size_t n, kv_err *err) {
    uint32_t reused;
    kv_status st = g->recall && !gen_len(g) ? recall(g, ids, n, err) : KV_OK;
    return st ? st : rt_session_prompt(g->s, ids, n, &reused, err);
}

/* What the context has not seen yet is a prompt: dropping its beginning would answer something else than was asked. */
static size_t droppable(gen *g) {
    const size_t seen = rt_ctx_len(gen_ctx(g));
    return seen > g->keep ? seen - g->keep : 0;
}

static kv_status too_long(gen *g, kv_err *err) {
    const uint32_t n_ctx = rt_ctx_n_ctx(gen_ctx(g));
    const size_t n = gen_len(g);
    const char *why = g->shift                    ? "; what is asked now may not be dropped"
                      : n - n_ctx <= droppable(g) ? " or --context-shift"
                                                  : "";
    size_t enough = 256;
    while (enough < n + n / 4)
        enough *= 2;
    enough = enough > g->n_ctx_train ? g->n_ctx_train : enough;
    if (n < enough)
        return kv_fail(err, KV_ERANGE, "the context of %u tokens is full: %zu are needed; use --ctx %zu%s", n_ctx, n, enough,
                       why);
    return kv_fail(err, KV_ERANGE,
                   "the context of %u tokens is full: %zu are needed, and the model was trained for %u; give it less text%s",
                   n_ctx, n, g->n_ctx_train, why);
}

static kv_status make_room(gen *g, kv_err *err) {
    const size_t n_ctx = rt_ctx_n_ctx(gen_ctx(g)), n = gen_len(g);
    if (n <= n_ctx || g->endless)
        return KV_OK;
    const size_t over = n - n_ctx, rest = n > g->keep ? n - g->keep : 0;
    const size_t may = droppable(g);
    if (!g->shift || over > may)
        return too_long(g, err);
    size_t drop = rest / 2;
    if (drop > may)
        drop = may;
    if (drop < over)
        drop = over;
    rt_session_cut(g->s, (uint32_t)g->keep, (uint32_t)drop);
    g->dropped += drop;
    return KV_OK;
}

static bool go_on(void *user, double done) {
    const gen *g = user;
    (void)done;
    return !g->stop || !g->stop();
}

/* Read what was asked, and remember the place: it may be answered once more. */
static kv_status read_prompt(gen *g, kv_progress progress, void *user, kv_err *err) {
    if (!gen_len(g))
        return kv_fail(err, KV_EINVAL, "the prompt is empty");
    if (rt_session_is_read(g->s))
        return KV_OK;
    const double started = clock_now();
    const size_t from = rt_ctx_len(gen_ctx(g)), n = gen_len(g); /* what is forgotten while it is read was read, too */
    kv_status st = rt_session_read(g->s, progress, user, err);
    if (st || (st = rt_session_checkpoint(g->s, err)))
        return st;
    g->stats.prompt_tokens += from < n ? n - from : 1; /* the last is read again for what comes next */
    g->stats.prompt_seconds += clock_now() - started;
    return KV_OK;
}

kv_status gen_read(gen *g, kv_progress progress, void *user, kv_err *err) {
    kv_status st = make_room(g, err);
    return st ? st : read_prompt(g, progress, user, err);
}

static void show(gen *g, gen_emit emit, void *user, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++)
        g->stats.last_visible += !isspace((unsigned char)text[i]);
    if (len)
        emit(user, text, len);
}

/* What is due, and guesses of what comes after it. */
static kv_status read_next(gen *g, kv_err *err) {
    if (rt_session_is_read(g->s))
        return KV_OK;
    rt_guesser_learn(&g->guesser, rt_session_guessed_right(g->s));
    return g->lookup ? rt_session_read_ahead(g->s, &g->guesser, err) : rt_session_read(g->s, NULL, NULL, err);
}

/* Choose a token; where a grammar refuses it, once more from those that it does not. */
static kv_status choose(gen *g, int32_t *id, kv_err *err) {
    const float *logits = rt_session_logits(g->s);
    kv_status st = KV_OK;
    *id = rt_sample(g->sampler, logits, gen_ids(g), gen_len(g));
    if (!g->constraint || constraint_allows(g->constraint, *id, &st))
        return KV_OK;
    memcpy(g->masked, logits, tok_n_vocab(g->tok) * sizeof *logits);
    if ((st = constraint_mask(g->constraint, g->masked, err)))
        return st;
    *id = rt_sample(g->sampler, g->masked, gen_ids(g), gen_len(g));
    return KV_OK;
}

/* Choose a token, add it and show the text that it completes. */
static kv_status answer_one(gen *g, gen_emit emit, void *user, bool *done, kv_err *err) {
    int32_t id;
    const char *text;
    size_t len;
    *done = g->constraint && constraint_is_over(g->constraint);
    kv_status st = *done ? KV_OK : choose(g, &id, err);
    if (st || *done || (*done = tok_is_eog(g->tok, id)))
        return st;
    if ((g->constraint && (st = constraint_take(g->constraint, id, err))) || (st = rt_session_say(g->s, id, &text, &len, err)))
        return st;
    show(g, emit, user, text, len);
    g->stats.answer_tokens++;
    g->stats.last_tokens++;
    return KV_OK;
}

kv_status gen_answer(gen *g, int64_t n_max, gen_emit emit, void *user, gen_end *end, kv_err *err) {
    *end = GEN_LIMIT;
    g->stats.last_tokens = g->stats.last_visible = 0;
    if (g->constraint)
        constraint_restart(g->constraint);
    kv_status st = make_room(g, err);
    if (st || (st = read_prompt(g, go_on, g, err)))
        return st;
    const double started = clock_now();
    for (int64_t i = 0; i != n_max && *end == GEN_LIMIT; i++) {
        bool done;
        /* A shift or the last token may have to be read first. */
        if ((st = make_room(g, err)) || (st = read_next(g, err)))
            break;
        if (g->stop && g->stop())
            *end = GEN_STOPPED;
        else if ((st = answer_one(g, emit, user, &done, err)))
            break;
        else if (done)
            *end = GEN_DONE;
    }
    g->stats.answer_seconds += clock_now() - started;
    const char *rest;
    size_t len = 0;
    kv_status flushed = rt_session_said(g->s, &rest, &len, st ? NULL : err);
    if (!flushed)
        show(g, emit, user, rest, len);
    return st ? st : flushed;
}
