#include "api/api_internal.h"

#include "text/prompt.h"

#include <stdlib.h>
#include <string.h>

static const tok *tok_of(const kv_model *m) {
    return rt_model_tok(m->rt);
}

static bool in_vocabulary(const kv_model *m, int32_t id) {
    return id >= 0 && (uint32_t)id < tok_n_vocab(tok_of(m));
}

static kv_status unknown_id(const kv_model *m, int32_t id, kv_err *err) {
    return kv_fail(err, KV_ERANGE, "token %d is outside the vocabulary of %u", id, tok_n_vocab(tok_of(m)));
}

static kv_status check_flags(uint32_t flags, uint32_t known, kv_err *err) {
    return flags & ~known ? kv_fail(err, KV_EINVAL, "unknown flags %#x", flags & ~known) : KV_OK;
}

kv_status kv_text_tokenize(const kv_model *model, const char *text, size_t len, uint32_t flags, int32_t **ids, size_t *n,
                           kv_err *err) {
    kv_status st = check_flags(flags, KV_TEXT_BOS | KV_TEXT_SPECIAL, err);
    *ids = NULL;
    *n = 0;
    if (st)
        return st;
    const unsigned how = (flags & KV_TEXT_BOS ? TOK_BOS : 0u) | (flags & KV_TEXT_SPECIAL ? TOK_SPECIAL : 0u);
    return tok_encode_open(tok_of(model), text ? text : "", text ? len : 0, how, ids, n, err);
}

const char *kv_text_piece(const kv_model *model, int32_t id, uint32_t flags, size_t *len) {
    *len = 0;
    return in_vocabulary(model, id) ? tok_piece(tok_of(model), id, flags & KV_TEXT_SPECIAL, len) : NULL;
}

/* ---- streams ---- */

struct kv_text_stream {
    const kv_model *m;
    bool special;
    tok_writer text;
};

kv_status kv_text_stream_new(const kv_model *model, uint32_t flags, kv_text_stream **out, kv_err *err) {
    kv_status st = check_flags(flags, KV_TEXT_SPECIAL, err);
    *out = NULL;
    if (st)
        return st;
    kv_text_stream *s = calloc(1, sizeof *s);
    if (!s)
        return kv_fail(err, KV_ENOMEM, "out of memory for a stream of text");
    s->m = model;
    s->special = flags & KV_TEXT_SPECIAL;
    *out = s;
    return KV_OK;
}

void kv_text_stream_free(kv_text_stream *stream) {
    if (stream)
        tok_writer_free(&stream->text);
    free(stream);
}

kv_status kv_text_stream_push(kv_text_stream *stream, int32_t id, const char **text, size_t *len, kv_err *err) {
    size_t n;
    if (!in_vocabulary(stream->m, id))
        return unknown_id(stream->m, id, err);
    const char *piece = tok_piece(tok_of(stream->m), id, stream->special, &n);
    return tok_writer_push(&stream->text, piece, n, text, len, err);
}

kv_status kv_text_stream_end(kv_text_stream *stream, const char **text, size_t *len, kv_err *err) {
    return tok_writer_end(&stream->text, text, len, err);
}

/* ---- whole texts ---- */

kv_status kv_text_detokenize(const kv_model *model, const int32_t *ids, size_t n, uint32_t flags, char **text, size_t *len,
                             kv_err *err) {
    const bool special = flags & KV_TEXT_SPECIAL;
    size_t bytes = 0, at = 0, piece_len;
    kv_status st = check_flags(flags, KV_TEXT_SPECIAL, err);
    *text = NULL;
    for (size_t i = 0; i < n && !st; i++) {
        if (!in_vocabulary(model, ids[i]))
            return unknown_id(model, ids[i], err);
        tok_piece(tok_of(model), ids[i], special, &piece_len);
        bytes += piece_len;
    }
    if (st)
        return st;
    char *out = malloc(3 * bytes + 4 + 1); /* a stray byte becomes three */
    if (!out)
        return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu tokens", n);
    tok_stream state = {0};
    for (size_t i = 0; i < n; i++) {
        const char *piece = tok_piece(tok_of(model), ids[i], special, &piece_len);
        if (piece_len)
            at += tok_stream_push(&state, piece, piece_len, out + at);
    }
    at += tok_stream_push(&state, "", 0, out + at);
    out[at] = '\0';
    *text = out;
    if (len)
        *len = at;
    return KV_OK;
}

/* ---- special tokens, chats ---- */

int32_t kv_text_bos(const kv_model *model) {
    return tok_bos(tok_of(model));
}

int32_t kv_text_eos(const kv_model *model) {
    return tok_eos(tok_of(model));
}

bool kv_text_is_end(const kv_model *model, int32_t id) {
    return in_vocabulary(model, id) && tok_is_eog(tok_of(model), id);
}

const char *kv_text_chat_name(const kv_model *model) {
    return model->chat ? chat_name(model->chat) : NULL;
}

static kv_status render(const kv_model *model, const kv_message *messages, size_t n, bool answer, tpl_text *out, kv_err *err) {
    if (!model->chat && model->no_chat.code)
        return kv_fail(err, KV_EUNSUPP, "%s: %s", model->path, model->no_chat.msg);
    if (!model->chat)
        return kv_fail(err, KV_EUNSUPP, "%s: the model has no chat template", model->path);
    chat_msg *msgs = malloc((n + 1) * sizeof *msgs);
    if (!msgs)
        return kv_fail(err, KV_ENOMEM, "out of memory for %zu messages", n);
    kv_status st = KV_OK;
    for (size_t i = 0; i < n && !st; i++) {
        if (!messages[i].role || !messages[i].text)
            st = kv_fail(err, KV_EINVAL, "message %zu has no %s", i, messages[i].role ? "text" : "role");
        msgs[i] = (chat_msg){messages[i].role, messages[i].text};
    }
    if (!st)
        st = chat_render(model->chat, msgs, n, answer, out, err);
    free(msgs);
    return st;
}

kv_status kv_text_chat(const kv_model *model, const kv_message *messages, size_t n, bool answer, char **text, kv_err *err) {
    tpl_text t = {0};
    *text = NULL;
    kv_status st = render(model, messages, n, answer, &t, err);
    if (st)
        return st;
    *text = t.s;
    t.s = NULL;
    tpl_text_free(&t);
    return KV_OK;
}

kv_status kv_text_chat_tokenize(const kv_model *model, const kv_message *messages, size_t n, bool answer, int32_t **ids,
                                size_t *n_ids, kv_err *err) {
    tpl_text t = {0};
    *ids = NULL;
    *n_ids = 0;
    kv_status st = render(model, messages, n, answer, &t, err);
    if (!st)
        st = tok_encode_chat(tok_of(model), &t, 0, TOK_BOS, ids, n_ids, err);
    tpl_text_free(&t);
    return st;
}
