/* Of every head's curve the lower convex hull; pieces of all hulls in order of loss per token, until the tokens are used up.
 * For convex curves that is the least sum there is (one Lagrangian). */
#include "quant/loss_curve.h"

#include <math.h>
#include <stdlib.h>

const float kv_cuts[KV_CUTS] = {1.0f / 32, 1.0f / 16, 1.0f / 8, 1.0f / 4, 1.0f / 2, 3.0f / 4};

enum { POINTS = KV_CUTS + 2 }; /* and the least that a head gets, and all */

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

/* The curve of a head from `least` tokens on, up to ctx; how many points. */
static size_t points_of(const float *loss, uint32_t ctx, double least, double at[POINTS], double value[POINTS]) {
    size_t n = 1;
    double before = (double)kv_cuts[0] * ctx, lost = (double)loss[0];
    at[0] = least;
    value[0] = lost;
    for (size_t c = 0; c <= KV_CUTS; c++) {
        const double x = c < KV_CUTS ? (double)kv_cuts[c] * ctx : ctx, y = c < KV_CUTS ? (double)loss[c] : 0;
        if (x > least) {
            if (n == 1 && least > before)
                value[0] = lost + (y - lost) * (least - before) / (x - before);
            at[n] = x;
            value[n++] = y;
        }
        before = x;
        lost = y;
    }
    return n;
}

kv_status kv_share_out(const float *loss, size_t n, uint32_t ctx, uint32_t least, double total, double *tokens, kv_err *err) {
    const double lowest = fmin(fmax(least, (double)kv_cuts[0] * ctx), ctx);
    double left = total - lowest * (double)n, at[POINTS], value[POINTS];
    piece *pieces = malloc((n * POINTS + 1) * sizeof *pieces);
    size_t count = 0;
    if (!pieces)
        return kv_fail(err, KV_ENOMEM, "budgets: out of memory");
    for (size_t h = 0; h < n; h++) {
        tokens[h] = left < 0 ? total / (double)n : lowest;
        count += hull(at, value, points_of(loss + h * KV_CUTS, ctx, lowest, at, value), h, pieces + count);
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
