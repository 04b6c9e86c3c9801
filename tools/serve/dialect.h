/* The languages that clients speak. Each is two pure functions for every kind of question: one reads a body of JSON into an
 * sv_request, the other writes what happens, event by event, as that language has it. Neither knows of HTTP or of models.
 *
 * What happens is the same for all: texts and thoughts in pieces, calls of tools, each choice's end, and the end of all.
 */
#ifndef SERVE_DIALECT_H
#define SERVE_DIALECT_H

#include "serve/out.h"
#include "serve/request.h"

/* ---- what happens ---- */

typedef enum sv_kind {
    SV_BEGIN,     /* once, before all others: usage->prompt is known */
    SV_PROGRESS,  /* of the prompt */
    SV_CONTENT,   /* a piece of text, with the tokens that it is made of, if the client wants to see them */
    SV_THOUGHT,   /* a piece of what the model thinks */
    SV_CALL,      /* a tool is called; text is its name, call its number */
    SV_ARGUMENTS, /* a piece of its arguments */
    SV_CALL_END,
    SV_CHOICE_END, /* why, stop */
    SV_END,        /* of all choices: usage is complete */
    SV_VECTOR,     /* an embedding, of prompt number `choice` */
    SV_ERROR       /* in place of SV_END, and of all that would have come before it */
} sv_kind;

typedef enum sv_why { SV_WHY_STOP, SV_WHY_LENGTH, SV_WHY_CALLS } sv_why;

typedef struct sv_logprob {
    const char *text; /* of the token, any bytes */
    size_t len;
    float logprob;
} sv_logprob;

typedef struct sv_token {
    sv_logprob said;
    const sv_logprob *top; /* (n_top) */
    uint32_t n_top;
} sv_token;

typedef struct sv_usage {
    uint32_t prompt, cached, said; /* tokens of all choices; cached: of the prompt */
    double prefill_s, decode_s;    /* of the slowest choice */
    double load_s, all_s;          /* since the request came */
    uint32_t read;                 /* of the prompt, so far */
} sv_usage;

typedef struct sv_event {
    sv_kind kind;
    uint32_t choice, call;
    const char *text; /* UTF-8 */
    size_t len;
    const sv_token *tokens; /* (n_tokens) */
    size_t n_tokens;
    sv_why why;
    const char *stop; /* the text that ended the choice, or NULL */
    const sv_usage *usage;
    const float *vector; /* (n_vector) */
    size_t n_vector;
    kv_status status; /* of SV_ERROR, with text */
} sv_event;           /* all borrowed */

/* ---- what the answer is, collected ---- */

typedef struct sv_call {
    char id[32], name[SV_NAME];
    sv_out arguments;
    bool ended;
} sv_call;

enum { SV_MOST_CALLS = 128 };

typedef struct sv_choice {
    sv_out content, thought;
    sv_call *calls; /* (n_calls) */
    size_t n_calls;
    json_t *logprobs; /* array in the dialect's shape, or NULL */
    sv_why why;
    char *stop;
    bool ended;
} sv_choice;

struct sv_dialect;

/* What is being written. */
typedef struct sv_writer {
    const struct sv_dialect *d;
    const sv_request *q;
    sv_out *to;
    char id[40], model[SV_NAME];
    int64_t created; /* seconds since 1970 */
    sv_choice *choices;
    uint32_t n_choices;
    json_t *vectors; /* array of embeddings in the order of the prompts */
    sv_usage usage;
    /* of streams whose parts follow each other: */
    sv_kind open;      /* SV_CONTENT, SV_THOUGHT, SV_CALL; SV_END: none is */
    uint32_t n_parts;  /* that began */
    uint32_t sequence; /* events so far */
    bool failed, over; /* over: nothing more is to come */
    json_t *items;     /* of Responses: those that are done */
} sv_writer;

/* id: what the dialect puts before is added; 24 characters are enough. KV_ENOMEM. Freed with writer_free in any case. */
kv_status writer_init(sv_writer *w, const struct sv_dialect *d, const sv_request *q, const char *id, const char *model,
                      int64_t created, uint32_t n_choices, sv_out *to);
void writer_free(sv_writer *w);
/* Take what happens, and write what can be written of it. Where memory runs out, w->to->failed. */
void writer_event(sv_writer *w, const sv_event *e);

/* ---- dialects ---- */

typedef enum sv_shape { SV_JSON, SV_SSE, SV_NDJSON } sv_shape;

typedef struct sv_dialect {
    const char *name, *prefix; /* of ids */
    sv_shape streams;          /* how it streams */
    /* q is initialised. KV_EINVAL, KV_EUNSUPP begin with the place; KV_ENOMEM. */
    kv_status (*read)(const json_t *body, sv_request *q, kv_err *err);
    void (*stream)(sv_writer *w, const sv_event *e); /* after it was collected; NULL: it does not stream */
    json_t *(*whole)(sv_writer *w);                  /* the answer, once it is complete */
    json_t *(*gather)(const sv_event *e);            /* tokens of a piece, as an array that grows; or NULL */
    json_t *(*error)(int http, kv_status st, const char *message);
    void (*fail)(sv_writer *w, const char *message); /* an error in the middle of a stream; NULL: as `error` has it */
} sv_dialect;

extern const sv_dialect sv_chat, sv_completions, sv_embeddings, sv_responses;                      /* OpenAI */
extern const sv_dialect sv_messages, sv_count;                                                     /* Anthropic */
extern const sv_dialect sv_ollama_chat, sv_ollama_generate, sv_ollama_embed, sv_ollama_embeddings; /* Ollama */
/* (n) all of them. */
const sv_dialect *const *sv_dialects(size_t *n);

json_t *openai_error(int http, kv_status st, const char *message);
json_t *anthropic_error(int http, kv_status st, const char *message);
json_t *ollama_error(int http, kv_status st, const char *message);
int http_of(kv_status st); /* the HTTP status of an error */

/* Texts of what was collected. */
json_t *collected(const sv_out *o);
static inline bool has_calls(const sv_choice *c) {
    return c->n_calls > 0;
}

#endif
