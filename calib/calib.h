/* Calibration: statistics of k, v, their gradients and attention -> a compression profile. Knows nothing of model files or
 * forward passes. Method and sources: docs/codec.md.
 */
#ifndef CAL_CALIB_H
#define CAL_CALIB_H

#include "base/progress.h"
#include "base/status.h"
#include "profile/profile.h"
#include "quant/loss_curve.h"
#include "quant/trellis.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cal_stats cal_stats;

typedef struct cal_shape {
    uint32_t n_layer, n_head, n_kv_head, head_dim;
    uint32_t sinks;       /* tokens at positions below this are left out of the statistics of k and v */
    uint32_t n_samples;   /* k and v vectors kept per head for fitting codebooks */
    uint32_t n_tokens;    /* how many tokens will be added in all, sinks left out (spreads the samples evenly) */
    const bool *windowed; /* (n_layer) layers that read a sliding window only: no queries, no budgets; NULL: none. Borrowed */
    /* (n_layer) What layers have, at most n_head and n_kv_head; a layer of 0 KV heads stores no keys and values. NULL: all have
     * as many. Borrowed */
    const uint16_t *heads, *kv_heads;
} cal_shape;

static inline uint32_t cal_heads(const cal_shape *sh, uint32_t layer) {
    return sh->heads ? sh->heads[layer] : sh->n_head;
}
static inline uint32_t cal_kv_heads(const cal_shape *sh, uint32_t layer) {
    return sh->kv_heads ? sh->kv_heads[layer] : sh->n_kv_head;
}

kv_status cal_stats_new(const cal_shape *shape, cal_stats **out, kv_err *err);
void cal_stats_free(cal_stats *s);

/* n tokens of one layer, whose own heads n_head and n_kv_head are. All borrowed. */
typedef struct cal_batch {
    uint32_t layer, n;
    uint32_t pos0;         /* position of the first */
    uint32_t entropy_from; /* entropy counts from this position on */
    const float *k, *v;    /* (n, n_kv_head, head_dim) as the cache gets them, after RoPE; NULL where the layer has none */
    const float *q;        /* (n, n_head, head_dim) before RoPE; or NULL: the profile gets no queries */
    const float *dk, *dv;  /* (n, n_kv_head, head_dim) gradients of the log-probability of what the model itself would say */
    const float *entropy;  /* (n, n_head) of attention, nats */
} cal_batch;

/* Who shares work: `each` runs all pieces 0 .. n-1, `grain` at a time, on threads of its own, number 0 being the caller's; as
 * rt_team_for does. each NULL: the caller alone. */
typedef void cal_piece(void *arg, int thread, size_t first, size_t end);
typedef struct cal_team {
    void (*each)(const void *team, size_t n, size_t grain, cal_piece *run, void *arg);
    const void *team;
} cal_team;

/* Heads are shared out to the team: the sums are the same for any. */
void cal_stats_add(cal_stats *s, const cal_batch *b, cal_team team);

/* All that statistics hold, in pieces of bytes: to be written down, or to be read into new ones of the same shape, on a machine
 * of the same byte order. False: pass said so; after reading, s is only good for cal_stats_free then. What is read must be what
 * was written, or the sums mean nothing: that is for the caller to see to. */
typedef bool cal_bytes(void *user, void *data, size_t n);
bool cal_stats_pass(cal_stats *s, cal_bytes *pass, void *user);

typedef struct cal_cfg {
    double bits;               /* average true bits per element of K and V, metadata included */
    double damp;               /* of the metric, relative to its mean eigenvalue */
    double exponent;           /* of a coefficient's loss when bits are shared out; 1: what second order predicts */
    double key_weight;         /* errors of keys count so many times what they lose when bits are shared out */
    trellis_search_fn *search; /* trellis_search or a faster one with the same answers */
    cal_team team;
} cal_cfg;

/* What worked best: docs/codec.md. */
#define CAL_CFG_DEFAULT ((cal_cfg){.bits = 4, .damp = 0.05, .exponent = 0.7, .key_weight = 6, .search = trellis_search})

/* Solve transforms, allocate bits and fit codebooks for every head; fills p's layers (codec tc, bits, entropy, importance,
 * budget, queries), rounded to storage precision. p: from prof_new with the same shape. KV_ECANCEL where progress (or NULL)
 * says so. */
kv_status cal_solve(const cal_stats *s, const cal_cfg *cfg, prof *p, kv_progress progress, void *user, kv_err *err);

/* ---- how many tokens each layer and head keeps: docs/budgets.md ---- */

/* Budgets of layers with KV heads from their entropy (set by cal_solve, which does this with half the context), and where they
 * come from: share * p->calib_ctx tokens on average, p->calib_ctx at most. windowed: as in cal_shape. */
void cal_budget_by_entropy(const bool *windowed, double share, prof *p);

/* What every KV head loses that reads only some of its context: the first tokens, and the newest. */
typedef struct cal_losses cal_losses;
/* Of shape: the numbers of layers and heads, of each layer too, and windowed. Caller frees with cal_losses_free. */
kv_status cal_losses_new(const cal_shape *shape, cal_losses **out, kv_err *err);
void cal_losses_free(cal_losses *s); /* NULL is fine */
/* n queries of a layer, those from `from` on count. cut (n, n_head, KV_CUTS): gradient of the log-probability of what the
 * model itself would say with respect to a head's output, times the change of this output. */
void cal_losses_add(cal_losses *s, uint32_t layer, uint32_t n, uint32_t from, const float *cut);
/* As cal_stats_pass. */
bool cal_losses_pass(cal_losses *s, cal_bytes *pass, void *user);
/* Budgets of heads for which the sum of losses is least: share * ctx tokens on average, ctx being the context that losses were
 * measured at. Sets p's losses and budgets and where they come from; p is rounded. */
kv_status cal_budget_by_loss(const cal_losses *s, double share, uint32_t ctx, prof *p, kv_err *err);

#endif
