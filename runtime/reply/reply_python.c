/* Values as Python prints them, in JSON: templates that write str(value) teach models that. */
#include "reply/reply_internal.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH = 64 };

typedef struct reader {
    const char *s, *end;
    reply_buf out;
    unsigned depth;
} reader;

static bool value(reader *r);

static bool put(reader *r, const char *s, size_t n) {
    return reply_buf_add(&r->out, s, n);
}

static void skip(reader *r) {
    while (r->s < r->end && strchr(" \t\n\r", *r->s))
        r->s++;
}

static bool next_is(reader *r, char c) {
    skip(r);
    if (r->s == r->end || *r->s != c)
        return false;
    r->s++;
    return true;
}

/* A text between ' or ": its escapes are JSON's, but for \' and \xHH. */
static bool text(reader *r) {
    const char quote = *r->s++;
    bool good = put(r, "\"", 1);
    for (; good && r->s < r->end && *r->s != quote; r->s++) {
        if (*r->s == '\\' && r->s + 1 < r->end) {
            r->s++;
            good = *r->s == '\'' ? put(r, "'", 1) : *r->s == 'x' ? put(r, "\\u00", 4) : put(r, "\\", 1) && put(r, r->s, 1);
        } else if (*r->s == '"')
            good = put(r, "\\\"", 2);
        else
            good = put(r, r->s, 1);
    }
    return good && r->s < r->end && *r->s++ == quote && put(r, "\"", 1);
}

static bool word(reader *r) {
    static const struct { const char *python, *json; } words[] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const size_t n = strlen(words[i].python);
        if ((size_t)(r->end - r->s) >= n && !memcmp(r->s, words[i].python, n)) {
            r->s += n;
            return put(r, words[i].json, strlen(words[i].json));
        }
    }
    const size_t n = strspn(r->s, "+-.0123456789eE");
    const char *from = r->s;
    r->s += n;
    return n && put(r, from, n);
}

/* What stands between brackets; keys are values with a colon behind them. */
static bool members(reader *r, char close, bool keys) {
    bool good = put(r, keys ? "{" : "[", 1);
    for (size_t i = 0; good && !next_is(r, close); i++) {
        if (i && !next_is(r, ','))
            return false;
        if (i && next_is(r, close)) /* (1,) */
            break;
        good = (!i || put(r, ", ", 2)) && value(r) && (!keys || (next_is(r, ':') && put(r, ": ", 2) && value(r)));
    }
    return good && put(r, keys ? "}" : "]", 1);
}

static bool value(reader *r) {
    skip(r);
    if (r->s == r->end || ++r->depth > DEPTH)
        return false;
    const char c = *r->s;
    bool good;
    if (c == '\'' || c == '"')
        good = text(r);
    else if (c == '[' || c == '(' || c == '{') {
        r->s++;
        good = members(r, c == '[' ? ']' : c == '(' ? ')' : '}', c == '{');
    } else
        good = word(r);
    r->depth--;
    return good;
}

char *reply_python_json(const char *s, size_t len) {
    reader r = {.s = s, .end = s + len};
    const bool good = len && value(&r) && (skip(&r), r.s == r.end);
    json_t *j = good ? json_loadb(r.out.s, r.out.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    if (!j) {
        free(r.out.s);
        return NULL;
    }
    json_decref(j);
    return r.out.s;
}
