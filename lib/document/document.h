/* Documents as text: what a file says, without what it looks like.
 *
 * Texts are taken as they are, by the rules of base/text.h, and must be UTF-8 throughout. HTML, docx and EPUB become lines with
 * headings ("# "), items ("- ") and rows of tables ("a | b"), as Markdown has them; PDF is what pdftotext makes of it. Files
 * are from strangers: sizes, depths and numbers of parts are bounded, and nothing that a file names outside of itself is
 * opened. docs/documents.md.
 */
#ifndef DOCUMENT_H
#define DOCUMENT_H

#include "base/progress.h"
#include "base/status.h"

#include <stddef.h>

typedef enum document_kind {
    DOCUMENT_TEXT,
    DOCUMENT_HTML,
    DOCUMENT_DOCX,
    DOCUMENT_EPUB,
    DOCUMENT_PDF,
    DOCUMENT_KINDS /* how many there are */
} document_kind;

/* Their names with '|' between them, in that order. */
#define DOCUMENT_KIND_NAMES "text|html|docx|epub|pdf"

/* Bytes of a file, of what is packed in it, and of the text that comes of it: each at most. */
enum { DOCUMENT_MAX = 256 << 20 };

typedef struct document {
    char *text; /* UTF-8 without NUL bytes, len bytes and a NUL behind them; lines end with "\n" */
    size_t len;
    char *title; /* what the document says its title is, else the name of its file, without folders */
    document_kind kind;
} document;

/* Read the document at `path`; "-" is standard input. as: the name of a kind; NULL: as the document begins and its file is
 * called. progress: asked now and then, with 0 while it cannot be known how far
 * it is; NULL: never. *out: caller frees with document_free; all 0 on failure.
 * KV_EINVAL: no such kind; KV_EIO; KV_EFORMAT: the file is not what it should be; KV_ERANGE: larger than DOCUMENT_MAX;
 * KV_EUNSUPP: of a kind that is not read, here or at all, with what would help; KV_ECANCEL; KV_ENOMEM. */
kv_status document_read(const char *path, const char *as, kv_progress progress, void *user, document *out, kv_err *err);
void document_free(document *d); /* all 0 afterwards; of what is all 0: nothing */

const char *document_kind_name(document_kind kind);

#endif
