#include "text/thought.h"

#include <string.h>

const thought_marks thought_marks_all[] = {
    {"<think>", "</think>"},                                    /* DeepSeek R1, Qwen 3, GLM 4.5, SmolLM3, ... */
    {"<thinking>", "</thinking>"},                              /* prompts that ask for it */
    {"<thought>", "</thought>"},                                /* EXAONE Deep */
    {"<seed:think>", "</seed:think>"},                          /* Seed-OSS */
    {"[THINK]", "[/THINK]"},                                    /* Magistral, Ministral 3 */
    {"<|START_THINKING|>", "<|END_THINKING|>"},                 /* Command R7B and A */
    {"<|inner_prefix|>", "<|inner_suffix|>"},                   /* Apertus */
    {"Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"}, /* Apriel */
    {NULL, NULL},
};

static bool same(const char *mark, const char *text, size_t len) {
    return strlen(mark) == len && !memcmp(mark, text, len);
}

const char *thought_piece(const tok *t, int32_t id, size_t *len) {
    const char *plain = tok_piece(t, id, false, len);
    if (*len)
        return plain;
    const char *spelled = tok_piece(t, id, true, len);
    for (const thought_marks *m = thought_marks_all; *len && m->open; m++)
        if (same(m->open, spelled, *len) || same(m->close, spelled, *len))
            return spelled;
    *len = 0;
    return plain;
}
