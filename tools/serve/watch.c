/* Whoever asked and left: libmicrohttpd does not look at connections that are set aside, so this does. And, once a second:
 * requests that take too long to arrive, clients that do not fetch what is said to them, and streams in which nothing happens.
 */
#include "serve/server.h"

#include "base/clock.h"

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { KEEP_ALIVE_SECONDS = 10, EVENTS = 64 };

static int fd_of(const sv_exchange *x) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(x->c, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

void watch_add(sv_exchange *x) {
    struct epoll_event e = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = x->number};
    x->watched = !epoll_ctl(x->sv->epoll, EPOLL_CTL_ADD, fd_of(x), &e);
}

void watch_drop(sv_exchange *x) {
    if (x->watched)
        epoll_ctl(x->sv->epoll, EPOLL_CTL_DEL, fd_of(x), NULL);
    x->watched = false;
}

/* Under the server's lock, so that it does not go away meanwhile. */
static void give_up(sv_exchange *x) {
    pthread_mutex_lock(&x->lock);
    const bool working = x->state == SV_WORKING, was = x->gone;
    sv_speech *s = working ? NULL : x->speech; /* else the worker looks */
    x->gone = true;
    pthread_mutex_unlock(&x->lock);
    if (was)
        return;
    if (working || !s || !speech_is_over(s))
        atomic_fetch_add(&x->sv->n_gone, 1);
    if (s)
        speech_cancel(s);
    if (!working)
        exchange_wake(x);
}

static void left(sv_server *sv, uint64_t number) {
    pthread_mutex_lock(&sv->lock);
    for (sv_exchange *x = sv->exchanges; x; x = x->next)
        if (x->number == number)
            give_up(x);
    pthread_mutex_unlock(&sv->lock);
}

static void look_at_streams(sv_server *sv) {
    pthread_mutex_lock(&sv->lock);
    for (sv_exchange *x = sv->exchanges; x; x = x->next) {
        pthread_mutex_lock(&x->lock);
        sv_speech *s = x->state == SV_ANSWERED ? x->speech : NULL;
        pthread_mutex_unlock(&x->lock);
        if (!s || !speech_streams(s))
            continue;
        if (speech_waiting(s) > SV_MOST_WAITING)
            give_up(x);
        else
            speech_keep_alive(s, KEEP_ALIVE_SECONDS);
    }
    pthread_mutex_unlock(&sv->lock);
}

static void look_at_conns(sv_server *sv) {
    const double now = clock_now();
    pthread_mutex_lock(&sv->lock);
    for (sv_conn *c = sv->conns; c; c = c->next)
        if (!c->busy && now - c->since > sv->cfg->max_request)
            shutdown(c->fd, SHUT_RDWR);
    pthread_mutex_unlock(&sv->lock);
}

static void *watcher(void *user) {
    sv_server *sv = user;
    struct epoll_event events[EVENTS];
    double looked = clock_now();
    for (;;) {
        const int n = epoll_wait(sv->epoll, events, EVENTS, 1000);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.u64) /* the bell: it is over */
                return NULL;
            left(sv, events[i].data.u64);
        }
        if (clock_now() - looked < 1)
            continue;
        looked = clock_now();
        look_at_streams(sv);
        look_at_conns(sv);
    }
}

kv_status watch_start(sv_server *sv, kv_err *err) {
    sv->epoll = epoll_create1(EPOLL_CLOEXEC);
    sv->bell = eventfd(0, EFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = 0};
    if (sv->epoll < 0 || sv->bell < 0 || epoll_ctl(sv->epoll, EPOLL_CTL_ADD, sv->bell, &e) ||
        (errno = pthread_create(&sv->watcher, NULL, watcher, sv)))
        return kv_fail(err, KV_EIO, "cannot watch connections: %m");
    sv->watching = true;
    return KV_OK;
}

void watch_stop(sv_server *sv) {
    if (sv->watching) {
        eventfd_write(sv->bell, 1);
        pthread_join(sv->watcher, NULL);
    }
    sv->watching = false;
}

void watch_close(sv_server *sv) {
    if (sv->bell >= 0)
        close(sv->bell);
    if (sv->epoll >= 0)
        close(sv->epoll);
}
