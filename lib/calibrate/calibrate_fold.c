/* Which scales to fold. What is least by a formula is not what loses least, so there are several candidates: every way of
 * cal_fold, rounded in two ways. Each is folded into a model of its own, with fast products, and measured on text that was
 * fitted on; the best are measured on the text that is held out, with exact ones.
 *
 * Measured are several short texts: what scales lose differs from text to text, and by the positions that are read, far more
 * than standard errors over tokens say (docs/lab/fold.md).
 */
#include "calibrate/calibrate_fold.h"

#include "eval/eval.h"
#include "model/fold.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const kv_codec_id caches[] = {KV_Q4_0, KV_Q4_0H, KV_Q8_0};
enum { CACHES = sizeof caches / sizeof *caches };
enum { SHIFTS = 2, TRIED = SHIFTS * CAL_FOLD_WAYS, FINALISTS = 3 };
enum { TEXTS = 8, SCREENED = 256, HELD_OUT = 512 };
static const double SCREENING = 0.6; /* of the time */

/* Caches of a model, and what they lose. */
typedef struct losses {
    uint32_t n;
    kv_codec_id cache[CACHES];
    eval_result got[CACHES];
} losses;

/* Scales, and their score on the text that is fitted on. */
typedef struct candidate {
    int8_t *e;
    double score;
} candidate;

/* What is measured on: n texts of ctx tokens. */
typedef struct sample {
    int32_t *ids;
    uint32_t n, ctx;
} sample;

typedef struct folding {
    const rt_model *fast, *exact;
    const rt_hparams *hp;
    uint32_t wanted; /* caches, as bits */
    sample fit, held;
    losses before;        /* of those that are wanted, on the text that is fitted on */
    candidate all[TRIED]; /* the best first */
    uint32_t n;
    int8_t *e; /* of what is being loaded */
} folding;

/* ---- measuring ---- */

/* Those of `among` that suit the model's heads. */
static losses caches_of(const folding *f, uint32_t among) {
    losses out = {0};
    for (uint32_t i = 0; i < CACHES; i++) {
        kv_coder c = {0};
        if (among >> caches[i] & 1 && !kv_coder_init(&c, kv_codec_get(caches[i]), KV_SIDE_K, f->hp->head_dim, NULL, NULL))
            out.cache[out.n++] = caches[i];
        kv_coder_free(&c);
    }
    return out;
}

/* Texts of ctx tokens, or one where there are not as many, from all of n ids. Caller frees ids. */
static kv_status take_sample(const int32_t *ids, size_t n, uint32_t ctx, sample *out, kv_err *err) {
    ctx = ctx < n ? ctx : (uint32_t)n;
    *out = (sample){NULL, n / ctx < TEXTS ? (uint32_t)(n / ctx) : TEXTS, ctx};
    if (!(out->ids = malloc((size_t)out->n * ctx * sizeof *out->ids)))
        return kv_fail(err, KV_ENOMEM, "out of memory to find scales");
    for (uint32_t i = 0; i < out->n; i++)
        memcpy(out->ids + (size_t)i * ctx, ids + (n / ctx) * i / out->n * ctx, ctx * sizeof *out->ids);
    return KV_OK;
}

static kv_status measure(const rt_model *m, const sample *text, calibrate_progress progress, losses *out, kv_err *err) {
    const eval_cfg how = {.ctx = text->ctx, .chunks = text->n, .baseline = KV_F32};
    eval_setting settings[CACHES];
    for (uint32_t i = 0; i < out->n; i++) {
        settings[i] = (eval_setting){kv_codec_names[out->cache[i]].name, RT_CTX_CFG_DEFAULT};
        settings[i].cache.ctk = settings[i].cache.ctv = (int)out->cache[i];
    }
    return eval_run(m, &how, settings, out->n, text->ids, (size_t)text->n * text->ctx, progress.call, progress.user, out->got,
                    err);
}

static kv_status edit(void *user, gguf *g, kv_err *err) {
    const folding *f = user;
    return rt_fold_apply(g, f->hp, f->e, NULL, err);
}

/* The same of a model with scales folded in, which are changed where there is no room for them. like: whose products it has. */
static kv_status measure_folded(folding *f, int8_t *e, const rt_model *like, const sample *text, calibrate_progress progress,
                                losses *out, kv_err *err) {
    const rt_load_cfg cfg = {.edit = edit, .edit_user = f};
    const char *path = gguf_path(rt_model_gguf(f->exact));
    rt_model *m = NULL;
    f->e = e;
    kv_status st = rt_model_load_cfg(path, rt_model_exec(like), &cfg, &m, err);
    if (!st && memcmp(rt_model_hparams(m), f->hp, sizeof *f->hp))
        st = kv_fail(err, KV_EINVAL,
                     "%s: scales to fold are found for a model as its file has it: without keys that are set by hand", path);
    if (!st)
        st = measure(m, text, progress, out, err);
    rt_model_free(m);
    return st;
}

/* Mean log of what those that are wanted lose of what they lost before; INFINITY where any of them loses more, or another cache
 * more than it can by chance. */
