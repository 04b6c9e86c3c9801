/* One choice of an answer: a job of the scheduler's, and what becomes of its tokens: text, without what ends it and without
 * markup, in events. For speech.c, under whose lock all of it runs. */
#ifndef SERVE_VOICE_H
#define SERVE_VOICE_H

#include "serve/speech.h"
#include "serve/stop.h"

struct sv_speech;

typedef struct sv_voice {
    struct sv_speech *speech;
    uint32_t index, prompt;
    sched_job *job; /* NULL: it is over, or did not begin */
    bool ended;
    /* what comes out */
    void (*tell)(struct sv_speech *s, const sv_event *e);
    const tok *t;
    const reply_format *format; /* or NULL */
    tok_writer text;
    sv_stop stop;
    reply *answer; /* or NULL: all is content */
    uint32_t n_calls;
    bool one_call, called; /* it ends with its first call; which was said: what comes behind it is not told */
    /* tokens whose text was not shown yet */
    bool logprobs;
    sv_token *tokens; /* (n_tokens), with their texts */
    size_t n_tokens;
    sched_stats stats;
    float *embedding;
    kv_status st; /* first thing that went wrong */
} sv_voice;

/* format NULL: texts are not taken apart. tools, thinking, whole: as of reply_cfg. */
kv_status voice_init(sv_voice *v, const reply_format *format, const json_t *tools, bool thinking, bool whole, kv_err *err);
void voice_free(sv_voice *v);
/* false: it is over. */
bool voice_token(sv_voice *v, const sched_token *t);
/* What was held back. */
void voice_end(sv_voice *v);

#endif
