/* The turns of a chat, which a .kv file keeps beside what the session has read of them: section CTX_CHAT. */
#ifndef KV_CONTEXT_CHAT_H
#define KV_CONTEXT_CHAT_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct ctx_turn {
    char *question, *answer;
    uint64_t end;       /* tokens up to its end, counted from the first that was ever read */
    uint64_t ahead;     /* bytes of the question that a document takes, which was read before anything was asked; */
    uint64_t ahead_end; /* and tokens up to its end */
} ctx_turn;

typedef struct ctx_chat {
    char *system; /* or NULL */
    char *ahead;  /* documents that were read for the next question; or NULL */
    ctx_turn *turns;
    size_t n;
    uint64_t at;                 /* tokens up to where the chat stands, counted likewise */
    uint64_t gone;               /* of which so many are forgotten, from `keep` on */
    uint64_t keep;               /* tokens that are never forgotten */
    uint64_t removed, n_removed; /* tokens and turns that are no longer among these */
    uint64_t random;             /* where the draw of tokens stands */
    double surprise;
} ctx_chat;                      /* starts as {0} */
void ctx_chat_free(ctx_chat *c); /* {0} afterwards */

/* JSON text of it; *out: caller frees. KV_ENOMEM; KV_EINVAL: a text is not UTF-8. */
kv_status ctx_chat_format(const ctx_chat *c, char **out, size_t *len, kv_err *err);
/* where: for messages. What is there makes sense by itself: turns end one after the other, none behind where the chat stands.
 * *out: free with ctx_chat_free. KV_EFORMAT, KV_ENOMEM. */
kv_status ctx_chat_parse(const char *text, size_t len, const char *where, ctx_chat *out, kv_err *err);

#endif
