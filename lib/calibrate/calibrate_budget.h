/* Budgets of heads by what they lose: docs/budgets.md. Between calibrate.c and calibrate_budget.c. */
#ifndef CALIBRATE_BUDGET_H
#define CALIBRATE_BUDGET_H

#include "calib.h"
#include "calibrate/calibrate_text.h"

enum { CALIBRATE_LONG = 4096 }; /* tokens of a text, where model and text have so many */

/* Texts in which passages recur. */
enum { CALIBRATE_LONG_TEXTS = 2 }; /* each costs as much as four chunks of a quarter of its length, and more attention */
typedef struct calibrate_long {
    uint32_t n, ctx;
    int32_t *ids; /* (n, ctx) */
} calibrate_long;

/* Made of text->fit; the same for the same seed. Caller frees with calibrate_long_free, in any case. KV_ENOMEM. */
kv_status calibrate_long_texts(const rt_model *m, const calibrate_text *text, uint64_t seed, calibrate_long *out, kv_err *err);
void calibrate_long_free(calibrate_long *t);

/* Run text i through m, forward and backward: what every head loses at its second half. KV_ERANGE, KV_ECANCEL. */
kv_status calibrate_losses(const rt_model *m, const calibrate_cfg *cfg, const calibrate_long *texts, uint32_t i,
                           cal_losses *losses, calibrate_progress progress, kv_err *err);

/* Query heads that attend, and KV heads that are stored, of every layer. */
void calibrate_heads(const rt_hparams *hp, uint16_t heads[PROF_MAX_LAYERS], uint16_t stored[PROF_MAX_LAYERS]);
/* An empty profile of the model's shape. Caller frees with prof_free. */
kv_status calibrate_new_profile(const rt_hparams *hp, prof **out, kv_err *err);

/* A budget as a share of ctx tokens. Tokens that are more than that say nothing about so short a text: half of it. */
double calibrate_share(kv_budget b, uint32_t ctx);

#endif
