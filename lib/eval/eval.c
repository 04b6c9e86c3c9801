/* Perplexity and KL divergence of cache settings, against an exact cache on the same tokens.
 *
 * Logits are wanted for half of all tokens and are wide (n_vocab floats), so scored tokens run in slices: the baseline
 * first, then one setting after the other into the same buffer, each scored at once. Rows are scored in parallel, each into its
 * own place; sums run over those places in order afterwards, so that no figure depends on the number of threads, nor on what
 * else is measured.
 *
 * Standard errors: of the mean over tokens (as llama.cpp does); exp(mean) by the delta method; PPL against the baseline's from
 * the differences per token, in which what the text itself varies cancels.
 */
#include "eval/eval.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_SLICE = 64, /* scored tokens per batch: more where the vocabulary is small */
    SLICE_LOGITS = 1 << 25,
    FEED = 256,  /* tokens per batch where no logits are wanted */
    SHORTEST = 4 /* tokens of context */
};

/* One scored token. */
typedef struct score {
    double nll, nll_base; /* of the token that really comes next */
    double kld;
    bool same_top;
} score;

/* A setting being measured. */
typedef struct setting {
    rt_ctx *c;
    score *scores; /* (chunks * scored tokens of a chunk) */
    double reads;  /* kv_cache_info.reads of all chunks */
    double timed;  /* seconds of the tokens that are timed */
} setting;

