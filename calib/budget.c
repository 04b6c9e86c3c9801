/* Tokens per layer from attention entropy, after PyramidKV (Cai et al. 2024, arXiv 2406.02069), which gives lower layers, where
 * attention is wide, more cache than upper ones. PyramidKV lets budgets fall along a fixed slope; here the measured width
 * decides: 2^entropy is the number of tokens that attention effectively spreads over. docs/budgets.md.
 */
#include "calib_internal.h"

#include <math.h>
#include <stdio.h>

enum { LEAST = 32 }; /* tokens that every layer keeps */

static double width(const prof *p, uint32_t layer) {
    double sum = 0;
    for (uint32_t h = 0; h < prof_heads(p, layer); h++)
        sum += exp2((double)p->layers[layer].entropy[h]);
    return sum / prof_heads(p, layer);
}

void cal_budget_by_entropy(const bool *windowed, double share, prof *p) {
    const double most = p->calib_ctx, mean = share * most, least = fmin(LEAST, mean);
    bool done[PROF_MAX_LAYERS] = {false};
    double left = 0;
    for (uint32_t l = 0; l < p->n_layer; l++) {
        done[l] = (windowed && windowed[l]) || !prof_kv_heads(p, l);
        left += done[l] ? 0 : mean;
        p->layers[l].budget = 0;
    }
    /* Share what is left in proportion to width; layers that would get more than the context get just that, and the rest is
     * shared again. */
    for (bool again = true; again;) {
        double sum = 0, rest = left;
        again = false;
        for (uint32_t l = 0; l < p->n_layer; l++)
            if (!done[l])
                sum += width(p, l), rest -= least;
        for (uint32_t l = 0; l < p->n_layer; l++) {
            if (done[l])
                continue;
            double tokens = least + rest * width(p, l) / sum;
            if (tokens >= most)
                done[l] = again = true, left -= most, tokens = most;
            p->layers[l].budget = (uint32_t)tokens;
        }
    }
    prof_budget_rule *r = &p->budget_rule;
    p->budget_by = PROF_BY_ENTROPY;
    *r = (prof_budget_rule){.mean = (uint32_t)mean,
                            .least = (uint32_t)least,
                            .most = (uint32_t)most,
                            .ctx = p->calib_ctx,
                            .tokens = p->calib_tokens};
    snprintf(r->formula, sizeof r->formula, "least + (sum of layers - least of all) * w / sum w, w = mean of 2^entropy");
}
