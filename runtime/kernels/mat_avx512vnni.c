/* int8 products with VNNI: all that differs from mat_avx512.c. */
#include "mat_avx512.h"

void rt_mat_avx512vnni(rt_kernels *k) {
    fill_i8(k);
}
