/* Many requests at once over one model: continuous batching.
 *
 * A scheduler has a thread of its own, that alone touches the model, and so many slots: sequences in one pool
 * (session/session.h). Each step takes one row of every slot that decodes and fills what is left of the batch with the prompts
 * of those that still prefill, shared out fairly; so a long prompt slows answers down and never stops them. Requests that find
 * no slot wait in a queue of limited length, in their order. What each gets is what it would get alone, to the bit.
 *
 * A prompt goes on where the longest beginning of it was read: in that slot, or by sharing whole blocks with it. What slots
 * would lose goes into the cache of contexts (contexts/contexts.h), if there is one, and comes back from there, also after a
 * restart; a second thread sees to files. docs/scheduling.md says which slot is taken, and why.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "contexts/contexts.h"
#include "grammar/grammar.h"
#include "sample/sampler.h"

typedef struct scheduler scheduler;
typedef struct sched_job sched_job;

typedef struct sched_cfg {
    const rt_model *m;
    const rt_ctx_cfg *ctx; /* of every slot; its n_ctx is for one of them */
    uint32_t slots;        /* requests at work at the same time */
    uint32_t queue;        /* and so many that wait at most */
    contexts *contexts;    /* or NULL */
} sched_cfg;               /* all borrowed until sched_free */

kv_status sched_new(const sched_cfg *cfg, scheduler **out, kv_err *err);
/* Ends what is at work: jobs get SCHED_CANCELLED. What slots hold is kept in the cache of contexts, which takes a while. */
void sched_free(scheduler *s);
/* From now on nothing is taken, what is at work goes on. Returns once all is done, or after so many seconds: false. */
bool sched_drain(scheduler *s, double seconds);

enum { SCHED_TOP = 32 };

typedef enum sched_why {
    SCHED_TURN,    /* the model ended its turn */
    SCHED_LIMIT,   /* n_predict tokens */
    SCHED_STOPPED, /* on_token said so */
    SCHED_CONTEXT, /* the context is full */
    SCHED_CANCELLED,
    SCHED_FAILED
} sched_why;

typedef struct sched_choice { /* a token that might have been said */
    int32_t id;
    float logprob; /* natural logarithm, before any stage of the sampler and any rules */
} sched_choice;

typedef struct sched_token {
    int32_t id;
    float logprob;           /* where logprobs were asked for; else 0, as they are looked up in the whole vocabulary */
    const sched_choice *top; /* (n_top) the most likely ones; borrowed for the call */
    uint32_t n_top;
} sched_token;

typedef struct sched_stats {
    uint32_t prompt, cached, said; /* tokens; cached: of the prompt, that did not have to be read */
    double wait_s, prefill_s, decode_s;
} sched_stats;

/* All are called in the scheduler's thread, must not block, and must not call the scheduler but for sched_cancel. */
typedef struct sched_events {
    void (*on_prefill)(void *user, uint32_t done, uint32_t all, uint32_t cached);           /* or NULL */
    bool (*on_token)(void *user, const sched_token *t);                                     /* false: stop after it */
    void (*on_end)(void *user, sched_why why, const sched_stats *stats, const kv_err *err); /* last, once, always */
} sched_events;

typedef struct sched_request {
    const int32_t *ids; /* (n) the prompt; copied */
    size_t n;
    const rt_sampling *sampling; /* copied by sched_submit */
    const grammar *rules;        /* that the answer follows, borrowed until on_end; or NULL */
    int64_t n_predict;           /* most tokens; -1: until the model is done or the context full; 0: only read the prompt */
    uint32_t n_top;              /* how many likely tokens on_token is told, at most SCHED_TOP */
    bool logprobs;               /* on_token is told how likely the token was; n_top asks for that as well */
    const char *context; /* a .kv file that the prompt goes on from, borrowed until on_end; or NULL. What it holds counts
                            as part of the prompt. Where it cannot be used, the job ends with SCHED_FAILED */
    float *embedding;    /* (n_embd) is filled with the mean over the prompt of the last layer's normed output, or */
    bool last_token;     /* that of its last token; NULL: not wanted */
    sched_events events;
    void *user;
} sched_request;

/* KV_ERANGE: the prompt does not fit into a context (says how long both are); KV_EBUSY where the queue is full or the scheduler
 * drains; KV_EINVAL, KV_ENOMEM: nothing is called then. *out is set before anything is called, and valid until on_end returns.
 * From any thread. */
kv_status sched_submit(scheduler *s, const sched_request *r, sched_job **out, kv_err *err);
/* Soon on_end is called with SCHED_CANCELLED, unless the job ends before by itself. From any thread. */
void sched_cancel(scheduler *s, sched_job *j);

typedef struct sched_slot {
    bool busy;
    uint32_t len;                /* tokens it holds */
    uint32_t prompt, read, said; /* of the job at work */
} sched_slot;

typedef struct sched_facts {
    uint32_t slots, busy, waiting;
    uint64_t cache_bytes, cache_bytes_f16;       /* of what slots hold now; the same in f16 */
    uint64_t shared_bytes;                       /* of these, counted once, that several slots use */
    double tokens, exact_tokens, encoded_tokens; /* that slots hold, and in which state (kv_cache_states) */
    uint64_t checkpoint_bytes;                   /* beside these, of the places that slots can go back to */
    uint64_t memory; /* bytes that all of it takes: caches of slots at capacity, of contexts that are open, checkpoints, and
                        workspaces; not the weights */
    uint64_t prompt_tokens, cached_tokens, said_tokens, requests; /* since sched_new */
    double prefill_s, decode_s;
} sched_facts;

void sched_get_facts(scheduler *s, sched_facts *out);
/* The first n slots; returns how many there are. */
uint32_t sched_get_slots(scheduler *s, sched_slot *out, uint32_t n);

#endif
