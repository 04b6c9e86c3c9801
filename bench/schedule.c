/* What many requests at once cost: bench_schedule MODEL [PROFILE.yaml] [STREAMS] [LONG] [PART]
 *
 *   streams   tokens a second of STREAMS (16) answers at once, by the scheduler and, in turns, by bare steps of as many
 * sessions beside    time between two tokens of 4 answers, before and while a prompt of LONG (2,000) tokens is read; time of
 * that prompt, beside them and alone return    time to the first token of that prompt from the cache of contexts, after a
 * restart, and the longest time between two tokens of others meanwhile
 *
 * Answers are told to go on, so that all are as long as they were asked for.
 */
#include "schedule/schedule.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 64, SAYS = 96, ROUNDS = 5, BESIDE = 4, CTX = 8192 };

static void stop(const kv_err *err) {
    fprintf(stderr, "bench_schedule: %s\n", err->msg);
    exit(1);
}

typedef struct stream {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    double at[CTX];     /* when each token was said */
    uint32_t n, wanted; /* tokens; how many somebody waits for */
    bool ended;
    sched_stats stats;
    sched_job *job;
} stream;

static bool on_token(void *user, const sched_token *t) {
    stream *s = user;
    (void)t;
    pthread_mutex_lock(&s->lock);
    s->at[s->n++] = clock_now();
    if (s->n == s->wanted)
        pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return true;
}

static void on_end(void *user, sched_why why, const sched_stats *stats, const kv_err *err) {
    stream *s = user;
    if (why == SCHED_FAILED)
        stop(err);
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    s->stats = *stats;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static stream *begin(scheduler *s, const rt_sampling *sampling, uint32_t seed, uint32_t prompt, int64_t n) {
    stream *a = calloc(1, sizeof *a);
    int32_t *ids = malloc(prompt * sizeof *ids);
    kv_err err = {0};
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    for (uint32_t i = 0; i < prompt; i++)
        ids[i] = (int32_t)((i * 37u + 11u + 101u * seed) % 1000);
    const sched_request r = {.ids = ids,
                             .n = prompt,
                             .sampling = sampling,
                             .n_predict = n,
                             .events = {.on_token = on_token, .on_end = on_end},
                             .user = a};
    if (sched_submit(s, &r, &a->job, &err))
        stop(&err);
    free(ids);
    return a;
}

static void wait_for(stream *a, uint32_t tokens) {
    pthread_mutex_lock(&a->lock);
    a->wanted = tokens;
    while (!a->ended && a->n < tokens)
        pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static void end(scheduler *s, stream *a, bool cancel) {
    if (cancel)
        sched_cancel(s, a->job);
    wait_for(a, UINT32_MAX);
    free(a);
}

static scheduler *make(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t slots, contexts *c) {
    scheduler *s;
    kv_err err = {0};
    if (sched_new(&(sched_cfg){.m = m, .ctx = cfg, .slots = slots, .queue = slots, .contexts = c}, &s, &err))
        stop(&err);
    return s;
}

/* ---- streams ---- */

static double by_scheduler(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t n, const rt_sampling *sampling) {
    scheduler *s = make(m, cfg, n, NULL);
    stream *a[MOST];
    double from = 0, to = 1e300;
    uint32_t said = 0;
    for (uint32_t i = 0; i < n; i++)
        a[i] = begin(s, sampling, i, 16, SAYS);
    for (uint32_t i = 0; i < n; i++) {
        wait_for(a[i], UINT32_MAX);
        from = a[i]->at[0] > from ? a[i]->at[0] : from;
        to = a[i]->at[SAYS - 1] < to ? a[i]->at[SAYS - 1] : to;
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t t = 0; t < SAYS; t++)
            said += a[i]->at[t] > from && a[i]->at[t] <= to;
        end(s, a[i], false);
    }
    sched_free(s);
    return said / (to - from);
}

static int32_t likeliest(const float *x, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return (int32_t)best;
}

static double by_steps(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t n) {
    rt_pool *p;
    rt_session *s[MOST];
    rt_pool_row rows[MOST];
    kv_err err = {0};
    double started = 0;
    if (rt_pool_new(m, 0, &p, &err))
        stop(&err);
    for (uint32_t i = 0; i < n; i++) {
        if (rt_session_new_in(p, cfg, &s[i], &err))
            stop(&err);
        rows[i] = (rt_pool_row){s[i], 5 + (int32_t)i, true};
    }
    for (uint32_t t = 0; t < 16 + SAYS; t++) {
        if (t == 16)
            started = clock_now();
        if (rt_pool_step(p, rows, n, &err))
            stop(&err);
        for (uint32_t i = 0; i < n; i++)
            rows[i].id = likeliest(rt_session_logits(s[i]), rt_model_hparams(m)->n_vocab);
    }
    const double took = clock_now() - started;
    for (uint32_t i = 0; i < n; i++)
        rt_session_free(s[i]);
    rt_pool_free(p);
    return n * SAYS / took;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, ascending);
    return n ? x[n / 2] : 0;
}

