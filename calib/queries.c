/* Representative queries of a KV head. Candidates are spread evenly over the tokens, and in turn over the query heads that read
 * the KV head. They are split into as many groups of equal size as queries are wanted, always in two along the dimension that
 * varies most (a k-d tree, Bentley 1975), and of each group the one next to its mean stays. So a query stands for as many
 * others as any other does, and their mean is about that of all, with less chance in it than a draw would have.
 */
#include "calib_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Token of candidate c. */
static uint64_t token_of(const cal_shape *sh, uint32_t c) {
    return (2 * (uint64_t)c + 1) * sh->n_tokens / (2 * CAL_ASKED);
}

void cal_keep_queries(const cal_shape *sh, uint64_t seen, const float *q, uint32_t n_head, uint32_t group, uint32_t n,
                      uint32_t head, float *asked) {
    const uint32_t dim = sh->head_dim;
    for (uint32_t c = 0; c < CAL_ASKED; c++) {
        const uint64_t t = token_of(sh, c);
        if (t >= seen && t < seen + n)
            memcpy(asked + (size_t)c * dim, q + ((size_t)(t - seen) * n_head + head * group + c % group) * dim,
                   dim * sizeof *q);
    }
}

typedef struct item {
    const float *q;
    float along; /* the dimension that its group is split by */
} item;

static int by_along(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->along != y->along)
        return x->along < y->along ? -1 : 1;
    return x->q < y->q ? -1 : x->q > y->q; /* in the order of the tokens */
}

static double mean_of(const item *items, uint32_t n, uint32_t i) {
    double sum = 0;
    for (uint32_t k = 0; k < n; k++)
        sum += (double)items[k].q[i];
    return sum / n;
}

static uint32_t widest(const item *items, uint32_t n, uint32_t dim) {
    uint32_t best = 0;
    double most = -1;
    for (uint32_t i = 0; i < dim; i++) {
        const double mean = mean_of(items, n, i);
        double var = 0;
        for (uint32_t k = 0; k < n; k++)
            var += ((double)items[k].q[i] - mean) * ((double)items[k].q[i] - mean);
        if (var > most) {
            most = var;
            best = i;
        }
    }
    return best;
}

static const float *nearest_to_mean(const item *items, uint32_t n, uint32_t dim) {
    double mean[PROF_MAX_DIM], least = INFINITY;
    const float *best = items[0].q;
    for (uint32_t i = 0; i < dim; i++)
        mean[i] = mean_of(items, n, i);
    for (uint32_t k = 0; k < n; k++) {
        double far = 0;
        for (uint32_t i = 0; i < dim; i++)
            far += ((double)items[k].q[i] - mean[i]) * ((double)items[k].q[i] - mean[i]);
        if (far < least) {
            least = far;
            best = items[k].q;
        }
    }
    return best;
}

/* `want` of n >= want items, to out (want, dim). */
static void choose(item *items, uint32_t n, uint32_t want, uint32_t dim, float *out) {
    if (want == 1) {
        memcpy(out, nearest_to_mean(items, n, dim), dim * sizeof *out);
        return;
    }
    const uint32_t axis = widest(items, n, dim), left = want / 2, cut = n / want * left;
    for (uint32_t k = 0; k < n; k++)
        items[k].along = items[k].q[axis];
    qsort(items, n, sizeof *items, by_along);
    choose(items, cut, left, dim, out);
    choose(items + cut, n - cut, want - left, dim, out + (size_t)left * dim);
}

void cal_choose_queries(const float *asked, uint32_t dim, float *out) {
    item items[CAL_ASKED];
    for (uint32_t c = 0; c < CAL_ASKED; c++)
        items[c] = (item){.q = asked + (size_t)c * dim};
    choose(items, CAL_ASKED, PROF_QUERIES, dim, out);
}
