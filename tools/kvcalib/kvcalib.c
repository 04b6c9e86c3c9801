/* kvcalib: measure a model on text and write the compression profile of its KV cache. */
#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/format.h"
#include "calibrate/calibrate.h"
#include "cli/cli_cache.h"
#include "cli/cli_json.h"
#include "cli/cli_paths.h"
#include "cli/cli_profile.h"
#include "kvcalib/calib_facts.h"
#include "report/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

static const char tool[] = "kvcalib";

enum { DIGITS = 6, MOST_WINDOW = 1 << 20 };

typedef struct options {
    const char *model, *out, *report;
    cli_strs text;
    int64_t ctx, chunks, frame, seed, window, sinks;
    double bits, kld;
    int64_t fit_ctx, facts;
    const char *fit_mem, *preset, *budget_by, *windows, *fold_for, *fold_rotation;
    calibrate_window narrower[PROF_MAX_WINDOWS]; /* of --windows, all but the widest, falling */
    uint32_t n_narrower;
    int evict;
    prof_evict keep;
    size_t fit_bytes;
    bool by_entropy;
    cli_machine machine;
    bool parse_special, no_measure, resume, json, quiet;
    char *kept; /* the file that --resume goes on from; or NULL */
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to write"},
        {"--out", "-o", CLI_OUT, "FILE", &o->out, 0, 0, "the profile (YAML)"},
        {"--report", NULL, CLI_OUT, "FILE", &o->report, 0, 0, "a page about it with charts (HTML that needs nothing else)"},
        {"--preset", "-p", CLI_PROFILE, "NAME", &o->preset, 0, 0,
         "aim, window and sinks of a preset: lossless, balanced, small, tiny, or a profile file with `aim:` (default: "
         "balanced)"},
        {"--bits", "-b", CLI_REAL, "B", &o->bits, CALIBRATE_LEAST_BITS, CALIBRATE_MOST_BITS,
         "aim: true bits per number of the cache, gains included"},
        {"--kld", NULL, CLI_REAL, "D", &o->kld, 1e-6, 10,
         "aim: the smallest cache that stays within this KL divergence (nats) on held-out text; measured, takes several "
         "minutes"},
        {"--fit-ctx", NULL, CLI_INT, "N", &o->fit_ctx, 1, 1 << 24, "aim: the best cache of which N tokens fit into --fit-mem"},
        {"--fit-mem", NULL, CLI_STR, "SIZE", &o->fit_mem, 0, 0, "memory for --fit-ctx tokens, as 512M or 1.5G"},
        {"--window", NULL, CLI_INT, "N", &o->window, 0, MOST_WINDOW, "newest tokens that stay in f16"},
        {"--windows", NULL, CLI_STR, "N,N,...", &o->windows, 0, 0,
         "make the profile for several such windows, as 0,128: it holds transforms for each, and those for the widest that is "
         "no "
         "wider than the cache's are taken; each takes as much time again, and as many bytes"},
        {"--sinks", NULL, CLI_INT, "N", &o->sinks, 0, 1 << 16, "first tokens that stay in f16"},
        {"--frame", NULL, CLI_INT, "N", &o->frame, 0, 1 << 20,
         "store the keys of each run of N positions as if it started the text, so that one transform fits all positions; a "
         "multiple of 64; 0: off (default: 1024 with a window, else 256)"},
        {.kind = CLI_HEADING, .help = "Which tokens to keep of a long context"},
        {"--budget", NULL, CLI_BUDGET, "N|P%", &o->keep.budget, 0, 0,
         "tokens that a head keeps on average, or a share of the context; finds out how much each head should get of it"},
        {"--budget-by", NULL, CLI_CHOICE, "loss|entropy", &o->budget_by, 0, 0,
         "loss: what each head loses without the others, measured on long texts (default); entropy: how wide each layer "
         "attends"},
        {"--evict", NULL, CLI_EVICT, "POLICY", &o->evict, 0, 0,
         "how a cache with this profile chooses, with --budget (default: expected); none: heads get their budgets, but "
         "everything "
         "is kept unless a budget is asked for when the model runs"},
        {.kind = CLI_HEADING, .help = "For other runtimes"},
        {"--fold-for", NULL, CLI_CHOICE, "q4_0|q4_1|q5_0|q5_1|iq4_nl|q8_0", &o->fold_for, 0, 0,
         "also find scales of keys that kvpack --fold writes into the weights, so that such a cache loses less in any program "
         "that runs the file. Takes minutes more"},
        {"--fold-rotation", NULL, CLI_CHOICE, "off|on|both", &o->fold_rotation, 0, 0,
         "whether those programs rotate heads before they store them, as llama.cpp does by default since April 2026 (default: "
         "both)"},
        {.kind = CLI_HEADING, .help = "What to measure on"},
        {"--text", "-f", CLI_INS, "FILE...", &o->text, 0, 0,
         "calibrate on these files, joined; the last 15 % are held out to measure on (without it: text built in)"},
        {"--parse-special", NULL, CLI_FLAG, NULL, &o->parse_special, 0, 0, CLI_PARSE_SPECIAL},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 16, 1 << 20,
         "tokens in a chunk of text (default: 2048, fewer where model or text are short)"},
        {"--chunks", NULL, CLI_INT, "N", &o->chunks, 0, 1 << 20, "chunks to calibrate on; 0: enough for 12,288 tokens"},
        {"--seed", "-s", CLI_INT, "N", &o->seed, 0, 4294967295.0, "chooses the chunks where the text has more"},
        {"--facts", NULL, CLI_INT, "N", &o->facts, 0, 100000,
         "also hide facts in N generated documents and ask for them, with an f16 cache and with the profile, as kveval facts "
         "does; takes minutes for each document (default: 0; 65 tell 2 points apart)"},
        {"--resume", NULL, CLI_FLAG, NULL, &o->resume, 0, 0,
         "go on from where a calibration that was cut off has come to, with the same result; long ones keep what they have "
         "gathered in a file beside --out, until the profile is written"},
        {"--no-measure", NULL, CLI_FLAG, NULL, &o->no_measure, 0, 0, "do not measure the result on held-out text"},
        {.kind = CLI_HEADING, .help = "Machine and output"},
        CLI_MACHINE_ROWS(&o->machine),
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0, "summary as one JSON object on stdout"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {0},
    };
    return cli_parse(
        &(cli_spec){.tool = tool,
                    .usage = "MODEL --out PROFILE.yaml [options]",
                    .brief = "measure a model and write the compression profile of its KV cache",
                    .summary = "Run text through a model, forward and backward, find out what an error in every key and value "
                               "would cost, and solve for the best transform, bits and codebooks of every head's KV cache. The "
                               "profile says what that loses, "
                               "measured on text that was not used for fitting. Same input, same profile, on any number of "
                               "threads.",
                    .examples = "  kvcalib model.gguf --out model.yaml\n"
                                "  kvcalib model.gguf --out model.yaml --kld 0.001\n"
                                "  kvcalib model.gguf --out model.yaml --fit-ctx 32768 --fit-mem 256M\n"
                                "  kvcalib model.gguf --out model.yaml --bits 3 --text manual.txt notes/*.md\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}},
                    .n_required = 1},
        argc, argv);
}

