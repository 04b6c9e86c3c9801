/* Attention in codes with VNNI in registers of 256 bits: all that differs from attn_int/attn_int_avx2.c. */
#include "kernels/attn_int/attn_int_avx2.h"

void rt_attn_int_avxvnni(rt_kernels *k) {
    k->int_scores = scores;
    k->int_values = values;
}
