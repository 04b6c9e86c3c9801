#include "serve/models.h"

#include "base/clock.h"
#include "base/format.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char ending[] = ".gguf";

/* ---- which there are ---- */

static bool is_model(const char *name) {
    const size_t n = strlen(name), end = strlen(ending);
    const char *of = strstr(name, "-of-");
    if (n <= end || strcmp(name + n - end, ending) || *name == '.')
        return false;
    return !of || of - name < 6 || !strncmp(of - 6, "-00001", 6); /* a model in parts is named by the first */
}

static kv_status add(sv_models *s, const char *path, const char *alias, kv_err *err) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const size_t n = strlen(base), end = strlen(ending);
    struct stat st;
    sv_model *v = realloc(s->v, (s->n + 1) * sizeof *v);
    if (!v)
        return kv_fail(err, KV_ENOMEM, "out of memory for models");
    s->v = v;
    sv_model *m = &v[s->n];
    *m = (sv_model){.path = strdup(path)};
    if (!m->path)
        return kv_fail(err, KV_ENOMEM, "out of memory for models");
    s->n++;
    if (alias)
        snprintf(m->name, sizeof m->name, "%s", alias);
    else
        snprintf(m->name, sizeof m->name, "%.*s", (int)(n > end && !strcmp(base + n - end, ending) ? n - end : n), base);
    if (!stat(path, &st)) {
        m->bytes = st.st_size;
        m->changed = st.st_mtime;
    }
    return KV_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const sv_model *)a)->name, ((const sv_model *)b)->name);
}

static kv_status add_folder(sv_models *s, const char *folder, kv_err *err) {
    DIR *d = opendir(folder);
    kv_status st = KV_OK;
    if (!d)
        return kv_fail(err, KV_EIO, "%s: %m", folder);
    for (const struct dirent *e; !st && (e = readdir(d));) {
        char path[4096];
        if (is_model(e->d_name) && (size_t)snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < sizeof path)
            st = add(s, path, NULL, err);
    }
    closedir(d);
    if (!st && !s->n)
        return kv_fail(err, KV_EINVAL, "%s: there is no model (*.gguf) in it", folder);
    if (s->n)
        qsort(s->v, s->n, sizeof *s->v, by_name);
    return st;
}

kv_status models_init(sv_models *s, const serve_cfg *cfg, kv_err *err) {
    *s = (sv_models){.cfg = cfg};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->moved, NULL);
    kv_status st = cfg->models ? add_folder(s, cfg->models, err) : add(s, cfg->model, cfg->alias, err);
    for (size_t i = 0; i < s->n; i++)
        s->v[i].all = s;
    return st;
}

sv_model *models_find(sv_models *s, const char *name) {
    static const char latest[] = ":latest"; /* which Ollama's clients put behind */
    const size_t len = strlen(name), end = strlen(latest);
    const size_t n = len > end && !strcmp(name + len - end, latest) ? len - end : len;
    sv_model *last = s->v;
    if (!s->cfg->models)
        return s->v;
    for (size_t i = 0; i < s->n; i++)
        if (strlen(s->v[i].name) == n && !strncmp(s->v[i].name, name, n))
            return &s->v[i];
    if (*name)
        return NULL;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].used > last->used)
            last = &s->v[i];
    pthread_mutex_unlock(&s->lock);
    return last;
}

/* ---- coming and going ---- */

static kv_status load(sv_model *m, kv_err *err) {
    const serve_cfg *cfg = m->all->cfg;
    const double began = clock_now();
    kv_status st = cfg->open(cfg->user, m->path, &m->m, err);
    if (st)
        return st;
    m->engine = (sv_engine){.m = m->m.model, .format = m->m.format, .n_ctx = m->m.ctx.n_ctx};
    m->engine.answers = m->m.format ? reply_format_of(m->m.format) : NULL;
    const sched_cfg sched = {
        .m = m->m.model, .ctx = &m->m.ctx, .slots = cfg->slots, .queue = cfg->queue, .contexts = cfg->cache};
    if ((st = sched_new(&sched, &m->engine.s, err)))
        cfg->close(cfg->user, &m->m);
    m->loaded_s = clock_now() - began;
    return st;
}

static void unload(sv_model *m) {
    const serve_cfg *cfg = m->all->cfg;
    sched_free(m->engine.s);
    m->engine = (sv_engine){0};
    cfg->close(cfg->user, &m->m);
    m->m = (serve_model){0};
}

/* ---- room ---- */

uint64_t models_takes(const sv_model *m) {
    sched_facts f;
    sched_get_facts(m->engine.s, &f);
    return rt_model_bytes(m->m.model) + f.memory;
}

/* Of one that is on its way it is known since the last time; before that, its file is the best guess. */
static uint64_t needs(const sv_model *m) {
    return m->where == SV_THERE ? models_takes(m) : m->takes ? m->takes : (uint64_t)m->bytes;
}

