/* Chat templates: the formats of known model families, recognised by their marks in tokenizer.chat_template or, where there is
 * none, by the tokens of the vocabulary. No Jinja is run.
 */
#ifndef RT_CHAT_H
#define RT_CHAT_H

#include "gguf.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct chat_format chat_format; /* a row of the table in chat.c */
typedef struct chat_msg {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
} chat_msg;

/* The model's format. Borrowed, lives forever. NULL: a base model without any (callers then feed plain text). */
const chat_format *chat_detect(const gguf *g);
const char *chat_name(const chat_format *f); /* "chatml", "gemma", ... */
/* Messages as the model's template writes them, the default system prompt of the template included; with `open`, the start of
 * the assistant's turn at the end. Without BOS. *out: NUL-terminated, caller frees with free(). */
kv_status chat_render(const chat_format *f, const chat_msg *msgs, size_t n, bool open, char **out, kv_err *err);

#endif
