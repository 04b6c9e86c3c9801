/* kvrun ask: questions about a document that was read, each as if it were the first. */
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli_json.h"
#include "cli/cli_sampling.h"
#include "kvrun/chat_ui.h"
#include "kvrun/cmd.h"
#include "kvrun/reading.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char tool[] = "kvrun ask";

typedef struct options {
    const char *model, *what, *as;
    cli_strs questions;
    int64_t ctx, n;
    cli_sampling sampling;
    bool json, quiet;
    cli_cache cache;
    cli_machine machine;
} options;

/* A document that was read, and how to come back to its end. */
typedef struct asked {
    engine e;
    ask_frame frame;
    gen_cfg cfg;
    gen *g;
    uint32_t len;     /* tokens of the document */
    const char *file; /* .kv file; NULL: it was read just now */
} asked;

static int parse(options *o, int argc, char **argv) {
    const cli_opt opts[] = {
        {"--predict", "-n", CLI_INT, "N", &o->n, -1, 1 << 30, "most tokens of an answer; -1: until the model is done"},
        {"--as", NULL, CLI_CHOICE, DOCUMENT_KIND_NAMES, &o->as, 0, 0, "read a document that is no .kv file as this kind"},
        {"--ctx", "-c", CLI_INT, "N", &o->ctx, 0, 1 << 24,
         "tokens of context; 0: as many as the model was trained for (without this option: as the .kv file says)"},
        {"--json", NULL, CLI_FLAG, NULL, &o->json, 0, 0, "print questions, answers and times as JSON"},
        {"--quiet", "-q", CLI_FLAG, NULL, &o->quiet, 0, 0, "no progress bar"},
        {.kind = CLI_HEADING, .help = "Model and machine"},
        CLI_MACHINE_ROWS(&o->machine),
        {.kind = CLI_HEADING, .help = "Cache"},
        CLI_CACHE_ROWS(&o->cache),
        {.kind = CLI_HEADING, .help = "Sampling"},
        CLI_SAMPLING_ROWS(&o->sampling),
        {0},
    };
    return cli_parse(
        &(cli_spec){.tool = tool,
                    .usage = "MODEL DOCUMENT 'QUESTION' ... [options]",
                    .summary =
                        "Answers questions about a document that kvrun read has read; each begins where reading ended, so "
                        "that they do not see each other. DOCUMENT is its .kv file, or a document, which is read first; - is "
                        "a document from standard input.",
                    .examples = "  kvrun ask packed.gguf manual.kv 'How is it reset?' 'Who made it?'\n"
                                "  kvrun ask packed.gguf - 'What is this?' < notes.txt\n",
                    .opts = opts,
                    .args = (const cli_arg[]){{"MODEL", CLI_IN, &o->model}, {"DOCUMENT", CLI_IN, &o->what}, {0}},
                    .rest = &(const cli_opt){.name = "QUESTION", .kind = CLI_STRS, .dst = &o->questions},
                    .n_required = 2},
        argc, argv);
}

static kv_status open_file(asked *a, const char *path, kv_err *err) {
    rt_session *s;
    kv_status st = rt_session_open(a->e.model, NULL, &a->cfg.ctx, path, NULL, NULL, &s, err);
    if (st)
        return st;
    a->len = rt_session_len(s);
    a->file = path;
    return gen_of(a->e.model, &a->cfg, s, &a->g, err);
}

static kv_status open_document(asked *a, const options *o, kv_err *err) {
    document d;
    ask_ids ids = {0};
    rt_session *s = NULL;
    const reading r = {.e = &a->e, .ctx = o->ctx, .quiet = o->quiet};
    kv_status st = document_read(o->what, o->as, NULL, NULL, &d, err);
    if (st)
        return st;
    if (!d.len)
        st = kv_fail(err, KV_EINVAL, "%s: there is no text in it", o->what);
    if (!st && !(st = reading_ids(&a->e, &d, &ids, err)) && !(st = reading_session(&r, d.title, &ids, &s, err))) {
        a->len = rt_session_len(s);
        st = gen_of(a->e.model, &a->cfg, s, &a->g, err);
    }
    ask_ids_free(&ids);
    document_free(&d);
    return st;
}

static kv_status open_it(asked *a, const options *o, kv_err *err) {
    kv_status st = engine_open(&(engine_cfg){tool, o->model, &o->cache, &o->machine, NULL, true}, &a->e, err);
    if (st || (st = ask_frame_new(a->e.model, &a->frame, err)) ||
        (st = cli_cache_cfg(&o->cache, a->e.profile, &a->cfg.ctx, err)))
        return st;
    if (!a->frame.format)
        cli_note_plain(tool, a->e.model);
    a->cfg.sampling = o->sampling.how;
    a->cfg.stop = cli_interrupted;
    a->cfg.ctx.n_ctx = o->ctx > 0 ? (uint32_t)o->ctx : o->ctx == 0 ? rt_model_hparams(a->e.model)->n_ctx_train : 0;
    if (strcmp(o->what, "-") && ctx_file_is(o->what))
        return open_file(a, o->what, err);
    return open_document(a, o, err);
}

