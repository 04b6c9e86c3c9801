/* kveval: what a cache setting loses and how fast it is. */
#include "cli/cli.h"
#include "kveval/eval_cmd.h"

int main(int argc, char **argv) {
    static const cli_command commands[] = {
        {"ppl", "perplexity and KL divergence of a cache setting against the f32 cache", eval_cmd_ppl},
        {"kld", "KL divergence of a cache setting from any other cache, with percentiles", eval_cmd_kld},
        {"sweep", "a list of cache settings in one go: table, JSON, CSV, HTML report", eval_cmd_sweep},
        {"niah", "facts hidden in long texts, and how many of them are found", eval_cmd_niah},
        {"qa", "questions about a document, and how many of the answers are right", eval_cmd_qa},
        {"facts", "documents with hidden facts, and which answers a setting loses against f16", eval_cmd_facts},
        {"speed", "tokens per second of prefill and decode, at several depths", eval_cmd_speed},
        {"endless", "perplexity of a long text past the context, with the oldest tokens forgotten", eval_cmd_endless},
        {"list", "cache types and eviction policies that there are", eval_cmd_list},
        {"tokens", "strings to token ids, for comparing tokenizers", eval_cmd_tokens},
        {"logprobs", "token ids to log-probabilities of the next token, for comparing engines", eval_cmd_logprobs},
        {0},
    };
    cli_catch_signals(CLI_SOON);
    return cli_dispatch("kveval", "Measures models and KV cache settings.", commands, argc, argv);
}
