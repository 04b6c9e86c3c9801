/* Chat templates: the formats of known model families, recognised by their marks in tokenizer.chat_template or, where there is
 * none, by the tokens of the vocabulary. No Jinja is run. docs/tokenizers.md lists the formats.
 */
#ifndef RT_CHAT_H
#define RT_CHAT_H

#include "gguf/gguf.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct chat_format chat_format; /* a row of the table in chat.c, and what the model's own template adds to it */
typedef struct chat_msg {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
} chat_msg;

/* The model's format; caller frees *out with chat_free, g may be closed before that. *out NULL: a base model without any, or a
 * template that is not known or above 64 KiB (callers then feed plain text). KV_ENOMEM. */
kv_status chat_detect(const gguf *g, chat_format **out, kv_err *err);
bool chat_has_template(const gguf *g);       /* one that is known or not */
void chat_free(chat_format *f);              /* NULL is fine */
const char *chat_name(const chat_format *f); /* "chatml", "gemma", ... */
/* Messages as the model's template writes them, the default system prompt of the template included; with `open`, the start of
 * the assistant's turn at the end. Without BOS. *out: NUL-terminated, caller frees with free(). KV_EINVAL: a role that is none
 * of the three. */
kv_status chat_render(const chat_format *f, const chat_msg *msgs, size_t n, bool open, char **out, kv_err *err);

#endif
