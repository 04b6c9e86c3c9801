/* Whether a page is well-formed: tags nest, attributes are quoted, no bare '&' or '<', valid UTF-8. A check for tests, not a
 * parser. */
#ifndef XML_CHECK_H
#define XML_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

enum { XML_DEPTH = 64, XML_TAG = 32 };

typedef struct xml_state {
    char open[XML_DEPTH][XML_TAG];
    size_t depth;
    char why[160];
} xml_state;

static inline bool xml_bad(xml_state *x, const char *why, const char *at) {
    snprintf(x->why, sizeof x->why, "%s at '%.60s'", why, at);
    return false;
}

/* "&name;" or "&#1;" at s. */
static inline bool xml_entity(const char *s) {
    size_t n = strspn(s + 1, "abcdefghijklmnopqrstuvwxyz#0123456789");
    return n > 0 && n < 10 && s[1 + n] == ';';
}

/* The tag at *s, which ends after it. */
static inline bool xml_tag(xml_state *x, const char **s) {
    const char *at = *s, *p = at + 1;
    const bool closing = *p == '/';
    p += closing;
    size_t n = strcspn(p, " \t\r\n/>");
    if (!n || n >= XML_TAG)
        return xml_bad(x, "no tag name", at);
    char name[XML_TAG];
    memcpy(name, p, n);
    name[n] = '\0';
    for (p += n; *p && *p != '>'; p++) {
        if (*p == '<' || *p == '&')
            return xml_bad(x, "stray character in a tag", at);
        if (*p != '=')
            continue;
        if (*++p != '"')
            return xml_bad(x, "attribute without quotes", at);
        for (p++; *p && *p != '"'; p++)
            if (*p == '<' || (*p == '&' && !xml_entity(p)))
                return xml_bad(x, "bare character in an attribute", at);
        if (!*p)
            return xml_bad(x, "attribute without end", at);
    }
    if (!*p)
        return xml_bad(x, "tag without end", at);
    *s = p + 1;
    if (closing) {
        if (!x->depth || strcmp(x->open[--x->depth], name))
            return xml_bad(x, "closes what is not open", at);
    } else if (p[-1] != '/' && *at != '!') {
        if (x->depth == XML_DEPTH)
            return xml_bad(x, "nested too deep", at);
        strcpy(x->open[x->depth++], name);
    }
    return true;
}

static inline bool xml_well_formed(const char *s, xml_state *x) {
    static const char doctype[] = "<!DOCTYPE html>";
    *x = (xml_state){.depth = 0};
    for (utf8proc_int32_t c; *s;) {
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c);
        if (n <= 0 || (c < ' ' && !strchr("\t\r\n", c)))
            return xml_bad(x, "not text", s);
        if (!strncmp(s, doctype, sizeof doctype - 1))
            s += sizeof doctype - 1;
        else if (*s == '<') {
            if (!xml_tag(x, &s))
                return false;
        } else if (*s == '&' && !xml_entity(s))
            return xml_bad(x, "bare &", s);
        else
            s += n;
    }
    return !x->depth || xml_bad(x, "something is still open", x->open[x->depth - 1]);
}

#endif
