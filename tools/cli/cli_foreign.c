/* Options and cache types of other programs, llama.cpp's above all: whoever brings a command line from there is told what it is
 * called here, or that nothing is lost without it.
 */
#include "cli/cli_internal.h"

#include <string.h>
#include <strings.h>

/* Why there is nothing to set. */
#define NO_GPU    "everything runs on the processor"
#define FUSED     "attention never builds the whole matrix of scores"
#define MAPPED    "the file is mapped, and weights are repacked into memory of their own (where there is --no-repack, unless that)"
#define BATCHES   "batches are as large as is fastest, and answers do not depend on them"
#define SAMPLERS  "the samplers that there are stand under Sampling in --help"
#define OF_MODEL  "that is taken from the model file"
#define OF_CHAT   "chats are by the model's own template"
#define NO_MODEL  "models are files here; download it first"
#define TEXT_ONLY "only text models run here"
#define ALWAYS_SO "that is always so"
#define NEVER_SO  "that never happens"
#define BY_ITSELF "that happens by itself"

static const struct foreign {
    const char *name;
    const char *ours; /* what does the same; NULL: nothing does */
    const char *why;  /* where nothing does, or this tool has no such option; NULL: nothing to say then */
} options[] = {
    {"--ctx-size", "--ctx", NULL},
    {"--n-ctx", "--ctx", NULL},
    {"--n-predict", "--predict", NULL},
    {"--max-tokens", "--predict", NULL},
    {"--temperature", "--temp", NULL},
    {"--system-prompt", "--system", NULL},
    {"--binary-file", "--file", NULL},
    {"-bf", "--file", NULL},
    {"-no-cnv", "--raw", NULL},
    {"--no-conversation", "--raw", NULL},
    {"--threads-batch", "--threads", NULL},
    {"-tb", "--threads", NULL},
    {"--repetitions", "--reps", NULL},
    {"-r", "--reps", NULL},
    {"--n-prompt", "--prefill", NULL},
    {"-p", "--prefill", NULL},
    {"--n-gen", "--decode", NULL},
    {"-n", "--decode", NULL},
    {"--n-depth", "--depth", NULL},
    {"--file", "--text", NULL},
    {"-m", NULL, "the model is the first argument"},
    {"--model", NULL, "the model is the first argument"},
    {"-ngl", NULL, NO_GPU},
    {"--gpu-layers", NULL, NO_GPU},
    {"--n-gpu-layers", NULL, NO_GPU},
    {"-nkvo", NULL, NO_GPU},
    {"--no-kv-offload", NULL, NO_GPU},
    {"-sm", NULL, NO_GPU},
    {"--split-mode", NULL, NO_GPU},
    {"-ts", NULL, NO_GPU},
    {"--tensor-split", NULL, NO_GPU},
    {"-mg", NULL, NO_GPU},
    {"--main-gpu", NULL, NO_GPU},
    {"-dev", NULL, NO_GPU},
    {"--device", NULL, NO_GPU},
    {"-ot", NULL, NO_GPU},
    {"--override-tensor", NULL, NO_GPU},
    {"--cpu-moe", NULL, NO_GPU},
    {"--n-cpu-moe", NULL, NO_GPU},
    {"-fa", NULL, FUSED},
    {"--flash-attn", NULL, FUSED},
    {"--mmap", NULL, MAPPED},
    {"--no-mmap", NULL, MAPPED},
    {"--mlock", NULL, MAPPED},
    {"-b", NULL, BATCHES},
    {"--batch-size", NULL, BATCHES},
    {"-ub", NULL, BATCHES},
    {"--ubatch-size", NULL, BATCHES},
    {"--typical-p", "--typical", NULL},
    {"--top-n-sigma", "--top-nsigma", NULL},
    {"--sampling-seq", "--samplers", NULL},
    {"--sampler-seq", "--samplers", NULL},
    {"--adaptive-target", NULL, SAMPLERS},
    {"--adaptive-decay", NULL, SAMPLERS},
    {"--grammar", NULL, SAMPLERS},
    {"--json-schema", NULL, SAMPLERS},
    {"--rope-scaling", NULL, OF_MODEL},
    {"--rope-scale", NULL, OF_MODEL},
    {"--rope-freq-base", NULL, OF_MODEL},
    {"--rope-freq-scale", NULL, OF_MODEL},
    {"--override-kv", NULL, OF_MODEL},
    {"--chat-template", NULL, OF_CHAT},
    {"--chat-template-file", "--chat-template", OF_CHAT},
    {"--jinja", NULL, ALWAYS_SO},
    {"--no-jinja", NULL, OF_CHAT},
    {"-cnv", NULL, "a chat opens where neither -p nor -f is given"},
    {"--conversation", NULL, "a chat opens where neither -p nor -f is given"},
    {"-i", NULL, "a chat opens where neither -p nor -f is given"},
    {"--interactive", NULL, "a chat opens where neither -p nor -f is given"},
    {"-st", NULL, "-p answers once and leaves"},
    {"--single-turn", NULL, "-p answers once and leaves"},
    {"-sysf", NULL, "--system takes the text itself"},
    {"--system-prompt-file", NULL, "--system takes the text itself"},
    {"--keep", NULL, "the system prompt stays with --context-shift"},
    {"--no-display-prompt", NULL, ALWAYS_SO},
    {"--simple-io", NULL, ALWAYS_SO},
    {"--no-context-shift", NULL, ALWAYS_SO},
    {"--warmup", NULL, NEVER_SO},
    {"--no-warmup", NULL, ALWAYS_SO},
    {"--color", NULL, "answers have no colours"},
    {"-co", NULL, "answers have no colours"},
    {"--log-disable", NULL, ALWAYS_SO},
    {"--prompt-cache", NULL, "what was read is kept within a chat, not on disk"},
    {"-hf", NULL, NO_MODEL},
    {"-hfr", NULL, NO_MODEL},
    {"--hf-repo", NULL, NO_MODEL},
    {"-mu", NULL, NO_MODEL},
    {"--model-url", NULL, NO_MODEL},
    {"--mmproj", NULL, TEXT_ONLY},
    {"--image", NULL, TEXT_ONLY},
    {"--lora", NULL, "adapters have to be merged into the model first"},
    {"-md", NULL, "there are no draft models"},
    {"--model-draft", NULL, "there are no draft models"},
    {"--numa", NULL, "numactl and taskset choose memory and cores"},
    {"-C", NULL, "numactl and taskset choose memory and cores"},
    {"--cpu-mask", NULL, "numactl and taskset choose memory and cores"},
    {"--kl-divergence", NULL, BY_ITSELF},
    {"--kl-divergence-base", NULL, "the reference is computed on the way, and needs no file"},
};