static void show_note(void *user, const char *sentence) {
    cli_progress_end(user);
    cli_note(tool, "%s", sentence);
}

/* The file that a calibration goes on from, beside its output. NULL: the output is nothing that files lie beside. */
static kv_status find_kept(options *o, kv_err *err) {
    struct stat st;
    uint32_t done, all;
    if (!stat(o->out, &st) && atomic_file_is_straight(o->out, &st))
        return !o->resume
                   ? KV_OK
                   : kv_fail(err, KV_EINVAL, "--resume goes on from a file beside --out, and beside %s there is none", o->out);
    if (asprintf(&o->kept, "%s.resume", o->out) < 0) {
        o->kept = NULL;
        return kv_fail(err, KV_ENOMEM, "out of memory");
    }
    atomic_file_check(o->kept, NULL); /* what a killed one left of writing it goes */
    const char *what = "the file of --resume";
    cli_path paths[] = {{CLI_OUT, what, o->kept},
                        {CLI_IN, "MODEL", o->model},
                        {CLI_OUT, "--report", o->report},
                        {CLI_PROFILE, "--preset", o->preset}};
    kv_status check = cli_paths_check(paths, sizeof paths / sizeof *paths, err);
    for (size_t i = 0; i < o->text.n && !check; i++) {
        paths[1] = (cli_path){CLI_IN, "--text", o->text.v[i]};
        check = cli_paths_check(paths, 2, err);
    }
    if (!check && !o->resume && calibrate_kept(o->kept, &done, &all))
        cli_note(tool, "%s holds %u of %u pieces of text of a calibration that was cut off: --resume goes on from there",
                 o->kept, done, all);
    return check;
}

