/* Texts: as they are. */
#include "base/text.h"
#include "document/document_internal.h"

/* The line in which text[at] is, from 1. */
static size_t line_of(const char *text, size_t at) {
    size_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    return line;
}

/* What is no text at all, or in another encoding that text_clean knows, is said rather than which byte that begins with. */
kv_status document_text_parse(document_input *in, document *out, kv_err *err) {
    const size_t bad = document_utf8_end(in->bytes, in->size);
    const bool whole = bad == in->size;
    const unsigned byte = whole ? 0 : (unsigned char)in->bytes[bad];
    const size_t line = line_of(in->bytes, bad);
    kv_status st = text_clean(in->where, in->bytes, &in->size, err);
    if (st)
        return st;
    if (!whole)
        return kv_fail(err, KV_EFORMAT,
                       "%s: byte 0x%02X at offset %zu, in line %zu, is not UTF-8, which a text must be (iconv -f ISO-8859-1 -t "
                       "UTF-8 converts what is Latin-1)",
                       in->where, byte, bad, line);
    out->text = in->bytes;
    out->len = in->size;
    in->bytes = NULL;
    return KV_OK;
}
