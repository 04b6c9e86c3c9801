/* kvrun serve: its options, and the program that it becomes. */
#include "kvrun/become.h"
#include "kvrun/cmd.h"
#include "kvrun/serve_main.h"

const char serve_tool[] = "kvrun serve";

int serve_parse(serve_options *o, int argc, char **argv) {
    *o = (serve_options){.host = "127.0.0.1",
                         .port = 8080,
                         .slots = 4,
                         .queue = 64,
                         .ctx = -1,
                         .n = -1,
                         .max_body = 16 << 20,
                         .max_request = 60,
                         .drain = 30,
                         .cache = CLI_CACHE_DEFAULT,
                         .sampling = CLI_SAMPLING_DEFAULT};
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "Who may ask"},
        {"--host", NULL, CLI_STR, "ADDRESS", &o->host, 0, 0,
         "listen at this address; 0.0.0.0 or ::, all of the machine's, needs a key (without this option: 127.0.0.1)"},
        {"--port", NULL, CLI_INT, "N", &o->port, 0, 65535, "and this port; 0: any that is free"},
        {"--api-key", NULL, CLI_EACH, "KEY", &o->keys, 0, 0, "answer only who sends this key; may be given several times"},
        {"--api-key-file", NULL, CLI_IN, "FILE", &o->key_file, 0, 0, "the same, a key a line: others can see command lines"},
        {"--open", NULL, CLI_FLAG, NULL, &o->open, 0, 0, "listen at addresses that others can reach, without a key"},
        {"--cors", NULL, CLI_EACH, "ORIGIN", &o->origins, 0, 0,
         "pages of this origin (https://example.org) may ask, too; *: all; may be given several times"},
        {"--allow-host", NULL, CLI_EACH, "NAME", &o->hosts, 0, 0,
         "a further name that clients call the server by, of a proxy for example; may be given several times"},
        {.kind = CLI_HEADING, .help = "What is served"},
        {"--models", NULL, CLI_STR, "DIR", &o->models, 0, 0,
         "in place of MODEL: all models (*.gguf) of this folder, by their names, loaded when they are asked for"},
        {"--memory", NULL, CLI_SIZE, "SIZE", &o->memory, 0, 0,
         "what loaded models may take together, with their caches and workspaces: for another one, that which was used least "
         "lately is unloaded; 0: any"},
        {"--alias", NULL, CLI_STR, "NAME", &o->alias, 0, 0, "what the model is called (without this option: as its file)"},
        {"--slots", "-np", CLI_INT, "N", &o->slots, 1, 256, "answers at the same time"},
        {"--queue", NULL, CLI_INT, "N", &o->queue, 0, 4096, "so many more wait; others are told to come back later"},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 0, 1 << 24,
         "tokens of context of each slot; 0: as many as the model was trained for (without this option: those, but at most "
         "8192)"},
        {"--predict", "-n", CLI_INT, "N", &o->n, -1, 1 << 30,
         "most tokens of an answer, where a request does not say; -1: until the model is done"},
        {"--chat-template", NULL, CLI_STR, "NAME|FILE", &o->template, 0, 0,
         "a chat format (chatml, gemma, llama-3, ...) or a file with a Jinja template, in place of the model's own"},
        {"--context-cache", NULL, CLI_SIZE, "SIZE", &o->context_cache, 0, 0,
         "keep what is read on the disk, in files that take up to SIZE (2G) together, so that prompts which begin alike need "
         "not be read "
         "from their beginnings, after a restart, too; 0: keep nothing"},
        {"--contexts", NULL, CLI_STR, "DIR", &o->contexts, 0, 0,
         "folder of contexts with names (/v1/contexts; without this option: $XDG_DATA_HOME/kvcalib/contexts)"},
        {.kind = CLI_HEADING, .help = "Limits"},
        {"--max-body", NULL, CLI_SIZE, "SIZE", &o->max_body, 0, 0, "bytes of a request"},
        {"--max-request", NULL, CLI_REAL, "SECONDS", &o->max_request, 1, 86400, "that a request may take to arrive"},
        {"--drain", NULL, CLI_REAL, "SECONDS", &o->drain, 0, 86400,
         "that answers get to end in after SIGTERM or Ctrl-C; a second one ends them at once"},
        {.kind = CLI_HEADING, .help = "Model and machine"},
        CLI_MACHINE_ROWS(&o->machine),
        {.kind = CLI_HEADING, .help = "Cache"},
        CLI_CACHE_ROWS(&o->cache),
        {.kind = CLI_HEADING, .help = "Sampling, where a request does not say"},
        CLI_SAMPLING_ROWS(&o->sampling),
        {.kind = CLI_HEADING, .help = "Output"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "say nothing but errors"},
        {0},
    };
    return cli_parse(
        &(cli_spec){
            .tool = serve_tool,
            .usage = "MODEL [options]\n--models DIR [options]",
            .summary = "Serves a model to programs that speak to OpenAI (/v1/chat/completions, /v1/completions, /v1/responses, "
                       "/v1/embeddings), to Anthropic (/v1/messages) or to Ollama (/api/...), several at the same time. Only "
                       "programs of this machine can ask, unless --host says otherwise. Ctrl-C lets answers end first.",
            .examples = "  kvrun serve packed.gguf\n"
                        "  kvrun client 'What is a KV cache?'\n"
                        "  kvrun serve packed.gguf --slots 8 --ctx 16384 --context-cache 4G\n"
                        "  kvrun serve packed.gguf --host 0.0.0.0 --api-key-file ~/.config/kvcalib/keys\n",
            .opts = opts,
            .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}},
            .n_required = 0},
        argc, argv);
}

int cmd_serve(int argc, char **argv) {
    serve_options o;
    const int code = serve_parse(&o, argc, argv); /* help and what is wrong need nobody else */
    return code >= 0 ? code : become(serve_tool, "kvrun-net", argv);
}
