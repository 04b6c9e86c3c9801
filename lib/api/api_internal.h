/* What the files behind the public headers share. */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include "session/session.h"
#include "text/chat.h"

#include <kv/kv.h>

struct kv_model {
    rt_model *rt;
    chat_format *chat; /* NULL: there is none, or */
    kv_err no_chat;    /* its template cannot be used */
    prof *profile;     /* packed into the file; or NULL */
    char *path;
};

struct kv_profile {
    prof *p;
};

struct kv_pool {
    const kv_model *m;
    rt_pool *rt;
    rt_pool_row *rows; /* (rt_pool_n_batch) */
};

struct kv_session {
    const kv_model *m;
    kv_pool *pool; /* NULL: it has a workspace of its own */
    rt_session *rt;
    uint32_t n_vocab, window, sinks;
    bool has_profile, asked_profile;
    kv_tap tap;
    void *tap_user;
    int32_t tap_layer; /* -1: all */
    bool tap_stopped;
};

enum { MOST_BATCH = 1 << 16 /* tokens of a step */ };

/* n more tokens after the `held` that a session has. KV_ERANGE: no room, or ids outside the vocabulary. */
kv_status api_check_ids(const kv_session *s, uint32_t held, const int32_t *ids, size_t n, kv_err *err);

/* A profile handle. p: moves, also on failure. */
kv_status api_profile(prof *p, kv_profile **out, kv_err *err);

/* A structure of options as a caller has it, completed from and no longer than ours, `defaults`: to *out, size bytes. All three
 * begin with their size. given NULL: the defaults. what: its name, in capitals, for messages. KV_EINVAL. */
kv_status api_options(const void *given, const void *defaults, size_t size, void *out, const char *what, kv_err *err);
/* Facts, in `full`, as far as the caller's structure has room for them; what it has beyond them is set to 0. */
kv_status api_facts(void *given, const void *full, size_t size, const char *what, kv_err *err);

/* kv_fail where a pointer that must be there is not. */
kv_status api_missing(const char *what, kv_err *err);

/* A number of an option: KV_EINVAL for NaN, and outside low..high. */
kv_status api_check_range(const char *what, double value, double low, double high, kv_err *err);

/* The policy of that name to *evict; NULL leaves it alone. KV_EINVAL lists them. */
kv_status api_evict(const char *name, int *evict, kv_err *err);
/* A budget that is a number of tokens, a share of the context, or (both 0) not given. KV_EINVAL: both are. */
kv_status api_budget(uint32_t tokens, double share, kv_budget *out, kv_err *err);

/* What follows ids (n) by a sampler (or NULL: the most likely one). */
int32_t api_pick(kv_sampler *sampler, uint32_t n_vocab, const float *logits, const int32_t *ids, size_t n);

#endif
