/* Books in EPUB (www.w3.org/TR/epub-33): a ZIP archive in which META-INF/container.xml names a package file, which lists all
 * files of the book (manifest) and the order in which to read those that are pages (spine). Pages are XHTML. */
#include "document/document_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PATH = 1024, ITEMS = 1 << 16 };

typedef struct item {
    char *id, *path; /* owned; path: from the root of the archive, or NULL: not in it */
    unsigned place;  /* in the spine; 0: not there */
} item;

typedef struct epub {
    const document_input *in;
    char *package; /* the path of the package file */
    item *items;
    size_t n_items;
    char **spine; /* ids, in order */
    size_t n_spine;
    document_out title;
    bool naming, encrypted;
    kv_status st; /* KV_ENOMEM, KV_ERANGE */
} epub;

static char *copy(epub *e, const char *s) {
    char *own = strdup(s ? s : "");
    if (!own)
        e->st = KV_ENOMEM;
    return own;
}

/* Room for one more in a list that doubles; NULL: there is none. */
static void *grown(epub *e, void *list, size_t n, size_t size) {
    if (n >= ITEMS)
        e->st = KV_ERANGE;
    if (e->st || (n & (n - 1)))
        return e->st ? NULL : list;
    void *more = realloc(list, (n ? 2 * n : 1) * size);
    if (!more)
        e->st = KV_ENOMEM;
    return more;
}

/* ---- paths ---- */

