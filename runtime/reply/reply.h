/* What a model says, taken apart while it is said: what it thinks, what it says, and the tools that it calls.
 *
 * Models write calls in formats of their own: Hermes and Qwen `<tool_call>{...}</tool_call>`, Llama 3 a JSON object alone,
 * Mistral `[TOOL_CALLS][...]`, and so on. Which one it is comes from the chat template, once per model (reply_format_of). Text
 * is pushed in any pieces, and comes out as soon as it is certain what it is: nothing that turns out to be markup is ever shown
 * as content, and nothing is lost but markup and the white space around it: what does not parse as a call is content after all.
 *
 * Which text: that of the tokens, with special ones left out, except those that are marks of the format (reply_piece). Whole
 * characters: what is pushed has gone through a tok_writer. Tokens that end an answer are not pushed.
 *
 * Time is linear in the text, and memory bounded: a call's text is held until it is certain that it is one, HELD bytes at most.
 */
#ifndef RT_REPLY_H
#define RT_REPLY_H

#include "text/chat.h"

enum { REPLY_HELD = 4 << 20 };

typedef struct reply_format reply_format; /* a row of the table in reply_format.c */

/* How the model of this chat format calls tools. Never NULL; borrowed from the program. */
const reply_format *reply_format_of(const chat_format *f);
const char *reply_format_name(const reply_format *f);     /* "hermes", "llama-3", "mistral", ..., "json" */
const reply_format *reply_format_named(const char *name); /* NULL: there is none */
const reply_format *reply_format_at(size_t i);            /* row i; NULL: there are no more */

/* What a token adds to the text of an answer: as tok_piece, but special tokens that are marks of calls or thoughts are spelled
 * out. */
const char *reply_piece(const reply_format *f, const tok *t, int32_t id, size_t *len);

typedef struct reply_events {
    void (*content)(void *user, const char *text, size_t len);
    void (*thought)(void *user, const char *text, size_t len); /* NULL: what is thought is content, marks included */
    /* A call begins, numbered from 0; then its arguments, a JSON object in pieces of text, as they come; then its end. */
    void (*call)(void *user, uint32_t index, const char *name);
    void (*arguments)(void *user, uint32_t index, const char *text, size_t len);
    /* whole: the arguments are a JSON object, checked. Else the answer ended or went wrong in the middle of them: they are cut
     * off there, and what follows is content. Does not happen with cfg.whole. */
    void (*call_end)(void *user, uint32_t index, bool whole);
} reply_events;

typedef struct reply reply;

typedef struct reply_cfg {
    const reply_format *format;
    const json_t *tools; /* as in requests, borrowed: names and types; NULL, or none: calls are not looked for, but content */
    bool thinking;       /* the prompt ends inside a thought already; false where a grammar says what comes next */
    bool whole;          /* calls come when they are complete, arguments in one piece; those that go wrong are content */
    reply_events events; /* content, call, arguments and call_end are not NULL */
    void *user;
} reply_cfg;

/* Caller frees with reply_free. KV_ENOMEM. */
kv_status reply_new(const reply_cfg *cfg, reply **out, kv_err *err);
void reply_free(reply *r); /* NULL is fine */
/* KV_ENOMEM. */
kv_status reply_push(reply *r, const char *text, size_t len, kv_err *err);
/* The end of the answer: what was held back comes out. */
kv_status reply_end(reply *r, kv_err *err);
uint32_t reply_calls(const reply *r); /* how many began */

/* A grammar (GBNF) of answers that call one of these tools, once, and nothing else, in this format. tools: an array as in
 * OpenAI's requests; only: the name of the one that must be called, or NULL. *out: caller frees. KV_EINVAL: no such tool;
 * KV_EFORMAT, KV_EUNSUPP: of the schema of its parameters. */
kv_status reply_grammar(const reply_format *f, const json_t *tools, const char *only, char **out, kv_err *err);

#endif