/* Milliseconds of processors for each of so many tokens since `from`; all there were, if it is 0. */
static double processor(double from, uint32_t tokens) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e3 * ((double)t.tv_sec + 1e-9 * (double)t.tv_nsec - from / 1e3) / tokens;
}

static void streams(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t n) {
    rt_sampling greedy = RT_SAMPLING_DEFAULT, drawn = RT_SAMPLING_DEFAULT;
    double x[3][ROUNDS], ms[3][ROUNDS];
    greedy.temp = 0;
    greedy.ignore_eos = drawn.ignore_eos = true;
    for (int r = 0; r < ROUNDS; r++)
        for (int way = 0; way < 3; way++) {
            const double from = processor(0, 1);
            x[way][r] = !way ? by_steps(m, cfg, n) : by_scheduler(m, cfg, n, way == 1 ? &greedy : &drawn);
            ms[way][r] = processor(from, n * SAYS);
        }
    const double steps = median(x[0], ROUNDS), one = median(x[1], ROUNDS), other = median(x[2], ROUNDS);
    printf("streams  %u at once, tokens/s: bare steps %.1f, scheduler %.1f (%.1f %%), with sampling %.1f (%.1f %%)\n", n, steps,
           one, 100 * one / steps, other, 100 * other / steps);
    printf("streams  ms of processors per token, all in all: %.2f, %.2f, %.2f\n", median(ms[0], ROUNDS), median(ms[1], ROUNDS),
           median(ms[2], ROUNDS));
}

/* ---- beside a long prompt ---- */

typedef struct gaps {
    double median, longest;
} gaps;

/* Between tokens of a stream said in from .. to. */
static gaps gaps_of(const stream *a, double from, double to) {
    static double x[CTX];
    uint32_t n = 0;
    gaps g = {0};
    for (uint32_t i = 1; i < a->n; i++)
        if (a->at[i] >= from && a->at[i - 1] <= to) {
            x[n++] = a->at[i] - a->at[i - 1];
            g.longest = x[n - 1] > g.longest ? x[n - 1] : g.longest;
        }
    g.median = median(x, n);
    return g;
}