typedef struct run {
    const rt_model *m;
    const eval_cfg *cfg;
    rt_ctx *base;      /* NULL: no baseline */
    setting *settings; /* (n_settings): the group that runs now */
    size_t n_settings;
    uint32_t slice;              /* scored tokens per batch */
    float *logits, *logits_base; /* (slice, n_vocab) */
    double *sorted;              /* as many as a setting has scores */
    int32_t *chunk;
    size_t n_scores; /* of each setting, so far */
    uint32_t chunks;
    kv_progress_part *group; /* what runs now, of the whole */
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

/* Tell how far the group is, at a position of a chunk; KV_ECANCEL when told to stop. */
static kv_status report(const run *r, uint32_t index, double at, kv_err *err) {
    const double done = (index + at / (r->cfg->ctx - 1)) / r->chunks;
    if (!kv_progress_of_part(r->group, done))
        return kv_fail(err, KV_ECANCEL, "stopped while measuring");
    return KV_OK;
}

/* Of the token at position `at`, whose logits are those of a setting; the baseline's are row `row` of its own. */
static score score_of(const run *r, const float *logits, size_t row, uint32_t at) {
    const size_t n_vocab = rt_model_hparams(r->m)->n_vocab;
    return score_row(logits, r->base ? r->logits_base + row * n_vocab : NULL, n_vocab, r->chunk[at + 1]);
}

typedef struct score_job {
    const run *r;
    uint32_t at; /* position of the first */
    score *out;
} score_job;

static void score_some(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    const score_job *j = arg;
    const size_t n_vocab = rt_model_hparams(j->r->m)->n_vocab;
    for (size_t i = first; i < end; i++)
        j->out[i] = score_of(j->r, j->r->logits + i * n_vocab, i, j->at + (uint32_t)i);
}

/* Run tokens [at, at + n) of the chunk through one setting; with `scored`, score what they predict. */
static kv_status step(const run *r, const setting *l, uint32_t at, uint32_t n, bool scored, kv_err *err) {
    kv_status st = rt_forward(l->c, r->chunk + at, n, scored ? n : 0, r->logits, err);
    if (!st && scored)
        rt_for(rt_ctx_exec(l->c), n, 1, score_some, &(score_job){r, at, l->scores + r->n_scores});
    return st;
}

/* The same through all settings, one after the other. */
static kv_status step_all(const run *r, uint32_t index, uint32_t at, uint32_t n, bool scored, kv_err *err) {
    kv_status st = KV_OK;
    for (size_t i = 0; i < r->n_settings && !st; i++)
        if (!(st = step(r, &r->settings[i], at, n, scored, err)))
            st = report(r, index, at + n * (double)(i + 1) / (double)r->n_settings, err);
    return st;
}

/* Tokens [at, at + n) one by one, the settings in turn, timed and scored. */
static kv_status step_timed(const run *r, uint32_t index, uint32_t at, uint32_t n, kv_err *err) {
    for (uint32_t t = 0; t < n; t++) {
        kv_status st = report(r, index, at + t, err);
        if (st)
            return st;
        for (size_t i = 0; i < r->n_settings; i++) {
            setting *l = &r->settings[i];
            const double started = clock_now();
            if ((st = rt_forward(l->c, r->chunk + at + t, 1, 1, r->logits, err)))
                return st;
            l->timed += clock_now() - started;
            l->scores[r->n_scores + t] = score_of(r, r->logits, t, at + t);
        }
    }
    return KV_OK;
}

/* The last token of a chunk predicts nothing that is known; so positions first .. ctx-2 are scored. */
static kv_status run_chunk(run *r, uint32_t index, kv_err *err) {
    const uint32_t ctx = r->cfg->ctx, first = ctx / 2, end = ctx - 1,
                   timed = index + 1 == r->chunks ? end - r->cfg->decode : end;
    if (r->base)
        rt_ctx_clear(r->base);
    for (size_t i = 0; i < r->n_settings; i++)
        rt_ctx_clear(r->settings[i].c);
    for (uint32_t at = 0; at < end;) {
        bool scored = at >= first;
        uint32_t left = (at >= timed ? end : scored ? timed : first) - at, most = scored ? r->slice : FEED;
        uint32_t n = left < most ? left : most;
        kv_status st = r->base ? rt_forward(r->base, r->chunk + at, n, scored ? n : 0, r->logits_base, err) : KV_OK;
        if (!st)
            st = at < timed ? step_all(r, index, at, n, scored, err) : step_timed(r, index, at, n, err);
        if (st)
            return st;
        at += n;
        r->n_scores += scored ? n : 0;
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

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double eval_percentile(const double *sorted, size_t n, double share) {
    double at = share * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

/* What is measured against the baseline. */
static void compare(const run *r, const score *scores, eval_result *out) {
    const size_t n = r->n_scores;
    moments base = moments_of(scores, n, NLL_BASE), diff = moments_of(scores, n, NLL_DIFF), kld = moments_of(scores, n, KLD);
    size_t same = 0;
    for (size_t i = 0; i < n; i++) {
        same += scores[i].same_top;
        r->sorted[i] = scores[i].kld;
    }
    qsort(r->sorted, n, sizeof *r->sorted, ascending);
    out->ppl_base = exp(base.mean);
    out->ppl_base_se = exp(base.mean) * base.se;
    out->kld = kld.mean;
    out->kld_se = kld.se;
    out->kld_p50 = eval_percentile(r->sorted, n, 0.5);
    out->kld_p90 = eval_percentile(r->sorted, n, 0.9);
    out->kld_p99 = eval_percentile(r->sorted, n, 0.99);
    out->kld_p999 = eval_percentile(r->sorted, n, 0.999);
    out->kld_max = r->sorted[n - 1];
    out->top1 = 100.0 * (double)same / (double)n;
    out->dppl_percent = 100 * expm1(diff.mean);
    out->dppl_se = 100 * exp(diff.mean) * diff.se;
}

static void summarise(const run *r, const setting *l, eval_result *out) {
    moments nll = moments_of(l->scores, r->n_scores, NLL);
    kv_cache_info info = kv_cache_get_info(rt_ctx_cache(l->c));
    const double n_read = r->cfg->ctx - 1.0;
    *out = (eval_result){
        .ppl = exp(nll.mean),
        .ppl_se = exp(nll.mean) * nll.se,
        .ppl_base = NAN,
        .ppl_base_se = NAN,
        .kld = NAN,
        .kld_se = NAN,
        .kld_p50 = NAN,
        .kld_p90 = NAN,
        .kld_p99 = NAN,
        .kld_p999 = NAN,
        .kld_max = NAN,
        .top1 = NAN,
        .dppl_percent = NAN,
        .dppl_se = NAN,
        .bits_k = info.bits_k,
        .bits_v = info.bits_v,
        .kv_bytes = info.bytes,
        .kv_bytes_f16 = info.bytes_f16,
        .sinks = info.sinks,
        .newest = info.newest,
        .chosen = info.chosen,
        .held = info.held,
        .reads_percent = 100 * l->reads / (r->chunks * (n_read * (n_read + 1) / 2)),
        .decode_tps = r->cfg->decode ? r->cfg->decode / l->timed : NAN,
        .chunks = r->chunks,
        .tokens = r->n_scores,
    };
    if (r->base)
        compare(r, l->scores, out);
}

static kv_status open_context(const run *r, const eval_setting *s, rt_ctx **out, kv_err *err) {
    rt_ctx_cfg cfg = s->cache;
    kv_err why = {0};
    cfg.n_ctx = r->cfg->ctx;
    cfg.n_batch = FEED < r->cfg->ctx ? FEED : r->cfg->ctx;
    kv_status st = rt_ctx_new(r->m, &cfg, out, &why);
    return !st ? KV_OK : s->name ? kv_fail(err, st, "setting '%s': %s", s->name, why.msg) : kv_fail(err, st, "%s", why.msg);
}

static size_t scores_of_chunk(const eval_cfg *cfg) {
    return cfg->ctx - 1 - cfg->ctx / 2;
}

/* Everything that all groups share. */
static kv_status open_run(run *r, kv_err *err) {
    const size_t n_vocab = rt_model_hparams(r->m)->n_vocab, ctx = r->cfg->ctx;
    const bool compared = r->cfg->baseline != EVAL_NO_BASELINE;
    eval_setting base = {"baseline", RT_CTX_CFG_DEFAULT};
    base.cache.ctk = base.cache.ctv = r->cfg->baseline;
    base.cache.evict = KV_EVICT_NONE;
    kv_status st = compared ? open_context(r, &base, &r->base, err) : KV_OK;
    if (st)
        return st;
    r->slice = n_vocab > SLICE_LOGITS / LEAST_SLICE ? LEAST_SLICE : (uint32_t)(SLICE_LOGITS / n_vocab);
    r->slice = r->slice < FEED ? r->slice : FEED;
    r->logits = malloc(r->slice * n_vocab * sizeof(float));
    r->logits_base = compared ? malloc(r->slice * n_vocab * sizeof(float)) : NULL;
    r->sorted = malloc(r->chunks * scores_of_chunk(r->cfg) * sizeof *r->sorted);
    r->chunk = malloc(ctx * sizeof *r->chunk);
    if (!r->logits || (compared && !r->logits_base) || !r->sorted || !r->chunk)
        return kv_fail(err, KV_ENOMEM, "out of memory for measuring %u chunks of %zu tokens", r->chunks, ctx);
    return KV_OK;
}

/* Bytes of the cache of every setting, which shows on the way that all of them can be opened. */
static kv_status try_out(const run *r, const eval_setting *settings, size_t n, size_t *bytes, kv_err *err) {
    for (size_t i = 0; i < n; i++) {
        rt_ctx *c;
        kv_status st = open_context(r, &settings[i], &c, err);
        if (st)
            return st;
        bytes[i] = kv_cache_get_info(rt_ctx_cache(c)).bytes;
        rt_ctx_free(c);
    }
    return KV_OK;
}

/* How many of the next n settings run together: at least one, and no more than fit. */
static size_t group_size(const size_t *bytes, size_t n, size_t limit) {
    size_t size = 1, sum = bytes[0];
    while (size < n && (sum += bytes[size]) <= limit)
        size++;
    return size;
}

static void close_group(run *r) {
    for (size_t i = 0; i < r->n_settings; i++) {
        rt_ctx_free(r->settings[i].c);
        free(r->settings[i].scores);
    }
    free(r->settings);
    r->settings = NULL;
    r->n_settings = 0;
}

static kv_status open_group(run *r, const eval_setting *settings, size_t n, kv_err *err) {
    r->n_scores = 0;
    r->settings = calloc(n, sizeof *r->settings);
    if (!r->settings)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu settings", n);
    for (r->n_settings = 0; r->n_settings < n;) {
        setting *l = &r->settings[r->n_settings];
        kv_status st = open_context(r, &settings[r->n_settings++], &l->c, err);
        if (st)
            return st;
        l->scores = malloc(r->chunks * scores_of_chunk(r->cfg) * sizeof *l->scores);
        if (!l->scores)
            return kv_fail(err, KV_ENOMEM, "out of memory for the scores of %u chunks", r->chunks);
    }
    return KV_OK;
}

static kv_status run_group(run *r, const eval_setting *settings, size_t n, const int32_t *tokens, eval_result *out,
                           kv_err *err) {
    const tok *t = rt_model_tok(r->m);
    const uint32_t ctx = r->cfg->ctx;
    kv_status st = open_group(r, settings, n, err);
    for (uint32_t c = 0; c < r->chunks && !st; c++) {
        memcpy(r->chunk, tokens + (size_t)c * ctx, ctx * sizeof *tokens);
        if (tok_add_bos(t) && tok_bos(t) >= 0)
            r->chunk[0] = tok_bos(t);
        st = run_chunk(r, c, err);
        for (size_t i = 0; i < n; i++)
            r->settings[i].reads += kv_cache_get_info(rt_ctx_cache(r->settings[i].c)).reads;
    }
    for (size_t i = 0; i < n && !st; i++)
        summarise(r, &r->settings[i], &out[i]);
    close_group(r);
    return st;
}

static kv_status count_chunks(run *r, size_t n_tokens, kv_err *err) {
    const uint32_t ctx = r->cfg->ctx;
    if (ctx < SHORTEST)
        return kv_fail(err, KV_EINVAL, "a context of %u tokens is too short to measure anything; take at least %d", ctx,
                       SHORTEST);
    if (r->cfg->decode > scores_of_chunk(r->cfg))
        return kv_fail(err, KV_EINVAL, "%u tokens to time are more than the %zu that are scored of a context of %u",
                       r->cfg->decode, scores_of_chunk(r->cfg), ctx);
    if (n_tokens < ctx)
        return kv_fail(err, KV_ERANGE,
                       "the text has %zu tokens, fewer than one chunk of %u; give more text or take shorter chunks", n_tokens,
                       ctx);
    const size_t whole = n_tokens / ctx;
    if (r->cfg->chunks > whole)
        return kv_fail(err, KV_ERANGE, "the text has %zu tokens: %zu chunks of %u, not %u", n_tokens, whole, ctx,
                       r->cfg->chunks);
    r->chunks = r->cfg->chunks ? r->cfg->chunks : whole > UINT32_MAX ? UINT32_MAX : (uint32_t)whole;
    return KV_OK;
}

kv_status eval_run(const rt_model *m, const eval_cfg *cfg, const eval_setting *settings, size_t n_settings,
                   const int32_t *tokens, size_t n_tokens, kv_progress progress, void *user, eval_result *out, kv_err *err) {
    const double started = clock_now();
    kv_progress_part group = {progress, user, 0, 1};
    run r = {.m = m, .cfg = cfg, .group = &group};
    size_t *bytes = NULL;
    kv_status st = count_chunks(&r, n_tokens, err);
    if (st || (st = open_run(&r, err)))
        goto done;
    bytes = malloc(n_settings * sizeof *bytes);
    if (!bytes) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu settings", n_settings);
        goto done;
    }
    if ((st = try_out(&r, settings, n_settings, bytes, err)))
        goto done;
    for (size_t at = 0, n; at < n_settings; at += n) {
        n = group_size(bytes + at, n_settings - at, cfg->cache_bytes ? cfg->cache_bytes : EVAL_CACHE_BYTES);
        group.from = (double)at / (double)n_settings;
        group.to = (double)(at + n) / (double)n_settings;
        if ((st = run_group(&r, settings + at, n, tokens, out + at, err)))
            goto done;
    }
    for (size_t i = 0; i < n_settings; i++)
        out[i].seconds = clock_now() - started;
done:
    rt_ctx_free(r.base);
    free(r.logits);
    free(r.logits_base);
    free(r.sorted);
    free(r.chunk);
    free(bytes);
    return st;
}