static double mean_bits(const prof *p, bool values) {
    double sum = 0, all = 0;
    for (uint32_t l = 0; l < p->n_layer; l++) {
        const double share = (double)prof_kv_heads(p, l) / p->n_kv_head; /* of the layers with most heads */
        sum += share * (double)(values ? p->layers[l].v.bits : p->layers[l].k.bits);
        all += share;
    }
    return sum / all;
}

/* JSON has no NaN. */
static json_t *number(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *numbers(const float *v, uint32_t n) {
    json_t *a = json_array();
    for (uint32_t i = 0; i < n; i++)
        cli_json_add(&a, number((double)v[i]));
    return a;
}

static json_t *budgets_json(const prof *p, uint32_t layer) {
    json_t *a = json_array();
    for (uint32_t h = 0; h < prof_kv_heads(p, layer); h++)
        cli_json_add(&a, json_integer(prof_head_budget(p, layer, h)));
    return a;
}

static json_t *layers_json(const prof *p) {
    json_t *a = json_array();
    for (uint32_t l = 0; l < p->n_layer; l++) {
        const prof_layer *pl = &p->layers[l];
        cli_json_add(&a, json_pack("{s:f, s:f, s:i, s:o, s:o, s:o}", "bits_k", (double)pl->k.bits, "bits_v", (double)pl->v.bits,
                                   "budget", (int)pl->budget, "budgets", budgets_json(p, l), "entropy",
                                   numbers(pl->entropy, pl->entropy ? prof_heads(p, l) : 0), "importance",
                                   numbers(pl->importance, pl->importance ? prof_kv_heads(p, l) : 0)));
    }
    return a;
}

/* Of all windows. */
static json_t *measured_json(const prof *p) {
    json_t *a = json_array();
    for (; p; p = p->narrower)
        for (uint32_t i = 0; i < p->n_measured; i++) {
            const prof_measured *m = &p->measured[i];
            cli_json_add(&a,
                         json_pack("{s:o, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:f, s:f, s:f, s:f}", "text",
                                   cli_json_text(m->text), "window", (int)p->window, "ctx", (int)m->ctx, "tokens",
                                   (int)m->tokens, "kld", number(m->kld), "kld_se", number(m->kld_se), "dppl_percent",
                                   number(m->dppl_percent), "top1", number(m->top1), "bits_k", m->bits_k, "bits_v", m->bits_v,
                                   "bytes_per_token", m->bytes_per_token, "f16_bytes_per_token", m->f16_bytes_per_token));
        }
    return a;
}

static json_t *windows_json(const prof *p) {
    json_t *a = json_array();
    for (; p; p = p->narrower)
        cli_json_add(&a, json_integer(p->window));
    return a;
}

static json_t *facts_json(const prof *p) {
    json_t *a = json_array();
    for (uint32_t i = 0; i < p->n_facts; i++) {
        const prof_facts *f = &p->facts[i];
        cli_json_add(&a, json_pack("{s:i, s:i, s:I, s:i, s:i, s:i, s:f, s:f}", "ctx", (int)f->ctx, "docs", (int)f->docs, "seed",
                                   (json_int_t)f->seed, "questions", (int)f->questions, "right_f16", (int)f->right_f16, "right",
                                   (int)f->right, "low", f->low, "high", f->high));
    }
    return a;
}

static kv_status print_json(const options *o, const prof *p, double seconds, kv_err *err) {
    json_t *j = json_pack(
        "{s:o, s:{s:o, s:s, s:s}, s:{s:i, s:i, s:I, s:s}, s:i, s:o, s:i, s:f, s:f, s:f, s:o, s:o, s:s, s:o, s:o, s:f}", "out",
        cli_json_text(o->out), "model", "name", cli_json_text(p->model_name), "arch", p->arch, "hash", p->model_hash, "made",
        "tokens", (int)p->calib_tokens, "ctx", (int)p->calib_ctx, "seed", (json_int_t)p->seed, "text", p->text_hash, "window",
        (int)p->window, "windows", windows_json(p), "sinks", (int)p->sinks, "target_bits", p->target_bits, "bits_k",
        mean_bits(p, false), "bits_v", mean_bits(p, true), "measured", measured_json(p), "facts", facts_json(p), "fold_for",
        p->fold_for, "folding", cli_profile_folding(p), "layers", layers_json(p), "seconds", seconds);
    return cli_json_print(j, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS), err);
}