static double score(const folding *f, const losses *before, const losses *after) {
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < before->n; i++) {
        const bool wanted = f->wanted >> before->cache[i] & 1;
        const double was = before->got[i].kld, is = after->got[i].kld;
        if (!(is <= was + (wanted ? 0 : before->got[i].kld_se)))
            return INFINITY;
        if (wanted) {
            sum += log(fmax(is, 1e-9) / fmax(was, 1e-9));
            n++;
        }
    }
    return n ? sum / n : INFINITY;
}

/* ---- candidates ---- */

static kv_status add(folding *f, int8_t *e, calibrate_progress progress, kv_err *err) {
    losses after = f->before;
    kv_status st = measure_folded(f, e, f->fast, &f->fit, progress, &after, err);
    if (st)
        return st;
    const candidate c = {e, score(f, &f->before, &after)};
    uint32_t at = f->n++;
    for (; at && f->all[at - 1].score > c.score; at--)
        f->all[at] = f->all[at - 1];
    f->all[at] = c;
    return KV_OK;
}

/* u: what cal_fold found; room: for all candidates. */
static kv_status screen(folding *f, const double *u, calibrate_progress progress, int8_t *room, kv_err *err) {
    const size_t n = rt_fold_count(f->hp);
    const double steps = TRIED + 1;
    kv_progress_part part = {progress.call, progress.user, 0, SCREENING / steps};
    const calibrate_progress here = {kv_progress_of_part, &part};
    kv_status st = measure(f->fast, &f->fit, here, &f->before, err);
    for (uint32_t i = 0; i < TRIED && !st; i++, room += n) {
        part = (kv_progress_part){progress.call, progress.user, SCREENING * (i + 1) / steps, SCREENING * (i + 2) / steps};
        cal_fold_round(u + i / SHIFTS * n, n, (double)(i % SHIFTS) / SHIFTS, room);
        st = add(f, room, here, err);
    }
    return st;
}

/* ---- the best ---- */

static void say(const folding *f, const losses *before, const losses *after, prof *p) {
    size_t len = 0;
    p->n_folding = 0;
    for (uint32_t i = 0; i < before->n; i++) {
        const eval_result *was = &before->got[i], *is = &after->got[i];
        p->folding[p->n_folding++] = (prof_folding){.cache = before->cache[i],
                                                    .ctx = f->held.ctx,
                                                    .tokens = (uint32_t)was->tokens,
                                                    .before = was->kld,
                                                    .before_se = was->kld_se,
                                                    .after = is->kld,
                                                    .after_se = is->kld_se};
        if (f->wanted >> before->cache[i] & 1)
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

/* The first of the best that holds on the text that is held out, too. */
static kv_status choose(folding *f, calibrate_progress progress, prof *p, kv_err *err) {
    losses before = caches_of(f, CALIBRATE_FOLDS), after = before;
    kv_progress_part part = {progress.call, progress.user, SCREENING, 1 - (1 - SCREENING) / 2};
    const calibrate_progress here = {kv_progress_of_part, &part};
    kv_status st = measure(f->exact, &f->held, here, &before, err);
    part = (kv_progress_part){progress.call, progress.user, part.to, 1};
    for (uint32_t i = 0; i < FINALISTS && i < f->n && f->all[i].score < 0 && !st; i++) {
        if ((st = measure_folded(f, f->all[i].e, f->exact, &f->held, here, &after, err)) || score(f, &before, &after) >= 0)
            continue;
        if (!(st = keep(f->hp, f->all[i].e, p, err)))
            say(f, &before, &after, p);
        break;
    }
    return st;
}

kv_status calibrate_fold(const calibrate_fold_job *job, calibrate_progress progress, prof *p, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(job->exact);
    bool shared[PROF_MAX_LAYERS];
    uint16_t unit[PROF_MAX_DIM];
    const cal_fold_cfg cfg = {unit, rt_fold_units(hp, unit), shared, job->team};
    const size_t n = rt_fold_count(hp);
    int8_t *room = malloc(TRIED * n);
    double *u = malloc(CAL_FOLD_WAYS * n * sizeof *u);
    folding *f = calloc(1, sizeof *f);
    kv_status st = room && u && f ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory to find scales");
    if (st)
        goto done;
    *f = (folding){.fast = job->fast, .exact = job->exact, .hp = hp, .wanted = job->wanted};
    f->before = caches_of(f, job->wanted);
    for (uint32_t l = 0; l < hp->n_layer; l++)
        shared[l] = rt_fold_shared(rt_model_gguf(job->exact), hp, l);
    if ((st = take_sample(job->text->fit, (size_t)job->text->n_fit * job->text->ctx, SCREENED, &f->fit, err)) ||
        (st = take_sample(job->text->held, (size_t)job->text->n_held * job->text->ctx, HELD_OUT, &f->held, err)))
        goto done;
    if (f->before.n && !(st = cal_fold(job->stats, &cfg, u, err)) && !(st = screen(f, u, progress, room, err)))
        st = choose(f, progress, p, err);
    prof_round(p);
done:
    if (f) {
        free(f->fit.ids);
        free(f->held.ids);
    }
    free(f);
    free(u);
    free(room);
    return st;
}
