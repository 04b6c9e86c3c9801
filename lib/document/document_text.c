/* Texts: as they are. */
#include "base/text.h"
#include "document/document_internal.h"

#include <utf8proc.h>

kv_status document_check_utf8(const char *where, const char *text, size_t len, kv_err *err) {
    size_t line = 1;
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(len - i), &c);
        if (n <= 0)
            return kv_fail(
                err, KV_EFORMAT,
                "%s: byte 0x%02X at offset %zu, in line %zu, is not UTF-8, which a text must be (iconv -f ISO-8859-1 "
                "-t UTF-8 converts what is Latin-1)",
                where, (unsigned char)text[i], i, line);
        line += c == '\n';
        i += (size_t)n;
    }
    return KV_OK;
}

/* What is no text at all, or another encoding, is said before a byte is named: text_clean knows more of that. */
kv_status document_text_parse(document_input *in, document *out, kv_err *err) {
    kv_err where = {0};
    const kv_status utf8 = document_check_utf8(in->where, in->bytes, in->size, &where);
    kv_status st = text_clean(in->where, in->bytes, &in->size, err);
    if (st || utf8)
        return st ? st : kv_fail(err, utf8, "%s", where.msg);
    out->text = in->bytes;
    out->len = in->size;
    in->bytes = NULL;
    return KV_OK;
}
