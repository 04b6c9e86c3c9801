/* The scheduler's own thread: how jobs come into slots, and how they end. */
#include "cache/cache_file.h"
#include "schedule/schedule_internal.h"

#include <string.h>

/* ---- coming into a slot ---- */

/* The slot that a job has is not the one where it goes best any more. */
static void move(slot *from, slot *to) {
    if (from == to)
        return;
    to->job = from->job;
    to->stage = from->stage;
    from->job = NULL;
}

/* A named context is there: the prompt goes on from it. */
static kv_status take_context(sched_job *j, kv_err *err) {
    if (j->errand.st)
        return kv_fail(err, j->errand.st, "%s", j->errand.err.msg);
    kv_cache_stamp(rt_ctx_cache(rt_session_ctx(j->errand.found)), j->stamp);
    return sched_job_prepend(j, j->errand.found, err);
}

/* Is it worth it to ask the shelf? */
static bool fetches(const scheduler *s, const sched_job *j, const sched_place *p) {
    if (j->r.context)
        return true;
    return s->contexts && !j->sum && j->r.n >= CONTEXTS_LEAST && j->r.n - p->reach > SCHED_WORTH && !p->leader;
}

/* A job that has a slot goes on to read its prompt, unless there is something to wait for first. */
static void enter(scheduler *s, slot *at) {
    sched_job *j = at->job;
    kv_err err = {0};
    const sched_place p = sched_find_place(s, j, at);
    move(at, p.to);
    at = p.to;
    if (!j->errand.done && fetches(s, j, &p)) {
        at->stage = STAGE_FETCHES;
        j->errand.beyond = p.reach + SCHED_WORTH;
        shelf_fetch(s->shelf, j);
        return;
    }
    if (p.leader) {
        sched_note_part(p.leader, p.ahead);
        at->stage = STAGE_WAITS;
        at->leader = p.leader;
        at->leads = p.leader->used;
        at->until = p.ahead;
        return;
    }
    at->used = ++s->begun;
    at->stage = STAGE_READS;
    if ((j->r.embedding && rt_pool_keep_states(s->pool, true, &err)) || sched_take_place(s, &p, j, &err))
        sched_end_job(s, j, at, SCHED_FAILED, &err);
    else
        sched_begin_reading(s, at);
}

/* Is it still worth waiting? */
static bool is_led(const slot *at) {
    const slot *leader = at->leader;
    return leader->job && leader->used == at->leads && leader->read < at->until;
}

/* What a slot waits for may have come about. */
static void look_again(scheduler *s, slot *at) {
    sched_job *j = at->job;
    kv_err err = {0};
    if (at->stage == STAGE_WAITS && !is_led(at)) {
        enter(s, at);
    } else if (at->stage == STAGE_FETCHES && shelf_is_done(s->shelf, j)) {
        if (j->r.context && take_context(j, &err))
            sched_end_job(s, j, at, SCHED_FAILED, &err);
        else
            enter(s, at);
    }
}

/* The first of the queue, if it is to be looked at: there is a slot for it, or it was cancelled. */
static sched_job *take_first(scheduler *s, slot **at) {
    *at = NULL;
    for (uint32_t i = 0; i < s->n_slots && !*at; i++)
        *at = s->slots[i].job ? NULL : &s->slots[i];
    pthread_mutex_lock(&s->lock);
    sched_job *before = NULL, *j = s->first;
    for (; j && !*at && !atomic_load(&j->cancelled) && !s->stop; j = j->next)
        before = j;
    if (j) {
        *(before ? &before->next : &s->first) = j->next;
        s->last = s->last == j ? before : s->last;
        if (*at && !atomic_load(&j->cancelled) && !s->stop) {
            s->facts.waiting--;
            s->facts.busy++;
        } else {
            *at = NULL;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return j;
}

static void admit(scheduler *s) {
    slot *at;
    for (sched_job *j; (j = take_first(s, &at));)
        if (at) {
            j->stats.wait_s = sched_job_lap(j);
            at->job = j;
            enter(s, at);
        } else {
            sched_end_job(s, j, NULL, SCHED_CANCELLED, NULL);
        }
}

/* End those that are wanted no longer; returns how many there are left. The shelf has a job until it is done with it. */
static uint32_t sweep(scheduler *s, bool stop) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        const bool free = at->job && (at->stage != STAGE_FETCHES || shelf_is_done(s->shelf, at->job));
        if (free && (stop || atomic_load(&at->job->cancelled)))
            sched_end_job(s, at->job, at, SCHED_CANCELLED, NULL);
        left += at->job != NULL;
    }
    return left;
}

/* ---- the loop ---- */

static bool any_waits(const scheduler *s) {
    for (uint32_t i = 0; i < s->n_slots; i++)
        if (s->slots[i].job && s->slots[i].stage == STAGE_WAITS)
            return true;
    return false;
}

/* Wait until there is something to do, if nothing is; false: it is to end. */
static bool wait_for_work(scheduler *s, bool busy, bool stop_too) {
    pthread_mutex_lock(&s->lock);
    while (!busy && !s->poked && (stop_too || (!s->first && !s->stop)))
        pthread_cond_wait(&s->work, &s->lock);
    const bool go_on = !s->stop;
    s->poked = false;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

void *sched_loop(void *arg) {
    scheduler *s = arg;
    bool busy = false;
    while (wait_for_work(s, busy, false)) {
        sweep(s, false);
        for (uint32_t i = 0; i < s->n_slots; i++)
            if (s->slots[i].job)
                look_again(s, &s->slots[i]);
        admit(s);
        busy = sched_step(s) || any_waits(s); /* what they wait for may be gone just now */
        sched_show(s);
    }
    admit(s); /* ends what waits */
    while (sweep(s, true))
        wait_for_work(s, false, true);
    return NULL;
}
