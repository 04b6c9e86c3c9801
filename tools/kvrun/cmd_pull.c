/* kvrun pull: its options, and the program that it becomes. */
#include "cli/cli.h"
#include "kvrun/become.h"
#include "kvrun/cmd.h"
#include "kvrun/pull_main.h"

const char pull_tool[] = "kvrun pull";

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

int cmd_pull(int argc, char **argv) {
    pull_options o;
    const int code = pull_parse(&o, argc, argv); /* help and what is wrong need nobody else */
    return code >= 0 ? code : become(pull_tool, "kvrun-net", argv);
}
