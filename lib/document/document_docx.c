/* Word's files (ECMA-376, part 1, WordprocessingML): a ZIP archive of XML. The text is in word/document.xml: paragraphs (w:p)
 * of runs with text (w:t), in which tables (w:tbl) lie. Whether a paragraph is a heading its style says, by an outline level or
 * a name in word/styles.xml; notes are files of their own, and come at the end. What was deleted (w:delText) and what fields
 * are made of (w:instrText) is no text. */
#include "document/document_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BODY, STYLES, FOOTNOTES, ENDNOTES, CORE, PARTS };
enum { STYLE = 64, NOTES_MAX = 1 << 20 };

typedef struct style {
    char id[STYLE];
    unsigned level; /* of headings; 0: others */
    unsigned depth; /* of items of lists; 0: others */
} style;

/* A reference to a note, in their order in the text. */
typedef struct note {
    int part; /* FOOTNOTES or ENDNOTES */
    long id;
    unsigned number;
} note;

typedef struct docx {
    const document_input *in;
    document_part part[PARTS];
    document_out out;
    markup m;
    style *styles;
    size_t n_styles, n_notes;
    note *notes;
    document_out title;
    bool full; /* out of memory */
    /* while reading */
    int reading;        /* the part */
    unsigned skipped;   /* open elements within one that is passed over */
    unsigned in_text;   /* open w:t */
    bool in_properties; /* of a paragraph: what it is, not what it says */
    unsigned level;     /* of the paragraph, as a heading; 0: none */
    unsigned depth;     /* of the paragraph in lists; 0: none */
    bool begun;         /* the paragraph's block is open */
} docx;

static long number_of(const char *s) {
    return s ? strtol(s, NULL, 10) : 0;
}

/* ---- styles ---- */

static style *last_style(docx *d) {
    return d->n_styles ? &d->styles[d->n_styles - 1] : NULL;
}

static void add_style(docx *d, const char *id) {
    if (!(d->n_styles & (d->n_styles - 1))) {
        style *grown = realloc(d->styles, (d->n_styles ? 2 * d->n_styles : 1) * sizeof *grown);
        if (!grown) {
            d->full = true;
            return;
        }
        d->styles = grown;
    }
    style *s = &d->styles[d->n_styles++];
    *s = (style){0};
    snprintf(s->id, sizeof s->id, "%s", id ? id : "");
}

static void style_begin(void *user, const char *name, const char *const *attrs) {
    docx *d = user;
    const char *value = document_attr(attrs, "val");
    if (!strcmp(name, "style"))
        add_style(d, document_attr(attrs, "styleId"));
    style *s = last_style(d);
    unsigned level = 0, depth = 0;
    if (!s || !value)
        return;
    if (!strcmp(name, "name") && (sscanf(value, "heading %1u", &level) == 1 || sscanf(value, "Heading %1u", &level) == 1))
        s->level = level;
    else if (!strcmp(name, "name") && !strcmp(value, "Title"))
        s->level = 1;
    else if (!strcmp(name, "name") && sscanf(value, "List %*s %1u", &depth) == 1) /* "List Bullet 2", a list of its own */
        s->depth = depth;
    else if (!strcmp(name, "numId") && number_of(value) > 0 && !s->depth)
        s->depth = 1;
    else if (!strcmp(name, "outlineLvl") && !s->level && number_of(value) >= 0 && number_of(value) < 9)
        s->level = (unsigned)number_of(value) + 1;
}

static void nothing(void *user, const char *name) {
    (void)user, (void)name;
}

static int by_id(const void *a, const void *b) {
    return strcmp(((const style *)a)->id, ((const style *)b)->id);
}

static int is_id(const void *id, const void *s) {
    return strncmp(id, ((const style *)s)->id, STYLE - 1);
}

/* ---- text ---- */

static void set_lists(docx *d, unsigned depth) {
    while (d->m.lists < depth)
        markup_list(&d->m, false, +1);
    while (d->m.lists > depth)
        markup_list(&d->m, false, -1);
}

