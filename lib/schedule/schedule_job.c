/* What one request needs: its ids, sampler and rules; and the choice of its next token. */
#include "base/clock.h"
#include "schedule/schedule_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t vocabulary(const rt_model *m) {
    return rt_model_hparams(m)->n_vocab;
}

static kv_status check(const scheduler *s, const sched_request *r, kv_err *err) {
    const uint32_t n_ctx = s->ctx.n_ctx;
    if (!r->ids || !r->n)
        return kv_fail(err, KV_EINVAL, "the prompt is empty");
    if (r->n > n_ctx)
        return kv_fail(err, KV_ERANGE, "the prompt has %zu tokens, and the context %u", r->n, n_ctx);
    if (r->n_top > SCHED_TOP)
        return kv_fail(err, KV_EINVAL, "the %u most likely tokens: at most %d are told", r->n_top, SCHED_TOP);
    for (size_t i = 0; i < r->n; i++)
        if (r->ids[i] < 0 || (uint32_t)r->ids[i] >= vocabulary(s->m))
            return kv_fail(err, KV_EINVAL, "token %zu of the prompt: id %d is outside the vocabulary of %u", i, r->ids[i],
                           vocabulary(s->m));
    return KV_OK;
}

static kv_status take_rules(const scheduler *s, sched_job *j, kv_err *err) {
    if (!j->r.rules)
        return KV_OK;
    if (!(j->masked = malloc(vocabulary(s->m) * sizeof *j->masked)))
        return kv_fail(err, KV_ENOMEM, "out of memory for a vocabulary of %u", vocabulary(s->m));
    return constraint_new(j->r.rules, rt_model_tok(s->m), &j->constraint, err);
}

static kv_status take_embedding(const scheduler *s, sched_job *j, kv_err *err) {
    const uint32_t n_embd = rt_model_hparams(s->m)->n_embd;
    if (j->r.embedding && !j->r.last_token && !(j->sum = calloc(n_embd, sizeof *j->sum)))
        return kv_fail(err, KV_ENOMEM, "out of memory for an embedding of %u dimensions", n_embd);
    return KV_OK;
}

kv_status sched_job_new(const scheduler *s, const sched_request *r, sched_job **out, kv_err *err) {
    kv_status st = check(s, r, err);
    if (st)
        return st;
    sched_job *j = calloc(1, sizeof *j);
    if (!j || !(j->ids = malloc(r->n * sizeof *j->ids))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for a prompt of %zu tokens", r->n);
        goto done;
    }
    memcpy(j->ids, r->ids, r->n * sizeof *j->ids);
    j->r = *r;
    j->r.ids = j->ids;
    j->r.logprobs |= r->n_top > 0;
    j->stats.prompt = (uint32_t)r->n;
    strcpy(j->stamp, s->stamp);
    atomic_init(&j->cancelled, false);
    if ((st = rt_sampler_new(r->sampling ? r->sampling : &RT_SAMPLING_DEFAULT, s->m, &j->sampler, err)) ||
        (st = take_rules(s, j, err)) || (st = take_embedding(s, j, err)))
        goto done;
    *out = j;
    j = NULL;
done:
    sched_job_free(j);
    return st;
}

void sched_job_free(sched_job *j) {
    if (!j)
        return;
    rt_session_free(j->errand.found);
    rt_sampler_free(j->sampler);
    constraint_free(j->constraint);
    free(j->masked);
    free(j->sum);
    free(j->ids);
    free(j);
}

