#include "serve/prompts.h"

#include "text/prompt.h"

#include <stdlib.h>
#include <string.h>

void prompts_free(sv_prompts *p) {
    for (size_t i = 0; p->p && i < p->n; i++)
        free(p->p[i].ids);
    free(p->p);
    *p = (sv_prompts){0};
}

/* ---- chats ---- */

/* A last message of the assistant's, which is to be gone on with; NULL: the last one is somebody else's. */
static const json_t *begun_answer(const json_t *messages) {
    const size_t n = json_array_size(messages);
    const json_t *last = n ? json_array_get(messages, n - 1) : NULL;
    const char *role = json_string_value(json_object_get(last, "role"));
    const json_t *content = json_object_get(last, "content");
    const bool begun = n > 1 && role && !strcmp(role, "assistant") && !json_object_get(last, "tool_calls");
    return begun && json_string_length(content) ? content : NULL;
}

kv_status prompts_render(const sv_engine *e, const sv_request *q, tpl_text *out, bool *thinking, kv_err *err) {
    const json_t *begun = begun_answer(q->messages);
    json_t *messages = begun ? json_copy(q->messages) : json_incref(q->messages);
    kv_status st;
    if (!messages)
        return kv_fail(err, KV_ENOMEM, "out of memory for messages");
    if (begun)
        json_array_remove(messages, json_array_size(messages) - 1);
    if (!e->format)
        st = kv_fail(err, KV_EUNSUPP, "messages: the model has no chat template; ask for completions of a text instead");
    else
        st = chat_render_request(e->format, &(chat_request){messages, q->tools, q->extra, true}, out, thinking, err);
    if (!st && begun)
        st = tpl_text_add(out, json_string_value(begun), json_string_length(begun), err);
    json_decref(messages);
    return st;
}

/* ---- chats about a stored context ---- */

/* The context ends inside the user's first turn, behind the document: what comes before that turn is not there twice, and what
 * the system says stands in front of what is asked. The place is marked by a control character that no template has. */
static const char place[] = "\x1a";

static json_t *behind_context(const json_t *messages) {
    const json_t *first = json_array_get(messages, 0), *second = json_array_get(messages, 1), *told = NULL;
    const char *role = json_string_value(json_object_get(first, "role"));
    size_t from = 0;
    if (role && !strcmp(role, "system")) {
        told = json_object_get(first, "content");
        first = second;
        from = 1;
    }
    role = json_string_value(json_object_get(first, "role"));
    if (!role || strcmp(role, "user"))
        return NULL;
    const json_t *asked = json_object_get(first, "content");
    sv_out text = {0};
    out_text(&text, place);
    out_text(&text, "\n\n");
    out_add(&text, json_string_value(told), json_string_length(told));
    out_text(&text, told ? "\n\n" : "");
    out_add(&text, json_string_value(asked), json_string_length(asked));
    json_t *all = json_pack("[{s:s,s:o}]", "role", "user", "content", collected(&text));
    out_free(&text);
    for (size_t i = from + 1; i < json_array_size(messages); i++)
        json_array_append(all, json_array_get(messages, i));
    return all;
}

static kv_status onward_ids(const sv_engine *e, const sv_request *q, sv_prompts *out, kv_err *err) {
    sv_request changed = *q;
    tpl_text text = {0};
    if (!(changed.messages = behind_context(q->messages)))
        return kv_fail(err, KV_EINVAL, "messages: the first one about a stored context must be the user's");
    kv_status st = prompts_render(e, &changed, &text, &out->thinking, err);
    const char *at = st ? NULL : memmem(text.s, text.len, place, strlen(place));
    if (!st && !at)
        st = kv_fail(err, KV_EUNSUPP, "kv_context: the model's chat template loses the text of a turn");
    if (!st)
        st = tok_encode_chat(rt_model_tok(e->m), &text, (size_t)(at - text.s) + strlen(place), 0, &out->p[0].ids, &out->p[0].n,
                             err);
    tpl_text_free(&text);
    json_decref(changed.messages);
    return st;
}

static kv_status chat_ids(const sv_engine *e, const sv_request *q, sv_prompts *out, kv_err *err) {
    tpl_text text = {0};
    kv_status st = prompts_render(e, q, &text, &out->thinking, err);
    if (!st)
        st = tok_encode_chat(rt_model_tok(e->m), &text, 0, TOK_BOS, &out->p[0].ids, &out->p[0].n, err);
    tpl_text_free(&text);
    return st;
}

/* ---- texts ---- */

static kv_status take_ids(const sv_engine *e, const json_t *list, sv_prompt *p, kv_err *err) {
    const uint32_t n_vocab = rt_model_hparams(e->m)->n_vocab;
    p->n = json_array_size(list);
    if (!(p->ids = malloc(p->n * sizeof *p->ids)))
        return kv_fail(err, KV_ENOMEM, "out of memory for a prompt of %zu tokens", p->n);
    for (size_t i = 0; i < p->n; i++) {
        const json_int_t id = json_integer_value(json_array_get(list, i));
        if (id >= n_vocab)
            return kv_fail(err, KV_EINVAL, "prompt: the model has no token %lld", (long long)id);
        p->ids[i] = (int32_t)id;
    }
    return KV_OK;
}

/* What is given as a text is text: nothing in it becomes a special token. */
static kv_status text_ids(const sv_engine *e, const json_t *text, unsigned flags, sv_prompt *p, kv_err *err) {
    if (json_is_array(text))
        return take_ids(e, text, p, err);
    return tok_encode_open(rt_model_tok(e->m), json_string_value(text), json_string_length(text), flags, &p->ids, &p->n, err);
}

static kv_status check(const sv_engine *e, const sv_request *q, const sv_prompt *p, kv_err *err) {
    if (!p->n)
        return kv_fail(err, KV_EINVAL, "prompt: is empty, and the model has no token that begins a text");
    if (p->n >= e->n_ctx && !(q->n_predict == 0 && p->n == e->n_ctx))
        return kv_fail(err, KV_ERANGE, "the prompt does not fit into the context: n_prompt_tokens = %zu, n_ctx = %u", p->n,
                       e->n_ctx);
    return KV_OK;
}

kv_status prompts_of(const sv_engine *e, const sv_request *q, bool onward, sv_prompts *out, kv_err *err) {
    const unsigned flags = onward ? 0 : TOK_BOS;
    const size_t n = q->messages ? 1 : json_array_size(q->prompts);
    kv_status st = KV_OK;
    *out = (sv_prompts){.p = calloc(n ? n : 1, sizeof *out->p), .n = n};
    if (!out->p)
        return kv_fail(err, KV_ENOMEM, "out of memory for prompts");
    if (q->messages)
        st = onward ? onward_ids(e, q, out, err) : chat_ids(e, q, out, err);
    for (size_t i = 0; !q->messages && !st && i < n; i++)
        st = text_ids(e, json_array_get(q->prompts, i), flags, &out->p[i], err);
    for (size_t i = 0; !st && i < n; i++)
        st = check(e, q, &out->p[i], err);
    return st;
}
