/* What every operation of the runtime needs to run: kernels for this CPU and the number of threads. Passed by pointer,
 * borrowed. Results never depend on n_threads: no sum is ever split over threads.
 */
#ifndef RT_EXEC_H
#define RT_EXEC_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Each instruction set of x86-64 has all that the ones before have, but that AVX-512 does not imply AVX-VNNI.
 *   avx2        AVX2, FMA, F16C
 *   avxvnni     AVX-VNNI
 *   avx512      F, BW, VL, DQ
 *   avx512vnni  VNNI
 *   amx         AMX-TILE and AMX-INT8, and the system's permission to use tiles
 *   neon        any 64-bit ARM */
typedef enum rt_cpu {
    RT_CPU_SCALAR,
    RT_CPU_AVX2,
    RT_CPU_AVXVNNI,
    RT_CPU_AVX512,
    RT_CPU_AVX512VNNI,
    RT_CPU_AMX,
    RT_CPU_NEON,
    RT_CPU_COUNT
} rt_cpu;
#define RT_CPU_NAMES "scalar, avx2, avxvnni, avx512, avx512vnni, amx, neon" /* in this order */

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

/* Best one this machine can run. The first call asks the system for tiles, on behalf of all threads of the process. */
rt_cpu rt_cpu_detect(void);
bool rt_cpu_runs(rt_cpu isa);
const char *rt_cpu_name(rt_cpu isa); /* as in RT_CPU_NAMES */

/* Fill *e, in_place false. cpu: NULL or "auto" for the best, else a name of RT_CPU_NAMES (KV_EINVAL unknown, KV_EUNSUPP not on
 * this machine). n_threads <= 0: one per physical core that this process may use. */
kv_status rt_exec_init(rt_exec *e, const char *cpu, int n_threads, bool exact, kv_err *err);

/* Memory aligned to 64 bytes; large pieces ask the system for large pages, which spares translating addresses where they are
 * read from end to end. NULL where there is none; free() it. */
void *rt_alloc(size_t bytes);

/* Many allocations that end together, side by side in pieces of large pages: a matrix of its own is often smaller than one.
 * Starts as zeros. */
typedef struct rt_arena {
    void **pieces;
    size_t n;
    char *next; /* free bytes of the last shared piece */
    size_t left;
} rt_arena;

/* Aligned to 64 bytes; NULL where there is no memory. */
void *rt_arena_take(rt_arena *a, size_t bytes);
void rt_arena_free(rt_arena *a);

#endif
