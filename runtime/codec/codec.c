#include "codec/codec.h"

#include <string.h>

#define ROW(id, name, ...) [KV_##id] = &kv_codec_##name,
static const kv_codec *const table[KV_CODEC_COUNT] = {KV_CODEC_LIST(ROW)};
#undef ROW

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

kv_status kv_codec_suits(const kv_codec *codec, uint32_t dim, bool *suits, kv_err *err) {
    kv_status st = KV_OK;
    for (int side = 0; side < 2 && !st; side++) {
        kv_coder c;
        st = kv_coder_init(&c, codec, side ? KV_SIDE_V : KV_SIDE_K, dim, NULL, err);
        kv_coder_free(&c);
    }
    *suits = !st;
    return st == KV_ENOMEM ? st : KV_OK;
}

void kv_coder_free(kv_coder *c) {
    if (c->ops && c->ops->free)
        c->ops->free(c);
    memset(c, 0, sizeof *c);
}
