/* What conversation.c, conversation_feed.c and conversation_kept.c share. */
#ifndef KVRUN_CONVERSATION_INTERNAL_H
#define KVRUN_CONVERSATION_INTERNAL_H

#include "context/context_chat.h"
#include "kvrun/conversation.h"

/* What the context holds, as text. */
typedef enum held_text {
    HELD_UNKNOWN, /* to be found out by comparing tokens */
    HELD_ANSWER,  /* `sent`, and the answer of the last turn */
    HELD_AHEAD    /* `sent`, which ends with documents for the next question */
} held_text;

struct conversation {
    const rt_model *m;
    const tok *tok;
    gen *g;
    const chat_format *format;
    /* Positions count ids of all that was ever read. So many as chat.gone are forgotten, from chat.keep on; chat.at is where
     * the conversation stands: what the gen holds beyond was taken back, or cut off, and may come to be of use again. */
    ctx_chat chat;
    size_t cap;    /* of chat.turns */
    tpl_text sent; /* a rendering, as `held` says */
    held_text held;
    uint64_t before;  /* what was forgotten, but is no longer counted by the gen; */
    uint64_t dropped; /* and what the gen had dropped when chat.at was last known */
    uint64_t told;    /* how much of what is forgotten was said on stderr */
};

/* ---- conversation_feed.c ---- */

/* All that was forgotten. */
uint64_t conversation_gone(const conversation *c);
/* The turns before `upto`, and a question after them or NULL, as the template writes them, with the start of an answer. */
kv_status conversation_render(const conversation *c, size_t upto, const char *question, tpl_text *out, kv_err *err);
/* What the rendering of any next question begins with: all up to the end of chat.ahead. */
kv_status conversation_render_ahead(const conversation *c, tpl_text *out, kv_err *err);
/* Make the gen hold the ids of a rendering of all turns; its last `document` bytes are ids by themselves. What is the same
 * stays read. */
kv_status conversation_feed(conversation *c, const tpl_text *text, size_t document, kv_err *err);
/* It holds text now (which moves), and the conversation stands at its end. */
void conversation_stands(conversation *c, tpl_text *text, held_text held);
/* Find out what it holds where turns were taken back or came from elsewhere. at: of the end of chat.ahead, if there is any. */
void conversation_find_place(conversation *c, uint64_t at);
/* Where it is not known what it holds: make it hold all that was said. What that takes is not read yet. */
kv_status conversation_settle(conversation *c, kv_err *err);
/* Turns of which nothing is left in the context are dropped, so that they need no memory and no time. */
kv_status conversation_remove_turns(conversation *c, kv_err *err);

#endif
