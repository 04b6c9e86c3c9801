/* Bytes in and out, by libmicrohttpd, in its one thread. A connection with nothing to send is set aside (suspended) until
 * somebody wakes it; the lock of an exchange is never held while its speech is asked, as the speech wakes it under its own. */
#include "serve/guard.h"
#include "serve/server.h"

#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER_BYTES = 32 << 10, PIECE = 16 << 10, CONNECTIONS = 512, QUIET_SECONDS = 60, BODIES = 256 << 20 };

static bool is_gone(sv_exchange *x) {
    pthread_mutex_lock(&x->lock);
    const bool gone = x->gone && x->state != SV_WORKING; /* a worker is to be done with it first */
    pthread_mutex_unlock(&x->lock);
    return gone;
}

static sv_state state_of(sv_exchange *x) {
    pthread_mutex_lock(&x->lock);
    const sv_state state = x->state;
    pthread_mutex_unlock(&x->lock);
    return state;
}

/* ---- exchanges ---- */

static sv_exchange *exchange_new(sv_server *sv, struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    sv_exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->sv = sv;
    x->c = c;
    x->conn = info ? info->socket_context : NULL;
    x->since = clock_now();
    x->type = "application/json";
    pthread_mutex_init(&x->lock, NULL);
    pthread_mutex_lock(&sv->lock);
    x->number = ++sv->numbers;
    x->next = sv->exchanges;
    if (x->next)
        x->next->prev = x;
    sv->exchanges = x;
    pthread_mutex_unlock(&sv->lock);
    return x;
}

