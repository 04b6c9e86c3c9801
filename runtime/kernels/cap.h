/* Soft caps of scores and logits: x becomes cap tanh(x / cap), which stays within +-cap. */
#ifndef RT_CAP_H
#define RT_CAP_H

#include "kernels/kernels.h"

/* x (n), in place; slope (n) the derivative, or NULL. The same bits in every instruction set. */
void rt_cap(const rt_kernels *k, float *x, size_t n, float cap, float *slope);

#endif
