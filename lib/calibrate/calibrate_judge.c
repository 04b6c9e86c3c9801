/* Whether a text can teach anything.
 *
 * Moments of a head's keys need several times as many samples as it has dimensions, and tokens that repeat what stood there
 * before are no further samples: what a layer makes of a token follows from it and those before it. So runs of three tokens are
 * counted that differ from all others. Ten thousand tokens of prose have nine thousand of them, one word over and over has one.
 */
#include "calibrate/calibrate_text.h"

#include <stdlib.h>

typedef struct run {
    int32_t id[CALIBRATE_RUN];
} run;

static int by_ids(const void *x, const void *y) {
    const run *a = x, *b = y;
    for (int i = 0; i < CALIBRATE_RUN; i++)
        if (a->id[i] != b->id[i])
            return a->id[i] < b->id[i] ? -1 : 1;
    return 0;
}

static kv_status count_runs(const calibrate_text *t, size_t *n_runs, kv_err *err) {
    const size_t n = (size_t)t->n_fit * t->ctx;
    run *v = malloc((n + 1) * sizeof *v);
    if (!v)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu tokens of text", n);
    size_t have = 0;
    for (size_t i = 0; i + CALIBRATE_RUN <= n; i++)
        if (i % t->ctx + CALIBRATE_RUN <= t->ctx)
            v[have++] = (run){{t->fit[i], t->fit[i + 1], t->fit[i + 2]}};
    qsort(v, have, sizeof *v, by_ids);
    *n_runs = have > 0;
    for (size_t i = 1; i < have; i++)
        *n_runs += by_ids(&v[i - 1], &v[i]) != 0;
    free(v);
    return KV_OK;
}

kv_status calibrate_judge(const calibrate_text *t, uint32_t head_dim, calibrate_verdict *out, kv_err *err) {
    *out = (calibrate_verdict){.tokens = (size_t)t->n_fit * t->ctx, .enough = (size_t)RUNS_WANTED * head_dim};
    kv_status st = count_runs(t, &out->runs, err);
    if (!st && out->runs < head_dim)
        return kv_fail(
            err, KV_ERANGE,
            "%s cannot be calibrated on: it repeats itself, %zu tokens have only %zu different runs of %d tokens, and "
            "heads of %u dimensions need %zu to be measured well; take text like what the model will read",
            t->name, out->tokens, out->runs, CALIBRATE_RUN, head_dim, out->enough);
    return st;
}
