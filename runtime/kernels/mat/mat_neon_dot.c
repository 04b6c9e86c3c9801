/* Matrix kernels for 64-bit ARM with dot products (ARMv8.2 FEAT_DotProd): SDOT is made for quads. */
#include <arm_neon.h>

static inline int32x4_t quad_dot(int32x4_t sum, int8x16_t codes, int8x16_t q) {
    return vdotq_s32(sum, codes, q);
}

#define MAT_FILL rt_mat_neon_dot
#include "kernels/mat/mat_neon_body.h"
