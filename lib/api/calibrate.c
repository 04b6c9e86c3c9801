#include "calibrate/calibrate.h"
#include "api/api_internal.h"

#include <string.h>

enum { SHORTEST = 16, LONGEST = 1 << 20 /* tokens */ };

/* What a caller wants, checked. */
typedef struct job {
    kv_calibrate_options o;
    calibrate_cfg cfg;
    calibrate_aim aim;
} job;

static kv_status settle_aim(kv_calibrate_options *o, kv_err *err) {
    const int aims = (o->bits != 0) + (o->kld != 0) + (o->fit_ctx || o->fit_bytes);
    if (aims > 1)
        return kv_fail(err, KV_EINVAL, "bits, a loss, and a memory are different aims; give one");
    if (!o->fit_ctx != !o->fit_bytes)
        return kv_fail(err, KV_EINVAL, "to fit into a memory, both are needed: its bytes, and the tokens to fit in");
    if (o->kld != 0 && o->flags & KV_CALIBRATE_NO_MEASURE)
        return kv_fail(err, KV_EINVAL, "a loss can only be aimed at by measuring");
    if (!aims)
        o->bits = CALIBRATE_BITS;
    if (o->bits != 0)
        return api_check_range("the aim of bits", o->bits, CALIBRATE_LEAST_BITS, CALIBRATE_MOST_BITS, err);
    return o->kld != 0 ? api_check_range("the aim of loss", o->kld, 1e-6, 10, err) : KV_OK;
}

static kv_status settle_budget(const kv_calibrate_options *o, calibrate_cfg *cfg, kv_err *err) {
    const bool by_entropy = o->budget_by && !strcmp(o->budget_by, prof_budget_by_name(PROF_BY_ENTROPY));
    int policy = -1;
    cfg->evict = PROF_EVICT_DEFAULT;
    kv_status st = api_budget(o->budget_tokens, o->budget_share, &cfg->evict.budget, err);
    if (st || (st = api_evict(o->evict, &policy, err)))
        return st;
    if (o->budget_by && !by_entropy && strcmp(o->budget_by, prof_budget_by_name(PROF_BY_LOSS)))
        return kv_fail(err, KV_EINVAL, "heads share a budget by loss or by entropy, not by '%.80s'", o->budget_by);
    cfg->budget_by = by_entropy ? PROF_BY_ENTROPY : PROF_BY_LOSS;
    cfg->evict.policy = policy >= 0                          ? (kv_evict_id)policy
                        : kv_budget_given(cfg->evict.budget) ? KV_EVICT_EXPECTED
                                                             : KV_EVICT_NONE;
    return KV_OK;
}

static kv_status settle(const kv_calibrate_options *options, job *j, kv_err *err) {
    static const kv_calibrate_options defaults = KV_CALIBRATE_OPTIONS_INIT;
    kv_calibrate_options *o = &j->o;
    kv_status st = api_options(options, &defaults, sizeof *o, o, "KV_CALIBRATE_OPTIONS", err);
    if (st)
        return st;
    if (o->flags & ~(uint32_t)(KV_CALIBRATE_NO_MEASURE | KV_CALIBRATE_PARSE_SPECIAL))
        return kv_fail(err, KV_EINVAL, "unknown flags %#x of a calibration", o->flags);
    if (o->text && o->n_files)
        return kv_fail(err, KV_EINVAL, "a text in memory and files were given; one of them is possible");
    if ((st = settle_aim(o, err)) || (st = settle_budget(o, &j->cfg, err)) ||
        (o->ctx && (st = api_check_range("a chunk's number of tokens", o->ctx, SHORTEST, LONGEST, err))) ||
        (st = api_check_range("the window", o->window, 0, LONGEST, err)) ||
        (st = api_check_range("the number of sinks", o->sinks, 0, LONGEST, err)) ||
        (st = api_check_range("the frame", o->frame, -1, LONGEST, err)))
        return st;
    if (o->frame > 0 && o->frame % PROF_FRAME)
        return kv_fail(err, KV_EINVAL, "a frame of %d positions: only multiples of %d are possible", o->frame, PROF_FRAME);
    j->aim = (calibrate_aim){.bits = o->bits,
                             .kld = o->kld,
                             .fit_ctx = o->fit_ctx,
                             .fit_bytes = (size_t)o->fit_bytes,
                             .measure = !(o->flags & KV_CALIBRATE_NO_MEASURE)};
    j->cfg.texts = o->files;
    j->cfg.n_texts = o->n_files;
    j->cfg.text = o->text;
    j->cfg.text_len = o->text_len;
    j->cfg.parse_special = o->flags & KV_CALIBRATE_PARSE_SPECIAL;
    j->cfg.ctx = o->ctx;
    j->cfg.chunks = o->chunks;
    j->cfg.seed = o->seed;
    j->cfg.window = (uint32_t)o->window;
    j->cfg.sinks = (uint32_t)o->sinks;
    j->cfg.frame = o->frame >= 0 ? (uint32_t)o->frame : o->window ? CALIBRATE_FRAME : CALIBRATE_FRAME_NEAR;
    return KV_OK;
}

kv_status kv_calibrate(const kv_model *model, const kv_calibrate_options *options, kv_progress progress, void *user,
                       kv_profile **out, kv_err *err) {
    job j = {0};
    prof *p = NULL;
    *out = NULL;
    kv_status st = settle(options, &j, err);
    if (st || (st = calibrate_run(model->rt, &j.cfg, &j.aim, (calibrate_progress){progress, user}, &p, NULL, err)))
        return st;
    return api_profile(p, out, err);
}
