/* Text to tokens and back, and the chat formats of models. All functions may be used by many threads at once; a stream belongs
 * to one at a time. */
#ifndef KV_PUBLIC_TEXT_H
#define KV_PUBLIC_TEXT_H

#include <kv/model.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    KV_TEXT_BOS = 1,    /* begin with the token that starts a text, where the model asks so; none stands at the end */
    KV_TEXT_SPECIAL = 2 /* special tokens such as <|im_start|> are read as such, or written */
};

/* Tokens of len bytes of text; any bytes are accepted. *ids: caller frees with kv_free. flags: KV_TEXT_BOS, KV_TEXT_SPECIAL.
 * KV_EINVAL: unknown flags; KV_ENOMEM. */
KV_API kv_status kv_text_tokenize(const kv_model *model, const char *text, size_t len, uint32_t flags, int32_t **ids, size_t *n,
                                  kv_err *err);

/* The text of n tokens, always valid UTF-8: bytes that make up no character become U+FFFD. *text: NUL-terminated beyond its
 * *len bytes (len may be NULL), caller frees with kv_free. flags: KV_TEXT_SPECIAL. KV_ERANGE: an id outside the vocabulary. */
KV_API kv_status kv_text_detokenize(const kv_model *model, const int32_t *ids, size_t n, uint32_t flags, char **text,
                                    size_t *len, kv_err *err);

/* The bytes of one token, which need not be whole characters; *len is set. Borrowed from the model, not NUL-terminated. NULL:
 * an id outside the vocabulary. flags: KV_TEXT_SPECIAL. */
KV_API const char *kv_text_piece(const kv_model *model, int32_t id, uint32_t flags, size_t *len);

/* Text of tokens that come one by one, in whole characters: bytes wait until the character is complete. */
typedef struct kv_text_stream kv_text_stream;
/* Caller frees with kv_text_stream_free. flags: KV_TEXT_SPECIAL. */
KV_API kv_status kv_text_stream_new(const kv_model *model, uint32_t flags, kv_text_stream **out, kv_err *err);
KV_API void kv_text_stream_free(kv_text_stream *stream); /* NULL is fine */
/* What the token completes: *text, NUL-terminated, *len bytes (len may be NULL), often none; borrowed until the next call.
 * KV_ERANGE: an id outside the vocabulary. */
KV_API kv_status kv_text_stream_push(kv_text_stream *stream, int32_t id, const char **text, size_t *len, kv_err *err);
/* The end: what waits will never be complete, and comes out as U+FFFD. The stream can be used again. */
KV_API kv_status kv_text_stream_end(kv_text_stream *stream, const char **text, size_t *len, kv_err *err);

/* Special tokens; -1: the model has none. */
KV_API int32_t kv_text_bos(const kv_model *model);
KV_API int32_t kv_text_eos(const kv_model *model);
KV_API bool kv_text_is_end(const kv_model *model, int32_t id); /* ends a turn or a text: there are several such tokens */

typedef struct kv_message {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
} kv_message;

/* How the model is talked to: "template", its own, or the name of a format that its vocabulary speaks for, "chatml" say; NULL:
 * a base model, or a template that cannot be used. Borrowed. */
KV_API const char *kv_text_chat_name(const kv_model *model);
/* Messages as the model's chat template writes them; with `answer`, the beginning of the assistant's turn at the end. *text:
 * NUL-terminated, for people to read; caller frees with kv_free. KV_EINVAL: a role that is none of the three, or messages that
 * the template refuses; KV_ERANGE: it does not end; KV_EUNSUPP: the model has no template, or one that cannot be used (says
 * why). */
KV_API kv_status kv_text_chat(const kv_model *model, const kv_message *messages, size_t n, bool answer, char **text,
                              kv_err *err);
/* The tokens of that, BOS included where the model asks so. What messages say never becomes a special token: tokens of the text
 * itself, with KV_TEXT_SPECIAL, would let a message end its turn. *ids: caller frees with kv_free. Errors as above. */
KV_API kv_status kv_text_chat_tokenize(const kv_model *model, const kv_message *messages, size_t n, bool answer, int32_t **ids,
                                       size_t *n_ids, kv_err *err);

/* The same for requests as OpenAI's clients send them: a JSON object with
 *   messages               role (also "developer" and "tool"), content (a text, a list of parts with texts, null), tool_calls,
 *                          tool_call_id, reasoning_content
 *   tools                  {"type": "function", "function": {"name", "description", "parameters"}}; or none
 *   chat_template_kwargs   further values for the template, such as "enable_thinking"; or none
 *   add_generation_prompt  false: without the beginning of the assistant's turn
 * and others that are passed over. Where the template has no place for tools, the system prompt describes them. *text, *ids:
 * either may be NULL; caller frees with kv_free. KV_EFORMAT: no JSON (says where); KV_EINVAL: messages or tools that make no
 * sense (says which), or that the template refuses; else as above. */
KV_API kv_status kv_text_request(const kv_model *model, const char *request, size_t len, char **text, int32_t **ids,
                                 size_t *n_ids, kv_err *err);
/* What the model answered to a request, taken apart: a JSON object as OpenAI's clients get it, with role, content (null where
 * there is nothing but calls), reasoning_content and tool_calls (each with an id of nine letters and digits) where there are
 * some. ids: n of them, of the answer; the token that ended it may be among them. *message: NUL-terminated, caller frees with
 * kv_free. Errors as above; KV_ERANGE: an id outside the vocabulary. */
KV_API kv_status kv_text_reply(const kv_model *model, const char *request, size_t len, const int32_t *ids, size_t n,
                               char **message, kv_err *err);

#ifdef __cplusplus
}
#endif

#endif
