#include "text/thought.h"

#include <stddef.h>

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
