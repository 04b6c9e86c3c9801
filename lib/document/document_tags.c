/* Tags with more attributes than any page needs. libxml2 compares each attribute of a tag with all others, so that one tag of a
 * few megabytes would keep it busy for hours; it is looked for before the parser sees it. */
#include "document/document_internal.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool is_at(const char *s, size_t n, const char *word) {
    return n >= strlen(word) && !strncasecmp(s, word, strlen(word));
}

/* From s on to behind `end`; where that is not: n. */
static size_t behind(const char *s, size_t n, const char *end) {
    for (size_t i = 0; i < n; i++)
        if (s[i] == *end && is_at(s + i, n - i, end))
            return i + strlen(end);
    return n;
}

/* Of a tag that begins at s: its length, and how many attributes it has at most. Quotes count only where a value may begin. */
static size_t tag_length(const char *s, size_t n, size_t *attrs) {
    bool value = false, word = true; /* value: '=' was seen, and not yet what is behind it */
    *attrs = 0;
    for (size_t i = 1; i < n; i++) {
        const char c = s[i];
        if (c == '>')
            return i + 1;
        if (value && (c == '"' || c == '\'')) {
            const char *end = memchr(s + i + 1, c, n - i - 1);
            i = end ? (size_t)(end - s) : n;
            word = value = false;
        } else if (isspace((unsigned char)c))
            word = false;
        else if (c == '=')
            value = true;
        else {
            *attrs += !word && !value;
            word = true;
            value = false;
        }
    }
    return n;
}

size_t document_crowded_tag(const char *s, size_t n) {
    for (size_t i = 0, attrs; i < n;) {
        const char *tag = memchr(s + i, '<', n - i);
        if (!tag)
            break;
        i = (size_t)(tag - s);
        if (is_at(tag, n - i, "<!--")) {
            i += 4;
            if (!is_at(s + i, n - i, ">") && !is_at(s + i, n - i, "->")) {
                const size_t usual = behind(s + i, n - i, "-->"), odd = behind(s + i, usual, "--!>");
                i += odd < usual ? odd : usual;
            }
            continue;
        }
        if (i + 1 >= n || !isalpha((unsigned char)s[i + 1])) {
            i++;
            continue;
        }
        const char *skip = is_at(tag, n - i, "<script") ? "</script" : is_at(tag, n - i, "<style") ? "</style" : NULL;
        const size_t len = tag_length(tag, n - i, &attrs);
        if (attrs > DOCUMENT_ATTRS)
            return i;
        i += len;
        if (skip)
            i += behind(s + i, n - i, skip);
    }
    return n;
}
