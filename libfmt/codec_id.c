#include "codec_id.h"

#include <string.h>

const kv_codec_name kv_codec_names[KV_CODEC_COUNT] = {
    [KV_F32] = {KV_F32, "f32", "32-bit floats: the reference for quality", false},
    [KV_F16] = {KV_F16, "f16", "16-bit floats: the reference for size", false},
    [KV_Q8_0] = {KV_Q8_0, "q8_0", "8-bit codes, one f16 scale per 32 (8.5 bits)", false},
    [KV_Q4_0] = {KV_Q4_0, "q4_0", "4-bit codes, one f16 scale per 32 (4.5 bits)", false},
    [KV_TC] = {KV_TC, "tc", "calibrated transform codec, from a profile", true},
};

int kv_codec_by_name(const char *name) {
    for (int i = 0; i < KV_CODEC_COUNT; i++)
        if (!strcmp(name, kv_codec_names[i].name))
            return i;
    return -1;
}
