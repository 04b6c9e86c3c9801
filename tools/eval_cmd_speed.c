/* kveval speed: tokens per second of reading a prompt and of decoding, behind a cache that already holds some tokens.
 *
 * Tokens are ordinary ones in a fixed pattern: the time of a forward pass does not depend on which they are.
 */
#include "cli_cache.h"
#include "eval_cmd.h"
#include "model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static const char tool[] = "kveval speed";

enum { MAX_DEPTHS = 32, DIGITS = 6 };

typedef struct options {
    const char *model, *depth;
    int64_t prefill, decode, reps;
    cli_cache cache;
    cli_machine machine;
    bool json;
} options;

typedef struct result {
    uint32_t depth;
    double prefill_tps, prefill_sd, decode_tps, decode_sd;
    size_t kv_bytes;
} result;

typedef struct bench {
    rt_ctx *ctx;
    uint32_t n_vocab;
    float *logits;
    int32_t *ids; /* (most tokens) */
    double *tps;  /* (reps) */
} bench;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to time"},
        {"--prefill", NULL, CLI_INT, "N", &o->prefill, 1, 1 << 20, "tokens of prompt"},
        {"--decode", NULL, CLI_INT, "N", &o->decode, 1, 1 << 20, "tokens of answer, one by one"},
        {"--depth", "-d", CLI_STR, "N,...", &o->depth, 0, 0, "tokens in the cache before, several by commas [0]"},
        {"--reps", NULL, CLI_INT, "N", &o->reps, 1, 1000, "repetitions (after one that does not count)"},
        {.kind = CLI_HEADING, .help = "Cache setting"},
        CLI_CACHE_ROWS(&o->cache),
        {.kind = CLI_HEADING, .help = "Machine and output"},
        CLI_MACHINE_ROWS(&o->machine),
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0,
         "a JSON list on stdout, per depth: depth, prefill_tps, prefill_sd, decode_tps, decode_sd (tokens/s), kv_bytes"},
        {0},
    };
    return cli_parse(&(cli_spec){.tool = tool,
                                 .usage = "MODEL [options]",
                                 .summary = "Tokens per second of reading a prompt (prefill) and of answering (decode).",
                                 .examples = "  kveval speed packed.gguf --depth 0,4096\n",
                                 .opts = opts,
                                 .positional = &o->model,
                                 .n_positional = 1,
                                 .n_required = 1},
                     argc, argv);
}

static kv_status parse_depths(const char *s, uint32_t *depths, size_t *n, kv_err *err) {
    const char *at = s;
    for (*n = 0; *n < MAX_DEPTHS; at++) {
        char *end;
        errno = 0;
        long v = strtol(at, &end, 10);
        if (end == at || errno || v < 0 || v > 1 << 24 || (*end && *end != ','))
            return kv_fail(err, KV_EINVAL, "--depth: '%s' is not a list of whole numbers in 0..%d", s, 1 << 24);
        depths[(*n)++] = (uint32_t)v;
        at = end;
        if (!*end)
            return KV_OK;
    }
    return kv_fail(err, KV_EINVAL, "--depth: more than %d depths", MAX_DEPTHS);
}

/* The context holds exactly the first `depth` tokens afterwards; untimed. */
static kv_status go_to_depth(bench *b, uint32_t depth, kv_err *err) {
    if (rt_ctx_len(b->ctx) >= depth && !kv_cache_truncate(rt_ctx_cache(b->ctx), depth, NULL))
        return KV_OK;
    rt_ctx_clear(b->ctx);
    return rt_prefill(b->ctx, b->ids, depth, NULL, err);
}

/* Time n tokens behind `depth` others: in one piece, or one by one. */
static kv_status time_once(bench *b, uint32_t depth, uint32_t n, bool one_by_one, double *tps, kv_err *err) {
    kv_status st = go_to_depth(b, depth, err);
    const double started = cli_now();
    if (!one_by_one && !st)
        st = rt_prefill(b->ctx, b->ids + depth, n, b->logits, err);
    for (uint32_t i = 0; one_by_one && i < n && !st; i++)
        st = rt_forward(b->ctx, b->ids + depth + i, 1, 1, b->logits, err);
    *tps = n / (cli_now() - started);
    if (!st && cli_interrupted())
        st = kv_fail(err, KV_ECANCEL, "stopped while timing");
    return st;
}

