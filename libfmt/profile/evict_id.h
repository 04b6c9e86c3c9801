/* Names of the policies by which a cache with a budget chooses what to keep, and their parameters: the rows that --help,
 * profiles and the runtime share. What they do: docs/budgets.md. */
#ifndef KV_EVICT_ID_H
#define KV_EVICT_ID_H

#include <stdbool.h>
#include <stdint.h>

typedef enum kv_evict_id {
    KV_EVICT_NONE,
    KV_EVICT_STREAMING,
    KV_EVICT_H2O,
    KV_EVICT_SNAPKV,
    KV_EVICT_TOVA,
    KV_EVICT_KNORM,
    KV_EVICT_EXPECTED,
    KV_EVICT_MERGE,
    KV_EVICT_COUNT
} kv_evict_id;

typedef struct kv_evict_name {
    kv_evict_id id;
    const char *name;    /* as written in profiles and after --evict */
    const char *summary; /* one line for --help */
    bool calibrated;     /* needs the queries of a profile */
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
