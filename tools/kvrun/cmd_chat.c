/* kvrun without a subcommand: talk to a model, or let it answer once. */
#include "base/text.h"
#include "cli/cli_sampling.h"
#include "kvrun/cmd.h"
#include "kvrun/constrain.h"
#include "kvrun/engine.h"
#include "kvrun/remember.h"
#include "kvrun/repl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char tool[] = "kvrun";

enum { MAX_PROMPT = 64 << 20 };

typedef struct options {
    const char *model, *positional, *prompt, *file, *system, *template, *lookup;
    int64_t n, ctx, context_cache;
    cli_sampling sampling;
    constrain constrain;
    cli_cache cache;
    cli_machine machine;
    bool calibrate, raw, escape, no_escape, shift, endless, verbose;
    char *said, *told; /* prompt and system prompt as they are fed; or NULL */
} options;

static int parse(options *o, const cli_command *others, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to say"},
        {"--prompt", "-p", CLI_STR, "TEXT", &o->prompt, 0, 0, "answer this and leave, instead of opening a chat"},
        {"--file", "-f", CLI_IN, "FILE", &o->file, 0, 0,
         "take the prompt from a file, as it stands there, but for one newline at its end"},
        {"--system", "-sys", CLI_STR, "TEXT", &o->system, 0, 0, "system prompt, in place of the one in the model's template"},
        {"--chat-template", NULL, CLI_STR, "NAME|FILE", &o->template, 0, 0,
         "a chat format (chatml, gemma, llama-3, ...) or a file with a Jinja template, in place of the model's own"},
        {"--escape", "-e", CLI_FLAG, NULL, &o->escape, 0, 0,
         "in -p and --system, \\n, \\r, \\t, \\', \\\", \\\\ and \\xHH are what they mean in C: so without this option, too"},
        {"--no-escape", NULL, CLI_FLAG, NULL, &o->no_escape, 0, 0, "take -p and --system as they are, backslashes included"},
        {"--raw", NULL, CLI_FLAG, NULL, &o->raw, 0, 0, "continue the prompt as plain text, without the chat template"},
        {"--predict", "-n", CLI_INT, "N", &o->n, -1, 1 << 30, "most tokens of an answer; -1: until the model is done"},
        {.kind = CLI_HEADING, .help = "Model and machine"},
        {"--model", "-m", CLI_MODEL, "FILE", &o->model, 0, 0, "the model, as another way to name it"},
        CLI_MACHINE_ROWS(&o->machine),
        {.kind = CLI_HEADING, .help = "Context and cache"},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 0, 1 << 24,
         "tokens of context; 0: as many as the model was trained for (without this option: those, but at most 4096)"},
        {"--context-shift", NULL, CLI_FLAG, NULL, &o->shift, 0, 0,
         "when the context is full, drop the older half (the system prompt stays) instead of stopping"},
        {"--endless", NULL, CLI_FLAG, NULL, &o->endless, 0, 0,
         "go on past the context in the same memory: when it is full, forget the oldest eighth (the system prompt and sinks "
         "stay), "
         "without reading the rest again"},
        {"--context-cache", NULL, CLI_SIZE, "SIZE", &o->context_cache, 0, 0,
         "keep what is read on the disk, in files that take up to SIZE (2G) together, so that a prompt which begins alike need "
         "not be read from its beginning; 0: keep nothing"},
        {"--lookup", NULL, CLI_CHOICE, "on|off", &o->lookup, 0, 0,
         "guess what comes next by what stands in the context already, and read guesses together: the same answers, sooner "
         "where they quote"},
        {"--calibrate", NULL, CLI_FLAG, NULL, &o->calibrate, 0, 0,
         "if the model has no profile, make one first, which takes some minutes; it applies ever after"},
        CLI_CACHE_ROWS(&o->cache),
        {.kind = CLI_HEADING, .help = "Sampling"},
        CLI_SAMPLING_ROWS(&o->sampling),
        CONSTRAIN_ROWS(&o->constrain),
        {.kind = CLI_HEADING, .help = "Output"},
        {"--verbose", "-v", CLI_FLAG, NULL, &o->verbose, 0, 0, "say what runs, and how fast, on stderr"},
        {0},
    };
    return cli_parse(
        &(cli_spec){
            .tool = tool,
            .usage = "MODEL [-p TEXT] [options]\nSUBCOMMAND [options]",
            .brief = "talk to a model with a compressed KV cache",
            .summary = "Talk to a model with a compressed KV cache. Without -p or -f this is a chat; with stdin from a "
                       "pipe, every line is a turn. The profile that kvpack put into the model applies by itself, else the one "
                       "shipped for the model. MODEL is a file, or a name that 'kvrun list' shows. Other options of llama.cpp "
                       "are taken, and left aside, where they mean nothing here.",
            .examples = "  kvrun packed.gguf\n"
                        "  kvrun packed.gguf -p 'What is a KV cache?' -n 200 --temp 0\n"
                        "  kvrun packed.gguf -p 'The same, uncompressed?' -ctk f16 -ctv f16\n",
            .opts = opts,
            .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->positional}, {0}},
            .n_required = 0,
            .commands = others,
            .llama = true},
        argc, argv);
}

