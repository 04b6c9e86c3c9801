#include "schedule/schedule.h"

#include "base/clock.h"
#include "cache/cache_file.h"
#include "schedule/schedule_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- making one ---- */

static kv_status grab(scheduler *s, kv_err *err) {
    s->slots = calloc(s->n_slots, sizeof *s->slots);
    s->shown = calloc(s->n_slots, sizeof *s->shown);
    s->rows = calloc(rt_pool_n_batch(s->pool), sizeof *s->rows);
    if (!s->slots || !s->shown || !s->rows)
        return kv_fail(err, KV_ENOMEM, "out of memory for %u slots", s->n_slots);
    kv_status st = KV_OK;
    for (uint32_t i = 0; i < s->n_slots && !st; i++)
        if (!(st = rt_session_new_in(s->pool, &s->ctx, &s->slots[i].s, err)))
            s->slots[i].bytes = rt_session_bytes(s->slots[i].s);
    if (st)
        return st;
    s->ctx.n_ctx = rt_ctx_n_ctx(rt_session_ctx(s->slots->s));
    kv_cache_stamp(rt_ctx_cache(rt_session_ctx(s->slots->s)), s->stamp);
    for (uint32_t i = 0; i < s->n_slots; i++)
        strcpy(s->slots[i].stamp, s->stamp);
    return KV_OK;
}

static void poke(void *user) {
    scheduler *s = user;
    pthread_mutex_lock(&s->lock);
    s->poked = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

/* What slots hold is kept for the next time. */
static void put_away(scheduler *s) {
    for (uint32_t i = 0; s->slots && i < s->n_slots; i++) {
        contexts_end end;
        if (s->started && s->contexts && s->slots[i].s && !s->slots[i].named)
            contexts_put(s->contexts, s->slots[i].s, NULL, "scheduler", &end, NULL);
        rt_session_free(s->slots[i].s);
    }
}

kv_status sched_new(const sched_cfg *cfg, scheduler **out, kv_err *err) {
    const uint32_t n_batch = cfg->ctx->n_batch ? cfg->ctx->n_batch : RT_BATCH;
    if (!cfg->slots || cfg->slots > n_batch)
        return kv_fail(err, KV_EINVAL, "%u slots: 1..%u are possible with steps of %u tokens", cfg->slots, n_batch, n_batch);
    scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "out of memory for a scheduler");
    s->m = cfg->m;
    s->contexts = cfg->contexts;
    s->ctx = *cfg->ctx;
    s->n_slots = s->facts.slots = cfg->slots;
    s->most_waiting = cfg->queue;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->ended, NULL);
    kv_status st = rt_pool_new(cfg->m, n_batch, &s->pool, err);
    if (st || (st = grab(s, err)) || (st = shelf_new(s->m, &s->ctx, s->contexts, poke, s, &s->shelf, err)))
        goto done;
    sched_show(s);
    if (pthread_create(&s->thread, NULL, sched_loop, s)) {
        st = kv_fail(err, KV_ENOMEM, "the system gives no more threads");
        goto done;
    }
    s->started = true;
    *out = s;
    s = NULL;
done:
    sched_free(s);
    return st;
}

void sched_free(scheduler *s) {
    if (!s)
        return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->work);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    put_away(s);
    shelf_free(s->shelf);
    rt_pool_free(s->pool);
    pthread_cond_destroy(&s->ended);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s->slots);
    free(s->shown);
    free(s->rows);
    free(s);
}

/* ---- for all threads ---- */

kv_status sched_submit(scheduler *s, const sched_request *r, sched_job **out, kv_err *err) {
    sched_job *j;
    kv_status st = sched_job_new(s, r, &j, err);
    if (st)
        return st;
    j->since = clock_now();
    pthread_mutex_lock(&s->lock);
    const uint32_t most = s->n_slots + s->most_waiting;
    if (s->draining || s->stop)
        st = kv_fail(err, KV_EBUSY, "nothing more is taken: what is at work is the last");
    else if (s->facts.busy + s->facts.waiting >= most)
        st = kv_fail(err, KV_EBUSY, "%u requests are at work and %u wait, which is all that may", s->facts.busy,
                     s->facts.waiting);
    if (!st) {
        *(s->last ? &s->last->next : &s->first) = j;
        s->last = j;
        s->facts.waiting++;
        s->facts.requests++;
        *out = j;
        j = NULL;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    sched_job_free(j);
    return st;
}

void sched_cancel(scheduler *s, sched_job *j) {
    atomic_store(&j->cancelled, true);
    poke(s);
}

bool sched_drain(scheduler *s, double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    const double whole = floor(seconds), ns = (double)until.tv_nsec + (seconds - whole) * 1e9;
    until.tv_sec += (time_t)whole + (ns >= 1e9);
    until.tv_nsec = (long)(ns >= 1e9 ? ns - 1e9 : ns);
    pthread_mutex_lock(&s->lock);
    s->draining = true;
    while (s->facts.busy + s->facts.waiting)
        if (pthread_cond_timedwait(&s->ended, &s->lock, &until))
            break;
    const bool done = !(s->facts.busy + s->facts.waiting);
    pthread_mutex_unlock(&s->lock);
    return done;
}

void sched_get_facts(scheduler *s, sched_facts *out) {
    pthread_mutex_lock(&s->lock);
    *out = s->facts;
    pthread_mutex_unlock(&s->lock);
}

uint32_t sched_get_slots(scheduler *s, sched_slot *out, uint32_t n) {
    pthread_mutex_lock(&s->lock);
    if (n)
        memcpy(out, s->shown, sched_least(n, s->n_slots) * sizeof *out);
    pthread_mutex_unlock(&s->lock);
    return s->n_slots;
}
