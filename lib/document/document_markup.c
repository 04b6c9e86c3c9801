/* From the elements of a page to lines of plain text. What is wanted before the next text (line ends, blanks, the mark of an
 * item, the ends of empty cells) is only noted, and written when there is text: so nothing is written twice, and nothing in
 * vain. */
#include "document/document_internal.h"

#include <stdio.h>
#include <string.h>

enum { CELL_LINE = 400 }; /* bytes of a cell that is still a line of a table, if it has several paragraphs */

/* The table whose row is being written; NULL: none, or one whose cells are blocks. */
static markup_table *row_table(markup *m) {
    markup_table *t = m->tables && m->tables <= MARKUP_TABLES ? &m->table[m->tables - 1] : NULL;
    return t && !t->loose && t->cells ? t : NULL;
}

static void spaces(markup *m, unsigned n) {
    while (n--)
        document_add(m->out, " ", 1);
}

/* As many line ends as are wanted and not there yet. */
static void end_lines(markup *m) {
    const document_out *o = m->out;
    unsigned there = 0;
    while (there < o->len && there < m->breaks && o->s[o->len - 1 - there] == '\n')
        there++;
    for (; o->len && there < m->breaks; there++)
        document_add(m->out, "\n", 1);
    m->breaks = 0;
    m->line = m->space = false;
}

static void begin_line(markup *m) {
    const unsigned depth = m->lists < MARKUP_LISTS ? m->lists : MARKUP_LISTS;
    if (depth && !m->pre)
        spaces(m, 2 * (depth - (*m->mark != '\0')));
    document_add(m->out, m->mark, strlen(m->mark));
    *m->mark = '\0';
    m->line = true;
}

/* Everything that is owed before text. */
static void pay(markup *m) {
    markup_table *t = row_table(m);
    if (t && !t->row && !m->breaks)
        m->breaks = 1;
    if (m->breaks)
        end_lines(m);
    const bool begins = !m->line, owes = t && t->owed;
    if (begins)
        begin_line(m);
    if (owes) {
        for (unsigned n = t->owed; n; n--)
            document_add(m->out, begins && n == t->owed ? "|" : " |", begins && n == t->owed ? 1 : 2);
        document_add(m->out, " ", 1);
        t->owed = 0;
    }
    if (!begins && !owes && m->space)
        document_add(m->out, " ", 1);
    if (t)
        t->row = true;
    m->space = false;
}

/* How many bytes of white space, or of marks that nobody sees, s begins with. */
static size_t blank(const char *s, size_t n, bool *seen) {
    if ((unsigned char)*s > ' ' && (unsigned char)*s < 0xc2)
        return 0;
    static const struct {
        const char *s;
        size_t n;
        bool seen;
    } kinds[] = {
        {" ", 1, true},
        {"\n", 1, true},
        {"\t", 1, true},
        {"\r", 1, true},
        {"\f", 1, true},
        {"\xc2\xa0", 2, true},      /* no-break space */
        {"\xc2\xad", 2, false},     /* soft hyphen */
        {"\xe2\x80\x8b", 3, false}, /* zero-width space */
        {"\xef\xbb\xbf", 3, false}, /* byte order mark */
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (n >= kinds[i].n && !memcmp(s, kinds[i].s, kinds[i].n)) {
            *seen = kinds[i].seen;
            return kinds[i].n;
        }
    return 0;
}

void markup_text(markup *m, const char *s, size_t n) {
    bool seen;
    if (m->pre) {
        if (!n)
            return;
        if ((!m->line || m->breaks) && *s == '\n') { /* behind <pre>, none that is meant */
            s++;
            n--;
        }
        pay(m);
        document_add(m->out, s, n);
        return;
    }
    for (size_t i = 0, skip; i < n; i += skip) {
        if ((skip = blank(s + i, n - i, &seen))) {
            m->space = m->space || seen;
            continue;
        }
        size_t end = i;
        while (end < n && !blank(s + end, n - end, &seen))
            end++;
        pay(m);
        document_add(m->out, s + i, end - i);
        skip = end - i;
    }
}

static void want(markup *m, unsigned breaks) {
    markup_table *t = row_table(m);
    if (t && m->out->len > t->begin + CELL_LINE)
        t->loose = true;
    if (t && !t->loose)
        m->space = true;
    else if (breaks > m->breaks)
        m->breaks = breaks;
}

void markup_line(markup *m) {
    want(m, 1);
}

void markup_block(markup *m) {
    want(m, m->lists ? 1 : 2);
}

/* What does not fit on the line of a row: the cells are a layout, and no table's. */
static void loosen(markup *m) {
    markup_table *t = row_table(m);
    if (t)
        t->loose = true;
}

void markup_heading(markup *m, unsigned level) {
    if (level)
        loosen(m);
    markup_block(m);
    if (level)
        snprintf(m->mark, sizeof m->mark, "%.*s ", (int)(level < 6 ? level : 6), "######");
    else
        *m->mark = '\0'; /* an empty one leaves none */
}

void markup_list(markup *m, bool numbered, int change) {
    if (change > 0) {
        loosen(m);
        want(m, m->lists ? 1 : 2);
        if (m->lists < MARKUP_LISTS)
            m->number[m->lists] = numbered;
        m->lists++;
    } else if (m->lists) {
        m->lists--;
        *m->mark = '\0';
        want(m, m->lists ? 1 : 2);
    }
}

void markup_item(markup *m) {
    want(m, 1);
    unsigned *number = m->lists && m->lists <= MARKUP_LISTS ? &m->number[m->lists - 1] : NULL;
    if (number && *number)
        snprintf(m->mark, sizeof m->mark, "%u. ", (*number)++);
    else
        strcpy(m->mark, "- ");
}

void markup_pre(markup *m, int change) {
    if (change > 0 || m->pre) {
        loosen(m);
        want(m, 2);
        m->pre += (unsigned)change;
    }
}

void markup_table_begin(markup *m) {
    loosen(m);
    want(m, 2);
    if (m->tables < MARKUP_TABLES)
        m->table[m->tables] = (markup_table){0};
    m->tables++;
}

void markup_row(markup *m) {
    if (!m->tables || m->tables > MARKUP_TABLES) {
        want(m, 1);
        return;
    }
    markup_table *t = &m->table[m->tables - 1];
    t->cells = t->owed = 0;
    t->row = false;
    want(m, t->loose ? 2 : 1);
}

void markup_cell(markup *m) {
    if (!m->tables || m->tables > MARKUP_TABLES) {
        want(m, 1);
        return;
    }
    markup_table *t = &m->table[m->tables - 1];
    if (t->loose)
        want(m, 2);
    else {
        t->owed += t->cells > 0;
        m->space = false;
    }
    t->cells++;
    t->begin = m->out->len;
}

void markup_table_end(markup *m) {
    if (!m->tables)
        return;
    m->tables--;
    want(m, 2);
}

void markup_reset(markup *m) {
    m->lists = m->tables = m->pre = 0;
    *m->mark = '\0';
    want(m, 2);
}

kv_status document_title(document_out *raw, const char *where, char **title, kv_err *err) {
    document_out line = {.max = raw->max + 16};
    markup m = {.out = &line};
    size_t n;
    if (!*title && raw->s)
        markup_text(&m, raw->s, raw->len);
    return line.len  ? document_out_take(&line, where, title, &n, err)
           : line.st ? kv_fail(err, line.st, "%s: out of memory for its title", where)
                     : KV_OK;
}
