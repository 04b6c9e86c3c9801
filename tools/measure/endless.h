/* How well a long text is predicted past the context, by what becomes of the oldest tokens when it is full. */
#ifndef ENDLESS_H
#define ENDLESS_H

#include "base/progress.h"
#include "session/session.h"

typedef enum endless_way {
    ENDLESS_IN_PLACE, /* forgotten in place: rt_session_endless */
    ENDLESS_HALF,     /* the newer half is read again, as kvrun --context-shift does */
    ENDLESS_ANEW, /* as many as in place go, but what is left is read again: what is seen is the same, and nothing remembers */
    ENDLESS_WAYS
} endless_way;

typedef struct endless_cfg {
    rt_ctx_cfg ctx;
    uint32_t keep, forget; /* of rt_session_endless */
    uint32_t part;         /* tokens of a part */
} endless_cfg;

typedef struct endless_part {
    uint32_t tokens; /* scored */
    double nll;      /* their sum, nats */
    double seconds;  /* with whatever was read again */
} endless_part;

/* Score n tokens, all but the first, in parts: out (n / part, rounded up). *kv_bytes: of the cache, *at_once: how many tokens
 * go. Errors of rt_session_endless, KV_ECANCEL. */
kv_status endless_run(const rt_model *m, const endless_cfg *cfg, endless_way way, const int32_t *ids, size_t n,
                      kv_progress progress, void *user, endless_part *out, size_t *kv_bytes, uint32_t *at_once, kv_err *err);

#endif
