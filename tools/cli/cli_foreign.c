/* Options and cache types of other programs, llama.cpp's above all: whoever brings a command line from there is told what it is
 * called here, or that nothing is lost without it.
 */
#include "cli/cli_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Why there is nothing to set. */
#define NO_GPU    "everything runs on the processor"
#define FUSED     "attention never builds the whole matrix of scores"
#define MAPPED    "the file is mapped, and weights are repacked into memory of their own (where there is --no-repack, unless that)"
#define BATCHES   "batches and caches are as large as is fastest, and answers do not depend on them"
#define SAMPLERS  "the samplers that there are stand under Sampling in --help"
#define OF_MODEL  "that is taken from the model file"
#define OF_CHAT   "chats are by the model's own template"
#define PLACES    "numactl and taskset choose memory and cores"
#define TEXT_ONLY "only text models run here"
#define ALWAYS_SO "that is always so"
#define NEVER_SO  "that never happens"
#define BY_ITSELF "that happens by itself"
#define VERBOSE   "-v says what runs, and how fast"
#define READ_ONCE "--context-cache keeps what was read"
#define NO_DRAFT  "there are no draft models; --lookup guesses by the context"

/* What an option is to a tool that takes command lines of llama.cpp; others refuse all of them. The names are those of its
 * table of options, common/arg.cpp, and some that it had once. */
typedef enum use {
    SAME,   /* as `ours` */
    LIKE,   /* refused: `ours` does it, by other values */
    FLAG,   /* means nothing here, and is left aside; takes no value */
    VALUE,  /* the same, with a value */
    MAYBE,  /* the same; a value may follow, such as on, off and auto */
    GIVEN,  /* refused where there is no such option */
    REFUSED /* would change what comes out */
} use;

