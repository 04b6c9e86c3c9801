/* Threads that run loops together. A team belongs to one caller at a time; its threads start with it and end with it.
 *
 * A loop of n pieces is published; whoever of the team is awake takes pieces until none is left, the caller among them. The
 * caller then waits only for those who took one: a thread that other programs keep off its core costs its help, not its time.
 * Threads wait for the next loop, and the caller for their last pieces, by looking for a while and then sleeping until woken
 * (team.c says for how long). Nothing depends on the environment, and no signal is touched.
 */
#ifndef RT_TEAM_H
#define RT_TEAM_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct rt_team rt_team;

/* How threads wait: as the load of the machine asks for, or always in one way, to compare with. */
typedef enum rt_wait { RT_WAIT_AUTO, RT_WAIT_SPIN, RT_WAIT_SLEEP } rt_wait;
bool rt_wait_by_name(const char *name, rt_wait *out); /* false: no such name */

/* A team of n_threads, the caller included: n_threads - 1 are started. KV_ENOMEM: the system gives no more threads. */
kv_status rt_team_new(int n_threads, rt_wait wait, rt_team **out, kv_err *err);
void rt_team_free(rt_team *t); /* NULL is fine */

/* Pieces first .. end-1 of a loop, as thread number `thread` of 0 .. n_threads-1 (0: the caller). */
typedef void rt_piece(void *arg, int thread, size_t first, size_t end);

/* Run all pieces 0 .. n-1, `grain` at a time, in no particular order; returns when all are done, and what they wrote is
 * visible. t NULL: the caller alone. Not from inside of a piece. */
void rt_team_for(rt_team *t, size_t n, size_t grain, rt_piece *run, void *arg);

#endif
