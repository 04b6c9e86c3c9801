#include "kvrun/asking.h"

#include "base/clock.h"
#include "cli/cli_json.h"
#include "kvrun/conversation.h"
#include "kvrun/reading.h"

#include <stdlib.h>

/* A document that was read, and how to come back to its end. */
typedef struct asked {
    const asking *how;
    ask_frame frame;
    gen_cfg cfg;
    gen *g;
    uint32_t len;     /* tokens of the document */
    const char *file; /* .kv file; NULL: it was read just now */
    double seconds;   /* from the model to a document that can be asked about */
} asked;

kv_status asking_check(const cli_strs *questions, const char *usage, kv_err *err) {
    if (!questions->n)
        return kv_fail(err, KV_EINVAL, "no question; usage: %s", usage);
    for (size_t i = 0; i < questions->n; i++)
        if (!*questions->v[i])
            return kv_fail(err, KV_EINVAL, "question %zu is empty", i + 1);
    return KV_OK;
}

/* ---- coming to the end of the document ---- */

static kv_status prepare(asked *a, kv_err *err) {
    const asking *how = a->how;
    const engine *e = how->e;
    kv_status st = ask_frame_new(e->model, &a->frame, err);
    if (st || (st = cli_cache_cfg(e->cfg.cache, e->profile, &a->cfg.ctx, err)))
        return st;
    if (!a->frame.format)
        cli_note_plain(e->cfg.tool, e->model);
    a->cfg.sampling = how->sampling;
    a->cfg.lookup = true; /* answers quote */
    a->cfg.stop = cli_interrupted;
    a->cfg.ctx.n_ctx = how->ctx > 0 ? (uint32_t)how->ctx : how->ctx == 0 ? rt_model_hparams(e->model)->n_ctx_train : 0;
    return KV_OK;
}

static kv_status open_file(asked *a, const char *path, kv_err *err) {
    rt_session *s;
    kv_status st = rt_session_open(a->how->e->model, NULL, &a->cfg.ctx, path, NULL, NULL, &s, err);
    if (st)
        return st;
    a->len = rt_session_len(s);
    a->file = path;
    return gen_of(a->how->e->model, &a->cfg, s, &a->g, err);
}

static kv_status open_document(asked *a, const char *path, const char *as, kv_err *err) {
    document d;
    ask_ids ids = {0};
    rt_session *s = NULL;
    engine *e = a->how->e;
    const reading r = {.e = e, .ctx = a->how->ctx, .quiet = a->how->quiet, .memory = a->how->memory};
    kv_status st = document_read(path, as, NULL, NULL, &d, err);
    if (st)
        return st;
    if (!d.len)
        st = kv_fail(err, KV_EINVAL, "%s: there is no text in it", path);
    if (!st && !(st = reading_ids(e, &d, &ids, err)) && !(st = reading_session(&r, d.title, &ids, &s, err))) {
        a->len = rt_session_len(s);
        st = gen_of(e->model, &a->cfg, s, &a->g, err);
    }
    ask_ids_free(&ids);
    document_free(&d);
    return st;
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

static json_t *as_json(const asked *d, const char *question, const answer *a) {
    json_t *j = json_object();
    if (d->how->name)
        cli_json_set(&j, "document", cli_json_text(d->how->name));
    cli_json_set(&j, "question", cli_json_text(question));
    cli_json_set(&j, "answer", cli_json_text(a->text));
    cli_json_set(&j, "tokens", json_integer((json_int_t)gen_get_stats(d->g)->last_tokens));
    cli_json_set(&j, "document_tokens", json_integer(d->len));
    cli_json_set(&j, "document_seconds", json_real(d->seconds));
    cli_json_set(&j, "first_token_seconds", a->len ? json_real(a->first - a->asked) : json_null());
    cli_json_set(&j, "seconds", json_real(clock_now() - a->asked));
    return j;
}

static kv_status answer_one(asked *a, const char *question, json_t **all, gen_end *end, kv_err *err) {
    const asking *how = a->how;
    ask_ids ids = {0};
    size_t size;
    answer said = {.to = how->json ? NULL : stdout, .asked = clock_now()};
    kv_status st = go_back(a, err);
    if (st || (st = ask_tail(&a->frame, question, NULL, &ids, err)))
        goto done;
    if (!(said.kept = open_memstream(&said.text, &size))) {
        st = kv_fail(err, KV_ENOMEM, "out of memory for an answer");
        goto done;
    }
    if ((st = gen_append(a->g, ids.v, ids.n, err)) || (st = gen_answer(a->g, how->n, take, &said, end, err)))
        goto done;
    fflush(said.kept);
    if (how->json)
        cli_json_add(all, as_json(a, question, &said));
    else if (!said.len || said.text[size - 1] != '\n')
        putchar('\n');
    if (ferror(said.kept) || (how->json && !*all))
        st = kv_fail(err, KV_ENOMEM, "out of memory for an answer");
    else if (!how->json && (fflush(stdout) || ferror(stdout)))
        st = kv_fail(err, KV_EIO, "cannot write the answer: %m");
    if (!st && !how->json)
        note_empty_answer(how->e->cfg.tool, a->g, *end);
done:
    if (said.kept)
        fclose(said.kept);
    free(said.text);
    ask_ids_free(&ids);
    return st;
}

static kv_status answer_all(asked *a, bool *stopped, kv_err *err) {
    const asking *how = a->how;
    gen_end end = GEN_DONE;
    json_t *all = how->json ? json_array() : NULL;
    kv_status st = KV_OK;
    for (size_t i = 0; i < how->questions->n && !st && end != GEN_STOPPED; i++) {
        if (how->questions->n > 1 && !how->json)
            cli_say(stdout, "%s> %s\n", i ? "\n" : "", how->questions->v[i]);
        st = answer_one(a, how->questions->v[i], &all, &end, err);
    }
    *stopped = end == GEN_STOPPED;
    if (!st && how->json)
        st = cli_json_print(all, JSON_INDENT(2), err);
    else
        json_decref(all);
    return st;
}

/* Of the file, or of another document where there is none. */
static kv_status ask(const asking *how, const char *file, const char *other, const char *as, bool *stopped, kv_err *err) {
    asked a = {.how = how};
    const double started = clock_now();
    *stopped = false;
    kv_status st = prepare(&a, err);
    if (!st)
        st = file ? open_file(&a, file, err) : open_document(&a, other, as, err);
    a.seconds = clock_now() - started;
    if (!st)
        st = answer_all(&a, stopped, err);
    gen_free(a.g);
    ask_frame_free(&a.frame);
    return st;
}

kv_status asking_file(const asking *how, const char *path, bool *stopped, kv_err *err) {
    return ask(how, path, NULL, NULL, stopped, err);
}

kv_status asking_document(const asking *how, const char *path, const char *as, bool *stopped, kv_err *err) {
    return ask(how, NULL, path, as, stopped, err);
}
