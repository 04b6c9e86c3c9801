/* Tokens per KV head from what it loses without the others: measured curves of loss over tokens, and the budgets that follow
 * from them. docs/budgets.md.
 *
 * Losses are sums over the tokens in their order, a head after the other: no threads, nothing to depend on.
 */
#include "calib_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST = 64 }; /* tokens of a head */

struct cal_losses {
    cal_shape shape;
    double *sum;     /* (n_layer, n_kv_head, KV_CUTS) nats */
    uint64_t *count; /* (n_layer) queries in them */
    uint32_t first;  /* layer that is seen */
    uint64_t tokens; /* that it saw */
};

kv_status cal_losses_new(const cal_shape *sh, cal_losses **out, kv_err *err) {
    cal_losses *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "calibration: out of memory");
    s->shape = *sh;
    while (s->first + 1 < sh->n_layer && !cal_kv_heads(sh, s->first))
        s->first++;
    s->sum = calloc((size_t)sh->n_layer * sh->n_kv_head * KV_CUTS, sizeof *s->sum);
    s->count = calloc(sh->n_layer, sizeof *s->count);
    if (!s->sum || !s->count) {
        cal_losses_free(s);
        return kv_fail(err, KV_ENOMEM, "calibration: out of memory");
    }
    *out = s;
    return KV_OK;
}

void cal_losses_free(cal_losses *s) {
    if (!s)
        return;
    free(s->sum);
    free(s->count);
    free(s);
}

/* What a change of log p by x, to first order, costs: x^2 / 2 as long as it is small (docs/codec.md, 1). Second order
 * exaggerates large ones: nothing loses more than what was said changes. */
static double nats(double x) {
    x = fabs(x);
    return x < 1 ? x * x / 2 : x - 0.5;
}

void cal_losses_add(cal_losses *s, uint32_t layer, uint32_t n, uint32_t from, const float *cut) {
    const uint32_t n_head = cal_heads(&s->shape, layer), kv = cal_kv_heads(&s->shape, layer), group = kv ? n_head / kv : 0;
    for (uint32_t t = from; t < n; t++)
        for (uint32_t g = 0; g < kv; g++)
            for (uint32_t c = 0; c < KV_CUTS; c++) {
                double x = 0; /* the heads of a group lose the same tokens, so their changes add up */
                for (uint32_t h = g * group; h < (g + 1) * group; h++)
                    x += (double)cut[((size_t)t * n_head + h) * KV_CUTS + c];
                s->sum[((size_t)layer * s->shape.n_kv_head + g) * KV_CUTS + c] += nats(x);
            }
    s->count[layer] += n > from ? n - from : 0;
    if (layer == s->first)
        s->tokens += n;
}

bool cal_losses_pass(cal_losses *s, cal_bytes *pass, void *user) {
    const size_t n_layer = s->shape.n_layer;
    return pass(user, s->sum, n_layer * s->shape.n_kv_head * KV_CUTS * sizeof *s->sum) &&
           pass(user, s->count, n_layer * sizeof *s->count) && pass(user, &s->tokens, sizeof s->tokens) &&
           pass(user, &s->first, sizeof s->first);
}

double cal_loss(const cal_losses *s, uint32_t layer, uint32_t head, uint32_t cut) {
    const double sum = s->sum[((size_t)layer * s->shape.n_kv_head + head) * KV_CUTS + cut];
    return s->count[layer] ? sum / (double)s->count[layer] : 0;
}

/* ---- in a profile ---- */

/* KV heads of a layer that are to have budgets. */
static uint32_t heads_of(const cal_losses *s, uint32_t layer) {
    return s->shape.windowed && s->shape.windowed[layer] ? 0 : cal_kv_heads(&s->shape, layer);
}

/* Curves of the heads of layers with full attention into the profile, and one after the other into loss; how many heads. */
static kv_status keep_curves(const cal_losses *s, prof *p, float *loss, size_t *n, kv_err *err) {
    *n = 0;
    for (uint32_t l = 0; l < s->shape.n_layer; l++) {
        prof_layer *y = &p->layers[l];
        y->budget = 0;
        if (!heads_of(s, l))
            continue;
        kv_status st = prof_budgets_alloc(p, y, err);
        if (st || (st = prof_losses_alloc(p, y, err)))
            return st;
        for (uint32_t h = 0; h < heads_of(s, l); h++)
            for (uint32_t c = 0; c < KV_CUTS; c++)
                y->losses[h * KV_CUTS + c] = (float)cal_loss(s, l, h, c);
    }
    prof_round(p); /* budgets follow from what is written */
    for (uint32_t l = 0; l < s->shape.n_layer; l++)
        for (uint32_t h = 0; h < heads_of(s, l); h++)
            memcpy(loss + (*n)++ * KV_CUTS, p->layers[l].losses + h * KV_CUTS, KV_CUTS * sizeof *loss);
    return KV_OK;
}

static void keep_budgets(const cal_losses *s, const double *tokens, prof *p) {
    for (uint32_t l = 0; l < p->n_layer; l++)
        for (uint32_t h = 0; h < heads_of(s, l); h++)
            p->layers[l].budgets[h] = (uint32_t)fmax(1, rint(*tokens++));
}

kv_status cal_budget_by_loss(const cal_losses *s, double share, uint32_t ctx, prof *p, kv_err *err) {
    const size_t heads = (size_t)s->shape.n_layer * s->shape.n_kv_head;
    const double mean = share * ctx;
    float *loss = malloc(heads * KV_CUTS * sizeof *loss);
    double *tokens = malloc(heads * sizeof *tokens);
    size_t n;
    kv_status st = loss && tokens ? KV_OK : kv_fail(err, KV_ENOMEM, "calibration: out of memory");
    if (st || (st = keep_curves(s, p, loss, &n, err)) ||
        (st = kv_share_out(loss, n, ctx, LEAST, mean * (double)n, tokens, err)))
        goto done;
    keep_budgets(s, tokens, p);
    p->budget_by = PROF_BY_LOSS;
    p->budget_rule = (prof_budget_rule){.mean = (uint32_t)rint(mean),
                                        .least = (uint32_t)rint(fmin(fmax(LEAST, (double)kv_cuts[0] * ctx), mean)),
                                        .most = ctx,
                                        .ctx = ctx,
                                        .tokens = (uint32_t)s->tokens};
    snprintf(p->budget_rule.formula, sizeof p->budget_rule.formula,
             "least sum of losses; loss of a head: mean of x^2/2 (|x|-1/2 above 1), x = g.(o of the newest tokens - o)");
    prof_round(p);
done:
    free(loss);
    free(tokens);
    return st;
}
