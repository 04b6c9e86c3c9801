/* OpenAI's /v1/completions and /v1/embeddings. */
#include "serve/openai.h"

#include <stdlib.h>
#include <string.h>

/* ---- completions ---- */

static kv_status read_completions(const json_t *o, sv_request *q, kv_err *err) {
    int64_t top = -1;
    kv_status st = openai_common(q, o, err);
    if (st || (st = request_prompts(q, o, "prompt", err)) || (st = take_bool(o, "echo", &q->echo, err)) ||
        (!json_is_boolean(json_object_get(o, "logprobs")) && (st = take_int(o, "logprobs", 0, SV_MOST_TOP, &top, err))))
        return st;
    if (json_is_true(json_object_get(o, "logprobs")))
        top = 0;
    if (take_some(o, "suffix") && json_string_length(take_some(o, "suffix")))
        return kv_fail(err, KV_EUNSUPP, "suffix: filling in between two texts is not supported");
    if (q->echo && top >= 0)
        return kv_fail(err, KV_EUNSUPP, "echo: logprobs of the prompt are not computed; leave one of them out");
    if (q->echo && !json_is_string(json_array_get(q->prompts, 0)))
        return kv_fail(err, KV_EUNSUPP, "echo: of a prompt of token ids is not supported");
    if (json_array_size(q->prompts) * q->n > SV_MOST_CHOICES)
        return kv_fail(err, KV_EINVAL, "n: more than %d answers at once", SV_MOST_CHOICES);
    q->logprobs = top >= 0;
    q->top = top > 0 ? (uint32_t)top : 0;
    return request_check(q, err);
}

/* Tokens of a piece, as [text, logprob, {text: logprob}]: what OpenAI's four lists are made of. */
static json_t *gather_text(const sv_event *e) {
    json_t *all = json_array();
    for (size_t i = 0; i < e->n_tokens; i++) {
        const sv_token *t = &e->tokens[i];
        json_t *top = json_object();
        for (uint32_t k = 0; k < t->n_top; k++) {
            json_t *key = out_string(t->top[k].text, t->top[k].len);
            if (key)
                json_object_set_new(top, json_string_value(key), json_real((double)t->top[k].logprob));
            json_decref(key);
        }
        json_array_append_new(all, json_pack("[o,f,o]", out_string(t->said.text, t->said.len), (double)t->said.logprob, top));
    }
    return all;
}

/* offset: where the piece begins in the text. NULL: null. */
static json_t *four_lists(json_t *gathered, size_t offset) {
    json_t *tokens = json_array(), *logprobs = json_array(), *tops = json_array(), *offsets = json_array();
    for (size_t i = 0; i < json_array_size(gathered); i++) {
        json_t *t = json_array_get(gathered, i), *text = json_array_get(t, 0);
        json_array_append(tokens, text);
        json_array_append(logprobs, json_array_get(t, 1));
        json_array_append(tops, json_array_get(t, 2));
        json_array_append_new(offsets, json_integer((json_int_t)offset));
        offset += json_string_length(text);
    }
    return json_pack("{s:o,s:o,s:o,s:o}", "tokens", tokens, "token_logprobs", logprobs, "top_logprobs", tops, "text_offset",
                     offsets);
}

static json_t *text_piece(sv_writer *w, uint32_t choice, json_t *text, json_t *logprobs, const char *finish) {
    json_t *j = openai_head(w, "text_completion");
    json_object_set_new(j, "choices",
                        json_pack("[{s:I,s:o,s:o?,s:s?}]", "index", (json_int_t)choice, "text", text, "logprobs", logprobs,
                                  "finish_reason", finish));
    if (w->q->usage)
        json_object_set_new(j, "usage", json_null());
    return j;
}

static json_t *echoed(const sv_writer *w, uint32_t choice) {
    return json_array_get(w->q->prompts, choice / w->q->n);
}

static void stream_completions(sv_writer *w, const sv_event *e) {
    json_t *lists = NULL, *gathered, *j;
    const sv_choice *c = &w->choices[e->choice < w->n_choices ? e->choice : 0];
    switch (e->kind) {
    case SV_BEGIN:
        for (uint32_t i = 0; w->q->echo && i < w->n_choices; i++)
            out_sse(w->to, NULL, text_piece(w, i, json_incref(echoed(w, i)), NULL, NULL));
        return;
    case SV_CONTENT:
        if (e->n_tokens) {
            gathered = gather_text(e);
            lists = four_lists(gathered, out_waiting(&c->content) - e->len);
            json_decref(gathered);
        }
        out_sse(w->to, NULL, text_piece(w, e->choice, out_string(e->text, e->len), lists, NULL));
        return;
    case SV_CHOICE_END:
        j = text_piece(w, e->choice, json_string(""), NULL, openai_finish(c));
        if (e->usage)
            json_object_set_new(j, "timings", openai_timings(e->usage));
        out_sse(w->to, NULL, j);
        return;
    case SV_END:
        if (w->q->usage) {
            j = openai_head(w, "text_completion");
            json_object_set_new(j, "choices", json_array());
            json_object_set_new(j, "usage", openai_usage(&w->usage));
            out_sse(w->to, NULL, j);
        }
        out_text(w->to, "data: [DONE]\n\n");
        return;
    default:
        return;
    }
}

