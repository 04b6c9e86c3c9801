/* Fitting runs text through the model, forward and backward, and hands keys, values and their gradients to calib; measuring is
 * eval_run. */
#include "calibrate.h"

#include "backward.h"
#include "calib.h"
#include "calibrate_text.h"
#include "eval.h"
#include "kernels/kernels.h"

#include <stdio.h>

/* Memory for samples decides how many there are: more than SAMPLES_MOST gain nothing, fewer than SAMPLES_LEAST fit badly. */
enum { SAMPLES_LEAST = 512, SAMPLES_MOST = 4096 };
static const double SAMPLE_BYTES = 256e6;

typedef struct run {
    const rt_model *m;
    const calibrate_cfg *cfg;
    const calibrate_text *text;
    cal_stats *stats;
    prof *p;
    bool (*progress)(void *, double);
    void *user;
    double from, to; /* this phase's part of the progress */
} run;

static bool report(void *user, double done) {
    run *r = user;
    return !r->progress || r->progress(r->user, r->from + (r->to - r->from) * done);
}

static void phase(run *r, double share) {
    r->from = r->to;
    r->to += share;
}

static void tap(void *user, const rt_backward_view *v) {
    run *r = user;
    const cal_batch b = {.layer = v->layer,
                         .n = v->n,
                         .entropy_from = r->cfg->ctx / 2,
                         .k = v->k,
                         .v = v->v,
                         .dk = v->dk,
                         .dv = v->dv,
                         .entropy = v->entropy};
    cal_stats_add(r->stats, &b, rt_model_exec(r->m)->n_threads);
}

/* Run every chunk of text through the model, forward and backward. */
static kv_status gather(run *r, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(r->m);
    const uint32_t ctx = r->cfg->ctx, n = r->text->n_fit;
    const double from = r->from, share = (r->to - r->from) / n;
    double samples = SAMPLE_BYTES / ((double)hp->n_layer * hp->n_kv_head * hp->head_dim * 2 * sizeof(float));
    cal_shape shape = {hp->n_layer, hp->n_head, hp->n_kv_head, hp->head_dim, r->cfg->sinks, 0, n * (ctx - r->cfg->sinks)};
    shape.n_samples = samples < SAMPLES_LEAST ? SAMPLES_LEAST : samples > SAMPLES_MOST ? SAMPLES_MOST : (uint32_t)samples;
    kv_status st = cal_stats_new(&shape, &r->stats, err);
    for (uint32_t i = 0; i < n && !st; i++) {
        r->from = from + i * share, r->to = r->from + share;
        const rt_backward_cfg cfg = {.seed = r->cfg->seed + i,
                                     .window = r->cfg->window,
                                     .tap = tap,
                                     .tap_user = r,
                                     .progress = report,
                                     .progress_user = r};
        st = rt_backward(r->m, r->text->fit + (size_t)i * ctx, ctx, &cfg, err);
    }
    return st;
}

/* Who the profile is for and how it was made. */
static void describe(run *r) {
    const rt_hparams *hp = rt_model_hparams(r->m);
    prof *p = r->p;
    snprintf(p->model_hash, sizeof p->model_hash, "%s", rt_model_hash(r->m));
    snprintf(p->model_name, sizeof p->model_name, "%s", hp->name);
    snprintf(p->arch, sizeof p->arch, "%s", hp->arch);
    snprintf(p->tool_version, sizeof p->tool_version, "%s", KV_TOOL_VERSION);
    snprintf(p->text_hash, sizeof p->text_hash, "%s", r->text->hash);
    p->calib_tokens = r->text->n_fit * r->cfg->ctx;
    p->calib_ctx = r->cfg->ctx;
    p->entropy_sinks = 0; /* entropy is that of the whole attention, sinks included */
    p->seed = r->cfg->seed;
    p->target_bits = r->cfg->bits;
    p->sinks = r->cfg->sinks;
    p->window = r->cfg->window;
}

