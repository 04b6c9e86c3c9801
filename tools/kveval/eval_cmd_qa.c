/* kveval qa: questions about a whole document, with one cache setting or several. */
#include "kveval/eval_ask.h"
#include "kveval/eval_cmd.h"
#include "kveval/eval_out.h"
#include "kveval/qa_write.h"

#include <stdlib.h>
#include <string.h>

static const char tool[] = "kveval qa";

typedef struct options {
    const char *model, *document, *questions;
    bool parse_special;
    ask_options ask;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to read"},
        {"--parse-special", NULL, CLI_FLAG, NULL, &o->parse_special, 0, 0, CLI_PARSE_SPECIAL},
        ASK_SETTING_ROWS(&o->ask),
        ASK_OUTPUT_ROWS(&o->ask, "all answers as CSV, one a line", "a report: one file that needs nothing else"),
        {0},
    };
    return cli_parse(
        &(cli_spec){
            .tool = tool,
            .usage = "MODEL DOCUMENT QUESTIONS [options]",
            .summary =
                "Reads a document once and answers questions about it, each from the state that the cache was in after "
                "reading. Says how many answers hold a wanted one, with a 95 % confidence interval. QUESTIONS has one a "
                "line: a question, a tab, and the answers that count as right with | between them; lines that begin with "
                "# do not count.",
            .examples =
                "  kveval qa packed.gguf bench/data/chronicle.txt bench/data/chronicle.tsv\n"
                "  kveval qa model.gguf report.txt report.tsv --setting \"f16:\" \"q4_0: -ctk q4_0 -ctv q4_0\" --json\n",
            .opts = opts,
            .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model},
                                      {"DOCUMENT", CLI_IN, &o->document},
                                      {"QUESTIONS", CLI_IN, &o->questions},
                                      {0}},
            .n_required = 3},
        argc, argv);
}

/* How far all settings are, from how far one is. */
typedef struct progress {
    cli_progress bar;
    size_t i, n;
} progress;

static bool show_progress(void *user, double done) {
    progress *p = user;
    cli_progress_set(&p->bar, ((double)p->i + done) / (double)p->n);
    return !cli_interrupted();
}

static kv_status of_setting(kv_status st, const qa_report *r, size_t i, const kv_err *why, kv_err *err) {
    return st ? kv_fail(err, st, "setting '%s': %s", r->settings->v[i].name, why->msg) : KV_OK;
}

static kv_status measure(const qa_report *r, bool quiet, qa_result *results, kv_err *err) {
    progress p = {.n = r->settings->n};
    kv_status st = KV_OK;
    kv_err why = {0};
    for (size_t i = 0; i < p.n && !st; i++)
        st = of_setting(qa_try(r->m, r->test, &r->settings->v[i].cfg, &why), r, i, &why, err);
    cli_progress_start(&p.bar, "asking", quiet);
    for (; p.i < p.n && !st; p.i++)
        st = of_setting(qa_run(r->m, r->test, &r->settings->v[p.i].cfg, show_progress, &p, &results[p.i], &why), r, p.i, &why,
                        err);
    cli_progress_end(&p.bar);
    return st;
}

/* Files first: whoever reads the table may leave. */
static kv_status write_results(const options *o, const qa_report *r, kv_err *err) {
    const bool to_stdout = o->ask.json && !strcmp(o->ask.json, "-");
    kv_status st = KV_OK;
    if (o->ask.csv)
        st = eval_first(st, qa_write_csv(r, o->ask.csv, st ? NULL : err));
    if (o->ask.json && !to_stdout)
        st = eval_first(st, qa_write_json(r, o->ask.json, st ? NULL : err));
    if (o->ask.html)
        st = eval_first(st, qa_write_html(r, o->ask.html, st ? NULL : err));
    return eval_first(st, to_stdout ? qa_write_json(r, o->ask.json, st ? NULL : err) : qa_print(r, st ? NULL : err));
}

static kv_status run(const options *o, int argc, char **argv, kv_err *err) {
    ask_session s = {0};
    qa_list questions = {0};
    qa_test test = {0};
    qa_result *results = NULL;
    char *text = NULL;
    size_t len;
    kv_status st = qa_list_load(o->questions, &questions, err);
    if (st || (st = qa_document_load(o->document, &text, &len, err)) ||
        (st = ask_session_open(&s, tool, o->model, &o->ask, err)))
        goto done;
    s.frame.parse_special = o->parse_special;
    if ((st = qa_test_new(&s.frame, text, len, &questions, &test, err)))
        goto done;
    cli_note_specials(tool, s.m.model, o->document, o->parse_special);
    ask_session_warn(&s, tool, test.n_ctx);
    results = calloc(s.list.n, sizeof *results);
    if (!results) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu settings", s.list.n);
        goto done;
    }
    qa_report r = {.m = s.m.model,
                   .test = &test,
                   .settings = &s.list,
                   .results = results,
                   .chat = s.frame.name,
                   .questions_path = o->questions,
                   .origin = eval_origin(s.m.model, o->model, tool, argc, argv)};
    r.origin.text = o->document;
    r.origin.text_hash = test.hash;
    if (!(st = measure(&r, o->ask.quiet, results, err)))
        st = write_results(o, &r, err);
done:
    for (size_t i = 0; results && i < s.list.n; i++)
        qa_result_free(&results[i]);
    free(results);
    qa_test_free(&test);
    free(text);
    qa_list_free(&questions);
    ask_session_close(&s);
    return st;
}

int eval_cmd_qa(int argc, char **argv) {
    options o = {.ask.cache = CLI_CACHE_DEFAULT};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    kv_status st = run(&o, argc, argv, &err);
    free(o.ask.setting.v);
    return st ? cli_report(tool, &err) : CLI_OK;
}
