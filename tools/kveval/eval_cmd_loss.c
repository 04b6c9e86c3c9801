/* kveval ppl and kveval kld: what one cache setting loses on a text. The same measurement, printed from two ends. */
#include "base/format.h"
#include "cli/cli_cache.h"
#include "cli/cli_json.h"
#include "kveval/eval_cmd.h"
#include "measure/eval_io.h"

#include <stdio.h>

enum { DIGITS = 8 };

typedef struct options {
    const char *tool, *model, *text;
    int64_t ctx, chunks;
    int baseline;
    cli_cache cache;
    cli_machine machine;
    bool parse_special, fast, json, quiet;
    uint32_t made_for; /* window of the profile, where a narrower one was asked for; else 0 */
} options;

static int parse(options *o, const cli_spec *about, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to measure on"},
        {"--text", "-f", CLI_IN, "FILE", &o->text, 0, 0, "text to read"},
        {"--parse-special", NULL, CLI_FLAG, NULL, &o->parse_special, 0, 0, CLI_PARSE_SPECIAL},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 4, 1 << 24, "tokens in a chunk; the second half of each is scored"},
        {"--chunks", NULL, CLI_INT, "N", &o->chunks, 0, 1 << 30, "chunks to read; 0: all whole ones"},
        {.kind = CLI_HEADING, .help = "Cache setting"},
        CLI_CACHE_ROWS(&o->cache),
        {"--baseline", NULL, CLI_CODEC, "TYPE", &o->baseline, 0, 0,
         "compare with the same model and a cache of this type (not a calibrated one)"},
        {.kind = CLI_HEADING, .help = "Machine and output"},
        CLI_MACHINE_ROWS(&o->machine),
        {"--fast", NULL, CLI_FLAG, NULL, &o->fast, 0, 0,
         "int8 matrix products, as kvrun has them, instead of exact ones: faster, and noise of their own in every figure"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0,
         "one JSON object on stdout: kld, kld_se, kld_p50 to kld_p99_9 and kld_max (nats), top1 and dppl_percent (percent), "
         "ppl, ppl_se, bits_k, bits_v, kv_bytes, kv_bytes_f16, held (tokens), reads_percent, tokens (scored), seconds, and how "
         "it was measured"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {0},
    };
    cli_spec spec = *about;
    spec.usage = "MODEL --text FILE [options]";
    spec.opts = opts;
    spec.args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}};
    spec.n_required = 1;
    o->tool = spec.tool;
    return cli_parse(&spec, argc, argv);
}

static kv_status print_json(const options *o, const eval_result *r, kv_err *err) {
    json_t *j = json_object();
    if (!j || !eval_set_figures(j, r) || json_object_set_new(j, "ctx", json_integer(o->ctx)) ||
        json_object_set_new(j, "baseline", json_string(kv_codec_names[o->baseline].name)) ||
        json_object_set_new(j, "exact", json_boolean(!o->fast)) ||
        json_object_set_new(j, "parse_special", json_boolean(o->parse_special))) {
        json_decref(j);
        j = NULL;
    }
    return cli_json_print(j, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS), err);
}

static void print_perplexity(const options *o, const eval_result *r) {
    printf("perplexity      %9.4f ± %.4f\n", r->ppl, r->ppl_se);
    printf("  %-4s cache    %9.4f ± %.4f\n", kv_codec_names[o->baseline].name, r->ppl_base, r->ppl_base_se);
    printf("  difference   %+10.3f ± %.3f %%\n", r->dppl_percent, r->dppl_se);
}

static void print_divergence(const eval_result *r, bool percentiles) {
    printf("KL divergence   %9.6f ± %.6f nats\n", r->kld, r->kld_se);
    const struct {
        const char *name;
        double value;
    } rows[] = {{"50 %", r->kld_p50}, {"90 %", r->kld_p90}, {"99 %", r->kld_p99}, {"99.9 %", r->kld_p999}, {"all", r->kld_max}};
    for (size_t i = 0; percentiles && i < sizeof rows / sizeof *rows; i++)
        printf("  %6s within %9.6f\n", rows[i].name, rows[i].value);
    printf("same top token  %9.2f %%\n", r->top1);
}

