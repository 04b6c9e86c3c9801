#include "serve/server.h"

/* ---- waking ---- */

static void resume(sv_exchange *x) {
    if (x->suspended)
        MHD_resume_connection(x->c);
    else
        x->woken = true;
    x->suspended = false;
}

void exchange_wake(void *user) {
    sv_exchange *x = user;
    pthread_mutex_lock(&x->lock);
    /* While a worker has it, it stays aside, whatever its speech says already: a connection that libmicrohttpd looks at is one
     * that it may find closed, and the exchange would go away under the worker. */
    if (x->state == SV_WORKING)
        x->woken = true;
    else
        resume(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_done(sv_exchange *x, sv_state state) {
    pthread_mutex_lock(&x->lock);
    x->state = state;
    resume(x);
    pthread_mutex_unlock(&x->lock);
}

bool exchange_set_aside(sv_exchange *x) {
    pthread_mutex_lock(&x->lock);
    const bool aside = !x->woken;
    if (aside)
        MHD_suspend_connection(x->c);
    x->suspended = aside;
    x->woken = false;
    pthread_mutex_unlock(&x->lock);
    return aside;
}

const char *exchange_header(const sv_exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->c, MHD_HEADER_KIND, name);
}

const char *exchange_query(const sv_exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->c, MHD_GET_ARGUMENT_KIND, name);
}
