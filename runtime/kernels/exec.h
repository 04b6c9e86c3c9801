/* What every operation of the runtime needs to run: kernels for this CPU and the threads. Passed by pointer, borrowed. Results
 * never depend on n_threads: no sum is ever split over threads.
 */
#ifndef RT_EXEC_H
#define RT_EXEC_H

#include "base/status.h"
#include "machine/cpu.h"
#include "machine/team.h"

struct rt_kernels; /* kernels/kernels.h */

typedef struct rt_exec {
    const struct rt_kernels *k;
    int n_threads;
    rt_wait wait;
    rt_team *team; /* n_threads that work together, for one caller at a time; NULL: the caller alone does all the work */
    /* true: matrix products in f32 on dequantised weights, for measuring; false: int8 activations, for speed. */
    bool exact;
    /* true: quantised weights stay in the file's mapping and are repacked tile by tile whenever they are multiplied. Slower,
     * the same results; memory that the system may take back. */
    bool in_place;
} rt_exec;

/* Fill *e, without a team, in_place false. cpu: NULL or "auto" for the best, else a name of RT_CPU_NAMES (KV_EINVAL unknown,
 * KV_EUNSUPP not on this machine). n_threads <= 0: one per physical core that this process may use. */
kv_status rt_exec_init(rt_exec *e, const char *cpu, int n_threads, bool exact, kv_err *err);

/* *out: a copy of e with a team of its own. Caller ends it with rt_exec_stop; KV_ENOMEM: no threads to be had. */
kv_status rt_exec_start(const rt_exec *e, rt_exec *out, kv_err *err);
void rt_exec_stop(rt_exec *e);

/* rt_team_for with e's team. */
static inline void rt_for(const rt_exec *e, size_t n, size_t grain, rt_piece *run, void *arg) {
    rt_team_for(e->team, n, grain, run, arg);
}

#endif
