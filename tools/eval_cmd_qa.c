/* kveval qa: questions about a whole document, with one cache setting or several. */
#include "eval_ask.h"
#include "eval_cmd.h"
#include "eval_out.h"
#include "qa_write.h"

#include <stdlib.h>
#include <string.h>

static const char tool[] = "kveval qa";

typedef struct options {
    const char *files[3]; /* model, document, questions */
    ask_options ask;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
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
            .positional = o->files,
            .n_positional = 3,
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

static kv_status measure(const qa_report *r, bool quiet, qa_result *results, kv_err *err) {
    progress p = {.n = r->settings->n};
    kv_status st = KV_OK;
    cli_progress_start(&p.bar, "asking", quiet);
    for (; p.i < p.n && !st; p.i++) {
        kv_err why = {0};
        if ((st = qa_run(r->m, r->test, &r->settings->v[p.i].cfg, show_progress, &p, &results[p.i], &why)))
            kv_fail(err, st, "setting '%s': %s", r->settings->v[p.i].name, why.msg);
    }
    cli_progress_end(&p.bar);
    return st;
}

static kv_status write_results(const options *o, const qa_report *r, kv_err *err) {
    kv_status st = o->ask.json && !strcmp(o->ask.json, "-") ? KV_OK : qa_print(r, err);
    if (!st && o->ask.csv)
        st = qa_write_csv(r, o->ask.csv, err);
    if (!st && o->ask.json)
        st = qa_write_json(r, o->ask.json, err);
    if (!st && o->ask.html)
        st = qa_write_html(r, o->ask.html, err);
    return st;
}

static kv_status run(const options *o, int argc, char **argv, kv_err *err) {
    cli_model m = {0};
    cli_cache base = o->ask.cache;
    base.profile = NULL; /* it is loaded with the model */
    sweep_list list = {.base = &base};
    qa_list questions = {0};
    qa_test test = {0};
    qa_result *results = NULL;
    ask_frame frame = {0};
    kv_status st = qa_list_load(o->files[2], &questions, err);
    if (st || (st = sweep_add_given(&list, o->ask.settings, &o->ask.setting, err)) ||
        (st = eval_check_writable((const char *[]){o->ask.json, o->ask.csv, o->ask.html}, 3, err)) ||
        (st = cli_model_open(tool, o->files[0], o->ask.cache.profile, &o->ask.machine, o->ask.exact, o->ask.json != NULL, &m,
                             err)) ||
        (st = sweep_resolve(&list, m.model, m.profile, err)) || (st = ask_frame_new(m.model, &frame, err)) ||
        (st = qa_test_new(&frame, o->files[1], &questions, &test, err)))
        goto done;
    const uint32_t trained = rt_model_hparams(m.model)->n_ctx_train;
    if (test.n_ctx > trained)
        cli_note(tool, "a context of %u tokens is more than the %u the model was trained for", test.n_ctx, trained);
    results = calloc(list.n, sizeof *results);
    if (!results) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu settings", list.n);
        goto done;
    }
    const qa_report r = {.m = m.model,
                         .test = &test,
                         .settings = &list,
                         .results = results,
                         .chat = frame.name,
                         .questions_path = o->files[2],
                         .origin = {.tool = tool,
                                    .argc = argc,
                                    .argv = argv,
                                    .model_path = o->files[0],
                                    .model_name = rt_model_hparams(m.model)->name,
                                    .model_hash = rt_model_hash(m.model),
                                    .text = o->files[1],
                                    .text_hash = test.hash}};
    if (!(st = measure(&r, o->ask.quiet, results, err)))
        st = write_results(o, &r, err);
done:
    for (size_t i = 0; results && i < list.n; i++)
        qa_result_free(&results[i]);
    free(results);
    qa_test_free(&test);
    qa_list_free(&questions);
    ask_frame_free(&frame);
    sweep_free(&list);
    cli_model_close(&m);
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
