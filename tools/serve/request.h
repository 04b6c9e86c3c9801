/* What a client asks for, whatever dialect it speaks: each dialect reads its JSON into one of these, and everything behind
 * knows nothing else. Messages and tools are kept in the shape that OpenAI's have, which chat templates expect.
 */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include "base/status.h"
#include "sample/sampler.h"

#include <jansson.h>

typedef enum sv_tools { SV_TOOLS_AUTO, SV_TOOLS_NONE, SV_TOOLS_MUST, SV_TOOLS_ONE } sv_tools;
typedef enum sv_rules { SV_RULES_NONE, SV_RULES_JSON, SV_RULES_SCHEMA, SV_RULES_GRAMMAR } sv_rules;

enum { SV_MOST_CHOICES = 64, SV_MOST_TOP = 20, SV_MOST_STOPS = 64, SV_MOST_PROMPTS = 256, SV_NAME = 256 };

typedef struct sv_request {
    char model[SV_NAME];   /* as the client calls it; "": it does not */
    char context[SV_NAME]; /* of a stored context that the prompt goes on from; "": none */
    json_t *messages;      /* array; or NULL: there are prompts instead */
    json_t *tools;         /* array; or NULL */
    json_t *extra;         /* object: values for the chat template; or NULL */
    json_t *prompts;       /* array of texts and arrays of ids; or NULL */
    sv_tools tool_choice;
    char tool_name[SV_NAME]; /* of SV_TOOLS_ONE */
    bool one_call;           /* the answer ends with its first call */
    rt_sampling sampling;    /* bias is ours */
    bool seeded;             /* the client gave a seed; else one is drawn */
    char **stops;            /* (n_stops) */
    size_t n_stops;
    int64_t n_predict; /* -1: no limit but the context; 0: only read the prompt */
    uint32_t n;        /* choices of each prompt */
    bool logprobs;
    uint32_t top; /* likely tokens to tell */
    sv_rules rules;
    char *rules_text;
    bool stream, usage, progress; /* usage: a last piece of the stream has it */
    bool echo;                    /* the prompt stands before the text */
    bool last_token, base64;      /* of embeddings: of the last token instead of the mean; in base64 */
    bool load_only;               /* nothing is asked: the client wants the model to be there */
    bool single;                  /* of embeddings: one text rather than a list */
} sv_request;

/* What applies where the client does not say. */
typedef struct sv_defaults {
    rt_sampling sampling; /* borrowed: its bias and breakers are copied or outlive the request */
    int64_t n_predict;
} sv_defaults;

void request_init(sv_request *q, const sv_defaults *d);
void request_free(sv_request *q);

/* ---- what dialects read with. Errors begin with the place, "messages[2].content: ..."; null counts as not there ---- */

/* Set *dst where the key is there. KV_EINVAL: it is of another type, or out of range. */
kv_status take_bool(const json_t *o, const char *key, bool *dst, kv_err *err);
kv_status take_int(const json_t *o, const char *key, int64_t min, int64_t max, int64_t *dst, kv_err *err);
kv_status take_name(const json_t *o, const char *key, char dst[SV_NAME], kv_err *err);
/* Of a key that is there and not null; else NULL. Borrowed. */
const json_t *take_some(const json_t *o, const char *key);
/* The same, and it must be of that type: KV_EINVAL. *out may be NULL: it is not there. */
kv_status take_kind(const json_t *o, const char *key, json_type type, const json_t **out, kv_err *err);

/* Numbers of the sampler by the names that OpenAI, Ollama and llama.cpp give them, and logit_bias. */
kv_status request_sampling(sv_request *q, const json_t *o, kv_err *err);
kv_status request_stops(sv_request *q, const json_t *o, const char *key, kv_err *err);
kv_status request_rules(sv_request *q, sv_rules kind, const json_t *text_or_schema, kv_err *err);
/* response_format, grammar, json_schema, as OpenAI and llama.cpp have them. */
kv_status request_format(sv_request *q, const json_t *o, kv_err *err);
/* parallel_tool_calls, as OpenAI has it. */
kv_status request_parallel(sv_request *q, const json_t *o, kv_err *err);
/* A list of prompts: a text, ids, or an array of these. */
kv_status request_prompts(sv_request *q, const json_t *o, const char *key, kv_err *err);
/* kv_context and chat_template_kwargs, which all dialects know. */
kv_status request_own(sv_request *q, const json_t *o, kv_err *err);
kv_status request_extra(sv_request *q, const char *key, json_t *value, kv_err *err); /* takes the reference */

/* The text of content that is a text or an array of parts. where: "messages[2].content". *out: a new reference. KV_EINVAL: a
 * part that is no text (images, audio: says so). */
kv_status content_text(const json_t *content, const char *where, json_t **out, kv_err *err);
/* Put a message at the end; system messages before all others become one. Takes the reference. KV_ENOMEM. */
kv_status request_message(sv_request *q, json_t *message, kv_err *err);
kv_status request_system(sv_request *q, const char *text, size_t len, kv_err *err); /* the same of a system message */
/* A tool: {"type": "function", "function": {name, description, parameters}} of these; parameters may be NULL. KV_EINVAL. */
kv_status request_tool(sv_request *q, const char *where, const json_t *name, const json_t *description,
                       const json_t *parameters, kv_err *err);
/* What tools say and ask for must fit: a choice that names a tool that there is; SV_TOOLS_NONE drops them. KV_EINVAL. */
kv_status request_check(sv_request *q, kv_err *err);

#endif
