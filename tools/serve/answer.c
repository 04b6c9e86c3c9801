/* What a request says, as JSON; and errors as answers. */
#include "serve/server.h"

#include <string.h>

enum { MOST_VALUES = 1 << 20, RETRY_SECONDS = 2 };

/* ---- reading ---- */

/* What JSON takes in memory is a matter of how many values there are, rather than of its bytes. */
static bool too_many_values(const char *s, size_t n) {
    size_t count = 0;
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        if (inside && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            inside = !inside;
        else if (!inside)
            count += s[i] == ',' || s[i] == '[' || s[i] == '{';
    }
    return count > MOST_VALUES;
}

kv_status answer_json(const sv_exchange *x, json_t **out, kv_err *err) {
    json_error_t e;
    const size_t n = out_waiting(&x->body);
    if (!n)
        return kv_fail(err, KV_EINVAL, "the request has no body; it must be a JSON object");
    if (too_many_values(x->body.s + x->body.at, n))
        return kv_fail(err, KV_EINVAL, "the JSON of the request has more than %d values", MOST_VALUES);
    if (!(*out = json_loadb(x->body.s + x->body.at, n, 0, &e)))
        return kv_fail(err, KV_EINVAL, "the request is no JSON: %s (line %d, column %d)", e.text, e.line, e.column);
    if (json_is_object(*out))
        return KV_OK;
    json_decref(*out);
    *out = NULL;
    return kv_fail(err, KV_EINVAL, "the request must be a JSON object");
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
    kv_status st = models_take(m, err);
    if (!st)
        x->model = m;
    return st;
}
