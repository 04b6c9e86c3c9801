/* kveval endless: perplexity of a long text, part by part, past the context: with the oldest tokens forgotten in place, with
 * the newer half read again, and with all that is left read again.
 */
#include "base/format.h"
#include "cli/cli_cache.h"
#include "cli/cli_json.h"
#include "kveval/eval_cmd.h"
#include "measure/endless.h"
#include "measure/eval_io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char tool[] = "kveval endless";

enum { DIGITS = 8 };

static const char *const ways[ENDLESS_WAYS] = {"endless", "context-shift", "anew"};

typedef struct options {
    const char *model, *text;
    int64_t ctx, tokens, part, forget;
    cli_cache cache;
    cli_machine machine;
    bool exact, quick, json, quiet;
} options;

/* What was measured: of each way that was, its parts. */
typedef struct found {
    endless_part *parts[ENDLESS_WAYS];
    size_t n, kv_bytes;
    uint32_t at_once;
} found;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {.kind = CLI_HEADING, .help = "What to measure on"},
        {"--text", "-f", CLI_IN, "FILE", &o->text, 0, 0, "text to read"},
        {"--tokens", NULL, CLI_INT, "N", &o->tokens, 2, 1 << 30, "how much of it"},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 64, 1 << 24, "tokens of context"},
        {"--forget", NULL, CLI_INT, "N", &o->forget, 0, 1 << 24,
         "tokens that are forgotten at once, rounded up to what the cache can; 0: an eighth of the context"},
        {"--part", NULL, CLI_INT, "N", &o->part, 16, 1 << 24, "tokens of a part, each of which has a perplexity"},
        {"--quick", NULL, CLI_FLAG, NULL, &o->quick, 0, 0, "only in place: nothing is read again to compare with"},
        {.kind = CLI_HEADING, .help = "Cache setting"},
        CLI_CACHE_ROWS(&o->cache),
        {.kind = CLI_HEADING, .help = "Machine and output"},
        CLI_MACHINE_ROWS(&o->machine),
        {"--exact", NULL, CLI_FLAG, NULL, &o->exact, 0, 0, "exact matrix products instead of those of kvrun: slower"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0,
         "one JSON object on stdout: for each way a list of parts with tokens, ppl and seconds"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {0},
    };
    return cli_parse(
        &(cli_spec){.tool = tool,
                    .usage = "MODEL --text FILE [options]",
                    .summary = "Perplexity of a long text past the context, part by part: with the oldest tokens forgotten in "
                               "place (kvrun --endless), with the newer half read again (--context-shift), and with as many "
                               "forgotten as in place but all others read again (anew), which sees the same tokens.",
                    .examples = "  kveval endless model.gguf --text wiki.txt --tokens 30000 --ctx 4096\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"MODEL", CLI_MODEL, &o->model}, {0}},
                    .n_required = 1},
        argc, argv);
}

typedef struct showing {
    cli_progress bar;
    int way, n;
} showing;

static bool show_progress(void *user, double done) {
    showing *s = user;
    cli_progress_set(&s->bar, (s->way + done) / s->n);
    return !cli_interrupted();
}

static kv_status measure(const options *o, found *f, kv_err *err) {
    endless_cfg cfg = {.forget = (uint32_t)o->forget, .part = (uint32_t)o->part};
    cli_model m = {0};
    eval_text text = {0};
    showing s = {.n = o->quick ? 1 : ENDLESS_WAYS};
    if (!o->text)
        return kv_fail(err, KV_EINVAL, "--text FILE is missing: which text to measure on");
    kv_status st = cli_model_open(tool, o->model, o->cache.profile, &o->machine, o->exact, o->json, &m, err);
    if (st || (st = cli_cache_cfg(&o->cache, m.profile, &cfg.ctx, err)) ||
        (st = eval_text_load(m.model, o->text, false, &text, err)))
        goto done;
    cfg.ctx.n_ctx = (uint32_t)o->ctx;
    cfg.keep = tok_add_bos(rt_model_tok(m.model)) ? 1 : 0;
    if (text.n < (size_t)o->tokens) {
        st = kv_fail(err, KV_ERANGE, "%s: has %zu tokens, fewer than %lld: give --tokens %zu", o->text, text.n,
                     (long long)o->tokens, text.n);
        goto done;
    }
    f->n = ((size_t)o->tokens + cfg.part - 1) / cfg.part;
    cli_progress_start(&s.bar, "measuring", o->quiet);
    for (; s.way < s.n && !st; s.way++) {
        if (!(f->parts[s.way] = calloc(f->n, sizeof **f->parts)))
            st = kv_fail(err, KV_ENOMEM, "out of memory for %zu parts", f->n);
        else
            st = endless_run(m.model, &cfg, (endless_way)s.way, text.ids, (size_t)o->tokens, show_progress, &s, f->parts[s.way],
                             &f->kv_bytes, &f->at_once, err);
    }
    cli_progress_end(&s.bar);
done:
    eval_text_free(&text);
    cli_model_close(&m);
    return st;
}