static kv_status check(options *o, kv_err *err) {
    if (o->model && o->positional)
        return kv_fail(err, KV_EINVAL, "two models: %s and %s", o->positional, o->model);
    if (!o->model && !(o->model = o->positional))
        return kv_fail(err, KV_EINVAL, "no model; usage: kvrun MODEL [-p TEXT] ('kvrun --help' explains)");
    if (o->prompt && o->file)
        return kv_fail(err, KV_EINVAL, "-p and -f both give a prompt");
    if (o->escape && o->no_escape)
        return kv_fail(err, KV_EINVAL, "--escape and --no-escape say the opposite of each other; choose one");
    if (o->shift && o->endless)
        return kv_fail(err, KV_EINVAL, "--context-shift reads the newer half again, --endless forgets in place; choose one");
    if (o->calibrate && (o->cache.profile || cli_cache_given(&o->cache)))
        return kv_fail(err, KV_EINVAL,
                       "--calibrate makes a profile where none applies: leave --profile and options of the cache out");
    if (o->raw && o->template)
        return kv_fail(err, KV_EINVAL, "--raw feeds plain text: there is no place for a --chat-template");
    if (o->raw && o->system)
        return kv_fail(err, KV_EINVAL, "--raw feeds plain text: there is no place for a system prompt");
    return KV_OK;
}

/* Words of the command line as they are fed. *out: caller frees; NULL for NULL. */
static kv_status take_words(const options *o, const char *option, const char *words, char **out, kv_err *err) {
    kv_status st = KV_OK;
    *out = NULL;
    if (!words)
        return KV_OK;
    if (!(*out = strdup(words)))
        return kv_fail(err, KV_ENOMEM, "out of memory for the prompt");
    size_t len = strlen(*out);
    st = text_clean(option, *out, &len, err);
    return st || o->no_escape ? st : text_unescape(option, *out, err);
}

/* Before the model is loaded: the texts that options name. */
static kv_status take_texts(options *o, kv_err *err) {
    size_t len;
    kv_status st = take_words(o, "--system", o->system, &o->told, err);
    if (st || !o->file)
        return st ? st : take_words(o, "--prompt", o->prompt, &o->said, err);
    if ((st = text_read(o->file, MAX_PROMPT, &o->said, &len, err)))
        return st;
    if (len && o->said[len - 1] == '\n') /* editors put it there, and llama.cpp drops it, too */
        o->said[len - 1] = '\0';
    return KV_OK;
}

static void say_model(const rt_model *m, const chat_format *f, uint64_t seed) {
    const rt_hparams *hp = rt_model_hparams(m);
    const rt_exec *e = rt_model_exec(m);
    cli_note(tool,
             "%s (%s): %u layers, %u heads, %u KV heads of %u; trained for %u tokens; chat format %s; %d threads; seed %llu",
             hp->name, hp->arch, hp->n_layer, hp->n_head, hp->n_kv_head, hp->head_dim, hp->n_ctx_train,
             f ? chat_name(f) : "none", e->n_threads, (unsigned long long)seed);
}

static void say_speed(const gen_stats *s) {
    cli_note(tool, "prefill: %zu tokens in %.2f s (%.1f tokens/s); decode: %zu tokens in %.2f s (%.1f tokens/s)",
             s->prompt_tokens, s->prompt_seconds, s->prompt_seconds > 0 ? (double)s->prompt_tokens / s->prompt_seconds : 0,
             s->answer_tokens, s->answer_seconds, s->answer_seconds > 0 ? (double)s->answer_tokens / s->answer_seconds : 0);
}

/* What people know it by whom 'kvrun contexts' lists it. */
static const char *title(const options *o) {
    return o->file ? o->file : o->said ? o->said : "a chat";
}

/* The question of the command line, answered on stdout. */
static kv_status answer_once(const options *o, conversation *c, gen *g, gen_end *end, kv_err *err) {
    kv_status st = conversation_say(c, o->said, o->n, end, err);
    if (!st)
        note_empty_answer(tool, g, *end);
    return st;
}

