/* Attention in codes with VNNI in registers of 256 bits: all that differs from attn_int/attn_int_avx2.c. */
#include "kernels/attn_int/attn_int_avx2.h"

void rt_code_avxvnni(rt_kernels *k) {
    k->code_scores = scores;
    k->code_values = values;
}
