/* Running the grid: settings one by one, lengths, haystacks, needles. */
#include "measure/niah.h"

#include "base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A question with its answer costs about as much time as reading so many tokens. */
enum { QUESTION_COST = 150 };

typedef struct run {
    const rt_model *m;
    const niah_cfg *cfg;
    const eval_setting *setting;
    ask_frame frame;
    niah_result *out;
    double done, all; /* tokens, roughly */
    double upto;      /* what is done when the setting is */
    kv_progress progress;
    void *user;
} run;

static bool advance(void *user, size_t tokens) {
    run *r = user;
    r->done = fmin(r->done + (double)tokens, r->upto);
    return !r->progress || r->progress(r->user, r->done / r->all);
}

/* Tokens that a setting takes, roughly. */
static double work(const niah_cfg *cfg) {
    const double needles = (double)cfg->repeats * (double)cfg->n_depth;
    double sum = 0;
    for (size_t i = 0; i < cfg->n_ctx; i++)
        sum += (cfg->unknown ? (double)niah_hays(cfg) * cfg->ctx[i] + needles * QUESTION_COST : 0) +
               (cfg->known ? needles * (cfg->ctx[i] + (double)QUESTION_COST) : 0);
    return sum;
}

static kv_status open_asker(run *r, uint32_t ctx, asker **out, kv_err *err) {
    ask_cfg cfg = {.ctx = r->setting->cache, .answer_tokens = NIAH_ANSWER_TOKENS, .progress = advance, .user = r};
    kv_err why = {0};
    cfg.ctx.n_ctx = ctx;
    cfg.ctx.n_batch = 0;
    kv_status st = asker_new(r->m, &cfg, out, &why);
    const char *name = r->setting->name;
    return !st ? KV_OK : name ? kv_fail(err, st, "setting '%s': %s", name, why.msg) : kv_fail(err, st, "%s", why.msg);
}

static kv_status ask_needle(run *r, asker *a, const niah_needle *x, niah_answer *to, kv_err *err) {
    ask_ids tail = {0};
    to->template = x->template;
    to->i_depth = (uint32_t)x->i_depth;
    strcpy(to->wanted, x->fact.answer);
    ask_turn turn = {.tail = &tail};
    kv_status st = ask_tail(&r->frame, x->fact.question, x->fact.prime, &tail, err);
    if (!st && !(st = asker_ask(a, &turn, 1, err)))
        strcpy(to->said, turn.answer);
    ask_ids_free(&tail);
    return st ? st : ask_is_right(to->said, to->wanted, &to->right, err);
}

static kv_status read_hay(run *r, asker *a, const niah_hay *h, const char *known, kv_err *err) {
    ask_ids ids = {0};
    kv_status st = ask_head(&r->frame, known, &ids, err);
    if (!st && !(st = ask_document(&r->frame, h->text, h->len, &ids, err)))
        st = asker_read(a, ids.v, ids.n, err);
    ask_ids_free(&ids);
    return st;
}

static kv_status ask_all(run *r, asker *a, const niah_hay *h, size_t i_ctx, size_t index, bool known, kv_err *err) {
    kv_status st = known ? KV_OK : read_hay(r, a, h, NULL, err);
    for (size_t i = 0; i < h->n && !st; i++) {
        niah_answer *to = &r->out->answers[r->out->n];
        *to = (niah_answer){.i_ctx = (uint32_t)i_ctx, .hay = (uint32_t)index, .known = known};
        if (known)
            st = read_hay(r, a, h, h->needles[i].fact.question, err);
        if (!st && !(st = ask_needle(r, a, &h->needles[i], to, err)))
            r->out->n++;
    }
    return st;
}

static kv_status run_length(run *r, size_t i_ctx, kv_err *err) {
    asker *a = NULL;
    kv_status st = open_asker(r, r->cfg->ctx[i_ctx], &a, err);
    if (st)
        return st;
    const kv_cache_info info = asker_cache_info(a);
    r->out->kv_bytes[i_ctx] = info.bytes;
    r->out->kv_bytes_f16[i_ctx] = info.bytes_f16;
    r->out->bits_k = info.bits_k;
    r->out->bits_v = info.bits_v;
    for (size_t i = 0; i < niah_hays(r->cfg) && !st; i++) {
        niah_hay h = {0};
        st = niah_hay_new(r->cfg, &r->frame, i_ctx, i, &h, err);
        for (int known = 0; known < 2 && !st; known++)
            if (known ? r->cfg->known : r->cfg->unknown)
                st = ask_all(r, a, &h, i_ctx, i, known, err);
        niah_hay_free(&h);
    }
    asker_free(a);
    return st;
}

static kv_status run_setting(run *r, kv_err *err) {
    const double started = clock_now();
    const size_t most = r->cfg->n_ctx * r->cfg->repeats * r->cfg->n_depth * 2;
    r->out->answers = calloc(most, sizeof *r->out->answers);
    kv_status st = r->out->answers ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for %zu answers", most);
    for (size_t i = 0; i < r->cfg->n_ctx && !st; i++)
        st = run_length(r, i, err);
    r->out->seconds = clock_now() - started;
    return st;
}

/* Haystacks of every length and all settings can be had. */
static kv_status try_out(run *r, const eval_setting *settings, size_t n, kv_err *err) {
    kv_status st = KV_OK;
    for (size_t i = 0; i < r->cfg->n_ctx && !st; i++) {
        niah_hay h = {0};
        st = niah_hay_new(r->cfg, &r->frame, i, 0, &h, err);
        niah_hay_free(&h);
        for (size_t k = 0; k < n && !st; k++) {
            asker *a = NULL;
            r->setting = &settings[k];
            st = open_asker(r, r->cfg->ctx[i], &a, err);
            asker_free(a);
        }
    }
    return st;
}

kv_status niah_run(const rt_model *m, const niah_cfg *cfg, const eval_setting *settings, size_t n, kv_progress progress,
                   void *user, niah_result *out, kv_err *err) {
    run r = {.m = m, .cfg = cfg, .all = work(cfg) * (double)n, .progress = progress, .user = user};
    memset(out, 0, n * sizeof *out);
    kv_status st = ask_frame_new(m, &r.frame, err);
    if (!st)
        st = try_out(&r, settings, n, err);
    for (size_t i = 0; i < n && !st; i++) {
        r.setting = &settings[i];
        r.out = &out[i];
        r.done = work(cfg) * (double)i;
        r.upto = work(cfg) * (double)(i + 1);
        st = run_setting(&r, err);
    }
    for (size_t i = 0; i < n && st; i++)
        niah_result_free(&out[i]);
    ask_frame_free(&r.frame);
    return st;
}

void niah_result_free(niah_result *r) {
    free(r->answers);
    *r = (niah_result){0};
}

ask_tally niah_tally(const niah_result *r, niah_where w) {
    ask_tally t = {0};
    for (size_t i = 0; i < r->n; i++) {
        const niah_answer *a = &r->answers[i];
        if ((w.i_ctx >= 0 && (int)a->i_ctx != w.i_ctx) || (w.i_depth >= 0 && (int)a->i_depth != w.i_depth) ||
            (w.template >= 0 && a->template != w.template) || (w.known >= 0 && a->known != w.known))
            continue;
        t.n++;
        t.hits += a->right;
    }
    return t;
}
