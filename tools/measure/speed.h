/* Timing a model behind a cache that already holds some tokens.
 *
 * Tokens are ordinary ones in a fixed pattern: the time of a forward pass does not depend on which they are.
 */
#ifndef SPEED_H
#define SPEED_H

#include "base/progress.h"
#include "model/model.h"

typedef struct speed_cfg {
    rt_ctx_cfg ctx; /* n_ctx is not read */
    uint32_t depth; /* tokens in the cache before */
    uint32_t prefill, decode;
    kv_progress progress; /* of each call below; or NULL */
    void *user;
} speed_cfg;

typedef struct speed_bench speed_bench;

/* Make the context and read the first `depth` tokens, once. model and the profile in cfg are borrowed. KV_ECANCEL. */
kv_status speed_new(const rt_model *m, const speed_cfg *cfg, speed_bench **out, kv_err *err);
void speed_free(speed_bench *b);
size_t speed_kv_bytes(speed_bench *b); /* allocated for one such cache */

/* Tokens a second of prefill, `prefill` tokens behind the first `depth`, then of decoding `decode` there. KV_ECANCEL. */
kv_status speed_once(speed_bench *b, double *prefill_tps, double *decode_tps, kv_err *err);

#endif
