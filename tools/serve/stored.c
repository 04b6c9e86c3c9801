/* Contexts by name: texts that were read once and kept in .kv files, as kvrun read makes them, for requests to go on from. */
#include "serve/handlers.h"

#include "base/folder.h"
#include "context/context_file.h"
#include "document/document.h"
#include "measure/ask.h"
#include "serve/guard.h"
#include "session/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char ending[] = ".kv";

/* ---- names ---- */

static kv_status path_of(const sv_server *sv, const char *name, char path[4096], kv_err *err) {
    if (!sv->cfg->contexts)
        return kv_fail(err, KV_EUNSUPP, "contexts are not kept here (kvrun serve --contexts DIR)");
    if (!guard_name(name))
        return kv_fail(err, KV_EINVAL,
                       "name: of letters, digits, '-', '_' and '.', not beginning with '.', at most 64 of them");
    if ((size_t)snprintf(path, 4096, "%s/%s%s", sv->cfg->contexts, name, ending) >= 4096)
        return kv_fail(err, KV_EINVAL, "name: the path is too long");
    return KV_OK;
}

kv_status stored_path(const sv_server *sv, const char *name, char path[4096], kv_err *err) {
    kv_status st = path_of(sv, name, path, err);
    if (!st && access(path, R_OK))
        st = kv_fail(err, KV_EINVAL, "kv_context: there is no context '%s' (GET /v1/contexts lists them)", name);
    return st;
}

/* ---- listing ---- */

/* NULL: it is no context that can be read. */
static json_t *row_of(const char *path, const char *name) {
    ctx_file *f;
    ctx_about about;
    struct stat st;
    json_t *row = NULL;
    if (stat(path, &st) || ctx_file_open(path, false, NULL, NULL, &f, NULL))
        return NULL;
    if (!ctx_file_about(f, &about, NULL))
        row = json_pack("{s:s,s:s,s:o,s:o,s:I,s:I,s:I,s:I}", "object", "context", "name", name, "title",
                        out_string(about.title, strlen(about.title)), "model", out_string(about.model, strlen(about.model)),
                        "tokens", (json_int_t)about.n_tokens, "bytes", (json_int_t)st.st_size, "bytes_f16",
                        (json_int_t)about.bytes_f16, "created", (json_int_t)about.saved);
    ctx_file_close(f);
    return row;
}

kv_status handle_contexts(sv_exchange *x, kv_err *err) {
    const char *folder = x->sv->cfg->contexts;
    DIR *d = folder ? opendir(folder) : NULL;
    json_t *all = json_array();
    (void)err;
    for (const struct dirent *e; d && (e = readdir(d));) {
        const size_t n = strlen(e->d_name), end = strlen(ending);
        char name[256], path[4096];
        if (n <= end || strcmp(e->d_name + n - end, ending))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(n - end), e->d_name);
        if (path_of(x->sv, name, path, NULL))
            continue;
        json_t *row = row_of(path, name);
        if (row)
            json_array_append_new(all, row);
    }
    if (d)
        closedir(d);
    out_json(&x->out, json_pack("{s:s,s:o}", "object", "list", "data", all));
    return KV_OK;
}

/* ---- making ---- */

static bool still_wanted(void *user, double done) {
    sv_exchange *x = user;
    (void)done;
    pthread_mutex_lock(&x->lock);
    const bool gone = x->gone;
    pthread_mutex_unlock(&x->lock);
    return !gone && !atomic_load(&x->sv->stopping);
}

/* The same where the thread that reads is the only one that makes a context. */
static bool reading(void *user, double done) {
    sv_exchange *x = user;
    atomic_store(&x->sv->made, (int)(1000 * done));
    return still_wanted(x, done);
}

static kv_status ids_of(const rt_model *m, const char *text, size_t len, ask_ids *ids, kv_err *err) {
    ask_frame f;
    kv_status st = ask_frame_new(m, &f, err);
    if (!st && !(st = ask_head(&f, NULL, ids, err)))
        st = ask_document(&f, text, len, ids, err);
    ask_frame_free(&f);
    return st;
}

