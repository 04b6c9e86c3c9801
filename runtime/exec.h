/* What every operation of the runtime needs to run: kernels for this CPU and the number of threads. Passed by pointer,
 * borrowed. Results never depend on n_threads: no sum is ever split over threads.
 */
#ifndef RT_EXEC_H
#define RT_EXEC_H

#include "status.h"

#include <stdbool.h>

typedef enum rt_cpu { RT_CPU_SCALAR, RT_CPU_AVX2, RT_CPU_AVX512, RT_CPU_NEON, RT_CPU_COUNT } rt_cpu;

struct rt_kernels; /* kernels/kernels.h */

typedef struct rt_exec {
    const struct rt_kernels *k;
    int n_threads;
    /* true: matrix products in f32 on dequantised weights, for measuring; false: int8 activations, for speed. */
    bool exact;
    /* true: quantised weights stay in the file's mapping and are repacked tile by tile whenever they are multiplied. Slower,
     * the same results; memory that the system may take back. */
    bool in_place;
} rt_exec;

/* Best level this machine can run. RT_CPU_AVX512 wants F, BW, VL, DQ and VNNI; RT_CPU_AVX2 wants AVX2, FMA and F16C;
 * RT_CPU_NEON is any 64-bit ARM. */
rt_cpu rt_cpu_detect(void);
const char *rt_cpu_name(rt_cpu level); /* "scalar", "avx2", "avx512", "neon" */

/* Fill *e, in_place false. cpu: NULL or "auto" for the best, else a level's name (KV_EINVAL unknown, KV_EUNSUPP not on this
 * machine). n_threads <= 0: one per physical core that this process may use. */
kv_status rt_exec_init(rt_exec *e, const char *cpu, int n_threads, bool exact, kv_err *err);

#endif
