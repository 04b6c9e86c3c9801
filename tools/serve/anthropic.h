/* The two halves of Anthropic's Messages. */
#ifndef SERVE_ANTHROPIC_H
#define SERVE_ANTHROPIC_H

#include "serve/dialect.h"

void anthropic_stream(sv_writer *w, const sv_event *e);
json_t *anthropic_whole(sv_writer *w);

#endif