/* Text begins: the block that it is in, as what the paragraph is by then. Word has no lists, only paragraphs that look so. */
static void open_paragraph(docx *d) {
    if (d->begun)
        return;
    d->begun = true;
    set_lists(d, d->level ? 0 : d->depth);
    if (d->level)
        markup_heading(&d->m, d->level);
    else if (d->depth)
        markup_item(&d->m);
}

static void paragraph_begin(docx *d) {
    d->level = d->depth = 0;
    d->begun = false;
}

static void paragraph_end(docx *d) {
    if (d->begun && d->level)
        markup_heading(&d->m, 0);
    else
        markup_block(&d->m);
    d->begun = false;
}

static void refer(docx *d, int part, long id) {
    char mark[32];
    if (d->reading != BODY || d->n_notes == NOTES_MAX)
        return;
    if (!(d->n_notes & (d->n_notes - 1))) {
        note *grown = realloc(d->notes, (d->n_notes ? 2 * d->n_notes : 1) * sizeof *grown);
        if (!grown) {
            d->full = true;
            return;
        }
        d->notes = grown;
    }
    d->notes[d->n_notes] = (note){part, id, (unsigned)d->n_notes + 1};
    d->n_notes++;
    open_paragraph(d);
    markup_text(&d->m, mark, (size_t)snprintf(mark, sizeof mark, "[%zu]", d->n_notes));
}

static int compare_notes(const void *a, const void *b) {
    const note *x = a, *y = b;
    return x->part != y->part ? (x->part < y->part ? -1 : 1) : x->id != y->id ? (x->id < y->id ? -1 : 1) : 0;
}

static void property(docx *d, const char *name, const char *const *attrs) {
    const char *value = document_attr(attrs, "val");
    if (!strcmp(name, "pStyle") && value) {
        const style *s = d->n_styles ? bsearch(value, d->styles, d->n_styles, sizeof *s, is_id) : NULL;
        d->level = s ? s->level : 0;
        d->depth = s ? s->depth : 0;
    } else if (!strcmp(name, "outlineLvl") && number_of(value) >= 0 && number_of(value) < 9)
        d->level = (unsigned)number_of(value) + 1;
    else if (!strcmp(name, "ilvl") && number_of(value) >= 0 && number_of(value) < MARKUP_LISTS)
        d->depth = (unsigned)number_of(value) + 1;
    else if (!strcmp(name, "numId"))
        d->depth = number_of(value) > 0 ? d->depth ? d->depth : 1 : 0;
}

static void begin(void *user, const char *name, const char *const *attrs) {
    docx *d = user;
    if (d->skipped || !strcmp(name, "Fallback") || !strcmp(name, "pPrChange")) { /* a second time, and how it was before */
        d->skipped++;
        return;
    }
    if (d->in_properties)
        property(d, name, attrs);
    else if (!strcmp(name, "t"))
        d->in_text++;
    else if (!strcmp(name, "p"))
        paragraph_begin(d);
    else if (!strcmp(name, "pPr"))
        d->in_properties = true;
    else if (!strcmp(name, "br") || !strcmp(name, "cr"))
        markup_line(&d->m);
    else if (!strcmp(name, "tab"))
        markup_text(&d->m, " ", 1);
    else if (!strcmp(name, "noBreakHyphen"))
        markup_text(&d->m, "-", 1);
    else if (!strcmp(name, "tbl")) {
        set_lists(d, 0);
        markup_table_begin(&d->m);
    } else if (!strcmp(name, "tr"))
        markup_row(&d->m);
    else if (!strcmp(name, "tc"))
        markup_cell(&d->m);
    else if (!strcmp(name, "footnoteReference"))
        refer(d, FOOTNOTES, number_of(document_attr(attrs, "id")));
    else if (!strcmp(name, "endnoteReference"))
        refer(d, ENDNOTES, number_of(document_attr(attrs, "id")));
    else if (d->reading != BODY && (!strcmp(name, "footnote") || !strcmp(name, "endnote"))) {
        const note key = {d->reading, number_of(document_attr(attrs, "id")), 0};
        const note *n = d->n_notes ? bsearch(&key, d->notes, d->n_notes, sizeof key, compare_notes) : NULL;
        char mark[32];
        set_lists(d, 0);
        markup_block(&d->m);
        if (n)
            markup_text(&d->m, mark, (size_t)snprintf(mark, sizeof mark, "[%u] ", n->number));
        else
            d->skipped = 1; /* separators, and what nothing refers to */
    }
}

