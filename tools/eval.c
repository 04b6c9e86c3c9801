/* Perplexity and KL divergence of a cache setting, against the f32 cache on the same tokens.
 *
 * Logits are wanted for half of all tokens and are wide (n_vocab floats), so scored tokens run in slices of SLICE. Rows are
 * scored in parallel, each into its own place; sums run over those places in order afterwards, so that no figure depends on
 * the number of threads.
 *
 * Standard errors: of the mean over tokens (as llama.cpp does); exp(mean) by the delta method; PPL against the baseline's from
 * the differences per token, in which what the text itself varies cancels.
 */
#include "eval.h"

#include "cli.h"

#include <math.h>
#include <stdlib.h>

enum {
    SLICE = 64,  /* scored tokens per batch */
    FEED = 256,  /* tokens per batch where no logits are wanted */
    SHORTEST = 4 /* tokens of context */
};

/* One scored token. */
typedef struct score {
    double nll, nll_base; /* of the token that really comes next */
    double kld;
    bool same_top;
} score;

typedef struct run {
    const rt_model *m;
    const eval_cfg *cfg;
    rt_ctx *set, *base; /* base == NULL: no baseline */
    float *logits_set, *logits_base;
    int32_t *chunk;
    score *scores;
    size_t n_scores;
    uint32_t chunks;
    bool (*progress)(void *, double);
    void *user;
} run;

static size_t top_of(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* log(sum(exp(x))), max being the greatest; with diff != NULL also sum(p * (x - y)), p = softmax(x), into *diff. */
static double log_sum_exp(const float *x, size_t n, double max, const float *y, double *diff) {
    double sum = 0, weighted = 0;
    for (size_t i = 0; i < n; i++) {
        double e = exp(x[i] - max);
        sum += e;
        if (y)
            weighted += e * ((double)x[i] - y[i]);
    }
    if (diff)
        *diff = weighted / sum;
    return max + log(sum);
}

double eval_log_sum_exp(const float *x, size_t n) {
    return log_sum_exp(x, n, x[top_of(x, n)], NULL, NULL);
}

static score score_row(const float *set, const float *base, size_t n_vocab, int32_t next) {
    score s = {0};
    size_t top = top_of(set, n_vocab);
    double lse = log_sum_exp(set, n_vocab, set[top], NULL, NULL);
    s.nll = lse - set[next];
    if (base) {
        /* KL = sum p (log p - log q) = sum p (x - y) - lse(x) + lse(y): one exponential per logit. */
        double diff;
        size_t base_top = top_of(base, n_vocab);
        double base_lse = log_sum_exp(base, n_vocab, base[base_top], set, &diff);
        s.nll_base = base_lse - base[next];
        s.kld = diff - base_lse + lse;
        s.same_top = top == base_top;
    }
    return s;
}

/* Run tokens [at, at + n) of the chunk through both contexts; with `scored`, score what they predict. */
static kv_status step(run *r, uint32_t at, uint32_t n, bool scored, kv_err *err) {
    const size_t n_vocab = rt_model_hparams(r->m)->n_vocab;
    const uint32_t n_out = scored ? n : 0;
    kv_status st = rt_forward(r->set, r->chunk + at, n, n_out, r->logits_set, err);
    if (!st && r->base)
        st = rt_forward(r->base, r->chunk + at, n, n_out, r->logits_base, err);
    if (st || !scored)
        return st;
    const int n_threads = rt_model_exec(r->m)->n_threads;
    score *out = r->scores + r->n_scores;
#pragma omp parallel for schedule(static) num_threads(n_threads)
    for (uint32_t i = 0; i < n; i++)
        out[i] = score_row(r->logits_set + i * n_vocab, r->base ? r->logits_base + i * n_vocab : NULL, n_vocab,
                           r->chunk[at + i + 1]);
    r->n_scores += n;
    return KV_OK;
}

/* The last token of a chunk predicts nothing that is known; so positions first .. ctx-2 are scored. */
static kv_status run_chunk(run *r, uint32_t index, kv_err *err) {
    const uint32_t ctx = r->cfg->ctx, first = ctx / 2, end = ctx - 1;
    rt_ctx_clear(r->set);
    if (r->base)
        rt_ctx_clear(r->base);
    for (uint32_t at = 0; at < end;) {
        bool scored = at >= first;
        uint32_t left = (scored ? end : first) - at, most = scored ? SLICE : FEED, n = left < most ? left : most;
        kv_status st = step(r, at, n, scored, err);
        if (st)
            return st;
        at += n;
        if (r->progress && !r->progress(r->user, (index + (double)at / end) / r->chunks))
            return kv_fail(err, KV_ECANCEL, "stopped while measuring");
    }
    return KV_OK;
}

typedef struct moments {
    double mean, se;
} moments;

/* Mean and its standard error of one field, or of the difference nll - nll_base. */
typedef enum field { NLL, NLL_BASE, NLL_DIFF, KLD } field;
static double value(const score *s, field f) {
    return f == NLL ? s->nll : f == NLL_BASE ? s->nll_base : f == NLL_DIFF ? s->nll - s->nll_base : s->kld;
}

static moments moments_of(const score *s, size_t n, field f) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += value(&s[i], f);
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        double d = value(&s[i], f) - mean;
        squares += d * d;
    }
    return (moments){mean, n > 1 ? sqrt(squares / (double)n / (double)(n - 1)) : NAN};
}

