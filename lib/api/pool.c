/* Sessions that share a workspace, and steps of many of them. */
#include "api/api_internal.h"

#include <stdlib.h>

kv_status kv_pool_new(const kv_model *model, const kv_pool_options *options, kv_pool **out, kv_err *err) {
    static const kv_pool_options defaults = KV_POOL_OPTIONS_INIT;
    kv_pool_options o;
    *out = NULL;
    kv_status st = api_options(options, &defaults, sizeof o, &o, "KV_POOL_OPTIONS", err);
    if (st || (st = api_check_range("the number of tokens of a step", o.n_batch, 0, MOST_BATCH, err)))
        return st;
    if (o.reserved)
        return kv_fail(err, KV_EINVAL, "unknown flags %#x of a pool", o.reserved);
    kv_pool *p = calloc(1, sizeof *p);
    if (!p)
        return kv_fail(err, KV_ENOMEM, "out of memory for a pool");
    p->m = model;
    if ((st = rt_pool_new(model->rt, o.n_batch, &p->rt, err)) ||
        (st = (p->rows = calloc(rt_pool_n_batch(p->rt), sizeof *p->rows))
                  ? KV_OK
                  : kv_fail(err, KV_ENOMEM, "out of memory for a pool")))
        kv_pool_free(p);
    else
        *out = p;
    return st;
}

void kv_pool_free(kv_pool *pool) {
    if (!pool)
        return;
    rt_pool_free(pool->rt);
    free(pool->rows);
    free(pool);
}

/* Rows first .. end-1 are those of one session. */
static kv_status check_session(const kv_pool *p, const kv_row *rows, uint32_t first, uint32_t end, kv_err *err) {
    kv_session *s = rows[first].session;
    if (!s || s->pool != p)
        return kv_fail(err, KV_EINVAL, "row %u: the session is not of this pool", first);
    for (uint32_t i = first; i < end; i++) {
        kv_status st = api_check_ids(s, rt_session_len(s->rt) + (i - first), &rows[i].id, 1, err);
        if (st)
            return st;
        if (rows[i].flags & ~(uint32_t)KV_ROW_NO_LOGITS)
            return kv_fail(err, KV_EINVAL, "row %u: unknown flags %#x", i, rows[i].flags);
    }
    return KV_OK;
}

kv_status kv_pool_step(kv_pool *pool, const kv_row *rows, size_t n, kv_err *err) {
    const uint32_t most = rt_pool_n_batch(pool->rt);
    kv_status st = KV_OK;
    if (!rows && n)
        return api_missing("rows", err);
    if (n < 1 || n > most)
        return kv_fail(err, KV_EINVAL, "a step of %zu rows: 1..%u are possible", n, most);
    for (uint32_t first = 0, end; first < n; first = end) {
        for (end = first + 1; end < n && rows[end].session == rows[first].session;)
            end++;
        if ((st = check_session(pool, rows, first, end, err)))
            return st;
    }
    for (uint32_t i = 0; i < n; i++)
        pool->rows[i] = (rt_pool_row){rows[i].session->rt, rows[i].id, !(rows[i].flags & KV_ROW_NO_LOGITS)};
    return rt_pool_step(pool->rt, pool->rows, (uint32_t)n, err);
}
