/* The options that every tool shares which runs a model: which cache, and on which machine. Rows for a cli_spec's table. */
#ifndef CLI_CACHE_H
#define CLI_CACHE_H

#include "cli/cli.h"
#include "model/model.h"

typedef struct cli_cache {
    const char *profile;
    int64_t window, sinks, recent;
    int ctk, ctv, evict;
    kv_budget budget;
    bool ada, equal_budgets;
} cli_cache;
#define CLI_CACHE_DEFAULT ((cli_cache){.window = -1, .sinks = -1, .recent = -1, .ctk = -1, .ctv = -1, .evict = -1})

/* c: cli_cache * */
#define CLI_CACHE_ROWS(c)                                                                                                      \
    {"--profile",                                                                                                              \
     NULL,                                                                                                                     \
     CLI_PROFILE,                                                                                                              \
     "NAME",                                                                                                                   \
     &(c)->profile,                                                                                                            \
     0,                                                                                                                        \
     0,                                                                                                                        \
     "use this profile, a file (YAML) or a ready-made one such as balanced, instead of the one in the model file; none: "      \
     "without"},                                                                                                               \
        {"--cache-type-k", "-ctk", CLI_CODEC, "TYPE",                                                                          \
         &(c)->ctk,        0,      0,         "store keys so, whatever the profile says (without profile: f16)"},              \
        {"--cache-type-v", "-ctv", CLI_CODEC, "TYPE", &(c)->ctv, 0, 0, "store values so, likewise"},                           \
        {"--window", NULL, CLI_INT, "N", &(c)->window, 0, 1 << 24, "newest tokens kept in f16 (without profile: 0)"},          \
        {"--sinks", NULL, CLI_INT, "N", &(c)->sinks, 0, 1 << 16, "first tokens kept in f16 (without profile: 0)"},             \
        {"--budget",                                                                                                           \
         NULL,                                                                                                                 \
         CLI_BUDGET,                                                                                                           \
         "N|P%",                                                                                                               \
         &(c)->budget,                                                                                                         \
         0,                                                                                                                    \
         0,                                                                                                                    \
         "keep no more than so many tokens of a context, or percent of it, on average over heads; forgets the others"},        \
        {"--evict",                                                                                                            \
         NULL,                                                                                                                 \
         CLI_EVICT,                                                                                                            \
         "POLICY",                                                                                                             \
         &(c)->evict,                                                                                                          \
         0,                                                                                                                    \
         0,                                                                                                                    \
         "which to keep, with a budget; without this option: the profile's policy, else expected where it has queries, else "  \
         "snapkv"},                                                                                                            \
        {"--ada", NULL, CLI_FLAG, NULL, &(c)->ada, 0, 0, "let the heads of a layer compete for its budget (AdaKV)"},           \
        {"--equal-budgets",   NULL, CLI_FLAG, NULL,                                                                            \
         &(c)->equal_budgets, 0,    0,        "the same budget for all heads, whatever the profile says"},                     \
        {.name = "--level", .kind = CLI_OLD_NAME, .arg = "--equal-budgets"}, {                                                 \
        "--recent", NULL, CLI_INT, "N", &(c)->recent, 0, 1 << 24,                                                              \
            "newest tokens that are never forgotten (without profile: 32)"                                                     \
    }

/* k: cli_keys * */
#define CLI_KEYS_ROWS(k)                                                                                                        \
    {"--override-kv",                                                                                                           \
     NULL,                                                                                                                      \
     CLI_STR,                                                                                                                   \
     "KEY=TYPE:VALUE",                                                                                                          \
     &(k)->set,                                                                                                                 \
     0,                                                                                                                         \
     0,                                                                                                                         \
     "take the model to say so, TYPE one of int, float, bool and str; several with commas between them"},                       \
        {"--rope-freq-base", NULL, CLI_REAL, "F", &(k)->freq_base, 1, 1e12, "RoPE base, in place of the model's"},              \
        {"--rope-scaling", NULL, CLI_CHOICE, "none|linear|yarn", &(k)->scaling, 0, 0, "RoPE scaling, in place of the model's"}, \
        {"--rope-scale", NULL, CLI_REAL, "F", &(k)->scale, 1e-3, 1e3, "by how much it stretches the context"}, {                \
        "--yarn-orig-ctx", NULL, CLI_INT, "N", &(k)->orig_ctx, 1, 1 << 30, "context that YaRN stretches"                        \
    }
/* The help of --parse-special, where texts are read. */
#define CLI_PARSE_SPECIAL "read pieces of the text that are special tokens, such as <|im_start|>, as those: for chats"

/* m: cli_machine * */
#define CLI_MACHINE_ROWS(m)                                                                                                    \
    {"--threads", "-t", CLI_INT, "N", &(m)->threads, 0, 1024, "threads; 0: one per core"}, CLI_KEYS_ROWS(&(m)->keys),          \
        {"--cpu", NULL, CLI_CPU, "ISA", &(m)->cpu, 0, 0, "instruction set: auto or one of " RT_CPU_NAMES}, {                   \
        "--no-repack", NULL, CLI_FLAG, NULL, &(m)->no_repack, 0, 0,                                                            \
            "leave the weights where they are in the file: less memory of one's own, slower, the same answers"                 \
    }

/* The context that these options and the profile (or NULL) ask for; sizes are left at their defaults. KV_EINVAL: an option
 * needs another one, which the message names. */
kv_status cli_cache_cfg(const cli_cache *c, const prof *p, rt_ctx_cfg *out, kv_err *err);
/* Whether any of these options but --profile says something. */
bool cli_cache_given(const cli_cache *c);

#endif
