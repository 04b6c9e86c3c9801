/* The loop at hand and who is in it are one word, `state`: a number that changes with every loop, whether it still takes
 * helpers (OPEN), and how many are in it. A thread enters by adding itself to that word while it is open, so that the caller,
 * who closes it when no piece is left, knows exactly whom to wait for; fields of the loop change only while nobody is in it.
 * The same word is what sleepers sleep on.
 *
 * How long to look before sleeping. Waking a sleeper takes 5 to 50 microseconds, and a token's loops end hundreds of times in a
 * few milliseconds: on a machine that has nothing else to do, looking is what makes two threads worth it. Where other programs
 * want the cores, it is the other way round: a thread that looks burns the time that the one it waits for needs. Which of the
 * two it is shows: a thread that has been at something for longer than SUSPECT asks the system for how long it really ran.
 * Where a good part is missing, its core was taken away: while the machine is found busy like that, threads look for a moment
 * only.
 */
#include "machine/team.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <sched.h>
#endif

#define INSIDE 0x7fffu  /* helpers in the loop */
#define END    0x8000u  /* the team ends */
#define OPEN   0x10000u /* the loop takes helpers */
#define LOOP   0x20000u /* the number of the loop is what is above OPEN */

/* Nanoseconds. */
enum {
    LOOK = 1000000,      /* before sleeping, on a machine that is ours */
    GLANCE = 2000,       /* on a busy one */
    STARE = 20000000,    /* where one asked for spinning */
    SUSPECT = 500000,    /* of one thread between two looks at the clock: was the core taken away? */
    BUSY_MIN = 10000000, /* how long a machine found busy is taken to be so; doubles each time it is found so again */
    BUSY_MAX = 1600000000,
    FORGET = 100000000, /* after which it is not "again" */
};

typedef struct member {
    rt_team *team;
    int number;
    pthread_t thread;
    int64_t seen;  /* when it last looked at the clock */
    int64_t slept; /* all its sleep so far */
    int64_t taken; /* when it last asked: time_taken, */
    int64_t asked; /* and when that was */
} member;

struct rt_team {
    _Alignas(64) _Atomic(uint32_t) state;
    _Atomic(int) sleepers;  /* helpers that wait for a loop */
    _Atomic(uint32_t) left; /* changes when the last helper leaves a closed loop whose caller sleeps */
    _Atomic(bool) caller_sleeps;
    _Alignas(64) atomic_size_t next; /* first piece that nobody has taken */
    _Alignas(64) size_t n, grain;    /* of the loop */
    rt_piece *run;
    void *arg;
    int n_threads;
    rt_wait wait;
    _Alignas(64) _Atomic(int64_t) busy_until, busy_for;
    member members[]; /* (n_threads); number 0 is whoever calls */
};

static int64_t clock_of(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Sleep while *word is `value`; may return early. Elsewhere than on Linux threads go on looking, but let others run. */
static void sleep_on(member *m, _Atomic(uint32_t) *word, uint32_t value) {
    const int64_t start = clock_of(CLOCK_MONOTONIC);
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
    (void)value, (void)word;
    sched_yield();
#endif
    m->slept += clock_of(CLOCK_MONOTONIC) - start;
}

static void wake(_Atomic(uint32_t) *word, size_t n) {
#if defined(__linux__)
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n < INT_MAX ? (int)n : INT_MAX, NULL, NULL, 0);
#else
    (void)n, (void)word;
#endif
}

/* ---- is the machine ours? ---- */

/* Time in which a member neither ran nor slept by its own will. Asking takes the system a while. */
static int64_t time_taken(const member *m) {
    return m->seen - clock_of(CLOCK_THREAD_CPUTIME_ID) - m->slept;
}

static void found_busy(rt_team *t, int64_t time) {
    const int64_t until = atomic_load_explicit(&t->busy_until, memory_order_relaxed);
    int64_t length = atomic_load_explicit(&t->busy_for, memory_order_relaxed);
    length = time > until + FORGET || !length ? BUSY_MIN : 2 * length < BUSY_MAX ? 2 * length : BUSY_MAX;
    atomic_store_explicit(&t->busy_for, length, memory_order_relaxed);
    atomic_store_explicit(&t->busy_until, time + length, memory_order_relaxed);
}

/* What a member did before does not count. */
static void start_clock(member *m) {
    m->seen = m->asked = clock_of(CLOCK_MONOTONIC);
    m->taken = time_taken(m);
}

/* A member looks at the clock; returns the time. ours: what it did since it last looked was the team's work or waiting for it.
 */
static int64_t look_at_clock(rt_team *t, member *m, bool ours) {
    const int64_t time = clock_of(CLOCK_MONOTONIC), since = time - m->seen;
    m->seen = time;
    if (since > SUSPECT && t->wait == RT_WAIT_AUTO) {
        const int64_t taken = time_taken(m), more = taken - m->taken;
        if (ours && more > SUSPECT && more > (time - m->asked) / 8)
            found_busy(t, time);
        m->taken = taken;
        m->asked = time;
    }
    return time;
}

/* ---- waiting ---- */

/* The loop that the state tells of is open, and not the one that this thread was in last; or there will be none. */
static bool may_go_on(uint32_t state, uint32_t last) {
    return (state & OPEN && (state & ~INSIDE) != last) || state & END;
}

static bool all_left(uint32_t state, uint32_t last) {
    (void)last;
    return !(state & INSIDE);
}

