/* From whatever encoding a page is in to UTF-8, by iconv of the C library. What is UTF-8 is taken to be that, whatever the page
 * declares: hardly any other text is by accident. */
#include "base/text.h"
#include "document/document_internal.h"

#include <ctype.h>
#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

enum { LOOK = 4096, NAME = 40 }; /* bytes in which an encoding is declared; its name */

size_t document_utf8_end(const char *text, size_t len) {
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        if (n <= 0)
            return i;
        i += (size_t)n;
    }
    return len;
}

/* What the bytes begin with where they are UTF-16 or UTF-32; NULL: they are not. */
static const char *marked_encoding(const document_input *in) {
    static const struct {
        const char *mark;
        size_t n;
        const char *name;
    } marks[] = {
        {"\xff\xfe\0\0", 4, "UTF-32LE"}, {"\0\0\xfe\xff", 4, "UTF-32BE"}, {"<\0\0\0", 4, "UTF-32LE"},
        {"\0\0\0<", 4, "UTF-32BE"},      {"\xff\xfe", 2, "UTF-16LE"},     {"\xfe\xff", 2, "UTF-16BE"},
        {"<\0", 2, "UTF-16LE"},          {"\0<", 2, "UTF-16BE"},
    };
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (in->size >= marks[i].n && !memcmp(in->bytes, marks[i].mark, marks[i].n))
            return marks[i].name;
    return NULL;
}

/* What pages are declared to be in, and what iconv calls that, as browsers take it (encoding.spec.whatwg.org): Latin-1 is
 * Windows-1252, which has more letters. Only these: iconv knows hundreds that no page is in, and fewer people look at those. */
static const struct {
    const char *label, *name;
} encodings[] = {
    {"ascii", "CP1252"},
    {"us-ascii", "CP1252"},
    {"iso-8859-1", "CP1252"},
    {"latin1", "CP1252"},
    {"windows-1252", "CP1252"},
    {"cp1252", "CP1252"},
    {"utf-8", "CP1252"},
    {"utf8", "CP1252"},
    {"windows-1250", "CP1250"},
    {"windows-1251", "CP1251"},
    {"windows-1253", "CP1253"},
    {"windows-1254", "CP1254"},
    {"windows-1255", "CP1255"},
    {"windows-1256", "CP1256"},
    {"windows-1257", "CP1257"},
    {"windows-1258", "CP1258"},
    {"windows-874", "CP874"},
    {"tis-620", "CP874"},
    {"iso-8859-2", "ISO-8859-2"},
    {"iso-8859-3", "ISO-8859-3"},
    {"iso-8859-4", "ISO-8859-4"},
    {"iso-8859-5", "ISO-8859-5"},
    {"iso-8859-6", "ISO-8859-6"},
    {"iso-8859-7", "ISO-8859-7"},
    {"iso-8859-8", "ISO-8859-8"},
    {"iso-8859-9", "CP1254"},
    {"iso-8859-10", "ISO-8859-10"},
    {"iso-8859-13", "ISO-8859-13"},
    {"iso-8859-14", "ISO-8859-14"},
    {"iso-8859-15", "ISO-8859-15"},
    {"iso-8859-16", "ISO-8859-16"},
    {"koi8-r", "KOI8-R"},
    {"koi8-u", "KOI8-U"},
    {"ibm866", "CP866"},
    {"macintosh", "MACINTOSH"},
    {"gb2312", "GB18030"},
    {"gbk", "GB18030"},
    {"gb18030", "GB18030"},
    {"big5", "BIG5-HKSCS"},
    {"big5-hkscs", "BIG5-HKSCS"},
    {"shift_jis", "CP932"},
    {"shift-jis", "CP932"},
    {"x-sjis", "CP932"},
    {"windows-31j", "CP932"},
    {"euc-jp", "EUC-JP"},
    {"euc-kr", "CP949"},
    {"ks_c_5601-1987", "CP949"},
};

/* The name behind charset= or encoding= near the beginning; "" where there is none. */
static void declared_label(const document_input *in, char label[NAME]) {
    static const char *const words[] = {"charset", "encoding"};
    const size_t n = in->size < LOOK ? in->size : LOOK;
    size_t len = 0;
    for (size_t i = 0; i < 2 * n && !len; i++) {
        const char *word = words[i % 2];
        size_t at = i / 2 + strlen(word);
        if (at >= n || strncasecmp(in->bytes + i / 2, word, strlen(word)) != 0)
            continue;
        at += strspn(in->bytes + at, " \t\r\n");
        if (in->bytes[at] == '=')
            at += 1 + strspn(in->bytes + at + 1, " \t\r\n\"'");
        else
            continue;
        for (; len + 1 < NAME && (isalnum((unsigned char)in->bytes[at]) || strchr("-_", in->bytes[at])) && in->bytes[at]; at++)
            label[len++] = in->bytes[at];
    }
    label[len] = '\0';
}

/* What iconv calls the encoding of bytes that are not UTF-8. */
static kv_status declared_encoding(const document_input *in, const char **name, kv_err *err) {
    char label[NAME];
    declared_label(in, label);
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
        if (!*label || !strcasecmp(label, encodings[i].label)) {
            *name = encodings[i].name;
            return KV_OK;
        }
    return kv_fail(err, KV_EUNSUPP, "%s: is declared to be in %s, which is not read; convert it to UTF-8", in->where, label);
}

static kv_status convert(document_input *in, const char *name, kv_err *err) {
    document_out out = {.max = in->max};
    char room[1 << 14], *from = in->bytes;
    size_t left = in->size;
    kv_status st = KV_OK;
    iconv_t cd = iconv_open("UTF-8", name);
    if (cd == (iconv_t)-1)
        return kv_fail(err, KV_EUNSUPP, "%s: is in %s, which is not known here, and not UTF-8", in->where, name);
    while (left && !st) {
        char *to = room;
        size_t free_room = sizeof room;
        const size_t done = iconv(cd, &from, &left, &to, &free_room);
        document_add(&out, room, (size_t)(to - room));
        if (done == (size_t)-1 && errno != E2BIG) {
            st = kv_fail(err, KV_EFORMAT, "%s: byte 0x%02X at offset %zu is not %s, which the page is in", in->where,
                         (unsigned char)*from, (size_t)(from - in->bytes), name);
        }
    }
    iconv_close(cd);
    free(in->bytes);
    in->bytes = NULL;
    if (!st)
        return document_out_take(&out, in->where, &in->bytes, &in->size, err);
    document_out_free(&out);
    return st;
}

kv_status document_to_utf8(document_input *in, kv_err *err) {
    const char *name = marked_encoding(in);
    kv_status st = KV_OK;
    if (!name && document_utf8_end(in->bytes, in->size) < in->size)
        st = declared_encoding(in, &name, err);
    if (!st && name)
        st = convert(in, name, err);
    return st ? st : text_clean(in->where, in->bytes, &in->size, err);
}