static void beside(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t length) {
    rt_sampling greedy = RT_SAMPLING_DEFAULT;
    stream *a[BESIDE];
    greedy.temp = 0;
    greedy.ignore_eos = true;
    scheduler *s = make(m, cfg, BESIDE + 1, NULL);
    stream *alone = begin(s, &greedy, 7, length, 1);
    wait_for(alone, 1);
    for (uint32_t i = 0; i < BESIDE; i++)
        a[i] = begin(s, &greedy, i, 16, -1);
    for (uint32_t i = 0; i < BESIDE; i++)
        wait_for(a[i], 1);
    const double from = clock_now();
    wait_for(a[0], 30);
    const double then = clock_now();
    stream *prompt = begin(s, &greedy, 8, length, 1);
    wait_for(prompt, 1);
    const double to = clock_now();
    const gaps before = gaps_of(a[0], from, then), while_read = gaps_of(a[0], then, to);
    printf("beside   %u answers, ms between tokens: %.1f before, %.1f (longest %.1f) while %u tokens are read in %.2f s, alone "
           "%.2f s\n",
           BESIDE, 1e3 * before.median, 1e3 * while_read.median, 1e3 * while_read.longest, length, prompt->at[0] - then,
           alone->stats.prefill_s);
    for (uint32_t i = 0; i < BESIDE; i++)
        end(s, a[i], true);
    end(s, prompt, false);
    end(s, alone, false);
    sched_free(s);
}

/* ---- after a restart ---- */

static void come_back(const rt_model *m, const rt_ctx_cfg *cfg, uint32_t length) {
    rt_sampling greedy = RT_SAMPLING_DEFAULT;
    char folder[] = "/tmp/bench-schedule-XXXXXX", command[64];
    contexts *c;
    kv_err err = {0};
    greedy.temp = 0;
    greedy.ignore_eos = true;
    if (!mkdtemp(folder) || contexts_open(folder, (uint64_t)1 << 40, &c, &err))
        stop(&err);
    for (int again = 0; again < 2; again++) {
        scheduler *s = make(m, cfg, 2, c);
        stream *other = begin(s, &greedy, 1, 16, -1);
        wait_for(other, 20);
        double started = clock_now();
        stream *a = begin(s, &greedy, 9, length, 2);
        wait_for(a, UINT32_MAX);
        const gaps g = gaps_of(other, started, a->at[0]);
        printf("return   %-6s first of %u tokens after %.3f s, %u of them read before; longest ms between tokens of another "
               "%.1f\n",
               again ? "again:" : "anew:", length, a->at[0] - started, a->stats.cached, 1e3 * g.longest);
        free(a);
        started = clock_now();
        stream *b = begin(s, &greedy, 10, 300, 2); /* takes the slot, so the long one is put away */
        wait_for(b, 2);
        wait_for(other, other->n + 20);
        printf("return   put away: longest ms between tokens of another %.1f\n", 1e3 * gaps_of(other, started, 1e300).longest);
        end(s, b, false);
        end(s, other, true);
        sched_free(s);
    }
    contexts_close(c);
    snprintf(command, sizeof command, "rm -r %s", folder);
    if (system(command))
        exit(1);
}

int main(int argc, char **argv) {
    rt_exec e;
    rt_model *m = NULL;
    prof *p = NULL;
    kv_err err = {0};
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    const uint32_t n = argc > 3 ? (uint32_t)atoi(argv[3]) : 16, length = argc > 4 ? (uint32_t)atoi(argv[4]) : 2000;
    if (argc < 2 || !n || n > MOST || !length || length > CTX - 100) {
        fprintf(stderr, "usage: bench_schedule MODEL [PROFILE.yaml] [STREAMS] [LONG] [streams|beside|return]\n");
        return 2;
    }
    if (rt_exec_init(&e, NULL, 0, false, &err) || rt_model_load(argv[1], &e, &m, &err) ||
        (argc > 2 && *argv[2] && prof_load(argv[2], &p, &err)))
        stop(&err);
    cfg.profile = p;
    cfg.n_ctx = CTX;
    cfg.checkpoint_every = RT_CHECKPOINT_EVERY;
    const char *part = argc > 5 ? argv[5] : "streams beside return";
    if (strstr(part, "streams"))
        streams(m, &cfg, n);
    if (strstr(part, "beside"))
        beside(m, &cfg, length);
    if (strstr(part, "return"))
        come_back(m, &cfg, length);
    prof_free(p);
    rt_model_free(m);
    return 0;
}
