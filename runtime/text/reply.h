/* What a model says, taken apart while it is said: what it thinks, what it says, and the tools that it calls.
 *
 * Models write calls in formats of their own: Hermes and Qwen `<tool_call>{...}</tool_call>`, Llama 3 a JSON object alone,
 * Mistral `[TOOL_CALLS][...]`, and so on. Which one it is comes from the chat template, once per model (reply_format_of). Text
 * is pushed in any pieces, and comes out as soon as it is certain what it is: nothing that turns out to be markup is ever shown
 * as content, and nothing is lost: what does not parse as a call is content after all.
 */
#ifndef RT_REPLY_H
#define RT_REPLY_H

#include "text/chat.h"

typedef struct reply_format reply_format; /* a row of the table in reply.c */

/* How the model of this chat format calls tools and thinks. Never NULL; borrowed from the program. */
const reply_format *reply_format_of(const chat_format *f);
const char *reply_format_name(const reply_format *f); /* "hermes", "llama-3", "mistral", ..., "json" */

typedef struct reply_events {
    void (*content)(void *user, const char *text, size_t len);
    void (*thought)(void *user, const char *text, size_t len); /* NULL: what is thought is content, marks included */
    /* A call begins, numbered from 0; then its arguments, a JSON object in pieces of text, as they come; then its end. */
    void (*call)(void *user, uint32_t index, const char *name);
    void (*arguments)(void *user, uint32_t index, const char *text, size_t len);
    void (*call_end)(void *user, uint32_t index);
} reply_events;

typedef struct reply reply;

typedef struct reply_cfg {
    const reply_format *format;
    bool tools;    /* calls are looked for; false: they are content */
    bool thinking; /* the prompt ends inside a thought already */
    reply_events events;
    void *user;
} reply_cfg;

/* Caller frees with reply_free. KV_ENOMEM. */
kv_status reply_new(const reply_cfg *cfg, reply **out, kv_err *err);
void reply_free(reply *r); /* NULL is fine */
/* KV_ENOMEM. */
kv_status reply_push(reply *r, const char *text, size_t len, kv_err *err);
/* The end of the answer: what was held back comes out. */
kv_status reply_end(reply *r, kv_err *err);

/* A grammar (GBNF) of answers that call one of these tools and nothing else, in this format. tools: an array as in OpenAI's
 * requests; only: the name of the one that must be called, or NULL. *out: caller frees. KV_EINVAL, KV_EUNSUPP as of schemas. */
kv_status reply_grammar(const reply_format *f, const json_t *tools, const char *only, char **out, kv_err *err);

#endif
