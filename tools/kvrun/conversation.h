/* Conversations: turns in, streamed answers out, one after the other on one context.
 *
 * A turn is rendered as text by the model's chat template. What is fed is the difference between this rendering and what the
 * context holds already (the last rendering and the answer to it), so a long conversation is never read twice, not after a turn
 * was taken back either. Where the template writes old turns otherwise than they were (without what the model thought, say), it
 * is read again from there on. Turns that an endless gen has wholly forgotten are dropped.
 */
#ifndef KVRUN_CONVERSATION_H
#define KVRUN_CONVERSATION_H

#include "kvrun/generate.h"
#include "text/chat.h"

#include <stdio.h>

typedef struct conversation conversation;

/* format: NULL for a model without one; then a turn is plain text that the model continues, and knows nothing of the last.
 * system: or NULL; copied. All else borrowed. Caller frees with conversation_free. */
kv_status conversation_new(const rt_model *m, gen *g, const chat_format *format, const char *system, conversation **out,
                           kv_err *err);
void conversation_free(conversation *c);
/* Forget all turns but the system prompt. */
void conversation_reset(conversation *c);
size_t conversation_turns(const conversation *c); /* those that are still known */
/* The last question and its answer; false: there is none. Borrowed. */
bool conversation_last(const conversation *c, const char **question, const char **answer);
const char *conversation_system(const conversation *c); /* or NULL; borrowed */
/* Another system prompt, or NULL for none: all turns are read again with the next question. KV_EINVAL: there is no chat format;
 * KV_ENOMEM. */
kv_status conversation_set_system(conversation *c, const char *system, kv_err *err);

/* Answer `text`; what is said goes to `emit`, and a newline where the model wrote none at its end. As gen_answer; on failure
 * the turn is forgotten. */
kv_status conversation_turn(conversation *c, const char *text, int64_t n_max, gen_emit emit, void *user, gen_end *end,
                            kv_err *err);
/* The same on stdout, as show_answer.h has it. KV_EIO: it does not take it. */
kv_status conversation_say(conversation *c, const char *text, int64_t n_max, gen_end *end, kv_err *err);

/* Read a document now, that the next question will be about. text: borrowed. kept: a .kv file that may hold the beginning of
 * such a conversation, used where the conversation is empty and the file fits; or NULL. On failure nothing changes. Errors of
 * gen_read. */
typedef struct conversation_read_result {
    uint32_t tokens; /* that it takes, */
    uint32_t read;   /* and how many were read now: others were read before */
} conversation_read_result;
kv_status conversation_read(conversation *c, const char *text, size_t len, const char *kept, kv_progress progress, void *user,
                            conversation_read_result *result, kv_err *err);

bool conversation_has_documents(const conversation *c); /* that were read since the last answer */
/* Take back the documents that were read since the last answer. False: there are none. */
bool conversation_drop_documents(conversation *c);
/* Take the last question and its answer back; documents that were read for it stay. Returns the question, which the caller
 * frees; NULL: there is none. */
char *conversation_undo(conversation *c);

/* The turns with all that the context holds, into a .kv file and back: what comes next is the same to the bit. title: or NULL.
 * load: cfg as of rt_session_open; on failure the conversation stays as it is. KV_EINVAL: there is nothing to save, or the file
 * holds no chat; errors of rt_session_save and rt_session_open. */
kv_status conversation_save(conversation *c, const char *path, kv_progress progress, void *user, kv_err *err);
kv_status conversation_load(conversation *c, const char *path, const rt_ctx_cfg *cfg, kv_progress progress, void *user,
                            kv_err *err);
/* Make sure that going back to here will cost nothing. What fails does not matter. */
void conversation_mark(conversation *c);
/* Leave out of the context what was taken back, or not read because somebody stopped it: before it is kept. */
void conversation_tidy(conversation *c);

/* A note where the last answer had no text, for another reason than that none was wanted. */
void note_empty_answer(const char *tool, gen *g, gen_end end);

/* A note where more was forgotten since the last note, if the gen is endless: the first time, or every time. */
void note_forgotten(const char *tool, conversation *c, bool every);

#endif
