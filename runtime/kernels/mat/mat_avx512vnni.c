/* int8 products with VNNI: all that differs from mat_avx512.c. */
#include "kernels/mat/mat_avx512.h"

RT_MAT_FORMAT_TABLE(MAT_I8)

void rt_mat_avx512vnni(rt_kernels *k) {
    RT_MAT_FORMAT_TABLE(MAT_I8_ENTRY)
}
