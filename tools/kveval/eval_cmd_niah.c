/* kveval niah: whether a model still finds facts that are hidden in a long text, with one cache setting or several. */
#include "kveval/eval_ask.h"
#include "kveval/eval_cmd.h"
#include "kveval/eval_out.h"
#include "kveval/niah_write.h"

#include <stdlib.h>
#include <string.h>

static const char tool[] = "kveval niah";

typedef struct options {
    const char *model, *ctx, *depths, *templates, *question;
    int64_t needles, repeats, seed;
    ask_options ask;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to hide and to ask"},
        {"--ctx", "-c", CLI_STR, "N,...", &o->ctx, 0, 0, "tokens of context, several by commas [1024,2048,4096]"},
        {"--depths", NULL, CLI_STR, "P,...", &o->depths, 0, 0,
         "percent of the text in front of a needle, several by commas [0,25,50,75,100]"},
        {"--needles", NULL, CLI_INT, "K", &o->needles, 0, NIAH_MOST_DEPTHS, "needles in one text; 0: one at every depth"},
        {"--repeats", NULL, CLI_INT, "R", &o->repeats, 0, NIAH_MOST_REPEATS,
         "needles for every length and depth; 0: as many as there are templates"},
        {"--template", NULL, CLI_STR, "NAME,...", &o->templates, 0, 0,
         "kinds of needles, which take turns: number, name (of a person), phrase (three words), keys (one of several numbers, "
         "by "
         "whose it is), near (a number among near misses) [all]"},
        {"--question", NULL, CLI_CHOICE, "unknown|known|both", &o->question, 0, 0,
         "unknown: asked after reading; known: before it, too; both [unknown]"},
        {"--seed", "-s", CLI_INT, "N", &o->seed, 0, 4294967295.0, "same seed, same texts"},
        ASK_SETTING_ROWS(&o->ask),
        ASK_OUTPUT_ROWS(&o->ask, "the grid as CSV, a cell a line", "a report with heat-maps: one file that needs nothing else"),
        {0},
    };
    return cli_parse(
        &(cli_spec){
            .tool = tool,
            .usage = "MODEL [options]",
            .summary = "Needle in a haystack: facts are hidden at several depths of texts of several lengths, and asked "
                       "for. Says how many the model finds, with 95 % confidence intervals. Texts are made from a seed; all "
                       "settings see the same ones.",
            .examples = "  kveval niah packed.gguf\n"
                        "  kveval niah model.gguf --ctx 4096,16384 -ctk q4_0 -ctv q4_0 --html needles.html\n"
                        "  kveval niah model.gguf --question both --setting \"f16:\" \"q4_0: -ctk q4_0 -ctv q4_0\" --json\n",
            .opts = opts,
            .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}},
            .n_required = 1},
        argc, argv);
}

/* ---- lists ---- */

static kv_status parse_templates(const char *s, niah_cfg *cfg, kv_err *err) {
    char name[32];
    bool taken[NIAH_TEMPLATES] = {false};
    if (!s) {
        for (int i = 0; i < NIAH_TEMPLATES; i++)
            cfg->templates[cfg->n_template++] = i;
        return KV_OK;
    }
    for (const char *at = s;; at++) {
        const size_t len = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(len < sizeof name ? len : sizeof name - 1), at);
        const int i = niah_template_by_name(name);
        if (i < 0 || taken[i])
            return kv_fail(err, KV_EINVAL,
                           i < 0 ? "--template: there is no '%s'; there are number, name, phrase, keys, near"
                                 : "--template: '%s' is there twice",
                           name);
        taken[i] = true;
        cfg->templates[cfg->n_template++] = i;
        at += len;
        if (!*at)
            return KV_OK;
    }
}

_Static_assert((int)NIAH_MOST_CTX == (int)ASK_MOST_LENGTHS, "all lengths that can be parsed fit");

static kv_status parse_cfg(const options *o, niah_cfg *cfg, kv_err *err) {
    enum { LEAST = 64, GREATEST = 1 << 24 };
    *cfg = (niah_cfg){.needles = (uint32_t)o->needles, .seed = (uint64_t)o->seed};
    kv_status st = ask_parse_lengths("--ctx", o->ctx, LEAST, GREATEST, cfg->ctx, &cfg->n_ctx, err);
    if (!st)
        st = ask_parse_numbers("--depths", o->depths, 0, 100, cfg->depth, NIAH_MOST_DEPTHS, &cfg->n_depth, err);
    if (!st)
        st = parse_templates(o->templates, cfg, err);
    cfg->repeats = o->repeats ? (uint32_t)o->repeats : (uint32_t)cfg->n_template;
    cfg->unknown = !strcmp(o->question, "unknown") || !strcmp(o->question, "both");
    cfg->known = !strcmp(o->question, "known") || !strcmp(o->question, "both");
    return st;
}

/* ---- measuring ---- */

static kv_status measure(const niah_test *t, bool quiet, niah_result *results, kv_err *err) {
    cli_progress bar;
    eval_setting *settings;
    kv_status st = sweep_to_eval(t->settings, &settings, err);
    if (st)
        return st;
    cli_progress_start(&bar, "searching", quiet);
    st = niah_run(t->m, &t->cfg, settings, t->settings->n, cli_progress_show, &bar, results, err);
    cli_progress_end(&bar);
    free(settings);
    return st;
}

/* Files first: whoever reads the table may leave. */
static kv_status write_results(const options *o, const niah_test *t, kv_err *err) {
    const bool to_stdout = o->ask.json && !strcmp(o->ask.json, "-");
    kv_status st = KV_OK;
    if (o->ask.csv)
        st = eval_first(st, niah_write_csv(t, o->ask.csv, st ? NULL : err));
    if (o->ask.json && !to_stdout)
        st = eval_first(st, niah_write_json(t, o->ask.json, st ? NULL : err));
    if (o->ask.html)
        st = eval_first(st, niah_write_html(t, o->ask.html, st ? NULL : err));
    return eval_first(st, to_stdout ? niah_write_json(t, o->ask.json, st ? NULL : err) : niah_print(t, st ? NULL : err));
}

static kv_status run(const options *o, int argc, char **argv, kv_err *err) {
    ask_session s = {0};
    niah_cfg cfg;
    niah_result *results = NULL;
    kv_status st = parse_cfg(o, &cfg, err);
    if (st || (st = ask_session_open(&s, tool, o->model, &o->ask, err)))
        goto done;
    ask_session_warn(&s, tool, cfg.ctx[cfg.n_ctx - 1]);
    results = calloc(s.list.n, sizeof *results);
    if (!results) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu settings", s.list.n);
        goto done;
    }
    const niah_test t = {.m = s.m.model,
                         .cfg = cfg,
                         .settings = &s.list,
                         .results = results,
                         .chat = s.frame.name,
                         .origin = eval_origin(s.m.model, o->model, tool, argc, argv)};
    if (!(st = measure(&t, o->ask.quiet, results, err)))
        st = write_results(o, &t, err);
done:
    for (size_t i = 0; results && i < s.list.n; i++)
        niah_result_free(&results[i]);
    free(results);
    ask_session_close(&s);
    return st;
}

int eval_cmd_niah(int argc, char **argv) {
    options o = {
        .ctx = "1024,2048,4096", .depths = "0,25,50,75,100", .question = "unknown", .seed = 1, .ask.cache = CLI_CACHE_DEFAULT};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    kv_status st = run(&o, argc, argv, &err);
    free(o.ask.setting.v);
    return st ? cli_report(tool, &err) : CLI_OK;
}
