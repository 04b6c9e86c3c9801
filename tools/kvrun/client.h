/* Asking a server (kvrun serve, or another one that speaks OpenAI's language) over HTTP, and hearing the answer as it comes. */
#ifndef KVRUN_CLIENT_H
#define KVRUN_CLIENT_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct client_cfg {
    const char *url;     /* of the server: "http://127.0.0.1:8080" */
    const char *key;     /* or NULL */
    double connect;      /* seconds to wait for it */
    bool (*go_on)(void); /* asked now and then; false: stop */
    /* a piece of the answer (thought: of what the model thinks); false: it cannot be taken */
    bool (*piece)(void *user, const char *text, size_t len, bool thought);
    void (*progress)(void *user, double done); /* of reading the prompt; or NULL */
    void *user;
} client_cfg; /* all borrowed */

/* POST body, which asks for a stream, to /v1/chat/completions. KV_EIO: there is no server, or it broke off; KV_EFORMAT: what it
 * says is no answer; KV_EINVAL: it refused, with its own words; KV_EBUSY: later; KV_ECANCEL. */
kv_status client_chat(const client_cfg *cfg, const json_t *body, kv_err *err);

/* ---- for tests ---- */

/* Lines of a stream of events, put together from pieces of any length. Zero-initialise; free line. */
typedef struct client_lines {
    char *line;
    size_t len, cap;
    bool (*data)(void *user, const char *text, size_t len); /* of each "data:" line; false: stop */
    void *user;
} client_lines;
/* false: it was told to stop, memory ran out, or a line is longer than it may be. */
bool client_lines_push(client_lines *l, const char *bytes, size_t n);

#endif
