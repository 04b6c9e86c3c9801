/* What to say of a model whose architecture is not in the table. */
#include "model/model_internal.h"

#include <stdio.h>
#include <string.h>

/* Why some do not run: each list of names ends with a space. */
static const struct {
    const char *names, *why;
} reasons[] = {
    {"mamba mamba2 jamba falcon-h1 granitehybrid nemotron_h nemotron_h_moe plamo2 rwkv6 rwkv6qwen2 rwkv7 arwkv7 qwen3next "
     "qwen35 "
     "qwen35moe kimi-linear lfm2 lfm2moe ",
     "; it has layers that carry a state from token to token in place of keys and values"},
    {"deepseek2 deepseek2-ocr glm-dsa minicpm3 plm ",
     "; its attention is MLA, which stores one latent vector for all heads in place of keys and values"},
    {"bert modern-bert neo-bert eurobert nomic-bert nomic-bert-moe jina-bert-v2 jina-bert-v3 gemma-embedding llama-embed t5 "
     "t5encoder dream llada llada-moe wavtokenizer-dec clip ",
     "; it reads all of a text at once, so there is nothing to cache"},
};

static bool is_in(const char *names, gguf_str name) {
    for (const char *end; (end = strchr(names, ' ')); names = end + 1)
        if ((size_t)(end - names) == name.len && !memcmp(names, name.s, name.len))
            return true;
    return false;
}

kv_status rt_unknown_arch(const gguf *g, gguf_str name, kv_err *err) {
    char known[RT_ARCHS];
    const char *why = "";
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (is_in(reasons[i].names, name))
            why = reasons[i].why;
    return kv_fail(err, KV_EUNSUPP,
                   "%s: architecture '%.*s' is not supported%s: take a model of another family (supported: %s)", gguf_path(g),
                   (int)(name.len < 60 ? name.len : 60), name.s, why, rt_archs(known));
}
