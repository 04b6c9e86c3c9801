/* kveval ppl: what a cache setting loses on a text. */
#include "atomic_file.h"
#include "cli_cache.h"
#include "eval.h"
#include "eval_cmd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static const char tool[] = "kveval ppl";

enum { MAX_TEXT = 1 << 30, DIGITS = 8 };

typedef struct options {
    const char *model, *text;
    int64_t ctx, chunks;
    cli_cache cache;
    cli_machine machine;
    bool fast, json;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to measure on"},
        {"--text", "-f", CLI_STR, "FILE", &o->text, 0, 0, "text to read"},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 4, 1 << 24, "tokens in a chunk; the second half of each is scored"},
        {"--chunks", NULL, CLI_INT, "N", &o->chunks, 0, 1 << 30, "chunks to read; 0: all whole ones"},
        {.kind = CLI_HEADING, .help = "Cache setting"},
        CLI_CACHE_ROWS(&o->cache),
        {.kind = CLI_HEADING, .help = "Machine and output"},
        CLI_MACHINE_ROWS(&o->machine),
        {"--fast", NULL, CLI_FLAG, NULL, &o->fast, 0, 0,
         "int8 matrix products, as kvrun has them, instead of exact ones: faster, and noise of their own in every figure"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0,
         "one JSON object on stdout: ppl, ppl_se, kld, kld_se (nats), top1 and dppl_percent (percent), bits_k, bits_v, "
         "kv_bytes, "
         "kv_bytes_f16, tokens (scored), seconds, and the setting"},
        {0},
    };
    return cli_parse(
        &(cli_spec){
            .tool = tool,
            .usage = "MODEL --text FILE [options]",
            .summary =
                "Perplexity by llama.cpp's protocol, and KL divergence from the same model with an f32 cache on the same "
                "tokens. Every attended token is read from the cache as a streaming decoder would see it.",
            .examples = "  kveval ppl packed.gguf --text wiki.txt --chunks 4\n"
                        "  kveval ppl model.gguf --text wiki.txt --chunks 4 -ctk q4_0 -ctv q4_0\n",
            .opts = opts,
            .positional = &o->model,
            .n_positional = 1,
            .n_required = 1},
        argc, argv);
}

static bool show_progress(void *user, double done) {
    cli_progress_set(user, done);
    return !cli_interrupted();
}

/* JSON has no NaN. */
static json_t *number(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static kv_status print_json(const options *o, const eval_cfg *cfg, const eval_result *r, kv_err *err) {
    json_t *j = json_object();
    const struct {
        const char *key;
        json_t *value;
    } fields[] = {
        {"ppl", number(r->ppl)},
        {"ppl_se", number(r->ppl_se)},
        {"ppl_base", number(r->ppl_base)},
        {"ppl_base_se", number(r->ppl_base_se)},
        {"kld", number(r->kld)},
        {"kld_se", number(r->kld_se)},
        {"top1", number(r->top1)},
        {"dppl_percent", number(r->dppl_percent)},
        {"dppl_se", number(r->dppl_se)},
        {"bits_k", number(r->bits_k)},
        {"bits_v", number(r->bits_v)},
        {"kv_bytes", json_integer((json_int_t)r->kv_bytes)},
        {"kv_bytes_f16", json_integer((json_int_t)r->kv_bytes_f16)},
        {"tokens", json_integer((json_int_t)r->tokens)},
        {"seconds", number(r->seconds)},
        {"ctx", json_integer(cfg->ctx)},
        {"chunks", json_integer(r->chunks)},
        {"exact", json_boolean(!o->fast)},
    };
    bool failed = !j;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (json_object_set_new(j, fields[i].key, fields[i].value))
            failed = true;
    kv_status st = KV_OK;
    if (failed)
        st = kv_fail(err, KV_ENOMEM, "out of memory for the result");
    else if (json_dumpf(j, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS)) || putchar('\n') == EOF || fflush(stdout))
        st = kv_fail(err, KV_EIO, "cannot write the result");
    json_decref(j);
    return st;
}

static void print_table(const eval_result *r) {
    char bytes[24], f16[24];
    printf("perplexity      %9.4f ± %.4f\n", r->ppl, r->ppl_se);
    printf("  f32 cache     %9.4f ± %.4f\n", r->ppl_base, r->ppl_base_se);
    printf("  difference   %+10.3f ± %.3f %%\n", r->dppl_percent, r->dppl_se);
    printf("KL divergence   %9.6f ± %.6f nats\n", r->kld, r->kld_se);
    printf("same top token  %9.2f %%\n", r->top1);
    printf("bits per key    %9.3f\n", r->bits_k);
    printf("bits per value  %9.3f\n", r->bits_v);
    printf("cache           %9s (f16: %s)\n", cli_bytes((double)r->kv_bytes, bytes), cli_bytes((double)r->kv_bytes_f16, f16));
    printf("scored          %9zu tokens in %u chunks, %.1f s\n", r->tokens, r->chunks, r->seconds);
}

static kv_status measure(const options *o, const cli_model *m, const eval_cfg *cfg, eval_result *r, kv_err *err) {
    char *text = NULL;
    int32_t *ids = NULL;
    size_t len, n;
    cli_progress bar;
    kv_status st = file_read(o->text, MAX_TEXT, &text, &len, err);
    if (st || (st = tok_encode(rt_model_tok(m->model), text, len, TOK_BOS, &ids, &n, err)))
        goto done;
    cli_progress_start(&bar, "measuring", false);
    const eval_setting setting = {NULL, cli_cache_cfg(&o->cache, m->profile)};
    st = eval_run(m->model, cfg, &setting, 1, ids, n, show_progress, &bar, r, err);
    cli_progress_end(&bar);
done:
    free(text);
    free(ids);
    return st;
}

int eval_cmd_ppl(int argc, char **argv) {
    options o = {.ctx = 1024, .cache = CLI_CACHE_DEFAULT};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    kv_status st = KV_OK;
    cli_model m = {0};
    eval_result r;
    if (!o.text)
        st = kv_fail(&err, KV_EINVAL, "--text FILE is missing: which text to measure on");
    if (st ||
        (st = cli_model_open(tool, o.model, o.cache.profile, o.machine.cpu, (int)o.machine.threads, !o.fast, o.json, &m, &err)))
        goto done;
    const eval_cfg cfg = {.ctx = (uint32_t)o.ctx, .chunks = (uint32_t)o.chunks, .baseline = KV_F32};
    if ((st = measure(&o, &m, &cfg, &r, &err)))
        goto done;
    if (o.json)
        st = print_json(&o, &cfg, &r, &err);
    else
        print_table(&r);
done:
    cli_model_close(&m);
    return st ? cli_report(tool, &err) : CLI_OK;
}
