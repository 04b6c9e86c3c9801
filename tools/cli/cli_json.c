#include "cli/cli_json.h"

#include "measure/eval_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Thread_local bool lost;

static void *allocate(size_t n) {
    void *p = malloc(n);
    lost |= !p;
    return p;
}

void cli_json_watch(void) {
    json_set_alloc_funcs(allocate, free);
}

bool cli_json_lost(void) {
    const bool was = lost;
    lost = false;
    return was;
}

json_t *cli_json_text(const char *s) {
    char *clean = s ? eval_utf8(s) : NULL;
    json_t *j = clean ? json_string(clean) : s ? NULL : json_null();
    free(clean);
    return j;
}

void cli_json_add(json_t **list, json_t *item) {
    if (json_array_append_new(*list, item)) {
        json_decref(*list);
        *list = NULL;
    }
}

void cli_json_set(json_t **object, const char *key, json_t *value) {
    if (json_object_set_new(*object, key, value)) {
        json_decref(*object);
        *object = NULL;
    }
}

json_t *cli_json(json_t *j) {
    if (json_is_array(j)) {
        for (size_t i = 0; i < json_array_size(j); i++) {
            json_t *item = json_array_get(j, i);
            if (json_is_object(item) && json_array_set_new(j, i, cli_json(json_incref(item)))) {
                json_decref(j);
                return NULL;
            }
        }
        return j;
    }
    if (!json_is_object(j))
        return j;
    json_t *all = json_pack("{s:i}", "format", CLI_JSON_FORMAT);
    if (all && json_object_update(all, j)) {
        json_decref(all);
        all = NULL;
    }
    json_decref(j);
    return all;
}

/* A terminal is shown no C1 control characters, which JSON need not escape. */
kv_status cli_json_print(json_t *j, size_t flags, kv_err *err) {
    json_t *all = cli_json(j);
    kv_status st = KV_OK;
    if (!all || cli_json_lost())
        st = kv_fail(err, KV_ENOMEM, "out of memory for the result");
    else if (json_dumpf(all, stdout, flags | (isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0)) || putchar('\n') == EOF ||
             fflush(stdout))
        st = kv_fail(err, KV_EIO, "cannot write the result: %m");
    json_decref(all);
    return st;
}
