/* What tests of the scheduler share: requests, what became of them, and what a plain session makes of the same. */
#ifndef SCHEDULE_FIXTURE_H
#define SCHEDULE_FIXTURE_H

#include "schedule/schedule.h"
#include "support.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CTX = 512, MOST = 64, LEN = 400 };

static inline rt_model *model(void **state) {
    return *state;
}

static inline rt_ctx_cfg setting(void) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.ctk = cfg.ctv = KV_Q8_0;
    cfg.window = 32;
    cfg.sinks = 4;
    cfg.n_ctx = CTX;
    cfg.n_batch = 64;
    cfg.checkpoint_every = 64;
    return cfg;
}

static inline scheduler *new_scheduler(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t slots, uint32_t queue) {
    scheduler *s = NULL;
    kv_err err = {0};
    if (sched_new(&(sched_cfg){.m = m, .ctx = cfg, .slots = slots, .queue = queue}, &s, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* What became of a request; how the lock is used is what a server would do. */
typedef struct answer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int32_t ids[CTX];
    float logprob[CTX];
    sched_choice top[CTX][4];
    uint32_t n, stop_after; /* so many tokens; 0: never */
    bool hold;              /* the scheduler's thread, in on_token */
    uint32_t prefills, read, cached;
    int ends;
    sched_why why;
    sched_stats stats;
    kv_err err;
    sched_job *job;
} answer;

static inline void on_prefill(void *user, uint32_t done, uint32_t all, uint32_t cached) {
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    assert_true(done <= all && done >= a->read);
    a->read = done;
    a->cached = cached;
    a->prefills++;
    pthread_mutex_unlock(&a->lock);
}

static inline bool on_token(void *user, const sched_token *t) {
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    a->ids[a->n] = t->id;
    a->logprob[a->n] = t->logprob;
    for (uint32_t i = 0; i < t->n_top && i < 4; i++)
        a->top[a->n][i] = t->top[i];
    a->n++;
    const bool go_on = a->n != a->stop_after;
    pthread_cond_broadcast(&a->changed);
    while (a->hold)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
    return go_on;
}

static inline void on_end(void *user, sched_why why, const sched_stats *stats, const kv_err *err) {
    answer *a = user;
    pthread_mutex_lock(&a->lock);
    a->why = why;
    a->stats = *stats;
    a->err = err ? *err : (kv_err){0};
    a->ends++;
    a->job = NULL;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static inline answer *new_answer(void) {
    answer *a = calloc(1, sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    return a;
}

static inline void free_answer(answer *a) {
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static inline void wait_end(answer *a) {
    pthread_mutex_lock(&a->lock);
    while (!a->ends)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static inline void wait_tokens(answer *a, uint32_t n) {
    pthread_mutex_lock(&a->lock);
    while (!a->ends && a->n < n)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static inline sched_request request(const int32_t *ids, size_t n, int64_t n_predict, answer *a) {
    return (sched_request){.ids = ids, .n = n, .n_predict = n_predict, .events = {on_prefill, on_token, on_end}, .user = a};
}

static inline kv_status try_submit(scheduler *s, const sched_request *r, answer *a, kv_err *err) {
    pthread_mutex_lock(&a->lock);
    kv_status st = sched_submit(s, r, &a->job, err);
    pthread_mutex_unlock(&a->lock);
    return st;
}

static inline void submit(scheduler *s, const sched_request *r, answer *a) {
    kv_err err = {0};
    if (try_submit(s, r, a, &err))
        fail_msg("%s", err.msg);
}

static inline void hold(answer *a, bool whether) {
    pthread_mutex_lock(&a->lock);
    a->hold = whether;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static inline void cancel(scheduler *s, answer *a) {
    pthread_mutex_lock(&a->lock);
    if (a->job)
        sched_cancel(s, a->job);
    pthread_mutex_unlock(&a->lock);
}

/* The same from a plain session that reads everything itself: n tokens to ids; returns how many before the turn ended. */
static inline uint32_t expected(const rt_model *m, const rt_ctx_cfg *cfg, const int32_t *prompt, size_t n_prompt,
                                const rt_sampling *sampling, uint32_t n, int32_t *ids) {
    rt_session *s = NULL;
    rt_sampler *sampler = NULL;
    kv_err err = {0};
    uint32_t said = 0;
    if (rt_session_new(m, cfg, &s, &err) || rt_sampler_new(sampling, m, &sampler, &err) ||
        rt_session_add(s, prompt, n_prompt, &err))
        fail_msg("%s", err.msg);
    for (; said < n; said++) {
        if (rt_session_read(s, NULL, NULL, &err))
            fail_msg("%s", err.msg);
        const int32_t id = rt_sample(sampler, rt_session_logits(s), rt_session_ids(s), rt_session_len(s));
        if (tok_is_eog(rt_model_tok(m), id))
            break;
        ids[said] = id;
        if (rt_session_add(s, &id, 1, &err))
            fail_msg("%s", err.msg);
    }
    rt_sampler_free(sampler);
    rt_session_free(s);
    return said;
}

static inline rt_sampling sampling_of(uint32_t seed) {
    rt_sampling c = RT_SAMPLING_DEFAULT;
    c.temp = seed % 3 ? 0.9 : 0;
    c.seed = seed;
    c.repeat_penalty = seed % 2 ? 1.1 : 1;
    return c;
}

static inline void check_same(const answer *a, const int32_t *ids, uint32_t n) {
    assert_int_equal(a->n, n);
    assert_memory_equal(a->ids, ids, n * sizeof *ids);
}

#endif
