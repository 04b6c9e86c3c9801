/* Questions: a body in some dialect becomes a speech; and texts become tokens and the other way round. */
#include "serve/handlers.h"
#include "serve/prompts.h"

#include "base/clock.h"
#include "text/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void draw_id(char id[25]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab";
    unsigned char bytes[24] = {0};
    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        snprintf((char *)bytes, sizeof bytes, "%.9f", clock_now());
    for (size_t i = 0; i < sizeof bytes; i++)
        id[i] = letters[bytes[i] & 63];
    id[24] = '\0';
}

/* The body as d has it; q is to be freed in any case. */
static kv_status read_request(sv_exchange *x, const sv_dialect *d, sv_request *q, kv_err *err) {
    const sv_defaults defaults = {x->sv->cfg->sampling, x->sv->cfg->n_predict};
    json_t *body = NULL;
    request_init(q, &defaults);
    kv_status st = answer_json(x, &body, err);
    if (!st)
        st = d->read(body, q, err);
    json_decref(body);
    return st;
}

static void let_go(void *model) {
    models_leave(model);
}

kv_status handle_ask(sv_exchange *x, kv_err *err) {
    sv_server *sv = x->sv;
    sv_request q;
    sv_speech *s = NULL;
    char id[25], path[4096] = "", name[SV_NAME];
    const sv_dialect *d = x->r->d;
    kv_status st = read_request(x, d, &q, err);
    if (!st && *q.context)
        st = stored_path(sv, q.context, path, err);
    if (!st)
        st = answer_model(x, q.model, err);
    if (st) {
        request_free(&q);
        return st;
    }
    draw_id(id);
    snprintf(name, sizeof name, "%s", *q.model ? q.model : x->model->name);
    const sv_speech_cfg cfg = {.e = &x->model->engine,
                               .d = d,
                               .id = id,
                               .model = name,
                               .context = *path ? path : NULL,
                               .since = x->since,
                               .wake = exchange_wake,
                               .user = x,
                               .freed = let_go,
                               .owner = x->model};
    models_peek(x->model); /* for the speech, which may live longer than the exchange */
    if ((st = speech_new(&cfg, &q, &s, err)) || (st = speech_start(s, err))) {
        if (s) {
            speech_cancel(s);
            speech_leave(s);
        }
        return st;
    }
    pthread_mutex_lock(&x->lock);
    x->speech = s;
    pthread_mutex_unlock(&x->lock);
    return KV_OK;
}

/* ---- texts and tokens ---- */

static kv_status model_of(sv_exchange *x, const json_t *body, const tok **t, kv_err *err) {
    char name[SV_NAME] = "";
    kv_status st = take_name(body, "model", name, err);
    if (!st && !(st = answer_model(x, name, err)))
        *t = rt_model_tok(x->model->m.model);
    return st;
}

kv_status handle_tokenize(sv_exchange *x, kv_err *err) {
    const json_t *text;
    json_t *body = NULL, *all = json_array();
    bool special = true, begin = false, pieces = false;
    const tok *t = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    kv_status st = answer_json(x, &body, err);
    if (st || (st = model_of(x, body, &t, err)) || (st = take_kind(body, "content", JSON_STRING, &text, err)) ||
        (st = take_bool(body, "parse_special", &special, err)) || (st = take_bool(body, "add_special", &begin, err)) ||
        (st = take_bool(body, "with_pieces", &pieces, err)))
        goto done;
    if (!text) {
        st = kv_fail(err, KV_EINVAL, "content: is missing");
        goto done;
    }
    const unsigned flags = (begin ? TOK_BOS : 0) | (special ? TOK_SPECIAL : 0);
    if ((st = tok_encode(t, json_string_value(text), json_string_length(text), flags, &ids, &n, err)))
        goto done;
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *piece = tok_piece(t, ids[i], true, &len);
        json_array_append_new(all, pieces ? json_pack("{s:i,s:o}", "id", (int)ids[i], "piece", out_string(piece, len))
                                          : json_integer(ids[i]));
    }
    out_json(&x->out, json_pack("{s:O}", "tokens", all));
done:
    free(ids);
    json_decref(all);
    json_decref(body);
    return st;
}

kv_status handle_detokenize(sv_exchange *x, kv_err *err) {
    json_t *body = NULL;
    const json_t *ids;
    const tok *t = NULL;
    sv_out text = {0};
    kv_status st = answer_json(x, &body, err);
    if (st || (st = model_of(x, body, &t, err)) || (st = take_kind(body, "tokens", JSON_ARRAY, &ids, err)))
        goto done;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        size_t len;
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= tok_n_vocab(t)) {
            st = kv_fail(err, KV_EINVAL, "tokens[%zu]: the model has no such token", i);
            goto done;
        }
        const char *piece = tok_piece(t, (int32_t)json_integer_value(id), true, &len);
        out_add(&text, piece, len);
    }
    out_json(&x->out, json_pack("{s:o}", "content", text.failed ? NULL : out_string(text.s ? text.s : "", text.len)));
done:
    out_free(&text);
    json_decref(body);
    return st;
}

kv_status handle_template(sv_exchange *x, kv_err *err) {
    sv_request q;
    tpl_text text = {0};
    bool thinking = false;
    kv_status st = read_request(x, &sv_chat, &q, err);
    if (!st)
        st = answer_model(x, q.model, err);
    if (!st)
        st = prompts_render(&x->model->engine, &q, &text, &thinking, err);
    if (!st)
        out_json(&x->out, json_pack("{s:o}", "prompt", out_string(text.s, text.len)));
    tpl_text_free(&text);
    request_free(&q);
    return st;
}
