/* Chats as text: opening a format, and the way from a request to a text. */
#include "text/chat_internal.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- opening ---- */

/* Caller frees; NULL: none. */
static char *text_of_token(const gguf_kv *tokens, uint32_t id) {
    size_t cursor = 0;
    gguf_str s;
    for (uint32_t i = 0; tokens && gguf_next_str(tokens, &cursor, &s); i++)
        if (i == id)
            return strndup(s.s, s.len);
    return NULL;
}

/* text moves. */
static kv_status set_template(chat_format *f, char *text, size_t len, kv_err *err) {
    f->source = text;
    f->source_len = len;
    return text ? tpl_new(text, len, &f->t, err) : kv_fail(err, KV_ENOMEM, "out of memory for a chat template");
}

/* A template of its own, or a row of the table. */
static kv_status open_choice(chat_format *f, const char *choice, kv_err *err) {
    enum { LONGEST = 16 << 20 };
    char *text = NULL, names[256] = "";
    const char *name;
    size_t len, n = 0;
    kv_err why = {0};
    if ((f->row = chat_row_of_name(choice)))
        return KV_OK;
    kv_status st = text_read(choice, LONGEST, &text, &len, &why);
    if (st) {
        for (size_t i = 0; (name = chat_row_names(i)); i++)
            n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", name);
        return kv_fail(err, st, "no chat format and no file that can be read is called '%s' (%s); formats: %s", choice, why.msg,
                       names);
    }
    if ((st = set_template(f, text, len, &why)))
        kv_fail(err, st, "%s: %s", choice, why.msg);
    return st;
}

/* Special tokens that templates can name: in the order of their numbers. */
static const char *const special_keys[N_SPECIALS] = {
    [BOS_TOKEN] = "tokenizer.ggml.bos_token_id",
    [EOS_TOKEN] = "tokenizer.ggml.eos_token_id",
    [UNK_TOKEN] = "tokenizer.ggml.unknown_token_id",
    [PAD_TOKEN] = "tokenizer.ggml.padding_token_id",
};

kv_status chat_open(const gguf *g, const tok *t, const char *choice, chat_format **out, kv_err *err) {
    gguf_str tmpl = {0};
    const gguf_kv *tokens = NULL;
    kv_status st = KV_OK;
    *out = NULL;
    chat_format *f = calloc(1, sizeof *f);
    if (!f)
        return kv_fail(err, KV_ENOMEM, "out of memory for a chat format");
    f->keeps_bos = !t || !tok_add_bos(t);
    f->now = (int64_t)time(NULL);
    /* keys of a wrong type are the tokenizer's to complain about; here they are as good as absent */
    if (gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, true, &tokens, NULL) != KV_OK)
        tokens = NULL;
    if (choice)
        st = open_choice(f, choice, err);
    else if (gguf_get_str(g, "tokenizer.chat_template", true, &tmpl, NULL) == KV_OK)
        st = set_template(f, text_copy(tmpl.s, tmpl.len), tmpl.len, err);
    else
        f->row = chat_row_of_vocabulary(tokens);
    for (int i = 0; i < N_SPECIALS && !st; i++) {
        uint32_t id = UINT32_MAX;
        if (gguf_get_u32(g, special_keys[i], true, &id, NULL) == KV_OK)
            f->special[i] = text_of_token(tokens, id);
    }
    if (st || (!f->t && !f->row)) {
        chat_free(f);
        return st;
    }
    if (f->t)
        st = chat_template_try(f, err);
    else
        f->is.merges_system = !chat_row_has_system(f->row);
    if (st)
        chat_free(f);
    else
        *out = f;
    return st;
}

void chat_free(chat_format *f) {
    if (!f)
        return;
    tpl_free(f->t);
    free(f->source);
    for (int i = 0; i < N_SPECIALS; i++)
        free(f->special[i]);
    free(f);
}

const char *chat_name(const chat_format *f) {
    return f->t ? "template" : chat_row_name(f->row);
}

const char *chat_template_text(const chat_format *f, size_t *len) {
    *len = f->source_len;
    return f->source;
}

bool chat_has_calls(const chat_format *f) {
    return f->is.tools || f->is.calls;
}

bool chat_begins_thinking(const chat_format *f) {
    return f->is.thinks;
}

/* ---- rendering ---- */

kv_status chat_render_request(const chat_format *f, const chat_request *r, tpl_text *out, bool *thinking, kv_err *err) {
    json_t *messages = NULL, *tools = NULL;
    *out = (tpl_text){0};
    kv_status st = chat_read_messages(f, r->messages, &messages, err);
    if (!st)
        st = chat_read_tools(r->tools, &tools, err);
    if (!st)
        st = chat_put_in_words(&f->is, &messages, &tools, err);
    const chat_request read = {.tools = tools, .extra = r->extra, .open = r->open};
    if (!st)
        st = f->t ? chat_template_render(f, messages, &read, 0, out, err) : chat_row_render(f, messages, r->open, out, err);
    json_decref(messages);
    json_decref(tools);
    if (thinking)
        *thinking = !st && r->open && chat_ends_in_thought(out);
    return st;
}

kv_status chat_render(const chat_format *f, const chat_msg *msgs, size_t n, bool open, tpl_text *out, kv_err *err) {
    static const char *const roles[] = {"system", "user", "assistant"};
    json_t *list = json_array();
    int bad = !list;
    *out = (tpl_text){0};
    for (size_t i = 0; i < n && !bad; i++) {
        int known = 0;
        for (int k = 0; k < 3; k++)
            known |= !strcmp(msgs[i].role, roles[k]);
        if (!known) {
            json_decref(list);
            return kv_fail(err, KV_EINVAL, "message %zu: unknown role '%s'; roles are system, user and assistant", i,
                           msgs[i].role);
        }
        json_t *m = json_object();
        bad |= json_object_set_new(m, "role", json_string(msgs[i].role));
        /* bytes that are no UTF-8 are a text as well */
        bad |= json_object_set_new(m, "content", json_stringn_nocheck(msgs[i].text, strlen(msgs[i].text)));
        bad |= json_array_append_new(list, m);
    }
    const kv_status st = bad ? kv_fail(err, KV_ENOMEM, "out of memory for a conversation")
                             : chat_render_request(f, &(chat_request){.messages = list, .open = open}, out, NULL, err);
    json_decref(list);
    return st;
}
