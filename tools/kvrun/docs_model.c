/* kvrun docs add and ask: where the library of documents and a model meet. */
#include "base/atomic_file.h"
#include "base/format.h"
#include "base/printable.h"
#include "cli/cli_models.h"
#include "kvrun/asking.h"
#include "kvrun/docs.h"
#include "kvrun/docs_show.h"
#include "kvrun/reading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A model that is open, and what the library knows it by. */
typedef struct reader {
    const docs_options *o;
    engine e;
    char name[LIBRARY_NAME + 1], hash[33];
    char *partial; /* what was read of a document when reading stops midway */
    char path[CLI_FOLDER];
} reader;

/* As much of a text as the library takes for a name, as one line. */
static const char *one_line(const char *s, char out[LIBRARY_NAME + 1]) {
    printable(s, strlen(s), NULL, out, LIBRARY_NAME + 1);
    return out;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* The caller closes r->e in every case. */
static kv_status open_reader(const docs_options *o, reader *r, kv_err *err) {
    const char *path = r->path;
    r->o = o;
    kv_status st = cli_model_path(o->words.v[0], r->path, NULL, err);
    if (st || (st = engine_open(&(engine_cfg){docs_tool, path, &o->cache, &o->machine, NULL, true}, &r->e, err)) ||
        (st = rt_model_identity(r->e.model, cli_go_on, NULL, r->hash, err)))
        return st;
    const char *name = rt_model_hparams(r->e.model)->name;
    one_line(*name ? name : base_name(path), r->name);
    return KV_OK;
}

/* ---- add ---- */

/* What is added: a file, or a document of the library that is read anew from its text. */
typedef struct piece {
    document d;
    char *name, *title, *source;
    bool again; /* even if it is there */
} piece;

static void piece_free(piece *p) {
    document_free(&p->d);
    free(p->name);
    free(p->title);
    free(p->source);
}

static kv_status set_piece(piece *p, const char *name, const char *title, const char *source, kv_err *err) {
    p->name = strdup(name);
    p->title = strdup(title);
    p->source = strdup(source);
    return p->name && p->title && p->source ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for a document");
}

/* Whoever read it last. */
static kv_status take_kept(library *l, const char *name, piece *p, kv_err *err) {
    library_list found;
    kv_err why = {0};
    kv_status st = library_find(l, name, NULL, &found, &why);
    if (st == KV_EINVAL)
        return kv_fail(err, KV_EIO, "%s: there is no such file, and %s", name, why.msg);
    if (st)
        return kv_fail(err, st, "%s", why.msg);
    const library_document *d = &found.v[0];
    p->again = true;
    if (!(st = document_read(d->text_path, "text", cli_go_on, NULL, &p->d, err)))
        st = set_piece(p, d->name, d->title, d->source, err);
    library_list_free(&found);
    return st;
}

static kv_status take_piece(const docs_options *o, library *l, const char *path, piece *p, kv_err *err) {
    char title[LIBRARY_NAME + 1];
    const bool is_stdin = !strcmp(path, "-");
    kv_status st;
    *p = (piece){.again = o->again};
    if (is_stdin && !o->name)
        return kv_fail(err, KV_EINVAL, "a document from standard input has no name: say --name NAME");
    if (!is_stdin && access(path, F_OK) && errno == ENOENT)
        st = take_kept(l, path, p, err);
    else if (!(st = document_read(path, o->as, cli_go_on, NULL, &p->d, err)))
        st = set_piece(p, o->name ? o->name : base_name(path), one_line(p->d.title, title), path, err);
    if (!st && !p->d.len)
        st = kv_fail(err, KV_EINVAL, "%s: there is no text in it", path);
    if (st)
        piece_free(p);
    return st;
}

/* Whether the same text is there under this name, read by this model. */
static bool is_there(library *l, const piece *p, const char *hash) {
    library_list found;
    char *text = NULL;
    size_t len;
    if (library_find(l, p->name, hash, &found, NULL))
        return false;
    const library_document *d = &found.v[0];
    const bool same = !strcmp(d->name, p->name) && !d->missing && !file_read(d->text_path, DOCUMENT_MAX, &text, &len, NULL) &&
                      len == p->d.len && !memcmp(text, p->d.text, len);
    if (same)
        library_touch(l, d->id, NULL);
    library_list_free(&found);
    free(text);
    return same;
}

/* One for each model, beside the library: the same command goes on from it. */
static kv_status set_partial(reader *r, const library *l, kv_err *err) {
    if (asprintf(&r->partial, "%s/reading-%s.partial", library_folder(l), r->hash) < 0)
        r->partial = NULL;
    return r->partial ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory for a path");
}

static kv_status add_piece(reader *r, library *l, const piece *p, kv_err *err) {
    const library_entry e = {p->name, p->title, p->source, r->name, r->hash, p->d.text, p->d.len};
    const reading how = {.e = &r->e, .ctx = r->o->ctx, .partial = r->partial, .quiet = r->o->quiet};
    char bytes[FORMAT_BYTES], f16[FORMAT_BYTES];
    reading_result got = {0};
    library_list gone = {0};
    library_adding *a = NULL;
    kv_status st = library_add_begin(l, &e, &a, err);
    if (st)
        return st;
    if ((st = reading_to_file(&how, &p->d, p->title, library_adding_path(a), false, &got, err)))
        library_add_abandon(a);
    else
        st = library_add_commit(a, got.tokens, &gone, err);
    if (st)
        return st;
    cli_note(docs_tool, "%s: %u tokens in %.1f s, %s (f16: %s)", p->name, got.tokens, got.seconds,
             format_bytes((double)got.bytes, bytes), format_bytes((double)got.bytes_f16, f16));
    docs_note_gone(&gone);
    return KV_OK;
}

kv_status docs_add(const docs_options *o, kv_err *err) {
    reader r = {.o = NULL};
    library *l = NULL;
    kv_status st = KV_OK;
    if (o->name && o->words.n > 2)
        return kv_fail(err, KV_EINVAL, "--name is for one document; %zu are given", o->words.n - 1);
    if ((st = library_open(NULL, LIBRARY_WRITE, &l, err)) || (st = open_reader(o, &r, err)) || (st = set_partial(&r, l, err)))
        goto done;
    for (size_t i = 1; i < o->words.n && !st; i++) {
        piece p;
        if ((st = take_piece(o, l, o->words.v[i], &p, err)))
            break;
        if (!p.again && is_there(l, &p, r.hash))
            cli_note(docs_tool, "%s is there already (--again: read it once more)", p.name);
        else
            st = add_piece(&r, l, &p, err);
        piece_free(&p);
    }
done:
    free(r.partial);
    engine_close(&r.e);
    library_close(l);
    return st;
}

/* ---- ask ---- */

/* Whose cache is asked: of the name, or the one that fits the words best. */
static kv_status choose(const reader *r, library *l, const char *name, const char *about, library_list *out, kv_err *err) {
    kv_err why = {0};
    kv_status st = name ? library_find(l, name, r->hash, out, &why) : library_pick(l, about, r->hash, 1, out, &why);
    if (st == KV_EINVAL && name)
        return kv_fail(err, st, "%s ('kvrun docs add %s %s' reads it)", why.msg, r->o->words.v[0], name);
    if (st)
        return kv_fail(err, st, "%s", why.msg);
    if (!out->n)
        return kv_fail(err, KV_EINVAL,
                       "no document that this model has read has any word of '%s'; name one ('kvrun docs list')", about);
    if (!name)
        cli_note(docs_tool, "asking %s", out->v[0].name);
    return KV_OK;
}

/* Another process may have removed or replaced it between finding and opening: then it is looked for once more. */
static kv_status ask_kept(reader *r, library *l, const char *name, const char *about, asking *how, bool *stopped, kv_err *err) {
    kv_status st = KV_OK;
    bool gone = false;
    for (int tries = 0; tries < 2 && (!tries || gone); tries++) {
        library_list found = {0};
        if ((st = choose(r, l, name, about, &found, err)))
            return st;
        const library_document *d = &found.v[0];
        how->name = d->name;
        if (d->missing)
            st = kv_fail(err, KV_EIO, "the cache of %s has vanished; 'kvrun docs add %s %s' reads it anew", d->name,
                         r->o->words.v[0], d->name);
        else if ((st = asking_file(how, d->payload_path, stopped, err)) == KV_EMISMATCH)
            kv_fail(err, st, "%s; 'kvrun docs add %s %s' reads it anew", err->msg, r->o->words.v[0], d->name);
        else if (!st && library_touch(l, d->id, err)) /* the answers are there */
            cli_note(docs_tool, "that %s was used now could not be kept: %s", d->name, err->msg);
        gone = st == KV_EIO && !d->missing && access(d->payload_path, F_OK);
        library_list_free(&found);
    }
    return st;
}

kv_status docs_ask(const docs_options *o, bool *stopped, kv_err *err) {
    const size_t n = o->words.n - 1;
    const bool named = !o->about && n > 1;
    const char *name = named ? o->words.v[1] : NULL, *about = o->about ? o->about : n ? o->words.v[1] : NULL;
    const cli_strs questions = {o->words.v + 1 + named, n - named};
    reader r = {.o = NULL};
    library *l = NULL;
    library_list found = {0};
    kv_status st = asking_check(&questions, "kvrun docs ask MODEL [NAME] 'QUESTION'", err);
    if (st || (st = library_open(NULL, LIBRARY_READ, &l, err)))
        return st;
    if (named && (st = library_find(l, name, NULL, &found, err))) /* before the model is loaded for nothing */
        goto done;
    if ((st = open_reader(o, &r, err)))
        goto done;
    rt_sampling sampling = RT_SAMPLING_DEFAULT;
    sampling.temp = o->temp;
    sampling.seed = (uint64_t)o->seed;
    asking how = {
        .e = &r.e, .questions = &questions, .ctx = o->ctx, .n = o->n, .sampling = sampling, .json = o->json, .quiet = o->quiet};
    st = ask_kept(&r, l, name, about, &how, stopped, err);
done:
    library_list_free(&found);
    engine_close(&r.e);
    library_close(l);
    return st;
}
