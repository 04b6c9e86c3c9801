#include "profile/evict_id.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW(id, name, summary, score, votes, pools, folds)                                                                     \
    {KV_EVICT_##id, name, summary, score, votes, pools, folds, (score) == KV_SCORE_EXPECTED},
const kv_evict_name kv_evict_names[KV_EVICT_COUNT] = {KV_EVICT_LIST(ROW)};
#undef ROW

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
