/* HTML, through libxml2's parser, element by element as they come: no tree is built. What a page says is kept, and what its
 * elements are for is looked up in one table. Scripts, styles and navigation are passed over with all that is in them. */
#include "document/document_internal.h"

#include <libxml/HTMLparser.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16 };

typedef enum role {
    HIDDEN, /* with all that is in it */
    BLOCK,
    LINE,
    HEADING,
    LIST,
    NUMBERED,
    ITEM,
    PRE,
    TABLE,
    ROW,
    CELL,
    NAMED, /* the title */
} role;

/* In the order of the alphabet. Others are parts of a line. */
static const struct element {
    const char *name;
    role role;
    unsigned level;
} elements[] = {
    {"address", BLOCK, 0},   {"article", BLOCK, 0},   {"aside", BLOCK, 0},      {"audio", HIDDEN, 0},  {"blockquote", BLOCK, 0},
    {"br", LINE, 0},         {"button", HIDDEN, 0},   {"canvas", HIDDEN, 0},    {"caption", BLOCK, 0}, {"center", BLOCK, 0},
    {"dd", LINE, 0},         {"details", BLOCK, 0},   {"dir", LIST, 0},         {"div", BLOCK, 0},     {"dl", BLOCK, 0},
    {"dt", LINE, 0},         {"fieldset", BLOCK, 0},  {"figcaption", BLOCK, 0}, {"figure", BLOCK, 0},  {"footer", BLOCK, 0},
    {"form", BLOCK, 0},      {"frameset", BLOCK, 0},  {"h1", HEADING, 1},       {"h2", HEADING, 2},    {"h3", HEADING, 3},
    {"h4", HEADING, 4},      {"h5", HEADING, 5},      {"h6", HEADING, 6},       {"header", BLOCK, 0},  {"hr", BLOCK, 0},
    {"iframe", HIDDEN, 0},   {"legend", BLOCK, 0},    {"li", ITEM, 0},          {"main", BLOCK, 0},    {"menu", LIST, 0},
    {"nav", HIDDEN, 0},      {"noscript", HIDDEN, 0}, {"object", HIDDEN, 0},    {"ol", NUMBERED, 0},   {"option", LINE, 0},
    {"p", BLOCK, 0},         {"pre", PRE, 0},         {"script", HIDDEN, 0},    {"section", BLOCK, 0}, {"select", HIDDEN, 0},
    {"style", HIDDEN, 0},    {"summary", BLOCK, 0},   {"svg", HIDDEN, 0},       {"table", TABLE, 0},   {"td", CELL, 0},
    {"template", HIDDEN, 0}, {"textarea", PRE, 0},    {"th", CELL, 0},          {"title", NAMED, 0},   {"tr", ROW, 0},
    {"ul", LIST, 0},         {"video", HIDDEN, 0},
};

typedef struct page {
    const document_input *in;
    markup *m;
    htmlParserCtxtPtr parser;
    document_out title;
    unsigned depth, hidden; /* hidden: the depth of the outermost element that is; 0: none is */
    bool naming, named;
    bool deep; /* more elements within each other than are followed */
} page;

static int by_name(const void *name, const void *e) {
    return strcmp(name, ((const struct element *)e)->name);
}

static const struct element *find(const xmlChar *name) {
    return bsearch(name, elements, sizeof elements / sizeof *elements, sizeof *elements, by_name);
}

static bool is_hidden(const xmlChar *name, const struct element *e, const xmlChar **attrs) {
    if (!strcmp((const char *)name, "html") || !strcmp((const char *)name, "body"))
        return false; /* until a script shows it */
    for (; attrs && *attrs; attrs += 2)
        if (!strcmp((const char *)*attrs, "hidden"))
            return true;
    return e && e->role == HIDDEN;
}

static void stop(page *p) {
    xmlStopParser(p->parser);
}

static void open_element(markup *m, const struct element *e) {
    switch (e->role) {
    case BLOCK:
        markup_block(m);
        break;
    case LINE:
        markup_line(m);
        break;
    case HEADING:
        markup_heading(m, e->level);
        break;
    case LIST:
    case NUMBERED:
        markup_list(m, e->role == NUMBERED, +1);
        break;
    case ITEM:
        markup_item(m);
        break;
    case PRE:
        markup_pre(m, +1);
        break;
    case TABLE:
        markup_table_begin(m);
        break;
    case ROW:
        markup_row(m);
        break;
    case CELL:
        markup_cell(m);
        break;
    case HIDDEN:
    case NAMED:
        break;
    }
}

static void close_element(markup *m, const struct element *e) {
    switch (e->role) {
    case BLOCK:
        markup_block(m);
        break;
    case HEADING:
        markup_heading(m, 0);
        break;
    case LIST:
    case NUMBERED:
        markup_list(m, false, -1);
        break;
    case PRE:
        markup_pre(m, -1);
        break;
    case TABLE:
        markup_table_end(m);
        break;
    default:
        break;
    }
}