/* Cache types of others, and the one here that comes nearest. */
static const struct {
    const char *name, *ours;
} codecs[] = {
    {"bf16", "f16"},    {"fp16", "f16"},    {"half", "f16"},    {"fp32", "f32"},   {"float", "f32"},  {"q8", "q8_0"},
    {"q8_1", "q8_0"},   {"int8", "q8_0"},   {"fp8", "q8_0"},    {"q5_0", "q4_0h"}, {"q5_1", "q4_0h"}, {"q6_k", "q8_0"},
    {"q4_1", "q4_0h"},  {"q4", "q4_0h"},    {"int4", "q4_0h"},  {"fp4", "q4_0h"},  {"q4_k", "q4_0h"}, {"iq4_nl", "q4_0h"},
    {"mxfp4", "q4_0h"}, {"q3_k", "turbo3"}, {"q2_k", "turbo2"},
};

static bool has(const cli_spec *spec, const char *name) {
    for (const cli_opt *o = spec->opts; cli_opt_at(o); o++)
        if (cli_opt_shown(o) && !strcmp(o->name, name))
            return true;
    return false;
}

bool cli_foreign_option(const cli_spec *spec, const char *given, const char **ours, const char **why) {
    const size_t len = strcspn(given, "=");
    for (const struct foreign *f = options; f < options + sizeof options / sizeof *options; f++)
        if (strlen(f->name) == len && !memcmp(f->name, given, len)) {
            *ours = f->ours && has(spec, f->ours) ? f->ours : NULL;
            *why = f->why;
            if (*ours || *why)
                return true;
        }
    return false;
}

const char *cli_foreign_codec(const char *given) {
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (!strcasecmp(codecs[i].name, given))
            return codecs[i].ours;
    return NULL;
}
