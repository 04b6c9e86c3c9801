#include "codec/codec.h"

#include <string.h>

static const kv_codec *const table[KV_CODEC_COUNT] = {
    [KV_F32] = &kv_codec_f32,       [KV_F16] = &kv_codec_f16,       [KV_Q8_0] = &kv_codec_q8_0,
    [KV_Q4_0] = &kv_codec_q4_0,     [KV_Q4_0H] = &kv_codec_q4_0h,   [KV_TURBO2] = &kv_codec_turbo2,
    [KV_TURBO3] = &kv_codec_turbo3, [KV_TURBO4] = &kv_codec_turbo4, [KV_TURBO3Q] = &kv_codec_turbo3q,
    [KV_POLAR4] = &kv_codec_polar4, [KV_KIVI2] = &kv_codec_kivi2,   [KV_KIVI4] = &kv_codec_kivi4,
    [KV_TC] = &kv_codec_tc,
};

const kv_codec *kv_codec_get(kv_codec_id id) {
    return (unsigned)id < KV_CODEC_COUNT ? table[id] : NULL;
}

kv_status kv_coder_init(kv_coder *c, const kv_codec *codec, kv_side side, uint32_t dim, const prof_tc *tc, kv_err *err) {
    memset(c, 0, sizeof *c);
    c->ops = codec;
    c->side = side;
    c->dim = c->cdim = dim;
    c->group = 1;
    return codec->init(c, tc, err);
}

void kv_coder_free(kv_coder *c) {
    if (c->ops && c->ops->free)
        c->ops->free(c);
    memset(c, 0, sizeof *c);
}