/* How unevenly heads share a budget. */
static void print_budgets(const prof *p) {
    const double most = p->budget_rule.most;
    uint32_t heads = 0, all = 0, little = 0;
    if ((p->evict.policy == KV_EVICT_NONE && p->budget_by == PROF_BY_ENTROPY) || !(most > 0))
        return;
    for (uint32_t l = 0; l < p->n_layer; l++)
        for (uint32_t h = 0; h < prof_kv_heads(p, l); h++) {
            const uint32_t tokens = prof_head_budget(p, l, h);
            heads += tokens > 0;
            all += tokens >= most;
            little += tokens > 0 && tokens <= most / 8;
        }
    printf("budgets by %s, %u tokens of %.0f on average: %u of %u KV heads keep all, %u an eighth or less\n",
           prof_budget_by_name(p->budget_by), p->budget_rule.mean, most, all, heads, little);
}

/* What the cache takes and loses with one window. */
static void print_window(const prof *p, bool several) {
    const double elements = (double)prof_all_kv_heads(p) * p->head_dim, bits = mean_bits(p, false) + mean_bits(p, true);
    char now[24], f16[24];
    if (several)
        printf("window %u: ", p->window);
    printf("K %.2f, V %.2f bits per number: %s per token, f16 %s (%.2fx smaller)\n", mean_bits(p, false), mean_bits(p, true),
           format_bytes(elements * bits / 8, now), format_bytes(elements * 4, f16), 32 / bits);
    for (uint32_t i = 0; i < p->n_measured; i++) {
        const prof_measured *m = &p->measured[i];
        cli_say(stdout, "%s, %u tokens at context %u:\n  KL divergence %.5f ± %.5f, same top-1 %.2f %%, perplexity %+.2f %%\n",
                m->text, m->tokens, m->ctx, m->kld, m->kld_se, m->top1, m->dppl_percent);
    }
}

static void print_folding(const prof *p) {
    if (p->n_folding)
        printf("scales to fold for %s; keys and values in\n", p->fold_for);
    for (uint32_t i = 0; i < p->n_folding; i++) {
        const prof_folding *f = &p->folding[i];
        printf("  %-7s KL divergence %.5f ± %.5f, folded %.5f ± %.5f (%.1f times less)\n", kv_codec_names[f->cache].name,
               f->before, f->before_se, f->after, f->after_se, f->before / f->after);
    }
}

static kv_status print_summary(const options *o, const prof *p, double seconds, kv_err *err) {
    cli_say(stdout, "%s: %u layers, %s%u KV heads of %u; fitted on %u tokens\n", p->model_name, p->n_layer,
            p->kv_heads ? "up to " : "", p->n_kv_head, p->head_dim, p->calib_tokens);
    for (const prof *q = p; q; q = q->narrower)
        print_window(q, p->narrower);
    for (uint32_t i = 0; i < p->n_facts; i++)
        printf("facts in documents of %u tokens: %u of %u right, %u with an f16 cache (difference %+.1f to %+.1f points)\n",
               p->facts[i].ctx, p->facts[i].right, p->facts[i].questions, p->facts[i].right_f16, p->facts[i].low,
               p->facts[i].high);
    print_budgets(p);
    print_folding(p);
    cli_say(stdout, "%s written in %.1f s\n", o->out, seconds);
    return fflush(stdout) ? kv_fail(err, KV_EIO, "cannot write the summary") : KV_OK;
}

/* Say so where a text of one's own is a poor one, by what it is or by what the profile loses elsewhere. */
static void note_text(const calibrate_verdict *v, const prof *p) {
    const double elsewhere = 4;
    if (v->runs < v->enough)
        cli_note(
            tool,
            "the text repeats itself or is short: %zu tokens to calibrate on, among which %zu different runs of three; with "
            "fewer than %zu the profile may be a poor one",
            v->tokens, v->runs, v->enough);
    if (p->n_measured > 1 && p->measured[1].kld > elsewhere * p->measured[0].kld)
        cli_note(
            tool,
            "on ordinary text (built in) the profile loses %.1f times what it loses on this one: use it for such text only, "
            "or calibrate on more kinds of text",
            p->measured[1].kld / p->measured[0].kld);
}

/* The caches that --fold-for and --fold-rotation mean, as bits. */
static uint32_t fold_for(const options *o) {
    if (!o->fold_for)
        return 0;
    char rotated[16];
    snprintf(rotated, sizeof rotated, "%sh", o->fold_for);
    const uint32_t off = UINT32_C(1) << kv_codec_by_name(o->fold_for), on = UINT32_C(1) << kv_codec_by_name(rotated);
    return !o->fold_rotation || !strcmp(o->fold_rotation, "both") ? off | on : !strcmp(o->fold_rotation, "on") ? on : off;
}

