/* kvrun serve, once its options are known: keys, models, and the server. */
#include "kvrun/serve_main.h"
#include "base/text.h"
#include "cli/cli_folder.h"
#include "kvrun/engine.h"
#include "kvrun/remember.h"
#include "serve/guard.h"
#include "serve/serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const tool = serve_tool;

enum { CTX = 8192 };

typedef serve_options options;

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
} opener;

static kv_status ctx_of(const options *o, const engine *e, rt_ctx_cfg *out, kv_err *err) {
    kv_status st = engine_ctx_cfg(e, o->ctx, out, err);
    if (st)
        return st;
    const uint32_t trained = rt_model_hparams(e->model)->n_ctx_train;
    if (!out->n_ctx)
        out->n_ctx = trained && trained < CTX ? trained : CTX;
    out->checkpoint_every = RT_BATCH; /* prompts may part anywhere */
    return KV_OK;
}

static kv_status open_it(void *user, const char *path, serve_model *out, kv_err *err) {
    options *o = ((opener *)user)->o;
    engine *e = calloc(1, sizeof *e);
    if (!e)
        return kv_fail(err, KV_ENOMEM, "out of memory for a model");
    kv_status st = engine_open(&(engine_cfg){tool, path, &o->cache, &o->machine, o->template, false}, e, err);
    if (!st)
        st = ctx_of(o, e, &out->ctx, err);
    if (!st && cli_interrupted())
        st = kv_fail(err, KV_ECANCEL, "interrupted");
    if (st) {
        engine_close(e);
        free(e);
        return st;
    }
    if (!e->format)
        cli_note_plain(tool, e->model);
    out->model = e->model;
    out->format = e->format;
    out->own = e;
    return KV_OK;
}

static void close_it(void *user, serve_model *m) {
    (void)user;
    engine_close(m->own);
    free(m->own);
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
                           .models = o->models,
                           .memory = (uint64_t)o->memory,
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
    remember_close(&r);
    return st;
}

int serve_main(int argc, char **argv) {
    options o;
    const char **keys = NULL;
    char *text = NULL;
    size_t n_keys = 0;
    kv_err err = {0};
    int sig = 0;
    const int code = serve_parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_status st = !o.model == !o.models ? kv_fail(&err, KV_EINVAL, "usage: kvrun serve MODEL, or --models DIR") : KV_OK;
    if (!st && o.models && o.alias)
        st = kv_fail(&err, KV_EINVAL, "--alias is for a single model: those of --models are called as their files");
    if (!st)
        st = read_keys(&o, &text, &keys, &n_keys, &err);
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
