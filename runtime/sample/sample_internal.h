/* What the stages share: the candidates, and the sampler that they are stages of. */
#ifndef RT_SAMPLE_INTERNAL_H
#define RT_SAMPLE_INTERNAL_H

#include "sample/sampler.h"

/* ---- candidates (candidates.c) ---- */

typedef struct candidate {
    float logit; /* never NaN */
    int32_t id;
    double p; /* of the stage that runs */
} candidate;

/* What may still be chosen. Until a filter has dropped some, that is the whole vocabulary, which is not copied. */
typedef struct choice {
    const float *row; /* (n_vocab) logits by id, may hold NaN: everything may be chosen, and c is not used; or NULL */
    candidate *c;     /* (n_vocab), n of them left, at least one */
    uint32_t n, n_vocab;
    bool sorted; /* c, by falling logit, lowest id first among equals */
    float *own;  /* (n_vocab) what row is copied to where logits change; NULL: no stage changes any */
    double temp; /* logits are to be divided by this */
} choice;

void choice_begin(choice *ch, const float *logits);
/* Keep the k best, sorted; all of them are sorted with k >= n. */
void choice_best(choice *ch, uint32_t k);
/* Keep those whose logit is at least `floor`, and the best. */
void choice_above(choice *ch, double floor);
/* The best logit; of those that are left, without sorting them. */
float choice_top(const choice *ch);
/* Weights exp((logit - best) / temp) into p, 1 for the best whatever it is; returns their sum, in the order of c. */
double choice_weigh(choice *ch);
/* The same sum alone. */
double choice_sum(const choice *ch);
/* Back to the whole row, which ch->row was before some were dropped. */
void choice_again(choice *ch, const float *row);
/* Change the logits of the ids that count[] (n_vocab) is not 0 for, which are those in ids (n). */
typedef float (*choice_change)(const rt_sampling *cfg, float logit, uint32_t count);
void choice_adjust(choice *ch, const uint32_t *count, const int32_t *ids, uint32_t n, const rt_sampling *cfg,
                   choice_change change);

/* ---- DRY's sequence breakers (breakers.c) ---- */

/* Tokens that begin a breaker, each with what has to follow for the breaker to be complete. */
typedef struct breaker {
    int32_t head;
    uint32_t at, n; /* the rest of it, in `rest` */
} breaker;
typedef struct breakers {
    breaker *v; /* sorted by head */
    size_t n, cap;
    int32_t *rest;
    size_t n_rest, cap_rest;
} breakers;

/* Every way in which tokens can spell a text that has one of these texts in it: KV_ENOMEM. Zero-initialise. */
kv_status breakers_read(breakers *b, const tok *t, const char *const *texts, size_t n, kv_err *err);
/* One more, by its tokens (n >= 1); breakers_sort when all are there. */
kv_status breakers_add(breakers *b, const int32_t *ids, size_t n, kv_err *err);
void breakers_sort(breakers *b);
void breakers_free(breakers *b);
/* How many of the newest tokens (ids[n-1] is the newest) no breaker lies in; n: there is none. */
uint32_t breakers_limit(const breakers *b, const int32_t *ids, uint32_t n);
bool breakers_has(const breakers *b, int32_t id); /* a token that is one by itself */

/* ---- the sampler ---- */

typedef struct stage {
    const char *name;    /* as llama.cpp's --samplers has it */
    const char *aliases; /* how that takes it as well, with spaces around each */
    bool (*on)(const rt_sampling *cfg);
    void (*apply)(rt_sampler *s);
    bool keeps_best; /* drops candidates, but never the best one */
} stage;
enum { MOST_STAGES = 9 };

/* What was said, as a stage counts it: all 0 between calls. */
typedef struct tally {
    uint32_t *count; /* (n_vocab) */
    int32_t *ids;    /* (n_vocab), n of them have one */
    uint32_t n;
} tally;

struct rt_sampler {
    rt_sampling cfg; /* its pointers are gone */
    choice choice;
    const stage *chain[MOST_STAGES]; /* those that are on, in order */
    uint32_t n_chain;
    int32_t (*pick)(rt_sampler *s); /* from what they leave */
    uint64_t state;                 /* of the generator */
    double mu;                      /* of Mirostat: the surprise that is allowed, in bits */
    rt_logit_bias *bias;
    size_t n_bias;
    tally tally;       /* of penalties and DRY */
    uint32_t *repeats; /* (n_repeats) DRY: how long a repetition ends at each of the newest tokens */
    uint32_t n_repeats;
    breakers breakers;
    const int32_t *ids; /* of the call that runs */
    size_t n_ids;
};

double sample_uniform(rt_sampler *s); /* in [0, 1) */
int32_t sample_draw(rt_sampler *s);   /* one of the candidates by its weight; the best where that is not finite */
void tally_clear(tally *t);

/* The stages: each says in its file what it does and where it comes from. */
void sample_penalties(rt_sampler *s);
void sample_dry(rt_sampler *s);
void sample_top_n_sigma(rt_sampler *s);
void sample_top_k(rt_sampler *s);
void sample_typical(rt_sampler *s);
void sample_top_p(rt_sampler *s);
void sample_min_p(rt_sampler *s);
void sample_xtc(rt_sampler *s);
void sample_temperature(rt_sampler *s);
int32_t sample_mirostat(rt_sampler *s);

/* Which samplers need what. */
bool sampling_penalises(const rt_sampling *cfg);
bool sampling_is_dry(const rt_sampling *cfg);

/* The vocabulary that a sampler is for. */
typedef struct sample_vocab {
    uint32_t n_vocab;
    uint32_t n_ctx_train; /* how far back DRY looks at most */
    const tok *tok;       /* or NULL: no texts, no ends of turns */
} sample_vocab;
/* rt_sampler_new, for tests without a model. */
kv_status sample_new(const rt_sampling *cfg, const sample_vocab *v, rt_sampler **out, kv_err *err);

#endif