static kv_status run(const options *o, const report_origin *origin, kv_err *err) {
    cli_progress bar = {0};
    const calibrate_cfg cfg = {.texts = o->text.v,
                               .n_texts = o->text.n,
                               .parse_special = o->parse_special,
                               .ctx = o->ctx < 0 ? 0 : (uint32_t)o->ctx,
                               .chunks = (uint32_t)o->chunks,
                               .frame = (uint32_t)o->frame,
                               .seed = (uint64_t)o->seed,
                               .window = (uint32_t)o->window,
                               .sinks = (uint32_t)o->sinks,
                               .narrower = o->narrower,
                               .n_narrower = o->n_narrower,
                               .evict = o->keep,
                               .fold_for = fold_for(o),
                               .budget_by = o->by_entropy ? PROF_BY_ENTROPY : PROF_BY_LOSS,
                               .keep = {.path = o->kept, .resume = o->resume, .note = show_note, .user = &bar}};
    const calibrate_aim aim = {
        .bits = o->bits, .kld = o->kld, .fit_ctx = (uint32_t)o->fit_ctx, .fit_bytes = o->fit_bytes, .measure = !o->no_measure};
    const double started = clock_now();
    prof *p = NULL;
    rt_model *m = NULL;
    calib_facts facts = {0};
    calibrate_verdict verdict;
    kv_status st = cli_load(&o->machine, o->model, false, &m, err);
    if (st)
        goto done;
    cli_note_tok(tool, rt_model_tok(m));
    for (size_t i = 0; i < o->text.n; i++)
        cli_note_specials(tool, m, o->text.v[i], o->parse_special);
    if (o->facts && (st = calib_facts_new(m, (uint32_t)o->facts, &facts, err)))
        goto done;
    cli_progress_start(&bar, tool, o->quiet);
    st = calibrate_run(m, &cfg, &aim, (calibrate_progress){cli_progress_show, &bar}, &p, &verdict, err);
    cli_progress_end(&bar);
    if (!st)
        note_text(&verdict, p);
    if (!st && o->facts) {
        cli_progress_start(&bar, "asking for facts", o->quiet);
        st = calib_facts_ask(m, &facts, cli_progress_show, &bar, p, err);
        cli_progress_end(&bar);
    }
    if (st || (st = prof_save(p, o->out, err)) || (o->report && (st = report_profile(p, origin, o->report, err))))
        goto done;
    if (o->kept)
        unlink(o->kept);
    if (o->fold_for && !prof_has_fold(p))
        cli_note(tool,
                 "no scales were found with which %s caches of this model lose less, and no other cache more: there is nothing "
                 "to fold",
                 o->fold_for);
    st = (o->json ? print_json : print_summary)(o, p, clock_now() - started, err);
done:
    calib_facts_free(&facts);
    prof_free(p);
    rt_model_free(m);
    return st;
}

/* Which tokens to keep, and how heads share them. */
static kv_status settle_budget(options *o, kv_err *err) {
    const bool given = kv_budget_given(o->keep.budget);
    o->keep.policy = o->evict >= 0 ? (kv_evict_id)o->evict : given ? KV_EVICT_EXPECTED : KV_EVICT_NONE;
    if (o->budget_by && !given)
        return kv_fail(err, KV_EINVAL, "--budget-by says how heads share a --budget: give one");
    if (o->keep.policy != KV_EVICT_NONE && !given)
        return kv_fail(err, KV_EINVAL,
                       "--evict %s needs a budget: add --budget 2048 (tokens) or --budget 50%% (of the context)",
                       kv_evict_names[o->keep.policy].name);
    o->by_entropy = o->budget_by && !strcmp(o->budget_by, prof_budget_by_name(PROF_BY_ENTROPY));
    return KV_OK;
}

/* Frames that suit a window, unless they are given. */
static int64_t frame_for(const options *o, int64_t window) {
    return o->frame >= 0 ? o->frame : window ? CALIBRATE_FRAME : CALIBRATE_FRAME_NEAR;
}

