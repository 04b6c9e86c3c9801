/* Files, in a thread of their own: what takes long there keeps nobody from reading and saying.
 *
 * What is to be kept is kept before anything is looked for that came later, so a prompt finds what was put away for it.
 * Contexts by name stay open for a while, as many as are used at a time.
 */
#include "schedule/schedule_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { OPEN = 8 };

/* What is to be done: one of both. */
typedef struct task {
    struct task *next;
    sched_job *fetch;
    rt_session *keep;
} task;

typedef struct named {
    char *path;
    struct stat as; /* the file then */
    rt_session *s;
    size_t bytes;
    uint64_t used;
} named;

struct shelf {
    const rt_model *m;
    rt_ctx_cfg ctx;
    contexts *contexts;
    rt_pool *pool; /* of its own: made when it is first needed */
    atomic_size_t bytes;
    named open[OPEN];
    uint64_t uses;
    void (*done)(void *user);
    void *user;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    task *first, **last;
    bool stop;
};

/* ---- errands ---- */

static kv_status need_pool(shelf *h, kv_err *err) {
    return h->pool ? KV_OK : rt_pool_new(h->m, h->ctx.n_batch, &h->pool, err);
}

static void count_bytes(shelf *h) {
    size_t bytes = h->pool ? rt_pool_bytes(h->pool) : 0;
    for (const named *n = h->open; n < h->open + OPEN; n++)
        bytes += n->bytes;
    atomic_store(&h->bytes, bytes);
}

