/* Choice of kernels and threads. */
#include "kernels/exec.h"

#include "kernels/kernels.h"

#include <string.h>

kv_status rt_exec_init(rt_exec *e, const char *cpu, int n_threads, bool exact, kv_err *err) {
    rt_cpu isa = rt_cpu_detect();
    if (cpu && strcmp(cpu, "auto") != 0) {
        rt_cpu best = isa;
        for (isa = 0; isa < RT_CPU_COUNT; isa++)
            if (strcmp(cpu, rt_cpu_name(isa)) == 0)
                break;
        if (isa == RT_CPU_COUNT)
            return kv_fail(err, KV_EINVAL, "unknown instruction set '%s'; choose auto or one of " RT_CPU_NAMES, cpu);
        if (!rt_kernels_for(isa))
            return kv_fail(err, KV_EUNSUPP, "this machine cannot run instruction set '%s'; the best it can is %s", cpu,
                           rt_cpu_name(best));
    }
    *e = (rt_exec){.k = rt_kernels_for(isa), .n_threads = n_threads > 0 ? n_threads : rt_cpu_cores(), .exact = exact};
    return KV_OK;
}

kv_status rt_exec_start(const rt_exec *e, rt_exec *out, kv_err *err) {
    *out = *e;
    out->team = NULL;
    return e->n_threads > 1 ? rt_team_new(e->n_threads, e->wait, &out->team, err) : KV_OK;
}

void rt_exec_stop(rt_exec *e) {
    rt_team_free(e->team);
    e->team = NULL;
}
