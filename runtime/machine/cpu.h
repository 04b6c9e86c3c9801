/* Which instruction sets this machine has, and how many cores. */
#ifndef RT_CPU_H
#define RT_CPU_H

#include <stdbool.h>

/* All but scalar, in rising order. Each instruction set of x86-64 has all that the ones before have, but that AVX-512 does not
 * imply AVX-VNNI.
 *   avx2        AVX2, FMA, F16C
 *   avxvnni     AVX-VNNI
 *   avx512      F, BW, VL, DQ
 *   avx512vnni  VNNI
 *   amx         AMX-TILE and AMX-INT8, and the system's permission to use tiles
 *   neon        any 64-bit ARM
 * Options of the compiler for each: runtime/CMakeLists.txt. */
#define RT_CPU_LIST(X)                                                                                                         \
    X(AVX2, "avx2")                                                                                                            \
    X(AVXVNNI, "avxvnni")                                                                                                      \
    X(AVX512, "avx512")                                                                                                        \
    X(AVX512VNNI, "avx512vnni")                                                                                                \
    X(AMX, "amx")                                                                                                              \
    X(NEON, "neon")

#define RT_CPU_ID_(id, name) RT_CPU_##id,
typedef enum rt_cpu { RT_CPU_SCALAR, RT_CPU_LIST(RT_CPU_ID_) RT_CPU_COUNT } rt_cpu;
#undef RT_CPU_ID_

#define RT_CPU_AND_(id, name) ", " name
#define RT_CPU_NAMES          "scalar" RT_CPU_LIST(RT_CPU_AND_)

/* Best one this machine can run. The first call asks the system for tiles, on behalf of all threads of the process. */
rt_cpu rt_cpu_detect(void);
bool rt_cpu_runs(rt_cpu isa);
const char *rt_cpu_name(rt_cpu isa); /* as in RT_CPU_NAMES */
/* Physical cores that this process may use. */
int rt_cpu_cores(void);

#endif
