/* Shared by the files of this room. */
#ifndef DOCUMENT_INTERNAL_H
#define DOCUMENT_INTERNAL_H

#include "document/document.h"

#include <stdbool.h>

/* ---- a document on its way to text ---- */

typedef struct document_input {
    const char *where; /* what messages call it */
    char *bytes;       /* size of them, and a NUL; a parser may change them, or take them and leave NULL here */
    size_t size;
    size_t max;           /* DOCUMENT_MAX */
    kv_progress progress; /* or NULL */
    void *user;
} document_input;

/* What reads one kind: fills in out->text and out->len, and out->title where the document says one. What it leaves in them when
 * it fails is freed by the caller. */
typedef kv_status document_parser(document_input *in, document *out, kv_err *err);
document_parser document_text_parse, document_html_parse, document_docx_parse, document_epub_parse, document_pdf_parse;

/* The kind of document that in is, or `as` (or NULL) says, read. name: of its file, without folders. in->bytes: freed with
 * free(), in every case. */
kv_status document_parse(document_input *in, const char *name, const char *as, document *out, kv_err *err);

/* KV_ECANCEL where whoever asked for the document wants it no longer. done: 0..1. */
kv_status document_go_on(const document_input *in, double done, kv_err *err);

/* Where text[0..len) is not UTF-8: the offset of the first byte that is not; else len. */
size_t document_utf8_end(const char *text, size_t len);

/* Bytes of a page in whatever encoding to a text by the rules of base/text.h, in place of what was there. `charset` as the page
 * declares it is looked for in its beginning. KV_EFORMAT: a byte that the encoding does not have. */
kv_status document_to_utf8(document_input *in, kv_err *err);

/* ---- text that grows ---- */

typedef struct document_out {
    char *s; /* NUL-terminated where it is not NULL */
    size_t len, cap, max;
    kv_status st; /* KV_ENOMEM, KV_ERANGE: from then on nothing is added */
} document_out;

void document_add(document_out *o, const char *s, size_t n);
/* The text to the caller, who frees it ("" rather than NULL); or what went wrong. o is empty afterwards. */
kv_status document_out_take(document_out *o, const char *where, char **text, size_t *len, kv_err *err);
void document_out_free(document_out *o);

/* ---- what marked-up text looks like without marks ---- */

/* Blocks with a blank line between them; list items and headings with marks in front, as Markdown has them; rows of tables on
 * a line, cells apart by " | "; white space as browsers show it. */
enum { MARKUP_TABLES = 32, MARKUP_LISTS = 32 };

typedef struct markup_table {
    bool loose; /* its cells are more than a line: they come one after the other, as blocks */
    bool row;   /* something of this row was written */
    unsigned cells, owed;
    size_t begin; /* of the cell that is open, in the text */
} markup_table;

typedef struct markup {
    document_out *out;
    unsigned breaks; /* line ends wanted before the next text: 0, 1, or 2 */
    bool space;      /* wanted before the next text, if that does not begin a line */
    bool line;       /* something is on the last line */
    unsigned pre;    /* open elements whose white space stays */
    unsigned lists, tables;
    unsigned number[MARKUP_LISTS]; /* of the next item; 0: the list has no numbers */
    markup_table table[MARKUP_TABLES];
    char mark[16]; /* for the next text, which begins an item or a heading */
} markup;

void markup_text(markup *m, const char *s, size_t n);
void markup_line(markup *m);  /* what follows is on a new line */
void markup_block(markup *m); /* a new block */
void markup_heading(markup *m, unsigned level);
void markup_list(markup *m, bool numbered, int change); /* +1: one begins; -1: it ends */
void markup_item(markup *m);
void markup_pre(markup *m, int change);
void markup_table_begin(markup *m);
void markup_row(markup *m);
void markup_cell(markup *m);
void markup_table_end(markup *m);
void markup_reset(markup *m); /* what is still open is closed */

/* What a document says its title is, cut at DOCUMENT_TITLE bytes or less, on one line to *title, unless that is set or there
 * are no letters. Caller frees. */
enum { DOCUMENT_TITLE = 512 };
kv_status document_title(document_out *raw, const char *where, char **title, kv_err *err);

/* An HTML page, UTF-8 text[0..len), at the end of m; its title, where it says one and *title is NULL, for the caller to free.
 * Progress is that of in, which is asked for nothing else. */
kv_status document_html_append(const document_input *in, const char *text, size_t len, markup *m, char **title, kv_err *err);

/* ---- XML ---- */

/* Before libxml2 is used for a document, and behind: whether it ever lacked memory in between. */
void document_watch_memory(void);
bool document_memory_failed(void);

/* Elements within each other; attributes of one; namespaces that are declared at a time. */
enum { DOCUMENT_DEPTH = 512, DOCUMENT_ATTRS = 256, DOCUMENT_SPACES = 1024 };

/* Where the first tag with more than DOCUMENT_ATTRS attributes is, in HTML or XML; n: there is none. */
size_t document_crowded_tag(const char *s, size_t n);

/* Names without prefixes; attributes as name, value, name, value, NULL. */
typedef struct document_xml {
    void (*begin)(void *user, const char *name, const char *const *attrs);
    void (*end)(void *user, const char *name);
    void (*text)(void *user, const char *s, size_t n); /* or NULL */
    void *user;
    const document_out *out; /* whose failure ends it; or NULL */
} document_xml;

/* Read bytes[0..n) that what messages call in->where has as `part`. No document type, so no entities but the five that XML has;
 * nothing else is opened. KV_EFORMAT: with line. */
kv_status document_xml_read(const document_input *in, const char *part, const char *bytes, size_t n, const document_xml *x,
                            kv_err *err);
const char *document_attr(const char *const *attrs, const char *name); /* or NULL */

/* ---- archives ---- */

/* A file of an archive that is asked for, and what was found. */
typedef struct document_part {
    const char *name; /* borrowed: exactly as the archive has it */
    char *bytes;      /* size of them and a NUL; NULL: it is not there */
    size_t size;
} document_part;

/* The parts, n of them, of the ZIP archive in. Their names must differ. Caller frees with document_parts_free, in every case;
 * left: how many bytes may be unpacked yet. */
kv_status document_unzip(const document_input *in, document_part *parts, size_t n, size_t *left, kv_err *err);
void document_parts_free(document_part *parts, size_t n);
/* Whether a ZIP archive has a file of this name. */
kv_status document_zip_has(const document_input *in, const char *name, bool *found, kv_err *err);

#endif