static void end(void *user, const char *name) {
    docx *d = user;
    if (d->skipped)
        d->skipped--;
    else if (!strcmp(name, "pPr"))
        d->in_properties = false;
    else if (d->in_properties)
        return;
    else if (!strcmp(name, "t") && d->in_text)
        d->in_text--;
    else if (!strcmp(name, "p"))
        paragraph_end(d);
    else if (!strcmp(name, "tbl"))
        markup_table_end(&d->m);
}

static void text(void *user, const char *s, size_t n) {
    docx *d = user;
    if (!d->in_text || d->skipped)
        return;
    open_paragraph(d);
    markup_text(&d->m, s, n);
}

/* ---- title ---- */

static void core_begin(void *user, const char *name, const char *const *attrs) {
    docx *d = user;
    (void)attrs;
    d->in_text += !strcmp(name, "title");
}

static void core_end(void *user, const char *name) {
    docx *d = user;
    d->in_text -= !strcmp(name, "title") && d->in_text;
}

static void core_text(void *user, const char *s, size_t n) {
    docx *d = user;
    if (d->in_text)
        document_add(&d->title, s, n);
}

/* ---- all of it ---- */

static kv_status read_part(docx *d, int part, const document_xml *x, kv_err *err) {
    const document_part *p = &d->part[part];
    d->reading = part;
    d->in_text = d->skipped = 0;
    d->in_properties = false;
    if (!p->bytes)
        return KV_OK;
    kv_status st = document_xml_read(d->in, p->name, p->bytes, p->size, x, err);
    return !st && d->full ? kv_fail(err, KV_ENOMEM, "%s: out of memory for %s", d->in->where, p->name) : st;
}

static kv_status read_parts(docx *d, kv_err *err) {
    const document_xml styles = {style_begin, nothing, NULL, d, NULL}, core = {core_begin, core_end, core_text, d, NULL},
                       body = {begin, end, text, d, &d->out};
    kv_status st = read_part(d, CORE, &core, err);
    if (st || (st = read_part(d, STYLES, &styles, err)))
        return st;
    if (d->n_styles)
        qsort(d->styles, d->n_styles, sizeof *d->styles, by_id);
    if ((st = read_part(d, BODY, &body, err)))
        return st;
    set_lists(d, 0);
    if (d->n_notes)
        qsort(d->notes, d->n_notes, sizeof *d->notes, compare_notes);
    markup_block(&d->m);
    if ((st = read_part(d, FOOTNOTES, &body, err)))
        return st;
    return read_part(d, ENDNOTES, &body, err);
}

kv_status document_docx_parse(document_input *in, document *out, kv_err *err) {
    docx d = {.in = in,
              .part = {{.name = "word/document.xml"},
                       {.name = "word/styles.xml"},
                       {.name = "word/footnotes.xml"},
                       {.name = "word/endnotes.xml"},
                       {.name = "docProps/core.xml"}},
              .out = {.max = in->max},
              .title = {.max = DOCUMENT_TITLE}};
    size_t left = in->max;
    d.m.out = &d.out;
    kv_status st = document_unzip(in, d.part, PARTS, &left, err);
    if (!st && !d.part[BODY].bytes)
        st = kv_fail(err, KV_EFORMAT, "%s: is no docx file: there is no word/document.xml in it", in->where);
    if (!st && !(st = read_parts(&d, err)))
        st = document_title(&d.title, in->where, &out->title, err);
    if (!st)
        st = document_out_take(&d.out, in->where, &out->text, &out->len, err);
    document_parts_free(d.part, PARTS);
    document_out_free(&d.out);
    document_out_free(&d.title);
    free(d.styles);
    free(d.notes);
    return st;
}
