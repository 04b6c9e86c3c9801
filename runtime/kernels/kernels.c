/* The kernel tables, one per instruction set, each built on the one below. */
#include "kernels/kernels.h"

#include <pthread.h>

enum { KINDS = 5 };

/* Written once under pthread_once, constant from then on. */
static rt_kernels tables[RT_CPU_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The one that it builds on, and what it overrides (NULL: nothing). */
static const struct {
    rt_cpu below;
    void (*fill[KINDS])(rt_kernels *);
} isas[RT_CPU_COUNT] = {
    [RT_CPU_SCALAR] = {RT_CPU_SCALAR, {rt_mat_scalar, rt_vec_scalar, rt_attn_scalar, rt_tc_scalar, rt_attn_int_scalar}},
#if defined(__x86_64__)
    [RT_CPU_AVX2] = {RT_CPU_SCALAR, {rt_mat_avx2, rt_vec_avx2, rt_attn_avx2, rt_tc_avx2, rt_attn_int_avx2}},
    [RT_CPU_AVXVNNI] = {RT_CPU_AVX2, {rt_mat_avxvnni, NULL, NULL, rt_tc_avxvnni, rt_attn_int_avxvnni}},
    [RT_CPU_AVX512] = {RT_CPU_AVX2, {rt_mat_avx512, rt_vec_avx512, rt_attn_avx512, rt_tc_avx512, NULL}},
    [RT_CPU_AVX512VNNI] = {RT_CPU_AVX512, {rt_mat_avx512vnni, NULL, NULL, rt_tc_avx512vnni, rt_attn_int_avx512vnni}},
    [RT_CPU_AMX] = {RT_CPU_AVX512VNNI, {rt_mat_amx, NULL, NULL, NULL, rt_attn_int_amx}},
#elif defined(__aarch64__)
    [RT_CPU_NEON] = {RT_CPU_SCALAR, {rt_mat_neon, rt_vec_neon, rt_attn_neon, rt_tc_neon, rt_attn_int_neon}},
#endif
};

static void build(void) {
    for (rt_cpu isa = 0; isa < RT_CPU_COUNT; isa++) {
        if (!rt_cpu_runs(isa))
            continue;
        tables[isa] = tables[isas[isa].below];
        for (int kind = 0; kind < KINDS; kind++)
            if (isas[isa].fill[kind])
                isas[isa].fill[kind](&tables[isa]);
        tables[isa].isa = isa;
    }
}

bool rt_kernels_built(rt_cpu isa) {
    return isas[isa].fill[0] != NULL;
}

const rt_kernels *rt_kernels_for(rt_cpu isa) {
    pthread_once(&once, build);
    return rt_cpu_runs(isa) ? &tables[isa] : NULL;
}