static kv_status too_large(const sv_model *m, uint64_t limit, kv_err *err) {
    char takes[FORMAT_BYTES], may[FORMAT_BYTES];
    return kv_fail(err, KV_EINVAL,
                   "model: '%s' alone takes %s%s, more than the %s that models may take (--memory); fewer --slots or a "
                   "shorter --ctx make its caches smaller",
                   m->name, format_bytes((double)needs(m), takes), m->takes ? " with its caches" : "",
                   format_bytes((double)limit, may));
}

/* The one to go, so that m, which is on its way, fits; NULL: it does, or *st says why not. Under the lock. */
static sv_model *in_the_way(const sv_model *m, kv_status *st, kv_err *err) {
    const sv_models *s = m->all;
    const uint64_t limit = s->cfg->memory;
    uint64_t all = needs(m);
    sv_model *oldest = NULL;
    *st = KV_OK;
    if (!limit)
        return NULL;
    if (all > limit) {
        *st = too_large(m, limit, err);
        return NULL;
    }
    for (size_t i = 0; i < s->n; i++) {
        sv_model *o = &s->v[i];
        if (o->where == SV_AWAY || o == m)
            continue;
        all += needs(o);
        if (o->where == SV_THERE && !o->users && (!oldest || o->used < oldest->used))
            oldest = o;
    }
    if (all > limit && !oldest)
        *st = kv_fail(err, KV_EBUSY, "there is no room for the model '%s' while others are at work", m->name);
    return all > limit ? oldest : NULL;
}

/* ---- moving: the lock is held before and after, and not meanwhile ---- */

static kv_status move(sv_model *m, bool in, kv_err *err) {
    kv_status st = KV_OK;
    m->where = SV_MOVING;
    pthread_mutex_unlock(&m->all->lock);
    if (in)
        st = load(m, err);
    else
        unload(m);
    pthread_mutex_lock(&m->all->lock);
    return st;
}

static void take_out(sv_model *m) {
    move(m, false, NULL);
    m->where = SV_AWAY;
}

static kv_status make_room(sv_model *m, kv_err *err) {
    kv_status st;
    for (sv_model *out; (out = in_the_way(m, &st, err));)
        take_out(out);
    return st;
}

/* What it really takes is known once it is there: then others may have to go, too, or it itself. */
static kv_status bring_in(sv_model *m, kv_err *err) {
    sv_models *s = m->all;
    s->moving = true;
    m->where = SV_MOVING;
    kv_status st = make_room(m, err);
    bool in = !st && !(st = move(m, true, err));
    if (in) {
        m->takes = models_takes(m);
        if ((st = make_room(m, err))) {
            move(m, false, NULL);
            in = false;
        }
    }
    m->where = in ? SV_THERE : SV_AWAY;
    s->moving = false;
    pthread_cond_broadcast(&s->moved);
    for (sv_waiting *w; (w = s->waiting);) {
        s->waiting = w->next;
        w->again(w->user);
    }
    return st;
}

void models_wait(sv_models *s, sv_waiting *w) {
    pthread_mutex_lock(&s->lock);
    const bool waits = s->moving;
    w->next = s->waiting;
    if (waits)
        s->waiting = w;
    pthread_mutex_unlock(&s->lock);
    if (!waits)
        w->again(w->user);
}

kv_status models_take(sv_model *m, bool *later, kv_err *err) {
    sv_models *s = m->all;
    kv_status st = KV_OK;
    pthread_mutex_lock(&s->lock);
    while (!st && m->where != SV_THERE) {
        if (!s->moving) {
            st = bring_in(m, err);
        } else if (later) {
            *later = true;
            st = kv_fail(err, KV_EBUSY, "another model is being loaded");
        } else {
            pthread_cond_wait(&s->moved, &s->lock);
        }
    }
    if (!st) {
        m->users++;
        m->used = clock_now();
    }
    pthread_mutex_unlock(&s->lock);
    return st;
}

bool models_peek(sv_model *m) {
    pthread_mutex_lock(&m->all->lock);
    const bool there = m->where == SV_THERE;
    m->users += there;
    pthread_mutex_unlock(&m->all->lock);
    return there;
}

void models_leave(sv_model *m) {
    pthread_mutex_lock(&m->all->lock);
    m->users--;
    pthread_mutex_unlock(&m->all->lock);
}

/* ---- the end ---- */

bool models_drain(sv_models *s, double seconds) {
    const double until = clock_now() + seconds;
    bool done = true;
    for (size_t i = 0; i < s->n; i++)
        if (models_peek(&s->v[i])) {
            done &= sched_drain(s->v[i].engine.s, until > clock_now() ? until - clock_now() : 0);
            models_leave(&s->v[i]);
        }
    return done;
}

void models_unload(sv_models *s) {
    for (size_t i = 0; i < s->n; i++) {
        if (s->v[i].where == SV_THERE)
            unload(&s->v[i]);
        s->v[i].where = SV_AWAY;
    }
}

void models_free(sv_models *s) {
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i].path);
    free(s->v);
    pthread_cond_destroy(&s->moved);
    pthread_mutex_destroy(&s->lock);
    *s = (sv_models){0};
}