static const struct foreign {
    const char *name;
    use use;
    const char *ours; /* what does the same, or something like it; NULL: nothing does */
    const char *why;  /* where nothing does, or this tool has no such option; NULL: nothing to say then */
} options[] = {
    /* the same by another name */
    {"--ctx-size", SAME, "--ctx", NULL},
    {"--n-ctx", SAME, "--ctx", NULL},
    {"--n-predict", SAME, "--predict", NULL},
    {"--max-tokens", SAME, "--predict", NULL},
    {"--temperature", SAME, "--temp", NULL},
    {"--system-prompt", SAME, "--system", NULL},
    {"--binary-file", SAME, "--file", NULL},
    {"-bf", SAME, "--file", NULL},
    {"-no-cnv", SAME, "--raw", NULL},
    {"--no-conversation", SAME, "--raw", NULL},
    {"--typical-p", SAME, "--typical", NULL},
    {"--top-n-sigma", SAME, "--top-nsigma", NULL},
    {"--log-verbose", SAME, "--verbose", NULL},
    {"-nr", SAME, "--no-repack", NULL},
    {"--chat-template-file", SAME, "--chat-template", OF_CHAT},
    {"--repetitions", SAME, "--reps", NULL},
    {"-r", SAME, "--reps", NULL},
    {"--n-prompt", SAME, "--prefill", NULL},
    {"-p", SAME, "--prefill", NULL},
    {"--n-gen", SAME, "--decode", NULL},
    {"-n", SAME, "--decode", NULL},
    {"--n-depth", SAME, "--depth", NULL},
    {"--file", SAME, "--text", NULL},
    /* something like it, with other values */
    {"--sampling-seq", LIKE, "--samplers", SAMPLERS},
    {"--sampler-seq", LIKE, "--samplers", SAMPLERS},
    {"-sysf", LIKE, "--system", "--system takes the text itself"},
    {"--system-prompt-file", LIKE, "--system", "--system takes the text itself"},
    {"--rope-freq-scale", LIKE, "--rope-scale", "--rope-scale takes its inverse"},
    /* where it runs */
    {"-ngl", VALUE, NULL, NO_GPU},
    {"--gpu-layers", VALUE, NULL, NO_GPU},
    {"--n-gpu-layers", VALUE, NULL, NO_GPU},
    {"-sm", VALUE, NULL, NO_GPU},
    {"--split-mode", VALUE, NULL, NO_GPU},
    {"-ts", VALUE, NULL, NO_GPU},
    {"--tensor-split", VALUE, NULL, NO_GPU},
    {"-mg", VALUE, NULL, NO_GPU},
    {"--main-gpu", VALUE, NULL, NO_GPU},
    {"-dev", VALUE, NULL, NO_GPU},
    {"--device", VALUE, NULL, NO_GPU},
    {"-ot", VALUE, NULL, NO_GPU},
    {"--override-tensor", VALUE, NULL, NO_GPU},
    {"-ncmoe", VALUE, NULL, NO_GPU},
    {"--n-cpu-moe", VALUE, NULL, NO_GPU},
    {"-fitt", VALUE, NULL, NO_GPU},
    {"--fit-target", VALUE, NULL, NO_GPU},
    {"-fitc", VALUE, NULL, NO_GPU},
    {"--fit-ctx", VALUE, NULL, NO_GPU},
    {"--rpc", VALUE, NULL, NO_GPU},
    {"-nkvo", FLAG, NULL, NO_GPU},
    {"--no-kv-offload", FLAG, NULL, NO_GPU},
    {"-kvo", FLAG, NULL, NO_GPU},
    {"--kv-offload", FLAG, NULL, NO_GPU},
    {"-cmoe", FLAG, NULL, NO_GPU},
    {"--cpu-moe", FLAG, NULL, NO_GPU},
    {"--op-offload", FLAG, NULL, NO_GPU},
    {"--no-op-offload", FLAG, NULL, NO_GPU},
    {"--no-host", FLAG, NULL, NO_GPU},
    {"-bs", FLAG, NULL, NO_GPU},
    {"--backend-sampling", FLAG, NULL, NO_GPU},
    {"-fit", MAYBE, NULL, NO_GPU},
    {"--fit", MAYBE, NULL, NO_GPU},
    {"--numa", VALUE, NULL, PLACES},
    {"-C", VALUE, NULL, PLACES},
    {"--cpu-mask", VALUE, NULL, PLACES},
    {"-Cr", VALUE, NULL, PLACES},
    {"--cpu-range", VALUE, NULL, PLACES},
    {"--cpu-strict", VALUE, NULL, PLACES},
    {"--prio", VALUE, NULL, PLACES},
    {"-Cb", VALUE, NULL, PLACES},
    {"--cpu-mask-batch", VALUE, NULL, PLACES},
    {"-Crb", VALUE, NULL, PLACES},
    {"--cpu-range-batch", VALUE, NULL, PLACES},
    {"--cpu-strict-batch", VALUE, NULL, PLACES},
    {"--prio-batch", VALUE, NULL, PLACES},
    {"--poll", VALUE, NULL, BY_ITSELF},
    {"--poll-batch", VALUE, NULL, BY_ITSELF},
    {"-tb", VALUE, NULL, "--threads is for prompts, too"},
    {"--threads-batch", VALUE, NULL, "--threads is for prompts, too"},
    /* how */
    {"-fa", MAYBE, NULL, FUSED},
    {"--flash-attn", MAYBE, NULL, FUSED},
    {"--mmap", FLAG, NULL, MAPPED},
    {"--no-mmap", FLAG, NULL, MAPPED},
    {"--mlock", FLAG, NULL, MAPPED},
    {"-dio", FLAG, NULL, MAPPED},
    {"--direct-io", FLAG, NULL, MAPPED},
    {"-ndio", FLAG, NULL, MAPPED},
    {"--no-direct-io", FLAG, NULL, MAPPED},
    {"--repack", FLAG, NULL, MAPPED},
    {"-lm", VALUE, NULL, MAPPED},
    {"--load-mode", VALUE, NULL, MAPPED},
    {"-b", VALUE, NULL, BATCHES},
    {"--batch-size", VALUE, NULL, BATCHES},
    {"-ub", VALUE, NULL, BATCHES},
    {"--ubatch-size", VALUE, NULL, BATCHES},
    {"-np", VALUE, NULL, BATCHES},
    {"--parallel", VALUE, NULL, BATCHES},
    {"-dt", VALUE, NULL, BATCHES},
    {"--defrag-thold", VALUE, NULL, BATCHES},
    {"-ctxcp", VALUE, NULL, BATCHES},
    {"--ctx-checkpoints", VALUE, NULL, BATCHES},
    {"--swa-checkpoints", VALUE, NULL, BATCHES},
    {"-cram", VALUE, NULL, BATCHES},
    {"--cache-ram", VALUE, NULL, BATCHES},
    {"--swa-full", FLAG, NULL, BATCHES},
    {"--check-tensors", FLAG, NULL, ALWAYS_SO},
    {"--no-context-shift", FLAG, NULL, ALWAYS_SO},
    {"--no-display-prompt", FLAG, NULL, ALWAYS_SO},
    {"--simple-io", FLAG, NULL, ALWAYS_SO},
    {"--jinja", FLAG, NULL, ALWAYS_SO},
    {"--no-warmup", FLAG, NULL, ALWAYS_SO},
    {"--offline", FLAG, NULL, ALWAYS_SO},
    {"--log-disable", FLAG, NULL, ALWAYS_SO},
    {"--warmup", FLAG, NULL, NEVER_SO},
    {"--display-prompt", FLAG, NULL, NEVER_SO},
    {"--log-prefix", FLAG, NULL, NEVER_SO},
    {"--no-log-prefix", FLAG, NULL, NEVER_SO},
    {"--log-timestamps", FLAG, NULL, NEVER_SO},
    {"--no-log-timestamps", FLAG, NULL, NEVER_SO},
    {"--no-jinja", FLAG, NULL, OF_CHAT},
    {"--skip-chat-parsing", FLAG, NULL, OF_CHAT},
    {"--no-skip-chat-parsing", FLAG, NULL, OF_CHAT},
    {"--reasoning-format", VALUE, NULL, OF_CHAT},
    {"--perf", FLAG, NULL, VERBOSE},
    {"--no-perf", FLAG, NULL, VERBOSE},
    {"--show-timings", FLAG, NULL, VERBOSE},
    {"--no-show-timings", FLAG, NULL, VERBOSE},
    {"--verbose-prompt", FLAG, NULL, VERBOSE},
    {"-lv", VALUE, NULL, VERBOSE},
    {"--verbosity", VALUE, NULL, VERBOSE},
    {"--log-verbosity", VALUE, NULL, VERBOSE},
    {"-ptc", VALUE, NULL, VERBOSE},
    {"--print-token-count", VALUE, NULL, VERBOSE},
    {"--log-file", VALUE, NULL, VERBOSE},
    {"--color", MAYBE, NULL, "answers have no colours"},
    {"-co", MAYBE, NULL, "answers have no colours"},
    {"--log-colors", MAYBE, NULL, "answers have no colours"},
    {"-cnv", FLAG, NULL, "a chat opens where neither -p nor -f is given"},
    {"--conversation", FLAG, NULL, "a chat opens where neither -p nor -f is given"},
    {"-i", FLAG, NULL, "a chat opens where neither -p nor -f is given"},
    {"--interactive", FLAG, NULL, "a chat opens where neither -p nor -f is given"},
    {"-if", FLAG, NULL, "a chat opens where neither -p nor -f is given"},
    {"--interactive-first", FLAG, NULL, "a chat opens where neither -p nor -f is given"},
    {"-st", FLAG, NULL, "-p answers once and leaves"},
    {"--single-turn", FLAG, NULL, "-p answers once and leaves"},
    {"-mli", FLAG, NULL, "/read takes a text of several lines from a file"},
    {"--multiline-input", FLAG, NULL, "/read takes a text of several lines from a file"},
    {"--keep", VALUE, NULL, "the system prompt stays with --context-shift"},
    {"--prompt-cache", VALUE, NULL, READ_ONCE},
    {"--prompt-cache-all", FLAG, NULL, READ_ONCE},
    {"--prompt-cache-ro", FLAG, NULL, READ_ONCE},
    {"-md", VALUE, NULL, NO_DRAFT},
    {"--model-draft", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-model", VALUE, NULL, NO_DRAFT},
    {"-ngld", VALUE, NULL, NO_DRAFT},
    {"--gpu-layers-draft", VALUE, NULL, NO_DRAFT},
    {"--n-gpu-layers-draft", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-ngl", VALUE, NULL, NO_DRAFT},
    {"-devd", VALUE, NULL, NO_DRAFT},
    {"--device-draft", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-device", VALUE, NULL, NO_DRAFT},
    {"-ctkd", VALUE, NULL, NO_DRAFT},
    {"--cache-type-k-draft", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-type-k", VALUE, NULL, NO_DRAFT},
    {"-ctvd", VALUE, NULL, NO_DRAFT},
    {"--cache-type-v-draft", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-type-v", VALUE, NULL, NO_DRAFT},
    {"-td", VALUE, NULL, NO_DRAFT},
    {"--threads-draft", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-threads", VALUE, NULL, NO_DRAFT},
    {"-tbd", VALUE, NULL, NO_DRAFT},
    {"--threads-batch-draft", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-threads-batch", VALUE, NULL, NO_DRAFT},
    {"--draft", VALUE, NULL, NO_DRAFT},
    {"--draft-n", VALUE, NULL, NO_DRAFT},
    {"--draft-max", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-n-max", VALUE, NULL, NO_DRAFT},
    {"--draft-min", VALUE, NULL, NO_DRAFT},
    {"--draft-n-min", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-n-min", VALUE, NULL, NO_DRAFT},
    {"--draft-p-min", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-p-min", VALUE, NULL, NO_DRAFT},
    {"--draft-p-split", VALUE, NULL, NO_DRAFT},
    {"--spec-draft-p-split", VALUE, NULL, NO_DRAFT},
    {"--spec-type", VALUE, NULL, NO_DRAFT},
    {"--spec-default", FLAG, NULL, NO_DRAFT},
    /* another way to say what the model is */
    {"-m", GIVEN, NULL, "the model is the first argument"},
    {"--model", GIVEN, NULL, "the model is the first argument"},
    {"-hf", REFUSED, NULL, "'kvrun pull OWNER/REPOSITORY/FILE.gguf' gets a model, and 'kvrun NAME' runs it"},
    {"-hfr", REFUSED, NULL, "'kvrun pull OWNER/REPOSITORY/FILE.gguf' gets a model, and 'kvrun NAME' runs it"},
    {"--hf-repo", REFUSED, NULL, "'kvrun pull OWNER/REPOSITORY/FILE.gguf' gets a model, and 'kvrun NAME' runs it"},
    {"-hff", REFUSED, NULL, "'kvrun pull OWNER/REPOSITORY/FILE.gguf' gets a model, and 'kvrun NAME' runs it"},
    {"--hf-file", REFUSED, NULL, "'kvrun pull OWNER/REPOSITORY/FILE.gguf' gets a model, and 'kvrun NAME' runs it"},
    {"-dr", REFUSED, NULL, "'kvrun pull OWNER/REPOSITORY/FILE.gguf' gets a model, and 'kvrun NAME' runs it"},
    {"--docker-repo", REFUSED, NULL, "'kvrun pull OWNER/REPOSITORY/FILE.gguf' gets a model, and 'kvrun NAME' runs it"},
    {"-mu", REFUSED, NULL, "'kvrun pull URL' gets a model, and 'kvrun NAME' runs it"},
    {"--model-url", REFUSED, NULL, "'kvrun pull URL' gets a model, and 'kvrun NAME' runs it"},
    {"-hft", REFUSED, NULL, "nothing is fetched here: 'kvrun pull' does that"},
    {"--hf-token", REFUSED, NULL, "nothing is fetched here: 'kvrun pull' does that"},
    {"-cl", REFUSED, NULL, "'kvrun list' does that"},
    {"--cache-list", REFUSED, NULL, "'kvrun list' does that"},
    /* what changes answers, and is not there */
    {"--lora", REFUSED, NULL, "adapters have to be merged into the model first"},
    {"--lora-scaled", REFUSED, NULL, "adapters have to be merged into the model first"},
    {"--control-vector", REFUSED, NULL, "there are no control vectors"},
    {"--control-vector-scaled", REFUSED, NULL, "there are no control vectors"},
    {"--control-vector-layer-range", REFUSED, NULL, "there are no control vectors"},
    {"--mmproj", REFUSED, NULL, TEXT_ONLY},
    {"-mm", REFUSED, NULL, TEXT_ONLY},
    {"--mmproj-url", REFUSED, NULL, TEXT_ONLY},
    {"-mmu", REFUSED, NULL, TEXT_ONLY},
    {"--mmproj-auto", REFUSED, NULL, TEXT_ONLY},
    {"--no-mmproj", REFUSED, NULL, TEXT_ONLY},
    {"--no-mmproj-auto", REFUSED, NULL, TEXT_ONLY},
    {"--mmproj-offload", REFUSED, NULL, TEXT_ONLY},
    {"--no-mmproj-offload", REFUSED, NULL, TEXT_ONLY},
    {"-mmdev", REFUSED, NULL, TEXT_ONLY},
    {"--mmproj-device", REFUSED, NULL, TEXT_ONLY},
    {"--image", REFUSED, NULL, TEXT_ONLY},
    {"--audio", REFUSED, NULL, TEXT_ONLY},
    {"--video", REFUSED, NULL, TEXT_ONLY},
    {"--image-min-tokens", REFUSED, NULL, TEXT_ONLY},
    {"--image-max-tokens", REFUSED, NULL, TEXT_ONLY},
    {"--yarn-ext-factor", REFUSED, NULL, "YaRN has the parameters that the model file gives it (--override-kv changes them)"},
    {"--yarn-attn-factor", REFUSED, NULL, "YaRN has the parameters that the model file gives it (--override-kv changes them)"},
    {"--yarn-beta-slow", REFUSED, NULL, "YaRN has the parameters that the model file gives it (--override-kv changes them)"},
    {"--yarn-beta-fast", REFUSED, NULL, "YaRN has the parameters that the model file gives it (--override-kv changes them)"},
    {"-gan", REFUSED, NULL, "there is no self-extend; --rope-scaling stretches a context"},
    {"--grp-attn-n", REFUSED, NULL, "there is no self-extend; --rope-scaling stretches a context"},
    {"-gaw", REFUSED, NULL, "there is no self-extend; --rope-scaling stretches a context"},
    {"--grp-attn-w", REFUSED, NULL, "there is no self-extend; --rope-scaling stretches a context"},
    {"--adaptive-target", REFUSED, NULL, SAMPLERS},
    {"--adaptive-decay", REFUSED, NULL, SAMPLERS},
    {"--grammar", REFUSED, NULL, SAMPLERS},
    {"--grammar-file", REFUSED, NULL, SAMPLERS},
    {"--json-schema", REFUSED, NULL, SAMPLERS},
    {"-j", REFUSED, NULL, SAMPLERS},
    {"--json-schema-file", REFUSED, NULL, SAMPLERS},
    {"-jf", REFUSED, NULL, SAMPLERS},
    {"--rope-scaling", REFUSED, NULL, OF_MODEL},
    {"--rope-scale", REFUSED, NULL, OF_MODEL},
    {"--rope-freq-base", REFUSED, NULL, OF_MODEL},
    {"--override-kv", REFUSED, NULL, OF_MODEL},
    {"--yarn-orig-ctx", REFUSED, NULL, OF_MODEL},
    {"--chat-template", REFUSED, NULL, OF_CHAT},
    {"--chat-template-kwargs", REFUSED, NULL, "what a template is told cannot be set yet"},
    {"-rea", REFUSED, NULL, "what a template is told cannot be set yet"},
    {"--reasoning", REFUSED, NULL, "what a template is told cannot be set yet"},
    {"--reasoning-effort", REFUSED, NULL, "what a template is told cannot be set yet"},
    {"--reasoning-budget", REFUSED, NULL, "what a template is told cannot be set yet"},
    {"--reasoning-budget-message", REFUSED, NULL, "what a template is told cannot be set yet"},
    {"--reasoning-preserve", REFUSED, NULL, "what a template is told cannot be set yet"},
    {"--no-reasoning-preserve", REFUSED, NULL, "what a template is told cannot be set yet"},
    {"-r", REFUSED, NULL, "an answer ends where the model ends it, or after -n tokens"},
    {"--reverse-prompt", REFUSED, NULL, "an answer ends where the model ends it, or after -n tokens"},
    {"--in-prefix", REFUSED, NULL, OF_CHAT},
    {"--in-suffix", REFUSED, NULL, OF_CHAT},
    {"--in-prefix-bos", REFUSED, NULL, OF_CHAT},
    {"-sp", REFUSED, NULL, "special tokens are never shown"},
    {"--special", REFUSED, NULL, "special tokens are never shown"},
    {"-o", REFUSED, NULL, "answers go to standard output"},
    {"--output", REFUSED, NULL, "answers go to standard output"},
    {"--output-file", REFUSED, NULL, "answers go to standard output"},
    {"--server-base", REFUSED, NULL, "models run in this process"},
    {"--log-prompts-dir", REFUSED, NULL, "prompts are written nowhere"},
    /* of other tools */
    {"--kl-divergence", FLAG, NULL, BY_ITSELF},
    {"--kl-divergence-base", REFUSED, NULL, "the reference is computed on the way, and needs no file"},
};

/* Cache types of others, and the one here that comes nearest. */
static const struct {
    const char *name, *ours;
} codecs[] = {
    {"bf16", "f16"},      {"fp16", "f16"},    {"half", "f16"},    {"fp32", "f32"},  {"float", "f32"},  {"q8", "q8_0"},
    {"q8_1", "q8_0"},     {"int8", "q8_0"},   {"fp8", "q8_0"},    {"q6_k", "q8_0"}, {"q6_0", "q8_0"},  {"q5", "q5_0h"},
    {"q5_k", "q5_1h"},    {"q4", "q4_0h"},    {"int4", "q4_0h"},  {"fp4", "q4_0h"}, {"q4_k", "q4_1h"}, {"iq4_xs", "iq4_nlh"},
    {"mxfp4", "iq4_nlh"}, {"q3_k", "turbo3"}, {"q2_k", "turbo2"},
};

static bool has(const cli_spec *spec, const char *name) {
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (cli_opt_shown(o) && !strcmp(o->name, name))
            return true;
    return false;
}

/* The first row that says something to this tool. */
static const struct foreign *find(const cli_spec *spec, const char *given) {
    const size_t len = strcspn(given, "=");
    for (const struct foreign *f = options; f < options + sizeof options / sizeof *options; f++)
        if (strlen(f->name) == len && !memcmp(f->name, given, len) && (f->why || (f->ours && has(spec, f->ours))))
            return f;
    return NULL;
}

bool cli_foreign_option(const cli_spec *spec, const char *given, const char **ours, const char **why) {
    const struct foreign *f = find(spec, given);
    if (!f)
        return false;
    *ours = f->ours && has(spec, f->ours) ? f->ours : NULL;
    *why = f->why;
    return true;
}

static bool is_switch(const char *word) {
    static const char *const words[] = {"on", "off", "auto", "true", "false", "enabled", "disabled", "1", "0"};
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(word, words[i]))
            return true;
    return false;
}

/* Add to a list, once. */
static void note(char *list, size_t room, const char *between, const char *item) {
    const size_t len = strlen(list), n = strlen(item), gap = len ? strlen(between) : 0;
    for (const char *at = list; (at = strstr(at, item)); at += n)
        if ((at == list || at[-1] == ' ') && (!at[n] || at[n] == *between))
            return;
    if (len + gap + n < room)
        sprintf(list + len, "%s%s", len ? between : "", item);
}

cli_foreign_use cli_foreign_take(const cli_spec *spec, const char *given, const char *next, cli_aside *aside,
                                 const char **what) {
    const struct foreign *f = spec->llama ? find(spec, given) : NULL;
    const bool eq = strchr(given, '=');
    if (!f || f->use == LIKE || f->use == GIVEN)
        return CLI_FOREIGN_UNKNOWN;
    *what = f->use == SAME ? f->ours : f->why;
    if (f->use == SAME)
        return has(spec, f->ours) ? CLI_FOREIGN_SAME : CLI_FOREIGN_UNKNOWN;
    if (f->use == REFUSED)
        return CLI_FOREIGN_REFUSED;
    note(aside->names, sizeof aside->names, ", ", f->name);
    note(aside->why, sizeof aside->why, "; ", f->why);
    const bool takes = !eq && (f->use == VALUE || (f->use == MAYBE && is_switch(next)));
    return takes ? CLI_FOREIGN_ASIDE_VALUE : CLI_FOREIGN_ASIDE;
}

const char *cli_foreign_codec(const char *given) {
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (!strcasecmp(codecs[i].name, given))
            return codecs[i].ours;
    return NULL;
}
