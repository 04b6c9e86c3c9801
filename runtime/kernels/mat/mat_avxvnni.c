/* int8 products with VNNI in registers of 256 bits: all that differs from mat_avx2.c. */
#include "kernels/mat/mat_avx2.h"

RT_MAT_FORMAT_TABLE(MAT_I8)

void rt_mat_avxvnni(rt_kernels *k) {
    RT_MAT_FORMAT_TABLE(MAT_I8_ENTRY)
}
