/* Threads that run loops together: every piece is run once, whoever runs it, however threads wait. */
#include "machine/team.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { MOST = 1000 };

typedef struct count {
    int times[MOST]; /* not atomic: a piece belongs to one thread */
    int threads, grain, n;
    atomic_int wrong;
} count;

static void count_pieces(void *arg, int thread, size_t first, size_t end) {
    count *c = arg;
    if (thread < 0 || thread >= c->threads || first >= end || end > (size_t)c->n || end - first > (size_t)c->grain)
        atomic_fetch_add(&c->wrong, 1);
    for (size_t i = first; i < end; i++)
        c->times[i]++;
}

static void check_loop(rt_team *t, int threads, int n, int grain) {
    count c = {.threads = threads, .grain = t ? grain : n, .n = n};
    rt_team_for(t, (size_t)n, (size_t)grain, count_pieces, &c);
    assert_int_equal(c.wrong, 0);
    for (int i = 0; i < MOST; i++)
        assert_int_equal(c.times[i], i < n);
}

static void team_runs_every_piece_once(void **state) {
    (void)state;
    static const int sizes[] = {0, 1, 2, 3, 63, 64, 65, MOST};
    for (rt_wait wait = RT_WAIT_AUTO; wait <= RT_WAIT_SLEEP; wait++)
        for (int threads = 1; threads < 6; threads++) {
            rt_team *t = NULL;
            assert_int_equal(rt_team_new(threads, wait, &t, NULL), KV_OK);
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                for (int grain = 1; grain < 100; grain += 49)
                    check_loop(t, threads, sizes[s], grain);
            rt_team_free(t);
        }
    check_loop(NULL, 1, MOST, 1);
}

typedef struct chain {
    uint64_t value[64], sum;
} chain;

static void step(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    chain *c = arg;
    for (size_t i = first; i < end; i++)
        c->value[i] = c->value[i] * 3 + c->sum;
}

/* What a loop wrote is there for the caller, and what the caller writes between loops is there for the next one. */
static void team_loops_see_what_came_before(void **state) {
    (void)state;
    enum { LOOPS = 3000 };
    for (rt_wait wait = RT_WAIT_AUTO; wait <= RT_WAIT_SLEEP; wait++) {
        rt_team *t;
        chain alone = {0}, together = {0};
        assert_int_equal(rt_team_new(3, wait, &t, NULL), KV_OK);
        for (int loop = 0; loop < LOOPS; loop++) {
            rt_team_for(NULL, 64, 1, step, &alone);
            rt_team_for(t, 64, 1, step, &together);
            for (int i = 0; i < 64; i++) {
                alone.sum += alone.value[i] + 1;
                together.sum += together.value[i] + 1;
            }
        }
        rt_team_free(t);
        assert_memory_equal(&alone, &together, sizeof alone);
    }
}

static void nap(long us) {
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

static void slow_piece(void *arg, int thread, size_t first, size_t end) {
    nap(300 * (long)(end - first) + 200 * thread);
    count_pieces(arg, thread, first, end);
}

/* Long pieces and long pauses: threads fall asleep on either side. */
static void team_wakes_who_sleeps(void **state) {
    (void)state;
    rt_team *t;
    assert_int_equal(rt_team_new(4, RT_WAIT_AUTO, &t, NULL), KV_OK);
    for (int loop = 0; loop < 20; loop++) {
        count c = {.threads = 4, .grain = 1, .n = 10};
        nap(loop % 3 * 1500);
        rt_team_for(t, 10, 1, slow_piece, &c);
        assert_int_equal(c.wrong, 0);
        for (int i = 0; i < 10; i++)
            assert_int_equal(c.times[i], 1);
    }
    rt_team_free(t);
}

typedef struct pair {
    atomic_int begun, alone;
} pair;

/* A piece that waits for the other to begin; alone when that takes for ever. */
static void meet(void *arg, int thread, size_t first, size_t end) {
    (void)thread;
    pair *p = arg;
    atomic_fetch_add(&p->begun, (int)(end - first));
    for (int i = 0; atomic_load(&p->begun) < 2 && !p->alone; i++) {
        nap(100);
        atomic_fetch_add(&p->alone, i == 200000);
    }
}

/* Helpers help. */
static void team_works_side_by_side(void **state) {
    (void)state;
    rt_team *t;
    assert_int_equal(rt_team_new(2, RT_WAIT_AUTO, &t, NULL), KV_OK);
    for (int i = 0; i < 3; i++) {
        pair p = {0};
        rt_team_for(t, 2, 1, meet, &p);
        assert_int_equal(p.begun, 2);
        assert_int_equal(p.alone, 0);
        nap(5000);
    }
    rt_team_free(t);
}

static void team_ends_at_once(void **state) {
    (void)state;
    for (int i = 0; i < 200; i++) {
        rt_team *t;
        assert_int_equal(rt_team_new(1 + i % 4, i % 3, &t, NULL), KV_OK);
        if (i % 2)
            check_loop(t, 1 + i % 4, 8, 1);
        rt_team_free(t);
    }
    rt_team_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(team_runs_every_piece_once), cmocka_unit_test(team_loops_see_what_came_before),
        cmocka_unit_test(team_wakes_who_sleeps),      cmocka_unit_test(team_works_side_by_side),
        cmocka_unit_test(team_ends_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
