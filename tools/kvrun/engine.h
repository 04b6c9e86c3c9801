/* What subcommands that run a model have in common: the model with the profile that applies to it and its chat format, and a
 * cache as options and profile ask for it.
 */
#ifndef KVRUN_ENGINE_H
#define KVRUN_ENGINE_H

#include "cli/cli_cache.h"
#include "cli/cli_profile.h"
#include "kvrun/generate.h"
#include "text/chat.h"

/* What is opened, as options say it. All borrowed. */
typedef struct engine_cfg {
    const char *tool, *model;
    const cli_cache *cache;
    const cli_machine *machine;
    const char *template; /* a chat format, or a file with a Jinja template; NULL: the model's own */
    bool plain;           /* without a chat format, whatever the model has */
} engine_cfg;

typedef struct engine {
    engine_cfg cfg;
    rt_model *model;
    prof *profile;                  /* the one that applies, or NULL */
    char shipped[CLI_PROFILE_PATH]; /* where it was found, if it is the one shipped for the model; else "" */
    chat_format *format;            /* or NULL: there is none, or none that is understood */
} engine;

/* The profile is that of --profile, else the one in the model file, else the one shipped for the model. Says on stderr what is
 * odd about the model. cfg is copied, what it points to is borrowed until engine_close, which the caller calls in every case.
 */
kv_status engine_open(const engine_cfg *cfg, engine *out, kv_err *err);
void engine_close(engine *e);

/* The context that options and profile ask for, of n_ctx tokens: 0: as many as the model was trained for; -1: those, but at
 * most 4096. Notes where that is more than the model was trained for. */
kv_status engine_ctx_cfg(const engine *e, int64_t n_ctx, rt_ctx_cfg *out, kv_err *err);

/* A gen with cfg->ctx as engine_ctx_cfg filled it in. A shipped profile that turns out to be broken is left aside with a note:
 * e->profile and cfg->ctx.profile are NULL then. Caller frees with gen_free before engine_close. */
kv_status engine_gen(engine *e, gen_cfg *cfg, gen **out, kv_err *err);

/* first_use.c: where no profile applies to the model, make one from the text that is built in, as kvcalib would, and keep it
 * where it is found from now on ($XDG_DATA_HOME/kvcalib/profiles/models, else ~/.local/share/...). Takes minutes; KV_ECANCEL.
 */
kv_status engine_calibrate(engine *e, kv_err *err);
/* The same file: what a profile would gain. */
void engine_say_gain(const engine *e, gen *g);

/* On stderr, in one line: which profile applies, and what the cache of g costs now and as f16. */
void engine_say_cache(const engine *e, gen *g);

#endif
