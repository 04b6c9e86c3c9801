/* Matrix kernels for any 64-bit ARM: products in 16 bits, at most 128 * 127, widened pair by pair. Those of processors with dot
 * products (mat_neon_dot.c) take their place where the system says so.
 */
#include "kernels/kernels.h"
#include "kernels/neon.h"

#include <arm_neon.h>

static inline int32x4_t quad_dot(int32x4_t sum, int8x16_t codes, int8x16_t q) {
    int16x8_t low = vmull_s8(vget_low_s8(codes), vget_low_s8(q)), high = vmull_high_s8(codes, q);
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}

#define MAT_FILL fill_plain
static void MAT_FILL(rt_kernels *k);
#include "kernels/mat/mat_neon_body.h"

void rt_mat_neon(rt_kernels *k) {
    if (neon_has_dot())
        rt_mat_neon_dot(k);
    else
        fill_plain(k);
}
