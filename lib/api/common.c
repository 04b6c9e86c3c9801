/* Versions, statuses, structures that grow. */
#include "api/api_internal.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST = 4096 /* bytes of a structure; more is a size that was never set */ };

const char *kv_version(void) {
    return KV_VERSION_STRING;
}

int32_t kv_version_number(void) {
    return KV_VERSION;
}

void kv_free(void *memory) {
    free(memory);
}

const char *kv_status_name(kv_status status) {
    static const char *const names[] = {
        [KV_OK] = "KV_OK",           [KV_EINVAL] = "KV_EINVAL", [KV_EIO] = "KV_EIO",         [KV_EFORMAT] = "KV_EFORMAT",
        [KV_ENOMEM] = "KV_ENOMEM",   [KV_ERANGE] = "KV_ERANGE", [KV_EUNSUPP] = "KV_EUNSUPP", [KV_EMISMATCH] = "KV_EMISMATCH",
        [KV_ECANCEL] = "KV_ECANCEL", [KV_EBUSY] = "KV_EBUSY"};
    return (size_t)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

static kv_status get_size(const void *structure, const char *what, size_t *size, kv_err *err) {
    memcpy(size, structure, sizeof *size);
    if (*size < sizeof *size || *size > LARGEST)
        return kv_fail(err, KV_EINVAL, "a structure says that it has %zu bytes: initialise it with %s_INIT", *size, what);
    return KV_OK;
}

kv_status api_options(const void *given, const void *defaults, size_t size, void *out, const char *what, kv_err *err) {
    size_t theirs;
    memcpy(out, defaults, size);
    if (!given)
        return KV_OK;
    kv_status st = get_size(given, what, &theirs, err);
    if (st)
        return st;
    const size_t first = sizeof theirs, common = theirs < size ? theirs : size;
    for (size_t i = size; i < theirs; i++)
        if (((const unsigned char *)given)[i])
            return kv_fail(err, KV_EINVAL, "%s: byte %zu is set, which version %s of the library does not know", what, i,
                           kv_version());
    memcpy((char *)out + first, (const char *)given + first, common - first);
    return KV_OK;
}

kv_status api_facts(void *given, const void *full, size_t size, const char *what, kv_err *err) {
    size_t theirs;
    if (!given)
        return api_missing("place for facts", err);
    kv_status st = get_size(given, what, &theirs, err);
    if (st)
        return st;
    const size_t first = sizeof theirs, common = theirs < size ? theirs : size;
    memcpy((char *)given + first, (const char *)full + first, common - first);
    memset((char *)given + common, 0, theirs - common);
    return KV_OK;
}

kv_status api_missing(const char *what, kv_err *err) {
    return kv_fail(err, KV_EINVAL, "no %s was given", what);
}

kv_status api_check_range(const char *what, double value, double low, double high, kv_err *err) {
    if (!(value >= low && value <= high))
        return kv_fail(err, KV_EINVAL, "%s is %g; from %g to %g are possible", what, value, low, high);
    return KV_OK;
}

kv_status api_evict(const char *name, int *evict, kv_err *err) {
    char names[256] = "";
    if (!name)
        return KV_OK;
    if ((*evict = kv_evict_by_name(name)) >= 0)
        return KV_OK;
    for (int i = 0; i < KV_EVICT_COUNT; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, kv_evict_names[i].name, sizeof names - strlen(names) - 1);
    }
    return kv_fail(err, KV_EINVAL, "unknown eviction policy '%.80s'; there are: %s", name, names);
}

kv_status api_budget(uint32_t tokens, double share, kv_budget *out, kv_err *err) {
    kv_status st = api_check_range("the budget's share of the context", share, 0, 1, err);
    if (!st && tokens && share > 0)
        st = kv_fail(err, KV_EINVAL, "a budget is a number of tokens or a share of the context, not both");
    *out = (kv_budget){.tokens = tokens, .share = (float)share};
    return st;
}