static void exchange_free(sv_exchange *x) {
    sv_server *sv = x->sv;
    pthread_mutex_lock(&sv->lock);
    *(x->prev ? &x->prev->next : &sv->exchanges) = x->next;
    if (x->next)
        x->next->prev = x->prev;
    if (x->conn) {
        x->conn->busy = false;
        x->conn->since = clock_now();
    }
    pthread_mutex_unlock(&sv->lock);
    watch_drop(x);
    if (x->speech) {
        speech_cancel(x->speech);
        speech_leave(x->speech);
    }
    atomic_fetch_sub(&sv->body_bytes, x->body.cap);
    out_free(&x->body);
    out_free(&x->out);
    free(x->path);
    pthread_mutex_lock(&x->lock); /* whoever woke it last may still be about to let go of it */
    pthread_mutex_unlock(&x->lock);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* ---- answers ---- */

static ssize_t read_stream(void *user, uint64_t at, char *to, size_t most) {
    sv_exchange *x = user;
    bool over = false;
    (void)at;
    do {
        if (is_gone(x))
            return MHD_CONTENT_READER_END_WITH_ERROR;
        const size_t n = speech_take(x->speech, to, most, &over);
        if (n)
            return (ssize_t)n;
        if (over)
            return MHD_CONTENT_READER_END_OF_STREAM;
    } while (!exchange_set_aside(x));
    return 0;
}

static void add_headers(const sv_exchange *x, struct MHD_Response *r) {
    const char *origin = exchange_header(x, "Origin");
    char text[32];
    MHD_add_response_header(r, "Content-Type", x->type);
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    if (!x->headers)
        MHD_add_response_header(r, "Cache-Control", "no-store");
    for (const char *const *h = x->headers; h && *h; h += 2)
        MHD_add_response_header(r, h[0], h[1]);
    if (x->retry_after) {
        snprintf(text, sizeof text, "%d", x->retry_after);
        MHD_add_response_header(r, "Retry-After", text);
    }
    if (*x->allow)
        MHD_add_response_header(r, "Allow", x->allow);
    if (x->http == 401)
        MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
    if (!origin || !x->sv->cfg->n_origins)
        return;
    MHD_add_response_header(r, "Vary", "Origin");
    if (!guard_origin(origin, NULL, x->sv->cfg->origins, x->sv->cfg->n_origins))
        return;
    MHD_add_response_header(r, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS");
    MHD_add_response_header(r, "Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key, Anthropic-Version, *");
    MHD_add_response_header(r, "Access-Control-Max-Age", "600");
}

static enum MHD_Result queue_answer(sv_exchange *x) {
    const bool streams = x->speech && speech_streams(x->speech) && !out_waiting(&x->out);
    const int http = x->http ? x->http : 200;
    struct MHD_Response *r;
    if (streams) {
        x->type = speech_shape(x->speech) == SV_SSE ? "text/event-stream; charset=utf-8" : "application/x-ndjson";
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, read_stream, x, NULL);
    } else if (x->out.failed) {
        static char sorry[] =
            "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"param\":null,\"code\":null}}";
        r = MHD_create_response_from_buffer(strlen(sorry), sorry, MHD_RESPMEM_PERSISTENT);
        x->http = 503;
    } else {
        r = MHD_create_response_from_buffer(out_waiting(&x->out), x->out.s ? x->out.s + x->out.at : "", MHD_RESPMEM_MUST_COPY);
    }
    if (!r)
        return MHD_NO;
    add_headers(x, r);
    atomic_fetch_add(&x->sv->n_errors[http / 100 % 6], 1);
    const enum MHD_Result done = MHD_queue_response(x->c, (unsigned)http, r);
    MHD_destroy_response(r);
    return done;
}

/* An answer that comes whole, once it is over. */
static enum MHD_Result finish_speech(sv_exchange *x) {
    char piece[PIECE];
    kv_err err = {0};
    bool over = false;
    do {
        if (is_gone(x))
            return MHD_NO;
        size_t n;
        while ((n = speech_take(x->speech, piece, sizeof piece, &over)))
            out_add(&x->out, piece, n);
        if (over) {
            const kv_status st = speech_result(x->speech, &err);
            x->http = st ? http_of(st) : 200;
            return queue_answer(x);
        }
    } while (!exchange_set_aside(x));
    return MHD_YES;
}

/* ---- requests ---- */

/* What can be said of a request by its head alone. false: it is refused. */
static bool check_head(sv_exchange *x, const char *url, const char *method) {
    const serve_cfg *cfg = x->sv->cfg;
    const char *host = exchange_header(x, "Host"), *origin = exchange_header(x, "Origin"),
               *length = exchange_header(x, "Content-Length");
    char message[256];
    x->r = route_find(method, url, x->allow);
    x->path = strdup(url);
    if (!x->path)
        return answer_refuse(x, 503, "out of memory"), false;
    if (!guard_host(host, cfg->host, cfg->hosts, cfg->n_hosts))
        return answer_refuse(x, 403, "Host: is not a name of this server (--allow-host adds names)"), false;
    if (!guard_origin(origin, host, cfg->origins, cfg->n_origins))
        return answer_refuse(x, 403, "Origin: pages from there may not ask this server (--cors allows them)"), false;
    if (!strcmp(method, "OPTIONS") && origin && cfg->n_origins)
        return x->http = 204, false;
    if (!x->r && *x->allow) {
        snprintf(message, sizeof message, "%s has no meaning here; there is %s", method, x->allow);
        return answer_refuse(x, 405, message), false;
    }
    if (!x->r) {
        snprintf(message, sizeof message, "there is nothing at %.100s", url);
        return answer_refuse(x, 404, message), false;
    }
    *x->allow = '\0';
    if (!(x->r->flags & SV_OPEN) &&
        !guard_key(exchange_header(x, "Authorization"), exchange_header(x, "X-Api-Key"), cfg->keys, cfg->n_keys))
        return answer_refuse(x, 401, "a key is needed (Authorization: Bearer KEY), and this one is not right"), false;
    if (length && strtoull(length, NULL, 10) > cfg->max_body) {
        snprintf(message, sizeof message, "the request has more than %llu bytes", (unsigned long long)cfg->max_body);
        return answer_refuse(x, 413, message), false;
    }
    return true;
}

static void take_body(sv_exchange *x, const char *bytes, size_t n) {
    const size_t was = x->body.cap;
    if (x->too_large || x->body.len + n > x->sv->cfg->max_body || atomic_load(&x->sv->body_bytes) > BODIES) {
        x->too_large = true;
        return;
    }
    out_add(&x->body, bytes, n);
    atomic_fetch_add(&x->sv->body_bytes, x->body.cap - was);
}

static enum MHD_Result begin_work(sv_exchange *x) {
    if (x->conn) {
        pthread_mutex_lock(&x->sv->lock);
        x->conn->busy = true;
        pthread_mutex_unlock(&x->sv->lock);
    }
    if (x->too_large || x->body.failed) {
        answer_refuse(x, x->body.failed ? 503 : 413, x->body.failed ? "out of memory" : "the request is too large");
        return queue_answer(x);
    }
    if (x->r->flags & SV_EARLY) {
        work_do(x);
        return queue_answer(x);
    }
    pthread_mutex_lock(&x->lock);
    x->state = SV_WORKING;
    MHD_suspend_connection(x->c);
    x->suspended = true;
    pthread_mutex_unlock(&x->lock);
    watch_add(x);
    work_add(x);
    return MHD_YES;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *n_upload, void **con) {
    sv_server *sv = user;
    sv_exchange *x = *con;
    (void)version;
    if (!x) {
        if (!(x = *con = exchange_new(sv, c)))
            return MHD_NO;
        atomic_fetch_add(&sv->n_requests, 1);
        return check_head(x, url, method) ? MHD_YES : queue_answer(x);
    }
    if (*n_upload) {
        take_body(x, upload, *n_upload);
        *n_upload = 0;
        return MHD_YES;
    }
    if (is_gone(x))
        return MHD_NO;
    switch (state_of(x)) {
    case SV_READING:
        return begin_work(x);
    case SV_SPEAKING:
        return finish_speech(x);
    case SV_ANSWERED:
        return queue_answer(x);
    default: /* a worker has it, and wakes it */
        exchange_set_aside(x);
        return MHD_YES;
    }
}

static void on_completed(void *user, struct MHD_Connection *c, void **con, enum MHD_RequestTerminationCode why) {
    (void)user, (void)c, (void)why;
    if (*con)
        exchange_free(*con);
    *con = NULL;
}

static void on_connection(void *user, struct MHD_Connection *c, void **socket, enum MHD_ConnectionNotificationCode what) {
    sv_server *sv = user;
    sv_conn *conn = *socket;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (!info || !(conn = calloc(1, sizeof *conn)))
            return;
        *conn = (sv_conn){.fd = info->connect_fd, .since = clock_now()};
        pthread_mutex_lock(&sv->lock);
        conn->next = sv->conns;
        if (conn->next)
            conn->next->prev = conn;
        sv->conns = conn;
        pthread_mutex_unlock(&sv->lock);
        *socket = conn;
        return;
    }
    if (!conn)
        return;
    pthread_mutex_lock(&sv->lock);
    *(conn->prev ? &conn->prev->next : &sv->conns) = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    pthread_mutex_unlock(&sv->lock);
    free(conn);
    *socket = NULL;
}

