/* From what a user wants (a loss, a memory) to bits per number, and to a profile. */
#include "base/format.h"
#include "calibrate/calibrate_fold.h"
#include "calibrate/calibrate_text.h"

#include <math.h>

static double clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

/* ---- a loss ---- */

static const double SLOPE = 2.2 /* a bit divides the divergence by 2^SLOPE, roughly */, NEAR = 0.1;
enum { MOST_STEPS = 6 };
static const double SOLVING = 0.3; /* of a step; the rest is measuring */

/* What was measured on either side of the aim. */
typedef struct bracket {
    double bits, log_kld;
    bool known;
} bracket;

static double next_bits(const bracket *over, const bracket *within, double aim) {
    const double low = CALIBRATE_LEAST_BITS, high = CALIBRATE_MOST_BITS;
    if (over->known && within->known) {
        double share = (over->log_kld - aim) / (over->log_kld - within->log_kld), wide = within->bits - over->bits;
        return over->bits + wide * clamp(share, 0.15, 0.85);
    }
    const bracket *one = over->known ? over : within;
    return clamp(one->bits + (one->log_kld - aim) / SLOPE + (over->known ? NEAR / 2 : -NEAR / 2), low, high);
}

kv_status calibrate_for_kld(const calibration *c, const rt_model *m, double kld, calibrate_progress progress, prof **out,
                            kv_err *err) {
    bracket over = {0}, within = {0};
    double bits = CALIBRATE_BITS;
    prof *best = NULL;
    kv_status st = KV_OK;
    for (int i = 0; i < MOST_STEPS; i++) {
        const double from = (double)i / MOST_STEPS, to = (i + 1.0) / MOST_STEPS, mid = from + SOLVING * (to - from);
        kv_progress_part solving = {progress.call, progress.user, from, mid},
                         measuring = {progress.call, progress.user, mid, to}; /* as if all steps were needed */
        prof *p = NULL;
        if ((st = calibration_solve(c, bits, (calibrate_progress){kv_progress_of_part, &solving}, &p, err)) ||
            (st = calibration_measure(c, m, (calibrate_progress){kv_progress_of_part, &measuring}, p, err))) {
            prof_free(p);
            break;
        }
        const double got = p->measured[0].kld;
        const bracket here = {bits, log2(fmax(got, 1e-9)), true};
        if (got <= kld) {
            prof_free(best);
            best = p;
            best->aim_kld = kld;
            within = here;
        } else {
            prof_free(p);
            over = here;
        }
        if ((over.known && within.known && within.bits - over.bits <= NEAR) || (within.known && bits <= CALIBRATE_LEAST_BITS))
            break;
        if (over.known && bits >= CALIBRATE_MOST_BITS) {
            st = kv_fail(err, KV_ERANGE,
                         "a KL divergence of %g cannot be reached: %.2f bits per number lose %.2g; a larger window, or codec "
                         "q8_0, loses less",
                         kld, bits, got);
            break;
        }
        bits = next_bits(&over, &within, log2(kld));
    }
    if (!st && !best)
        st = kv_fail(err, KV_ERANGE, "a KL divergence of %g was not reached in %d steps; the last tried %.2f bits per number",
                     kld, MOST_STEPS, over.bits);
    if (st)
        prof_free(best);
    else
        *out = best;
    return st;
}

/* ---- a memory ---- */

/* Solve with `bits` and say what the cache takes. */
static kv_status try_bits(const calibration *c, double bits, uint32_t n_ctx, calibrate_progress progress, prof **p,
                          size_t *bytes, kv_err *err) {
    prof_free(*p);
    *p = NULL;
    kv_status st = calibration_solve(c, bits, progress, p, err);
    return st ? st : calibration_cache_bytes(c, *p, n_ctx, bytes, err);
}

kv_status calibrate_for_memory(const calibration *c, uint32_t n_ctx, size_t bytes, calibrate_progress progress, prof **out,
                               kv_err *err) {
    /* Bytes are all but linear in bits: go along the line through two points until it fits closely. */
    double low = CALIBRATE_LEAST_BITS, high = CALIBRATE_MOST_BITS, fits = 0;
    size_t least = 0, most = 0, got = 0;
    prof *p = NULL;
    char a[24], b[24];
    kv_status st;
    if ((st = try_bits(c, low, n_ctx, progress, &p, &least, err)) || (st = try_bits(c, high, n_ctx, progress, &p, &most, err)))
        goto done;
    if (least > bytes) {
        st = kv_fail(err, KV_ERANGE,
                     "%u tokens do not fit into %s: with 1 bit per number they take %s; give more memory, fewer tokens, or a "
                     "smaller window",
                     n_ctx, format_bytes((double)bytes, a), format_bytes((double)least, b));
        goto done;
    }
    if (most <= bytes) {
        *out = p;
        return KV_OK;
    }
    fits = low;
    for (int i = 0; i < MOST_STEPS; i++) {
        const double bits = low + (high - low) * (double)(bytes - least) / (double)(most - least);
        if ((st = try_bits(c, bits, n_ctx, progress, &p, &got, err)))
            goto done;
        if (got <= bytes) {
            fits = low = bits;
            least = got;
        } else {
            high = bits;
            most = got;
        }
        if (got <= bytes && got >= bytes - bytes / 200)
            break;
    }
    if (got > bytes && (st = try_bits(c, fits, n_ctx, progress, &p, &got, err)))
        goto done;
    *out = p;
    p = NULL;
done:
    prof_free(p);
    return st;
}

