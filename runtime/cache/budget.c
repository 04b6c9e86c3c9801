/* How many tokens each KV head may hold, and the layout of the body that follows from it. */
#include "cache/state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Heads whose tokens are counted: of layers of full attention that store any. */
static uint32_t heads_of(const kv_cache_cfg *cfg, uint32_t layer) {
    if ((cfg->swa && cfg->swa[layer]) || (cfg->kv_layer && cfg->kv_layer[layer] != layer))
        return 0;
    return cfg->kv_heads ? cfg->kv_heads[layer] : cfg->n_kv_head;
}

/* Tokens that stay whatever happens, and room for the next eviction to find some that do not. */
static uint32_t least_budget(const kv_cache *c, const kv_cache_cfg *cfg, uint32_t layer) {
    bool lossy = false;
    for (uint32_t i = 0; i < 2 * heads_of(cfg, layer); i++)
        lossy |= kv_lossy(&c->streams[(size_t)layer * c->n_kv_head * 2 + i]);
    return cfg->sinks + max_u32(lossy ? cfg->window : 0, cfg->evict.recent) + KV_STEP_LEAST;
}

/* Budget of a head at a common price: its weight times the price, within what it needs and can use. */
static double at_price(const kv_cache *c, const kv_cache_cfg *cfg, uint32_t layer, uint32_t head, double price) {
    const float *w = cfg->evict.weight;
    const double want = price * (w ? (double)w[(size_t)layer * c->n_kv_head + head] : 1);
    return fmin(fmax(want, least_budget(c, cfg, layer)), c->n_ctx);
}

static double sum_at_price(const kv_cache *c, const kv_cache_cfg *cfg, double price) {
    double sum = 0;
    for (uint32_t l = 0; l < c->n_layer; l++)
        for (uint32_t h = 0; h < heads_of(cfg, l); h++)
            sum += at_price(c, cfg, l, h, price);
    return sum;
}

/* The highest price at which the budgets stay within `sum`. */
static double find_price(const kv_cache *c, const kv_cache_cfg *cfg, double sum) {
    double lo = 0, hi = 1;
    while (sum_at_price(c, cfg, hi) < sum && hi < 1e12)
        hi *= 2;
    for (int i = 0; i < 100; i++) {
        const double mid = (lo + hi) / 2;
        *(sum_at_price(c, cfg, mid) <= sum ? &lo : &hi) = mid;
    }
    return lo;
}

/* AdaKV shares a layer's tokens out anew at every eviction: all heads begin with as many. */
static void share_equally(const kv_cache *c, uint32_t heads, uint32_t *budget) {
    uint64_t sum = 0;
    for (uint32_t h = 0; h < heads; h++)
        sum += budget[h] ? budget[h] : c->n_ctx;
    for (uint32_t h = 0; h < heads; h++)
        budget[h] = sum / heads < c->n_ctx ? (uint32_t)(sum / heads) : 0;
}

/* tokens: of the heads of layers with full attention, one after the other. */
static void by_weight(const kv_cache *c, const kv_cache_cfg *cfg, double total, double *tokens) {
    const double price = find_price(c, cfg, total);
    for (uint32_t l = 0; l < c->n_layer; l++)
        for (uint32_t h = 0; h < heads_of(cfg, l); h++)
            *tokens++ = at_price(c, cfg, l, h, price);
}

static kv_status by_loss(const kv_cache *c, const kv_cache_cfg *cfg, uint32_t least, double total, double *tokens,
                         kv_err *err) {
    const size_t row = (size_t)c->n_kv_head * KV_CUTS;
    float *loss = malloc(c->n_layer * row * sizeof *loss);
    uint32_t n = 0;
    if (!loss)
        return kv_fail(err, KV_ENOMEM, "cache: out of memory for budgets");
    for (uint32_t l = 0; l < c->n_layer; n += heads_of(cfg, l++))
        memcpy(loss + (size_t)n * KV_CUTS, cfg->evict.loss + l * row, (size_t)heads_of(cfg, l) * KV_CUTS * sizeof *loss);
    kv_status st = kv_share_out(loss, n, c->n_ctx, least, total, tokens, err);
    free(loss);
    return st;
}

