/* Profiles of one model for several windows, one behind the other: which is for whom, and whether they belong together. */
#include "profile/profile_internal.h"

#include <string.h>

const prof *prof_for_window(const prof *p, int64_t window) {
    while (p && window >= 0 && window < (int64_t)p->window && p->narrower)
        p = p->narrower;
    return p;
}

static bool same_heads(const uint16_t *a, const uint16_t *b, uint32_t n) {
    return a && b ? !memcmp(a, b, n * sizeof *a) : a == b;
}

kv_status prof_check_windows(const prof *p, const char *where, kv_err *err) {
    uint32_t n = 1;
    for (const prof *q = p->narrower; q; p = q, q = q->narrower) {
        if (++n > PROF_MAX_WINDOWS)
            return kv_fail(err, KV_ERANGE, "%s: is for more than %d windows", where, PROF_MAX_WINDOWS);
        if (q->window >= p->window)
            return kv_fail(err, KV_ERANGE,
                           "%s: policy.window: %u comes behind %u, but windows must fall from document to document", where,
                           q->window, p->window);
        if (strcmp(p->model_hash, q->model_hash) || p->n_layer != q->n_layer || p->n_head != q->n_head ||
            p->n_kv_head != q->n_kv_head || p->head_dim != q->head_dim || !same_heads(p->heads, q->heads, p->n_layer) ||
            !same_heads(p->kv_heads, q->kv_heads, p->n_layer))
            return kv_fail(err, KV_ERANGE, "%s: model: that for window %u is of another model than that for window %u", where,
                           q->window, p->window);
        if (p->sinks != q->sinks)
            return kv_fail(err, KV_ERANGE, "%s: policy.sinks: %u for window %u, but %u for window %u", where, q->sinks,
                           q->window, p->sinks, p->window);
        if (!prof_has_tc(p) || !prof_has_tc(q))
            return kv_fail(err, KV_ERANGE, "%s: several windows: only calibrated profiles, with codec tc, are made for them",
                           where);
    }
    return KV_OK;
}
