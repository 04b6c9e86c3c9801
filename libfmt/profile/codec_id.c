#include "profile/codec_id.h"

#include <string.h>

#define ROW(id, name, family, summary, bits, k_f16, v_f16)                                                                     \
    {KV_##id, KV_FAMILY_##family, #name, summary, (bits) == 0, bits, k_f16, v_f16},
const kv_codec_name kv_codec_names[KV_CODEC_COUNT] = {KV_CODEC_LIST(ROW)};
#undef ROW

int kv_codec_by_name(const char *name) {
    for (int i = 0; i < KV_CODEC_COUNT; i++)
        if (!strcmp(name, kv_codec_names[i].name))
            return i;
    return -1;
}

float kv_codec_bits(kv_codec_id id, bool key, uint32_t head_dim) {
    const kv_codec_name *n = &kv_codec_names[id];
    return n->bits + (head_dim ? 16.0f * (key ? n->k_f16 : n->v_f16) / (float)head_dim : 0);
}