size_t shelf_bytes(const shelf *h) {
    return atomic_load(&h->bytes);
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void forget(named *n) {
    rt_session_free(n->s);
    free(n->path);
    *n = (named){0};
}

/* The place of a file that is open and has not changed; else a free one, or that which was not used for longest. */
static named *place_of(shelf *h, const char *path, const struct stat *now) {
    named *best = h->open;
    for (named *n = h->open; n < h->open + OPEN; n++) {
        if (n->s && !strcmp(n->path, path) && same_file(&n->as, now))
            return n;
        if (n->used < best->used)
            best = n;
    }
    forget(best);
    return best;
}

static kv_status open_named(shelf *h, const char *path, rt_session **out, kv_err *err) {
    struct stat now = {0};
    if (stat(path, &now))
        now = (struct stat){0}; /* opening says what is wrong */
    named *n = place_of(h, path, &now);
    kv_status st = KV_OK;
    if (!n->s) {
        if ((st = need_pool(h, err)) || (st = rt_session_open(h->m, h->pool, &h->ctx, path, NULL, NULL, &n->s, err)))
            return st;
        if (!(n->path = strdup(path))) {
            forget(n);
            return kv_fail(err, KV_ENOMEM, "%s: out of memory", path);
        }
        n->as = now;
        n->bytes = rt_session_bytes(n->s);
    }
    n->used = ++h->uses;
    *out = n->s;
    return KV_OK;
}

/* A context by name is used by others, too: the job gets one that shares all with it. */
static kv_status fetch_named(shelf *h, sched_job *j, kv_err *err) {
    rt_session *s = NULL, *own = NULL;
    uint32_t reached;
    kv_status st = open_named(h, j->r.context, &s, err);
    if (st || (st = rt_session_new_in(h->pool, rt_session_cfg(s), &own, err)) ||
        (st = rt_session_share(own, s, rt_session_len(s), &reached, err))) {
        rt_session_free(own);
        return st;
    }
    j->errand.found = own;
    return KV_OK;
}

/* Nothing that goes wrong here is more than a prompt that has to be read. */
static void fetch_alike(shelf *h, sched_job *j) {
    contexts_found found;
    rt_session *s = NULL;
    if (need_pool(h, NULL) || rt_session_new_in(h->pool, &h->ctx, &s, NULL))
        return;
    if (!contexts_find(h->contexts, s, j->ids, j->r.n, j->errand.beyond, NULL, NULL, &found, NULL) && found.tokens) {
        j->errand.found = s;
        s = NULL;
    }
    rt_session_free(s);
}

static void keep(shelf *h, rt_session *s) {
    contexts_end end;
    contexts_put(h->contexts, s, NULL, "scheduler", &end, NULL);
    rt_session_free(s);
}

static void run(shelf *h, const task *t) {
    if (t->keep) {
        keep(h, t->keep);
        return;
    }
    sched_job *j = t->fetch;
    if (j->r.context)
        j->errand.st = fetch_named(h, j, &j->errand.err);
    else
        fetch_alike(h, j);
    count_bytes(h);
    pthread_mutex_lock(&h->lock);
    j->errand.done = true;
    pthread_mutex_unlock(&h->lock);
    h->done(h->user);
}

/* May what is kept help what is looked for? */
static bool is_for(const task *keep, const sched_job *j) {
    return j->r.n >= CONTEXTS_LEAST && !memcmp(rt_session_ids(keep->keep), j->ids, CONTEXTS_LEAST * sizeof *j->ids);
}

/* The next task, taken out of the queue, which is not empty. */
static task *next_task(shelf *h) {
    task **best = &h->first;
    for (task **t = &h->first; *t; t = &(*t)->next) {
        bool waits = !(*t)->fetch;
        for (task *before = h->first; before != *t && !waits; before = before->next)
            waits = before->keep && is_for(before, (*t)->fetch);
        if (!waits) {
            best = t;
            break;
        }
    }
    task *chosen = *best;
    *best = chosen->next;
    h->last = h->last == &chosen->next ? best : h->last;
    return chosen;
}

static void *work(void *arg) {
    shelf *h = arg;
    pthread_mutex_lock(&h->lock);
    while (h->first || !h->stop) {
        if (!h->first) {
            pthread_cond_wait(&h->work, &h->lock);
            continue;
        }
        task *t = next_task(h);
        pthread_mutex_unlock(&h->lock);
        run(h, t);
        free(t);
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

/* ---- for the scheduler ---- */

kv_status shelf_new(const rt_model *m, const rt_ctx_cfg *ctx, contexts *c, void (*done)(void *user), void *user, shelf **out,
                    kv_err *err) {
    shelf *h = calloc(1, sizeof *h);
    if (!h)
        return kv_fail(err, KV_ENOMEM, "out of memory");
    *h = (shelf){.m = m, .ctx = *ctx, .contexts = c, .done = done, .user = user};
    h->last = &h->first;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    if (pthread_create(&h->thread, NULL, work, h)) {
        pthread_cond_destroy(&h->work);
        pthread_mutex_destroy(&h->lock);
        free(h);
        return kv_fail(err, KV_ENOMEM, "the system gives no more threads");
    }
    *out = h;
    return KV_OK;
}

void shelf_free(shelf *h) {
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    for (named *n = h->open; n < h->open + OPEN; n++)
        forget(n);
    rt_pool_free(h->pool);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* false: there is no memory for it. */
static bool add(shelf *h, task what) {
    task *t = malloc(sizeof *t);
    if (!t)
        return false;
    *t = what;
    pthread_mutex_lock(&h->lock);
    *h->last = t;
    h->last = &t->next;
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    return true;
}

void shelf_fetch(shelf *h, sched_job *j) {
    if (add(h, (task){.fetch = j}))
        return;
    j->errand.st = j->r.context ? kv_fail(&j->errand.err, KV_ENOMEM, "%s: out of memory", j->r.context) : KV_OK;
    j->errand.done = true;
}

bool shelf_is_done(shelf *h, const sched_job *j) {
    pthread_mutex_lock(&h->lock);
    const bool done = j->errand.done;
    pthread_mutex_unlock(&h->lock);
    return done;
}

void shelf_keep(shelf *h, rt_session *s) {
    if (!add(h, (task){.keep = s}))
        rt_session_free(s);
}
