/* Which kind of document it is, and whose work that is. */
#include "document/document.h"

#include "base/atomic_file.h"
#include "document/document_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What the build found (lib/CMakeLists.txt). */
#ifdef KV_LIBXML2
#define WITH_XML(parse) parse
#else
#define WITH_XML(parse) NULL
#endif
#if defined KV_LIBXML2 && defined KV_LIBZIP
#define WITH_ZIP(parse) parse
#else
#define WITH_ZIP(parse) NULL
#endif

static const struct {
    const char *name;
    document_parser *parse; /* NULL: this build cannot */
    const char *needs;      /* then: the packages, by their Debian names */
    const char *endings;    /* of names of such files, each between blanks */
} kinds[DOCUMENT_KINDS] = {
    [DOCUMENT_TEXT] = {"text", document_text_parse, "", ""},
    [DOCUMENT_HTML] = {"html", WITH_XML(document_html_parse), "libxml2-dev", " .html .htm .xhtml "},
    [DOCUMENT_DOCX] = {"docx", WITH_ZIP(document_docx_parse), "libxml2-dev libzip-dev", " .docx .docm .dotx "},
    [DOCUMENT_EPUB] = {"epub", WITH_ZIP(document_epub_parse), "libxml2-dev libzip-dev", " .epub "},
    [DOCUMENT_PDF] = {"pdf", document_pdf_parse, "", " .pdf "},
};

/* What is no text and is read in no other way, by how it begins. */
static const struct {
    const char *begins;
    size_t n;
    const char *is;
} others[] = {
    {"\xd0\xcf\x11\xe0", 4, "a file of an old Office; save it as docx"},
    {"{\\rtf", 5, "an RTF file; save it as docx"},
    {"\x1f\x8b", 2, "packed by gzip; unpack it (gzip -d)"},
    {"\x28\xb5\x2f\xfd", 4, "packed by zstd; unpack it (zstd -d)"},
    {"GGUF", 4, "a model, and no document"},
    {"\x89PNG", 4, "a picture, and no text"},
    {"\xff\xd8\xff", 3, "a picture, and no text"},
    {"GIF8", 4, "a picture, and no text"},
};

const char *document_kind_name(document_kind kind) {
    return kinds[kind].name;
}

/* ---- kinds ---- */

static bool begins(const document_input *in, const char *with, size_t n) {
    return in->size >= n && !memcmp(in->bytes, with, n);
}

static kv_status kind_by_name(const char *as, document_kind *out, kv_err *err) {
    for (document_kind k = 0; k < DOCUMENT_KINDS; k++)
        if (!strcmp(as, kinds[k].name)) {
            *out = k;
            return KV_OK;
        }
    return kv_fail(err, KV_EINVAL, "no kind of document is called '%s'; there are " DOCUMENT_KIND_NAMES, as);
}

/* By the ending of the file's name; DOCUMENT_TEXT: it says nothing. */
static document_kind kind_by_ending(const char *dot) {
    char word[16];
    if (!dot || (size_t)snprintf(word, sizeof word, " %s ", dot) >= sizeof word)
        return DOCUMENT_TEXT;
    for (document_kind k = 0; k < DOCUMENT_KINDS; k++)
        if (strcasestr(kinds[k].endings, word))
            return k;
    return DOCUMENT_TEXT;
}

static bool looks_like_html(const document_input *in) {
    const char *s = in->bytes + 3 * begins(in, "\xef\xbb\xbf", 3);
    while (isspace((unsigned char)*s))
        s++;
    return !strncasecmp(s, "<!doctype html", 14) || (!strncasecmp(s, "<html", 5) && strchr(" >\t\r\n", s[5]));
}

/* An archive that is not called like what it holds. */
static kv_status kind_of_zip(const document_input *in, document_kind *out, kv_err *err) {
    *out = DOCUMENT_DOCX;
#if defined KV_LIBXML2 && defined KV_LIBZIP
    bool found;
    kv_status st = document_zip_has(in, "word/document.xml", &found, err);
    if (st || found)
        return st;
    *out = DOCUMENT_EPUB;
    st = document_zip_has(in, "META-INF/container.xml", &found, err);
    if (st || found)
        return st;
    return kv_fail(
        err, KV_EUNSUPP,
        "%s: is a ZIP archive with neither a docx file nor an EPUB book in it (spreadsheets, slides and OpenDocument "
        "are not read; save them as PDF)",
        in->where);
#else
    (void)in, (void)err; /* either is more than this build reads */
    return KV_OK;
#endif
}

/* How the file begins counts more than how it is called: what is called .html and is none cannot be read as that. */
static kv_status guess_kind(const document_input *in, const char *name, document_kind *out, kv_err *err) {
    const char *dot = strrchr(name, '.');
    *out = kind_by_ending(dot);
    if (begins(in, "%PDF-", 5))
        *out = DOCUMENT_PDF;
    else if (begins(in, "PK\3\4", 4) || begins(in, "PK\5\6", 4))
        return *out == DOCUMENT_DOCX || *out == DOCUMENT_EPUB ? KV_OK : kind_of_zip(in, out, err);
    else if (!dot && looks_like_html(in))
        *out = DOCUMENT_HTML;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (begins(in, others[i].begins, others[i].n))
            return kv_fail(err, KV_EUNSUPP, "%s: is %s", in->where, others[i].is);
    return KV_OK;
}

/* ---- reading ---- */

kv_status document_parse(document_input *in, const char *name, const char *as, document *out, kv_err *err) {
    *out = (document){0};
    kv_status st = as ? kind_by_name(as, &out->kind, err) : guess_kind(in, name, &out->kind, err);
    if (!st && !kinds[out->kind].parse)
        st = kv_fail(err, KV_EUNSUPP,
                     "%s: %s files are not read by this build, which was made without %s (apt install that, and build again)",
                     in->where, kinds[out->kind].name, kinds[out->kind].needs);
    if (st || (st = document_go_on(in, 0, err)) || (st = kinds[out->kind].parse(in, out, err)))
        goto done;
    if (!out->title && !(out->title = strdup(name)))
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory for its title", in->where);
done:
    free(in->bytes);
    in->bytes = NULL;
    if (st)
        document_free(out);
    return st;
}

kv_status document_read(const char *path, const char *as, kv_progress progress, void *user, document *out, kv_err *err) {
    const bool standard = !strcmp(path, "-");
    const char *slash = strrchr(path, '/');
    document_input in = {.where = standard ? "stdin" : path, .max = DOCUMENT_MAX, .progress = progress, .user = user};
    document_kind known;
    *out = (document){0};
    kv_status st = as ? kind_by_name(as, &known, err) : KV_OK; /* before anything is waited for */
    if (st || (st = standard ? stream_read(stdin, in.where, in.max, &in.bytes, &in.size, err)
                             : file_read(path, in.max, &in.bytes, &in.size, err)))
        return st;
    return document_parse(&in, slash ? slash + 1 : in.where, as, out, err);
}

void document_free(document *d) {
    free(d->text);
    free(d->title);
    *d = (document){0};
}
