/* When a head lets go of tokens, and the scores that new ones begin with: what storing has to know of eviction. */
#include "cache/state.h"

#include <math.h>
#include <string.h>

/* The last multiple of the head's step at which `held` tokens have not grown beyond the budget. */
static uint32_t next_eviction(uint32_t budget, uint32_t held, uint32_t now) {
    const uint32_t step = kv_step(budget), full = now + (budget > held ? budget - held : 0);
    return max_u32(full / step, now / step + 1) * step;
}

void kv_plan_evictions(const kv_cache *c, kv_layer *l, uint32_t now) {
    uint64_t budget = 0, held = 0;
    l->evicted = now;
    for (uint32_t i = 0; i < l->n_kv_head; i++) {
        kv_head *h = &l->heads[i];
        budget += h->budget;
        held += kv_held(l, h, now);
        h->next = h->budget ? next_eviction(h->budget, kv_held(l, h, now), now) : UINT32_MAX;
    }
    if (!c->evict.ada || !l->evicts)
        return;
    /* All at once. Places were made for `slack` more tokens. */
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): layers have heads */
    const uint32_t n = l->n_kv_head, mean = (uint32_t)(budget / n);
    uint32_t next = next_eviction(mean, (uint32_t)((held + n - 1) / n), now);
    if (now)
        next = min_u32(next, now + kv_slack(mean));
    for (uint32_t i = 0; i < n; i++)
        l->heads[i].next = next;
}

void kv_evict_clear(const kv_cache *c, kv_layer *l) {
    for (uint32_t i = 0; i < l->n_kv_head; i++) {
        l->heads[i].first = l->sinks;
        l->heads[i].shift = l->heads[i].cut = 0;
    }
    if (l->evicts && c->evict.ada)
        kv_lay_out_heads(c, l);
    kv_plan_evictions(c, l, 0);
}

uint32_t kv_votes_from(const kv_cache *c, const kv_head *h) {
    const kv_votes votes = kv_policy(c)->votes;
    const uint32_t last = votes == KV_VOTES_NEAR ? c->evict.observe : votes == KV_VOTES_LAST;
    if (votes == KV_VOTES_NONE || !h->budget)
        return UINT32_MAX;
    return votes == KV_VOTES_ALL || h->next <= last ? 0 : h->next - last;
}

void kv_new_scores(const kv_cache *c, const kv_layer *l, const kv_head *h, uint32_t slot, uint32_t n, const float *x) {
    float *score = kv_scores(l, h) + slot;
    const uint32_t summed = kv_policy(c)->score == KV_SCORE_KEY_NORM ? c->dim : 0;
    for (uint32_t t = 0; t < n; t++, x += c->dim) {
        double sum = 0;
        for (uint32_t i = 0; i < summed; i++)
            sum += (double)x[i] * x[i];
        score[t] = -(float)sqrt(sum);
    }
    if (kv_merges(c))
        memset(kv_masses(l, h) + slot, 0, n * sizeof(float));
}
