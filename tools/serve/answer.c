/* What a request says, as JSON; and errors as answers. */
#include "serve/body.h"
#include "serve/server.h"

#include <string.h>

enum { RETRY_SECONDS = 2 };

kv_status answer_json(const sv_exchange *x, json_t **out, kv_err *err) {
    return body_read(x->body.s + x->body.at, out_waiting(&x->body), out, err);
}

/* ---- errors ---- */

/* In whose shape errors of a path are that there is no route for. */
static const sv_dialect *dialect_of(const char *path) {
    return !strncmp(path, "/api/", 5) ? &sv_ollama_chat : !strncmp(path, "/v1/messages", 12) ? &sv_messages : &sv_chat;
}

void answer_refuse(sv_exchange *x, int http, const char *message) {
    const sv_dialect *d = x->r ? x->r->d : dialect_of(x->path ? x->path : "");
    out_free(&x->out);
    x->http = http;
    if (http == 429 || http == 503)
        x->retry_after = RETRY_SECONDS;
    out_json(&x->out, d->error(http, KV_EINVAL, message));
}

void answer_error(sv_exchange *x, kv_status st, const char *message) {
    const sv_dialect *d = x->r->d;
    if (!x->http && st == KV_EBUSY) {
        x->http = atomic_load(&x->sv->stopping) ? 503 : 429;
        atomic_fetch_add(&x->sv->n_refused, 1);
    }
    if (!x->http)
        x->http = http_of(st);
    if (x->http == 429 || x->http == 503)
        x->retry_after = RETRY_SECONDS;
    out_free(&x->out);
    out_json(&x->out, d->error(x->http, st, message));
}

kv_status answer_model(sv_exchange *x, const char *name, kv_err *err) {
    sv_model *m = models_find(&x->sv->models, name);
    if (!m) {
        x->http = 404;
        return kv_fail(err, KV_EINVAL, "model: there is no '%.100s' here (GET /v1/models lists them)", name);
    }
    kv_status st = models_take(m, &x->later, err);
    if (!st)
        x->model = m;
    return st;
}
