/* The text of a calibration as tokens, in whole chunks: some to fit on, others to measure on. Held out is the part of the text
 * built in that is meant for it, or the last 15 % (by whole chunks) of the files. */
#ifndef CALIBRATE_TEXT_H
#define CALIBRATE_TEXT_H

#include "calibrate/calibrate.h"

struct calibrate_text {
    uint32_t ctx;
    int32_t *fit, *held; /* (n_fit, ctx), (n_held, ctx) */
    uint32_t n_fit, n_held;
    char name[64]; /* "built-in text" or "wiki.txt and 2 more" */
    char hash[33]; /* XXH3-128 of all text bytes */
};

/* Read, tokenise, choose chunks. cfg->ctx 0: CALIBRATE_CTX tokens or half, a quarter, ... of that, but no more than `most`, the
 * longest that the model takes, and so that a text of one's own has a few chunks. Caller frees with calibrate_text_free, in any
 * case. KV_ERANGE: too little text (says how many tokens there are and are needed). */
kv_status calibrate_text_load(const tok *t, const calibrate_cfg *cfg, uint32_t most, calibrate_text *out, kv_err *err);
void calibrate_text_free(calibrate_text *t);

/* ---- calibrate_judge.c ---- */

enum {
    CALIBRATE_RUN = 3, /* tokens */
    RUNS_WANTED = 16   /* different ones, for every dimension of a head */
};
/* What the part to fit on is worth. KV_ERANGE: nothing can be learned from it (says why). */
kv_status calibrate_judge(const calibrate_text *t, uint32_t head_dim, calibrate_verdict *out, kv_err *err);

#endif
