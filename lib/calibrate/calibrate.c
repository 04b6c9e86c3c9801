/* Fitting runs text through the model, forward and backward, and hands keys, values and their gradients to calib; measuring is
 * eval_run. */
#include "calibrate/calibrate.h"

#include "backward/backward.h"
#include "calibrate/calibrate_budget.h"
#include "calibrate/calibrate_fold.h"
#include "calibrate/calibrate_saved.h"
#include "eval/eval.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>

/* Memory for samples decides how many there are: more than SAMPLES_MOST gain nothing, fewer than SAMPLES_LEAST fit badly. */
enum { SAMPLES_LEAST = 512, SAMPLES_MOST = 4096 };
static const double SAMPLE_BYTES = 256e6;

struct calibration {
    const calibrate_cfg *cfg;
    const calibrate_text *text;
    rt_hparams hp;
    rt_exec exec; /* the model's, with threads of its own */
    char hash[33];
    calibrate_sums sums;
    uint32_t at; /* window of what is solved and measured */
    bool windowed[PROF_MAX_LAYERS];
    uint16_t heads[PROF_MAX_LAYERS], stored[PROF_MAX_LAYERS]; /* of layers */
    uint32_t long_ctx;                                        /* that losses were measured at, where budgets are made by loss */
    calibrate_saved saved;
};

static void share(const void *exec, size_t n, size_t grain, cal_piece *run, void *arg) {
    rt_for(exec, n, grain, run, arg);
}

static cal_team team_of(const calibration *c) {
    return (cal_team){share, &c->exec};
}

static calibrate_window window_of(const calibrate_cfg *cfg, uint32_t i) {
    return i ? cfg->narrower[i - 1] : (calibrate_window){cfg->window, cfg->frame};
}

/* Whose statistics a pass is for. */
typedef struct tapped {
    const calibration *c;
    cal_stats *stats;
} tapped;

static void tap(void *user, const rt_backward_view *v) {
    const tapped *t = user;
    const calibration *c = t->c;
    const cal_batch b = {.layer = v->layer,
                         .n = v->n,
                         .entropy_from = c->cfg->ctx / 2,
                         .q = v->q,
                         .k = v->k,
                         .v = v->v,
                         .dk = v->dk,
                         .dv = v->dv,
                         .entropy = v->entropy};
    cal_stats_add(t->stats, &b, team_of(c));
}

static bool has_budget(const calibrate_cfg *cfg) {
    return kv_budget_given(cfg->evict.budget);
}

static bool by_loss(const calibrate_cfg *cfg) {
    return has_budget(cfg) && cfg->budget_by == PROF_BY_LOSS;
}

/* Room for the statistics of all chunks. */
static kv_status new_stats(calibration *c, kv_err *err) {
    const rt_hparams *hp = &c->hp;
    double samples = SAMPLE_BYTES / ((double)rt_stored_heads(hp) * hp->head_dim * 2 * sizeof(float));
    cal_shape shape = {
        hp->n_layer, hp->n_head, hp->n_kv_head, hp->head_dim, c->cfg->sinks, 0, c->text->n_fit * (c->cfg->ctx - c->cfg->sinks),
        c->windowed, c->heads,   c->stored};
    shape.n_samples = samples < SAMPLES_LEAST ? SAMPLES_LEAST : samples > SAMPLES_MOST ? SAMPLES_MOST : (uint32_t)samples;
    kv_status st = KV_OK;
    for (uint32_t i = 0; i <= c->cfg->n_narrower && !st; i++)
        st = cal_stats_new(&shape, &c->sums.stats[i], err);
    return st || !by_loss(c->cfg) ? st : cal_losses_new(&shape, &c->sums.losses, err);
}

/* Run a chunk of text through the model, forward and backward, for one window. */
static kv_status gather_chunk(calibration *c, const rt_model *m, uint32_t chunk, uint32_t which, kv_progress_part *part,
                              kv_err *err) {
    const calibrate_window w = window_of(c->cfg, which);
    tapped to = {c, c->sums.stats[which]};
    const rt_backward_cfg cfg = {.seed = c->cfg->seed + chunk,
                                 .window = w.window,
                                 .frame = w.frame,
                                 .tap = tap,
                                 .tap_user = &to,
                                 .progress = kv_progress_of_part,
                                 .progress_user = part};
    return rt_backward(m, c->text->fit + (size_t)chunk * c->cfg->ctx, c->cfg->ctx, &cfg, err);
}

