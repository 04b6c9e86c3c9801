/* Choosing the next token: a row of stages that change logits or drop candidates, then a draw.
 *
 * Order, meaning and defaults are those of llama.cpp's flags (docs/sampling.md has the table and the sources):
 *   logit bias, penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p, XTC, temperature, draw
 * A stage that is off costs nothing. What was said before is not kept here: it is given with each call, so that going back,
 * answering once more and a cache from a file cannot leave a sampler with a history that never was.
 */
#ifndef RT_SAMPLER_H
#define RT_SAMPLER_H

#include "model/model.h"

#include <stdbool.h>

typedef struct rt_logit_bias {
    int32_t id;
    float bias; /* is added to the logit; -INFINITY: never */
} rt_logit_bias;

/* In each member 0 means off, but where it says otherwise. What is pointed to is borrowed until the sampler is made. */
typedef struct rt_sampling {
    double temp;        /* <= 0: the most likely of what the stages before leave */
    int64_t top_k;      /* so many most likely tokens; <= 0: all */
    double top_p;       /* the most likely ones that make up so much together (0: the best alone); 1: all */
    double min_p;       /* those at least so many times as likely as the best */
    uint64_t seed;      /* 0 is one like others */
    double typical_p;   /* those whose surprise is nearest to the mean one, so much of them together; 1: all */
    double top_n_sigma; /* those whose logit is at most so many standard deviations below the best; <= 0: all */
    double dynatemp_range, dynatemp_exponent; /* temperature in temp - range .. temp + range, by the entropy */
    double xtc_probability;                   /* how often XTC applies */
    double xtc_threshold;                     /* of all tokens at least so likely, only the least likely stays; > 0.5: off */
    int64_t repeat_last_n;                    /* tokens that penalties look back over; -1: all */
    double repeat_penalty;                    /* divides the logits of tokens among them; 1: off */
    double presence_penalty;                  /* is subtracted from them once, */
    double frequency_penalty;                 /* and this for each time */
    double dry_multiplier;                    /* penalty of a repetition of the allowed length */
    double dry_base;                          /* by how much it grows with each further token; >= 1 */
    int64_t dry_allowed_length;               /* repetitions that are shorter are free */
    int64_t dry_penalty_last_n;               /* tokens that DRY looks back over; -1: as many as the model was trained for */
    const char *const *dry_breakers; /* texts that no repetition reaches across; NULL: newline, colon, quote, asterisk */
    size_t n_dry_breakers;
    int64_t mirostat; /* 1, 2: that version of Mirostat, after the temperature and in place of all stages but the bias */
    double mirostat_tau, mirostat_eta; /* surprise to aim at, in bits; how fast */
    const rt_logit_bias *bias;
    size_t n_bias;
    bool ignore_eos;   /* what ends a turn is never chosen */
    const char *order; /* names of stages with ; between them, in the order in which they apply; NULL: as above */
} rt_sampling;
#define RT_SAMPLING_DEFAULT                                                                                                    \
    ((rt_sampling){.temp = 0.8,                                                                                                \
                   .top_k = 40,                                                                                                \
                   .top_p = 0.95,                                                                                              \
                   .min_p = 0.05,                                                                                              \
                   .typical_p = 1,                                                                                             \
                   .dynatemp_exponent = 1,                                                                                     \
                   .xtc_threshold = 0.1,                                                                                       \
                   .repeat_last_n = 64,                                                                                        \
                   .repeat_penalty = 1,                                                                                        \
                   .dry_base = 1.75,                                                                                           \
                   .dry_allowed_length = 2,                                                                                    \
                   .dry_penalty_last_n = -1,                                                                                   \
                   .mirostat_tau = 5,                                                                                          \
                   .mirostat_eta = 0.1})
/* The order of stages that applies where none is given. */
#define RT_SAMPLING_ORDER "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"

/* Everything that can be said without a model. KV_EINVAL: names what is wrong and what would be right. */
kv_status rt_sampling_check(const rt_sampling *cfg, kv_err *err);

typedef struct rt_sampler rt_sampler;
/* All memory is taken here. The model is only looked at. Caller frees with rt_sampler_free. KV_EINVAL as of rt_sampling_check;
 * KV_ERANGE: a bias for a token that the model does not have; KV_ENOMEM. */
kv_status rt_sampler_new(const rt_sampling *cfg, const rt_model *m, rt_sampler **out, kv_err *err);
void rt_sampler_free(rt_sampler *s);

/* Choose what follows ids (n of them, oldest first, prompt and answer; NULL with 0), of which penalties and DRY read the
 * newest. Same seed, same logits and ids, same tokens. Among equals the lowest id comes first. A NaN counts as impossible;
 * where no logit is finite, or one is infinite, that is no matter of chance. logits (n_vocab) are left alone. */
int32_t rt_sample(rt_sampler *s, const float *logits, const int32_t *ids, size_t n);

/* Where a sampler stands: one of the same settings that is put there goes on choosing as this one would. */
typedef struct rt_sampler_place {
    uint64_t random; /* of the generator */
    double surprise; /* that Mirostat allows */
} rt_sampler_place;
rt_sampler_place rt_sampler_where(const rt_sampler *s);
void rt_sampler_put(rt_sampler *s, rt_sampler_place at);

#endif