/* ---- all of it ---- */

/* Shares of the time, roughly: reading text (more of it for budgets by loss), the solving that comes before one measurement,
 * and measuring on the text built in; of all of it, finding scales to fold. */
static const double READING = 0.6, READING_LONG = 0.78, SOLVED_AFTER = 0.08, MEASURING_ALSO = 0.1, FOLDING = 0.6;

/* What runs now goes up to `to` of the whole. */
static calibrate_progress next_part(kv_progress_part *part, double to) {
    part->from = part->to;
    part->to = to;
    return (calibrate_progress){kv_progress_of_part, part};
}

/* A profile that meets the aim, measured unless that is not wanted. */
static kv_status meet(const calibration *c, const rt_model *exact, const calibrate_aim *aim, kv_progress_part *part, double end,
                      prof **p, kv_err *err) {
    const double solved = aim->measure ? part->to + fmin(SOLVED_AFTER, (end - part->to) / 2) : end;
    if (aim->kld > 0)
        return calibrate_for_kld(c, exact, aim->kld, next_part(part, end), p, err);
    kv_status st = aim->fit_bytes ? calibrate_for_memory(c, aim->fit_ctx, aim->fit_bytes, next_part(part, solved), p, err)
                                  : calibration_solve(c, aim->bits, next_part(part, solved), p, err);
    if (!st && aim->measure)
        st = calibration_measure(c, exact, next_part(part, end), *p, err);
    return st;
}

/* The same for every window, one behind the other. */
static kv_status meet_all(calibration *c, const rt_model *exact, const calibrate_cfg *cfg, const calibrate_aim *aim,
                          kv_progress_part *part, double end, prof **out, kv_err *err) {
    const double begin = part->to, windows = cfg->n_narrower + 1.0;
    kv_status st = KV_OK;
    for (uint32_t i = 0; i <= cfg->n_narrower && !st; i++, out = &(*out)->narrower) {
        calibration_use(c, i);
        if ((st = meet(c, exact, aim, part, begin + (end - begin) * (i + 1) / windows, out, err)))
            break;
    }
    return st;
}

/* What the profile loses on text that is not like the one it was made from. */
static kv_status measure_on_built_in(const calibration *c, const rt_model *exact, const calibrate_cfg *cfg,
                                     calibrate_progress progress, prof *p, kv_err *err) {
    calibrate_text text = {0};
    kv_status st = calibrate_text_load(rt_model_tok(exact), &(calibrate_cfg){0}, cfg->ctx, &text, err);
    for (; p && !st; p = p->narrower)
        st = calibration_measure_also(c, exact, &text, progress, p, err);
    calibrate_text_free(&text);
    return st;
}

kv_status calibrate_run(const rt_model *m, const calibrate_cfg *cfg, const calibrate_aim *aim, calibrate_progress progress,
                        prof **out, calibrate_verdict *verdict, kv_err *err) {
    const bool also = (cfg->n_texts || cfg->text) && (aim->measure || aim->kld > 0);
    const bool long_texts = kv_budget_given(cfg->evict.budget) && cfg->budget_by == PROF_BY_LOSS;
    kv_progress_part whole = {progress.call, progress.user, 0, cfg->fold_for ? 1 - FOLDING : 1},
                     folding = {progress.call, progress.user, 1 - FOLDING, 1}, part = {kv_progress_of_part, &whole, 0, 0};
    calibrate_text text = {0};
    calibration *c = NULL;
    rt_model *exact = NULL;
    prof *p = NULL;
    calibrate_cfg settled = *cfg;
    calibrate_verdict own;
    kv_status st = cfg->ctx ? calibrate_check(rt_model_hparams(m), cfg, aim, err) : KV_OK;
    if (st || (cfg->fold_for && (st = calibrate_can_fold(m, err))) ||
        (st = calibrate_text_load(rt_model_tok(m), cfg, rt_model_hparams(m)->n_ctx_train, &text, err)))
        goto done;
    settled.ctx = text.ctx;
    if ((!cfg->ctx && (st = calibrate_check(rt_model_hparams(m), &settled, aim, err))) ||
        (st = calibrate_judge(&text, rt_model_hparams(m)->head_dim, verdict ? verdict : &own, err)) ||
        (st = rt_model_exact(m, &exact, err)) ||
        (st = calibration_new(m, &settled, &text, next_part(&part, long_texts ? READING_LONG : READING), &c, err)) ||
        (st = meet_all(c, exact, &settled, aim, &part, also ? 1 - MEASURING_ALSO : 1, &p, err)) ||
        (also && (st = measure_on_built_in(c, exact, &settled, next_part(&part, 1), p, err))) ||
        (cfg->fold_for && (st = calibration_fold(c, m, exact, (calibrate_progress){kv_progress_of_part, &folding}, p, err))))
        goto done;
    *out = p;
    p = NULL;
done:
    prof_free(p);
    calibration_free(c);
    rt_model_free(exact);
    calibrate_text_free(&text);
    return st;
}
