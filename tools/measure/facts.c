/* Running documents: settings one by one, lengths, documents; and counting. */
#include "measure/facts.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- documents ---- */

kv_status facts_set_new(const facts_cfg *cfg, const ask_frame *f, facts_set *out, kv_err *err) {
    facts_set s = {.cfg = *cfg, .v = calloc(cfg->n_tokens * cfg->docs, sizeof *s.v)};
    kv_status st = s.v ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for the documents");
    *out = (facts_set){0};
    for (size_t i = 0; i < cfg->n_tokens * cfg->docs && !st; i++) {
        st = facts_doc_new(cfg, f, i / cfg->docs, i % cfg->docs, &s.v[s.n], err);
        if (!st)
            s.n_questions += s.v[s.n++].n;
    }
    if (st)
        facts_set_free(&s);
    *out = s;
    return st;
}

void facts_set_free(facts_set *s) {
    for (size_t i = 0; i < s->n; i++)
        facts_doc_free(&s->v[i]);
    free(s->v);
    *s = (facts_set){0};
}

/* ---- asking ---- */

typedef struct run {
    const facts_job *job;
    ask_reply *replies;     /* (n_questions) of the reference */
    double done, upto, all; /* tokens; upto: what is done when the document is */
    kv_progress progress;
    void *user;
} run;

static bool advance(void *user, size_t tokens) {
    run *r = user;
    r->done = r->done + (double)tokens < r->upto ? r->done + (double)tokens : r->upto;
    return !r->progress || r->progress(r->user, r->done / r->all);
}

static kv_status open_asker(run *r, const eval_setting *s, uint32_t ctx, asker **out, kv_err *err) {
    ask_cfg cfg = {.ctx = s->cache, .answer_tokens = FACTS_ANSWER_TOKENS, .progress = advance, .user = r};
    kv_err why = {0};
    cfg.ctx.n_ctx = ctx;
    cfg.ctx.n_batch = 0;
    kv_status st = asker_new(r->job->m, &cfg, out, &why);
    return st ? kv_fail(err, st, "setting '%s': %s", s->name, why.msg) : KV_OK;
}

/* How likely the reference's answers are, of a document that was read. */
static kv_status rate(asker *a, const qa_test *t, const ask_reply *replies, double *logprob, kv_err *err) {
    ask_turn turns[FACTS_MOST_QUESTIONS] = {0};
    const size_t n = t->questions->n;
    for (size_t i = 0; i < n; i++)
        turns[i] = (ask_turn){.tail = &t->tails[i], .given = &replies[i]};
    const kv_status st = asker_ask(a, turns, n, err);
    for (size_t i = 0; i < n; i++)
        logprob[i] = turns[i].reply.logprob;
    return st;
}

/* Questions `first` and on are those of this document. */
static kv_status ask_document_of(run *r, asker *a, const facts_doc *d, bool reference, size_t first, facts_result *to,
                                 kv_err *err) {
    qa_question q[FACTS_MOST_QUESTIONS] = {{0}};
    const qa_list list = {.v = q, .n = d->n, .how = FACTS_HOW};
    ask_reply *replies = r->replies + first;
    qa_test t = {0};
    for (size_t i = 0; i < d->n; i++)
        q[i] = (qa_question){.text = d->q[i].text, .wanted = d->q[i].wanted};
    kv_status st = qa_test_new(r->job->frame, d->text, d->len, &list, &t, err);
    if (!st)
        st = asker_read(a, t.document.v, t.document.n, err);
    if (!st && to->answered)
        st = qa_ask(a, &t, to->answers + first, reference ? replies : NULL, err);
    if (!st && !reference && r->job->rates)
        st = rate(a, &t, replies, to->logprob + first, err);
    for (size_t i = 0; i < d->n && !st && reference; i++)
        to->logprob[first + i] = replies[i].logprob;
    qa_test_free(&t);
    return st;
}

static double work(const facts_doc *d) {
    enum { QUESTION_COST = 50 }; /* tokens that a question with its answer costs about as much time as */
    return (double)d->n_tokens + (double)d->n * QUESTION_COST;
}

