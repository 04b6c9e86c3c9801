/* The two halves of OpenAI's Responses. */
#ifndef SERVE_RESPONSES_H
#define SERVE_RESPONSES_H

#include "serve/dialect.h"

void responses_stream(sv_writer *w, const sv_event *e);
void responses_fail(sv_writer *w, const char *message);
json_t *responses_whole(sv_writer *w);

#endif