static json_t *whole_completions(sv_writer *w) {
    json_t *j = openai_head(w, "text_completion"), *choices = json_array();
    for (uint32_t i = 0; i < w->n_choices; i++) {
        sv_choice *c = &w->choices[i];
        json_t *text = collected(&c->content);
        if (w->q->echo && text) {
            const json_t *before = echoed(w, i);
            sv_out both = {0};
            out_add(&both, json_string_value(before), json_string_length(before));
            out_add(&both, json_string_value(text), json_string_length(text));
            json_decref(text);
            text = collected(&both);
            out_free(&both);
        }
        json_array_append_new(choices,
                              json_pack("{s:I,s:o,s:o?,s:s}", "index", (json_int_t)i, "text", text, "logprobs",
                                        c->logprobs ? four_lists(c->logprobs, 0) : NULL, "finish_reason", openai_finish(c)));
    }
    json_object_set_new(j, "choices", choices);
    json_object_set_new(j, "usage", openai_usage(&w->usage));
    json_object_set_new(j, "timings", openai_timings(&w->usage));
    return j;
}

const sv_dialect sv_completions = {.name = "openai-completions",
                                   .prefix = "cmpl-",
                                   .streams = SV_SSE,
                                   .read = read_completions,
                                   .stream = stream_completions,
                                   .whole = whole_completions,
                                   .gather = gather_text,
                                   .error = openai_error};

/* ---- embeddings ---- */

static kv_status read_embeddings(const json_t *o, sv_request *q, kv_err *err) {
    const json_t *format, *pooling;
    kv_status st = take_name(o, "model", q->model, err);
    if (st || (st = request_prompts(q, o, "input", err)) || (st = take_kind(o, "encoding_format", JSON_STRING, &format, err)) ||
        (st = take_kind(o, "pooling", JSON_STRING, &pooling, err)))
        return st;
    if (take_some(o, "dimensions"))
        return kv_fail(err, KV_EUNSUPP, "dimensions: embeddings of this model have one width and cannot be shortened");
    if (format && strcmp(json_string_value(format), "float") && strcmp(json_string_value(format), "base64"))
        return kv_fail(err, KV_EINVAL, "encoding_format: must be float or base64");
    if (pooling && strcmp(json_string_value(pooling), "mean") && strcmp(json_string_value(pooling), "last"))
        return kv_fail(err, KV_EINVAL, "pooling: must be mean or last");
    q->base64 = format && !strcmp(json_string_value(format), "base64");
    q->last_token = pooling && !strcmp(json_string_value(pooling), "last");
    q->n_predict = 0;
    return KV_OK;
}

/* The bytes of its numbers as float32, little-endian, in base64. */
static json_t *base64(const json_t *vector) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t n = json_array_size(vector), bytes = 4 * n;
    unsigned char *raw = malloc(bytes + 2);
    sv_out all = {0};
    for (size_t i = 0; raw && i < n; i++) {
        const float f = (float)json_number_value(json_array_get(vector, i));
        unsigned u;
        memcpy(&u, &f, 4);
        for (int k = 0; k < 4; k++)
            raw[4 * i + (size_t)k] = (unsigned char)(u >> 8 * k);
    }
    for (size_t i = 0; raw && i < bytes; i += 3) {
        const size_t left = bytes - i;
        const unsigned v = (unsigned)raw[i] << 16 | (left > 1 ? (unsigned)raw[i + 1] << 8 : 0) | (left > 2 ? raw[i + 2] : 0);
        const char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                              left > 2 ? digits[v & 63] : '='};
        out_add(&all, four, 4);
    }
    json_t *j = raw && !all.failed ? json_stringn(all.s ? all.s : "", all.len) : NULL;
    free(raw);
    out_free(&all);
    return j;
}

static json_t *whole_embeddings(sv_writer *w) {
    json_t *data = json_array();
    for (size_t i = 0; i < json_array_size(w->vectors); i++) {
        json_t *v = json_array_get(w->vectors, i);
        json_array_append_new(data, json_pack("{s:s,s:I,s:o}", "object", "embedding", "index", (json_int_t)i, "embedding",
                                              w->q->base64 ? base64(v) : json_incref(v)));
    }
    return json_pack("{s:s,s:o,s:o,s:{s:I,s:I}}", "object", "list", "data", data, "model",
                     out_string(w->model, strlen(w->model)), "usage", "prompt_tokens", (json_int_t)w->usage.prompt,
                     "total_tokens", (json_int_t)w->usage.prompt);
}

const sv_dialect sv_embeddings = {
    .name = "openai-embeddings", .prefix = "emb-", .read = read_embeddings, .whole = whole_embeddings, .error = openai_error};
