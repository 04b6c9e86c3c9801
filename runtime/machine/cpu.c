/* What this machine is. */
#include "machine/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif
#include <unistd.h>

#define NAME(id, name) name,
static const char *const cpu_names[RT_CPU_COUNT] = {"scalar", RT_CPU_LIST(NAME)};
#undef NAME

/* Written once under pthread_once, constant from then on. */
static bool can_run[RT_CPU_COUNT] = {[RT_CPU_SCALAR] = true};
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* Names that clang 14's __builtin_cpu_supports does not know. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool has_avxvnni(void) {
    enum { AVX_VNNI = 1 << 4 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & AVX_VNNI);
}

/* Linux hands out the 8 KiB of tile registers only to those who ask; threads inherit the permission. */
static bool may_use_tiles(void) {
    enum { TILE = 1 << 24, INT8 = 1 << 25, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & TILE) || !(d & INT8))
        return false;
#if defined(__linux__)
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the registers. */
static void detect_x86(bool *can) {
    __builtin_cpu_init();
    can[RT_CPU_AVX2] = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    can[RT_CPU_AVXVNNI] = can[RT_CPU_AVX2] && has_avxvnni();
    can[RT_CPU_AVX512] = can[RT_CPU_AVX2] && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    can[RT_CPU_AVX512VNNI] = can[RT_CPU_AVX512] && __builtin_cpu_supports("avx512vnni");
    can[RT_CPU_AMX] = can[RT_CPU_AVX512VNNI] && may_use_tiles();
}
#endif

static void detect(void) {
#if defined(__x86_64__)
    detect_x86(can_run);
#elif defined(__aarch64__)
    can_run[RT_CPU_NEON] = true;
#endif
}

bool rt_cpu_runs(rt_cpu isa) {
    pthread_once(&once, detect);
    return can_run[isa];
}

rt_cpu rt_cpu_detect(void) {
    rt_cpu best = RT_CPU_COUNT - 1;
    while (!rt_cpu_runs(best))
        best--;
    return best;
}

const char *rt_cpu_name(rt_cpu isa) {
    return cpu_names[isa];
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

int rt_cpu_cores(void) {
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
