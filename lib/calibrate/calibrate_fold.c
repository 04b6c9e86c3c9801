/* Which scales to fold: those with which attention loses least on text that was fitted on, where they hold on text that
 * is held out, too. Measured are several texts: what scales lose differs from text to text, and
 * by the positions that are read, far more than standard errors over tokens say (docs/lab/fold.md).
 */
#include "calibrate/calibrate_fold.h"

#include "calibrate/calibrate_scales.h"
#include "eval/eval.h"
#include "model/fold.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Long texts to fit on, for all positions; and short ones, for what begins differently: much hangs on the first tokens. */
enum { LONG = 2, LONG_TOKENS = 2048, LONG_LEAST = 256, SHORT = 8, SHORT_TOKENS = 128, MEASURED = 4, MEASURED_TOKENS = 1024 };
static const size_t LONG_BYTES = (size_t)512 << 20; /* of keys, values and queries */
static const double READ = 0.05, SEARCHED = 0.6;    /* of the time */

/* Caches of a model, and what they lose. */
typedef struct losses {
    uint32_t n;
    kv_codec_id cache[PROF_MAX_FOLDINGS];
    eval_result got[PROF_MAX_FOLDINGS];
} losses;

/* Of several texts, one after the other. */
typedef struct sample {
    int32_t *ids;
    uint32_t n, ctx;
} sample;

/* Those of `among`, as bits, that suit the model's heads. */
static kv_status caches_of(const rt_hparams *hp, uint32_t among, losses *out, kv_err *err) {
    kv_status st = KV_OK;
    *out = (losses){0};
    for (int id = 0; id < KV_CODEC_COUNT && out->n < PROF_MAX_FOLDINGS && !st; id++) {
        bool suits = false;
        if (among >> id & 1)
            st = kv_codec_suits(kv_codec_get((kv_codec_id)id), hp->head_dim, &suits, err);
        if (suits)
            out->cache[out->n++] = (kv_codec_id)id;
    }
    return st;
}

/* As many as `most` texts of ctx tokens, or one where there are not as many tokens, from all of n ids. Caller frees ids. */
static kv_status take_sample(const int32_t *ids, size_t n, uint32_t most, uint32_t ctx, sample *out, kv_err *err) {
    *out = (sample){0};
    if (!n)
        return kv_fail(err, KV_ERANGE, "no text to find scales with");
    ctx = ctx < n ? ctx : (uint32_t)n;
    *out = (sample){NULL, n / ctx < most ? (uint32_t)(n / ctx) : most, ctx};
    if (!(out->ids = malloc((size_t)out->n * ctx * sizeof *out->ids)))
        return kv_fail(err, KV_ENOMEM, "out of memory to find scales");
    for (uint32_t i = 0; i < out->n; i++)
        memcpy(out->ids + (size_t)i * ctx, ids + (n / ctx) * i / out->n * ctx, ctx * sizeof *out->ids);
    return KV_OK;
}

/* ---- scales ---- */

/* What is read at once must fit into memory: fewer long texts, then shorter ones. */
static void fit_memory(const rt_hparams *hp, uint32_t *n, uint32_t *ctx) {
    for (*n = LONG, *ctx = LONG_TOKENS; scales_text_bytes(hp, *ctx) > LONG_BYTES / *n && *ctx > LONG_LEAST;) {
        if (*n > 1)
            --*n;
        else
            *ctx /= 2;
    }
}

/* Read up to `most` texts of ctx tokens and add them to texts (n). */
static kv_status read_texts(const calibrate_fold_job *job, uint32_t most, uint32_t ctx, calibrate_progress progress,
                            scales_text *texts, uint32_t *n, kv_err *err) {
    sample from;
    kv_status st = take_sample(job->text->fit, (size_t)job->text->n_fit * job->text->ctx, most, ctx, &from, err);
    for (uint32_t i = 0; i < from.n && !st; i++) {
        if (!progress.call(progress.user, (double)i / from.n))
            st = kv_fail(err, KV_ECANCEL, "interrupted");
        else
            st = scales_text_read(job->fast, from.ids + (size_t)i * from.ctx, from.ctx, &texts[(*n)++], err);
    }
    free(from.ids);
    return st;
}

