/* Which instruction sets this machine has, and how many cores. */
#ifndef RT_CPU_H
#define RT_CPU_H

#include <stdbool.h>

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

/* Best one this machine can run. The first call asks the system for tiles, on behalf of all threads of the process. */
rt_cpu rt_cpu_detect(void);
bool rt_cpu_runs(rt_cpu isa);
const char *rt_cpu_name(rt_cpu isa); /* as in RT_CPU_NAMES */
/* Physical cores that this process may use. */
int rt_cpu_cores(void);

#endif
