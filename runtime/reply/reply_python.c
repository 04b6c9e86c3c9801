/* Values as Python prints them, in JSON: templates that write str(value) teach models that. */
#include "reply/reply_internal.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH = 64 };

typedef struct reader {
    const char *s, *end;
    reply_buf out;
    unsigned depth;
    bool failed; /* no memory */
} reader;

static bool value(reader *r);

static bool put(reader *r, const char *s, size_t n) {
    r->failed = r->failed || !reply_buf_add(&r->out, s, n);
    return !r->failed;
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
    static const struct {
        const char *python, *json;
    } words[] = {{"True", "true"}, {"False", "false"}, {"None", "null"},
                 {"true", "true"}, {"false", "false"}, {"null", "null"}};
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

/* What was made, if it is JSON: some of what Python can have is not. */
static bool give(reader *r, bool good, char **out) {
    json_scan scan = {0};
    skip(r);
    good = good && r->s == r->end;
    for (size_t i = 0; i < r->out.n && good; i++)
        good = json_scan_take(&scan, (unsigned char)r->out.s[i]) && (unsigned char)r->out.s[i] >= ' ';
    good = good && json_scan_end(&scan);
    *out = good ? r->out.s : NULL;
    if (!good)
        free(r->out.s);
    return !r->failed;
}

bool reply_python_json(const char *s, size_t len, char **out) {
    reader r = {.s = s, .end = s + len};
    return give(&r, len && value(&r), out);
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c < 0;
}

bool reply_python_arguments(const char *s, size_t len, char **out) {
    reader r = {.s = s, .end = s + len};
    bool good = put(&r, "{", 1);
    skip(&r);
    for (size_t i = 0; good && r.s < r.end; i++, skip(&r)) {
        if (i && !next_is(&r, ','))
            good = false;
        skip(&r);
        const char *key = r.s;
        while (r.s < r.end && is_word(*r.s))
            r.s++;
        good = good && r.s > key && put(&r, i ? ", \"" : "\"", i ? 3 : 1) && put(&r, key, (size_t)(r.s - key)) &&
               put(&r, "\": ", 3) && next_is(&r, '=') && value(&r);
    }
    return give(&r, good && put(&r, "}", 1), out);
}
