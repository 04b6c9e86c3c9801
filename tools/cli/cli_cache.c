/* What the cache options come to. */
#include "cli/cli_cache.h"

#include "cli/cli_internal.h"

kv_status cli_cache_cfg(const cli_cache *c, const prof *p, rt_ctx_cfg *out, kv_err *err) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    if (c->evict > KV_EVICT_NONE && !kv_budget_given(c->budget) && !(p && kv_budget_given(p->evict.budget)))
        return kv_fail(err, KV_EINVAL,
                       "--evict %s needs a budget: add --budget 2048 (tokens) or --budget 50%% (of the context)",
                       kv_evict_names[c->evict].name);
    cfg.profile = prof_for_window(p, c->window);
    cfg.ctk = c->ctk;
    cfg.ctv = c->ctv;
    cfg.window = (int)c->window;
    cfg.sinks = (int)c->sinks;
    cfg.recent = (int)c->recent;
    cfg.evict = c->evict;
    cfg.budget = c->budget;
    cfg.ada = c->ada;
    cfg.equal_budgets = c->equal_budgets;
    *out = cfg;
    return KV_OK;
}

bool cli_cache_given(const cli_cache *c) {
    cli_cache given = *c, none = CLI_CACHE_DEFAULT;
    none.profile = c->profile;
    const cli_opt rows[] = {CLI_CACHE_ROWS(&given), {0}}, defaults[] = {CLI_CACHE_ROWS(&none), {0}};
    for (size_t i = 0; cli_opt_at(&rows[i]); i++)
        if (cli_opt_differs(&rows[i], &defaults[i]))
            return true;
    return false;
}