static kv_status time_many(bench *b, uint32_t depth, uint32_t n, bool one_by_one, size_t reps, double *mean, double *sd,
                           kv_err *err) {
    double warm_up, sum = 0, squares = 0;
    kv_status st = time_once(b, depth, n, one_by_one, &warm_up, err);
    for (size_t i = 0; i < reps && !st; i++) {
        st = time_once(b, depth, n, one_by_one, &b->tps[i], err);
        sum += b->tps[i];
    }
    *mean = sum / (double)reps;
    for (size_t i = 0; i < reps; i++)
        squares += (b->tps[i] - *mean) * (b->tps[i] - *mean);
    *sd = reps > 1 ? sqrt(squares / (double)(reps - 1)) : 0;
    return st;
}

static kv_status time_depth(const options *o, const cli_model *m, uint32_t depth, result *r, kv_err *err) {
    const uint32_t more = (uint32_t)(o->prefill > o->decode ? o->prefill : o->decode), n = depth + more;
    bench b = {.n_vocab = rt_model_hparams(m->model)->n_vocab};
    rt_ctx_cfg cfg = cli_cache_cfg(&o->cache, m->profile);
    cfg.n_ctx = n;
    kv_status st = rt_ctx_new(m->model, &cfg, &b.ctx, err);
    if (st)
        return st;
    b.logits = malloc(b.n_vocab * sizeof *b.logits);
    b.ids = malloc(n * sizeof *b.ids);
    b.tps = calloc((size_t)o->reps, sizeof *b.tps);
    if (!b.logits || !b.ids || !b.tps) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %u tokens", n);
        goto done;
    }
    for (uint32_t i = 0; i < n; i++)
        b.ids[i] = (int32_t)((i * 37u + 11u) % (b.n_vocab < 1000 ? b.n_vocab : 1000));
    *r = (result){.depth = depth, .kv_bytes = kv_cache_get_info(rt_ctx_cache(b.ctx)).bytes};
    st = time_many(&b, depth, (uint32_t)o->prefill, false, (size_t)o->reps, &r->prefill_tps, &r->prefill_sd, err);
    if (!st)
        st = time_many(&b, depth, (uint32_t)o->decode, true, (size_t)o->reps, &r->decode_tps, &r->decode_sd, err);
done:
    rt_ctx_free(b.ctx);
    free(b.logits);
    free(b.ids);
    free(b.tps);
    return st;
}

static kv_status print_json(const result *r, size_t n, kv_err *err) {
    json_t *list = json_array();
    kv_status st = KV_OK;
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list,
                                  json_pack("{s:i, s:f, s:f, s:f, s:f, s:I}", "depth", (int)r[i].depth, "prefill_tps",
                                            r[i].prefill_tps, "prefill_sd", r[i].prefill_sd, "decode_tps", r[i].decode_tps,
                                            "decode_sd", r[i].decode_sd, "kv_bytes", (json_int_t)r[i].kv_bytes)))
            st = kv_fail(err, KV_ENOMEM, "out of memory for the result");
    if (!st &&
        (json_dumpf(list, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS)) || putchar('\n') == EOF || fflush(stdout)))
        st = kv_fail(err, KV_EIO, "cannot write the result: %m");
    json_decref(list);
    return st;
}

static void print_row(const options *o, const result *r, bool first) {
    char bytes[24];
    if (first)
        printf("   depth  prefill %-5lld tokens/s    decode %-5lld tokens/s    cache\n", (long long)o->prefill,
               (long long)o->decode);
    printf("%8u  %14.1f ± %-8.1f  %13.1f ± %-8.1f  %s\n", r->depth, r->prefill_tps, r->prefill_sd, r->decode_tps, r->decode_sd,
           cli_bytes((double)r->kv_bytes, bytes));
    fflush(stdout);
}

int eval_cmd_speed(int argc, char **argv) {
    options o = {.depth = "0", .prefill = 512, .decode = 64, .reps = 5, .cache = CLI_CACHE_DEFAULT};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    cli_model m = {0};
    uint32_t depths[MAX_DEPTHS];
    result results[MAX_DEPTHS];
    size_t n = 0;
    kv_status st = parse_depths(o.depth, depths, &n, &err);
    if (st ||
        (st = cli_model_open(tool, o.model, o.cache.profile, o.machine.cpu, (int)o.machine.threads, false, o.json, &m, &err)))
        goto done;
    for (size_t i = 0; i < n; i++) {
        if ((st = time_depth(&o, &m, depths[i], &results[i], &err)))
            goto done;
        if (!o.json)
            print_row(&o, &results[i], i == 0);
    }
    if (o.json)
        st = print_json(results, n, &err);
done:
    cli_model_close(&m);
    return st ? cli_report(tool, &err) : CLI_OK;
}
