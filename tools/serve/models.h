/* The models that a server has: one that is there from the beginning on, or those of a folder, which are loaded when somebody
 * asks for them and unloaded, the one that was used least lately first, when there is no room for another. */
#ifndef SERVE_MODELS_H
#define SERVE_MODELS_H

#include "serve/serve.h"
#include "serve/speech.h"

#include <pthread.h>

typedef enum sv_where { SV_AWAY, SV_MOVING, SV_THERE } sv_where;

typedef struct sv_model {
    struct sv_models *all;
    char name[SV_NAME], *path;
    int64_t bytes, changed; /* of its file */
    uint64_t takes;         /* bytes that it took when it was loaded last: weights, caches, workspaces; 0: it never was */
    /* under the lock of all, or for whoever has taken it: */
    sv_where where;
    unsigned users;
    double used, loaded_s;
    serve_model m;
    sv_engine engine;
} sv_model;

/* Somebody who comes back once a model has moved. */
typedef struct sv_waiting {
    struct sv_waiting *next;
    void (*again)(void *user); /* in any thread; must not block, nor call anything of these */
    void *user;
} sv_waiting;

typedef struct sv_models {
    const serve_cfg *cfg;
    sv_model *v; /* (n) which stay the same */
    size_t n;
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool moving; /* somebody is loading or unloading: one at a time */
    sv_waiting *waiting;
} sv_models;

/* Finds them, and loads none. KV_EIO, KV_EINVAL: a folder without any; KV_ENOMEM. models_free in any case. */
kv_status models_init(sv_models *s, const serve_cfg *cfg, kv_err *err);
/* Let what runs end, for so many seconds; false: it has not. By then nobody takes one any more. */
bool models_drain(sv_models *s, double seconds);
void models_unload(sv_models *s);
void models_free(sv_models *s); /* once nobody has to leave one */

/* The one of that name; of a single one any name is right, and "" is the one that was used last, or the first. NULL: there is
 * none. */
sv_model *models_find(sv_models *s, const char *name);
/* It is there until models_leave; where it must be loaded for that, that is waited for. KV_EBUSY: there is no room, as others
 * are at work; KV_EINVAL: not even alone (says what it takes); errors of opening it. later: where somebody else is loading one,
 * that is not waited for, but *later set, and KV_EBUSY: to be tried again once models_wait says so; NULL: it is waited for. */
kv_status models_take(sv_model *m, bool *later, kv_err *err);
void models_wait(sv_models *s, sv_waiting *w); /* w->again is called once none is being loaded: at once, perhaps */
bool models_peek(sv_model *m);                 /* the same, only if it is there already */
/* Bytes that one that is there takes now, caches at capacity. Whoever asks has taken it. */
uint64_t models_takes(const sv_model *m);
void models_leave(sv_model *m);

#endif