static kv_status read_text(sv_exchange *x, const char *path, const char *title, const char *text, size_t len, kv_err *err) {
    const sv_server *sv = x->sv;
    const rt_save_cfg save = {.title = title, .program = "kvrun serve " KV_TOOL_VERSION, .lean = true};
    ask_ids ids = {0};
    rt_session *s = NULL;
    const sv_model *m = x->model;
    rt_ctx_cfg cfg = m->m.ctx;
    cfg.checkpoint_every = 0; /* questions go on from its end: other places to go back to would be half of the file */
    kv_status st = ids_of(m->m.model, text, len, &ids, err);
    if (!st && ids.n >= m->engine.n_ctx)
        st = kv_fail(err, KV_ERANGE, "the text does not fit into the context: n_prompt_tokens = %zu, n_ctx = %u", ids.n,
                     m->engine.n_ctx);
    if (st || (st = rt_session_new(m->m.model, &cfg, &s, err)) || (st = rt_session_add(s, ids.v, ids.n, err)) ||
        (st = rt_session_read(s, reading, x, err)) || (st = rt_session_checkpoint(s, err)) ||
        (st = folder_make(sv->cfg->contexts, err)))
        goto done;
    st = rt_session_save(s, path, &save, NULL, NULL, err);
done:
    rt_session_free(s);
    ask_ids_free(&ids);
    return st;
}

/* One at a time: it takes as much memory as a slot, and as much time as all of them. */
static kv_status make(sv_exchange *x, const char *model, const char *name, const char *title, const char *text, size_t len,
                      kv_err *err) {
    sv_server *sv = x->sv;
    char path[4096];
    kv_status st = path_of(sv, name, path, err);
    if (st)
        return st;
    if (!len)
        return kv_fail(err, KV_EINVAL, "text: there is none");
    if ((st = answer_model(x, model, err)))
        return st;
    if (pthread_mutex_trylock(&sv->making))
        return kv_fail(err, KV_EBUSY, "another context is being made");
    atomic_store(&sv->made, 0);
    st = read_text(x, path, title ? title : name, text, len, err);
    atomic_store(&sv->made, -1000);
    pthread_mutex_unlock(&sv->making);
    if (st)
        return st;
    x->http = 201;
    json_t *row = row_of(path, name);
    if (!row)
        return kv_fail(err, KV_EIO, "what was written cannot be read again");
    out_json(&x->out, row);
    return KV_OK;
}

kv_status handle_context_new(sv_exchange *x, kv_err *err) {
    json_t *body = NULL;
    const json_t *text, *title;
    char name[SV_NAME] = "", model[SV_NAME] = "";
    kv_status st = answer_json(x, &body, err);
    if (!st && !(st = take_name(body, "name", name, err)) && !(st = take_name(body, "model", model, err)) &&
        !(st = take_kind(body, "text", JSON_STRING, &text, err)) && !(st = take_kind(body, "title", JSON_STRING, &title, err)))
        st = text ? make(x, model, name, title ? json_string_value(title) : NULL, json_string_value(text),
                         json_string_length(text), err)
                  : kv_fail(err, KV_EINVAL, "text: is missing");
    json_decref(body);
    return st;
}

/* A file of any kind of document (docs/documents.md). It is read where documents are always read: from the disk. */
kv_status handle_context_put(sv_exchange *x, kv_err *err) {
    const char *name = x->path + strlen(x->r->path), *as = exchange_query(x, "as"), *model = exchange_query(x, "model"),
               *tmp = getenv("TMPDIR");
    char path[4096];
    document d = {0};
    kv_status st = path_of(x->sv, name, path, err);
    if (st)
        return st;
    snprintf(path, sizeof path, "%s/kvrun-upload-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    const int fd = mkstemp(path);
    if (fd < 0)
        return kv_fail(err, KV_EIO, "cannot keep what was sent: %m");
    const size_t n = out_waiting(&x->body);
    if (n && write(fd, x->body.s + x->body.at, n) != (ssize_t)n)
        st = kv_fail(err, KV_EIO, "cannot keep what was sent: %m");
    close(fd);
    kv_err why = {0};
    if (!st && (st = document_read(path, as, still_wanted, x, &d, &why))) {
        const char *at = strncmp(why.msg, path, strlen(path)) ? NULL : why.msg + strlen(path);
        kv_fail(err, st, "the document%s%s", at ? "" : ": ", at ? at : why.msg);
    }
    unlink(path);
    if (!st)
        st = make(x, model ? model : "", name, exchange_query(x, "title"), d.text, d.len, err);
    document_free(&d);
    return st;
}

kv_status handle_context_delete(sv_exchange *x, kv_err *err) {
    const char *name = x->path + strlen(x->r->path);
    char path[4096];
    kv_status st = path_of(x->sv, name, path, err);
    if (st)
        return st;
    if (unlink(path)) {
        x->http = errno == ENOENT ? 404 : 500;
        return kv_fail(err, KV_EIO, "there is no context '%s', or it cannot be removed: %m", name);
    }
    out_json(&x->out, json_pack("{s:s,s:b}", "name", name, "deleted", 1));
    return KV_OK;
}