static void set_budgets(const kv_cache *c, const kv_cache_cfg *cfg, const double *tokens, uint32_t *budget) {
    for (uint32_t l = 0; l < c->n_layer; l++) {
        uint32_t *b = budget + (size_t)l * c->n_kv_head;
        for (uint32_t h = 0; h < heads_of(cfg, l); h++, tokens++)
            b[h] = *tokens < c->n_ctx ? (uint32_t)*tokens : 0;
        if (cfg->evict.ada)
            share_equally(c, heads_of(cfg, l), b);
    }
}

kv_status kv_budgets(const kv_cache *c, const kv_cache_cfg *cfg, uint32_t *budget, kv_err *err) {
    const kv_evict_cfg *e = &cfg->evict;
    const double mean = e->budget.tokens ? e->budget.tokens : (double)e->budget.share * c->n_ctx;
    uint32_t n = 0;
    double least = 0;
    for (uint32_t l = 0; l < c->n_layer; l++) {
        n += heads_of(cfg, l);
        least = heads_of(cfg, l) ? fmax(least, least_budget(c, cfg, l)) : least;
    }
    memset(budget, 0, (size_t)c->n_layer * c->n_kv_head * sizeof *budget);
    if (e->policy == KV_EVICT_NONE || mean >= c->n_ctx || !n)
        return KV_OK;
    if (mean < least)
        return kv_fail(err, KV_EINVAL,
                       "cache: a budget of %.0f tokens is too small: %u sinks, the newest %u tokens (window and recent) and %d "
                       "more take %.0f; allow more, or a smaller window",
                       mean, cfg->sinks, (uint32_t)least - cfg->sinks - KV_STEP_LEAST, KV_STEP_LEAST, least);
    double *tokens = malloc(n * sizeof *tokens);
    kv_status st = !tokens   ? kv_fail(err, KV_ENOMEM, "cache: out of memory for budgets")
                   : e->loss ? by_loss(c, cfg, (uint32_t)least, mean * n, tokens, err)
                             : (by_weight(c, cfg, mean * n, tokens), KV_OK);
    if (!st)
        set_budgets(c, cfg, tokens, budget);
    free(tokens);
    return st;
}

/* ---- layout ---- */

/* Slots that are in use at most: of the tokens that are held those in the window have none, where no stream stores them at
 * once; packing leaves up to KV_BLOCK - 1 empty. Where heads share a budget, each may need a block more for rounding up. */
static uint32_t most_blocks(const kv_cache *c, const kv_layer *l, uint32_t head) {
    const uint32_t budget = l->heads[head].budget;
    const bool lossy = kv_lossy(&l->streams[2 * head]) && kv_lossy(&l->streams[2 * head + 1]);
    const uint32_t all = kv_blocks(lossy ? kv_encoded(l, c->n_ctx) : c->n_ctx);
    if (!l->evicts || (!budget && !c->evict.ada))
        return min_u32(all, l->body_cap);
    const uint64_t held = budget ? budget : c->n_ctx;
    const uint32_t full = (l->window + l->group - 1) & ~(l->group - 1); /* when a budget is reached, at a multiple of kv_step */
    return kv_blocks(held + KV_BLOCK - 1 - (lossy ? min_u32(full, budget) : 0)) + c->evict.ada;
}

size_t kv_head_block_bytes(const kv_cache *c, const kv_layer *l, uint32_t head) {
    const size_t floats = !l->evicts ? 0 : kv_scored(c) + kv_merges(c);
    return l->streams[2 * head].coder.block_bytes + l->streams[2 * head + 1].coder.block_bytes +
           floats * KV_BLOCK * sizeof(float);
}

void kv_place_head(const kv_cache *c, kv_layer *l, uint32_t head, uint32_t cap, size_t at) {
    kv_head *h = &l->heads[head];
    for (uint32_t i = 2 * head; i < 2 * head + 2; i++) {
        kv_stream *stream = &l->streams[i];
        stream->cap = cap;
        stream->body_off = at;
        at += cap * stream->coder.block_bytes;
    }
    h->score_off = at;
    h->mass_off = at + (kv_scored(c) ? cap * KV_BLOCK * sizeof(float) : 0);
}

void kv_lay_out_heads(const kv_cache *c, kv_layer *l) {
    l->body_bytes = 0;
    for (uint32_t h = 0; h < l->n_kv_head; h++) {
        const uint32_t cap = most_blocks(c, l, h);
        kv_place_head(c, l, h, cap, l->body_bytes);
        l->body_bytes += cap * kv_head_block_bytes(c, l, h);
    }
}
