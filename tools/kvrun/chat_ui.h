/* Conversations: turns in, streamed answers out, one after the other on one context.
 *
 * A turn is rendered as text by the model's chat template. What is fed is the difference between this rendering and what the
 * context holds already (the last rendering and the answer to it), so a long conversation is never read twice. Where the
 * template writes old turns otherwise than they were (without what the model thought, say), it is read again from there on.
 * Turns that an endless gen has wholly forgotten are dropped.
 */
#ifndef CHAT_UI_H
#define CHAT_UI_H

#include "kvrun/generate.h"
#include "text/chat.h"

#include <stdio.h>

typedef struct conversation conversation;

/* format: NULL for a model without one; then a turn is plain text that the model continues, and knows nothing of the last.
 * system: or NULL. All borrowed. Caller frees with conversation_free. */
kv_status conversation_new(const rt_model *m, gen *g, const chat_format *format, const char *system, conversation **out,
                           kv_err *err);
void conversation_free(conversation *c);
/* Forget all turns but the system prompt. */
void conversation_reset(conversation *c);

/* Answer `text` on `to`. As gen_answer; on failure the turn is forgotten. */
kv_status conversation_turn(conversation *c, const char *text, int64_t n_max, FILE *to, gen_end *end, kv_err *err);

/* A note where the last answer had no text, for another reason than that none was wanted. */
void note_empty_answer(const char *tool, gen *g, gen_end end);

/* A note where more was forgotten since the last note, if the gen is endless: the first time, or every time. */
void note_forgotten(const char *tool, conversation *c, bool every);

/* Take the last question and its answer back. Returns the question, which the caller frees; NULL: there is none. */
char *conversation_undo(conversation *c);

/* Read turns from stdin until it ends or /exit: with marks and help on stderr for a terminal, else one turn per line.
 * Returns the exit code. */
int chat_loop(const char *tool, conversation *c, gen *g, int64_t n_max, bool verbose);

#endif
