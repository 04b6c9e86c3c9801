/* Texts that a model is to continue. */
#ifndef RT_PROMPT_H
#define RT_PROMPT_H

#include "text/tok.h"

/* As tok_encode, but with TOK_BOS nothing stands at the end: what ends a text (tokenizer.ggml.add_eos_token) would end an
 * answer before it begins. */
kv_status tok_encode_open(const tok *t, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, kv_err *err);

#endif