kv_status sched_job_prepend(sched_job *j, const rt_session *context, kv_err *err) {
    const uint32_t n = rt_session_len(context), n_ctx = rt_session_cfg(context)->n_ctx;
    if (j->r.n > n_ctx - n)
        return kv_fail(err, KV_ERANGE, "%s and the prompt have %u and %zu tokens, and the context %u", j->r.context, n, j->r.n,
                       n_ctx);
    int32_t *ids = malloc((n + j->r.n) * sizeof *ids);
    if (!ids)
        return kv_fail(err, KV_ENOMEM, "out of memory for a prompt of %zu tokens", n + j->r.n);
    memcpy(ids, rt_session_ids(context), n * sizeof *ids);
    memcpy(ids + n, j->ids, j->r.n * sizeof *ids);
    free(j->ids);
    j->r.ids = j->ids = ids;
    j->r.n += n;
    j->stats.prompt = (uint32_t)j->r.n;
    return KV_OK;
}

double sched_job_lap(sched_job *j) {
    const double now = clock_now(), passed = now - j->since;
    j->since = now;
    return passed;
}

/* One sum after the other, in the order of the tokens: the same however they came in steps. */
void sched_job_note(sched_job *j, uint32_t n_embd, const float *states, uint32_t n, bool last) {
    for (uint32_t t = 0; j->sum && t < n; t++)
        for (uint32_t i = 0; i < n_embd; i++)
            j->sum[i] += (double)states[(size_t)t * n_embd + i];
    if (!last || !n)
        return;
    for (uint32_t i = 0; i < n_embd; i++)
        j->r.embedding[i] = j->sum ? (float)(j->sum[i] / j->stats.prompt) : states[(size_t)(n - 1) * n_embd + i];
}

/* ---- choosing ---- */

/* Keep the n most likely, best first; of equals the lower id. Returns how many there are now. */
static uint32_t keep_best(sched_choice *top, uint32_t have, uint32_t n, int32_t id, float logit) {
    if (have == n && logit <= top[n - 1].logprob)
        return have;
    uint32_t at = have < n ? have++ : n - 1;
    for (; at && top[at - 1].logprob < logit; at--)
        top[at] = top[at - 1];
    top[at] = (sched_choice){id, logit};
    return have;
}

static double log_sum_exp(const float *x, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += exp(x[i] - max);
    return max + log(sum);
}

static void look_up(const sched_job *j, const float *logits, size_t n_vocab, sched_pick *out) {
    const double all = log_sum_exp(logits, n_vocab);
    uint32_t n = 0;
    for (size_t i = 0; j->r.n_top && i < n_vocab; i++)
        n = keep_best(out->top, n, j->r.n_top, (int32_t)i, logits[i]);
    for (uint32_t i = 0; i < n; i++)
        out->top[i].logprob = (float)(out->top[i].logprob - all);
    out->token.top = out->top;
    out->token.n_top = n;
    out->token.logprob = (float)(logits[out->token.id] - all);
}

/* Where the rules refuse what was chosen, once more from what they do not. */
static kv_status choose(sched_job *j, const rt_session *s, const float *logits, size_t n_vocab, int32_t *id, kv_err *err) {
    kv_status st = KV_OK;
    *id = rt_sample(j->sampler, logits, rt_session_ids(s), rt_session_len(s));
    if (!j->constraint || constraint_allows(j->constraint, *id, &st))
        return KV_OK;
    memcpy(j->masked, logits, n_vocab * sizeof *logits);
    if ((st = constraint_mask(j->constraint, j->masked, err)))
        return st;
    *id = rt_sample(j->sampler, j->masked, rt_session_ids(s), rt_session_len(s));
    return KV_OK;
}

void sched_job_choose(sched_job *j, const rt_session *s, sched_pick *out) {
    const rt_model *m = rt_session_model(s);
    const float *logits = rt_session_logits(s);
    out->token = (sched_token){0};
    out->st = KV_OK;
    out->over = j->constraint && constraint_is_over(j->constraint);
    if (out->over || (out->st = choose(j, s, logits, vocabulary(m), &out->token.id, &out->err)) ||
        (out->over = tok_is_eog(rt_model_tok(m), out->token.id)))
        return;
    if (j->constraint)
        out->st = constraint_take(j->constraint, out->token.id, &out->err);
    if (j->r.logprobs)
        look_up(j, logits, vocabulary(m), out);
}