/* Back to the end of the document. A budget may have let go of some of it since: then it is opened anew, or read anew. */
static kv_status go_back(asked *a, kv_err *err) {
    gen_truncate(a->g, a->len);
    if (rt_ctx_len(gen_ctx(a->g)) == a->len || !a->file)
        return KV_OK;
    gen_free(a->g);
    a->g = NULL;
    return open_file(a, a->file, err);
}

/* ---- answers ---- */

typedef struct answer {
    FILE *to; /* NULL: it is only kept */
    char *text;
    size_t len;
    double asked, first; /* when */
    FILE *kept;
} answer;

static void take(void *user, const char *text, size_t len) {
    answer *a = user;
    if (!a->len)
        a->first = clock_now();
    a->len += len;
    fwrite(text, 1, len, a->kept);
    if (!a->to)
        return;
    fwrite(text, 1, len, a->to);
    fflush(a->to);
}

static json_t *as_json(const char *question, const answer *a, const gen_stats *s) {
    json_t *j = json_object();
    cli_json_set(&j, "question", cli_json_text(question));
    cli_json_set(&j, "answer", cli_json_text(a->text));
    cli_json_set(&j, "tokens", json_integer((json_int_t)s->last_tokens));
    cli_json_set(&j, "first_token_seconds", a->len ? json_real(a->first - a->asked) : json_null());
    cli_json_set(&j, "seconds", json_real(clock_now() - a->asked));
    return j;
}

static kv_status answer_one(asked *a, const options *o, const char *question, json_t **all, gen_end *end, kv_err *err) {
    ask_ids ids = {0};
    size_t size;
    answer said = {.to = o->json ? NULL : stdout, .asked = clock_now()};
    kv_status st = go_back(a, err);
    if (st || (st = ask_tail(&a->frame, question, NULL, &ids, err)))
        goto done;
    if (!(said.kept = open_memstream(&said.text, &size))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for an answer");
        goto done;
    }
    if ((st = gen_append(a->g, ids.v, ids.n, err)) || (st = gen_answer(a->g, o->n, take, &said, end, err)))
        goto done;
    fflush(said.kept);
    if (o->json)
        cli_json_add(all, as_json(question, &said, gen_get_stats(a->g)));
    else if (!said.len || said.text[size - 1] != '\n')
        putchar('\n');
    if (ferror(said.kept) || (o->json && !*all))
        st = kv_fail(err, KV_ENOMEM, "out of memory for an answer");
    else if (!o->json && (fflush(stdout) || ferror(stdout)))
        st = kv_fail(err, KV_EIO, "cannot write the answer: %m");
    if (!st && !o->json)
        note_empty_answer(tool, a->g, *end);
done:
    if (said.kept)
        fclose(said.kept);
    free(said.text);
    ask_ids_free(&ids);
    return st;
}

static kv_status answer_all(asked *a, const options *o, bool *stopped, kv_err *err) {
    gen_end end = GEN_DONE;
    json_t *all = o->json ? json_array() : NULL;
    kv_status st = KV_OK;
    for (size_t i = 0; i < o->questions.n && !st && end != GEN_STOPPED; i++) {
        if (o->questions.n > 1 && !o->json)
            cli_say(stdout, "%s> %s\n", i ? "\n" : "", o->questions.v[i]);
        st = answer_one(a, o, o->questions.v[i], &all, &end, err);
    }
    *stopped = end == GEN_STOPPED;
    if (!st && o->json)
        st = cli_json_print(all, JSON_INDENT(2), err);
    else
        json_decref(all);
    return st;
}

int cmd_ask(int argc, char **argv) {
    options o = {.ctx = -1, .n = -1, .cache = CLI_CACHE_DEFAULT, .sampling = CLI_SAMPLING_DEFAULT};
    asked a = {.g = NULL};
    kv_err err = {0};
    bool stopped = false;
    o.sampling.how.temp = 0;
    o.sampling.seed = 0;
    const int code = parse(&o, argc, argv);
    if (code >= 0)
        return code;
    kv_status st = o.questions.n ? KV_OK : kv_fail(&err, KV_EINVAL, "no question; usage: kvrun ask MODEL DOCUMENT 'QUESTION'");
    for (size_t i = 0; i < o.questions.n && !st; i++)
        if (!*o.questions.v[i])
            st = kv_fail(&err, KV_EINVAL, "question %zu is empty", i + 1);
    if (!st && !(st = cli_sampling_read(&o.sampling, false, &err))) {
        cli_catch_signals(CLI_PATIENT);
        if (!(st = open_it(&a, &o, &err)))
            st = answer_all(&a, &o, &stopped, &err);
    }
    gen_free(a.g);
    ask_frame_free(&a.frame);
    engine_close(&a.e);
    free(o.questions.v);
    cli_sampling_free(&o.sampling);
    return st ? cli_report(tool, &err) : stopped ? CLI_INTERRUPTED : CLI_OK;
}
