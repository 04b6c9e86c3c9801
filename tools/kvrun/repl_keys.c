#include "kvrun/repl_keys.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char begin[] = "\033[200~", end[] = "\033[201~";
enum { MARK = sizeof begin - 1, UNKNOWN = 0xFFFD };

void repl_keys_free(repl_keys *k) {
    free(k->bytes);
    *k = (repl_keys){0};
}

bool repl_keys_push(repl_keys *k, const char *bytes, size_t n) {
    k->over |= !n;
    if (k->at) {
        memmove(k->bytes, k->bytes + k->at, k->n - k->at);
        k->n -= k->at;
        k->at = 0;
    }
    if (k->n + n + 1 > k->cap) {
        const size_t cap = 2 * (k->n + n) + 256;
        char *grown = realloc(k->bytes, cap);
        if (!grown)
            return false;
        k->bytes = grown;
        k->cap = cap;
    }
    if (n)
        memcpy(k->bytes + k->n, bytes, n);
    k->n += n;
    return true;
}

/* How many bytes of a mark are at s (n bytes). */
static size_t matches(const char *s, size_t n, const char *mark) {
    size_t same = 0;
    while (same < n && same < MARK && s[same] == mark[same])
        same++;
    return same;
}

/* Where the text that begins at s ends; NULL: not yet. */
static const char *find_end(const char *s, size_t n) {
    for (size_t i = 0; i + MARK <= n; i++)
        if (!memcmp(s + i, end, MARK))
            return s + i;
    return NULL;
}

static char *clean(const char *s, size_t n) {
    char *text = malloc(3 * n + 1), *to = text;
    if (!text)
        return NULL;
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &c);
        c = took > 0 ? c : UNKNOWN;
        const bool line = c == '\r' || c == '\n';
        i += took > 0 ? (size_t)took : 1;
        if (c == '\r' && i < n && s[i] == '\n')
            i++;
        if (line || c == '\t')
            *to++ = line ? '\n' : '\t';
        else if (c >= 0x20 && (c < 0x7F || c > 0x9F))
            to += utf8proc_encode_char(c, (utf8proc_uint8_t *)to);
    }
    *to = '\0';
    return text;
}

static repl_key paste(repl_keys *k, char **text) {
    const char *s = k->bytes + k->at + MARK, *stop = find_end(s, k->n - k->at - MARK);
    if (!stop && !k->over)
        return REPL_KEY_NONE;
    const size_t n = stop ? (size_t)(stop - s) : k->n - k->at - MARK;
    *text = clean(s, n);
    k->at += MARK + n + (stop ? MARK : 0);
    return REPL_KEY_PASTE;
}

/* Bytes of the character that begins so; 1 for what begins none. */
static size_t bytes_of(unsigned char first) {
    return first < 0xC2 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 1;
}

repl_key repl_keys_next(repl_keys *k, bool late, uint32_t *c, char **text) {
    const size_t n = k->n - k->at;
    if (!n)
        return k->over ? REPL_KEY_END : REPL_KEY_NONE;
    const char *s = k->bytes + k->at;
    const size_t mark = matches(s, n, begin);
    if (mark == MARK)
        return paste(k, text);
    if (mark == n && !late && !k->over)
        return REPL_KEY_BEGUN;
    if (bytes_of((unsigned char)*s) > n && !late && !k->over)
        return REPL_KEY_BEGUN;
    utf8proc_int32_t code;
    const utf8proc_ssize_t took = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code);
    *c = took > 0 ? (uint32_t)code : UNKNOWN;
    k->at += took > 0 ? (size_t)took : 1;
    return REPL_KEY_CHAR;
}