/* ---- listening ---- */

static kv_status listen_at(sv_server *sv, const struct addrinfo *a, kv_err *err) {
    const int on = 1;
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    char port[16];
    sv->listens = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sv->listens < 0)
        return kv_fail(err, KV_EIO, "cannot make a socket: %m");
    setsockopt(sv->listens, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(sv->listens, a->ai_addr, a->ai_addrlen) || listen(sv->listens, 128)) {
        kv_fail(err, KV_EIO, "cannot listen at %s, port %d: %m%s", sv->cfg->host, sv->cfg->port,
                errno == EADDRINUSE ? " (another server runs there? --port chooses another)" : "");
        close(sv->listens);
        sv->listens = -1;
        return KV_EIO;
    }
    if (!getsockname(sv->listens, (struct sockaddr *)&at, &len) &&
        !getnameinfo((struct sockaddr *)&at, len, NULL, 0, port, sizeof port, NI_NUMERICSERV))
        sv->port = atoi(port);
    return KV_OK;
}

static kv_status start_listening(sv_server *sv, kv_err *err) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[16];
    snprintf(port, sizeof port, "%d", sv->cfg->port);
    const int failed = getaddrinfo(sv->cfg->host, port, &hints, &found);
    if (failed)
        return kv_fail(err, KV_EINVAL, "--host %s: %s", sv->cfg->host, gai_strerror(failed));
    kv_status st = listen_at(sv, found, err);
    freeaddrinfo(found);
    return st;
}

static void no_log(void *user, const char *format, va_list ap) {
    (void)user, (void)format, (void)ap; /* of clients that leave, mostly */
}

/* A NUL would end what it stands in: it stays as it is written. */
static size_t unescape(void *user, struct MHD_Connection *c, char *s) {
    (void)user, (void)c;
    return strstr(s, "%00") ? strlen(s) : MHD_http_unescape(s);
}

kv_status http_start(sv_server *sv, kv_err *err) {
    kv_status st = start_listening(sv, err);
    if (st)
        return st;
    sv->d = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, sv,
        MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_LISTEN_SOCKET,
        sv->listens, MHD_OPTION_NOTIFY_COMPLETED, on_completed, sv, MHD_OPTION_NOTIFY_CONNECTION, on_connection, sv,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)QUIET_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (sv->d)
        return KV_OK;
    close(sv->listens);
    sv->listens = -1;
    return kv_fail(err, KV_EIO, "cannot start serving HTTP: %m");
}

void http_quiesce(sv_server *sv) {
    const MHD_socket fd = sv->d ? MHD_quiesce_daemon(sv->d) : MHD_INVALID_SOCKET;
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    sv->listens = -1;
}

void http_stop(sv_server *sv) {
    if (sv->d)
        MHD_stop_daemon(sv->d);
    sv->d = NULL;
}
