/* llama.cpp's quantised caches as they have been by default since April 2026 (ggml-org/llama.cpp, pull request 21038 "rotate
 * activations for better quantization"; after QuaRot, Ashkboos et al. 2024): a Hadamard rotation without random signs, then
 * the codec whose name comes before the h. Keys are mixed over the largest power of two that divides head_dim, values over 64.
 * Block: that of the other codec.
 */
#include "codec/codec_rotate.h"

enum { LEAST_SPAN = 64 };

static kv_status init(kv_coder *c, const kv_codec *as, const char *name, const char *plain, kv_err *err) {
    if (!c->dim || c->dim % LEAST_SPAN)
        return kv_fail(err, KV_EINVAL, "codec %s wants a head_dim that is a multiple of %d, not %u; use %s", name, LEAST_SPAN,
                       c->dim, plain);
    uint32_t span = c->side == KV_SIDE_K ? c->dim & ~(c->dim - 1) : LEAST_SPAN; /* lowest bit of dim */
    kv_status st = kv_rotation_new(c, sizeof(kv_rotation), span, KV_ROTATION_PLAIN, name, err);
    if (st)
        return st;
    c->scratch = (size_t)c->dim * sizeof(float);
    return as->init(c, NULL, err);
}

/* reach: the other codec stores what is so many times as large as f16 can hold. */
static void encode(const kv_coder *c, const kv_codec *as, float reach, const rt_kernels *k, uint8_t *block, uint32_t slot,
                   uint32_t n, const float *x, void *scratch) {
    const float limit = reach * 65504.0f; /* so that scales stay finite in f16, whatever the rotation piles up in one place */
    float *y = scratch;
    for (uint32_t t = 0; t < n; t++) {
        kv_rotate(c->state, x + (size_t)t * c->dim, 1, y);
        for (uint32_t i = 0; i < c->dim; i++)
            y[i] = y[i] < -limit ? -limit : y[i] > limit ? limit : y[i];
        as->encode(c, k, block, slot + t, 1, y, NULL);
    }
}

#define ROTATED(of, reach)                                                                                                     \
    static kv_status of##h_init(kv_coder *c, const prof_tc *tc, kv_err *err) {                                                 \
        (void)tc;                                                                                                              \
        return init(c, &kv_codec_##of, #of "h", #of, err);                                                                     \
    }                                                                                                                          \
    static void of##h_encode(const kv_coder *c, const rt_kernels *k, uint8_t *block, uint32_t slot, uint32_t n,                \
                             const float *x, void *scratch) {                                                                  \
        encode(c, &kv_codec_##of, reach, k, block, slot, n, x, scratch);                                                       \
    }                                                                                                                          \
    static const float *of##h_decode(const kv_coder *c, const rt_kernels *k, const uint8_t *block, uint32_t n, float *tile) {  \
        return kv_codec_##of.decode(c, k, block, n, tile);                                                                     \
    }                                                                                                                          \
    const kv_codec kv_codec_##of##h = {.init = of##h_init,                                                                     \
                                       .free = kv_rotation_free,                                                               \
                                       .encode = of##h_encode,                                                                 \
                                       .decode = of##h_decode,                                                                 \
                                       .query = kv_rotated_query,                                                              \
                                       .output = kv_rotated_output};

ROTATED(q8_0, 8)
ROTATED(q4_0, 8)
ROTATED(q4_1, 1)
ROTATED(q5_0, 8)
ROTATED(q5_1, 1)
ROTATED(iq4_nl, 8)