/* Run every chunk of text, once for each window. */
static kv_status gather(calibration *c, const rt_model *m, calibrate_progress progress, kv_err *err) {
    const uint32_t n = c->text->n_fit, windows = c->cfg->n_narrower + 1;
    const double passes = (double)n * windows;
    kv_status st = KV_OK;
    for (uint32_t i = c->saved.done.chunks; i < n && !st; i++) {
        for (uint32_t w = 0; w < windows && !st; w++) {
            const double before = (double)i * windows + w;
            kv_progress_part part = {progress.call, progress.user, before / passes, (before + 1) / passes};
            st = gather_chunk(c, m, i, w, &part, err);
        }
        if (!st)
            calibrate_save(&c->saved, (calibrate_done){i + 1, 0}, &c->sums);
    }
    return st;
}

/* What heads lose that read less. */
static kv_status gather_losses(calibration *c, const rt_model *m, calibrate_progress progress, kv_err *err) {
    calibrate_long texts = {0};
    kv_status st = calibrate_long_texts(m, c->text, c->cfg->seed, &texts, err);
    c->long_ctx = texts.ctx;
    for (uint32_t i = c->saved.done.texts; i < texts.n && !st; i++)
        if (!(st = calibrate_losses(m, c->cfg, &texts, i, c->sums.losses, progress, err)))
            calibrate_save(&c->saved, (calibrate_done){c->text->n_fit, i + 1}, &c->sums);
    calibrate_long_free(&texts);
    return st;
}

/* Both, from where a file of statistics says. */
static kv_status gather_all(calibration *c, const rt_model *m, calibrate_progress progress, kv_err *err) {
    const bool long_texts = by_loss(c->cfg);
    kv_progress_part chunks = {progress.call, progress.user, 0, long_texts ? 0.5 : 1},
                     texts = {progress.call, progress.user, 0.5, 1};
    kv_status st = calibrate_saved_open(&c->saved, m, c->cfg, c->text, &c->sums, err);
    if (!st)
        st = gather(c, m, (calibrate_progress){kv_progress_of_part, &chunks}, err);
    if (!st && long_texts)
        st = gather_losses(c, m, (calibrate_progress){kv_progress_of_part, &texts}, err);
    return st;
}

kv_status calibration_new(const rt_model *m, const calibrate_cfg *cfg, const calibrate_text *text, calibrate_progress progress,
                          calibration **out, kv_err *err) {
    kv_status st = calibrate_check(rt_model_hparams(m), cfg, NULL, err);
    if (st)
        return st;
    calibration *c = calloc(1, sizeof *c);
    if (!c)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    c->cfg = cfg;
    c->text = text;
    c->hp = *rt_model_hparams(m);
    for (uint32_t l = 0; l < c->hp.n_layer; l++)
        c->windowed[l] = rt_layer_swa(&c->hp, l);
    calibrate_heads(&c->hp, c->heads, c->stored);
    snprintf(c->hash, sizeof c->hash, "%s", rt_model_hash(m));
    if ((st = rt_exec_start(rt_model_exec(m), &c->exec, err)) || (st = new_stats(c, err)) ||
        (st = gather_all(c, m, progress, err)))
        calibration_free(c);
    else
        *out = c;
    return st;
}

void calibration_free(calibration *c) {
    if (!c)
        return;
    for (uint32_t i = 0; i <= c->cfg->n_narrower; i++)
        cal_stats_free(c->sums.stats[i]);
    cal_losses_free(c->sums.losses);
    rt_exec_stop(&c->exec);
    free(c);
}

void calibration_use(calibration *c, uint32_t which) {
    c->at = which;
}

