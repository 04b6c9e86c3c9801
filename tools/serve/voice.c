#include "serve/voice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokens that the client wants to see ---- */

static void forget_tokens(sv_voice *v) {
    for (size_t i = 0; i < v->n_tokens; i++)
        free((void *)v->tokens[i].top);
    free(v->tokens);
    v->tokens = NULL;
    v->n_tokens = 0;
}

/* JSON has no infinity: OpenAI's stands for "never". */
static sv_logprob logprob_of(const sv_voice *v, int32_t id, float logprob) {
    sv_logprob l = {.logprob = logprob > -9999 ? logprob : -9999};
    l.text = tok_piece(v->t, id, true, &l.len);
    return l;
}

static bool note_token(sv_voice *v, const sched_token *t) {
    sv_token *tokens = realloc(v->tokens, (v->n_tokens + 1) * sizeof *tokens);
    sv_logprob *top = tokens && t->n_top ? malloc(t->n_top * sizeof *top) : NULL;
    v->tokens = tokens ? tokens : v->tokens;
    if (!tokens || (t->n_top && !top))
        return false;
    for (uint32_t i = 0; i < t->n_top; i++)
        top[i] = logprob_of(v, t->top[i].id, t->top[i].logprob);
    tokens[v->n_tokens++] = (sv_token){logprob_of(v, t->id, t->logprob), top, t->n_top};
    return true;
}

/* ---- what comes out ---- */

static void tell(sv_voice *v, sv_event e) {
    e.choice = v->index;
    v->tell(v->speech, &e);
}

static void on_content(void *user, const char *text, size_t len) {
    sv_voice *v = user;
    if (v->called)
        len = 0;
    if (!len && !v->n_tokens)
        return;
    tell(v, (sv_event){.kind = SV_CONTENT, .text = text, .len = len, .tokens = v->tokens, .n_tokens = v->n_tokens});
    forget_tokens(v);
}

static void on_thought(void *user, const char *text, size_t len) {
    const sv_voice *v = user;
    if (len && !v->called)
        tell(user, (sv_event){.kind = SV_THOUGHT, .text = text, .len = len});
}

static void on_call(void *user, uint32_t index, const char *name) {
    sv_voice *v = user;
    if (v->called)
        return;
    v->n_calls = index + 1;
    tell(v, (sv_event){.kind = SV_CALL, .call = index, .text = name, .len = strlen(name)});
}

static void on_arguments(void *user, uint32_t index, const char *text, size_t len) {
    const sv_voice *v = user;
    if (len && !v->called)
        tell(user, (sv_event){.kind = SV_ARGUMENTS, .call = index, .text = text, .len = len});
}

static void on_call_end(void *user, uint32_t index, bool whole) {
    sv_voice *v = user;
    (void)whole; /* the client sees it by what the arguments are */
    if (!v->called)
        tell(v, (sv_event){.kind = SV_CALL_END, .call = index});
    v->called |= v->one_call;
}

static void show(sv_voice *v, const char *text, size_t len) {
    if (v->answer && !v->st)
        v->st = len ? reply_push(v->answer, text, len, NULL) : KV_OK;
    else if (!v->answer)
        on_content(v, text, len);
}

static void push(sv_voice *v, const char *text, size_t len) {
    const char *out;
    size_t n;
    if (!stop_push(&v->stop, text, len, &out, &n))
        v->st = KV_ENOMEM;
    else if (n)
        show(v, out, n);
}

/* ---- a life ---- */

kv_status voice_init(sv_voice *v, const reply_format *format, const json_t *tools, bool thinking, bool whole, kv_err *err) {
    v->format = format;
    if (!format)
        return KV_OK;
    const reply_cfg cfg = {.format = format,
                           .tools = tools,
                           .thinking = thinking,
                           .whole = whole,
                           .events = {on_content, on_thought, on_call, on_arguments, on_call_end},
                           .user = v};
    return reply_new(&cfg, &v->answer, err);
}

void voice_free(sv_voice *v) {
    forget_tokens(v);
    tok_writer_free(&v->text);
    stop_free(&v->stop);
    reply_free(v->answer);
    free(v->embedding);
}

bool voice_token(sv_voice *v, const sched_token *t) {
    const char *text;
    size_t len, n;
    const char *piece = v->format ? reply_piece(v->format, v->t, t->id, &len) : tok_piece(v->t, t->id, false, &len);
    if (v->logprobs && !note_token(v, t))
        v->st = KV_ENOMEM;
    if (!v->st && len && !(v->st = tok_writer_push(&v->text, piece, len, &text, &n, NULL)) && n)
        push(v, text, n);
    return !v->st && !v->stop.found && !v->called;
}

void voice_end(sv_voice *v) {
    const char *text;
    size_t n;
    if (!v->st && !v->stop.found && !(v->st = tok_writer_end(&v->text, &text, &n, NULL)) && n)
        push(v, text, n);
    stop_end(&v->stop, &text, &n);
    if (n)
        show(v, text, n);
    if (v->answer && !v->st)
        v->st = reply_end(v->answer, NULL);
    if (v->n_tokens && !v->st) /* of which nothing was shown */
        on_content(v, "", 0);
}
