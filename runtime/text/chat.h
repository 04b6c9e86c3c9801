/* Chats as text: by the model's own template (template/template.h) or, where it has none, by a format that the tokens of its
 * vocabulary speak for. docs/tokenizers.md lists the formats.
 */
#ifndef RT_CHAT_H
#define RT_CHAT_H

#include "gguf/gguf.h"
#include "template/template.h"
#include "text/tok.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct chat_format chat_format; /* a template, or a row of the table in chat.c */
typedef struct chat_msg {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
} chat_msg;

/* How the model wants to be talked to. t: the model's tokenizer, borrowed for the call; NULL: one that adds no BOS. choice: the
 * name of a format, or the path of a template, in place of what the model says; NULL: as it says. *out: caller frees with
 * chat_free, g may be closed before that; NULL: a base model without any (callers then feed plain text). KV_EFORMAT,
 * KV_EUNSUPP: a template that cannot be used, with line and construct; KV_EIO and its like: no format and no file is called as
 * the choice is. */
kv_status chat_open(const gguf *g, const tok *t, const char *choice, chat_format **out, kv_err *err);
void chat_free(chat_format *f);              /* NULL is fine */
const char *chat_name(const chat_format *f); /* "template", or the format's: "chatml", "gemma", ... */
/* Messages as the model's template writes them, the default system prompt of the template included; with `open`, the start of
 * the assistant's turn at the end. Without a BOS that the tokenizer adds. What comes from messages says so in the spans of the
 * text: prompt.h makes no control tokens of it. *out: caller frees with tpl_text_free. KV_EINVAL: a role that is none of the
 * three, or the template refuses; KV_ERANGE: it does not end. */
kv_status chat_render(const chat_format *f, const chat_msg *msgs, size_t n, bool open, tpl_text *out, kv_err *err);

/* The same for messages as clients send them, in OpenAI's requests: an array of objects with
 *   role          "system", "developer" (the same), "user", "assistant", "tool", "function" (the same)
 *   content       a text, an array of parts with texts, or null
 *   tool_calls    of the assistant: id, function.name, function.arguments as an object or as JSON in a text
 *   tool_call_id  of results; null: they are those of the last calls, in their order
 *   reasoning_content (or reasoning, thinking, thought)
 * Other members reach the template as they are. What a template has no place for is said in words: tools in the system prompt,
 * calls and results in texts as Hermes writes them (docs/tokenizers.md). */
typedef struct chat_request {
    const json_t *messages;
    const json_t *tools; /* array of {"type": "function", "function": {...}}; or NULL */
    const json_t *extra; /* object of further values for the template, such as "enable_thinking"; or NULL */
    bool open;
} chat_request; /* all borrowed */
/* *thinking (or NULL): the text ends inside a thought. KV_EINVAL: messages or tools that make no sense (says which), or the
 * template refuses. */
kv_status chat_render_request(const chat_format *f, const chat_request *r, tpl_text *out, bool *thinking, kv_err *err);

/* Answers begin inside a thought: the template opens it. */
bool chat_begins_thinking(const chat_format *f);
bool chat_has_calls(const chat_format *f);                         /* the template has a place for tools */
const char *chat_template_text(const chat_format *f, size_t *len); /* borrowed; NULL: it has none */

#endif
