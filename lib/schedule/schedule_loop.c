/* The scheduler's own thread: jobs get slots, steps are put together and run, and what comes of them is told. */
#include "base/clock.h"
#include "schedule/schedule_internal.h"

#include <string.h>

/* Beside slots that decode, prompts get no more than so many rows of a step, so that answers go on. */
enum { BESIDE = 128 };

/* ---- what others see ---- */

static void show(scheduler *s) {
    sched_facts *f = &s->facts;
    f->busy = 0;
    f->cache_bytes = f->cache_bytes_f16 = f->shared_bytes = 0;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        const slot *at = &s->slots[i];
        const kv_cache *c = rt_ctx_cache(rt_session_ctx(at->s));
        const uint32_t len = rt_session_len(at->s);
        const kv_cache_info info = kv_cache_get_info(c);
        f->busy += at->job != NULL;
        f->cache_bytes += len ? info.fp_bytes + (uint64_t)((double)info.body_bytes * info.held / info.most) : 0;
        f->cache_bytes_f16 += kv_cache_f16_bytes(c, len);
        s->shown[i] = (sched_slot){.busy = at->job != NULL, .len = len};
        if (at->job) {
            s->shown[i].prompt = (uint32_t)at->job->r.n;
            s->shown[i].read = at->read;
            s->shown[i].said = at->job->stats.said;
        }
    }
}

static void show_now(scheduler *s) {
    pthread_mutex_lock(&s->lock);
    show(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- beginning and ending ---- */

static double lap(sched_job *j) {
    const double now = clock_now(), passed = now - j->since;
    j->since = now;
    return passed;
}

/* at NULL: it had none yet. */
static void end_job(scheduler *s, sched_job *j, slot *at, sched_why why, const kv_err *err) {
    double *part = !at ? &j->stats.wait_s : at->says ? &j->stats.decode_s : &j->stats.prefill_s;
    *part += lap(j);
    j->r.events.on_end(j->r.user, why, &j->stats, why == SCHED_FAILED ? err : NULL);
    pthread_mutex_lock(&s->lock);
    if (at) {
        at->job = NULL;
        s->facts.prefill_s += j->stats.prefill_s;
        s->facts.decode_s += j->stats.decode_s;
        s->facts.cached_tokens += j->stats.cached;
        s->facts.prompt_tokens += j->stats.prompt;
        s->facts.said_tokens += j->stats.said;
        show(s);
    } else {
        s->facts.waiting--;
    }
    pthread_cond_broadcast(&s->ended);
    pthread_mutex_unlock(&s->lock);
    sched_job_free(j);
}

static void tell_prefill(const slot *at) {
    const sched_job *j = at->job;
    if (j->r.events.on_prefill)
        j->r.events.on_prefill(j->r.user, at->read, j->stats.prompt, j->stats.cached);
}

/* ---- saying ---- */

/* The next token was chosen: tell it. */
static void say(scheduler *s, slot *at) {
    sched_job *j = at->job;
    const sched_pick *p = &at->pick;
    if (p->st || p->over) {
        end_job(s, j, at, p->st ? SCHED_FAILED : SCHED_TURN, &p->err);
        return;
    }
    j->stats.said++;
    if (!j->r.events.on_token(j->r.user, &p->token))
        end_job(s, j, at, SCHED_STOPPED, NULL);
    else if (j->r.n_predict >= 0 && j->stats.said >= j->r.n_predict)
        end_job(s, j, at, SCHED_LIMIT, NULL);
    else if (rt_session_len(at->s) >= rt_ctx_n_ctx(rt_session_ctx(at->s)))
        end_job(s, j, at, SCHED_CONTEXT, NULL);
}

/* All of the prompt is read. */
static void finish_prefill(scheduler *s, slot *at) {
    sched_job *j = at->job;
    j->stats.prefill_s += lap(j);
    if (rt_session_is_read(at->s))
        rt_session_checkpoint(at->s, NULL); /* without it some is read again one day */
    at->says = true;
    if (!j->r.n_predict)
        end_job(s, j, at, SCHED_LIMIT, NULL);
}

static void choose_piece(void *arg, int thread, size_t first, size_t end) {
    scheduler *s = arg;
    (void)thread;
    for (size_t i = first; i < end; i++) {
        slot *at = &s->slots[i];
        if (at->job && at->ready)
            sched_job_choose(at->job, at->s, &at->pick);
    }
}

/* Rows of a slot have been read. */
static void took_rows(scheduler *s, slot *at, uint32_t first) {
    sched_job *j = at->job;
    const uint32_t n_embd = rt_model_hparams(s->m)->n_embd;
    if (!at->says) {
        at->read += at->share;
        if (j->r.embedding)
            sched_job_note(j, n_embd, rt_pool_states(s->pool) + (size_t)first * n_embd, at->share, at->read == j->r.n);
    }
    at->ready = true;
}

/* Who has read on. */
static void after_step(scheduler *s) {
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (!at->job || !at->ready || at->says)
            continue;
        tell_prefill(at);
        if (at->read == at->job->r.n)
            finish_prefill(s, at);
        else
            at->ready = false;
    }
    rt_for(rt_ctx_exec(rt_session_ctx(s->slots->s)), s->n_slots, 1, choose_piece, s);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (at->job && at->ready)
            say(s, at);
    }
}

