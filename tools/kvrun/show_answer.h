/* Answers at a terminal: what the model thinks is dim, and words are not broken at the edge of the screen. Nothing in them acts
 * on the terminal. Elsewhere, text passes as it is.
 */
#ifndef SHOW_ANSWER_H
#define SHOW_ANSWER_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct show_answer show_answer;

typedef struct show_answer_cfg {
    FILE *to;
    bool terminal; /* false: everything passes as it is, and nothing else matters */
    bool dim;      /* thoughts are dim, without their marks; false: they stay as the model writes them */
    size_t width;  /* columns; 0: lines are as long as they are */
    bool thinking; /* the answer begins inside a thought (chat_begins_thinking) */
} show_answer_cfg;

/* What fits a file: whether it is a terminal, with colours, and how wide. */
show_answer_cfg show_answer_for(FILE *to, bool thinking);
/* Caller frees with show_answer_free. KV_ENOMEM. */
kv_status show_answer_new(const show_answer_cfg *cfg, show_answer **out, kv_err *err);
void show_answer_free(show_answer *s); /* NULL is fine */
/* A gen_emit: text in whole characters, flushed each time but for a word whose end is not there yet. What fails shows in
 * ferror(). */
void show_answer_text(void *s, const char *text, size_t len);
/* The answer is over, or was stopped: what waits comes out, and colours are as before. The next one may begin. */
void show_answer_end(show_answer *s);

#endif
