/* kvrun pull and kvrun client, as far as kvrun does them itself: their options, and becoming kvrun-net. */
#include "cli/cli.h"
#include "kvrun/cmd.h"
#include "kvrun/net.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char pull_tool[] = "kvrun pull", client_tool[] = "kvrun client";

int pull_parse(pull_options *o, int argc, char **argv) {
    *o = (pull_options){.retries = 8, .timeout = 60};
    const cli_opt opts[] = {
        {"--sha256", NULL, CLI_STR, "SUM", &o->sha256, 0, 0, "what the SHA-256 of the file must be"},
        {"--out", "-o", CLI_OUT, "FILE", &o->out, 0, 0, "where to put it, in place of the folder of models"},
        {"--from", NULL, CLI_STR, "URL", &o->from, 0, 0,
         "where repositories are, a mirror perhaps (KV_MODEL_BASE says so, too; without both https://huggingface.co)"},
        {"--max-size", NULL, CLI_SIZE, "SIZE", &o->max, 0, 0, "refuse a larger file; 0: none is too large"},
        {"--retries", NULL, CLI_INT, "N", &o->retries, 0, 1000,
         "how often in a row it is tried again when network or server fail"},
        {"--timeout", NULL, CLI_INT, "N", &o->timeout, 0, 3600,
         "seconds without a byte after which it is tried again; 0: never"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0, "say what was fetched as JSON"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress and no notes"},
        {0},
    };
    return cli_parse(
        &(cli_spec){.tool = pull_tool,
                    .usage = "NAME | URL | OWNER/REPOSITORY/FILE.gguf [options]",
                    .summary =
                        "Gets a model and prints where it is: one that a catalogue knows by name ('kvrun list --all'), the "
                        "file of an address, or one of a repository on a model hub. What was fetched once is not "
                        "fetched again: after Ctrl-C or an error, the same command goes on. A model appears only when it "
                        "is whole, has the right sum, and can be opened.",
                    .examples = "  kvrun pull qwen2.5-coder-0.5b\n"
                                "  kvrun pull Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf\n"
                                "  kvrun pull https://example.org/model.gguf --sha256 1d96...\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"NAME", CLI_STR, &o->what}, {0}},
                    .n_required = 1},
        argc, argv);
}

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

/* The other program is beside kvrun, where both were built; or where it was installed, seen from there (CMake says how).
 * Returns only where it cannot be run. */
static int become_net(const char *tool, char **argv) {
    static const char program[] = "kvrun-net";
    static const char *const places[] = {"", KV_LIBEXEC_FROM_BIN "/"};
    char own[PATH_MAX], path[PATH_MAX + 256];
    char *slash = realpath("/proc/self/exe", own) ? strrchr(own, '/') : NULL;
    if (slash)
        slash[1] = '\0';
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s%s%s", own, places[i], program);
        execv(path, argv);
        if (errno != ENOENT && errno != ENOTDIR)
            break;
    }
    cli_complain(tool, "the program %s, which does that, cannot be run: %s; it belongs to kvrun and is installed with it",
                 program, strerror(errno));
    return CLI_FAIL;
}

/* Help, and what is wrong with options, need nobody else. */
int cmd_pull(int argc, char **argv) {
    pull_options o;
    const int code = pull_parse(&o, argc, argv);
    return code >= 0 ? code : become_net(pull_tool, argv);
}

int cmd_client(int argc, char **argv) {
    client_options o;
    const int code = client_parse(&o, argc, argv);
    return code >= 0 ? code : become_net(client_tool, argv);
}
