/* The architectures that the runtime knows: one row each. */
#include "model/model_internal.h"

#include <stdio.h>
#include <string.h>

static const rt_arch archs[] = {
    {.name = "llama", .experts = true, .shares_kv = true},
    {.name = "qwen2", .rope_neox = true},
    {.name = "qwen3", .rope_neox = true, .qk_norm = RT_QK_HEADS},
    {.name = "gemma3",
     .rope_neox = true,
     .qk_norm = RT_QK_HEADS,
     .post_norm = true,
     .gelu = true,
     .scale_embd = true,
     .caps_logits = true,
     .swa_every = 6,
     .swa_rope_base = 10000,
     .wide_at = 62}, /* 27B */
    {.name = "gemma2",
     .rope_neox = true,
     .post_norm = true,
     .gelu = true,
     .scale_embd = true,
     .caps_logits = true,
     .caps_scores = true,
     .swa = 4096,
     .swa_every = 2,
     .swa_rope_scaled = true,
     .wide_at = 46}, /* 27B */
    {.name = "mistral3", .experts = true, .temperature = true},
    {.name = "phi3", .rope_neox = true},
    {.name = "granite", .multipliers = true, .scales_logits = true, .divides_logits = true},
    {.name = "granitemoe", .multipliers = true, .scales_logits = true, .divides_logits = true, .experts = true},
    {.name = "qwen2moe", .rope_neox = true, .experts = true, .experts_own_ff = true, .experts_as_is = true},
    {.name = "qwen3moe", .rope_neox = true, .qk_norm = RT_QK_HEADS, .experts = true, .experts_own_ff = true},
    {.name = "smollm3", .rope_none_every = 4},
    {.name = "olmo2", .rope_neox = true, .no_pre_norm = true, .post_norm = true, .qk_norm = RT_QK_ROW, .swa_every = 4},
    {.name = "exaone4",
     .rope_neox = true,
     .no_pre_norm = true,
     .post_norm = true,
     .qk_norm = RT_QK_HEADS,
     .swa_every = 4,
     .swa_rope_scaled = true,
     .rope_swa_only = true},
    {.name = "starcoder2", .rope_neox = true, .layer_norm = true, .gelu = true, .plain_ffn = true},
    {.name = "stablelm", .rope_neox = true, .layer_norm = true, .parallel = true, .qk_norm = RT_QK_EACH},
    {.name = "command-r", .scales_logits = true, .layer_norm = true, .parallel = true, .qk_norm = RT_QK_EACH},
    {.name = "cohere2",
     .scales_logits = true,
     .layer_norm = true,
     .parallel = true,
     .swa_every = 4,
     .swa_rope_scaled = true,
     .rope_swa_only = true},
    {.name = "glm4", .post_norm = true},
    {.name = "seed_oss", .rope_neox = true, .ffn_norm = "post_attention_norm"},
    {.name = "ernie4_5"},
    {.name = "ernie4_5-moe", .experts = true, .experts_own_ff = true, .dense_layers = true},
    {.name = "hunyuan-dense", .rope_neox = true, .qk_norm = RT_QK_HEADS, .qk_norm_after_rope = true},
    {.name = "hunyuan-moe",
     .rope_neox = true,
     .qk_norm = RT_QK_HEADS,
     .qk_norm_after_rope = true,
     .experts = true,
     .shared_as_ff = true},
    {.name = "deci", .sparse = true},
    {.name = "openelm", .rope_neox = true, .qk_norm = RT_QK_HEADS},
    {.name = "glm4moe",
     .rope_neox = true,
     .qk_norm = RT_QK_MAY,
     .ffn_norm = "post_attention_norm",
     .experts = true,
     .experts_own_ff = true,
     .experts_as_is = true,
     .router_keys = true,
     .router_sigmoid = true,
     .dense_layers = true,
     .shared_by_count = true,
     .nextn = true},
    {.name = "dots1",
     .rope_neox = true,
     .qk_norm = RT_QK_HEADS,
     .experts = true,
     .experts_own_ff = true,
     .experts_as_is = true,
     .router_keys = true,
     .dense_layers = true,
     .shared_by_count = true},
    {.name = "bailingmoe2",
     .rope_neox = true,
     .qk_norm = RT_QK_HEADS,
     .experts = true,
     .experts_own_ff = true,
     .experts_as_is = true,
     .router_keys = true,
     .dense_layers = true,
     .shared_by_count = true,
     .nextn = true},
};

const rt_arch *rt_arch_find(const char *name, size_t len) {
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
        if (strlen(archs[i].name) == len && !memcmp(archs[i].name, name, len))
            return &archs[i];
    return NULL;
}

const char *rt_archs(char buf[RT_ARCHS]) {
    size_t len = 0;
    for (size_t i = 0; i < sizeof archs / sizeof *archs && len < RT_ARCHS; i++)
        len += (size_t)snprintf(buf + len, RT_ARCHS - len, "%s%s", i ? ", " : "", archs[i].name);
    return buf;
}
