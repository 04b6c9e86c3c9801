/* Which scales to fold: every way of finding them has its model, and what its caches lose decides. */
#include "calibrate/calibrate_fold.h"

#include "eval/eval.h"
#include "model/fold.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const kv_codec_id caches[] = {KV_Q4_0, KV_Q4_0H, KV_Q8_0};
enum { CACHES = sizeof caches / sizeof *caches };

/* Caches that a model can have, and what they lose. */
typedef struct losses {
    uint32_t n;
    kv_codec_id cache[CACHES];
    eval_result got[CACHES];
} losses;

typedef struct folding {
    const calibrate_text *text;
    const rt_model *exact;
    uint32_t wanted;
    int8_t *e; /* of what is being tried */
} folding;

static kv_status measure(const folding *f, const rt_model *m, calibrate_progress progress, losses *out, kv_err *err) {
    const eval_cfg how = {.ctx = f->text->ctx, .chunks = f->text->n_held, .baseline = KV_F32};
    eval_setting settings[CACHES];
    for (uint32_t i = 0; i < out->n; i++) {
        settings[i] = (eval_setting){kv_codec_names[out->cache[i]].name, RT_CTX_CFG_DEFAULT};
        settings[i].cache.ctk = settings[i].cache.ctv = out->cache[i];
    }
    return eval_run(m, &how, settings, out->n, f->text->held, (size_t)f->text->n_held * f->text->ctx, progress.call,
                    progress.user, out->got, err);
}

/* Those of `caches` that suit the model's heads. */
static void settle(const folding *f, losses *out) {
    kv_coder c = {0};
    out->n = 0;
    for (uint32_t i = 0; i < CACHES; i++) {
        const bool can =
            !kv_coder_init(&c, kv_codec_get(caches[i]), KV_SIDE_K, rt_model_hparams(f->exact)->head_dim, NULL, NULL);
        kv_coder_free(&c);
        c = (kv_coder){0};
        if (can)
            out->cache[out->n++] = caches[i];
    }
}

/* ---- a model with scales folded in ---- */

static kv_status edit(void *user, gguf *g, kv_err *err) {
    const folding *f = user;
    return rt_fold_apply(g, rt_model_hparams(f->exact), f->e, NULL, err);
}

static kv_status measure_folded(folding *f, calibrate_progress progress, losses *out, kv_err *err) {
    const rt_load_cfg cfg = {.edit = edit, .edit_user = f};
    const char *path = gguf_path(rt_model_gguf(f->exact));
    rt_model *m = NULL;
    kv_status st = rt_model_load_cfg(path, rt_model_exec(f->exact), &cfg, &m, err);
    if (!st && memcmp(rt_model_hparams(m), rt_model_hparams(f->exact), sizeof(rt_hparams)))
        st = kv_fail(err, KV_EINVAL,
                     "%s: scales to fold are found for a model as its file has it: without keys that are set by hand", path);
    if (!st)
        st = measure(f, m, progress, out, err);
    rt_model_free(m);
    return st;
}

/* ---- which is best ---- */

/* Mean log of what those that are wanted lose of what they lost before; INFINITY where any cache loses more, and what nobody
 * asked for more than it can be by chance. */
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

static void say(const folding *f, const losses *before, const losses *after, prof *p) {
    size_t len = 0;
    p->n_folding = 0;
    for (uint32_t i = 0; i < before->n; i++) {
        const eval_result *was = &before->got[i], *is = &after->got[i];
        p->folding[p->n_folding++] =
            (prof_folding){before->cache[i], f->text->ctx, (uint32_t)was->tokens, was->kld, was->kld_se, is->kld, is->kld_se};
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

kv_status calibrate_fold(const cal_stats *stats, cal_team team, uint32_t wanted, const calibrate_text *text,
                         const rt_model *exact, calibrate_progress progress, prof *p, kv_err *err) {
    const rt_hparams *hp = rt_model_hparams(exact);
    const gguf *g = rt_model_gguf(exact);
    const size_t n = rt_fold_count(hp);
    folding f = {text, exact, wanted, malloc(n)};
    int8_t *best = malloc(n);
    bool shared[PROF_MAX_LAYERS];
    uint16_t unit[PROF_MAX_DIM];
    const cal_fold_cfg cfg = {unit, rt_fold_units(hp, unit), shared, team};
    losses before, after, chosen;
    double least = 0;
    kv_status st = f.e && best ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory to find scales");
    if (st)
        goto done;
    for (uint32_t l = 0; l < hp->n_layer; l++)
        shared[l] = rt_fold_shared(g, hp, l);
    settle(&f, &before);
    after = before;
    for (int way = -1; way < (int)CAL_FOLD_WAYS && !st; way++) {
        kv_progress_part part = {progress.call, progress.user, (way + 1.0) / (CAL_FOLD_WAYS + 1),
                                 (way + 2.0) / (CAL_FOLD_WAYS + 1)};
        const calibrate_progress here = {kv_progress_of_part, &part};
        if (way < 0) {
            st = measure(&f, exact, here, &before, err);
            continue;
        }
        if ((st = cal_fold(stats, &cfg, (cal_fold_way)way, f.e, err)) || (st = measure_folded(&f, here, &after, err)))
            break;
        const double s = score(&f, &before, &after);
        if (s < least) {
            least = s;
            chosen = after;
            memcpy(best, f.e, n); /* as far as there was room for them */
        }
    }
    if (!st && least < 0 && !(st = keep(hp, best, p, err)))
        say(&f, &before, &chosen, p);
    prof_round(p);
done:
    free(f.e);
    free(best);
    return st;
}
