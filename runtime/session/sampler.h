/* Choosing the next token from logits: temperature, top-k, top-p, min-p, in the order and meaning of llama.cpp's flags. */
#ifndef RT_SAMPLER_H
#define RT_SAMPLER_H

#include "base/status.h"

#include <stdint.h>

typedef struct rt_sampling {
    double temp;   /* <= 0: greedy */
    int64_t top_k; /* <= 0: all */
    double top_p;  /* 1: all */
    double min_p;  /* 0: all */
    uint64_t seed;
} rt_sampling;
#define RT_SAMPLING_DEFAULT ((rt_sampling){.temp = 0.8, .top_k = 40, .top_p = 0.95, .min_p = 0.05, .seed = 0})

typedef struct rt_sampler rt_sampler;
kv_status rt_sampler_new(const rt_sampling *cfg, uint32_t n_vocab, rt_sampler **out, kv_err *err);
void rt_sampler_free(rt_sampler *s);
/* Same seed, same logits, same tokens. Greedy takes the lowest id among equals. logits (n_vocab) are left alone. */
int32_t rt_sample(rt_sampler *s, const float *logits);

#endif
