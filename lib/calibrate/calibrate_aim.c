/* From what a user wants (a loss, a memory) to bits per number. */
#include "base/format.h"
#include "calibrate/calibrate.h"

#include <math.h>

static double clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

/* ---- a loss ---- */

static const double FIRST_BITS = 3.25, SLOPE = 2.2 /* a bit divides the divergence by 2^SLOPE, roughly */, NEAR = 0.1;
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
    double bits = FIRST_BITS;
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