static int64_t patience_at(const rt_team *t, int64_t time) {
    if (t->wait == RT_WAIT_AUTO)
        return time < atomic_load_explicit(&t->busy_until, memory_order_relaxed) ? GLANCE : LOOK;
    return t->wait == RT_WAIT_SPIN ? STARE : 0;
}

/* Look at the state until it is as wanted, as long as patience lasts. Returns the state that was seen last. */
static uint32_t look(rt_team *t, member *m, bool (*wanted)(uint32_t state, uint32_t last), uint32_t last) {
    enum { ROUND = 50 };
    int64_t time = look_at_clock(t, m, true);
    const int64_t patience = patience_at(t, time);
    for (const int64_t end = time + patience;; time = look_at_clock(t, m, true)) {
        uint32_t s = atomic_load_explicit(&t->state, memory_order_acquire);
        for (int i = 0; i < ROUND && !wanted(s, last); i++) {
            relax();
            s = atomic_load_explicit(&t->state, memory_order_acquire);
        }
        if (wanted(s, last) || time >= end)
            return s;
    }
}

static void take_pieces(rt_team *t, int thread) {
    for (size_t first; (first = atomic_fetch_add_explicit(&t->next, t->grain, memory_order_relaxed)) < t->n;)
        t->run(t->arg, thread, first, t->n - first < t->grain ? t->n : first + t->grain);
}

/* Sleep until there is a loop to enter, or anything else happens. */
static void wait_for_loop(rt_team *t, member *m, uint32_t state) {
    atomic_fetch_add(&t->sleepers, 1);
    if (atomic_load(&t->state) == state)
        sleep_on(m, &t->state, state);
    atomic_fetch_sub(&t->sleepers, 1);
}

static void leave(rt_team *t) {
    const uint32_t before = atomic_fetch_sub(&t->state, 1);
    if ((before & INSIDE) == 1 && !(before & OPEN) && atomic_load(&t->caller_sleeps)) {
        atomic_fetch_add(&t->left, 1);
        wake(&t->left, 1);
    }
}

static void *help(void *arg) {
    member *m = arg;
    rt_team *t = m->team;
    start_clock(m);
    for (uint32_t last = 0, s = 0; !(s & END);) {
        s = look(t, m, may_go_on, last);
        if (!may_go_on(s, last)) {
            wait_for_loop(t, m, s);
        } else if (!(s & END) && atomic_compare_exchange_strong(&t->state, &s, s + 1)) {
            last = s & ~INSIDE;
            take_pieces(t, m->number);
            leave(t);
        }
    }
    return NULL;
}

static void wait_for_helpers(rt_team *t) {
    while (!all_left(look(t, &t->members[0], all_left, 0), 0)) {
        const uint32_t left = atomic_load(&t->left);
        atomic_store(&t->caller_sleeps, true);
        if (!all_left(atomic_load(&t->state), 0))
            sleep_on(&t->members[0], &t->left, left);
        atomic_store(&t->caller_sleeps, false);
    }
}

void rt_team_for(rt_team *t, size_t n, size_t grain, rt_piece *run, void *arg) {
    if (!n)
        return;
    if (!t || n <= grain) {
        run(arg, 0, 0, n);
        return;
    }
    t->n = n;
    t->grain = grain;
    t->run = run;
    t->arg = arg;
    atomic_store_explicit(&t->next, 0, memory_order_relaxed);
    const uint32_t loop = (atomic_load_explicit(&t->state, memory_order_relaxed) & ~(INSIDE | OPEN)) + LOOP;
    atomic_store(&t->state, loop | OPEN);
    if (atomic_load(&t->sleepers) > 0)
        wake(&t->state, (n - 1) / grain);
    look_at_clock(t, &t->members[0], false);
    take_pieces(t, 0);
    if (atomic_fetch_and(&t->state, ~OPEN) & INSIDE)
        wait_for_helpers(t);
}

bool rt_wait_by_name(const char *name, rt_wait *out) {
    static const char *const names[] = {"auto", "spin", "sleep"};
    for (rt_wait w = RT_WAIT_AUTO; w <= RT_WAIT_SLEEP; w++)
        if (!strcmp(name, names[w])) {
            *out = w;
            return true;
        }
    return false;
}

kv_status rt_team_new(int n_threads, rt_wait wait, rt_team **out, kv_err *err) {
    rt_team *t = aligned_alloc(64, (sizeof *t + (size_t)n_threads * sizeof *t->members + 63) / 64 * 64);
    if (!t)
        return kv_fail(err, KV_ENOMEM, "out of memory for %d threads", n_threads);
    memset(t, 0, sizeof *t);
    t->wait = wait;
    t->members[0] = (member){.team = t};
    start_clock(&t->members[0]);
    for (t->n_threads = 1; t->n_threads < n_threads; t->n_threads++) {
        member *m = &t->members[t->n_threads];
        *m = (member){.team = t, .number = t->n_threads};
        const int code = pthread_create(&m->thread, NULL, help, m);
        if (code) {
            kv_status st =
                kv_fail(err, KV_ENOMEM, "cannot start thread %d of %d: %s", t->n_threads + 1, n_threads, strerror(code));
            rt_team_free(t);
            return st;
        }
    }
    *out = t;
    return KV_OK;
}

void rt_team_free(rt_team *t) {
    if (!t)
        return;
    atomic_fetch_or(&t->state, END);
    wake(&t->state, INT_MAX);
    for (int i = 1; i < t->n_threads; i++)
        pthread_join(t->members[i].thread, NULL);
    free(t);
}
