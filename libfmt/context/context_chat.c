#include "context/context_chat.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const struct number {
    const char *key;
    size_t at;
} numbers[] =
    {
        {"at", offsetof(ctx_chat, at)},
        {"gone", offsetof(ctx_chat, gone)},
        {"keep", offsetof(ctx_chat, keep)},
        {"removed", offsetof(ctx_chat, removed)},
        {"n_removed", offsetof(ctx_chat, n_removed)},
},
  of_turn[] = {
      {"end", offsetof(ctx_turn, end)},
      {"ahead", offsetof(ctx_turn, ahead)},
      {"ahead_end", offsetof(ctx_turn, ahead_end)},
};
enum { NUMBERS = sizeof numbers / sizeof *numbers, OF_TURN = sizeof of_turn / sizeof *of_turn };

void ctx_chat_free(ctx_chat *c) {
    for (size_t i = 0; i < c->n; i++) {
        free(c->turns[i].question);
        free(c->turns[i].answer);
    }
    free(c->turns);
    free(c->system);
    free(c->ahead);
    *c = (ctx_chat){0};
}

/* ---- writing ---- */

static bool put_numbers(json_t *to, const struct number *n, size_t count, const void *from) {
    bool bad = false;
    for (size_t i = 0; i < count; i++)
        bad |= json_object_set_new(to, n[i].key, json_integer((json_int_t) * (const uint64_t *)((const char *)from + n[i].at)));
    return !bad;
}

static json_t *text_or_null(const char *s) {
    return s ? json_string(s) : json_null();
}

static json_t *as_json(const ctx_chat *c) {
    json_t *root = json_object(), *turns = json_array();
    bool good = put_numbers(root, numbers, NUMBERS, c);
    good &= !json_object_set_new(root, "random", json_integer((json_int_t)c->random));
    good &= !json_object_set_new(root, "surprise", json_real(c->surprise));
    good &= !json_object_set_new(root, "system", text_or_null(c->system));
    good &= !json_object_set_new(root, "ahead", text_or_null(c->ahead));
    for (size_t i = 0; i < c->n && good; i++) {
        json_t *turn = json_object();
        good = !json_object_set_new(turn, "question", json_string(c->turns[i].question)) &&
               !json_object_set_new(turn, "answer", json_string(c->turns[i].answer)) &&
               put_numbers(turn, of_turn, OF_TURN, &c->turns[i]);
        good &= !json_array_append_new(turns, turn);
    }
    good &= !json_object_set_new(root, "turns", turns);
    if (good)
        return root;
    json_decref(root);
    return NULL;
}

static bool is_text(const char *s) {
    json_t *j = s ? json_string(s) : json_null();
    json_decref(j);
    return j != NULL;
}

kv_status ctx_chat_format(const ctx_chat *c, char **out, size_t *len, kv_err *err) {
    *out = NULL;
    for (size_t i = 0; i < c->n; i++)
        if (!is_text(c->turns[i].question) || !is_text(c->turns[i].answer))
            return kv_fail(err, KV_EINVAL, "turn %zu of the chat is not UTF-8: it cannot be kept", i + 1);
    if (!is_text(c->system) || !is_text(c->ahead))
        return kv_fail(err, KV_EINVAL, "a text of the chat is not UTF-8: it cannot be kept");
    json_t *root = as_json(c);
    if (root)
        *out = json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(root);
    if (!*out)
        return kv_fail(err, KV_ENOMEM, "out of memory for the turns of a chat");
    *len = strlen(*out);
    return KV_OK;
}

/* ---- reading ---- */

static kv_status odd(const char *where, const char *what, kv_err *err) {
    return kv_fail(err, KV_EFORMAT, "%s: the chat in it has no proper '%s'", where, what);
}

static kv_status get_numbers(const json_t *from, const struct number *n, size_t count, void *to, const char *where,
                             kv_err *err) {
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(from, n[i].key);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return odd(where, n[i].key, err);
        *(uint64_t *)((char *)to + n[i].at) = (uint64_t)json_integer_value(value);
    }
    return KV_OK;
}

static kv_status get_text(const json_t *from, const char *key, bool needed, char **to, const char *where, kv_err *err) {
    const json_t *value = json_object_get(from, key);
    *to = NULL;
    if (!json_is_string(value))
        return !needed && json_is_null(value) ? KV_OK : odd(where, key, err);
    *to = strdup(json_string_value(value));
    return *to ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory for the turns of a chat", where);
}

static kv_status get_turn(const json_t *from, ctx_turn *to, const char *where, kv_err *err) {
    kv_status st = get_text(from, "question", true, &to->question, where, err);
    if (st || (st = get_text(from, "answer", true, &to->answer, where, err)) ||
        (st = get_numbers(from, of_turn, OF_TURN, to, where, err)))
        return st;
    return to->ahead > strlen(to->question) || to->ahead_end > to->end ? odd(where, "ahead", err) : KV_OK;
}

static kv_status get_turns(const json_t *turns, ctx_chat *c, const char *where, kv_err *err) {
    uint64_t before = 0;
    if (!json_is_array(turns))
        return odd(where, "turns", err);
    if (!(c->turns = calloc(json_array_size(turns) + 1, sizeof *c->turns)))
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for the turns of a chat", where);
    for (size_t i = 0; i < json_array_size(turns); i++) {
        ctx_turn *turn = &c->turns[c->n++];
        kv_status st = get_turn(json_array_get(turns, i), turn, where, err);
        if (st)
            return st;
        if (turn->end < before || turn->end > c->at)
            return odd(where, "end", err);
        before = turn->end;
    }
    return KV_OK;
}

kv_status ctx_chat_parse(const char *text, size_t len, const char *where, ctx_chat *out, kv_err *err) {
    json_error_t why;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    const json_t *random = json_object_get(root, "random"), *surprise = json_object_get(root, "surprise");
    kv_status st = KV_OK;
    *out = (ctx_chat){0};
    if (!json_is_object(root))
        st = kv_fail(err, KV_EFORMAT, "%s: the chat in it cannot be read: %s", where, root ? "not an object" : why.text);
    else if (!json_is_integer(random) || !json_is_number(surprise))
        st = odd(where, "random", err);
    if (st)
        goto done;
    out->random = (uint64_t)json_integer_value(random);
    out->surprise = json_number_value(surprise);
    if ((st = get_numbers(root, numbers, NUMBERS, out, where, err)) ||
        (st = get_text(root, "system", false, &out->system, where, err)) ||
        (st = get_text(root, "ahead", false, &out->ahead, where, err)))
        goto done;
    if (out->gone > out->at || out->keep > out->at - out->gone || out->removed > out->gone)
        st = odd(where, "gone", err);
    if (!st)
        st = get_turns(json_object_get(root, "turns"), out, where, err);
done:
    json_decref(root);
    if (st)
        ctx_chat_free(out);
    return st;
}
