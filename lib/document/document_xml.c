/* XML of office files and books, through libxml2, element by element. There are no entities but XML's own five, because there
 * is no document type: none of these files has one. */
#include "document/document_internal.h"

#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16, ATTRS = 32 };

typedef struct reading {
    const document_input *in;
    const char *part;
    const document_xml *x;
    xmlParserCtxtPtr parser;
    unsigned depth;
    bool typed;                                    /* it has a document type */
    bool deep;                                     /* more than DOCUMENT_DEPTH */
    bool wide;                                     /* more than DOCUMENT_SPACES */
    unsigned spaces, declared[DOCUMENT_DEPTH + 1]; /* namespaces of all open elements, and of each: libxml2 looks through all */
    bool full;                                     /* out of memory for attributes */
} reading;

/* libxml2 gives name, prefix, URI, value and its end; values are not terminated. */
static void begin(void *user, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int n_spaces,
                  const xmlChar **spaces, int n_attrs, int n_defaulted, const xmlChar **attrs) {
    reading *r = user;
    const char *list[2 * ATTRS + 1] = {NULL};
    char *values[ATTRS] = {NULL};
    const int n = n_attrs < ATTRS ? n_attrs : ATTRS;
    (void)prefix, (void)uri, (void)spaces, (void)n_defaulted;
    r->deep = ++r->depth > DOCUMENT_DEPTH;
    r->spaces += (unsigned)n_spaces;
    r->wide = r->spaces > DOCUMENT_SPACES;
    if (r->deep || r->wide) {
        xmlStopParser(r->parser);
        return;
    }
    r->declared[r->depth] = (unsigned)n_spaces;
    for (int i = 0; i < n; i++) {
        values[i] = strndup((const char *)attrs[5 * i + 3], (size_t)(attrs[5 * i + 4] - attrs[5 * i + 3]));
        r->full = r->full || !values[i];
        list[2 * i] = (const char *)attrs[5 * i];
        list[2 * i + 1] = values[i] ? values[i] : "";
    }
    r->x->begin(r->x->user, (const char *)name, list);
    for (int i = 0; i < n; i++)
        free(values[i]);
}

static void end(void *user, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri) {
    reading *r = user;
    (void)prefix, (void)uri;
    r->spaces -= r->declared[r->depth--];
    r->x->end(r->x->user, (const char *)name);
}

static void text(void *user, const xmlChar *s, int n) {
    reading *r = user;
    if (r->x->text)
        r->x->text(r->x->user, (const char *)s, (size_t)n);
}

/* Called before anything that the document type declares is read. */
static void document_type(void *user, const xmlChar *name, const xmlChar *external, const xmlChar *system) {
    (void)name, (void)external, (void)system;
    reading *r = user;
    r->typed = true;
    xmlStopParser(r->parser);
}

static void quiet(void *user, const char *fmt, ...) {
    (void)user, (void)fmt;
}

static bool goes_on(const reading *r) {
    return r->parser->wellFormed && !r->deep && !r->wide && !r->typed && !(r->x->out && r->x->out->st);
}

static kv_status verdict(const reading *r, kv_err *err) {
    const xmlError *e = xmlCtxtGetLastError(r->parser);
    const int line = r->parser->input ? r->parser->input->line : 0;
    if (r->full || document_memory_failed())
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for %s", r->in->where, r->part);
    if (r->deep)
        return kv_fail(err, KV_EFORMAT, "%s: %s, line %d: more than %d elements within each other", r->in->where, r->part, line,
                       DOCUMENT_DEPTH);
    if (r->wide)
        return kv_fail(err, KV_EFORMAT, "%s: %s, line %d: more than %d namespaces at a time", r->in->where, r->part, line,
                       DOCUMENT_SPACES);
    if (r->typed)
        return kv_fail(err, KV_EFORMAT, "%s: %s, line %d: a document type (<!DOCTYPE), which could declare entities",
                       r->in->where, r->part, line);
    if (r->parser->wellFormed)
        return KV_OK;
    const char *said = e && e->message ? e->message : "not well-formed";
    return kv_fail(err, KV_EFORMAT, "%s: %s, line %d: %.*s", r->in->where, r->part, e ? e->line : line,
                   (int)strcspn(said, "\n"), said);
}

kv_status document_xml_read(const document_input *in, const char *part, const char *bytes, size_t n, const document_xml *x,
                            kv_err *err) {
    xmlSAXHandler sax = {.initialized = XML_SAX2_MAGIC,
                         .startElementNs = begin,
                         .endElementNs = end,
                         .characters = text,
                         .ignorableWhitespace = text,
                         .cdataBlock = text,
                         .internalSubset = document_type,
                         .warning = quiet,
                         .error = quiet,
                         .fatalError = quiet};
    reading r = {.in = in, .part = part, .x = x};
    kv_status st = KV_OK;
    if (!n)
        return kv_fail(err, KV_EFORMAT, "%s: %s is empty", in->where, part);
    const size_t crowded = document_crowded_tag(bytes, n);
    if (crowded < n)
        return kv_fail(err, KV_EFORMAT, "%s: %s: a tag with more than %d attributes, at offset %zu", in->where, part,
                       DOCUMENT_ATTRS, crowded);
    document_watch_memory();
    if (!(r.parser = xmlCreatePushParserCtxt(&sax, &r, NULL, 0, NULL)))
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for %s", in->where, part);
    xmlCtxtUseOptions(r.parser, XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_HUGE);
    for (size_t at = 0, len; at < n && goes_on(&r) && !st; at += len) {
        len = n - at < CHUNK ? n - at : CHUNK;
        xmlParseChunk(r.parser, bytes + at, (int)len, 0);
        st = document_go_on(in, 0, err);
    }
    if (!st && goes_on(&r))
        xmlParseChunk(r.parser, NULL, 0, 1);
    if (!st && !(x->out && x->out->st))
        st = verdict(&r, err);
    if (r.parser->myDoc)
        xmlFreeDoc(r.parser->myDoc);
    xmlFreeParserCtxt(r.parser);
    return st;
}

const char *document_attr(const char *const *attrs, const char *name) {
    for (; *attrs; attrs += 2)
        if (!strcmp(*attrs, name))
            return attrs[1];
    return NULL;
}
