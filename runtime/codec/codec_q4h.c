/* q4_0h: llama.cpp's q4_0 cache as it has been by default since April 2026 (ggml-org/llama.cpp, pull request 21038 "rotate
 * activations for better quantization"; after QuaRot, Ashkboos et al. 2024): a Hadamard rotation without random signs, then
 * q4_0. Keys are mixed over the largest power of two that divides head_dim, values over 64. Block: that of q4_0.
 */
#include "codec/codec_rotate.h"

enum { LEAST_SPAN = 64 };

static kv_status q4h_init(kv_coder *c, const prof_tc *tc, kv_err *err) {
    if (!c->dim || c->dim % LEAST_SPAN)
        return kv_fail(err, KV_EINVAL, "codec q4_0h wants a head_dim that is a multiple of %d, not %u; use q4_0", LEAST_SPAN,
                       c->dim);
    uint32_t span = c->side == KV_SIDE_K ? c->dim & ~(c->dim - 1) : LEAST_SPAN; /* lowest bit of dim */
    kv_status st = kv_rotation_new(c, sizeof(kv_rotation), span, KV_ROTATION_PLAIN, "q4_0h", err);
    if (st)
        return st;
    c->scratch = (size_t)c->dim * sizeof(float);
    return kv_codec_q4_0.init(c, tc, err);
}

static void q4h_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n, const float *x,
                       void *scratch) {
    const float limit = 8 * 65504.0f; /* so that scales stay finite in f16, whatever the rotation piles up in one place */
    float *y = scratch;
    for (uint32_t t = 0; t < n; t++) {
        kv_rotate(c->state, x + (size_t)t * c->dim, 1, y);
        for (uint32_t i = 0; i < c->dim; i++)
            y[i] = y[i] < -limit ? -limit : y[i] > limit ? limit : y[i];
        kv_codec_q4_0.encode(c, k, block, slot + t, 1, y, NULL);
    }
}

static const float *q4h_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {
    return kv_codec_q4_0.decode(c, k, block, n, tile);
}

const kv_codec kv_codec_q4_0h = {.init = q4h_init,
                                 .free = kv_rotation_free,
                                 .encode = q4h_encode,
                                 .decode = q4h_decode,
                                 .query = kv_rotated_query,
                                 .output = kv_rotated_output};
