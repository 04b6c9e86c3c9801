#include "profile/evict_id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const kv_evict_name kv_evict_names[KV_EVICT_COUNT] = {
    [KV_EVICT_NONE] = {KV_EVICT_NONE, "none", "keep every token", false},
    [KV_EVICT_STREAMING] = {KV_EVICT_STREAMING, "streaming", "sinks and the newest tokens", false},
    [KV_EVICT_H2O] = {KV_EVICT_H2O, "h2o", "tokens that got most attention from all queries so far", false},
    [KV_EVICT_SNAPKV] = {KV_EVICT_SNAPKV, "snapkv", "tokens (and neighbours) that the last queries attend to", false},
    [KV_EVICT_TOVA] = {KV_EVICT_TOVA, "tova", "tokens that the very last query attends to", false},
    [KV_EVICT_KNORM] = {KV_EVICT_KNORM, "knorm", "tokens with short keys", false},
    [KV_EVICT_EXPECTED] = {KV_EVICT_EXPECTED, "expected", "tokens that queries as calibrated would attend to", true},
    [KV_EVICT_MERGE] = {KV_EVICT_MERGE, "merge", "as h2o, but folds a token into a similar one instead of dropping it", false},
};

int kv_evict_by_name(const char *name) {
    for (int i = 0; i < KV_EVICT_COUNT; i++)
        if (!strcmp(name, kv_evict_names[i].name))
            return i;
    return -1;
}

bool kv_budget_parse(const char *text, kv_budget *out) {
    char *end;
    const size_t digits = strspn(text, "0123456789."); /* no signs, exponents or hexadecimals */
    errno = 0;
    const double x = strtod(text, &end);
    if (errno || end != text + digits || !(x > 0))
        return false;
    if (!strcmp(end, "%")) {
        *out = (kv_budget){.share = (float)(x / 100)};
        return x <= 100;
    }
    *out = (kv_budget){.tokens = (uint32_t)(x <= INT32_MAX ? x : 0)};
    return !*end && out->tokens > 0 && x == (double)out->tokens;
}

void kv_budget_format(kv_budget b, char out[KV_BUDGET_TEXT]) {
    if (b.tokens)
        snprintf(out, KV_BUDGET_TEXT, "%u", b.tokens);
    else
        snprintf(out, KV_BUDGET_TEXT, "%.6g%%", (double)b.share * 100);
}
