/* kveval speed: tokens per second of prefill and of decode, behind a cache that already holds some tokens, and how far that is
 * from what the machine can do (probe.h, roofline.h; docs/performance.md says what every share means).
 */
#include "base/clock.h"
#include "base/format.h"
#include "cli/cli_cache.h"
#include "cli/cli_json.h"
#include "kveval/eval_cmd.h"
#include "measure/parallel.h"
#include "measure/probe.h"
#include "measure/roofline.h"
#include "measure/speed.h"

#include "kernels/kernels.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static const char tool[] = "kveval speed";

enum { MAX_DEPTHS = 32, MAX_PARALLEL = 512, MAX_REPS = 1000, DIGITS = 6 };

typedef struct options {
    const char *model, *depth, *parallel;
    int64_t prefill, decode, reps;
    cli_cache cache;
    cli_machine machine;
    bool json, paced;
} options;

typedef struct result {
    uint32_t depth;
    double prefill_tps, prefill_sd, decode_tps, decode_sd;
    size_t kv_bytes;
    roof_work prefill, decode; /* of all tokens timed */
    probe before, after;
} result;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to time"},
        {"--prefill", NULL, CLI_INT, "N", &o->prefill, 1, 1 << 20, "tokens of a prompt"},
        {"--decode", NULL, CLI_INT, "N", &o->decode, 1, 1 << 20, "tokens, one by one"},
        {"--depth", "-d", CLI_STR, "N,...", &o->depth, 0, 0, "tokens in the cache before, several by commas [0]"},
        {"--parallel", NULL, CLI_STR, "N,...", &o->parallel, 0, 0,
         "time so many sequences at once, in one workspace: total prefill and decode throughput"},
        {"--reps", NULL, CLI_INT, "N", &o->reps, 1, MAX_REPS, "repetitions (after one that does not count)"},
        {"--paced", NULL, CLI_FLAG, NULL, &o->paced, 0, 0,
         "one repetition for every line on stdin, a line of JSON for each, the first when ready: to take turns with other "
         "programs"},
        {.kind = CLI_HEADING, .help = "Cache setting"},
        CLI_CACHE_ROWS(&o->cache),
        {.kind = CLI_HEADING, .help = "Machine and output"},
        {"--wait", NULL, CLI_CHOICE, "auto|spin|sleep", &o->machine.wait, 0, 0,
         "how threads wait for each other: auto (as the load of the machine asks for), spin or sleep; to compare [auto]"},
        CLI_MACHINE_ROWS(&o->machine),
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0,
         "a JSON list on stdout, per depth: depth, prefill_tps, prefill_sd, decode_tps, decode_sd (tokens/s), kv_bytes, shares "
         "of what the machine can do, and the probes of that before and after; with --parallel: parallel, depth, prefill_tps, "
         "decode_tps, prefill_all_logits_tps, kv_bytes, rss"},
        {0},
    };
    return cli_parse(&(cli_spec){.tool = tool,
                                 .usage = "MODEL [options]",
                                 .summary = "Tokens per second of prefill (tokens of a prompt, many at a time) and of decode "
                                            "(one after the other), and their share of what this machine can do.",
                                 .examples = "  kveval speed packed.gguf --depth 0,4096\n"
                                             "  kveval speed packed.gguf --parallel 1,4,16 --depth 1024\n",
                                 .opts = opts,
                                 .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}},
                                 .n_required = 1},
                     argc, argv);
}

/* "1,2,4" */
static kv_status parse_list(const char *option, const char *s, long least, long most, uint32_t *out, size_t *n, kv_err *err) {
    const char *at = s;
    for (*n = 0; *n < MAX_DEPTHS; at++) {
        char *end;
        errno = 0;
        long v = strtol(at, &end, 10);
        if (end == at || errno || v < least || v > most || (*end && *end != ','))
            return kv_fail(err, KV_EINVAL, "%s: '%s' is not a list of whole numbers in %ld..%ld", option, s, least, most);
        out[(*n)++] = (uint32_t)v;
        at = end;
        if (!*end)
            return KV_OK;
    }
    return kv_fail(err, KV_EINVAL, "%s: more than %d numbers", option, MAX_DEPTHS);
}