static kv_status find(const calibrate_fold_job *job, const losses *wanted, calibrate_progress progress, int8_t *e,
                      kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(job->exact);
    scales_text texts[LONG + SHORT] = {0};
    bool shared[PROF_MAX_LAYERS];
    uint16_t unit[PROF_MAX_DIM];
    uint32_t n_long, ctx;
    scales_job search = {.hp = hp,
                         .exec = job->exec,
                         .texts = texts,
                         .n_caches = wanted->n,
                         .unit = unit,
                         .n_units = rt_fold_units(hp, unit),
                         .shared = shared};
    memcpy(search.cache, wanted->cache, wanted->n * sizeof *wanted->cache);
    for (uint32_t l = 0; l < hp->n_layer; l++)
        shared[l] = rt_fold_shared(rt_model_gguf(job->exact), hp, l);
    kv_progress_part part = {progress.call, progress.user, 0, READ};
    const calibrate_progress here = {kv_progress_of_part, &part};
    fit_memory(hp, &n_long, &ctx);
    kv_status st = read_texts(job, n_long, ctx, here, texts, &search.n_texts, err);
    if (!st && !(st = read_texts(job, SHORT, SHORT_TOKENS, here, texts, &search.n_texts, err))) {
        part = (kv_progress_part){progress.call, progress.user, READ, 1};
        st = scales_search(&search, kv_progress_of_part, &part, e, err);
    }
    for (uint32_t i = 0; i < search.n_texts; i++)
        scales_text_free(&texts[i]);
    return st;
}

/* ---- what they are worth ---- */

static kv_status measure(const rt_model *m, const sample *text, calibrate_progress progress, losses *out, kv_err *err) {
    const eval_cfg how = {.ctx = text->ctx, .chunks = text->n, .baseline = KV_F32};
    eval_setting settings[PROF_MAX_FOLDINGS];
    for (uint32_t i = 0; i < out->n; i++) {
        settings[i] = (eval_setting){kv_codec_names[out->cache[i]].name, RT_CTX_CFG_DEFAULT};
        settings[i].cache.ctk = settings[i].cache.ctv = (int)out->cache[i];
    }
    return eval_run(m, &how, settings, out->n, text->ids, (size_t)text->n * text->ctx, progress.call, progress.user, out->got,
                    err);
}

/* Scales, and the model that they are for. */
typedef struct folding {
    const rt_hparams *hp;
    int8_t *e;
} folding;

static kv_status edit(void *user, gguf *g, kv_err *err) {
    const folding *f = user;
    return rt_fold_apply(g, f->hp, f->e, NULL, err);
}

/* The same of the model with scales folded in, which are changed where there is no room for them. */
static kv_status measure_folded(const rt_model *m, int8_t *e, const sample *text, calibrate_progress progress, losses *out,
                                kv_err *err) {
    folding f = {rt_model_hparams(m), e};
    const rt_load_cfg cfg = {.edit = edit, .edit_user = &f};
    rt_model *folded = NULL;
    kv_status st = rt_model_load_cfg(gguf_path(rt_model_gguf(m)), rt_model_exec(m), &cfg, &folded, err);
    if (!st)
        st = measure(folded, text, progress, out, err);
    rt_model_free(folded);
    return st;
}

/* Does every cache that is wanted lose less, and no other one more than it can by chance? */
static bool pays(uint32_t wanted, const losses *before, const losses *after) {
    for (uint32_t i = 0; i < before->n; i++) {
        const double was = before->got[i].kld, is = after->got[i].kld;
        if (!(wanted >> before->cache[i] & 1 ? is < was : is <= was + before->got[i].kld_se))
            return false;
    }
    return true;
}