static void begin(void *user, const xmlChar *name, const xmlChar **attrs) {
    page *p = user;
    const struct element *e = find(name);
    if (++p->depth > DOCUMENT_DEPTH) {
        p->deep = true;
        stop(p);
    }
    if (p->hidden)
        return;
    if (is_hidden(name, e, attrs) || (p->named && e && e->role == NAMED)) /* of two titles, the first counts */
        p->hidden = p->depth;
    else if (e && e->role == NAMED)
        p->naming = true;
    else if (e)
        open_element(p->m, e);
}

static void end(void *user, const xmlChar *name) {
    page *p = user;
    const struct element *e = find(name);
    if (!p->hidden && e && e->role == NAMED) {
        p->named = p->named || p->title.len;
        p->naming = false;
    } else if (!p->hidden && e)
        close_element(p->m, e);
    if (p->hidden == p->depth)
        p->hidden = 0;
    if (p->depth)
        p->depth--;
}

static void text(void *user, const xmlChar *s, int n) {
    page *p = user;
    if (p->naming)
        document_add(&p->title, (const char *)s, (size_t)n);
    else if (!p->hidden && !p->naming)
        markup_text(p->m, (const char *)s, (size_t)n);
}

/* After a request for memory has failed, libxml2 takes no more characters, and some of its loops (2.9.14) wait for one that
 * they will never see: so they are shown the end of the text. document_memory_failed tells the rest. */
#if LIBXML_VERSION >= 21200
static void failed(void *user, const xmlError *e) {
#else
static void failed(void *user, xmlErrorPtr e) {
#endif
    const page *p = user;
    if (e->code == XML_ERR_NO_MEMORY && p->parser && p->parser->input)
        p->parser->input->cur = p->parser->input->end;
}

/* htmlParseChunk's own verdict says nothing: pages with errors are read as browsers read them. */
static kv_status feed(page *p, const char *s, size_t len, kv_err *err) {
    kv_status st = KV_OK;
    for (size_t at = 0, n; at < len && !p->deep && !p->m->out->st && !st; at += n) {
        n = len - at < CHUNK ? len - at : CHUNK;
        htmlParseChunk(p->parser, s + at, (int)n, 0);
        st = document_go_on(p->in, (double)at / (double)len, err);
    }
    if (st)
        return st;
    if (!p->deep && !p->m->out->st)
        htmlParseChunk(p->parser, NULL, 0, 1);
    if (p->deep)
        return kv_fail(err, KV_EFORMAT, "%s: line %d: more than %d elements within each other", p->in->where,
                       p->parser->input ? p->parser->input->line : 0, DOCUMENT_DEPTH);
    return KV_OK;
}

kv_status document_html_append(const document_input *in, const char *s, size_t len, markup *m, char **title, kv_err *err) {
    htmlSAXHandler sax = {.startElement = begin,
                          .endElement = end,
                          .characters = text,
                          .ignorableWhitespace = text,
                          .serror = failed,
                          .initialized = XML_SAX2_MAGIC}; /* which makes serror count */
    page p = {.in = in, .m = m, .title = {.max = DOCUMENT_TITLE}};
    const size_t crowded = document_crowded_tag(s, len);
    if (crowded < len)
        return kv_fail(err, KV_EFORMAT, "%s: a tag with more than %d attributes, at offset %zu", in->where, DOCUMENT_ATTRS,
                       crowded);
    document_watch_memory();
    p.parser = htmlCreatePushParserCtxt(&sax, &p, NULL, 0, NULL, XML_CHAR_ENCODING_UTF8);
    if (!p.parser)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for the page", in->where);
    htmlCtxtUseOptions(p.parser, HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET |
                                     HTML_PARSE_IGNORE_ENC | XML_PARSE_HUGE);
    kv_status st = feed(&p, s, len, err);
    if (document_memory_failed())
        st = kv_fail(err, KV_ENOMEM, "%s: out of memory for the page", in->where);
    if (!st)
        st = document_title(&p.title, in->where, title, err);
    document_out_free(&p.title);
    if (p.parser->myDoc)
        xmlFreeDoc(p.parser->myDoc);
    htmlFreeParserCtxt(p.parser);
    return st;
}

kv_status document_html_parse(document_input *in, document *out, kv_err *err) {
    document_out text_out = {.max = in->max};
    markup m = {.out = &text_out};
    kv_status st = document_to_utf8(in, err);
    if (!st)
        st = document_html_append(in, in->bytes, in->size, &m, &out->title, err);
    if (!st)
        st = document_out_take(&text_out, in->where, &out->text, &out->len, err);
    document_out_free(&text_out);
    return st;
}