static double ppl(const endless_part *p) {
    return p->tokens ? exp(p->nll / p->tokens) : NAN;
}

static void print_row(const char *from, const char *to, const endless_part *const parts[ENDLESS_WAYS]) {
    printf("%8s %8s", from, to);
    for (int w = 0; w < ENDLESS_WAYS && parts[w]; w++)
        printf(" %10.3f", ppl(parts[w]));
    for (int w = 0; w + 1 < ENDLESS_WAYS && parts[ENDLESS_ANEW]; w++)
        printf("  %+8.2f %%", 100 * (ppl(parts[w]) / ppl(parts[ENDLESS_ANEW]) - 1));
    for (int w = 0; w < ENDLESS_WAYS && parts[w]; w++)
        printf(" %8.1f", parts[w]->tokens / parts[w]->seconds);
    putchar('\n');
}

/* The parts up to the first that goes past the context, and all others. */
static void print_sums(const options *o, const found *f) {
    for (int past = 0; past < 2; past++) {
        endless_part sum[ENDLESS_WAYS] = {{0}};
        const endless_part *rows[ENDLESS_WAYS] = {0};
        for (int w = 0; w < ENDLESS_WAYS && f->parts[w]; w++) {
            rows[w] = &sum[w];
            for (size_t i = 0; i < f->n; i++)
                if (((int64_t)(i + 1) * o->part > o->ctx) == past) {
                    sum[w].tokens += f->parts[w][i].tokens;
                    sum[w].nll += f->parts[w][i].nll;
                    sum[w].seconds += f->parts[w][i].seconds;
                }
        }
        if (sum[0].tokens)
            print_row(past ? "past" : "within", "it", rows);
    }
}

static void print_table(const options *o, const found *f) {
    char bytes[24];
    printf("context %lld, of which %u tokens are forgotten at once; cache %s\n", (long long)o->ctx, f->at_once,
           format_bytes((double)f->kv_bytes, bytes));
    printf("   tokens             perplexity%s\n    from       to    endless%s\n",
           o->quick ? "" : "                            of anew                     tokens/s",
           o->quick ? "   tokens/s" : "      shift       anew     endless       shift  endless    shift     anew");
    for (size_t i = 0; i < f->n; i++) {
        const endless_part *rows[ENDLESS_WAYS] = {0};
        char from[24], to[24];
        for (int w = 0; w < ENDLESS_WAYS && f->parts[w]; w++)
            rows[w] = &f->parts[w][i];
        snprintf(from, sizeof from, "%lld", (long long)((int64_t)i * o->part));
        snprintf(to, sizeof to, "%lld",
                 (long long)((int64_t)(i + 1) * o->part < o->tokens ? (int64_t)(i + 1) * o->part : o->tokens));
        print_row(from, to, rows);
    }
    print_sums(o, f);
}

static kv_status print_json(const options *o, const found *f, kv_err *err) {
    json_t *all = json_pack("{s:I, s:I, s:i, s:I}", "ctx", (json_int_t)o->ctx, "tokens", (json_int_t)o->tokens, "forget",
                            (int)f->at_once, "kv_bytes", (json_int_t)f->kv_bytes);
    for (int w = 0; all && w < ENDLESS_WAYS && f->parts[w]; w++) {
        json_t *list = json_array();
        for (size_t i = 0; list && i < f->n; i++) {
            const endless_part *p = &f->parts[w][i];
            if (json_array_append_new(
                    list, json_pack("{s:i, s:f, s:f}", "tokens", (int)p->tokens, "ppl", ppl(p), "seconds", p->seconds))) {
                json_decref(list);
                list = NULL;
            }
        }
        if (json_object_set_new(all, ways[w], list)) {
            json_decref(all);
            all = NULL;
        }
    }
    return cli_json_print(all, JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS), err);
}

int eval_cmd_endless(int argc, char **argv) {
    options o = {.ctx = 4096, .tokens = 30000, .part = 2000, .cache = CLI_CACHE_DEFAULT};
    found f = {0};
    kv_err err = {0};
    const int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_status st = measure(&o, &f, &err);
    if (!st && o.json)
        st = print_json(&o, &f, &err);
    else if (!st)
        print_table(&o, &f);
    for (int w = 0; w < ENDLESS_WAYS; w++)
        free(f.parts[w]);
    return st ? cli_report(tool, &err) : CLI_OK;
}