/* Who the profile is for and how it was made. */
static void describe(const calibration *c, double bits, prof *p) {
    const calibrate_window w = window_of(c->cfg, c->at);
    snprintf(p->model_hash, sizeof p->model_hash, "%s", c->hash);
    snprintf(p->model_name, sizeof p->model_name, "%s", c->hp.name);
    snprintf(p->arch, sizeof p->arch, "%s", c->hp.arch);
    snprintf(p->tool_version, sizeof p->tool_version, "%s", KV_TOOL_VERSION);
    snprintf(p->text_hash, sizeof p->text_hash, "%s", c->text->hash);
    p->calib_tokens = c->text->n_fit * c->cfg->ctx;
    p->calib_ctx = c->cfg->ctx;
    p->entropy_sinks = 0; /* entropy is that of the whole attention, sinks included */
    p->seed = c->cfg->seed;
    p->target_bits = bits;
    p->sinks = c->cfg->sinks;
    p->window = w.window;
    p->frame = w.frame;
    p->evict = c->cfg->evict;
}

/* What cal_solve says of budgets is advice for half the context; here they are for what was asked. */
static kv_status set_budgets(const calibration *c, prof *p, kv_err *err) {
    const kv_budget asked = c->cfg->evict.budget;
    if (c->sums.losses)
        return cal_budget_by_loss(c->sums.losses, calibrate_share(asked, c->long_ctx), c->long_ctx, p, err);
    if (has_budget(c->cfg))
        cal_budget_by_entropy(c->windowed, calibrate_share(asked, c->cfg->ctx), p);
    return KV_OK;
}

kv_status calibration_solve(const calibration *c, double bits, calibrate_progress progress, prof **out, kv_err *err) {
    const rt_hparams *hp = &c->hp;
    cal_cfg cfg = CAL_CFG_DEFAULT;
    cfg.bits = bits;
    cfg.search = c->exec.k->tc_search;
    cfg.team = team_of(c);
    prof *p;
    kv_status st = calibrate_new_profile(hp, &p, err);
    if (st)
        return st;
    describe(c, bits, p);
    st = cal_solve(c->sums.stats[c->at], &cfg, p, progress.call, progress.user, err);
    if (!st)
        st = set_budgets(c, p, err);
    if (st)
        prof_free(p);
    else
        *out = p;
    return st;
}

kv_status calibration_cache_bytes(const calibration *c, const prof *p, uint32_t n_ctx, size_t *bytes, kv_err *err) {
    return calibrate_cache_bytes(&c->hp, p, n_ctx, bytes, err);
}

kv_status calibration_measure_also(const calibration *c, const rt_model *m, const calibrate_text *text,
                                   calibrate_progress progress, prof *p, kv_err *err) {
    const double elements = (double)rt_stored_heads(&c->hp) * c->hp.head_dim;
    const eval_cfg how = {.ctx = text->ctx, .chunks = text->n_held, .baseline = KV_F32};
    eval_setting setting = {NULL, RT_CTX_CFG_DEFAULT};
    eval_result got;
    setting.cache.profile = p;
    kv_status st =
        eval_run(m, &how, &setting, 1, text->held, (size_t)text->n_held * text->ctx, progress.call, progress.user, &got, err);
    if (st)
        return st;
    prof_measured *to = &p->measured[p->n_measured++];
    *to = (prof_measured){
        .ctx = text->ctx,
        .tokens = (uint32_t)got.tokens,
        .kld = got.kld,
        .kld_se = got.kld_se,
        .dppl_percent = got.dppl_percent,
        .top1 = got.top1,
        .bits_k = got.bits_k,
        .bits_v = got.bits_v,
        .bytes_per_token = elements * (got.bits_k + got.bits_v) / 8,
        .f16_bytes_per_token = elements * (16 + 16) / 8,
    };
    snprintf(to->text, sizeof to->text, "%s, held-out part; window %u, sinks %u", text->name, p->window, p->sinks);
    prof_round(p);
    return KV_OK;
}

kv_status calibration_measure(const calibration *c, const rt_model *m, calibrate_progress progress, prof *p, kv_err *err) {
    p->n_measured = 0;
    return calibration_measure_also(c, m, c->text, progress, p, err);
}

kv_status calibration_fold(const calibration *c, const rt_model *m, const rt_model *exact, calibrate_progress progress, prof *p,
                           kv_err *err) {
    const calibrate_fold_job job = {&c->exec, c->text, m, exact, c->cfg->fold_for};
    return calibrate_fold(&job, progress, p, err);
}