static kv_status run_setting(run *r, size_t i_setting, facts_result *out, kv_err *err) {
    const facts_set *set = r->job->set;
    const bool reference = i_setting == r->job->reference;
    const double started = clock_now();
    asker *a = NULL;
    size_t at = 0;
    out->answered = reference || r->job->answers;
    out->answers = calloc(set->n_questions, sizeof *out->answers);
    out->logprob = calloc(set->n_questions, sizeof *out->logprob);
    kv_status st =
        out->answers && out->logprob ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for %zu answers", set->n_questions);
    for (size_t i = 0; i < set->n && !st; i++) {
        const facts_doc *d = &set->v[i];
        if (!i || d->i_length != d[-1].i_length) {
            asker_free(a);
            a = NULL;
            if ((st = open_asker(r, &r->job->settings[i_setting], set->cfg.tokens[d->i_length], &a, err)))
                break;
            const kv_cache_info info = asker_cache_info(a);
            out->kv_bytes[d->i_length] = info.bytes;
            out->kv_bytes_f16[d->i_length] = info.bytes_f16;
            out->bits_k = info.bits_k;
            out->bits_v = info.bits_v;
        }
        const double before = r->upto;
        r->upto += work(d);
        st = ask_document_of(r, a, d, reference, at, out, err);
        r->done = before + work(d);
        at += d->n;
    }
    asker_free(a);
    out->seconds = clock_now() - started;
    return st;
}

/* Whether all settings can be used at all lengths. */
static kv_status try_out(run *r, kv_err *err) {
    const facts_cfg *cfg = &r->job->set->cfg;
    kv_status st = KV_OK;
    for (size_t i = 0; i < r->job->n * cfg->n_tokens && !st; i++) {
        asker *a = NULL;
        st = open_asker(r, &r->job->settings[i % r->job->n], cfg->tokens[i / r->job->n], &a, err);
        asker_free(a);
    }
    return st;
}

kv_status facts_run(const facts_job *job, kv_progress progress, void *user, facts_result *out, kv_err *err) {
    const facts_set *s = job->set;
    run r = {.job = job, .progress = progress, .user = user, .replies = calloc(s->n_questions, sizeof *r.replies)};
    kv_status st = r.replies ? try_out(&r, err) : kv_fail(err, KV_ENOMEM, "out of memory for %zu answers", s->n_questions);
    memset(out, 0, job->n * sizeof *out);
    for (size_t i = 0; i < s->n; i++)
        r.all += work(&s->v[i]) * (double)job->n;
    if (!st)
        st = run_setting(&r, job->reference, &out[job->reference], err);
    for (size_t i = 0; i < job->n && !st; i++)
        if (i != job->reference)
            st = run_setting(&r, i, &out[i], err);
    for (size_t i = 0; i < job->n && st; i++)
        facts_result_free(&out[i]);
    free(r.replies);
    return st;
}

void facts_result_free(facts_result *r) {
    free(r->answers);
    free(r->logprob);
    *r = (facts_result){0};
}

/* ---- counting ---- */

static bool counts(const facts_doc *d, const facts_question *q, facts_where w) {
    return (w.style < 0 || d->style == w.style) && (w.hops < 0 || (int)q->hops == w.hops) &&
           (w.i_length < 0 || (int)d->i_length == w.i_length);
}

ask_tally facts_tally(const facts_set *s, const facts_result *r, facts_where w) {
    ask_tally t = {0};
    const qa_answer *a = r->answers;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->v[i].n; k++, a++)
            if (r->answered && counts(&s->v[i], &s->v[i].q[k], w)) {
                t.n++;
                t.hits += a->right;
            }
    return t;
}

paired facts_compare(const facts_set *s, const facts_result *first, const facts_result *other, facts_where w) {
    paired p = {0};
    const qa_answer *a = first->answers, *b = other->answers;
    for (size_t i = 0; i < s->n; i++)
        for (size_t k = 0; k < s->v[i].n; k++, a++, b++)
            if (other->answered && counts(&s->v[i], &s->v[i].q[k], w)) {
                p.n++;
                p.lost += a->right && !b->right;
                p.won += !a->right && b->right;
            }
    return p;
}

facts_loss facts_lost(const facts_set *s, const facts_result *first, const facts_result *other, facts_where w) {
    double sum = 0, squares = 0, n = 0;
    for (size_t i = 0, at = 0; i < s->n; i++)
        for (size_t k = 0; k < s->v[i].n; k++, at++)
            if (counts(&s->v[i], &s->v[i].q[k], w)) {
                const double lost = first->logprob[at] - other->logprob[at];
                sum += lost;
                squares += lost * lost;
                n++;
            }
    const double mean = sum / n;
    return (facts_loss){mean, sqrt(fmax(0, squares / n - mean * mean) / (n - 1))};
}
