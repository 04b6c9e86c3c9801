/* Characters of UTF-8: how many, where, and their other case. */
#include "template/tpl_internal.h"

#include <string.h>
#include <utf8proc.h>

size_t tpl_char(const char *s, size_t len, int32_t *c) {
    const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)len, c);
    if (n > 0)
        return (size_t)n;
    *c = 0xFFFD;
    return 1;
}

static size_t skip_char(const char *s, size_t len) {
    int32_t c;
    return (unsigned char)*s < 0x80 ? 1 : tpl_char(s, len, &c);
}

size_t tpl_count(const char *s, size_t len) {
    size_t n = 0;
    for (size_t i = 0; i < len; n++)
        i += skip_char(s + i, len - i);
    return n;
}

size_t tpl_offset(const char *s, size_t len, size_t n) {
    size_t i = 0;
    while (n-- && i < len)
        i += skip_char(s + i, len - i);
    return i;
}

bool tpl_is_space(int32_t c) {
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

size_t tpl_spaces(const char *s, size_t len) {
    size_t i = 0, n;
    for (int32_t c; i < len; i += n) {
        n = tpl_char(s + i, len - i, &c);
        if (!tpl_is_space(c))
            break;
    }
    return i;
}

size_t tpl_spaces_end(const char *s, size_t len) {
    size_t end = len;
    while (end) {
        size_t at = end - 1;
        int32_t c;
        while (at && end - at < 4 && ((unsigned char)s[at] & 0xC0) == 0x80)
            at--;
        if (tpl_char(s + at, end - at, &c) != end - at || !tpl_is_space(c))
            break;
        end = at;
    }
    return len - end;
}

/* Characters whose other case is more than one character, of those that are met in words. */
static const struct {
    int32_t c;
    tpl_case to;
    const char *is;
} several[] = {
    {0xDF, TPL_UPPER, "SS"},         {0xDF, TPL_TITLE, "Ss"},         {0x130, TPL_LOWER, "i\xCC\x87"},
    {0x149, TPL_UPPER, "\xCA\xBCN"}, {0x1F0, TPL_UPPER, "J\xCC\x8C"}, {0xFB00, TPL_UPPER, "FF"},
    {0xFB00, TPL_TITLE, "Ff"},       {0xFB01, TPL_UPPER, "FI"},       {0xFB01, TPL_TITLE, "Fi"},
    {0xFB02, TPL_UPPER, "FL"},       {0xFB02, TPL_TITLE, "Fl"},       {0xFB03, TPL_UPPER, "FFI"},
    {0xFB03, TPL_TITLE, "Ffi"},      {0xFB04, TPL_UPPER, "FFL"},      {0xFB04, TPL_TITLE, "Ffl"},
    {0xFB05, TPL_UPPER, "ST"},       {0xFB05, TPL_TITLE, "St"},       {0xFB06, TPL_UPPER, "ST"},
    {0xFB06, TPL_TITLE, "St"},
};

static const char *several_of(int32_t c, tpl_case to) {
    for (size_t i = 0; i < sizeof several / sizeof *several; i++)
        if (several[i].c == c && several[i].to == to)
            return several[i].is;
    return NULL;
}

void tpl_put_case(tpl_buf *b, const tpl_str *s, size_t from, size_t len, tpl_case to) {
    for (size_t i = from, n; i < from + len && !b->r->st; i += n) {
        utf8proc_uint8_t out[4];
        int32_t c;
        n = tpl_char(s->s + i, from + len - i, &c);
        const bool input = tpl_from_input(s, i);
        const char *more = c < 0x80 ? NULL : several_of(c, to);
        if (n == 1 && c >= 0x80) { /* no character: it stays */
            tpl_put(b, s->s + i, 1, input);
        } else if (more) {
            tpl_put(b, more, strlen(more), input);
        } else {
            c = to == TPL_LOWER ? utf8proc_tolower(c) : to == TPL_UPPER ? utf8proc_toupper(c) : utf8proc_totitle(c);
            tpl_put(b, (const char *)out, (size_t)utf8proc_encode_char(c, out), input);
        }
    }
}
