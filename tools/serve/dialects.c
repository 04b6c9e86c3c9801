#include "serve/dialect.h"

const sv_dialect *const *sv_dialects(size_t *n) {
    static const sv_dialect *const all[] = {
        &sv_chat,  &sv_completions, &sv_embeddings,      &sv_responses,    &sv_messages,
        &sv_count, &sv_ollama_chat, &sv_ollama_generate, &sv_ollama_embed, &sv_ollama_embeddings};
    *n = sizeof all / sizeof *all;
    return all;
}
