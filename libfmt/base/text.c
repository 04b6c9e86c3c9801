#include "base/text.h"

#include "base/atomic_file.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- encodings ---- */

/* Marks at the beginning of a text. UTF-32's comes first: little-endian UTF-16's is its beginning. */
static const struct {
    const char *mark;
    size_t len;
    const char *name; /* NULL: UTF-8, whose mark is passed over */
} marks[] = {
    {"\xff\xfe\0\0", 4, "UTF-32"}, {"\0\0\xfe\xff", 4, "UTF-32"}, {"\xff\xfe", 2, "UTF-16"},
    {"\xfe\xff", 2, "UTF-16"},     {"\xef\xbb\xbf", 3, NULL},
};

static kv_status wrong_encoding(const char *where, const char *name, kv_err *err) {
    return kv_fail(err, KV_EFORMAT, "%s: is %s, and a text must be UTF-8 (iconv -f %s -t UTF-8 converts it)", where, name,
                   name);
}

/* Without a mark: every second byte of a text in UTF-16 is 0 where it is of Latin letters. NULL: it does not look so. */
static const char *looks_like(const char *text, size_t len) {
    enum { LOOK = 256 };
    const size_t n = len < LOOK ? len : LOOK;
    size_t zeros[2] = {0};
    for (size_t i = 0; i < n; i++)
        zeros[i % 2] += !text[i];
    const bool big = zeros[0] > zeros[1];
    return zeros[big ? 0 : 1] * 10 >= n * 4 && zeros[big ? 1 : 0] * 10 < n ? big ? "UTF-16BE" : "UTF-16LE" : NULL;
}

kv_status text_clean(const char *where, char *text, size_t *len, kv_err *err) {
    size_t skip = 0, out = 0;
    for (size_t i = 0; i < sizeof marks / sizeof *marks && !skip; i++)
        if (*len >= marks[i].len && !memcmp(text, marks[i].mark, marks[i].len)) {
            if (marks[i].name)
                return wrong_encoding(where, marks[i].name, err);
            skip = marks[i].len;
        }
    const char *nul = memchr(text, 0, *len), *name = nul ? looks_like(text, *len) : NULL;
    if (name)
        return wrong_encoding(where, name, err);
    if (nul)
        return kv_fail(err, KV_EFORMAT, "%s: a NUL byte at offset %zu; a text holds none", where, (size_t)(nul - text));
    for (size_t i = skip; i < *len; i++)
        if (text[i] != '\r' || i + 1 == *len || text[i + 1] != '\n')
            text[out++] = text[i];
    text[ *len = out] = '\0';
    return KV_OK;
}

/* ---- reading ---- */

static kv_status clean_or_free(const char *where, char **text, size_t *len, kv_err *err) {
    kv_status st = text_clean(where, *text, len, err);
    if (st) {
        free(*text);
        *text = NULL;
    }
    return st;
}

kv_status text_read(const char *path, size_t max, char **out, size_t *len, kv_err *err) {
    *out = NULL;
    kv_status st = file_read(path, max, out, len, err);
    return st ? st : clean_or_free(path, out, len, err);
}

kv_status text_read_stream(FILE *f, const char *where, size_t max, char **out, size_t *len, kv_err *err) {
    *out = NULL;
    kv_status st = stream_read(f, where, max, out, len, err);
    return st ? st : clean_or_free(where, out, len, err);
}

/* ---- escapes ---- */

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

kv_status text_unescape(const char *where, char *text, kv_err *err) {
    static const char letters[] = "nrt\\'\"", meant[] = "\n\r\t\\'\"";
    char *to = text;
    for (const char *s = text; *s; s++) {
        const char *letter = *s == '\\' && s[1] ? strchr(letters, s[1]) : NULL;
        if (letter) {
            *to++ = meant[letter - letters];
            s++;
        } else if (*s == '\\' && s[1] == 'x' && hex_digit(s[2]) >= 0 && hex_digit(s[3]) >= 0) {
            const int c = hex_digit(s[2]) * 16 + hex_digit(s[3]);
            if (!c)
                return kv_fail(err, KV_EINVAL, "%s: \\x00 is a NUL byte; a text holds none", where);
            *to++ = (char)c;
            s += 3;
        } else
            *to++ = *s;
    }
    *to = '\0';
    return KV_OK;
}

char *text_copy(const char *s, size_t len) {
    char *copy = malloc(len + 1);
    if (copy) {
        memcpy(copy, s, len);
        copy[len] = 0;
    }
    return copy;
}