static int hex(char c) {
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* The path that href means in the package file at `base`: escapes undone, "." and ".." followed, what is behind '#' dropped.
 * False: outside of the archive, or too long. */
static bool resolve(const char *base, const char *href, char path[PATH]) {
    char raw[PATH];
    size_t len = 0, out = 0;
    const char *slash = strrchr(base, '/');
    const int written = snprintf(raw, sizeof raw, "%.*s%s", slash && *href != '/' ? (int)(slash + 1 - base) : 0, base, href);
    if (written < 0 || (size_t)written >= sizeof raw)
        return false;
    raw[strcspn(raw, "#?")] = '\0';
    for (const char *s = raw; *s; len++) {
        const bool escape = *s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0 && (hex(s[1]) || hex(s[2]));
        path[len] = escape ? (char)(hex(s[1]) * 16 + hex(s[2])) : *s;
        s += escape ? 3 : 1;
    }
    path[len] = '\0';
    for (size_t at = 0, n; at <= len; at += n + 1) {
        n = strcspn(path + at, "/");
        if (!n || (n == 1 && path[at] == '.'))
            continue;
        if (n == 2 && !memcmp(path + at, "..", 2)) {
            if (!out)
                return false;
            for (out--; out && path[out - 1] != '/'; out--)
                ;
            continue;
        }
        memmove(path + out, path + at, n);
        out += n;
        path[out++] = '/';
    }
    if (!out)
        return false;
    path[out - 1] = '\0';
    return true;
}

/* ---- the files that say what is where ---- */

static void container_begin(void *user, const char *name, const char *const *attrs) {
    epub *e = user;
    const char *path = document_attr(attrs, "full-path");
    if (!strcmp(name, "rootfile") && path && !e->package)
        e->package = copy(e, path);
}

static void nothing(void *user, const char *name) {
    (void)user, (void)name;
}

/* Fonts may be scrambled; pages that are, nobody without a key can read. */
static void encryption_begin(void *user, const char *name, const char *const *attrs) {
    epub *e = user;
    const char *uri = document_attr(attrs, "URI"), *dot = uri ? strrchr(uri, '.') : NULL;
    if (!strcmp(name, "CipherReference") && dot && strcasestr(dot, "htm"))
        e->encrypted = true;
}

static void add_item(epub *e, const char *id, const char *href) {
    char path[PATH];
    item *list = grown(e, e->items, e->n_items, sizeof *list);
    if (!list)
        return;
    e->items = list;
    list[e->n_items++] = (item){.id = copy(e, id), .path = href && resolve(e->package, href, path) ? copy(e, path) : NULL};
}

static void add_to_spine(epub *e, const char *id) {
    char **list = grown(e, e->spine, e->n_spine, sizeof *list);
    if (!list)
        return;
    e->spine = list;
    list[e->n_spine++] = copy(e, id);
}

static void package_begin(void *user, const char *name, const char *const *attrs) {
    epub *e = user;
    if (!strcmp(name, "item"))
        add_item(e, document_attr(attrs, "id"), document_attr(attrs, "href"));
    else if (!strcmp(name, "itemref"))
        add_to_spine(e, document_attr(attrs, "idref"));
    else if (!strcmp(name, "title"))
        e->naming = !e->title.len;
}

static void package_end(void *user, const char *name) {
    epub *e = user;
    if (!strcmp(name, "title"))
        e->naming = false;
}

static void package_text(void *user, const char *s, size_t n) {
    epub *e = user;
    if (e->naming)
        document_add(&e->title, s, n);
}

static kv_status read_xml(epub *e, const document_part *p, const document_xml *x, kv_err *err) {
    kv_status st = document_xml_read(e->in, p->name, p->bytes, p->size, x, err);
    if (st || !e->st)
        return st;
    return e->st == KV_ERANGE ? kv_fail(err, e->st, "%s: %s lists more than %d files", e->in->where, p->name, ITEMS)
                              : kv_fail(err, e->st, "%s: out of memory for %s", e->in->where, p->name);
}

static kv_status read_package(epub *e, size_t *left, kv_err *err) {
    const document_xml container = {container_begin, nothing, NULL, e, NULL},
                       encryption = {encryption_begin, nothing, NULL, e, NULL},
                       package = {package_begin, package_end, package_text, e, NULL};
    document_part first[] = {{.name = "META-INF/container.xml"}, {.name = "META-INF/encryption.xml"}}, p = {0};
    kv_status st = document_unzip(e->in, first, 2, left, err);
    if (st)
        goto done;
    if (!first[0].bytes)
        st = kv_fail(err, KV_EFORMAT, "%s: is no EPUB file: there is no %s in it", e->in->where, first[0].name);
    else if (!(st = read_xml(e, &first[0], &container, err)) && !e->package)
        st = kv_fail(err, KV_EFORMAT, "%s: %s names no package file", e->in->where, first[0].name);
    if (!st && first[1].bytes)
        st = read_xml(e, &first[1], &encryption, err);
    if (!st && e->encrypted)
        st = kv_fail(err, KV_EUNSUPP, "%s: its pages are encrypted (DRM), and cannot be read", e->in->where);
    if (st)
        goto done;
    p.name = e->package;
    if ((st = document_unzip(e->in, &p, 1, left, err)))
        goto done;
    if (!p.bytes)
        st = kv_fail(err, KV_EFORMAT, "%s: there is no %s in it, which should list its pages", e->in->where, e->package);
    else
        st = read_xml(e, &p, &package, err);
done:
    document_parts_free(first, 2);
    document_parts_free(&p, 1);
    return st;
}

/* ---- pages ---- */

static int by_id(const void *a, const void *b) {
    return strcmp(((const item *)a)->id, ((const item *)b)->id);
}

static int by_path(const void *a, const void *b) {
    const item *x = a, *y = b;
    return x->path && y->path ? strcmp(x->path, y->path) : (x->path != NULL) - (y->path != NULL);
}

static int is_id(const void *id, const void *i) {
    return strcmp(id, ((const item *)i)->id);
}

static int by_place(const void *a, const void *b) {
    const unsigned x = ((const item *)a)->place, y = ((const item *)b)->place;
    return x < y ? -1 : x > y;
}

/* Of two that are the same file, the later one counts as not there; the other goes on being compared. */
static void drop_later(item *a, item *b) {
    b->place = a->place < b->place ? a->place : b->place;
    a->place = 0;
}

/* The items of the spine to the front, in its order, each file once: *n of them. */
static kv_status order_pages(epub *e, size_t *n, kv_err *err) {
    *n = 0;
    if (e->n_items)
        qsort(e->items, e->n_items, sizeof *e->items, by_id);
    for (size_t i = 0; i < e->n_spine; i++) {
        item *found = e->n_items ? bsearch(e->spine[i], e->items, e->n_items, sizeof *found, is_id) : NULL;
        if (!found || !found->path)
            return kv_fail(err, KV_EFORMAT, "%s: %s lists a page '%s' that is no file of the book", e->in->where, e->package,
                           e->spine[i]);
        if (!found->place)
            found->place = (unsigned)i + 1;
    }
    if (e->n_items)
        qsort(e->items, e->n_items, sizeof *e->items, by_path);
    for (size_t i = 1; i < e->n_items; i++)
        if (e->items[i].place && e->items[i - 1].place && !strcmp(e->items[i].path, e->items[i - 1].path))
            drop_later(&e->items[i - 1], &e->items[i]);
    for (size_t i = 0; i < e->n_items; i++)
        if (!e->items[i].place)
            e->items[i].place = ITEMS + 1;
        else
            ++*n;
    if (e->n_items)
        qsort(e->items, e->n_items, sizeof *e->items, by_place);
    return *n ? KV_OK : kv_fail(err, KV_EFORMAT, "%s: %s lists no pages", e->in->where, e->package);
}

/* Takes the bytes of p. */
static kv_status read_page(const document_input *book, document_part *p, double from, double to, markup *m, kv_err *err) {
    char where[PATH + 300], *ignored = NULL; /* titles of pages are not those of books */
    kv_progress_part part = {book->progress, book->user, from, to};
    document_input page = {
        .where = where, .bytes = p->bytes, .size = p->size, .max = book->max, .progress = kv_progress_of_part, .user = &part};
    p->bytes = NULL;
    snprintf(where, sizeof where, "%.256s, %s", book->where, p->name);
    kv_status st = document_to_utf8(&page, err);
    if (!st)
        st = document_html_append(&page, page.bytes, page.size, m, &ignored, err);
    markup_reset(m);
    free(ignored);
    free(page.bytes);
    return st;
}

static kv_status read_pages(epub *e, size_t *left, document_out *out, kv_err *err) {
    size_t n;
    markup m = {.out = out};
    kv_status st = order_pages(e, &n, err);
    if (st)
        return st;
    document_part *pages = calloc(n, sizeof *pages);
    if (!pages)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for its pages", e->in->where);
    for (size_t i = 0; i < n; i++)
        pages[i].name = e->items[i].path;
    st = document_unzip(e->in, pages, n, left, err);
    for (size_t i = 0; i < n && !st; i++)
        st = pages[i].bytes ? read_page(e->in, &pages[i], (double)i / (double)n, (double)(i + 1) / (double)n, &m, err)
                            : kv_fail(err, KV_EFORMAT, "%s: there is no %s in it, a page that %s lists", e->in->where,
                                      pages[i].name, e->package);
    document_parts_free(pages, n);
    free(pages);
    return st;
}

kv_status document_epub_parse(document_input *in, document *out, kv_err *err) {
    epub e = {.in = in, .title = {.max = DOCUMENT_TITLE}};
    document_out text = {.max = in->max};
    size_t left = in->max;
    kv_status st = read_package(&e, &left, err);
    if (!st && !(st = read_pages(&e, &left, &text, err)))
        st = document_title(&e.title, in->where, &out->title, err);
    if (!st)
        st = document_out_take(&text, in->where, &out->text, &out->len, err);
    for (size_t i = 0; i < e.n_items; i++) {
        free(e.items[i].id);
        free(e.items[i].path);
    }
    for (size_t i = 0; i < e.n_spine; i++)
        free(e.spine[i]);
    free(e.items);
    free(e.spine);
    free(e.package);
    document_out_free(&e.title);
    document_out_free(&text);
    return st;
}
