/* The two halves of Ollama's dialects. */
#ifndef SERVE_OLLAMA_H
#define SERVE_OLLAMA_H

#include "serve/dialect.h"

void ollama_chat_stream(sv_writer *w, const sv_event *e);
json_t *ollama_chat_whole(sv_writer *w);
void ollama_generate_stream(sv_writer *w, const sv_event *e);
json_t *ollama_generate_whole(sv_writer *w);
json_t *ollama_embed_whole(sv_writer *w);
json_t *ollama_embeddings_whole(sv_writer *w);
/* "2026-03-01T17:05:00.000000Z" */
char *ollama_time(int64_t seconds, char to[48]);

#endif
