/* Tokens per KV head from what it loses without the others: measured curves of loss over tokens, and the shares of a common
 * total for which the sum of losses is least. docs/budgets.md.
 *
 * Losses are sums over the tokens in their order, a head after the other: no threads, nothing to depend on.
 */
#include "calib_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const float cal_cuts[CAL_CUTS] = {1.0f / 32, 1.0f / 16, 1.0f / 8, 1.0f / 4, 1.0f / 2, 3.0f / 4};

enum { LEAST = 64, POINTS = CAL_CUTS + 1 };

struct cal_losses {
    uint32_t n_layer, n_head, n_kv_head;
    const bool *windowed;
    double *sum;     /* (n_layer, n_kv_head, CAL_CUTS) nats */
    uint64_t *count; /* (n_layer) queries in them */
    uint64_t tokens; /* that the first layer saw */
};

kv_status cal_losses_new(const cal_shape *sh, cal_losses **out, kv_err *err) {
    cal_losses *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "calibration: out of memory");
    *s = (cal_losses){.n_layer = sh->n_layer, .n_head = sh->n_head, .n_kv_head = sh->n_kv_head, .windowed = sh->windowed};
    s->sum = calloc((size_t)sh->n_layer * sh->n_kv_head * CAL_CUTS, sizeof *s->sum);
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
    const uint32_t group = s->n_head / s->n_kv_head;
    for (uint32_t t = from; t < n; t++)
        for (uint32_t g = 0; g < s->n_kv_head; g++)
            for (uint32_t c = 0; c < CAL_CUTS; c++) {
                double x = 0; /* the heads of a group lose the same tokens, so their changes add up */
                for (uint32_t h = g * group; h < (g + 1) * group; h++)
                    x += (double)cut[((size_t)t * s->n_head + h) * CAL_CUTS + c];
                s->sum[((size_t)layer * s->n_kv_head + g) * CAL_CUTS + c] += nats(x);
            }
    s->count[layer] += n > from ? n - from : 0;
    s->tokens += layer ? 0 : n;
}

double cal_loss(const cal_losses *s, uint32_t layer, uint32_t head, uint32_t cut) {
    const double sum = s->sum[((size_t)layer * s->n_kv_head + head) * CAL_CUTS + cut];
    return s->count[layer] ? sum / (double)s->count[layer] : 0;
}

/* ---- sharing out ---- */

/* A piece of a head's convex hull. */
typedef struct piece {
    double gain, tokens; /* loss that a token takes away; how many of these there are */
    size_t head;
} piece;

static int by_gain(const void *a, const void *b) {
    const piece *x = a, *y = b;
    if (x->gain != y->gain)
        return x->gain > y->gain ? -1 : 1;
    return x->head < y->head ? -1 : x->head > y->head;
}

/* The lower hull of a head's points as pieces; how many. */
static size_t hull(const double *at, const double *loss, size_t points, size_t head, piece *out) {
    size_t n = 0;
    for (size_t i = 0, next; i + 1 < points; i = next) {
        double best = -INFINITY;
        next = points - 1;
        for (size_t j = i + 1; j < points; j++) {
            const double gain = (loss[i] - loss[j]) / (at[j] - at[i]);
            if (gain >= best) {
                best = gain;
                next = j;
            }
        }
        out[n++] = (piece){best, at[next] - at[i], head};
    }
    return n;
}

kv_status cal_share_out(const double *at, const double *loss, size_t points, size_t n, double total, double *tokens,
                        kv_err *err) {
    piece *pieces = malloc((n * points + 1) * sizeof *pieces);
    size_t count = 0;
    if (!pieces)
        return kv_fail(err, KV_ENOMEM, "calibration: out of memory");
    double left = total - at[0] * (double)n;
    for (size_t h = 0; h < n; h++) {
        tokens[h] = left < 0 ? total / (double)n : at[0];
        count += hull(at, loss + h * points, points, h, pieces + count);
    }
    qsort(pieces, count, sizeof *pieces, by_gain);
    for (size_t i = 0; i < count && left > 0; i++) {
        const double take = fmin(left, pieces[i].tokens);
        tokens[pieces[i].head] += take;
        left -= take;
    }
    free(pieces);
    return KV_OK;
}

/* Heads of layers with full attention: their curves from `first` of cal_cuts on, (heads, POINTS - first). */
static size_t curves(const cal_losses *s, size_t first, double *loss) {
    size_t n = 0;
    for (uint32_t l = 0; l < s->n_layer; l++)
        for (uint32_t h = 0; h < s->n_kv_head && !(s->windowed && s->windowed[l]); h++, n++)
            for (size_t c = first; c < POINTS; c++)
                *loss++ = c < CAL_CUTS ? cal_loss(s, l, h, (uint32_t)c) : 0;
    return n;
}

static kv_status keep(const cal_losses *s, const double *tokens, prof *p, kv_err *err) {
    for (uint32_t l = 0; l < p->n_layer; l++) {
        p->layers[l].budget = 0;
        if (s->windowed && s->windowed[l])
            continue;
        kv_status st = prof_budgets_alloc(p, &p->layers[l], err);
        if (st)
            return st;
        for (uint32_t h = 0; h < p->n_kv_head; h++)
            p->layers[l].budgets[h] = (uint32_t)fmax(1, rint(*tokens++));
    }
    return KV_OK;
}

kv_status cal_budget_by_loss(const cal_losses *s, double share, uint32_t ctx, prof *p, kv_err *err) {
    const size_t heads = (size_t)s->n_layer * s->n_kv_head;
    double *loss = malloc(heads * POINTS * sizeof *loss), *tokens = malloc(heads * sizeof *tokens), at[POINTS];
    kv_status st = KV_OK;
    size_t first = 0;
    if (!loss || !tokens) {
        st = kv_fail(err, KV_ENOMEM, "calibration: out of memory");
        goto done;
    }
    for (size_t c = 0; c < POINTS; c++)
        at[c] = ctx * (c < CAL_CUTS ? (double)cal_cuts[c] : 1);
    while (first + 1 < POINTS && at[first] < LEAST)
        first++;
    const size_t n = curves(s, first, loss);
    if ((st = cal_share_out(at + first, loss, POINTS - first, n, share * ctx * (double)n, tokens, err)) ||
        (st = keep(s, tokens, p, err)))
        goto done;
    p->budget_by = PROF_BY_LOSS;
    p->budget_rule = (prof_budget_rule){.mean = (uint32_t)rint(share * ctx),
                                        .least = (uint32_t)rint(fmin(at[first], share * ctx)),
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