/* ---- steps ---- */

static uint32_t least(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* What a slot could still take in. */
static uint32_t wants(const slot *at) {
    const uint32_t left = at->job->stats.prompt - at->read - at->share, most = rt_ctx_n_batch(rt_session_ctx(at->s));
    return least(left, most - at->share);
}

/* Rows for all that decode; the rest of the step in equal parts for those that prefill, and what some do not need for the
 * others. */
static uint32_t share_out(scheduler *s) {
    uint32_t saying = 0, reading = 0, room = rt_pool_n_batch(s->pool);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        at->share = at->job && at->says;
        saying += at->share;
        reading += at->job && !at->says;
    }
    room -= saying;
    if (saying && reading)
        room = least(room, BESIDE);
    uint32_t rows = saying;
    while (reading && room) {
        const uint32_t part = room / reading ? room / reading : 1;
        reading = 0;
        for (uint32_t i = 0; i < s->n_slots && room; i++) {
            slot *at = &s->slots[i];
            if (!at->job || at->says)
                continue;
            const uint32_t some = least(least(part, wants(at)), room);
            at->share += some;
            room -= some;
            rows += some;
            reading += wants(at) > 0;
        }
    }
    return rows;
}

/* Is what follows the last token of its prompt of no interest? */
static bool only_embeds(const sched_job *j) {
    return j->r.embedding && !j->r.n_predict;
}

/* The rows of one slot, from `to` on. */
static uint32_t put_rows(const slot *at, rt_pool_row *to) {
    const sched_job *j = at->job;
    for (uint32_t i = 0; i < at->share; i++) {
        const uint32_t t = at->read + i;
        to[i] = at->says ? (rt_pool_row){at->s, at->pick.token.id, true}
                         : (rt_pool_row){at->s, j->ids[t], t + 1 == j->r.n && !only_embeds(j)};
    }
    return at->share;
}

/* Where a step fails, each slot's part of it is tried alone, so that it fails for those alone that it must. */
static void step_alone(scheduler *s) {
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        kv_err err = {0};
        if (!at->job || !at->share)
            continue;
        if (rt_pool_step(s->pool, s->rows, put_rows(at, s->rows), &err))
            end_job(s, at->job, at, SCHED_FAILED, &err);
        else
            took_rows(s, at, 0);
    }
}

static void step_together(scheduler *s) {
    uint32_t n = 0;
    bool states = false;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        n += put_rows(at, s->rows + n);
        states |= at->share && !at->says && at->job->r.embedding;
        at->ready = false;
    }
    rt_pool_keep_states(s->pool, states, NULL); /* there is memory for them since such a job began */
    if (rt_pool_step(s->pool, s->rows, n, NULL)) {
        step_alone(s);
        return;
    }
    n = 0;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (at->share)
            took_rows(s, at, n);
        n += at->share;
    }
}

static void step(scheduler *s) {
    if (share_out(s))
        step_together(s);
    after_step(s);
    show_now(s);
}

/* ---- the loop ---- */

static void begin(scheduler *s, slot *at, sched_job *j) {
    j->stats.wait_s = lap(j);
    at->job = j;
    at->says = false;
    at->used = ++s->begun;
    kv_err err = {0};
    if (j->r.embedding && rt_pool_keep_states(s->pool, true, &err)) {
        end_job(s, j, at, SCHED_FAILED, &err);
        return;
    }
    sched_enter_slot(at, j);
    tell_prefill(at);
    if (at->read < j->r.n)
        return;
    finish_prefill(s, at); /* all of it was read before: what follows is known */
    if (!at->job)
        return;
    sched_job_choose(j, at->s, &at->pick);
    say(s, at);
}

/* The first of the queue, if it is to be looked at: there is a slot for it, or it was cancelled. */
static sched_job *take_first(scheduler *s, slot **at) {
    pthread_mutex_lock(&s->lock);
    sched_job *before = NULL, *j = s->first;
    *at = j ? sched_find_slot(s, j) : NULL;
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
        if (at)
            begin(s, at, j);
        else
            end_job(s, j, NULL, SCHED_CANCELLED, NULL);
}

/* Those that are wanted no longer; returns how many go on. */
static uint32_t sweep(scheduler *s, bool stop) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (at->job && (stop || atomic_load(&at->job->cancelled)))
            end_job(s, at->job, at, SCHED_CANCELLED, NULL);
        left += at->job != NULL;
    }
    return left;
}

/* Wait until there is something to do; false: it is to end. */
static bool wait_for_work(scheduler *s, bool busy) {
    pthread_mutex_lock(&s->lock);
    while (!busy && !s->first && !s->stop && !s->poked)
        pthread_cond_wait(&s->work, &s->lock);
    const bool go_on = !s->stop;
    s->poked = false;
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

void *sched_loop(void *arg) {
    scheduler *s = arg;
    bool busy = false;
    while (wait_for_work(s, busy)) {
        sweep(s, false);
        admit(s);
        if ((busy = sweep(s, false)))
            step(s);
    }
    admit(s); /* ends what waits */
    sweep(s, true);
    return NULL;
}
