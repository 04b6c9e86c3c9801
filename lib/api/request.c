/* Requests as clients send them, and answers to them. */
#include "api/api_internal.h"
#include "kv/text.h"
#include "reply/reply.h"
#include "text/prompt.h"

#include <stdio.h>
#include <stdlib.h>

static kv_status render(const kv_model *model, const json_t *request, tpl_text *out, bool *thinking, kv_err *err) {
    const json_t *prompt = json_object_get(request, "add_generation_prompt");
    const json_t *extra = json_object_get(request, "chat_template_kwargs");
    if (!model->chat && model->no_chat.code)
        return kv_fail(err, KV_EUNSUPP, "%s: %s", model->path, model->no_chat.msg);
    if (!model->chat)
        return kv_fail(err, KV_EUNSUPP, "%s: the model has no chat template", model->path);
    const chat_request r = {.messages = json_object_get(request, "messages"),
                            .tools = json_object_get(request, "tools"),
                            .extra = json_is_null(extra) ? NULL : extra,
                            .open = !json_is_false(prompt)};
    return chat_render_request(model->chat, &r, out, thinking, err);
}

static kv_status parse(const char *request, size_t len, json_t **out, kv_err *err) {
    json_error_t why;
    *out = json_loadb(request, len, 0, &why);
    if (!*out)
        return kv_fail(err, KV_EFORMAT, "the request is no JSON: line %d, column %d: %s", why.line, why.column, why.text);
    if (json_is_object(*out))
        return KV_OK;
    json_decref(*out);
    *out = NULL;
    return kv_fail(err, KV_EINVAL, "the request is no JSON object");
}

kv_status kv_text_request(const kv_model *model, const char *request, size_t len, char **text, int32_t **ids, size_t *n_ids,
                          kv_err *err) {
    tpl_text t = {0};
    json_t *r = NULL;
    if (text)
        *text = NULL;
    if (ids)
        *ids = NULL;
    kv_status st = parse(request, len, &r, err);
    if (!st)
        st = render(model, r, &t, NULL, err);
    if (!st && ids)
        st = tok_encode_chat(rt_model_tok(model->rt), &t, 0, TOK_BOS, ids, n_ids, err);
    if (!st && text) {
        *text = t.s;
        t.s = NULL;
    }
    tpl_text_free(&t);
    json_decref(r);
    return st;
}

/* ---- answers ---- */

typedef struct message {
    FILE *content, *thought, *arguments;
    char *said, *thoughts, *args;
    size_t n_said, n_thoughts, n_args;
    json_t *calls;
    size_t before; /* calls that were in the request: ids go on behind them */
    bool bad;      /* no memory */
} message;

static void put(FILE *to, const char *text, size_t len) {
    if (to)
        fwrite(text, 1, len, to);
}

static void content(void *user, const char *text, size_t len) {
    put(((message *)user)->content, text, len);
}

static void thought(void *user, const char *text, size_t len) {
    put(((message *)user)->thought, text, len);
}

static void call(void *user, uint32_t index, const char *name) {
    message *m = user;
    char id[16];
    snprintf(id, sizeof id, "call%05zu", (m->before + index) % 100000);
    json_t *c = json_pack("{s:s,s:s,s:{s:s}}", "id", id, "type", "function", "function", "name", name);
    m->bad |= json_array_append_new(m->calls, c);
    m->arguments = open_memstream(&m->args, &m->n_args);
}

static void arguments(void *user, uint32_t index, const char *text, size_t len) {
    (void)index;
    put(((message *)user)->arguments, text, len);
}

static void call_end(void *user, uint32_t index, bool whole) {
    message *m = user;
    json_t *function = json_object_get(json_array_get(m->calls, index), "function");
    (void)whole; /* they are all: cfg.whole */
    m->bad |= !m->arguments || fclose(m->arguments) || !m->args ||
              json_object_set_new(function, "arguments", json_stringn_nocheck(m->args, m->n_args));
    free(m->args);
    m->args = NULL;
}

/* Closes what it is made of. NULL: no memory. Caller frees. */
static char *written(message *m) {
    char *out = NULL;
    m->bad |= !m->content || !m->thought || fclose(m->content) || fclose(m->thought) || !m->said || !m->thoughts;
    json_t *j = m->bad ? NULL : json_pack("{s:s}", "role", "assistant");
    if (j) {
        const size_t n = json_array_size(m->calls);
        json_t *said = n && !m->n_said ? json_null() : json_stringn_nocheck(m->said, m->n_said);
        int bad = json_object_set_new(j, "content", said);
        if (m->n_thoughts)
            bad |= json_object_set_new(j, "reasoning_content", json_stringn_nocheck(m->thoughts, m->n_thoughts));
        if (n)
            bad |= json_object_set(j, "tool_calls", m->calls);
        out = bad ? NULL : json_dumps(j, 0);
    }
    json_decref(j);
    json_decref(m->calls);
    free(m->said);
    free(m->thoughts);
    return out;
}

static kv_status take_apart(const kv_model *model, reply *r, const reply_format *f, const int32_t *ids, size_t n, kv_err *err) {
    const tok *t = rt_model_tok(model->rt);
    tok_writer w = {0};
    const char *text;
    size_t len;
    kv_status st = KV_OK;
    for (size_t i = 0; i < n && !st; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= tok_n_vocab(t))
            st = kv_fail(err, KV_ERANGE, "token %zu: there is no id %d in the vocabulary", i, ids[i]);
        else if (!tok_is_eog(t, ids[i])) {
            const char *piece = reply_piece(f, t, ids[i], &len);
            if (!(st = tok_writer_push(&w, piece, len, &text, &len, err)))
                st = reply_push(r, text, len, err);
        }
    }
    if (!st && !(st = tok_writer_end(&w, &text, &len, err)) && !(st = reply_push(r, text, len, err)))
        st = reply_end(r, err);
    tok_writer_free(&w);
    return st;
}

static size_t calls_in(const json_t *messages) {
    size_t n = 0, i;
    const json_t *m;
    json_array_foreach(messages, i, m) n += json_array_size(json_object_get(m, "tool_calls"));
    return n;
}

kv_status kv_text_reply(const kv_model *model, const char *request, size_t len, const int32_t *ids, size_t n, char **out,
                        kv_err *err) {
    tpl_text prompt = {0};
    json_t *r = NULL;
    bool thinking = false;
    reply *parser = NULL;
    *out = NULL;
    kv_status st = parse(request, len, &r, err);
    if (!st)
        st = render(model, r, &prompt, &thinking, err);
    tpl_text_free(&prompt);
    if (st) {
        json_decref(r);
        return st;
    }
    message m = {.calls = json_array(), .before = calls_in(json_object_get(r, "messages"))};
    m.content = open_memstream(&m.said, &m.n_said);
    m.thought = open_memstream(&m.thoughts, &m.n_thoughts);
    const reply_cfg cfg = {.format = reply_format_of(model->chat),
                           .tools = json_object_get(r, "tools"),
                           .thinking = thinking,
                           .whole = true,
                           .events = {content, thought, call, arguments, call_end},
                           .user = &m};
    if (!(st = reply_new(&cfg, &parser, err)))
        st = take_apart(model, parser, cfg.format, ids, n, err);
    reply_free(parser);
    char *text = written(&m);
    if (!st && !text)
        st = kv_fail(err, KV_ENOMEM, "out of memory for a message");
    if (st)
        free(text);
    else
        *out = text;
    json_decref(r);
    return st;
}
