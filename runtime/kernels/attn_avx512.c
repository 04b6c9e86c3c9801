#include "attn_plain.h"

void rt_attn_avx512(rt_kernels *k) {
    attn_plain(k);
}
