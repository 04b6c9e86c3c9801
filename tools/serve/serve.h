/* A server for models: the HTTP that clients of OpenAI, Anthropic and Ollama speak, and what is its own. docs/serve.md.
 *
 * One thread moves bytes (libmicrohttpd), some read requests and turn them into tokens, one runs the model
 * (schedule/schedule.h), one watches connections. Nobody waits for anybody: while there is nothing to send, a connection is set
 * aside.
 */
#ifndef SERVE_H
#define SERVE_H

#include "contexts/contexts.h"
#include "sample/sampler.h"
#include "text/chat.h"

/* A model, as whoever runs the server opens it. */
typedef struct serve_model {
    const rt_model *model;
    const chat_format *format; /* or NULL */
    rt_ctx_cfg ctx;            /* of every slot */
    void *own;                 /* the opener's */
} serve_model;

typedef struct serve_cfg {
    const char *tool;   /* for notes */
    const char *model;  /* path of its file, or */
    const char *models; /* a folder of them, which are loaded when they are asked for */
    uint64_t memory;    /* bytes that loaded models may take together, with caches and workspaces; 0: any */
    const char *alias;  /* what it is called; NULL: as its file */
    const char *host;
    int port;                /* 0: any that is free */
    uint32_t slots, queue;   /* as of sched_cfg */
    const char *const *keys; /* (n_keys) any of them opens; none: no key is asked for */
    size_t n_keys;
    const char *const *origins; /* (n_origins) pages of these may ask, too ("*": all) */
    size_t n_origins;
    const char *const *hosts; /* (n_hosts) further names that clients may call the server by */
    size_t n_hosts;
    rt_sampling sampling;
    int64_t n_predict;
    uint64_t max_body;    /* bytes of a request */
    double max_request;   /* seconds that a request may take to arrive, */
    double drain;         /* and that answers get to end in when the server is told to stop */
    contexts *cache;      /* of what was read; or NULL */
    const char *contexts; /* folder of stored contexts; it is made when it is needed. NULL: there are none */
    bool quiet;
    /* Opens a model: a single one while the server answers already that it is loading, and errors end the server. In any
     * thread, one at a time. */
    kv_status (*open)(void *user, const char *path, serve_model *out, kv_err *err);
    void (*close)(void *user, serve_model *m);
    void *user;
} serve_cfg; /* all borrowed */

/* Serve until SIGINT or SIGTERM, then let what runs end. These signals must be blocked in the calling thread, and SIGPIPE
 * ignored, before it is called (serve_block_signals). *sig: the one that came. KV_EINVAL: host or port; KV_EIO: the port is
 * taken; errors of opening the model and of sched_new. */
kv_status serve_run(const serve_cfg *cfg, int *sig, kv_err *err);
void serve_block_signals(void);

#endif