static kv_status parse_lists(const options *o, uint32_t *depths, size_t *n, uint32_t *seqs, size_t *n_seqs, kv_err *err) {
    kv_status st = parse_list("--depth", o->depth, 0, 1 << 24, depths, n, err);
    if (!st && o->parallel)
        st = parse_list("--parallel", o->parallel, 1, MAX_PARALLEL, seqs, n_seqs, err);
    if (!st && o->paced && *n > 1)
        st = kv_fail(err, KV_EINVAL, "--paced: give one depth, not %zu", *n);
    if (!st && o->paced && o->parallel)
        st = kv_fail(err, KV_EINVAL, "--paced and --parallel are two different things; choose one");
    return st;
}

/* ---- measuring ---- */

static void mean_and_sd(const double *x, size_t n, double *mean, double *sd) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *sd = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
}

static kv_status count_work(const rt_model *m, const speed_cfg *c, result *r, kv_err *err) {
    rt_ctx_cfg cfg = c->ctx;
    kv_cache_cfg cc;
    cfg.n_ctx = c->depth + (c->prefill > c->decode ? c->prefill : c->decode);
    kv_status st = rt_cache_cfg_new(rt_model_hparams(m), &cfg, &cc, err);
    if (st)
        return st;
    if (!(st = roof_count(m, &cc, c->depth, c->prefill, false, &r->prefill, err)))
        st = roof_count(m, &cc, c->depth, c->decode, true, &r->decode, err);
    rt_cache_cfg_free(&cc);
    return st;
}

/* The machine is probed right before and right after: it is shared, and its limits drift. */
static kv_status time_depth(const options *o, const rt_model *m, const speed_cfg *cfg, result *r, kv_err *err) {
    double prefill[MAX_REPS], decode[MAX_REPS];
    speed_bench *b = NULL;
    *r = (result){.depth = cfg->depth};
    kv_status st = speed_new(m, cfg, &b, err);
    if (st)
        return st;
    r->kv_bytes = speed_kv_bytes(b);
    if ((st = count_work(m, cfg, r, err)) || (st = speed_once(b, &prefill[0], &decode[0], err)) || /* warms up */
        (st = probe_run(rt_model_exec(m), &r->before, err)))
        goto done;
    for (int64_t i = 0; i < o->reps && !st; i++)
        st = speed_once(b, &prefill[i], &decode[i], err);
    if (st || (st = probe_run(rt_model_exec(m), &r->after, err)))
        goto done;
    mean_and_sd(prefill, (size_t)o->reps, &r->prefill_tps, &r->prefill_sd);
    mean_and_sd(decode, (size_t)o->reps, &r->decode_tps, &r->decode_sd);
done:
    speed_free(b);
    return st;
}

/* ---- shares of the machine ---- */

typedef struct shares {
    double i8, f32; /* of each peak of vector instructions, in prefill; above 1 where something faster was used */
    double tiles;   /* the int8 products of the matrix unit's peak; 0: there is none */
    double prefill; /* of the time that prefill takes: what its arithmetic alone would take at the highest peaks */
    double read;    /* of the bandwidth, while decoding */
} shares;

static shares shares_of(const options *o, const result *r) {
    const probe p = probe_best(r->before, r->after);
    const double prefill_s = (double)o->prefill / r->prefill_tps, decode_s = (double)o->decode / r->decode_tps;
    shares s = {.i8 = r->prefill.i8 / prefill_s / p.i8,
                .f32 = r->prefill.f32 / prefill_s / p.f32,
                .tiles = p.tiles > 0 ? r->prefill.i8 / prefill_s / p.tiles : 0,
                .read = (r->decode.weights + r->decode.cache) / decode_s / p.read};
    s.prefill = (p.tiles > p.i8 ? s.tiles : s.i8) + s.f32;
    return s;
}

/* ---- saying it ---- */

static kv_status write_json(json_t *j, size_t flags, kv_err *err) {
    return cli_json_print(j, flags | JSON_REAL_PRECISION(DIGITS), err);
}

static json_t *probe_json(const probe *p) {
    return json_pack("{s:f, s:f, s:f, s:f}", "read_gb_s", p->read * 1e-9, "int8_gmac_s", p->i8 * 1e-9, "f32_gmac_s",
                     p->f32 * 1e-9, "amx_gmac_s", p->tiles * 1e-9);
}

