/* Names of the policies by which a cache with a budget chooses what to keep, and their parameters: the rows that --help,
 * profiles and the runtime share. What they do: docs/budgets.md. */
#ifndef KV_EVICT_ID_H
#define KV_EVICT_ID_H

#include <stdbool.h>
#include <stdint.h>

/* Whose attention makes the scores that a policy goes by. */
typedef enum kv_votes {
    KV_VOTES_NONE, /* nobody's: of keys or of a profile's queries, or there are no scores */
    KV_VOTES_ALL,  /* of every query so far: they add up for as long as a token is held */
    KV_VOTES_NEAR, /* of the last queries before an eviction (kv_evict_cfg.observe), counted anew for each */
    KV_VOTES_LAST  /* of the very last one, likewise */
} kv_votes;

typedef enum kv_score {
    KV_SCORE_AGE,      /* none: the newest stay */
    KV_SCORE_VOTES,    /* weights that queries give (kv_votes) */
    KV_SCORE_KEY_NORM, /* the shorter a key, the better */
    KV_SCORE_EXPECTED  /* weights that the queries of a profile would give */
} kv_score;

/* All policies, in the order of their ids: id, name and help; how tokens are scored, who votes, whether the best vote of
 * neighbours counts, and whether a token is folded into a similar one rather than dropped. What else there is to a policy is
 * one of these traits, in runtime/evict/. */
#define KV_EVICT_LIST(X)                                                                                                       \
    X(NONE, "none", "keep every token", KV_SCORE_AGE, KV_VOTES_NONE, false, false)                                             \
    X(STREAMING, "streaming", "sinks and the newest tokens", KV_SCORE_AGE, KV_VOTES_NONE, false, false)                        \
    X(H2O, "h2o", "tokens that got most attention from all queries so far", KV_SCORE_VOTES, KV_VOTES_ALL, false, false)        \
    X(SNAPKV, "snapkv", "tokens (and neighbours) that the last queries attend to", KV_SCORE_VOTES, KV_VOTES_NEAR, true, false) \
    X(TOVA, "tova", "tokens that the very last query attends to", KV_SCORE_VOTES, KV_VOTES_LAST, false, false)                 \
    X(KNORM, "knorm", "tokens with short keys", KV_SCORE_KEY_NORM, KV_VOTES_NONE, false, false)                                \
    X(EXPECTED, "expected", "tokens that queries as calibrated would attend to", KV_SCORE_EXPECTED, KV_VOTES_NONE, false,      \
      false)                                                                                                                   \
    X(MERGE, "merge", "as h2o, but folds a token into a similar one instead of dropping it", KV_SCORE_VOTES, KV_VOTES_ALL,     \
      false, true)

#define KV_EVICT_ID_(id, ...) KV_EVICT_##id,
typedef enum kv_evict_id { KV_EVICT_LIST(KV_EVICT_ID_) KV_EVICT_COUNT } kv_evict_id;
#undef KV_EVICT_ID_

typedef struct kv_evict_name {
    kv_evict_id id;
    const char *name;    /* as written in profiles and after --evict */
    const char *summary; /* one line for --help */
    kv_score score;
    kv_votes votes;
    bool pools, folds;
    bool calibrated; /* needs the queries of a profile */
} kv_evict_name;

extern const kv_evict_name kv_evict_names[KV_EVICT_COUNT]; /* indexed by id */

/* -1 when unknown. */
int kv_evict_by_name(const char *name);

/* How many tokens a KV head keeps, on average over all heads of layers with full attention. Of both, the one that is not 0. */
typedef struct kv_budget {
    uint32_t tokens;
    float share; /* of the context, 0..1 */
} kv_budget;

static inline bool kv_budget_given(kv_budget b) {
    return b.tokens || b.share > 0;
}
/* "2048" or "50%" -> *out; false: neither a positive number nor a percentage up to 100. */
bool kv_budget_parse(const char *text, kv_budget *out);
enum { KV_BUDGET_TEXT = 24 };
void kv_budget_format(kv_budget b, char out[KV_BUDGET_TEXT]);

#endif