/* What a chat that is loaded is opened with: what its file says, but for a context of another length. */
static rt_ctx_cfg cfg_to_load(const options *o, const engine *e, const rt_ctx_cfg *is) {
    rt_ctx_cfg cfg = RT_CTX_CFG_DEFAULT;
    cfg.profile = e->profile;
    cfg.n_batch = is->n_batch;
    cfg.n_ctx = o->ctx > 0 ? (uint32_t)o->ctx : 0;
    cfg.checkpoint_every = is->checkpoint_every;
    return cfg;
}

static int run(options *o, engine *e, gen *g, remember *r, const rt_ctx_cfg *cfg, kv_err *err) {
    conversation *c = NULL;
    gen_end end = GEN_DONE;
    int code = CLI_OK;
    if (!e->format && !o->raw)
        cli_note_plain(tool, e->model);
    if (!e->format && !o->raw && o->system)
        cli_note(tool, "without a chat format there is no place for a system prompt: it is not used");
    kv_status st = conversation_new(e->model, g, e->format, e->format ? o->told : NULL, &c, err);
    if (st)
        goto done;
    if (o->said)
        st = answer_once(o, c, g, &end, err);
    else
        code = repl_run(&(repl_cfg){.tool = tool,
                                    .e = e,
                                    .g = g,
                                    .c = c,
                                    .sampling = &o->sampling,
                                    .load = cfg_to_load(o, e, cfg),
                                    .n_max = o->n,
                                    .plain = o->no_escape,
                                    .verbose = o->verbose});
    note_forgotten(tool, c, o->verbose);
    if (end == GEN_STOPPED)
        code = CLI_INTERRUPTED;
    if (!st || st == KV_ECANCEL) { /* what was read before somebody stopped it was read */
        if (e->format || st)
            conversation_tidy(c);
        if (gen_len(g))
            remember_keep(r, gen_session(g), title(o));
    }
done:
    conversation_free(c);
    return st ? cli_report(tool, err) : code;
}

static int open_and_run(options *o, kv_err *err) {
    gen_cfg cfg = {.sampling = o->sampling.how,
                   .shift = o->shift,
                   .endless = o->endless,
                   .lookup = !o->lookup || strcmp(o->lookup, "off"),
                   .stop = cli_interrupted};
    engine e = {0};
    remember r = {0};
    gen *g = NULL;
    int code = CLI_OK;
    cfg.recall = remember_recall;
    cfg.recall_user = &r;
    grammar *rules = NULL;
    kv_status st = take_texts(o, err);
    if (!st)
        st = constrain_open(&o->constrain, &rules, err);
    cfg.grammar = rules;
    if (st || (st = engine_open(&(engine_cfg){tool, o->model, &o->cache, &o->machine, o->template, o->raw}, &e, err)) ||
        (o->calibrate && (st = engine_calibrate(&e, err))) || (st = engine_ctx_cfg(&e, o->ctx, &cfg.ctx, err)))
        goto done;
    remember_open(&r, tool, o->context_cache, o->verbose);
    if (r.c)
        cfg.ctx.checkpoint_every = RT_BATCH; /* prompts may part anywhere */
    if ((st = engine_gen(&e, &cfg, &g, err)))
        goto done;
    engine_say_cache(&e, g);
    if (o->verbose)
        say_model(e.model, e.format, cfg.sampling.seed);
    code = run(o, &e, g, &r, &cfg.ctx, err);
    if (o->verbose)
        say_speed(gen_get_stats(g));
done:
    gen_free(g);
    remember_close(&r);
    grammar_free(rules);
    engine_close(&e);
    return st ? cli_report(tool, err) : code;
}

int cmd_chat(const cli_command *others, int argc, char **argv) {
    options o = {.n = -1, .ctx = -1, .cache = CLI_CACHE_DEFAULT, .sampling = CLI_SAMPLING_DEFAULT};
    kv_err err = {0};
    if (argc == 1 && isatty(STDIN_FILENO))
        return cmd_nothing();
    int code = parse(&o, others, argc, argv);
    if (code >= 0)
        return code;
    if (check(&o, &err) || cli_sampling_read(&o.sampling, o.no_escape, &err))
        code = cli_report(tool, &err);
    else {
        cli_catch_signals(CLI_KEEPING);
        code = open_and_run(&o, &err);
    }
    cli_sampling_free(&o.sampling);
    free(o.said);
    free(o.told);
    return code;
}
