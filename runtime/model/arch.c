/* The architectures that the runtime knows: one row each. */
#include "model/model_internal.h"

#include <stdio.h>
#include <string.h>

static const rt_arch archs[] = {
    {.name = "llama"},
    {.name = "qwen2", .rope_neox = true},
    {.name = "qwen3", .rope_neox = true, .qk_norm = true},
    {.name = "gemma3",
     .rope_neox = true,
     .qk_norm = true,
     .post_norm = true,
     .gelu = true,
     .scale_embd = true,
     .swa_every = 6,
     .wide_at = 62}, /* 27B */
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