static void summarise(const run *r, eval_result *out) {
    const size_t n = r->n_scores;
    moments nll = moments_of(r->scores, n, NLL);
    kv_cache_info info = kv_cache_get_info(rt_ctx_cache(r->set));
    *out = (eval_result){
        .ppl = exp(nll.mean),
        .ppl_se = exp(nll.mean) * nll.se,
        .ppl_base = NAN,
        .ppl_base_se = NAN,
        .kld = NAN,
        .kld_se = NAN,
        .top1 = NAN,
        .dppl_percent = NAN,
        .dppl_se = NAN,
        .bits_k = info.bits_k,
        .bits_v = info.bits_v,
        .kv_bytes = info.bytes,
        .kv_bytes_f16 = info.bytes_f16,
        .chunks = r->chunks,
        .tokens = n,
    };
    if (!r->base)
        return;
    moments base = moments_of(r->scores, n, NLL_BASE), diff = moments_of(r->scores, n, NLL_DIFF),
            kld = moments_of(r->scores, n, KLD);
    size_t same = 0;
    for (size_t i = 0; i < n; i++)
        same += r->scores[i].same_top;
    out->ppl_base = exp(base.mean);
    out->ppl_base_se = exp(base.mean) * base.se;
    out->kld = kld.mean;
    out->kld_se = kld.se;
    out->top1 = 100.0 * (double)same / (double)n;
    out->dppl_percent = 100 * expm1(diff.mean);
    out->dppl_se = 100 * exp(diff.mean) * diff.se;
}

static kv_status open_contexts(run *r, kv_err *err) {
    rt_ctx_cfg set = r->cfg->cache, base = RT_CTX_CFG_DEFAULT;
    set.n_ctx = base.n_ctx = r->cfg->ctx;
    set.n_batch = base.n_batch = FEED < r->cfg->ctx ? FEED : r->cfg->ctx;
    base.ctk = base.ctv = KV_F32;
    kv_status st = rt_ctx_new(r->m, &set, &r->set, err);
    if (!st && r->cfg->baseline)
        st = rt_ctx_new(r->m, &base, &r->base, err);
    return st;
}

static kv_status allocate(run *r, kv_err *err) {
    const size_t n_vocab = rt_model_hparams(r->m)->n_vocab, ctx = r->cfg->ctx;
    r->logits_set = malloc(SLICE * n_vocab * sizeof(float));
    r->logits_base = r->base ? malloc(SLICE * n_vocab * sizeof(float)) : NULL;
    r->chunk = malloc(ctx * sizeof *r->chunk);
    r->scores = malloc(r->chunks * (ctx - 1 - ctx / 2) * sizeof *r->scores);
    if (!r->logits_set || (r->base && !r->logits_base) || !r->chunk || !r->scores)
        return kv_fail(err, KV_ENOMEM, "out of memory for measuring %u chunks of %zu tokens", r->chunks, ctx);
    return KV_OK;
}

kv_status eval_ppl(const rt_model *m, const eval_cfg *cfg, const int32_t *tokens, size_t n, bool (*progress)(void *, double),
                   void *user, eval_result *out, kv_err *err) {
    const tok *t = rt_model_tok(m);
    const uint32_t ctx = cfg->ctx;
    const double started = cli_now();
    run r = {.m = m, .cfg = cfg, .progress = progress, .user = user};
    if (ctx < SHORTEST)
        return kv_fail(err, KV_EINVAL, "a context of %u tokens is too short to measure anything; take at least %d", ctx,
                       SHORTEST);
    if (n < ctx)
        return kv_fail(err, KV_ERANGE, "the text has %zu tokens, fewer than one chunk of %u; give more text or a smaller --ctx",
                       n, ctx);
    const size_t whole = n / ctx;
    if (cfg->chunks > whole)
        return kv_fail(err, KV_ERANGE, "the text has %zu tokens: %zu chunks of %u, not %u", n, whole, ctx, cfg->chunks);
    r.chunks = cfg->chunks ? cfg->chunks : whole > UINT32_MAX ? UINT32_MAX : (uint32_t)whole;

    kv_status st = open_contexts(&r, err);
    if (st || (st = allocate(&r, err)))
        goto done;
    for (uint32_t c = 0; c < r.chunks; c++) {
        for (uint32_t i = 0; i < ctx; i++)
            r.chunk[i] = tokens[(size_t)c * ctx + i];
        if (tok_add_bos(t) && tok_bos(t) >= 0)
            r.chunk[0] = tok_bos(t);
        if ((st = run_chunk(&r, c, err)))
            goto done;
    }
    summarise(&r, out);
    out->seconds = cli_now() - started;
done:
    rt_ctx_free(r.set);
    rt_ctx_free(r.base);
    free(r.logits_set);
    free(r.logits_base);
    free(r.chunk);
    free(r.scores);
    return st;
}