/* Into v (PROF_MAX_WINDOWS), the widest first; returns how many, 0 where the text is no such list. */
static size_t parse_windows(const char *text, uint32_t *v) {
    size_t n = 0;
    for (const char *at = text; n < PROF_MAX_WINDOWS; at++) {
        char *end;
        const unsigned long long window = *at >= '0' && *at <= '9' ? strtoull(at, &end, 10) : MOST_WINDOW + 1;
        if (window > MOST_WINDOW)
            return 0;
        size_t i = n++;
        for (; i && v[i - 1] < window; i--)
            v[i] = v[i - 1];
        v[i] = (uint32_t)window;
        if (i && v[i - 1] == window)
            return 0;
        at = end;
        if (!*at)
            return n;
        if (*at != ',')
            return 0;
    }
    return 0;
}

/* --window or --windows, or what the preset says. */
static kv_status settle_windows(options *o, const prof *preset, kv_err *err) {
    uint32_t v[PROF_MAX_WINDOWS];
    size_t n = 0;
    if (o->windows && o->window >= 0)
        return kv_fail(err, KV_EINVAL, "--window and --windows say the same thing; give one");
    if (o->windows && !(n = parse_windows(o->windows, v)))
        return kv_fail(err, KV_EINVAL, "--windows %s: give up to %d different numbers from 0 to %d, as 0,128", o->windows,
                       PROF_MAX_WINDOWS, MOST_WINDOW);
    if (o->window < 0)
        o->window = n ? v[0] : preset->window;
    for (size_t i = 1; i < n; i++)
        o->narrower[o->n_narrower++] = (calibrate_window){v[i], (uint32_t)frame_for(o, v[i])};
    o->frame = frame_for(o, o->window);
    return KV_OK;
}

/* Exactly one aim, and what a preset says. */
static kv_status settle(options *o, kv_err *err) {
    const int aims = (o->bits > 0) + (o->kld > 0) + (o->fit_ctx || o->fit_mem);
    prof *preset = NULL;
    if (!o->out)
        return kv_fail(err, KV_EINVAL, "where to? Give --out PROFILE.yaml");
    if (aims > 1)
        return kv_fail(err, KV_EINVAL, "--bits, --kld and --fit-ctx with --fit-mem are different aims; give one");
    if (!o->fit_ctx != !o->fit_mem)
        return kv_fail(err, KV_EINVAL, "--fit-ctx and --fit-mem belong together, as --fit-ctx 32768 --fit-mem 256M");
    if (o->fit_mem && !(o->fit_bytes = format_parse_bytes(o->fit_mem)))
        return kv_fail(err, KV_EINVAL, "--fit-mem %s: give a size such as 512M or 1.5G", o->fit_mem);
    if (o->fold_rotation && !o->fold_for)
        return kv_fail(err, KV_EINVAL, "--fold-rotation says which caches --fold-for means: give one, as --fold-for q4_0");
    kv_status st = settle_budget(o, err);
    if (!st)
        st = cli_find_profile(o->preset, &preset, NULL, err);
    if (st)
        return st;
    if (!aims && !preset->aim_bits && !preset->aim_kld)
        st = kv_fail(err, KV_EINVAL, "--preset %s has no aim: say --bits or --kld", o->preset);
    if (!aims) {
        o->bits = preset->aim_bits;
        o->kld = preset->aim_kld;
    }
    if (o->sinks < 0)
        o->sinks = preset->sinks;
    if (!st)
        st = settle_windows(o, preset, err);
    if (!st && o->frame % PROF_FRAME)
        st = kv_fail(err, KV_EINVAL, "--frame %lld: only multiples of %d are possible, such as %lld; 0: off",
                     (long long)o->frame, PROF_FRAME, (long long)(o->frame / PROF_FRAME + 1) * PROF_FRAME);
    if (!st && o->kld > 0 && o->no_measure)
        st = kv_fail(err, KV_EINVAL, "a KL divergence can only be aimed at by measuring; leave out --no-measure");
    prof_free(preset);
    return st;
}

int main(int argc, char **argv) {
    options o = {.preset = "balanced",
                 .ctx = -1,
                 .frame = -1,
                 .window = -1,
                 .sinks = -1,
                 .seed = 1,
                 .evict = -1,
                 .keep = PROF_EVICT_DEFAULT};
    kv_err err = {0};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    cli_catch_signals(CLI_SOON);
    kv_status st = settle(&o, &err);
    if (!st && !(st = find_kept(&o, &err)))
        st = run(&o, &(report_origin){.tool = tool, .argc = argc, .argv = argv, .model_path = o.model}, &err);
    free(o.text.v);
    free(o.kept);
    return st ? cli_report(tool, &err) : CLI_OK;
}
