#include "profile/codec_id.h"

#include <string.h>

/* polar4: per 16 elements 8 angles of 4 bits, 7 of 2 bits and a radius in f16. kivi: scale and zero point in f16 per 32. */
const kv_codec_name kv_codec_names[KV_CODEC_COUNT] = {
    [KV_F32] = {KV_F32, KV_FAMILY_FLOAT, "f32", "32-bit floats: the reference for quality", false, 32, 0, 0},
    [KV_F16] = {KV_F16, KV_FAMILY_FLOAT, "f16", "16-bit floats: the reference for size", false, 16, 0, 0},
    [KV_Q8_0] = {KV_Q8_0, KV_FAMILY_BLOCK, "q8_0", "8-bit codes, one f16 scale per 32 (8.5 bits)", false, 8.5f, 0, 0},
    [KV_Q4_0] = {KV_Q4_0, KV_FAMILY_BLOCK, "q4_0", "4-bit codes, one f16 scale per 32 (4.5 bits)", false, 4.5f, 0, 0},
    [KV_Q4_0H] = {KV_Q4_0H, KV_FAMILY_HADAMARD, "q4_0h", "q4_0 after a Hadamard rotation (4.5 bits)", false, 4.5f, 0, 0},
    [KV_TURBO2] = {KV_TURBO2, KV_FAMILY_TURBO, "turbo2", "TurboQuant, 2 bits and a norm", false, 2, 1, 1},
    [KV_TURBO3] = {KV_TURBO3, KV_FAMILY_TURBO, "turbo3", "TurboQuant, 3 bits and a norm", false, 3, 1, 1},
    [KV_TURBO4] = {KV_TURBO4, KV_FAMILY_TURBO, "turbo4", "TurboQuant, 4 bits and a norm", false, 4, 1, 1},
    [KV_TURBO3Q] = {KV_TURBO3Q, KV_FAMILY_TURBO, "turbo3q", "TurboQuant, keys 2 bits and a 1-bit QJL residual", false, 3, 2, 1},
    [KV_POLAR4] = {KV_POLAR4, KV_FAMILY_POLAR, "polar4", "PolarQuant, angles of 4 and 2 bits (3.875 bits)", false, 3.875f, 0,
                   0},
    [KV_KIVI2] = {KV_KIVI2, KV_FAMILY_KIVI, "kivi2", "KIVI, 2 bits, keys per channel (3 bits)", false, 3, 0, 0},
    [KV_KIVI4] = {KV_KIVI4, KV_FAMILY_KIVI, "kivi4", "KIVI, 4 bits, keys per channel (5 bits)", false, 5, 0, 0},
    [KV_TC] = {KV_TC, KV_FAMILY_TC, "tc", "calibrated transform codec, from a profile", true, 0, 0, 0},
};

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
