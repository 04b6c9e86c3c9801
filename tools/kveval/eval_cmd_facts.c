/* kveval facts: which answers about generated documents a cache setting loses against f16. */
#include "kveval/eval_ask.h"
#include "kveval/eval_cmd.h"
#include "kveval/eval_out.h"
#include "kveval/facts_write.h"

#include "cli/cli_profile.h"

#include <stdlib.h>
#include <string.h>

static const char tool[] = "kveval facts";

/* Documents of every length that tell a difference of 2 points. Where a share d of the questions is answered right by one
 * setting only, the 95 % interval of the difference is about 1.96 sqrt(d / n) wide to either side. Settings that are worth
 * telling apart differ in about 4 % of the questions, so n = 1.96² 0.04 / 0.02² = 385 questions are the least. Tango's interval
 * is a little wider: 18 of 455 questions, which is 65 documents, thirteen of every kind, give +-2.0 points. */
enum { DOCS = 65 };

typedef struct options {
    const char *model, *tokens, *text;
    int64_t docs, seed, print;
    bool near_misses, quick, parse_special;
    ask_options ask;
} options;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "Documents"},
        {"--docs", "-n", CLI_INT, "N", &o->docs, 1, 100000,
         "documents of every length, with 7 questions each; kinds take turns: report, minutes, code, table, dialogue"},
        {"--near-misses", NULL, CLI_FLAG, NULL, &o->near_misses, 0, 0,
         "ask for the near misses, too: 13 questions each, of a table 21; half the time for as many answers"},
        {"--quick", NULL, CLI_FLAG, NULL, &o->quick, 0, 0,
         "only the reference answers; of the others it is asked how likely those answers are: several times as fast, and tells "
         "caches apart that answer alike"},
        {"--tokens", "-c", CLI_STR, "N,...", &o->tokens, 0, 0,
         "tokens of a document with question and answer, several by commas [6000]"},
        {"--seed", "-s", CLI_INT, "N", &o->seed, 0, 4294967295.0, "same seed, same documents"},
        {"--text", NULL, CLI_IN, "FILE", &o->text, 0, 0,
         "hide the facts in paragraphs of this text, from one drawn at random on, instead of generated ones"},
        {"--parse-special", NULL, CLI_FLAG, NULL, &o->parse_special, 0, 0, CLI_PARSE_SPECIAL},
        {"--print", NULL, CLI_INT, "N", &o->print, 1, 100000,
         "print document N and its questions, which kveval qa can read, and measure nothing"},
        ASK_SETTING_ROWS(&o->ask),
        ASK_OUTPUT_ROWS(&o->ask, "all answers as CSV, one a line", "a report: one file that needs nothing else"),
        {0},
    };
    return cli_parse(
        &(cli_spec){
            .tool = tool,
            .usage = "MODEL [options]",
            .summary = "Hides facts in generated documents, reads each once and asks for them; some questions take two hops. "
                       "Says how many "
                       "answers are right with each setting, and how far that is from an f16 cache, with the 95 % confidence "
                       "interval of the "
                       "paired difference. Documents are made from a seed; all settings see the same ones. Where no setting "
                       "has an f16 cache, "
                       "one is added to compare with; where none is given, the profile that applies to the model is measured.",
            .examples =
                "  kveval facts packed.gguf\n"
                "  kveval facts model.gguf --profile model.yaml --tokens 6000,12000 --html facts.html\n"
                "  kveval facts model.gguf --docs 20 --setting \"q8_0: -ctk q8_0 -ctv q8_0\" \"q4_0: -ctk q4_0 -ctv q4_0\"\n",
            .opts = opts,
            .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}},
            .n_required = 1},
        argc, argv);
}

_Static_assert((int)FACTS_MOST_LENGTHS == (int)ASK_MOST_LENGTHS, "all lengths that can be parsed fit");

static kv_status parse_cfg(const options *o, facts_cfg *cfg, kv_err *err) {
    enum { LEAST = 512, GREATEST = 1 << 20 };
    *cfg = (facts_cfg){.docs = (uint32_t)o->docs, .seed = (uint64_t)o->seed, .near_misses = o->near_misses};
    return ask_parse_lengths("--tokens", o->tokens, LEAST, GREATEST, cfg->tokens, &cfg->n_tokens, err);
}

/* ---- settings ---- */

/* Where nothing at all is said of the cache, the profile that is shipped for the model is what one would use. */
static kv_status take_shipped(const options *o, ask_session *s, kv_err *err) {
    char path[CLI_PROFILE_PATH];
    if (s->m.profile || o->ask.cache.profile || s->list.n > 1 || !s->list.v[0].unnamed || cli_cache_given(&o->ask.cache))
        return KV_OK;
    kv_status st = cli_shipped_profile(tool, rt_model_hash(s->m.model), rt_model_hparams(s->m.model), &s->m.profile, path, err);
    if (st || !s->m.profile)
        return st;
    cli_note(tool, "profile %s is for this model and applies; --profile none: without", path);
    return sweep_resolve(&s->list, s->m.model, s->m.profile, err);
}