static json_t *result_json(const options *o, const rt_exec *e, double load_s, const result *r) {
    const shares s = shares_of(o, r);
    return json_pack("{s:i, s:f, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, s:s, s:i, s:f}",
                     "depth", (int)r->depth, "prefill_tps", r->prefill_tps, "prefill_sd", r->prefill_sd, "decode_tps",
                     r->decode_tps, "decode_sd", r->decode_sd, "kv_bytes", (json_int_t)r->kv_bytes, "prefill_share", s.prefill,
                     "prefill_int8_share", s.i8, "prefill_f32_share", s.f32, "prefill_amx_share", s.tiles, "decode_read_share",
                     s.read, "prefill_int8_gmac", r->prefill.i8 * 1e-9, "prefill_f32_gmac", r->prefill.f32 * 1e-9,
                     "decode_weight_bytes", r->decode.weights / (double)o->decode, "decode_cache_bytes",
                     r->decode.cache / (double)o->decode, "probe_before", probe_json(&r->before), "probe_after",
                     probe_json(&r->after), "cpu", rt_cpu_name(e->k->isa), "threads", e->n_threads, "load_s", load_s);
}

static kv_status print_json(const options *o, const rt_exec *e, double load_s, const result *r, size_t n, kv_err *err) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, result_json(o, e, load_s, &r[i]))) {
            json_decref(list);
            list = NULL;
        }
    return write_json(list, JSON_INDENT(1), err);
}

static void print_row(const options *o, const result *r, bool first) {
    const shares s = shares_of(o, r);
    char bytes[24];
    if (first)
        printf("          prefill %-6lld    of peak             decode %-6lld     of\n"
               "   depth  tokens/s          int8    AMX   f32  tokens/s    bandwidth  cache\n",
               (long long)o->prefill, (long long)o->decode);
    printf("%8u %8.1f ± %-6.1f %4.0f %% %4.0f %% %3.0f %% %8.1f ± %-6.1f %3.0f %%  %s\n", r->depth, r->prefill_tps,
           r->prefill_sd, 100 * s.i8, 100 * s.tiles, 100 * s.f32, r->decode_tps, r->decode_sd, 100 * s.read,
           format_bytes((double)r->kv_bytes, bytes));
    fflush(stdout);
}

static void print_probes(const rt_exec *e, double load_s, const result *r, size_t n) {
    printf("\nThe machine (%s, %d threads), before and after each depth; shares are of the better of the two:\n"
           "   depth      reads GB/s        int8 G/s         AMX G/s         f32 G/s of multiply-adds\n",
           rt_cpu_name(e->k->isa), e->n_threads);
    for (size_t i = 0; i < n; i++)
        printf("%8u %7.1f %7.1f  %7.0f %7.0f %7.0f %7.0f %7.0f %7.0f\n", r[i].depth, r[i].before.read * 1e-9,
               r[i].after.read * 1e-9, r[i].before.i8 * 1e-9, r[i].after.i8 * 1e-9, r[i].before.tiles * 1e-9,
               r[i].after.tiles * 1e-9, r[i].before.f32 * 1e-9, r[i].after.f32 * 1e-9);
    printf("Prefill: int8 multiply-adds of the weight matrices, of the peaks of vector instructions and of the matrix unit (0: "
           "there is none); f32 ones of\nattention, of the vector peak. Decode: bytes of weights and encoded cache.\nThe model "
           "was loaded in %.2f s.\n",
           load_s);
}

/* ---- --paced ---- */

static kv_status serve(const rt_model *m, const speed_cfg *cfg, double load_s, kv_err *err) {
    const rt_exec *e = rt_model_exec(m);
    speed_bench *b;
    double prefill, decode;
    kv_status st = speed_new(m, cfg, &b, err);
    if (st)
        return st;
    st = write_json(json_pack("{s:i, s:I, s:s, s:i, s:f}", "depth", (int)cfg->depth, "kv_bytes", (json_int_t)speed_kv_bytes(b),
                              "cpu", rt_cpu_name(e->k->isa), "threads", e->n_threads, "load_s", load_s),
                    JSON_COMPACT, err);
    for (char line[256]; !st && fgets(line, sizeof line, stdin);)
        if (!(st = speed_once(b, &prefill, &decode, err)))
            st = write_json(json_pack("{s:f, s:f}", "prefill_tps", prefill, "decode_tps", decode), JSON_COMPACT, err);
    speed_free(b);
    return st;
}

/* ---- --parallel ---- */

static json_t *parallel_json(uint32_t depth, const parallel_result *r) {
    return json_pack("{s:i, s:i, s:f, s:f, s:f, s:I, s:I}", "parallel", (int)r->n, "depth", (int)depth, "prefill_tps",
                     r->prefill_tps, "decode_tps", r->decode_tps, "prefill_all_logits_tps", r->all_tps, "kv_bytes",
                     (json_int_t)r->kv_bytes, "rss", (json_int_t)r->rss);
}

