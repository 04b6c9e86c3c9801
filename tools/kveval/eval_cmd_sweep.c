/* kveval sweep: a list of cache settings in one go, as a table, JSON, CSV, an HTML report and a picture. */
#include "kveval/eval_cmd.h"
#include "kveval/eval_out.h"
#include "kveval/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char tool[] = "kveval sweep";

typedef struct options {
    const char *model, *text, *profile, *settings, *json, *csv, *html, *svg;
    cli_strs setting;
    int64_t ctx, chunks, decode;
    int baseline;
    cli_machine machine;
    bool parse_special, fast, quiet;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to measure on"},
        {"--text", "-f", CLI_IN, "FILE", &o->text, 0, 0, "text to read"},
        {"--parse-special", NULL, CLI_FLAG, NULL, &o->parse_special, 0, 0, CLI_PARSE_SPECIAL},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 4, 1 << 24, "tokens in a chunk; the second half of each is scored"},
        {"--chunks", NULL, CLI_INT, "N", &o->chunks, 0, 1 << 30, "chunks to read; 0: all whole ones"},
        {"--decode", NULL, CLI_INT, "N", &o->decode, 0, 1 << 24,
         "read the last N tokens one by one, the settings in turn, and say how fast (with --fast, on a machine that is idle)"},
        {.kind = CLI_HEADING, .help = "Which cache settings"},
        {"--settings", NULL, CLI_IN, "FILE", &o->settings, 0, 0,
         "a setting a line, \"name: options\", the options being those of kveval kld (-ctk, -ctv, --window, --sinks, "
         "--profile)"},
        {"--setting", NULL, CLI_STRS, "\"NAME: OPTIONS\"...", &o->setting, 0, 0,
         "one more such setting (without any: every uncalibrated codec with four sinks and no window, and the profile)"},
        {"--profile", NULL, CLI_PROFILE, "FILE", &o->profile, 0, 0,
         "the profile of settings that name none (default: the one in the model file)"},
        {"--baseline", NULL, CLI_CODEC, "TYPE", &o->baseline, 0, 0,
         "compare with the same model and a cache of this type (not a calibrated one)"},
        {.kind = CLI_HEADING, .help = "Where to write, besides the table on stdout"},
        {"--json", NULL, CLI_OUT_OR_STDOUT, "[FILE]", &o->json, 0, 0,
         "all figures as JSON; without a file on stdout, in place of the table"},
        {"--csv", NULL, CLI_OUT, "FILE", &o->csv, 0, 0, "all figures as CSV, a setting a line"},
        {"--html", NULL, CLI_OUT, "FILE", &o->html, 0, 0, "a report with charts: one file that needs nothing else"},
        {"--svg", NULL, CLI_OUT, "FILE", &o->svg, 0, 0, "the chart of KL divergence over bits as a picture"},
        {.kind = CLI_HEADING, .help = "Machine and output"},
        CLI_MACHINE_ROWS(&o->machine),
        {"--fast", NULL, CLI_FLAG, NULL, &o->fast, 0, 0,
         "int8 matrix products, as kvrun has them, instead of exact ones: faster, and noise of their own in every figure"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {0},
    };
    return cli_parse(
        &(cli_spec){.tool = tool,
                    .usage = "MODEL --text FILE [options]",
                    .summary = "What every one of a list of cache settings loses, measured side by side: the settings read the "
                               "text in lock-step, and the model with the baseline cache runs once for all of them. Every "
                               "setting gives the same figures as kveval kld gives for it alone.",
                    .examples = "  kveval sweep packed.gguf --text wiki.txt --chunks 8 --html report.html\n"
                                "  kveval sweep model.gguf --text wiki.txt --setting \"q8: -ctk q8_0 -ctv q8_0\" "
                                "\"mine: --profile p.yaml\"\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}},
                    .n_required = 1},
        argc, argv);
}

/* Files first: whoever reads the table may leave. */
static kv_status write_results(const options *o, const sweep *s, kv_err *err) {
    const bool to_stdout = o->json && !strcmp(o->json, "-");
    kv_status st = KV_OK;
    if (o->csv)
        st = eval_first(st, sweep_write_csv(s, o->csv, st ? NULL : err));
    if (o->json && !to_stdout)
        st = eval_first(st, sweep_write_json(s, o->json, st ? NULL : err));
    if (o->html)
        st = eval_first(st, sweep_write_html(s, o->html, st ? NULL : err));
    if (o->svg)
        st = eval_first(st, sweep_write_svg(s, o->svg, st ? NULL : err));
    return eval_first(st, to_stdout ? sweep_write_json(s, o->json, st ? NULL : err) : sweep_print(s, st ? NULL : err));
}

static kv_status measure(const sweep *s, const eval_text *text, bool quiet, eval_result *results, kv_err *err) {
    cli_progress bar;
    eval_setting *settings;
    kv_status st = sweep_to_eval(s->settings, &settings, err);
    if (st)
        return st;
    cli_progress_start(&bar, "measuring", quiet);
    st = eval_run(s->model, &s->cfg, settings, s->settings->n, text->ids, text->n, cli_progress_show, &bar, results, err);
    cli_progress_end(&bar);
    free(settings);
    return st;
}

static kv_status run(const options *o, int argc, char **argv, kv_err *err) {
    cli_model m = {0};
    sweep_list list = {0};
    eval_text text = {0};
    eval_result *results = NULL;
    kv_status st = o->text ? sweep_add_all(&list, o->settings, &o->setting, err)
                           : kv_fail(err, KV_EINVAL, "--text FILE is missing: which text to measure on");
    const cli_path outs[] = {{CLI_OUT_OR_STDOUT, "--json", o->json},
                             {CLI_OUT, "--csv", o->csv},
                             {CLI_OUT, "--html", o->html},
                             {CLI_OUT, "--svg", o->svg}};
    if (st || (st = sweep_load_profiles(&list, outs, sizeof outs / sizeof *outs, err)) ||
        (st = cli_model_open(tool, o->model, o->profile, &o->machine, !o->fast, true, &m, err)))
        goto done;
    if ((!list.n && (st = sweep_add_default(&list, rt_model_hparams(m.model)->head_dim, m.profile, o->baseline, err))) ||
        (st = sweep_resolve(&list, m.model, m.profile, err)) ||
        (st = eval_text_load(m.model, o->text, o->parse_special, &text, err)))
        goto done;
    cli_note_specials(tool, m.model, o->text, o->parse_special);
    results = calloc(list.n, sizeof *results);
    if (!results) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu settings", list.n);
        goto done;
    }
    sweep s = {
        .model = m.model,
        .profile = m.profile,
        .cfg = {.ctx = (uint32_t)o->ctx, .chunks = (uint32_t)o->chunks, .decode = (uint32_t)o->decode, .baseline = o->baseline},
        .exact = !o->fast,
        .settings = &list,
        .results = results,
        .origin = eval_origin(m.model, o->model, tool, argc, argv)};
    s.origin.text = o->text;
    s.origin.text_hash = text.hash;
    if (!(st = measure(&s, &text, o->quiet, results, err)))
        st = write_results(o, &s, err);
done:
    free(results);
    eval_text_free(&text);
    sweep_free(&list);
    cli_model_close(&m);
    return st;
}

int eval_cmd_sweep(int argc, char **argv) {
    options o = {.ctx = 1024, .baseline = KV_F32};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    kv_status st = run(&o, argc, argv, &err);
    free(o.setting.v);
    return st ? cli_report(tool, &err) : CLI_OK;
}
