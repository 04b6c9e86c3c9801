/* Inside of a scheduler:
 *
 *   schedule.c        what other threads call
 *   schedule_job.c    what one request needs, and the choice of its next token
 *   schedule_slot.c   which slot a prompt goes to, and what of it need not be read
 *   schedule_step.c   a step: whose rows are in it, and what comes of them
 *   schedule_loop.c   the scheduler's thread: how jobs come into slots and end
 *   schedule_end.c    how they end, and what others see
 *   schedule_shelf.c  a second thread, for files: contexts are looked for, opened and kept there
 *
 * Other threads see the queue, the counts and the snapshots, all under the lock. Slots, sessions and jobs at work belong to the
 * scheduler's thread; it holds the lock neither in a step nor while it calls anybody. Sessions are handed to the shelf and
 * back.
 */
#ifndef SCHEDULE_INTERNAL_H
#define SCHEDULE_INTERNAL_H

#include "grammar/constraint.h"
#include "schedule/schedule.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    SCHED_PARTS = 4,  /* places that a prompt is to be remembered at, on its way */
    SCHED_WORTH = 128 /* tokens: what would save fewer is not waited, looked or copied for */
};

typedef struct shelf shelf;

/* What is asked of the shelf for a job. */
typedef struct errand {
    bool done;
    rt_session *found; /* that holds what is read of its prompt, or the context that it goes on from; NULL: nothing */
    uint32_t beyond;   /* it is of no use unless more tokens are read */
    kv_status st;      /* why a context could not be opened */
    kv_err err;
} errand;

struct sched_job {
    sched_job *next; /* in the queue, or the shelf's */
    sched_request r; /* ids and sampling as below */
    int32_t *ids;    /* (r.n) */
    rt_sampler *sampler;
    constraint *constraint; /* or NULL */
    float *masked;          /* (n_vocab) logits, while there is a constraint */
    double *sum;            /* (n_embd) of the states of its prompt so far, where their mean is wanted; or NULL */
    atomic_bool cancelled;
    errand errand;
    char stamp[33]; /* of the caches that can take it */
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

typedef enum sched_stage {
    STAGE_FETCHES, /* the shelf is looking */
    STAGE_WAITS,   /* for another slot, which is reading what both begin with */
    STAGE_READS,   /* its prompt */
    STAGE_SAYS     /* token.id of the pick is to be read next */
} sched_stage;

typedef struct slot {
    rt_session *s;
    size_t bytes;   /* rt_session_bytes */
    char stamp[33]; /* of its cache */
    bool named;     /* it went on from a file by name, which is kept already */
    sched_job *job; /* or NULL; what follows means nothing then, but for `used` */
    sched_stage stage;
    struct slot *leader; /* that it waits for; its `used` then, and until it has read so far */
    uint64_t leads;
    uint32_t until;
    uint32_t read;               /* of its prompt */
    uint32_t parts[SCHED_PARTS]; /* where others part from it, rising */
    uint32_t n_parts;
    uint64_t used;  /* when a job last began in it; 0: never */
    uint32_t share; /* rows of the step that is put together */
    bool ready;     /* they were read, so it is known what follows */
    sched_pick pick;
} slot;

struct scheduler {
    const rt_model *m;
    rt_pool *pool;
    rt_ctx_cfg ctx;
    char stamp[33];
    contexts *contexts; /* or NULL */
    shelf *shelf;
    uint32_t n_slots, most_waiting;
    slot *slots;        /* (n_slots) */
    rt_pool_row *rows;  /* (n_batch) */
    uint64_t begun;     /* jobs */
    double row_seconds; /* that a row takes in a step of many, smoothed; 0: not known yet */
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t work, ended; /* there is something to do; a job has ended */
    sched_job *first, *last;    /* in the queue */
    bool stop, draining;
    bool poked; /* a job was cancelled, or the shelf is done with one */
    sched_facts facts;
    sched_slot *shown; /* (n_slots) */
};

static inline uint32_t sched_least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* ---- schedule_job.c ---- */

/* Everything that a request needs. KV_EINVAL, KV_ERANGE, KV_ENOMEM. */
kv_status sched_job_new(const scheduler *s, const sched_request *r, sched_job **out, kv_err *err);
void sched_job_free(sched_job *j);
/* It goes on from what these ids are. KV_ERANGE: that is too much; KV_ENOMEM. */
kv_status sched_job_prepend(sched_job *j, const rt_session *context, kv_err *err);
/* What to say after what the session has read; touches nothing but the job and the pick, so jobs can do it at the same time. */
void sched_job_choose(sched_job *j, const rt_session *s, sched_pick *out);
/* States (n, n_embd) of more of its prompt; last: they are the last of it. */
void sched_job_note(sched_job *j, uint32_t n_embd, const float *states, uint32_t n, bool last);
/* Seconds since the last time. */
double sched_job_lap(sched_job *j);

/* ---- schedule_slot.c ---- */

/* Where a prompt goes, and what it goes on from there. */
typedef struct sched_place {
    slot *to;         /* NULL: none is free */
    rt_session *from; /* that has read the longest beginning of it; NULL: none has read any */
    uint32_t common;  /* so many ids, */
    uint32_t reach;   /* of which so many need not be read */
    slot *leader;     /* that is reading more of it, or NULL; */
    uint32_t ahead;   /* so many ids */
} sched_place;
/* mine: a slot that it has already, and which counts as free; or NULL. */
sched_place sched_find_place(scheduler *s, const sched_job *j, const slot *mine);
/* Make the slot hold what can be had; sets what is read of its prompt. KV_ENOMEM. */
kv_status sched_take_place(scheduler *s, const sched_place *p, sched_job *j, kv_err *err);
/* Others part from it after n ids: remember the place when it comes there. */
void sched_note_part(slot *at, uint32_t n);

/* ---- schedule_step.c ---- */

/* One step of all that read or say; false: nobody does. */
bool sched_step(scheduler *s);
/* A slot has begun to read its prompt, or has read all of it before. */
void sched_begin_reading(scheduler *s, slot *at);

/* ---- schedule_end.c ---- */

/* Tell how it ended; at NULL: it had no slot yet. err: where it failed. Frees the job. */
void sched_end_job(scheduler *s, sched_job *j, slot *at, sched_why why, const kv_err *err);

void sched_show(scheduler *s);

/* ---- schedule_loop.c ---- */

void *sched_loop(void *scheduler);

/* ---- schedule_shelf.c ---- */

/* c: or NULL. done: called in the shelf's thread where an errand is. */
kv_status shelf_new(const rt_model *m, const rt_ctx_cfg *ctx, contexts *c, void (*done)(void *user), void *user, shelf **out,
                    kv_err *err);
/* After what it was given to keep is kept. */
void shelf_free(shelf *h);
/* Look for the context that a job names, or for one that begins as its prompt does; the job is not to be touched until
 * shelf_is_done. */
void shelf_fetch(shelf *h, sched_job *j);
bool shelf_is_done(shelf *h, const sched_job *j);
size_t shelf_bytes(const shelf *h); /* of contexts that are open, and its workspace. From any thread */
/* Keep what it has read: everything, with logits. s moves. */
void shelf_keep(shelf *h, rt_session *s);

#endif
