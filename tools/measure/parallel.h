/* Timing many sequences that one workspace runs side by side. */
#ifndef PARALLEL_H
#define PARALLEL_H

#include "base/progress.h"
#include "model/model.h"

typedef struct parallel_cfg {
    rt_ctx_cfg ctx; /* n_ctx is not read */
    uint32_t depth; /* tokens in each cache before */
    uint32_t prefill, decode, reps;
} parallel_cfg;

/* Totals of all sequences; medians over reps, after one that does not count. */
typedef struct parallel_result {
    uint32_t n;
    double prefill_tps; /* each reads `prefill` tokens, all in the same steps */
    double decode_tps;  /* each decodes `decode` tokens, a row of each in every step, all with logits */
    double all_tps;     /* one sequence that prefills `prefill` tokens with the logits of all of them: the roof of decoding */
    size_t kv_bytes;    /* of all caches */
    size_t rss;         /* resident memory of the process while they are there */
} parallel_result;

/* n sequences. KV_ECANCEL: told to stop. */
kv_status parallel_run(const rt_model *m, const parallel_cfg *cfg, uint32_t n, kv_progress progress, void *user,
                       parallel_result *out, kv_err *err);

#endif
