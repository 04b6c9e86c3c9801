/* For tests of samplers without a model: a sampler of a small vocabulary, and the probabilities that it leaves. */
#ifndef SAMPLING_H
#define SAMPLING_H

#include "sample/sample_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLING_CTX = 4096 /* tokens that the vocabulary's model was trained for */ };

/* Everything off, temperature 1. */
#define SAMPLING_PLAIN ((rt_sampling){.temp = 1, .top_p = 1, .seed = 7})

static inline rt_sampler *sampling_new(rt_sampling cfg, uint32_t n_vocab) {
    rt_sampler *s = NULL;
    kv_err err;
    if (sample_new(&cfg, &(sample_vocab){.n_vocab = n_vocab, .n_ctx_train = SAMPLING_CTX}, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* Instead of a draw: the candidates as they are then. */
static inline int32_t sampling_weigh(rt_sampler *s) {
    choice_weigh(&s->choice);
    return 0;
}

/* The probability (n_vocab) of each token after ids (n); 0 for those that were dropped. Returns how many were not. */
static inline uint32_t sampling_shares(rt_sampler *s, const float *logits, const int32_t *ids, size_t n, double *share) {
    const choice *ch = &s->choice;
    double sum = 0;
    s->pick = sampling_weigh;
    rt_sample(s, logits, ids, n);
    memset(share, 0, ch->n_vocab * sizeof *share);
    for (uint32_t i = 0; i < ch->n; i++)
        sum += ch->c[i].p;
    for (uint32_t i = 0; i < ch->n; i++)
        share[ch->c[i].id] = ch->c[i].p / sum;
    return ch->n;
}

#endif
