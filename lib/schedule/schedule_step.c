/* A step: whose rows are in it, and what comes of them. */
#include "base/clock.h"
#include "schedule/schedule_internal.h"

/* Beside slots that decode, prompts get as many rows of a step as can be read in so many seconds, as the last steps went: so
 * answers go on, however slow model and machine are. */
static const double BESIDE = 0.1;
enum { BESIDE_FIRST = 64, BESIDE_LEAST = 16 };

static bool is_at(const slot *at, sched_stage stage) {
    return at->job && at->stage == stage;
}

/* ---- what comes of it ---- */

static void tell_prefill(const slot *at) {
    const sched_job *j = at->job;
    if (j->r.events.on_prefill)
        j->r.events.on_prefill(j->r.user, at->read, j->stats.prompt, j->stats.cached);
}

/* The next token was chosen: tell it. */
static void say(scheduler *s, slot *at) {
    sched_job *j = at->job;
    const sched_pick *p = &at->pick;
    if (p->st || p->over) {
        sched_end_job(s, j, at, p->st ? SCHED_FAILED : SCHED_TURN, &p->err);
        return;
    }
    j->stats.said++;
    if (!j->r.events.on_token(j->r.user, &p->token))
        sched_end_job(s, j, at, SCHED_STOPPED, NULL);
    else if (j->r.n_predict >= 0 && j->stats.said >= j->r.n_predict)
        sched_end_job(s, j, at, SCHED_LIMIT, NULL);
    else if (rt_session_len(at->s) >= rt_ctx_n_ctx(rt_session_ctx(at->s)))
        sched_end_job(s, j, at, SCHED_CONTEXT, NULL);
}

/* Without a checkpoint some is read again one day, and that is all. */
static void remember(slot *at) {
    if (rt_session_is_read(at->s))
        rt_session_checkpoint(at->s, NULL);
}

/* It has read on, and perhaps to where others part from it, or to the end. */
static void read_on(scheduler *s, slot *at) {
    sched_job *j = at->job;
    tell_prefill(at);
    if (at->n_parts && at->parts[0] == at->read) {
        remember(at);
        for (uint32_t i = 1; i < at->n_parts; i++)
            at->parts[i - 1] = at->parts[i];
        at->n_parts--;
    }
    at->ready = at->read == j->r.n;
    if (!at->ready)
        return;
    remember(at);
    j->stats.prefill_s += sched_job_lap(j);
    at->stage = STAGE_SAYS;
    if (!j->r.n_predict)
        sched_end_job(s, j, at, SCHED_LIMIT, NULL);
}

void sched_begin_reading(scheduler *s, slot *at) {
    at->stage = STAGE_READS;
    read_on(s, at);
    if (!at->job || !at->ready)
        return;
    sched_job_choose(at->job, at->s, &at->pick);
    say(s, at);
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

static void after_step(scheduler *s) {
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (is_at(at, STAGE_READS) && at->ready)
            read_on(s, at);
    }
    rt_for(rt_ctx_exec(rt_session_ctx(s->slots->s)), s->n_slots, 1, choose_piece, s);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        if (at->job && at->ready)
            say(s, at);
    }
}

/* Rows of a slot have been read. */
static void took_rows(scheduler *s, slot *at, uint32_t first) {
    sched_job *j = at->job;
    const uint32_t n_embd = rt_model_hparams(s->m)->n_embd;
    if (at->stage == STAGE_READS) {
        at->read += at->share;
        if (j->r.embedding)
            sched_job_note(j, n_embd, rt_pool_states(s->pool) + (size_t)first * n_embd, at->share, at->read == j->r.n);
    }
    at->ready = true;
}

/* ---- whose rows ---- */

/* What a slot could still take in, up to where it is to be remembered. */
static uint32_t wants(const slot *at) {
    const uint32_t most = rt_ctx_n_batch(rt_session_ctx(at->s)), end = at->n_parts ? at->parts[0] : (uint32_t)at->job->r.n;
    return sched_least(end - at->read - at->share, most - at->share);
}

/* The rest of the step in equal parts for those that read, and what some do not need for the others. */
static uint32_t share_among_prompts(scheduler *s, uint32_t reading, uint32_t room) {
    uint32_t rows = 0;
    while (reading && room) {
        const uint32_t part = room / reading ? room / reading : 1;
        reading = 0;
        for (uint32_t i = 0; i < s->n_slots && room; i++) {
            slot *at = &s->slots[i];
            if (!is_at(at, STAGE_READS))
                continue;
            const uint32_t some = sched_least(sched_least(part, wants(at)), room);
            at->share += some;
            room -= some;
            rows += some;
            reading += wants(at) > 0;
        }
    }
    return rows;
}

static uint32_t rows_beside(const scheduler *s) {
    const double rows = s->row_seconds > 0 ? BESIDE / s->row_seconds : BESIDE_FIRST;
    return rows > rt_pool_n_batch(s->pool) ? rt_pool_n_batch(s->pool) : rows > BESIDE_LEAST ? (uint32_t)rows : BESIDE_LEAST;
}

/* Steps of few rows say little of how long one takes. */
static void note_time(scheduler *s, uint32_t rows, double seconds) {
    if (rows >= BESIDE_LEAST)
        s->row_seconds = s->row_seconds > 0 ? (s->row_seconds + seconds / rows) / 2 : seconds / rows;
}

/* First a row for each that says something. */
static uint32_t share_out(scheduler *s) {
    uint32_t saying = 0, reading = 0, room = rt_pool_n_batch(s->pool);
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        at->ready = false;
        at->share = is_at(at, STAGE_SAYS);
        saying += at->share;
        reading += is_at(at, STAGE_READS);
    }
    room -= saying;
    return saying + share_among_prompts(s, reading, saying ? sched_least(room, rows_beside(s)) : room);
}

/* Is what follows the last token of its prompt of no interest? */
static bool only_embeds(const sched_job *j) {
    return j->r.embedding && !j->r.n_predict;
}

/* Is it to be known what follows after n tokens of the prompt? */
static bool wants_logits(const slot *at, uint32_t n) {
    return (n == at->job->r.n && !only_embeds(at->job)) || (at->n_parts && n == at->parts[0]);
}

/* The rows of one slot, from `to` on. */
static uint32_t put_rows(const slot *at, rt_pool_row *to) {
    for (uint32_t i = 0; i < at->share; i++) {
        const uint32_t t = at->read + i;
        to[i] = at->stage == STAGE_SAYS ? (rt_pool_row){at->s, at->pick.token.id, true}
                                        : (rt_pool_row){at->s, at->job->ids[t], wants_logits(at, t + 1)};
    }
    return at->share;
}

/* Where a step fails, each slot's part of it is tried alone, so that it fails for those alone that it must. */
static void step_alone(scheduler *s) {
    for (uint32_t i = 0; i < s->n_slots; i++) {
        slot *at = &s->slots[i];
        kv_err err = {0};
        if (!at->share)
            continue;
        if (rt_pool_step(s->pool, s->rows, put_rows(at, s->rows), &err))
            sched_end_job(s, at->job, at, SCHED_FAILED, &err);
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
        states |= at->share && at->stage == STAGE_READS && at->job->r.embedding;
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

bool sched_step(scheduler *s) {
    const uint32_t rows = share_out(s);
    const double started = clock_now();
    if (!rows)
        return false;
    step_together(s);
    note_time(s, rows, clock_now() - started);
    after_step(s);
    return true;
}
