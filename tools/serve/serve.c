#include "serve/server.h"

#include "base/clock.h"
#include "cli/cli.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINGER_MS = 3000 };

/* ---- signals ---- */

static void wanted(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void serve_block_signals(void) {
    sigset_t set;
    wanted(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static bool came(int *sig) {
    sigset_t set;
    const struct timespec none = {0};
    wanted(&set);
    const int s = sigtimedwait(&set, NULL, &none);
    if (s > 0)
        *sig = s;
    return s > 0;
}

static int wait_for_signal(void) {
    sigset_t set;
    int sig = 0;
    wanted(&set);
    while (sigwait(&set, &sig))
        ;
    return sig;
}

/* ---- the model ---- */

typedef struct opening {
    sv_model *m;
    kv_status st;
    kv_err *err;
} opening;

static void *take_first(void *user) {
    opening *o = user;
    o->st = models_take(o->m, NULL, o->err);
    return NULL;
}

/* A single one is there from the beginning on. Until there is something to end well, signals end it as everywhere; but the
 * threads that a model has must not take any later, so that it is opened by one in which they are blocked. */
static kv_status open_first(sv_server *sv, kv_err *err) {
    opening o = {.m = sv->models.v, .err = err};
    pthread_t opener;
    sigset_t set;
    if (sv->cfg->models) {
        atomic_store(&sv->ready, true);
        return KV_OK;
    }
    if (pthread_create(&opener, NULL, take_first, &o))
        return kv_fail(err, KV_ENOMEM, "the system gives no more threads");
    wanted(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    pthread_join(opener, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (o.st)
        return o.st;
    models_leave(sv->models.v);
    if (cli_interrupted()) /* the handler took a signal that nobody will wait for again */
        return kv_fail(err, KV_ECANCEL, "interrupted");
    atomic_store(&sv->ready, true);
    return KV_OK;
}

/* ---- stopping ---- */

static void sleep_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static bool any_exchange(sv_server *sv) {
    pthread_mutex_lock(&sv->lock);
    bool any = false;
    for (const sv_exchange *x = sv->exchanges; x; x = x->next)
        any = true;
    pthread_mutex_unlock(&sv->lock);
    return any;
}

/* Those that were set aside come back, as libmicrohttpd cannot stop with any of them. */
static void wake_all(sv_server *sv) {
    pthread_mutex_lock(&sv->lock);
    for (sv_exchange *x = sv->exchanges; x; x = x->next) {
        pthread_mutex_lock(&x->lock);
        x->gone = true;
        pthread_mutex_unlock(&x->lock);
        exchange_wake(x);
    }
    pthread_mutex_unlock(&sv->lock);
}

/* What runs gets to end; whoever is impatient says so by another signal. */
static void drain(sv_server *sv) {
    const double until = clock_now() + sv->cfg->drain;
    double left;
    int sig;
    do
        left = until - clock_now();
    while (left > 0 && !models_drain(&sv->models, left < 0.1 ? left : 0.1) && !came(&sig));
    models_drain(&sv->models, 0); /* at least, nothing more is taken */
}

static void stop_all(sv_server *sv) {
    atomic_store(&sv->stopping, true);
    http_quiesce(sv);
    drain(sv);
    work_stop(sv);
    models_unload(&sv->models); /* what did not end in time is told so */
    for (int ms = 0; ms < LINGER_MS && any_exchange(sv); ms += 10)
        sleep_ms(10);
    watch_stop(sv);
    wake_all(sv);
    sleep_ms(50);
    http_stop(sv);
    watch_close(sv);
    models_free(&sv->models);
    pthread_mutex_destroy(&sv->lock);
    pthread_mutex_destroy(&sv->making);
    free(sv);
}

static void say_where(const sv_server *sv) {
    const serve_cfg *cfg = sv->cfg;
    const char *host = strchr(cfg->host, ':') ? "[::1]" : cfg->host;
    const sv_model *m = sv->models.v;
    if (cfg->models)
        cli_note(cfg->tool, "%zu models of %s at http://%s:%d, loaded when they are asked for", sv->models.n, cfg->models, host,
                 sv->port);
    else
        cli_note(cfg->tool, "%s at http://%s:%d, %u slots of %u tokens; loaded in %.1f s", m->name, host, sv->port, cfg->slots,
                 m->engine.n_ctx, m->loaded_s);
}

/* Bodies and answers of any size come and go in several threads: what is large is given back when it is freed, rather than kept
 * in a heap that falls to pieces. Without it, a server that ran for a while took ten times the memory. */
static void keep_heap_small(void) {
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, 512 << 10);
#endif
}

kv_status serve_run(const serve_cfg *cfg, int *sig, kv_err *err) {
    sv_server *sv = calloc(1, sizeof *sv);
    kv_status st;
    *sig = 0;
    if (!sv)
        return kv_fail(err, KV_ENOMEM, "out of memory for a server");
    keep_heap_small();
    sv->cfg = cfg;
    atomic_store(&sv->made, -1000);
    sv->started = (int64_t)time(NULL);
    sv->listens = sv->epoll = sv->bell = -1;
    pthread_mutex_init(&sv->lock, NULL);
    pthread_mutex_init(&sv->making, NULL);
    if ((st = models_init(&sv->models, cfg, err)) || (st = watch_start(sv, err)) || (st = work_start(sv, err)) ||
        (st = http_start(sv, err)) || (st = open_first(sv, err)))
        goto done;
    if (!cfg->quiet)
        say_where(sv);
    if (!came(sig))
        *sig = wait_for_signal();
    if (!cfg->quiet)
        cli_note(cfg->tool, "stopping: what runs gets %.0f s to end", cfg->drain);
done:
    stop_all(sv);
    return st;
}
