/* Tokens per layer from attention entropy, after PyramidKV (Cai et al. 2024), which gives lower layers, where attention is
 * wide, more cache than upper ones. PyramidKV lets budgets fall along a fixed slope; here the measured width decides: 2^entropy
 * is the number of tokens that attention effectively spreads over. docs/codec.md, section 6.
 */
#include "calib_internal.h"

#include <math.h>

enum { LEAST = 32 }; /* tokens that every layer keeps */

static double width(const prof *p, uint32_t layer) {
    double sum = 0;
    for (uint32_t h = 0; h < p->n_head; h++)
        sum += exp2((double)p->layers[layer].entropy[h]);
    return sum / p->n_head;
}

void cal_budget(prof *p) {
    double most = p->calib_ctx, left = most / 2 * p->n_layer, least = fmin(LEAST, most / 2);
    bool full[PROF_MAX_LAYERS] = {false};
    /* Share what is left in proportion to width; layers that would get more than the context get just that, and the rest is
     * shared again. */
    for (bool again = true; again;) {
        double sum = 0, share = left;
        again = false;
        for (uint32_t l = 0; l < p->n_layer; l++)
            if (!full[l])
                sum += width(p, l), share -= least;
        for (uint32_t l = 0; l < p->n_layer; l++) {
            if (full[l])
                continue;
            double tokens = least + share * width(p, l) / sum;
            if (tokens >= most)
                full[l] = again = true, left -= most, tokens = most;
            p->layers[l].budget = (uint32_t)tokens;
        }
    }
}
