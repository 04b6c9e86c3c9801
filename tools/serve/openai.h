/* What the files of OpenAI's dialects share. */
#ifndef SERVE_OPENAI_H
#define SERVE_OPENAI_H

#include "serve/dialect.h"

/* model, sampling, stops, limits, stream and what else chat and completions have in common. */
kv_status openai_common(sv_request *q, const json_t *o, kv_err *err);
/* A list of messages as chat has it, or one of Responses' messages, which are alike but for their parts. */
kv_status openai_message(sv_request *q, const json_t *m, const char *where, kv_err *err);
/* A choice: "none", "auto", "required", or an object that names a function. */
kv_status openai_tool_choice(sv_request *q, const json_t *o, kv_err *err);
json_t *openai_usage(const sv_usage *u);
json_t *openai_timings(const sv_usage *u); /* as llama.cpp's server gives them */
const char *openai_finish(const sv_choice *c);
/* The first object of a stream and of an answer: id, object, created, model. */
json_t *openai_head(const sv_writer *w, const char *object);

#endif
