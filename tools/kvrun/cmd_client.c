/* kvrun client: its options, and the program that it becomes. */
#include "cli/cli.h"
#include "kvrun/become.h"
#include "kvrun/client_main.h"
#include "kvrun/cmd.h"

const char client_tool[] = "kvrun client";

int client_parse(client_options *o, int argc, char **argv) {
    *o = (client_options){.url = "http://127.0.0.1:8080", .n = -1, .temp = -1, .seed = -1};
    const cli_opt opts[] = {
        {"--url", NULL, CLI_STR, "URL", &o->url, 0, 0, "where the server is (without this option: http://127.0.0.1:8080)"},
        {"--api-key", NULL, CLI_STR, "KEY", &o->key, 0, 0, "the key that it asks for"},
        {"--api-key-file", NULL, CLI_IN, "FILE", &o->key_file, 0, 0, "the same, the first line of a file"},
        {"--model", "-m", CLI_STR, "NAME", &o->model, 0, 0, "which of its models, where it has several"},
        {"--system", "-sys", CLI_STR, "TEXT", &o->system, 0, 0, "system prompt"},
        {"--context", NULL, CLI_STR, "NAME", &o->context, 0, 0,
         "ask about this context, which the server keeps (/v1/contexts)"},
        {"--predict", "-n", CLI_INT, "N", &o->n, -1, 1 << 30, "most tokens of the answer; -1: until the model is done"},
        {"--temp", NULL, CLI_REAL, "T", &o->temp, -1, 100,
         "temperature; 0: always the most likely token; -1: as the server has it"},
        {"--seed", "-s", CLI_INT, "N", &o->seed, -1, 4294967295.0, "same seed, same answer; -1: another one every time"},
        {"--thoughts", NULL, CLI_FLAG, NULL, &o->thoughts, 0, 0, "show what the model thinks as well, on stderr"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {0},
    };
    return cli_parse(
        &(cli_spec){.tool = client_tool,
                    .usage = "TEXT [options]",
                    .summary = "Asks a server that runs (kvrun serve, or any that speaks to clients of OpenAI), and prints "
                               "the answer as it comes. TEXT - is standard input.",
                    .examples = "  kvrun serve packed.gguf &\n"
                                "  kvrun client 'What is a KV cache?'\n"
                                "  git diff | kvrun client --system 'Write a commit message.' -\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"TEXT", CLI_STR, &o->text}, {0}},
                    .n_required = 1},
        argc, argv);
}

int cmd_client(int argc, char **argv) {
    client_options o;
    const int code = client_parse(&o, argc, argv); /* help and what is wrong need nobody else */
    return code >= 0 ? code : become(client_tool, "kvrun-net", argv);
}
