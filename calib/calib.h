/* Calibration: statistics of q, k, v and attention -> a compression profile. Knows nothing of model files or forward passes.
 * Method and sources: docs/codec.md.
 */
#ifndef CAL_CALIB_H
#define CAL_CALIB_H

#include "profile.h"
#include "status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct cal_stats cal_stats;

typedef struct cal_shape {
    uint32_t n_layer, n_head, n_kv_head, head_dim;
    uint32_t sinks;     /* tokens at positions below this are left out of the k and v statistics */
    uint32_t n_samples; /* k and v vectors kept per head for fitting codebooks */
    uint32_t n_tokens;  /* how many tokens will be added in all (spreads the samples evenly) */
} cal_shape;

kv_status cal_stats_new(const cal_shape *shape, cal_stats **out, kv_err *err);
void cal_stats_free(cal_stats *s);

/* Add n tokens of one layer: q (n, n_head, head_dim), k and v (n, n_kv_head, head_dim), after RoPE; entropy (n, n_head) nats;
 * pos0: position of the first; entropy counts for positions >= entropy_from. Splits heads over n_threads: the sums are the same
 * for any number. */
void cal_stats_add(cal_stats *s, uint32_t layer, const float *q, const float *k, const float *v, const float *entropy,
                   uint32_t n, uint32_t pos0, uint32_t entropy_from, int n_threads);

typedef struct cal_cfg {
    double bits;  /* average true bits per element of K and V, metadata included */
    double alpha; /* metric exponent, 0.5 */
    double damp;  /* of the metric, relative to its mean eigenvalue, 1e-4 */
    int n_threads;
} cal_cfg;

/* Solve transforms, allocate bits and fit codebooks for every head; fills p's layers (codec tc, bits, entropy, importance,
 * budget), rounded to storage precision. p: from prof_new with the same shape. progress (may be NULL) is called with 0..1 and
 * returns false to cancel (KV_ECANCEL). */
kv_status cal_solve(const cal_stats *s, const cal_cfg *cfg, prof *p, bool (*progress)(void *user, double done), void *user,
                    kv_err *err);

#endif