static void say(uint32_t wanted, uint32_t ctx, const losses *before, const losses *after, prof *p) {
    size_t len = 0;
    p->n_folding = 0;
    for (uint32_t i = 0; i < before->n; i++) {
        const eval_result *was = &before->got[i], *is = &after->got[i];
        p->folding[p->n_folding++] = (prof_folding){.cache = before->cache[i],
                                                    .ctx = ctx,
                                                    .tokens = (uint32_t)was->tokens,
                                                    .before = was->kld,
                                                    .before_se = was->kld_se,
                                                    .after = is->kld,
                                                    .after_se = is->kld_se};
        if (wanted >> before->cache[i] & 1)
            len += (size_t)snprintf(p->fold_for + len, sizeof p->fold_for - len, "%s%s", len ? ", " : "",
                                    kv_codec_names[before->cache[i]].name);
    }
}

static kv_status keep(const rt_hparams *hp, const int8_t *e, prof *p, kv_err *err) {
    kv_status st = KV_OK;
    for (uint32_t l = 0; l < p->n_layer && !st; l++) {
        const size_t n = (size_t)prof_kv_heads(p, l) * p->head_dim;
        if (n && !(st = prof_fold_alloc(p, &p->layers[l], err)))
            for (size_t i = 0; i < n; i++)
                p->layers[l].fold[i] = (float)e[(size_t)l * hp->n_kv_head * hp->head_dim + i];
    }
    return st;
}

/* Keep them if they hold on the text that is held out. */
static kv_status judge(const calibrate_fold_job *job, int8_t *e, calibrate_progress progress, prof *p, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(job->exact);
    losses before, after;
    kv_progress_part part = {progress.call, progress.user, 0, 0.5};
    const calibrate_progress here = {kv_progress_of_part, &part};
    sample held = {0};
    kv_status st = caches_of(hp, CALIBRATE_FOLDS | job->wanted, &before, err);
    after = before;
    if (!st)
        st = take_sample(job->text->held, (size_t)job->text->n_held * job->text->ctx, MEASURED, MEASURED_TOKENS, &held, err);
    if (st || (st = measure(job->exact, &held, here, &before, err)))
        goto done;
    part = (kv_progress_part){progress.call, progress.user, 0.5, 1};
    if ((st = measure_folded(job->exact, e, &held, here, &after, err)) || !pays(job->wanted, &before, &after))
        goto done;
    if (!(st = keep(hp, e, p, err)))
        say(job->wanted, held.ctx, &before, &after, p);
done:
    free(held.ids);
    return st;
}

kv_status calibrate_can_fold(const rt_model *m, kv_err *err) {
    const gguf *g = rt_model_gguf(m);
    if (gguf_overridden(g))
        return kv_fail(err, KV_EINVAL,
                       "%s: scales to fold are found for a model as its file has it: leave out --override-kv and other options "
                       "that set keys",
                       gguf_path(g));
    return rt_fold_check(g, rt_model_hparams(m), err);
}

kv_status calibrate_fold(const calibrate_fold_job *job, calibrate_progress progress, prof *p, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(job->exact);
    losses wanted;
    kv_status st = caches_of(hp, job->wanted, &wanted, err);
    if (st || !wanted.n)
        return st;
    int8_t *e = malloc(rt_fold_count(hp));
    if (!e)
        return kv_fail(err, KV_ENOMEM, "out of memory to find scales");
    kv_progress_part part = {progress.call, progress.user, 0, SEARCHED};
    const calibrate_progress here = {kv_progress_of_part, &part};
    st = find(job, &wanted, here, e, err);
    if (!st) {
        part = (kv_progress_part){progress.call, progress.user, SEARCHED, 1};
        st = judge(job, e, here, p, err);
    }
    if (!st)
        prof_round(p);
    free(e);
    return st;
}
