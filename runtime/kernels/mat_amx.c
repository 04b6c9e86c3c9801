#include "mat_avx512.h"
void rt_mat_amx(rt_kernels *k) {
    fill_i8(k);
}
