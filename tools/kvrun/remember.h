/* What kvrun has read, kept for the next time (contexts/contexts.h): prompts and chats as tokens, and what the model made of
 * them. Whatever goes wrong with that is a note, and what was asked is answered.
 */
#ifndef KVRUN_REMEMBER_H
#define KVRUN_REMEMBER_H

#include "contexts/contexts.h"

#include <stddef.h>

typedef struct remember {
    const char *tool;
    contexts *c;  /* NULL: nothing is remembered */
    bool verbose; /* notes of what was found and kept */
} remember;

/* The folder of contexts in the user's cache folder. *path: as cli_cache_folder. */
kv_status remember_folder(char *path, kv_err *err);

/* bytes 0: nothing is remembered. tool: borrowed. Close it in any case. */
void remember_open(remember *r, const char *tool, int64_t bytes, bool verbose);
void remember_close(remember *r);

/* A gen_recall, whose user is a remember. */
kv_status remember_recall(void *r, rt_session *s, const int32_t *ids, size_t n, size_t *read, kv_err *err);
/* After the answer: keep what s has read. title: what its first line becomes. */
void remember_keep(remember *r, rt_session *s, const char *title);

#endif
