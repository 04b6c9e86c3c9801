/* kvrun ask: questions about a document that was read, each as if it were the first. */
#include "cli/cli_sampling.h"
#include "context/context_file.h"
#include "document/document.h"
#include "kvrun/asking.h"
#include "kvrun/cmd.h"

#include <stdlib.h>
#include <string.h>

static const char tool[] = "kvrun ask";

typedef struct options {
    const char *model, *what, *as;
    cli_strs questions;
    int64_t ctx, n, context_cache;
    cli_sampling sampling;
    bool json, quiet, verbose;
    cli_cache cache;
    cli_machine machine;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {"--predict", "-n", CLI_INT, "N", &o->n, -1, 1 << 30, "most tokens of an answer; -1: until the model is done"},
        {"--as", NULL, CLI_CHOICE, DOCUMENT_KIND_NAMES, &o->as, 0, 0, "read a document that is no .kv file as this kind"},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 0, 1 << 24,
         "tokens of context; 0: as many as the model was trained for (without this option: as the .kv file says)"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0, "print questions, answers and times as JSON"},
        {"--context-cache", NULL, CLI_SIZE, "SIZE", &o->context_cache, 0, 0,
         "keep what is read of documents that are no .kv files on the disk, in files that take up to SIZE (2G) together, so "
         "that "
         "it need not be read again; 0: keep nothing"},
        {"--verbose", "-v", CLI_FLAG, NULL, &o->verbose, 0, 0, "say what was read before"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {.kind = CLI_HEADING, .help = "Model and machine"},
        CLI_MACHINE_ROWS(&o->machine),
        {.kind = CLI_HEADING, .help = "Cache"},
        CLI_CACHE_ROWS(&o->cache),
        {.kind = CLI_HEADING, .help = "Sampling"},
        CLI_SAMPLING_ROWS(&o->sampling),
        {0},
    };
    return cli_parse(
        &(cli_spec){.tool = tool,
                    .usage = "MODEL DOCUMENT 'QUESTION' ... [options]",
                    .summary =
                        "Answers questions about a document that kvrun read has read; each begins where reading ended, so "
                        "that they do not see each other. DOCUMENT is its .kv file, or a document, which is read first; - is "
                        "a document from standard input.",
                    .examples = "  kvrun ask packed.gguf manual.kv 'How is it reset?' 'Who made it?'\n"
                                "  kvrun ask packed.gguf manual.pdf 'Who made it?' --context-cache 2G\n"
                                "  kvrun ask packed.gguf - 'What is this?' < notes.txt\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {"DOCUMENT", CLI_IN, &o->what}, {0}},
                    .rest = &(const cli_opt){.name = "QUESTION", .kind = CLI_STRS, .dst = &o->questions},
                    .n_required = 2},
        argc, argv);
}

static kv_status ask_it(const options *o, const asking *how, bool *stopped, kv_err *err) {
    const bool read = strcmp(o->what, "-") && ctx_file_is(o->what);
    return read ? asking_file(how, o->what, stopped, err) : asking_document(how, o->what, o->as, stopped, err);
}

int cmd_ask(int argc, char **argv) {
    options o = {.ctx = -1, .n = -1, .cache = CLI_CACHE_DEFAULT, .sampling = CLI_SAMPLING_DEFAULT};
    engine e = {0};
    remember memory = {0};
    kv_err err = {0};
    bool stopped = false;
    o.sampling.how.temp = 0;
    o.sampling.seed = 0;
    const int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_status st = asking_check(&o.questions, "kvrun ask MODEL DOCUMENT 'QUESTION'", &err);
    if (!st && !(st = cli_sampling_read(&o.sampling, false, &err))) {
        const asking how = {.e = &e,
                            .questions = &o.questions,
                            .ctx = o.ctx,
                            .n = o.n,
                            .sampling = o.sampling.how,
                            .json = o.json,
                            .quiet = o.quiet,
                            .memory = &memory};
        cli_catch_signals(CLI_PATIENT);
        remember_open(&memory, tool, o.context_cache, o.verbose);
        if (!(st = engine_open(&(engine_cfg){tool, o.model, &o.cache, &o.machine, NULL, true}, &e, &err)))
            st = ask_it(&o, &how, &stopped, &err);
    }
    remember_close(&memory);
    engine_close(&e);
    free(o.questions.v);
    cli_sampling_free(&o.sampling);
    return st ? cli_report(tool, &err) : stopped ? CLI_INTERRUPTED : CLI_OK;
}