static void print_cost(const options *o, const eval_result *r) {
    char bytes[24], f16[24];
    if (o->made_for)
        printf("window          %9lld tokens; the profile was made for %u, and loses less with those\n",
               (long long)o->cache.window, o->made_for);
    printf("bits per key    %9.3f\n", r->bits_k);
    printf("bits per value  %9.3f\n", r->bits_v);
    printf("cache           %9s (f16: %s)\n", format_bytes((double)r->kv_bytes, bytes),
           format_bytes((double)r->kv_bytes_f16, f16));
    if (r->reads_percent < 99.5)
        printf("kept            %9.0f tokens; %.0f %% of the reads of attention\n", r->held, r->reads_percent);
    if (r->newest > 0)
        printf("of a budget     %9.0f sinks, %.0f newest, %.0f chosen by the policy\n", r->sinks, r->newest, r->chosen);
    printf("scored          %9zu tokens in %u chunks, %.1f s\n", r->tokens, r->chunks, r->seconds);
}

static kv_status measure(options *o, eval_result *r, kv_err *err) {
    const eval_cfg cfg = {.ctx = (uint32_t)o->ctx, .chunks = (uint32_t)o->chunks, .baseline = o->baseline};
    cli_model m = {0};
    eval_text text = {0};
    cli_progress bar;
    if (!o->text)
        return kv_fail(err, KV_EINVAL, "--text FILE is missing: which text to measure on");
    kv_status st = cli_model_open(o->tool, o->model, o->cache.profile, &o->machine, !o->fast, o->json, &m, err);
    eval_setting setting = {0};
    if (st || (st = cli_cache_cfg(&o->cache, m.profile, &setting.cache, err)) ||
        (st = eval_text_load(m.model, o->text, o->parse_special, &text, err)))
        goto done;
    cli_note_specials(o->tool, m.model, o->text, o->parse_special);
    o->made_for = cli_note_window(o->tool, m.profile, o->cache.window);
    cli_progress_start(&bar, "measuring", o->quiet);
    st = eval_run(m.model, &cfg, &setting, 1, text.ids, text.n, cli_progress_show, &bar, r, err);
    cli_progress_end(&bar);
done:
    eval_text_free(&text);
    cli_model_close(&m);
    return st;
}

static int command(const cli_spec *about, bool divergence_first, int argc, char **argv) {
    options o = {.ctx = 1024, .baseline = KV_F32, .cache = CLI_CACHE_DEFAULT};
    int code = parse(&o, about, argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    eval_result r;
    kv_status st = measure(&o, &r, &err);
    if (!st && o.json)
        st = print_json(&o, &r, &err);
    else if (!st) {
        if (divergence_first)
            print_divergence(&r, true);
        print_perplexity(&o, &r);
        if (!divergence_first)
            print_divergence(&r, false);
        print_cost(&o, &r);
    }
    return st ? cli_report(o.tool, &err) : CLI_OK;
}

int eval_cmd_ppl(int argc, char **argv) {
    static const cli_spec about = {
        .tool = "kveval ppl",
        .summary = "Perplexity by llama.cpp's protocol, and KL divergence from the same model with an f32 cache on the same "
                   "tokens. Every attended token is read from the cache as a streaming decoder would see it.",
        .examples = "  kveval ppl packed.gguf --text wiki.txt --chunks 4\n"
                    "  kveval ppl model.gguf --text wiki.txt --chunks 4 -ctk q4_0 -ctv q4_0\n"};
    return command(&about, false, argc, argv);
}

int eval_cmd_kld(int argc, char **argv) {
    static const cli_spec about = {
        .tool = "kveval kld",
        .summary = "KL divergence of the next-token distribution from the same model with another cache (f32 unless --baseline "
                   "says otherwise) on the same tokens: mean with its standard error, percentiles over tokens, and the "
                   "perplexity that it comes to. Every attended token is read from the cache as a streaming decoder would see "
                   "it.",
        .examples = "  kveval kld packed.gguf --text wiki.txt --chunks 8 --window 0\n"
                    "  kveval kld model.gguf --text wiki.txt --chunks 8 -ctk q8_0 -ctv q4_0 --baseline f16\n"};
    return command(&about, true, argc, argv);
}
