#include "kvcalib/calib_facts.h"

enum { TOKENS = 6000 };

kv_status calib_facts_new(const rt_model *m, uint32_t docs, calib_facts *out, kv_err *err) {
    const uint32_t trained = rt_model_hparams(m)->n_ctx_train;
    const facts_cfg cfg = {.tokens = {trained < TOKENS ? trained : TOKENS}, .n_tokens = 1, .docs = docs, .seed = FACTS_SEED};
    kv_status st = ask_frame_new(m, &out->frame, err);
    return st ? st : facts_set_new(&cfg, &out->frame, &out->set, err);
}

void calib_facts_free(calib_facts *f) {
    facts_set_free(&f->set);
    ask_frame_free(&f->frame);
    *f = (calib_facts){0};
}

static prof_facts summary(const facts_set *set, const facts_result *f16, const facts_result *own) {
    const paired pair = facts_compare(set, f16, own, FACTS_ANYWHERE);
    double low, high;
    paired_interval(pair, &low, &high);
    return (prof_facts){.ctx = set->cfg.tokens[0],
                        .docs = set->cfg.docs,
                        .seed = set->cfg.seed,
                        .questions = pair.n,
                        .right_f16 = facts_tally(set, f16, FACTS_ANYWHERE).hits,
                        .right = facts_tally(set, own, FACTS_ANYWHERE).hits,
                        .low = 100 * low,
                        .high = 100 * high};
}

kv_status calib_facts_ask(const rt_model *m, const calib_facts *f, kv_progress progress, void *user, prof *p, kv_err *err) {
    eval_setting settings[] = {{"f16", RT_CTX_CFG_DEFAULT}, {"profile", RT_CTX_CFG_DEFAULT}};
    facts_result results[2];
    settings[1].cache.profile = p;
    const facts_job job = {.m = m, .set = &f->set, .frame = &f->frame, .settings = settings, .n = 2, .answers = true};
    kv_status st = facts_run(&job, progress, user, results, err);
    if (st)
        return st;
    p->facts[0] = summary(&f->set, &results[0], &results[1]);
    p->n_facts = 1;
    facts_result_free(&results[0]);
    facts_result_free(&results[1]);
    return KV_OK;
}
