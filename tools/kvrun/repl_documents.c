/* Documents and files of a chat: /read, /docs, /save and /load. */
#include "kvrun/repl_internal.h"

#include "base/clock.h"
#include "base/format.h"
#include "context/context_file.h"
#include "document/document.h"
#include "library/library.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ---- */

/* kept: as of conversation_read. */
static kv_status read_document(repl *r, const document *d, const char *name, const char *kept, kv_err *err) {
    const double started = clock_now();
    conversation_read_result got;
    cli_progress bar;
    if (!d->len)
        return kv_fail(err, KV_EINVAL, "%s: there is no text in it", name);
    cli_progress_start(&bar, "reading", false);
    kv_status st = conversation_read(r->cfg.c, d->text, d->len, kept, cli_progress_show, &bar, &got, err);
    cli_progress_end(&bar);
    if (st == KV_ECANCEL)
        return kv_fail(err, st, "%s: stopped; reading it again goes on from there", name);
    if (st)
        return st;
    if (got.read <= got.tokens / 2) /* not for the words in front of it alone */
        cli_note(r->cfg.tool, "%s: %u tokens, of which %u were read before, in %.1f s; what is asked next is about it", name,
                 got.tokens, got.tokens - got.read, clock_now() - started);
    else
        cli_note(r->cfg.tool, "%s: %u tokens, read in %.1f s; what is asked next is about it", name, got.tokens,
                 clock_now() - started);
    return KV_OK;
}

kv_status repl_read(repl *r, const char *arg, kv_err *err) {
    document d;
    char *path = repl_path(arg);
    kv_status st = path ? KV_OK : kv_fail(err, KV_ENOMEM, "out of memory");
    if (!st && ctx_file_is(path))
        st = kv_fail(err, KV_EINVAL, "%s: is a .kv file: /load goes on with a chat, 'kvrun ask' asks a document", path);
    if (!st && !(st = document_read(path, NULL, cli_go_on, NULL, &d, err))) {
        st = read_document(r, &d, arg, NULL, err);
        document_free(&d);
    }
    free(path);
    return st;
}

/* ---- the library ---- */

static kv_status list_documents(library *l, kv_err *err) {
    library_list all = {0};
    kv_status st = library_all(l, LIBRARY_BY_USE, &all, err);
    for (size_t i = 0; i < all.n && !st; i++) {
        size_t same = 0; /* once for each name, whoever read it */
        while (strcmp(all.v[same].name, all.v[i].name) != 0)
            same++;
        if (same == i)
            cli_say(stderr, "  %s  (%u tokens)\n", all.v[i].name, all.v[i].tokens);
    }
    if (!st && !all.n)
        fputs("  There are no documents: 'kvrun docs add MODEL FILE...' adds some.\n", stderr);
    library_list_free(&all);
    return st;
}

/* The one that this model has read, with what it made of it; else as any has. */
static kv_status find_document(repl *r, library *l, const char *name, library_list *out, bool *own, kv_err *err) {
    char hash[33];
    kv_status st = rt_model_identity(r->cfg.e->model, cli_go_on, NULL, hash, err);
    if (st)
        return st;
    *own = !library_find(l, name, hash, out, NULL) && !out->v[0].missing;
    if (*own)
        return KV_OK;
    library_list_free(out);
    return library_find(l, name, NULL, out, err);
}

static kv_status read_kept(repl *r, library *l, const char *name, kv_err *err) {
    library_list found = {0};
    document d;
    bool own = false;
    kv_status st = find_document(r, l, name, &found, &own, err);
    if (!st && !(st = document_read(found.v[0].text_path, "text", cli_go_on, NULL, &d, err))) {
        if (!(st = read_document(r, &d, found.v[0].name, own ? found.v[0].payload_path : NULL, err)))
            library_touch(l, found.v[0].id, NULL); /* where that fails it counts as used less */
        document_free(&d);
    }
    library_list_free(&found);
    return st;
}

kv_status repl_docs(repl *r, const char *arg, kv_err *err) {
    library *l = NULL;
    kv_status st = library_open(NULL, LIBRARY_READ, &l, err);
    if (!st)
        st = *arg ? read_kept(r, l, arg, err) : list_documents(l, err);
    library_close(l);
    return st;
}

void repl_offer_documents(const char *word, repl_offers *out) {
    library *l = NULL;
    library_list all = {0};
    if (!library_open(NULL, LIBRARY_READ, &l, NULL) && !library_all(l, LIBRARY_BY_NAME, &all, NULL))
        for (size_t i = 0; i < all.n; i++)
            if (!i || strcmp(all.v[i].name, all.v[i - 1].name) != 0)
                repl_offer(out, word, all.v[i].name, "");
    library_list_free(&all);
    library_close(l);
}

/* ---- chats in files ---- */

/* What is there and is none of ours stays. */
static kv_status may_write(const char *path, kv_err *err) {
    struct stat info;
    if (stat(path, &info) || !info.st_size || ctx_file_is(path))
        return KV_OK;
    return kv_fail(err, KV_EINVAL, "%s: is there, and is no .kv file: it stays as it is", path);
}

static void keep_path(repl *r, char *path) {
    free(r->saved);
    r->saved = path;
}

kv_status repl_save(repl *r, const char *arg, kv_err *err) {
    struct stat info;
    char bytes[FORMAT_BYTES];
    cli_progress bar;
    if (!*arg && !r->saved)
        return kv_fail(err, KV_EINVAL, "where to? /save FILE.kv");
    char *path = *arg ? repl_path(arg) : strdup(r->saved);
    if (!path)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    kv_status st = may_write(path, err);
    if (!st) {
        cli_progress_start(&bar, "saving", false);
        st = conversation_save(r->cfg.c, path, cli_progress_show, &bar, err);
        cli_progress_end(&bar);
    }
    if (st) {
        free(path);
        return st;
    }
    const size_t n = conversation_turns(r->cfg.c);
    const bool known = !stat(path, &info);
    cli_note(r->cfg.tool, "%s: %zu turn%s, %zu tokens, %s", path, n, n == 1 ? "" : "s", gen_len(r->cfg.g),
             known ? format_bytes((double)info.st_size, bytes) : "written");
    keep_path(r, path);
    return KV_OK;
}

/* So that one sees where it was. */
static void show_last(const conversation *c) {
    const char *question, *answer;
    if (!conversation_last(c, &question, &answer))
        return;
    const size_t len = strlen(answer);
    cli_say(stderr, "> %s\n%s%s", question, answer, len && answer[len - 1] == '\n' ? "" : "\n");
}

kv_status repl_load(repl *r, const char *arg, kv_err *err) {
    const double started = clock_now();
    cli_progress bar;
    char *path = repl_path(arg);
    if (!path)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    cli_progress_start(&bar, "loading", false);
    kv_status st = conversation_load(r->cfg.c, path, &r->cfg.load, cli_progress_show, &bar, err);
    cli_progress_end(&bar);
    if (st) {
        free(path);
        return st;
    }
    const size_t n = conversation_turns(r->cfg.c);
    cli_note(r->cfg.tool, "%s: going on after %zu turn%s, %zu tokens (%.2f s)", path, n, n == 1 ? "" : "s", gen_len(r->cfg.g),
             clock_now() - started);
    show_last(r->cfg.c);
    keep_path(r, path);
    return KV_OK;
}
