/* Requests that are here in full are read by a few threads, which look at JSON, write prompts and turn them into tokens. */
#include "serve/server.h"

#include <errno.h>

void work_do(sv_exchange *x) {
    kv_err err = {0};
    kv_status st;
    if (!(x->r->flags & SV_EARLY) && !atomic_load(&x->sv->ready)) {
        answer_refuse(x, 503, "the model is being loaded");
        return;
    }
    if (!(x->r->flags & SV_EARLY) && atomic_load(&x->sv->stopping)) {
        answer_refuse(x, 503, "the server is stopping");
        return;
    }
    if ((st = x->r->handle(x, &err)) && !x->later)
        answer_error(x, st, err.msg);
    if (x->model)
        models_leave(x->model);
    x->model = NULL;
}

/* ---- workers ---- */

static sv_exchange *next_one(sv_server *sv) {
    pthread_mutex_lock(&sv->queue_lock);
    while (!sv->queue_first && !sv->queue_ends)
        pthread_cond_wait(&sv->queue_more, &sv->queue_lock);
    sv_exchange *x = sv->queue_first;
    if (x) {
        sv->queue_first = x->queued;
        if (!sv->queue_first)
            sv->queue_last = NULL;
    }
    pthread_mutex_unlock(&sv->queue_lock);
    return x;
}

static void add_again(void *x) {
    work_add(x);
}

static void *worker(void *user) {
    sv_server *sv = user;
    sv_exchange *x;
    while ((x = next_one(sv))) {
        work_do(x);
        if (x->later) { /* whoever loads a model has a worker; those who wait for it must not have all others */
            x->later = false;
            x->waiting = (sv_waiting){.again = add_again, .user = x};
            models_wait(&sv->models, &x->waiting);
            continue;
        }
        atomic_fetch_sub(&sv->body_bytes, x->body.cap);
        out_free(&x->body);
        pthread_mutex_lock(&x->lock);
        sv_speech *s = x->speech;
        const bool gone = x->gone;
        pthread_mutex_unlock(&x->lock);
        if (s && gone)
            speech_cancel(s);
        exchange_done(x, s && !speech_streams(s) ? SV_SPEAKING : SV_ANSWERED);
    }
    return NULL;
}

void work_add(sv_exchange *x) {
    sv_server *sv = x->sv;
    x->queued = NULL;
    pthread_mutex_lock(&sv->queue_lock);
    *(sv->queue_last ? &sv->queue_last->queued : &sv->queue_first) = x;
    sv->queue_last = x;
    pthread_cond_signal(&sv->queue_more);
    pthread_mutex_unlock(&sv->queue_lock);
}

kv_status work_start(sv_server *sv, kv_err *err) {
    pthread_mutex_init(&sv->queue_lock, NULL);
    pthread_cond_init(&sv->queue_more, NULL);
    for (; sv->n_workers < SV_WORKERS; sv->n_workers++)
        if ((errno = pthread_create(&sv->workers[sv->n_workers], NULL, worker, sv)))
            return kv_fail(err, KV_ENOMEM, "cannot start a thread: %m");
    return KV_OK;
}

void work_stop(sv_server *sv) {
    pthread_mutex_lock(&sv->queue_lock);
    sv->queue_ends = true;
    pthread_cond_broadcast(&sv->queue_more);
    pthread_mutex_unlock(&sv->queue_lock);
    while (sv->n_workers)
        pthread_join(sv->workers[--sv->n_workers], NULL);
    pthread_cond_destroy(&sv->queue_more);
    pthread_mutex_destroy(&sv->queue_lock);
}