static kv_status add_reference(const options *o, ask_session *s, size_t *reference, kv_err *err) {
    bool added;
    kv_status st = take_shipped(o, s, err);
    if (!st)
        st = sweep_reference(&s->list, s->m.model, reference, &added, err);
    if (!st && added)
        cli_note(tool, "no setting is an f16 cache that keeps everything: added '%s' to compare with",
                 s->list.v[*reference].name);
    return st;
}

/* ---- measuring ---- */

static kv_status measure(const facts_report *r, const ask_frame *frame, const options *o, facts_result *results, kv_err *err) {
    cli_progress bar;
    eval_setting *settings;
    kv_status st = sweep_to_eval(r->settings, &settings, err);
    if (st)
        return st;
    const facts_job job = {r->m, r->set, frame, settings, r->settings->n, r->reference, !o->quick, true};
    cli_progress_start(&bar, "asking", o->ask.quiet);
    st = facts_run(&job, cli_progress_show, &bar, results, err);
    cli_progress_end(&bar);
    free(settings);
    return st;
}

/* Files first: whoever reads the table may leave. */
static kv_status write_results(const options *o, const facts_report *r, kv_err *err) {
    const bool to_stdout = o->ask.json && !strcmp(o->ask.json, "-");
    kv_status st = KV_OK;
    if (o->ask.csv)
        st = eval_first(st, facts_write_csv(r, o->ask.csv, st ? NULL : err));
    if (o->ask.json && !to_stdout)
        st = eval_first(st, facts_write_json(r, o->ask.json, st ? NULL : err));
    if (o->ask.html)
        st = eval_first(st, facts_write_html(r, o->ask.html, st ? NULL : err));
    return eval_first(st, to_stdout ? facts_write_json(r, o->ask.json, st ? NULL : err) : facts_print(r, st ? NULL : err));
}

/* A document, and its questions as kveval qa takes them. */
static kv_status print_document(const options *o, const facts_set *set, kv_err *err) {
    if ((size_t)o->print > set->n)
        return kv_fail(err, KV_EINVAL, "--print %lld: there are %zu documents", (long long)o->print, set->n);
    const facts_doc *d = &set->v[o->print - 1];
    printf("%s\n\n# %s, %zu tokens; questions:\n", d->text, facts_styles[d->style]->summary, d->n_tokens);
    for (size_t i = 0; i < d->n; i++)
        printf("%s\t%s\n", d->q[i].text, d->q[i].wanted);
    return fflush(stdout) ? kv_fail(err, KV_EIO, "cannot write the document: %m") : KV_OK;
}

static kv_status run(const options *o, int argc, char **argv, kv_err *err) {
    ask_session s = {0};
    facts_cfg cfg;
    facts_set set = {0};
    facts_source source = {0};
    facts_result *results = NULL;
    size_t reference;
    kv_status st = parse_cfg(o, &cfg, err);
    if (!st && o->text && !(st = facts_source_load(o->text, &source, err)))
        cfg.source = &source;
    if (st || (st = ask_session_open(&s, tool, o->model, &o->ask, err)) || (st = add_reference(o, &s, &reference, err)))
        goto done;
    s.frame.parse_special = o->parse_special;
    cli_note_specials(tool, s.m.model, o->text, o->parse_special);
    if ((st = facts_set_new(&cfg, &s.frame, &set, err)) || (o->print && (st = print_document(o, &set, err))) || o->print)
        goto done;
    ask_session_warn(&s, tool, cfg.tokens[cfg.n_tokens - 1]);
    results = calloc(s.list.n, sizeof *results);
    if (!results) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for %zu settings", s.list.n);
        goto done;
    }
    facts_report r = {.m = s.m.model,
                      .set = &set,
                      .settings = &s.list,
                      .results = results,
                      .reference = reference,
                      .chat = s.frame.name,
                      .origin = eval_origin(s.m.model, o->model, tool, argc, argv)};
    r.origin.text = o->text;
    r.origin.text_hash = o->text ? source.hash : NULL;
    if (!(st = measure(&r, &s.frame, o, results, err)))
        st = write_results(o, &r, err);
done:
    for (size_t i = 0; results && i < s.list.n; i++)
        facts_result_free(&results[i]);
    free(results);
    facts_set_free(&set);
    facts_source_free(&source);
    ask_session_close(&s);
    return st;
}

int eval_cmd_facts(int argc, char **argv) {
    options o = {.tokens = "6000", .docs = DOCS, .seed = 1, .ask.cache = CLI_CACHE_DEFAULT};
    int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_err err = {0};
    kv_status st = run(&o, argc, argv, &err);
    free(o.ask.setting.v);
    return st ? cli_report(tool, &err) : CLI_OK;
}
