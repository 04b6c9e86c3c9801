/* The kernel tables, one per level, each built on the one below. */
#include "kernels.h"

#include <pthread.h>

enum { ROOMS = 5 };

/* Written once under pthread_once, constant from then on. */
static rt_kernels tables[RT_CPU_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void (*const fill[RT_CPU_COUNT][ROOMS])(rt_kernels *) = {
    {rt_mat_scalar, rt_vec_scalar, rt_attn_scalar, rt_tc_scalar, rt_code_scalar},
#if defined(__x86_64__)
    {rt_mat_avx2, rt_vec_avx2, rt_attn_avx2, rt_tc_avx2, rt_code_avx2},
    {rt_mat_avx512, rt_vec_avx512, rt_attn_avx512, rt_tc_avx512, rt_code_avx512},
#endif
};

static void build(void) {
    for (int level = 0; level <= (int)rt_cpu_detect(); level++) {
        if (level > 0)
            tables[level] = tables[level - 1];
        for (int room = 0; room < ROOMS; room++)
            fill[level][room](&tables[level]);
#if defined(__x86_64__)
        if (level == RT_CPU_AVX512 && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("gfni"))
            rt_tc_vbmi(&tables[level]);
#endif
        tables[level].level = (rt_cpu)level;
    }
}

const rt_kernels *rt_kernels_for(rt_cpu level) {
    pthread_once(&once, build);
    return level <= rt_cpu_detect() ? &tables[level] : NULL;
}
