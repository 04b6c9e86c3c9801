/* What the files of the server share. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "serve/models.h"
#include "serve/serve.h"
#include "serve/speech.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

struct sv_server;
struct sv_exchange;

/* ---- routes ---- */

enum {
    SV_OPEN = 1,   /* needs no key */
    SV_EARLY = 2,  /* needs no model: is answered while it loads, too, and by the thread that moves bytes */
    SV_PREFIX = 4, /* the path goes on behind it */
};

typedef struct sv_route {
    const char *method, *path;
    const sv_dialect *d; /* whose errors it has */
    /* Fills x->out, or x->speech. On failure the error is written in the dialect's shape, with x->http if that is set, else by
     * http_of. */
    kv_status (*handle)(struct sv_exchange *x, kv_err *err);
    unsigned flags;
} sv_route;

/* NULL: there is none; *allowed: methods that there are for this path, with commas between them, or "". */
const sv_route *route_find(const char *method, const char *path, char allowed[64]);

/* ---- a request and its answer ---- */

typedef enum sv_state {
    SV_READING,  /* its body comes in */
    SV_WORKING,  /* a worker has it */
    SV_ANSWERED, /* out is the answer, or speech streams it */
    SV_SPEAKING  /* speech will be the answer once it is over */
} sv_state;

typedef struct sv_exchange {
    struct sv_server *sv;
    struct MHD_Connection *c;
    struct sv_conn *conn;
    const sv_route *r;
    char *path; /* behind the route's, of SV_PREFIX: decoded by libmicrohttpd */
    double since;
    uint64_t number;
    sv_out body;
    sv_model *model; /* while a worker has it: taken, or NULL */
    bool too_large, watched;
    bool later; /* its handler could not go on, and is to be called again */
    sv_waiting waiting;
    /* the answer */
    int http; /* 0: 200, or what the error says */
    const char *type;
    const char *const *headers; /* beside those that all have: names and values in turns, then NULL; or NULL */
    int retry_after;            /* seconds; 0: is not said */
    char allow[64];
    sv_out out;
    pthread_mutex_t lock; /* of what follows */
    sv_state state;
    sv_speech *speech;
    bool suspended, woken, gone;
    struct sv_exchange *prev, *next; /* of all, under the server's lock */
    struct sv_exchange *queued;      /* next in the queue of workers */
} sv_exchange;

/* A connection, from its beginning to its end. */
typedef struct sv_conn {
    int fd;
    bool busy;    /* a request is here in full, and is being answered */
    double since; /* when it was not busy first */
    struct sv_conn *prev, *next;
} sv_conn;

enum { SV_WORKERS = 3 };

typedef struct sv_server {
    const serve_cfg *cfg;
    struct MHD_Daemon *d;
    int listens, port;
    atomic_bool ready, stopping;
    sv_models models;
    int64_t started;
    pthread_mutex_t lock; /* of the lists */
    sv_exchange *exchanges;
    sv_conn *conns;
    uint64_t numbers;
    /* workers */
    pthread_mutex_t queue_lock;
    pthread_cond_t queue_more;
    sv_exchange *queue_first, *queue_last;
    bool queue_ends;
    pthread_t workers[SV_WORKERS];
    int n_workers;
    atomic_size_t body_bytes; /* of all bodies that are held */
    /* the watcher */
    int epoll, bell;
    pthread_t watcher;
    bool watching;
    /* contexts are made one at a time */
    pthread_mutex_t making;
    atomic_int made; /* thousandths of it; -1000: there is none */
    /* counters */
    atomic_ullong n_requests, n_errors[6], n_gone, n_refused; /* n_errors: by the first digit of the status */
} sv_server;

/* ---- exchange.c ---- */
void exchange_wake(void *x); /* from any thread */
/* The same at the end of a worker's part, which then touches it no more. */
void exchange_done(sv_exchange *x, sv_state state);
const char *exchange_header(const sv_exchange *x, const char *name); /* borrowed; or NULL */
const char *exchange_query(const sv_exchange *x, const char *name);
/* Until somebody wakes it. false: somebody has already. */
bool exchange_set_aside(sv_exchange *x);

/* ---- answer.c ---- */
/* The body as JSON; caller frees with json_decref. KV_EINVAL. */
kv_status answer_json(const sv_exchange *x, json_t **out, kv_err *err);
void answer_refuse(sv_exchange *x, int http, const char *message); /* an error as the answer */
void answer_error(sv_exchange *x, kv_status st, const char *message);

/* ---- http.c ---- */
kv_status http_start(sv_server *sv, kv_err *err);
void http_quiesce(sv_server *sv); /* no new connections */
void http_stop(sv_server *sv);    /* no exchange may be suspended any more */

/* ---- answer.c, too ---- */
/* x->model from now on until the worker is done with it, by the name that the client gave. KV_EINVAL, with x->http 404: there
 * is none; errors of models_take. Where another one is being loaded, x->later is set: the handler returns, leaving the body as
 * it is, and is called again. */
kv_status answer_model(sv_exchange *x, const char *name, kv_err *err);

/* ---- work.c ---- */
kv_status work_start(sv_server *sv, kv_err *err);
void work_add(sv_exchange *x);
void work_stop(sv_server *sv);
void work_do(sv_exchange *x); /* call its handler, and make an answer of what comes of it */

/* ---- watch.c ---- */
kv_status watch_start(sv_server *sv, kv_err *err);
void watch_stop(sv_server *sv);
void watch_close(sv_server *sv); /* once libmicrohttpd has stopped */
void watch_add(sv_exchange *x);  /* from when it is here in full */
void watch_drop(sv_exchange *x);

/* ---- stored.c ---- */
/* The file of a stored context. KV_EINVAL: no name of one; KV_EIO: there is none, or they are not kept here. */
kv_status stored_path(const sv_server *sv, const char *name, char path[4096], kv_err *err);

#endif
