/* What the files behind the public headers share. */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include "model/model.h"
#include "text/chat.h"

#include <kv/kv.h>

struct kv_model {
    rt_model *rt;
    chat_format *chat; /* NULL: none is known */
    prof *profile;     /* packed into the file; or NULL */
    char *path;
};

struct kv_profile {
    prof *p;
};

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

#endif
