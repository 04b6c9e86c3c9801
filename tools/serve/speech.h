/* From a request to an answer: its prompt is written and turned into tokens, jobs are given to the scheduler, and what these
 * say is taken apart and written in the client's dialect, into bytes that wait to be fetched.
 *
 * A speech is used by two sides at the same time: by whoever serves the client, and by the scheduler's thread. It lives until
 * both are done with it.
 */
#ifndef SERVE_SPEECH_H
#define SERVE_SPEECH_H

#include "reply/reply.h"
#include "schedule/schedule.h"
#include "serve/dialect.h"
#include "text/chat.h"

/* A model that requests run on. All borrowed. */
typedef struct sv_engine {
    const rt_model *m;
    const chat_format *format;   /* or NULL */
    const reply_format *answers; /* or NULL, where there is no format */
    scheduler *s;
    uint32_t n_ctx;
} sv_engine;

typedef struct sv_speech sv_speech;

/* Bytes that wait for a client at most: who does not read so many is not told the rest. */
enum { SV_MOST_WAITING = 1 << 20 };

typedef struct sv_speech_cfg {
    const sv_engine *e; /* until the speech is freed */
    const sv_dialect *d;
    const char *id, *model; /* id: 24 random characters; model: the name in the answer. Copied */
    const char *context;    /* path of the .kv file that the prompt goes on from, or NULL. Copied */
    double since;           /* clock_now when the request came */
    /* Something happened that whoever serves the client may wait for: there are bytes, or all is over. Called in the
     * scheduler's thread; must not block, nor use the speech. */
    void (*wake)(void *user);
    void *user;
    void (*freed)(void *owner); /* once, when nothing of the speech is left */
    void *owner;
} sv_speech_cfg;

/* The prompt's tokens are there afterwards, and nothing runs yet. q moves into the speech, and is empty, in every case.
 * KV_ERANGE: the prompt does not fit (names n_prompt_tokens and n_ctx); KV_EINVAL, KV_EUNSUPP: what is asked for makes no
 * sense, begins with the place; KV_ENOMEM. */
kv_status speech_new(const sv_speech_cfg *cfg, sv_request *q, sv_speech **out, kv_err *err);
/* Begin; errors of sched_submit. A question that needs no model (how many tokens) is over at once. */
kv_status speech_start(sv_speech *s, kv_err *err);
/* Nobody listens any more: what runs for it is given up, and wake is not called again. */
void speech_cancel(sv_speech *s);
void speech_leave(sv_speech *s); /* the client's side is done with it; NULL is fine */

bool speech_streams(const sv_speech *s);
sv_shape speech_shape(const sv_speech *s);
uint32_t speech_prompt(const sv_speech *s); /* tokens */
/* Up to `most` bytes of what waits. *over: that was all, and nothing more comes. */
size_t speech_take(sv_speech *s, char *to, size_t most, bool *over);
bool speech_is_over(sv_speech *s);
/* Once all is over: an error in place of an answer, which HTTP can still say; KV_OK: there is an answer. */
kv_status speech_result(sv_speech *s, kv_err *err);
/* A comment that keeps the connection alive, where nothing was said for so many seconds. */
void speech_keep_alive(sv_speech *s, double quiet);
/* Bytes that nobody has fetched; SIZE_MAX: memory ran out. */
size_t speech_waiting(sv_speech *s);

#endif
