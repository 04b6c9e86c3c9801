/* How the next token is chosen, as options say it: the rows that every tool shares which answers, with llama.cpp's names. */
#ifndef CLI_SAMPLING_H
#define CLI_SAMPLING_H

#include "cli/cli.h"
#include "sample/sampler.h"

typedef struct cli_sampling {
    rt_sampling how; /* what rows fill in; complete after cli_sampling_read */
    int64_t seed;    /* -1: another one every time */
    cli_strs bias, breakers;
    rt_logit_bias *biases; /* what how points to */
    char **texts;
    size_t n_texts;
} cli_sampling;
#define CLI_SAMPLING_DEFAULT ((cli_sampling){.how = RT_SAMPLING_DEFAULT, .seed = -1})

/* c: cli_sampling * */
#define CLI_SAMPLING_ROWS(c)                                                                                                     \
    {"--temp", NULL, CLI_REAL, "T", &(c)->how.temp, 0, 100, "temperature; 0: always the most likely token"},                     \
        {"--top-k", NULL, CLI_INT, "K", &(c)->how.top_k, 0, 1 << 30, "only the K most likely tokens; 0: all"},                   \
        {"--top-p", NULL, CLI_REAL, "P", &(c)->how.top_p, 0, 1, "only the most likely ones that make up P together; 1: all"},    \
        {"--min-p", NULL, CLI_REAL, "P", &(c)->how.min_p, 0, 1, "only those at least P times as likely as the best; 0: all"},    \
        {"--seed", "-s", CLI_INT, "N", &(c)->seed, -1, 4294967295.0, "same seed, same answer; -1: another one every time"},      \
        {"--repeat-penalty",       NULL, CLI_REAL, "R",                                                                          \
         &(c)->how.repeat_penalty, 0,    100,      "divide the logits of tokens that were said by this; 1: off"},                \
        {"--repeat-last-n",       NULL, CLI_INT, "N",                                                                            \
         &(c)->how.repeat_last_n, -1,   1 << 30, "tokens that penalties look back over, prompt included; 0: none; -1: all"},     \
        {"--presence-penalty",       NULL, CLI_REAL, "X",                                                                        \
         &(c)->how.presence_penalty, -100, 100,      "subtract this from the logits of tokens that were said"},                  \
        {"--frequency-penalty",       NULL, CLI_REAL, "X",                                                                       \
         &(c)->how.frequency_penalty, -100, 100,      "and this for each time that they were"},                                  \
        {"--dry-multiplier",       NULL, CLI_REAL, "X",                                                                          \
         &(c)->how.dry_multiplier, 0,    100,      "DRY: penalty of going on with a repetition of the allowed length; 0: off"},  \
        {"--dry-base", NULL, CLI_REAL, "X", &(c)->how.dry_base, 1, 100, "by how much it grows with each further token"},         \
        {"--dry-allowed-length", NULL, CLI_INT, "N", &(c)->how.dry_allowed_length, 0, 1 << 30, "shorter repetitions are free"},  \
        {"--dry-penalty-last-n",                                                                                                 \
         NULL,                                                                                                                   \
         CLI_INT,                                                                                                                \
         "N",                                                                                                                    \
         &(c)->how.dry_penalty_last_n,                                                                                           \
         -1,                                                                                                                     \
         1 << 30,                                                                                                                \
         "tokens that DRY looks back over; 0: none; -1: as many as the model was trained for"},                                  \
        {"--dry-sequence-breaker",                                                                                               \
         NULL,                                                                                                                   \
         CLI_EACH,                                                                                                               \
         "TEXT",                                                                                                                 \
         &(c)->breakers,                                                                                                         \
         0,                                                                                                                      \
         0,                                                                                                                      \
         "no repetition reaches across this; may be given several times; none: there are none (without this option: newline, "   \
         "colon, quote and asterisk)"},                                                                                          \
        {"--xtc-probability", NULL, CLI_REAL, "P", &(c)->how.xtc_probability, 0, 1, "how often XTC applies; 0: never"},          \
        {"--xtc-threshold",                                                                                                      \
         NULL,                                                                                                                   \
         CLI_REAL,                                                                                                               \
         "P",                                                                                                                    \
         &(c)->how.xtc_threshold,                                                                                                \
         0,                                                                                                                      \
         1,                                                                                                                      \
         "of all tokens at least so likely, XTC leaves the least likely; above 0.5: off"},                                       \
        {"--typical",         NULL, CLI_REAL, "P",                                                                               \
         &(c)->how.typical_p, 0,    1,        "only the most typical tokens that make up P together; 1: all"},                   \
        {"--top-nsigma",                                                                                                         \
         NULL,                                                                                                                   \
         CLI_REAL,                                                                                                               \
         "N",                                                                                                                    \
         &(c)->how.top_n_sigma,                                                                                                  \
         -1,                                                                                                                     \
         100,                                                                                                                    \
         "only tokens whose logit is at most N standard deviations below the best; 0, -1: all"},                                 \
        {"--dynatemp-range",                                                                                                     \
         NULL,                                                                                                                   \
         CLI_REAL,                                                                                                               \
         "X",                                                                                                                    \
         &(c)->how.dynatemp_range,                                                                                               \
         0,                                                                                                                      \
         100,                                                                                                                    \
         "temperature from T - X to T + X, the higher the less certain the model is; 0: always T"},                              \
        {"--dynatemp-exp", NULL, CLI_REAL, "X", &(c)->how.dynatemp_exponent, 0, 100, "power of the entropy in that"},            \
        {"--mirostat",       NULL, CLI_INT, "N",                                                                                 \
         &(c)->how.mirostat, 0,    2,       "Mirostat 1 or 2, in place of all other samplers but temperature and bias; 0: off"}, \
        {"--mirostat-ent", NULL, CLI_REAL, "X", &(c)->how.mirostat_tau, 0, 100, "surprise to aim at, in bits"},                  \
        {"--mirostat-lr", NULL, CLI_REAL, "X", &(c)->how.mirostat_eta, 0, 100, "how fast"},                                      \
        {"--logit-bias",                                                                                                         \
         "-l",                                                                                                                   \
         CLI_EACH,                                                                                                               \
         "ID+X",                                                                                                                 \
         &(c)->bias,                                                                                                             \
         0,                                                                                                                      \
         0,                                                                                                                      \
         "add X to the logit of token ID, or with ID-X subtract it (inf: never); may be given several times"},                   \
        {"--ignore-eos", NULL, CLI_FLAG, NULL, &(c)->how.ignore_eos, 0, 0, "never choose what ends the answer"}, {               \
        "--samplers", NULL, CLI_STR, "NAMES", &(c)->how.order, 0, 0,                                                             \
            "which apply, in this order, with ; between them; without this option: " RT_SAMPLING_ORDER                           \
    }

/* What rows do not check by themselves, before a model is there; the lists to what c->how points to, and the seed to c->how.
 * plain: breakers as they are, backslashes included. KV_EINVAL: names option and value. To be freed on failure, too. */
kv_status cli_sampling_read(cli_sampling *c, bool plain, kv_err *err);
void cli_sampling_free(cli_sampling *c);

#endif
