/* Texts that a model is to continue. */
#ifndef RT_PROMPT_H
#define RT_PROMPT_H

#include "template/template.h"
#include "text/tok.h"

/* As tok_encode, but with TOK_BOS nothing stands at the end: what ends a text (tokenizer.ggml.add_eos_token) would end an
 * answer before it begins. */
kv_status tok_encode_open(const tok *t, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, kv_err *err);

/* The same for a chat (chat.h), from the byte `from` on: control tokens are found in what its template wrote, and never where a
 * byte of a message is in them. flags: TOK_BOS. */
kv_status tok_encode_chat(const tok *t, const tpl_text *text, size_t from, unsigned flags, int32_t **ids, size_t *n,
                          kv_err *err);

#endif
