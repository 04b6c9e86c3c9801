/* Shared by the files of this room. */
#ifndef DOCUMENT_INTERNAL_H
#define DOCUMENT_INTERNAL_H

#include "document/document.h"

#include <stdbool.h>

/* The bytes of a document, on their way to text. */
typedef struct document_input {
    const char *where; /* what messages call it */
    char *bytes;       /* size of them, and a NUL; a parser may change them, or take them and leave NULL here */
    size_t size;
    kv_progress progress; /* or NULL */
    void *user;
} document_input;

/* What reads one kind: fills in out->text and out->len, and out->title where the document says one. */
typedef kv_status document_parser(document_input *in, document *out, kv_err *err);
document_parser document_text_parse;

/* KV_EFORMAT where text[0..len) is not UTF-8, with the byte and where it is. */
kv_status document_check_utf8(const char *where, const char *text, size_t len, kv_err *err);

#endif
