/* What there is to ask for. */
#include "serve/handlers.h"

#include <stdio.h>
#include <string.h>

static const sv_route routes[] = {
    /* OpenAI */
    {"POST", "/v1/chat/completions", &sv_chat, handle_ask, 0},
    {"POST", "/v1/completions", &sv_completions, handle_ask, 0},
    {"POST", "/v1/embeddings", &sv_embeddings, handle_ask, 0},
    {"POST", "/v1/responses", &sv_responses, handle_ask, 0},
    {"GET", "/v1/models", &sv_chat, handle_models, 0},
    {"GET", "/v1/models/", &sv_chat, handle_model, SV_PREFIX},
    /* the same where the base address of a client has no /v1 */
    {"POST", "/chat/completions", &sv_chat, handle_ask, 0},
    {"POST", "/completions", &sv_completions, handle_ask, 0},
    {"POST", "/embeddings", &sv_embeddings, handle_ask, 0},
    {"POST", "/responses", &sv_responses, handle_ask, 0},
    {"GET", "/models", &sv_chat, handle_models, 0},
    /* Anthropic */
    {"POST", "/v1/messages", &sv_messages, handle_ask, 0},
    {"POST", "/v1/messages/count_tokens", &sv_count, handle_ask, 0},
    /* Ollama */
    {"POST", "/api/chat", &sv_ollama_chat, handle_ask, 0},
    {"POST", "/api/generate", &sv_ollama_generate, handle_ask, 0},
    {"POST", "/api/embed", &sv_ollama_embed, handle_ask, 0},
    {"POST", "/api/embeddings", &sv_ollama_embeddings, handle_ask, 0},
    {"GET", "/api/tags", &sv_ollama_chat, handle_tags, 0},
    {"POST", "/api/show", &sv_ollama_chat, handle_show, 0},
    {"GET", "/api/ps", &sv_ollama_chat, handle_ps, 0},
    {"GET", "/api/version", &sv_ollama_chat, handle_version, SV_OPEN | SV_EARLY},
    /* our own */
    {"GET", "/", &sv_chat, handle_page, SV_OPEN | SV_EARLY},
    {"GET", "/health", &sv_chat, handle_health, SV_OPEN | SV_EARLY},
    {"GET", "/v1/health", &sv_chat, handle_health, SV_OPEN | SV_EARLY},
    {"POST", "/tokenize", &sv_chat, handle_tokenize, 0},
    {"POST", "/detokenize", &sv_chat, handle_detokenize, 0},
    {"POST", "/apply-template", &sv_chat, handle_template, 0},
    {"GET", "/metrics", &sv_chat, handle_metrics, 0},
    {"GET", "/slots", &sv_chat, handle_slots, 0},
    {"GET", "/props", &sv_chat, handle_props, 0},
    {"GET", "/v1/contexts", &sv_chat, handle_contexts, 0},
    {"POST", "/v1/contexts", &sv_chat, handle_context_new, 0},
    {"PUT", "/v1/contexts/", &sv_chat, handle_context_put, SV_PREFIX},
    {"DELETE", "/v1/contexts/", &sv_chat, handle_context_delete, SV_PREFIX},
};
enum { N_ROUTES = sizeof routes / sizeof *routes };

static bool leads_to(const sv_route *r, const char *path) {
    const size_t n = strlen(r->path);
    return r->flags & SV_PREFIX ? !strncmp(path, r->path, n) && path[n] : !strcmp(path, r->path);
}

const sv_route *route_find(const char *method, const char *path, char allowed[64]) {
    size_t n = 0;
    if (!strcmp(method, "HEAD")) /* libmicrohttpd leaves the body out */
        method = "GET";
    *allowed = '\0';
    for (size_t i = 0; i < N_ROUTES; i++) {
        if (!leads_to(&routes[i], path))
            continue;
        if (!strcmp(routes[i].method, method))
            return &routes[i];
        n += (size_t)snprintf(allowed + n, 64 - n, "%s%s", n ? ", " : "", routes[i].method);
    }
    return NULL;
}