static void print_parallel(uint32_t depth, const parallel_result *r, bool first) {
    char bytes[24], rss[24];
    if (first)
        printf("sequences    depth   prefill    decode   of a prefill with all logits   caches      resident\n");
    printf("%9u %8u %9.1f %9.1f %9.1f  %3.0f %%              %-11s %s\n", r->n, depth, r->prefill_tps, r->decode_tps,
           r->all_tps, 100 * r->decode_tps / r->all_tps, format_bytes((double)r->kv_bytes, bytes),
           format_bytes((double)r->rss, rss));
    fflush(stdout);
}

static kv_status run_parallel(const options *o, const cli_model *m, const rt_ctx_cfg *ctx, const uint32_t *depths, size_t n,
                              const uint32_t *seqs, size_t n_seqs, kv_err *err) {
    parallel_cfg cfg = {.ctx = *ctx, .prefill = (uint32_t)o->prefill, .decode = (uint32_t)o->decode, .reps = (uint32_t)o->reps};
    json_t *list = json_array();
    kv_status st = KV_OK;
    for (size_t i = 0; i < n * n_seqs && !st; i++) {
        parallel_result r;
        cfg.depth = depths[i / n_seqs];
        if ((st = parallel_run(m->model, &cfg, seqs[i % n_seqs], cli_go_on, NULL, &r, err)))
            break;
        if (!o->json)
            print_parallel(cfg.depth, &r, i == 0);
        else if (json_array_append_new(list, parallel_json(cfg.depth, &r)))
            st = kv_fail(err, KV_ENOMEM, "out of memory for the result");
    }
    if (!st && o->json)
        return write_json(list, JSON_INDENT(1), err);
    json_decref(list);
    return st;
}

/* Before any of them is timed: caches of all depths can be had. */
static kv_status check_depths(const options *o, const rt_model *m, const rt_ctx_cfg *ctx, const uint32_t *depths, size_t n,
                              kv_err *err) {
    const int64_t more = o->prefill > o->decode ? o->prefill : o->decode;
    kv_status st = KV_OK;
    for (size_t i = 0; i < n && !st; i++) {
        rt_ctx_cfg cfg = *ctx;
        kv_cache_cfg cache;
        kv_cache_info info;
        kv_err why = {0};
        cfg.n_ctx = depths[i] + (uint32_t)more;
        if (!(st = rt_cache_cfg_new(rt_model_hparams(m), &cfg, &cache, &why)))
            st = kv_cache_size(&cache, &cfg.n_ctx, 1, &info, &why);
        rt_cache_cfg_free(&cache);
        if (st)
            kv_fail(err, st, "--depth %u: %s", depths[i], why.msg);
    }
    return st;
}

int eval_cmd_speed(int argc, char **argv) {
    options o = {.depth = "0", .prefill = 512, .decode = 64, .reps = 5, .cache = CLI_CACHE_DEFAULT};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    cli_model m = {0};
    uint32_t depths[MAX_DEPTHS], seqs[MAX_DEPTHS];
    result results[MAX_DEPTHS];
    size_t n = 0, n_seqs = 0;
    kv_status st = parse_lists(&o, depths, &n, seqs, &n_seqs, &err);
    const double started = clock_now();
    if (st || (st = cli_model_open(tool, o.model, o.cache.profile, &o.machine, false, o.json || o.paced, &m, &err)))
        goto done;
    const double load_s = clock_now() - started;
    rt_ctx_cfg ctx;
    if ((st = cli_cache_cfg(&o.cache, m.profile, &ctx, &err)) || (st = check_depths(&o, m.model, &ctx, depths, n, &err)))
        goto done;
    if (o.parallel) {
        st = run_parallel(&o, &m, &ctx, depths, n, seqs, n_seqs, &err);
        goto done;
    }
    speed_cfg cfg = {.ctx = ctx, .prefill = (uint32_t)o.prefill, .decode = (uint32_t)o.decode, .progress = cli_go_on};
    for (size_t i = 0; i < n && !st; i++) {
        cfg.depth = depths[i];
        if (o.paced)
            st = serve(m.model, &cfg, load_s, &err);
        else if (!(st = time_depth(&o, m.model, &cfg, &results[i], &err)) && !o.json)
            print_row(&o, &results[i], i == 0);
    }
    if (!st && o.json && !o.paced)
        st = print_json(&o, rt_model_exec(m.model), load_s, results, n, &err);
    else if (!st && !o.paced)
        print_probes(rt_model_exec(m.model), load_s, results, n);
done:
    cli_model_close(&m);
    return st ? cli_report(tool, &err) : CLI_OK;
}
