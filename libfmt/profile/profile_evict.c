/* What a profile says of eviction: the policy, budgets of layers and heads, and queries as a model asks them. docs/budgets.md.
 *
 * A stored query is integers of 8 bits times one scale. The largest integer is 127, so the scale can be told from the numbers;
 * the scale has 8 significant bits (bfloat16, whose range no query leaves), so the products are exact in f32.
 */
#include "base/fp16.h"
#include "profile/profile_internal.h"

#include <math.h>
#include <stdlib.h>

_Static_assert(sizeof(kv_evict_id) == 4 && sizeof(prof_budget_by) == 4, "rows of kind PK_NAME are 32 bits wide");

enum { CODE_MAX = 127 };

const char *prof_evict_name(unsigned policy) {
    return policy < KV_EVICT_COUNT ? kv_evict_names[policy].name : NULL;
}

const char *prof_budget_by_name(unsigned by) {
    static const char *const names[] = {[PROF_BY_ENTROPY] = "entropy", [PROF_BY_LOSS] = "loss"};
    return by < sizeof names / sizeof *names ? names[by] : NULL;
}

/* ---- budgets ---- */

kv_status prof_budgets_alloc(const prof *p, prof_layer *l, kv_err *err) {
    if (!l->budgets && !(l->budgets = calloc(p->n_kv_head, sizeof *l->budgets)))
        return kv_fail(err, KV_ENOMEM, "profile: out of memory");
    return KV_OK;
}

kv_status prof_losses_alloc(const prof *p, prof_layer *l, kv_err *err) {
    if (!l->losses && !(l->losses = calloc((size_t)p->n_kv_head * KV_CUTS, sizeof *l->losses)))
        return kv_fail(err, KV_ENOMEM, "profile: out of memory");
    return KV_OK;
}

bool prof_has_budgets(const prof *p) {
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        if (p->layers[l].budget || p->layers[l].budgets)
            return true;
    return false;
}

bool prof_has_losses(const prof *p) {
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        if (p->layers[l].losses)
            return true;
    return false;
}

uint32_t prof_head_budget(const prof *p, uint32_t layer, uint32_t head) {
    const prof_layer *l = p->layers ? &p->layers[layer] : NULL;
    return !l ? 0 : l->budgets ? l->budgets[head] : l->budget;
}

void prof_mean_budgets(prof *p) {
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++) {
        double sum = 0;
        for (uint32_t h = 0; p->layers[l].budgets && h < prof_kv_heads(p, l); h++)
            sum += p->layers[l].budgets[h];
        if (sum > 0)
            p->layers[l].budget = (uint32_t)fmax(1, rint(sum / prof_kv_heads(p, l)));
    }
}

/* ---- queries ---- */

kv_status prof_queries_alloc(const prof *p, prof_layer *l, kv_err *err) {
    if (!l->queries && !(l->queries = calloc((size_t)p->n_kv_head * PROF_QUERIES * p->head_dim, sizeof *l->queries)))
        return kv_fail(err, KV_ENOMEM, "profile: out of memory");
    return KV_OK;
}

bool prof_has_queries(const prof *p) {
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        if (p->layers[l].queries)
            return true;
    return false;
}

bool prof_query_code(const float *q, uint32_t dim, int8_t *codes, float *scale) {
    float most = 0;
    bool exact = true;
    for (uint32_t i = 0; i < dim; i++)
        most = isfinite(q[i]) ? fmaxf(most, fabsf(q[i])) : most;
    *scale = bf16_to_fp32(bf16_from_fp32(most / CODE_MAX)); /* within 1/256 of it, so the largest code is 127 */
    if (!(*scale >= 0x1p-100f && *scale <= 0x1p100f))       /* nothing that a model asks; here codes would not be exact */
        *scale = 0;
    for (uint32_t i = 0; i < dim; i++) {
        const float code = *scale > 0 && isfinite(q[i]) ? rintf(q[i] / *scale) : 0;
        codes[i] = (int8_t)code;
        exact &= code * *scale == q[i];
    }
    return exact;
}

static void round_query(float *q, uint32_t dim) {
    int8_t codes[PROF_MAX_DIM];
    float scale;
    prof_query_code(q, dim, codes, &scale);
    for (uint32_t i = 0; i < dim; i++)
        if (isfinite(q[i])) /* prof_check tells of the others */
            q[i] = (float)codes[i] * scale;
}

void prof_round_evict(prof *p) {
    char text[KV_BUDGET_TEXT];
    kv_budget_format(p->evict.budget, text);
    kv_budget_parse(text, &p->evict.budget); /* refuses "0%", which stays what it is */
    prof_mean_budgets(p);
    for (uint32_t l = 0; p->layers && l < p->n_layer; l++)
        for (size_t i = 0; p->layers[l].queries && i < (size_t)prof_kv_heads(p, l) * PROF_QUERIES; i++)
            round_query(p->layers[l].queries + i * p->head_dim, p->head_dim);
}

/* ---- checking ---- */

static kv_status check_layer(const prof *p, uint32_t l, const char *where, kv_err *err) {
    const prof_layer *y = &p->layers[l];
    for (uint32_t h = 0; y->budgets && h < prof_kv_heads(p, l); h++)
        if (!y->budgets[h])
            return kv_fail(err, KV_ERANGE, "%s: layers[%u].budget[%u]: 0 is outside 1..%u", where, l, h, UINT32_MAX);
    if (y->queries && (!p->n_kv_head || !p->head_dim))
        return kv_fail(err, KV_ERANGE, "%s: layers[%u]: queries need the model's shape (model.kv_heads, model.head_dim)", where,
                       l);
    for (size_t i = 0; y->queries && i < (size_t)prof_kv_heads(p, l) * PROF_QUERIES * p->head_dim; i++)
        if (!isfinite(y->queries[i]))
            return kv_fail(err, KV_ERANGE, "%s: layers[%u], head %zu: query %zu is not finite", where, l,
                           i / p->head_dim / PROF_QUERIES, i / p->head_dim % PROF_QUERIES);
    return KV_OK;
}

kv_status prof_check_evict(const prof *p, const char *where, kv_err *err) {
    const prof_evict *e = &p->evict;
    kv_status st = KV_OK;
    if (!(e->budget.share >= 0 && e->budget.share <= 1) || (e->budget.tokens && e->budget.share > 0))
        return kv_fail(err, KV_ERANGE, "%s: policy.evict.budget: neither a number of tokens nor a share of 0..100 %%", where);
    if (e->pool % 2 == 0 && e->policy != KV_EVICT_NONE)
        return kv_fail(err, KV_ERANGE, "%s: policy.evict.pool: %u is even; a slot and as many neighbours to both sides are odd",
                       where, e->pool);
    if (kv_evict_names[e->policy].calibrated && !prof_has_queries(p))
        return kv_fail(err, KV_ERANGE, "%s: policy.evict.policy: '%s' needs queries, which kvcalib puts into a profile's data",
                       where, kv_evict_names[e->policy].name);
    for (uint32_t l = 0; st == KV_OK && p->layers && l < p->n_layer; l++)
        st = check_layer(p, l, where, err);
    return st;
}