static kv_status solve(run *r, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(r->m);
    cal_cfg cfg = CAL_CFG_DEFAULT;
    cfg.bits = r->cfg->bits;
    cfg.search = rt_model_exec(r->m)->k->tc_search;
    cfg.n_threads = rt_model_exec(r->m)->n_threads;
    kv_status st = prof_new(hp->n_layer, hp->n_head, hp->n_kv_head, hp->head_dim, &r->p, err);
    if (st)
        return st;
    describe(r);
    return cal_solve(r->stats, &cfg, r->p, report, r, err);
}

/* An entry of prof.measured. */
static prof_measured entry(const run *r, uint32_t window, const eval_result *got) {
    const rt_hparams *hp = rt_model_hparams(r->m);
    const double elements = (double)hp->n_layer * hp->n_kv_head * hp->head_dim;
    prof_measured m = {
        .ctx = r->cfg->ctx,
        .tokens = (uint32_t)got->tokens,
        .kld = got->kld,
        .kld_se = got->kld_se,
        .dppl_percent = got->dppl_percent,
        .top1 = got->top1,
        .bits_k = got->bits_k,
        .bits_v = got->bits_v,
        .bytes_per_token = elements * (got->bits_k + got->bits_v) / 8,
        .f16_bytes_per_token = elements * (16 + 16) / 8,
    };
    snprintf(m.text, sizeof m.text, "%s, held-out part; window %u, sinks %u", r->text->name, window, r->cfg->sinks);
    return m;
}

static kv_status check(const calibrate_cfg *cfg, const rt_model *m, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(m);
    if (cfg->ctx > hp->n_ctx_train)
        return kv_fail(err, KV_EINVAL, "--ctx %u is more than the %u tokens that the model was trained for", cfg->ctx,
                       hp->n_ctx_train);
    if (cfg->sinks >= cfg->ctx / 2)
        return kv_fail(err, KV_EINVAL, "--sinks %u leave too little of a chunk of %u tokens", cfg->sinks, cfg->ctx);
    return KV_OK;
}

kv_status calibrate_fit(const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text,
                        bool (*progress)(void *user, double done), void *user, prof **out, kv_err *err) {
    run r = {.m = m, .cfg = cfg, .text = text, .progress = progress, .user = user};
    const double reading = 0.7; /* of the time; solving takes the rest */
    kv_status st = check(cfg, m, err);
    if (st)
        goto done;
    phase(&r, reading);
    if ((st = gather(&r, err)))
        goto done;
    phase(&r, 1 - reading);
    if ((st = solve(&r, err)))
        goto done;
    *out = r.p;
    r.p = NULL;
done:
    cal_stats_free(r.stats);
    prof_free(r.p);
    return st;
}

kv_status calibrate_measure(const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text,
                            bool (*progress)(void *user, double done), void *user, prof *p, kv_err *err) {
    run r = {.m = m, .cfg = cfg, .text = text, .progress = progress, .user = user, .to = 1};
    const eval_cfg how = {.ctx = cfg->ctx, .chunks = text->n_held, .baseline = KV_F32};
    const uint32_t windows[] = {cfg->window, 0};
    const size_t n = cfg->window ? 2 : 1;
    eval_setting settings[2];
    eval_result got[2];
    for (size_t i = 0; i < n; i++) {
        settings[i] = (eval_setting){NULL, RT_CTX_CFG_DEFAULT};
        settings[i].cache.profile = p;
        settings[i].cache.window = (int)windows[i];
    }
    kv_status st = eval_run(m, &how, settings, n, text->held, (size_t)text->n_held * cfg->ctx, report, &r, got, err);
    if (st)
        return st;
    for (size_t i = 0; i < n; i++)
        p->measured[p->n_measured++] = entry(&r, windows[i], &got[i]);
    prof_round(p);
    return KV_OK;
}
