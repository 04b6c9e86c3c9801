/* Codec tc with VNNI in registers of 256 bits: all that differs from tc_avx2.c. */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#include "kernels/tc/tc_project_avx2.h"
#define p_add(sum, a, b) _mm256_dpwssd_avx_epi32(sum, a, b)
#include "kernels/tc/tc_project.h"

void rt_tc_avxvnni(rt_kernels *k) {
    k->tc_project = project;
}
