/* Token budgets: a map of heads where each has its own, else bars of layers. */
#include "report/report_parts.h"

#include <math.h>
#include <stdlib.h>

static bool heads_differ(const prof *p) {
    for (uint32_t l = 0; l < p->n_layer; l++)
        if (p->layers[l].budgets)
            return true;
    return false;
}

static const char *caption(const prof *p) {
    if (p->budget_by == PROF_BY_LOSS)
        return "How much of a long context each KV head should keep, so that what all of them lose together is least. "
               "Measured: "
               "what the model would say otherwise if a head read only the first and the newest tokens. Dark heads fetch what "
               "is far; light ones read what is near.";
    return "How many tokens each layer should keep of a long context, by the entropy of its attention (PyramidKV): layers with "
           "wide attention need many. Nothing is dropped unless a budget is asked for.";
}

/* Of what share of the context, in percent; where that is not known, tokens. */
static void draw_heads(FILE *f, const prof *p, float *v) {
    const double most = p->budget_rule.most;
    for (uint32_t l = 0; l < p->n_layer; l++)
        for (uint32_t h = 0; h < p->n_kv_head; h++) {
            const uint32_t tokens = h < prof_kv_heads(p, l) ? prof_head_budget(p, l, h) : 0;
            v[(size_t)l * p->n_kv_head + h] = tokens ? (float)(most > 0 ? 100 * tokens / most : tokens) : NAN;
        }
    const rep_grid g = {NULL, "KV head ", p->n_layer, p->n_kv_head, v};
    rep_heat_map(f, &g, 1, most > 0 ? "% of the context" : "tokens", "Map of token budgets, layers across, KV heads down");
}

kv_status rep_budget_section(FILE *f, const prof *p, kv_err *err) {
    if (!prof_has_budgets(p))
        return KV_OK;
    const bool heads = p->n_kv_head && heads_differ(p);
    float *v = malloc((size_t)p->n_layer * (heads ? p->n_kv_head : 1) * sizeof *v);
    if (!v)
        return kv_fail(err, KV_ENOMEM, "out of memory for the report");
    rep_section_begin(f, "Token budgets", caption(p));
    if (heads) {
        draw_heads(f, p, v);
    } else {
        for (uint32_t l = 0; l < p->n_layer; l++)
            v[l] = (float)p->layers[l].budget;
        rep_bars(f, v, p->n_layer, "tokens", "Bars of token budgets per layer");
    }
    rep_section_end(f);
    free(v);
    return KV_OK;
}
