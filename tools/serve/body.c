#include "serve/body.h"

#include "cli/cli_json.h"

#include <stdbool.h>
#include <string.h>

enum { MOST_VALUES = 1 << 20 };

/* What JSON takes in memory is a matter of how many values there are, rather than of its bytes. */
static bool too_many_values(const char *s, size_t n) {
    size_t count = 0;
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        if (inside && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            inside = !inside;
        else if (!inside)
            count += s[i] == ',' || s[i] == '[' || s[i] == '{';
    }
    return count > MOST_VALUES;
}

/* Keys of texts that are carried with their lengths to where they become tokens, in all dialects. */
static bool is_said(const char *key) {
    static const char *const keys[] = {"content",   "text",   "refusal",      "input",
                                       "output",    "prompt", "system",       "reasoning_content",
                                       "arguments", "data",   "instructions", "thinking"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!strcmp(key, keys[i]))
            return true;
    return false;
}

/* Values of calls are the model's own words, under whatever keys. */
static bool is_call(const char *key, const json_t *v) {
    return json_is_object(v) && (!strcmp(key, "arguments") || !strcmp(key, "input"));
}

/* The key that a NUL stands under and must not; NULL: there is none. JSON is not nested deeper than jansson reads. */
static const char *misplaced(const char *under, const json_t *v) {
    const char *key, *bad = NULL;
    json_t *member;
    size_t i;
    if (json_is_string(v) && !is_said(under) && memchr(json_string_value(v), '\0', json_string_length(v)))
        return under;
    if (json_is_object(v)) {
        json_object_foreach((json_t *)v, key, member) {
            if (!bad && !is_call(key, member))
                bad = misplaced(key, member);
        }
    }
    json_array_foreach(v, i, member) {
        if (!bad)
            bad = misplaced(under, member);
    }
    return bad;
}

kv_status body_read(const char *bytes, size_t n, json_t **out, kv_err *err) {
    json_error_t e;
    kv_status st = KV_OK;
    *out = NULL;
    if (!n)
        return kv_fail(err, KV_EINVAL, "the request has no body; it must be a JSON object");
    if (too_many_values(bytes, n))
        return kv_fail(err, KV_EINVAL, "the JSON of the request has more than %d values", MOST_VALUES);
    json_t *j = json_loadb(bytes, n, JSON_ALLOW_NUL, &e);
    if (cli_json_lost()) {
        json_decref(j);
        return kv_fail(err, KV_ENOMEM, "out of memory for the request");
    }
    if (!j)
        return kv_fail(err, KV_EINVAL, "the request is no JSON: %s (line %d, column %d)", e.text, e.line, e.column);
    const char *bad = json_is_object(j) ? misplaced("", j) : NULL;
    if (!json_is_object(j))
        st = kv_fail(err, KV_EINVAL, "the request must be a JSON object");
    else if (bad)
        st = kv_fail(err, KV_EINVAL, "%.100s: must not hold the character NUL (\\u0000)", bad);
    if (st)
        json_decref(j);
    else
        *out = j;
    return st;
}
