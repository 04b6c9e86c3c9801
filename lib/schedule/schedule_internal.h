/* Inside of a scheduler, shared by schedule.c (what other threads call), schedule_loop.c (its own thread), schedule_slot.c
 * (which slot a prompt goes to) and schedule_job.c (what one request needs).
 *
 * Other threads see the queue, the counts and the snapshots, all under the lock. Slots, sessions and jobs at work belong to the
 * scheduler's thread; it holds the lock neither in a step nor while it calls anybody.
 */
#ifndef SCHEDULE_INTERNAL_H
#define SCHEDULE_INTERNAL_H

#include "grammar/constraint.h"
#include "schedule/schedule.h"

#include <pthread.h>
#include <stdatomic.h>

struct sched_job {
    sched_job *next; /* in the queue */
    sched_request r; /* ids and sampling as below */
    int32_t *ids;    /* (r.n) */
    rt_sampler *sampler;
    constraint *constraint; /* or NULL */
    float *masked;          /* (n_vocab) logits, while there is a constraint */
    double *sum;            /* (n_embd) of the states of its prompt so far, where their mean is wanted; or NULL */
    atomic_bool cancelled;
    sched_stats stats;
    double since; /* it was submitted; it got its slot; its prompt was read */
};

/* What follows the last token of a slot. */
typedef struct sched_pick {
    bool over; /* the turn is: nothing does */
    sched_token token;
    sched_choice top[SCHED_TOP];
    kv_status st;
    kv_err err;
} sched_pick;

typedef struct slot {
    rt_session *s;
    sched_job *job; /* or NULL */
    uint32_t read;  /* of its prompt */
    bool says;      /* all of that is read, and token.id of the pick is to be read next */
    uint64_t used;  /* when a job last began in it */
    uint32_t share; /* rows of the step that is put together */
    bool ready;     /* they were read, so it is known what follows */
    sched_pick pick;
} slot;

struct scheduler {
    const rt_model *m;
    rt_pool *pool;
    rt_ctx_cfg ctx;
    uint32_t n_slots, most_waiting;
    slot *slots;       /* (n_slots) */
    rt_pool_row *rows; /* (n_batch) */
    uint64_t begun;    /* jobs */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work, ended; /* there is something to do; a job has ended */
    sched_job *first, *last;    /* in the queue */
    bool stop, draining;
    bool poked; /* a job was cancelled */
    sched_facts facts;
    sched_slot *shown; /* (n_slots) */
};

/* ---- schedule_job.c ---- */

/* Everything that a request needs. KV_EINVAL, KV_ERANGE, KV_ENOMEM. */
kv_status sched_job_new(const scheduler *s, const sched_request *r, sched_job **out, kv_err *err);
void sched_job_free(sched_job *j);
/* What to say after what the session has read; touches nothing but the job and the pick, so jobs can do it at the same time. */
void sched_job_choose(sched_job *j, const rt_session *s, sched_pick *out);
/* States (n, n_embd) of more of its prompt; last: they are the last of it. */
void sched_job_note(sched_job *j, uint32_t n_embd, const float *states, uint32_t n, bool last);

/* ---- schedule_slot.c ---- */

/* The slot for a prompt, of those that are free: NULL, there is none. */
slot *sched_find_slot(scheduler *s, const sched_job *j);
/* Make it hold as much of the prompt as it can without reading; sets what was read. */
void sched_enter_slot(slot *at, sched_job *j);

/* ---- schedule_loop.c ---- */

void *sched_loop(void *scheduler);

#endif
