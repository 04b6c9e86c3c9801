/* Choice of kernels and threads. */
#include "exec.h"

#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const cpu_names[RT_CPU_COUNT] = {"scalar", "avx2", "avx512", "neon"};

#if defined(__x86_64__)
static bool has_f16c(void) { /* clang 14's __builtin_cpu_supports does not know the name */
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

rt_cpu rt_cpu_detect(void) {
#if defined(__x86_64__)
    /* These also ask the operating system (XGETBV) whether it saves the registers. */
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
        return RT_CPU_SCALAR;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
        return RT_CPU_AVX512;
    return RT_CPU_AVX2;
#elif defined(__aarch64__)
    return RT_CPU_NEON;
#else
    return RT_CPU_SCALAR;
#endif
}

const char *rt_cpu_name(rt_cpu level) {
    return cpu_names[level];
}

/* Lowest-numbered hardware thread of the core that CPU `cpu` belongs to; the CPU itself where the system does not say. */
static int first_sibling(int cpu) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    if (!f)
        return cpu;
    int first;
    if (fscanf(f, "%d", &first) != 1 || first < 0 || first >= CPU_SETSIZE)
        first = cpu;
    fclose(f);
    return first;
}

static int physical_cores(void) {
    cpu_set_t usable, cores;
    CPU_ZERO(&cores);
    if (sched_getaffinity(0, sizeof usable, &usable) != 0) { /* more CPUs than a cpu_set_t holds */
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        return n > 0 ? (int)n : 1;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &usable))
            CPU_SET(first_sibling(cpu), &cores);
    return CPU_COUNT(&cores);
}

kv_status rt_exec_init(rt_exec *e, const char *cpu, int n_threads, bool exact, kv_err *err) {
    rt_cpu level = rt_cpu_detect();
    if (cpu && strcmp(cpu, "auto") != 0) {
        rt_cpu best = level;
        for (level = 0; level < RT_CPU_COUNT; level++)
            if (strcmp(cpu, cpu_names[level]) == 0)
                break;
        if (level == RT_CPU_COUNT)
            return kv_fail(err, KV_EINVAL, "unknown CPU level '%s'; choose auto, scalar, avx2, avx512 or neon", cpu);
        if (!rt_kernels_for(level))
            return kv_fail(err, KV_EUNSUPP, "this machine cannot run CPU level '%s'; the best it can is %s", cpu,
                           cpu_names[best]);
    }
    e->k = rt_kernels_for(level);
    e->n_threads = n_threads > 0 ? n_threads : physical_cores();
    e->exact = exact;
    e->in_place = false;
    return KV_OK;
}
