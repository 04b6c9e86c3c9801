/* What a .kv file says of itself, as JSON. */
#include "context/context_file.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef enum field_type { TEXT, WHOLE32, WHOLE64, SIGNED, REAL, BOOL } field_type;

/* A key, where its value is, and how long a text may be. */
typedef struct field {
    const char *key;
    field_type type;
    size_t at, size;
} field;

#define FIELD(type, name)                                                                                                      \
    { #name, type, offsetof(ctx_about, name), sizeof(((ctx_about *)0)->name) }
#define SETTING(type, name)                                                                                                    \
    { #name, type, offsetof(ctx_about, settings.name), sizeof(((ctx_about *)0)->settings.name) }

static const field fields[] = {
    FIELD(TEXT, title),
    FIELD(TEXT, model),
    FIELD(TEXT, arch),
    FIELD(TEXT, cache),
    FIELD(TEXT, program),
    FIELD(TEXT, model_id),
    FIELD(TEXT, cache_id),
    FIELD(SIGNED, saved),
    FIELD(WHOLE64, bytes_f16),
    FIELD(WHOLE32, n_tokens),
    FIELD(WHOLE32, n_ctx),
    FIELD(WHOLE32, n_marks),
    SETTING(TEXT, ctk),
    SETTING(TEXT, ctv),
    SETTING(TEXT, evict),
    SETTING(SIGNED, window),
    SETTING(SIGNED, sinks),
    SETTING(SIGNED, recent),
    SETTING(WHOLE32, budget_tokens),
    SETTING(REAL, budget_share),
    SETTING(BOOL, ada),
    SETTING(BOOL, equal_budgets),
    SETTING(BOOL, profile),
};
enum { FIELDS = sizeof fields / sizeof *fields };

static json_t *get(const field *f, const ctx_about *from) {
    const char *at = (const char *)from + f->at;
    switch (f->type) {
    case TEXT:
        return json_string(at);
    case WHOLE32:
        return json_integer(*(const uint32_t *)at);
    case WHOLE64:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case SIGNED:
        return json_integer((json_int_t) * (const int64_t *)at);
    case REAL:
        return json_real(*(const double *)at);
    default:
        return json_boolean(*(const bool *)at);
    }
}

/* false: not what the field holds. */
static bool set(const field *f, const json_t *value, ctx_about *to) {
    char *at = (char *)to + f->at;
    const json_int_t n = json_integer_value(value);
    switch (f->type) {
    case TEXT:
        if (!json_is_string(value) || json_string_length(value) >= f->size)
            return false;
        memcpy(at, json_string_value(value), json_string_length(value) + 1);
        return true;
    case WHOLE32:
        *(uint32_t *)at = (uint32_t)n;
        return json_is_integer(value) && n >= 0 && n <= INT_MAX;
    case WHOLE64:
        *(uint64_t *)at = (uint64_t)n;
        return json_is_integer(value) && n >= 0;
    case SIGNED:
        *(int64_t *)at = n;
        return json_is_integer(value);
    case REAL:
        *(double *)at = json_number_value(value);
        return json_is_number(value) && *(double *)at >= 0;
    default:
        *(bool *)at = json_is_true(value);
        return json_is_boolean(value);
    }
}

kv_status ctx_about_format(const ctx_about *about, char **out, size_t *len, kv_err *err) {
    json_t *root = json_object();
    int bad = !root;
    *out = NULL;
    for (size_t i = 0; i < FIELDS && !bad; i++)
        bad = json_object_set_new(root, fields[i].key, get(&fields[i], about));
    if (!bad)
        *out = json_dumps(root, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(root);
    if (!*out)
        return kv_fail(err, KV_ENOMEM, "out of memory for the description of a context");
    *len = strlen(*out);
    return KV_OK;
}

kv_status ctx_about_parse(const char *text, size_t len, const char *where, ctx_about *out, kv_err *err) {
    json_error_t why;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    kv_status st = KV_OK;
    memset(out, 0, sizeof *out);
    if (!json_is_object(root))
        st = kv_fail(err, KV_EFORMAT, "%s: its description cannot be read: %s", where, root ? "not an object" : why.text);
    for (size_t i = 0; i < FIELDS && !st; i++) {
        const json_t *value = json_object_get(root, fields[i].key);
        if (!value || !set(&fields[i], value, out))
            st = kv_fail(err, KV_EFORMAT, "%s: its description has no proper '%s'", where, fields[i].key);
    }
    json_decref(root);
    return st;
}
