/* kvrun serve: a server for the programs that people already use. */
#include "base/text.h"
#include "cli/cli_folder.h"
#include "cli/cli_sampling.h"
#include "kvrun/cmd.h"
#include "kvrun/engine.h"
#include "kvrun/remember.h"
#include "serve/guard.h"
#include "serve/serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char tool[] = "kvrun serve";

enum { CTX = 8192 };

typedef struct options {
    const char *model, *alias, *host, *key_file, *contexts, *template;
    cli_strs keys, origins, hosts;
    int64_t port, slots, queue, ctx, n, max_body, context_cache;
    double drain, max_request;
    cli_sampling sampling;
    cli_cache cache;
    cli_machine machine;
    bool open, quiet;
} options;

static int parse(options *o, int argc, char **argv) {
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
        {"--drain", NULL, CLI_REAL, "SECONDS", &o->drain, 0, 86400, "that answers get to end in after SIGTERM or Ctrl-C"},
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
            .tool = tool,
            .usage = "MODEL [options]",
            .summary = "Serves a model to programs that speak to OpenAI (/v1/chat/completions, /v1/completions, /v1/responses, "
                       "/v1/embeddings), to Anthropic (/v1/messages) or to Ollama (/api/...), several at the same time. Only "
                       "programs of this machine can ask, unless --host says otherwise. Ctrl-C lets answers end first.",
            .examples = "  kvrun serve packed.gguf\n"
                        "  kvrun client 'What is a KV cache?'\n"
                        "  kvrun serve packed.gguf --slots 8 --ctx 16384 --context-cache 4G\n"
                        "  kvrun serve packed.gguf --host 0.0.0.0 --api-key-file ~/.config/kvcalib/keys\n",
            .opts = opts,
            .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}},
            .n_required = 1},
        argc, argv);
}

/* ---- keys ---- */

/* The lines of the file behind those of --api-key. text: keeps them. */
static kv_status read_keys(options *o, char **text, const char ***keys, size_t *n, kv_err *err) {
    enum { MOST = 1 << 20 };
    size_t len = 0, lines = 1;
    kv_status st = o->key_file ? text_read(o->key_file, MOST, text, &len, err) : KV_OK;
    if (st)
        return st;
    for (size_t i = 0; i < len; i++)
        lines += (*text)[i] == '\n';
    if (!(*keys = calloc(o->keys.n + lines, sizeof **keys)))
        return kv_fail(err, KV_ENOMEM, "out of memory for keys");
    for (size_t i = 0; i < o->keys.n; i++)
        if (*o->keys.v[i])
            (*keys)[(*n)++] = o->keys.v[i];
    char *rest = NULL;
    for (char *line = *text ? strtok_r(*text, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
        (*keys)[(*n)++] = line;
    if (o->key_file && *n == 0)
        return kv_fail(err, KV_EINVAL, "%s: there is no key in it", o->key_file);
    if (!*n && o->keys.n)
        return kv_fail(err, KV_EINVAL, "--api-key: is empty");
    if (!*n && !o->open && !guard_loopback(o->host))
        return kv_fail(err, KV_EINVAL, "--host %s: others could use the model; give an --api-key, or --open if that is meant",
                       o->host);
    return KV_OK;
}

/* ---- the model ---- */

typedef struct opener {
    options *o;
    engine e;
    contexts *cache;
} opener;

static kv_status open_it(void *user, serve_model *out, kv_err *err) {
    opener *w = user;
    options *o = w->o;
    kv_status st = engine_open(&(engine_cfg){tool, o->model, &o->cache, &o->machine, o->template, false}, &w->e, err);
    if (st)
        return st;
    if ((st = engine_ctx_cfg(&w->e, o->ctx, &out->ctx, err)))
        return st;
    const uint32_t trained = rt_model_hparams(w->e.model)->n_ctx_train;
    if (!out->ctx.n_ctx)
        out->ctx.n_ctx = trained && trained < CTX ? trained : CTX;
    out->ctx.checkpoint_every = RT_BATCH; /* prompts may part anywhere */
    if (!w->e.format)
        cli_note_plain(tool, w->e.model);
    out->model = w->e.model;
    out->format = w->e.format;
    return cli_interrupted() ? kv_fail(err, KV_ECANCEL, "interrupted") : KV_OK;
}

static void close_it(void *user, serve_model *m) {
    (void)user, (void)m; /* cmd_serve closes what was opened, also where it was never served */
}

static kv_status serve_it(options *o, const char *const *keys, size_t n_keys, int *sig, kv_err *err) {
    char folder[CLI_FOLDER];
    opener w = {.o = o};
    remember r = {0};
    kv_status st = o->contexts ? KV_OK : cli_data_folder("contexts", folder, err);
    if (st)
        return st;
    remember_open(&r, tool, o->context_cache, false);
    const serve_cfg cfg = {.tool = tool,
                           .model = o->model,
                           .alias = o->alias,
                           .host = o->host,
                           .port = (int)o->port,
                           .slots = (uint32_t)o->slots,
                           .queue = (uint32_t)o->queue,
                           .keys = keys,
                           .n_keys = n_keys,
                           .origins = o->origins.v,
                           .n_origins = o->origins.n,
                           .hosts = o->hosts.v,
                           .n_hosts = o->hosts.n,
                           .sampling = o->sampling.how,
                           .n_predict = o->n,
                           .max_body = (uint64_t)o->max_body,
                           .max_request = o->max_request,
                           .drain = o->drain,
                           .cache = r.c,
                           .contexts = o->contexts ? o->contexts : folder,
                           .quiet = o->quiet,
                           .open = open_it,
                           .close = close_it,
                           .user = &w};
    serve_block_signals();
    st = serve_run(&cfg, sig, err);
    engine_close(&w.e);
    remember_close(&r);
    return st;
}

int cmd_serve(int argc, char **argv) {
    options o = {.host = "127.0.0.1",
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
    const char **keys = NULL;
    char *text = NULL;
    size_t n_keys = 0;
    kv_err err = {0};
    int sig = 0;
    const int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_status st = read_keys(&o, &text, &keys, &n_keys, &err);
    if (!st && !(st = cli_sampling_read(&o.sampling, false, &err))) {
        cli_catch_signals(CLI_PATIENT);
        st = serve_it(&o, keys, n_keys, &sig, &err);
    }
    cli_sampling_free(&o.sampling);
    free(o.keys.v);
    free(o.origins.v);
    free(o.hosts.v);
    free(keys);
    free(text);
    return st ? cli_report(tool, &err) : sig == SIGINT ? CLI_INTERRUPTED : CLI_OK;
}
