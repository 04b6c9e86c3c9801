/* Documents as text: every kind, and files that want to do harm. */
#include "document/document_internal.h"
#include "zip_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define BYTES(s) s, sizeof s - 1

static void write_file(const char *name, const void *bytes, size_t n) {
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* A folder for the files that the tests make. */
static char dir[4096], path_before[4096];

static void reads(const char *name, const char *as, const char *title, const char *text) {
    document d;
    kv_err err = {0};
    if (document_read(name, as, NULL, NULL, &d, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(d.text, text);
    assert_int_equal(d.len, strlen(text));
    assert_string_equal(d.title, title);
    document_free(&d);
    assert_null(d.text);
}

static void refuses(const char *name, const char *as, kv_status code, const char *message) {
    document d;
    kv_err err = {0};
    if (!document_read(name, as, NULL, NULL, &d, &err))
        fail_msg("%s was read: %s", name, d.text);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, code);
    assert_null(d.text);
    assert_null(d.title);
}

static bool never(void *user, double done) {
    *(double *)user = done;
    return false;
}

/* Goes on a few times. */
static bool not_for_long(void *user, double done) {
    (void)done;
    return --*(int *)user > 0;
}

/* ---- text ---- */

static void document_text_is_taken_as_it_is(void **state) {
    (void)state;
    static const char words[] = "# Title\n\n  two  blanks, \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\tand a tab\n";
    const char *const names[] = {"a.txt", "a.md", "a.csv", "a.json", "a.c", "a"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_file(names[i], BYTES(words));
        reads(names[i], NULL, names[i], words);
    }
    reads("./a.txt", "text", "a.txt", words);
    write_file("empty.txt", "", 0);
    reads("empty.txt", NULL, "empty.txt", "");
    write_file("mark.txt", BYTES("\xef\xbb\xbfone\r\ntwo\r\n"));
    reads("mark.txt", NULL, "mark.txt", "one\ntwo\n");
}

static void document_text_must_be_utf8(void **state) {
    (void)state;
    write_file("latin.txt", BYTES("one\ncaf\xe9\n"));
    refuses("latin.txt", NULL, KV_EFORMAT,
            "latin.txt: byte 0xE9 at offset 7, in line 2, is not UTF-8, which a text must be (iconv -f ISO-8859-1 -t UTF-8 "
            "converts what is Latin-1)");
    write_file("cut.txt", BYTES("\xef\xbb\xbfone \xe2\x82"));
    refuses("cut.txt", NULL, KV_EFORMAT,
            "cut.txt: byte 0xE2 at offset 7, in line 1, is not UTF-8, which a text must be (iconv -f ISO-8859-1 -t UTF-8 "
            "converts what is Latin-1)");
    write_file("wide.txt", BYTES("\xff\xfeo\0n\0e\0"));
    refuses("wide.txt", NULL, KV_EFORMAT,
            "wide.txt: is UTF-16, and a text must be UTF-8 (iconv -f UTF-16 -t UTF-8 converts it)");
    write_file("binary.txt", BYTES("\x7f"
                                   "ELF\x02\x01\x01\0\xff"));
    refuses("binary.txt", NULL, KV_EFORMAT, "binary.txt: a NUL byte at offset 7; a text holds none");
}

/* ---- HTML ---- */

/* A build without the libraries reads texts and PDF alone, and says so. */
static void needs(const char *kind) {
    document d;
    kv_err err = {0};
    write_file("probe", BYTES("<p>x"));
    if (document_read("probe", kind, NULL, NULL, &d, &err) == KV_EUNSUPP) {
        assert_non_null(strstr(err.msg, "are not read by this build, which was made without libxml2-dev"));
        skip();
    }
    document_free(&d);
}

static void page_reads(const char *html, const char *text) {
    write_file("page.html", html, strlen(html));
    reads("page.html", NULL, "page.html", text);
}

static void document_html_keeps_what_a_page_says(void **state) {
    (void)state;
    needs("html");
    page_reads("<h1>Head <em>line</em></h1><p>first\n  paragraph<p>second<br>line<div>a<div>b</div></div>",
               "# Head line\n\nfirst paragraph\n\nsecond\nline\n\na\n\nb");
    page_reads("caf&eacute; &#8364; &lt;b&gt; a&nbsp;b soft&shy;hyphen &unknown;",
               "caf\xc3\xa9 \xe2\x82\xac <b> a b softhyphen &unknown;");
    page_reads("<p>a<ul><li>one<li>two<ul><li>in<p>it</ul><li></ul>b<ol><li>x<li>y</ol>",
               "a\n\n- one\n- two\n  - in\n    it\n\nb\n\n1. x\n2. y");
    page_reads("<pre>\n  a\n\n    b\n</pre>c", "  a\n\n    b\n\nc");
    page_reads("a<script>x<p>y</script><style>z</style><nav>n<p>m</nav><p "
               "hidden>h</p><svg><title>t</title></svg><noscript>s</noscript>"
               "<template>u</template><!-- v -->b",
               "a\n\nb");
    page_reads("<h6>a</h6><h2></h2><hr>b", "###### a\n\nb");
    page_reads("", "");
    page_reads("plain < text & more", "plain < text & more");
}

static void document_html_writes_tables_as_rows(void **state) {
    (void)state;
    needs("html");
    page_reads("x<table><caption>c</caption><tr><th>A<th>B<th>C<tr><td>1<td><td>3<tr><td><td><p>x<p>y<td> </table>z",
               "x\n\nc\n\nA | B | C\n1 | | 3\n| x y\n\nz");
    /* cells that hold more than a line are a layout */
    page_reads("<table><tr><td>a<td><h2>b</h2><p>c<p>d<td>e</table>", "a\n\n## b\n\nc\n\nd\n\ne");
    page_reads("<table><tr><td><table><tr><td>a<td>b</table><td>c</table>", "a | b\n\nc");
}

static void document_html_has_a_title(void **state) {
    (void)state;
    needs("html");
    write_file("a.html",
               BYTES("<html><head><title> The\n title &amp; more </title><title>no</title></head><body><p>x</body></html>"));
    reads("a.html", NULL, "The title & more", "x");
    write_file("b.htm", BYTES("<title> </title><p>x"));
    reads("b.htm", NULL, "b.htm", "x");
}

static void document_html_is_read_in_its_encoding(void **state) {
    (void)state;
    needs("html");
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } cases[] = {
        {BYTES("<p>caf\xc3\xa9"), "caf\xc3\xa9"}, /* UTF-8, whether the page says so or not */
        {BYTES("<meta charset=\"iso-8859-1\"><p>caf\xc3\xa9"), "caf\xc3\xa9"},
        {BYTES("<p>caf\xe9 \x93x\x94"), "caf\xc3\xa9 \xe2\x80\x9cx\xe2\x80\x9d"},
        {BYTES("<meta http-equiv=Content-Type content='text/html; charset = ISO-8859-1'><p>caf\xe9"), "caf\xc3\xa9"},
        {BYTES("<meta charset=windows-1251><p>\xec\xe8\xf0"), "\xd0\xbc\xd0\xb8\xd1\x80"},
        {BYTES("<meta charset=Shift_JIS><p>\x93\xfa\x96\x7b"), "\xe6\x97\xa5\xe6\x9c\xac"},
        {BYTES("\xff\xfe<\0p\0>\0\xe9\0"), "\xc3\xa9"},
        {BYTES("\0<\0p\0>\0\xe9"), "\xc3\xa9"},
        {BYTES("\xef\xbb\xbf<p>a\r\nb"), "a b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file("page.html", cases[i].bytes, cases[i].n);
        reads("page.html", NULL, "page.html", cases[i].text);
    }
    write_file("page.html", BYTES("<meta charset=ebcdic-us><p>\xe9"));
    refuses("page.html", NULL, KV_EUNSUPP, "page.html: is declared to be in ebcdic-us, which is not read; convert it to UTF-8");
    write_file("page.html", BYTES("<meta charset=euc-jp><p>\xff"));
    refuses("page.html", NULL, KV_EFORMAT, "page.html: byte 0xFF at offset 24 is not EUC-JP, which the page is in");
    write_file("page.html", BYTES("<p>a\0b"));
    refuses("page.html", NULL, KV_EFORMAT, "page.html: a NUL byte at offset 4; a text holds none");
}

static void document_html_of_any_depth_ends(void **state) {
    (void)state;
    needs("html");
    enum { DEEP = 100000 };
    char *html = malloc(5 * DEEP + 1);
    assert_non_null(html);
    for (size_t i = 0; i < DEEP; i++)
        memcpy(html + 5 * i, "<div>", 5);
    write_file("deep.html", html, (size_t)5 * DEEP);
    refuses("deep.html", NULL, KV_EFORMAT, "deep.html: line 1: more than 512 elements within each other");
    write_file("deep.html", html, 500 * 5);
    reads("deep.html", NULL, "deep.html", "");
    free(html);
    char nested[8192] = ""; /* tables and lists beyond the depth that is kept apart lose no text */
    for (size_t i = 0; i < 100; i++)
        strcat(nested, "<ul><li><table><tr><td>x");
    write_file("deep.html", nested, strlen(nested));
    document d;
    assert_int_equal(document_read("deep.html", NULL, NULL, NULL, &d, NULL), KV_OK);
    size_t found = 0;
    for (const char *c = d.text; *c; c++)
        found += *c == 'x';
    assert_int_equal(found, 100);
    document_free(&d);
}

/* ---- docx and EPUB ---- */

static void document_docx_keeps_what_word_wrote(void **state) {
    (void)state;
    needs("docx");
    reads(KV_TEST_DATA "/../documents/sample.docx", NULL, "Ferry handbook",
          "# The ferry\n\n# Timetable\n\nIt leaves at nine[1], caf\xc3\xa9 & all daily\nbut Sundays[2]\n\n- pears\n  - green "
          "ones\n- "
          "letters\n- stamps\n  - rare ones\n\n## Prices\n\nfrom | to | price\nnorth | | 7\n\nin a box\n\nThe end.\n\n[1] By "
          "the clock of the "
          "pier.\n\n[2] "
          "Nor on holidays.");
}

static void document_epub_is_read_in_its_order(void **state) {
    (void)state;
    needs("epub");
    reads(KV_TEST_DATA "/../documents/sample.epub", NULL, "The pears",
          "# One\n\nThe first, with an anchor.\n\n- item\n\n# Two\n\nThe second.");
}

static void zip_refuses(const char *name, const zip_part *parts, size_t n, kv_status code, const char *message) {
    size_t len;
    char *zip = zip_make(parts, n, &len);
    assert_non_null(zip);
    write_file(name, zip, len);
    free(zip);
    refuses(name, NULL, code, message);
}

#define PARTS(...) (const zip_part[]){__VA_ARGS__}, sizeof((const zip_part[]){__VA_ARGS__}) / sizeof(zip_part)
#define CONTAINER                                                                                                              \
    { "META-INF/container.xml", BYTES("<c><rootfile full-path='a/b.opf'/></c>") }

static void document_archive_says_what_is_wrong(void **state) {
    (void)state;
    needs("docx");
    zip_refuses("a.docx", PARTS({"x", BYTES("y")}), KV_EFORMAT, "a.docx: is no docx file: there is no word/document.xml in it");
    zip_refuses("a.docx", PARTS({"word/document.xml", BYTES("<a>\n<b></a>")}), KV_EFORMAT,
                "a.docx: word/document.xml, line 2: Opening and ending tag mismatch: b line 2 and a");
    zip_refuses("a.docx", PARTS({"word/document.xml", BYTES("")}), KV_EFORMAT, "a.docx: word/document.xml is empty");
    zip_refuses("a.epub", PARTS({"x", BYTES("y")}), KV_EFORMAT,
                "a.epub: is no EPUB file: there is no META-INF/container.xml in it");
    zip_refuses("a.epub", PARTS({"META-INF/container.xml", BYTES("<c/>")}), KV_EFORMAT,
                "a.epub: META-INF/container.xml names no package file");
    zip_refuses("a.epub", PARTS(CONTAINER), KV_EFORMAT, "a.epub: there is no a/b.opf in it, which should list its pages");
    zip_refuses("a.epub", PARTS(CONTAINER, {"a/b.opf", BYTES("<p/>")}), KV_EFORMAT, "a.epub: a/b.opf lists no pages");
    zip_refuses("a.epub", PARTS(CONTAINER, {"a/b.opf", BYTES("<p><item id='i' href='1.xhtml'/><itemref idref='i'/></p>")}),
                KV_EFORMAT, "a.epub: there is no a/1.xhtml in it, a page that a/b.opf lists");
    zip_refuses("a.epub", PARTS(CONTAINER, {"META-INF/encryption.xml", BYTES("<e><CipherReference URI='a/1.xhtml'/></e>")}),
                KV_EUNSUPP, "a.epub: its pages are encrypted (DRM), and cannot be read");
    zip_refuses(
        "a.zip", PARTS({"content.xml", BYTES("y")}), KV_EUNSUPP,
        "a.zip: is a ZIP archive with neither a docx file nor an EPUB book in it (spreadsheets, slides and OpenDocument are "
        "not read; save them as PDF)");
    write_file("a.docx", BYTES("not an archive"));
    refuses("a.docx", NULL, KV_EFORMAT, "a.docx: the ZIP archive is broken or cut off: Not a zip archive");
}

/* The first `len` bytes of a file, with byte `at` changed. */
static char *spoiled(const char *name, size_t at, size_t *len) {
    FILE *f = fopen(name, "rb");
    char *bytes = calloc(1, 1 << 16);
    assert_non_null(f);
    assert_non_null(bytes);
    *len = fread(bytes, 1, (1 << 16) - 1, f);
    fclose(f);
    bytes[at % *len] ^= 0x55;
    return bytes;
}

/* Cut off and changed anywhere: an error that names the file, or a text. */
static void document_archive_may_be_broken_anywhere(void **state) {
    (void)state;
    needs("docx");
    static const char *const names[] = {"sample.docx", "sample.epub"};
    unsigned refused = 0, all = 0;
    for (size_t i = 0; i < 2; i++)
        for (size_t at = 0, len = 1; at < len; at += 13) {
            char path[4096];
            snprintf(path, sizeof path, KV_TEST_DATA "/../documents/%s", names[i]);
            for (int cut = 0; cut < 2; cut++) {
                document d;
                kv_err err = {0};
                char *bytes = spoiled(path, cut ? 0 : at, &len);
                bytes[0] = 'P';
                if (cut)
                    bytes[at] = '\0';
                document_input in = {.where = names[i], .bytes = bytes, .size = cut ? at : len, .max = DOCUMENT_MAX};
                kv_status st = document_parse(&in, names[i], NULL, &d, &err);
                all++;
                refused += st != KV_OK;
                if (st)
                    assert_non_null(strstr(err.msg, names[i]));
                if (cut && at > 5)
                    assert_int_not_equal(st, KV_OK);
                document_free(&d);
            }
        }
    assert_true(refused > all / 2);
}

static void document_archive_is_unpacked_up_to_a_limit(void **state) {
    (void)state;
    needs("docx");
    size_t len;
    document d;
    kv_err err = {0};
    char *bytes = spoiled(KV_TEST_DATA "/../documents/bomb.docx", 0, &len); /* 4 KB that unpack to 4 MB */
    bytes[0] = 'P';
    document_input in = {.where = "bomb.docx", .bytes = bytes, .size = len, .max = 1 << 20};
    assert_int_equal(document_parse(&in, "bomb.docx", NULL, &d, &err), KV_ERANGE);
    assert_string_equal(err.msg, "bomb.docx: more than 1048576 bytes are packed in it");
    reads(KV_TEST_DATA "/../documents/bomb.docx", NULL, "bomb.docx", "");
}

/* Whether their names are alike to whoever hashes them (c * 33 is the same for "Ab" and "BA"), or there are too many. */
static void document_archive_holds_so_many_files(void **state) {
    (void)state;
    needs("docx");
    enum { MOST = 1 << 13, NAME = 32 };
    zip_part *parts = calloc(MOST + 1, sizeof *parts);
    char(*names)[NAME] = calloc(MOST + 1, sizeof *names), *zip;
    size_t n;
    assert_non_null(parts);
    assert_non_null(names);
    for (int i = 0; i <= MOST; i++) {
        for (int bit = 0; bit < 15; bit++)
            memcpy(names[i] + 2 * bit, i >> bit & 1 ? "Ab" : "BA", 2);
        parts[i] = (zip_part){names[i], "", 0};
    }
    parts[MOST - 1] = (zip_part){"word/document.xml", BYTES("<d><p><t>x</t></p></d>")};
    zip_refuses("many.docx", parts, MOST + 1, KV_ERANGE, "many.docx: more than 8192 files in the archive");
    zip = zip_make(parts, MOST, &n);
    write_file("many.docx", zip, n);
    reads("many.docx", NULL, "many.docx", "x");
    free(zip);
    free(names);
    free(parts);
    zip_refuses("a.docx", PARTS({"PK\6\7", BYTES("")}), KV_EUNSUPP,
                "a.docx: is a ZIP64 archive, for files of gigabytes; no document is one");
}

static void document_xml_has_no_entities(void **state) {
    (void)state;
    needs("docx");
    static const char laughs[] =
        "<?xml version='1.0'?>\n<!DOCTYPE d [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;'>\n"
        "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d SYSTEM 'file:///etc/passwd'>]>\n"
        "<d><p><t>&c;&d;</t></p></d>";
    zip_refuses("a.docx", PARTS({"word/document.xml", BYTES(laughs)}), KV_EFORMAT,
                "a.docx: word/document.xml, line 2: a document type (<!DOCTYPE), which could declare entities");
    zip_refuses("a.docx", PARTS({"word/document.xml", BYTES("<d><p><t>&c;</t></p></d>")}), KV_EFORMAT,
                "a.docx: word/document.xml, line 1: Entity 'c' not defined");
    zip_refuses("a.docx", PARTS({"word/document.xml", BYTES("<d/>")}, {"docProps/core.xml", BYTES(laughs)}), KV_EFORMAT,
                "a.docx: docProps/core.xml, line 2: a document type (<!DOCTYPE), which could declare entities");
    /* pages of books are HTML, whose document types declare nothing */
    static const char page[] = "<!DOCTYPE html [<!ENTITY c SYSTEM 'file:///etc/passwd'>]><p>x &c; y</p>";
    size_t n;
    char *zip = zip_make(PARTS(CONTAINER, {"a/b.opf", BYTES("<p><item id='i' href='1.xhtml'/><itemref idref='i'/></p>")},
                               {"a/1.xhtml", BYTES(page)}),
                         &n);
    document d;
    document_input in = {.where = "a.epub", .bytes = zip, .size = n, .max = DOCUMENT_MAX};
    assert_int_equal(document_parse(&in, "a.epub", NULL, &d, NULL), KV_OK);
    assert_non_null(strstr(d.text, "x &c; y"));
    assert_null(strstr(d.text, "root:"));
    document_free(&d);
}

static void document_xml_of_any_depth_ends(void **state) {
    (void)state;
    needs("docx");
    enum { DEEP = 100000 };
    char *xml = malloc(3 * DEEP);
    assert_non_null(xml);
    for (size_t i = 0; i < DEEP; i++)
        memcpy(xml + 3 * i, "<p>", 3);
    zip_refuses("a.docx", PARTS({"word/document.xml", xml, (size_t)3 * DEEP}), KV_EFORMAT,
                "a.docx: word/document.xml, line 1: more than 512 elements within each other");
    free(xml);
}

/* Tags that libxml2 would take hours for are found before it sees them, and pages that have such text are no such tags. */
static void document_tags_have_limits(void **state) {
    (void)state;
    needs("docx");
    char many[1 << 14] = "<p ", xml[1 << 15], page[1 << 16];
    for (int i = 0; i < 300; i++)
        sprintf(many + strlen(many), "a%d=1 ", i);
    snprintf(page, sizeof page, "<p a='>' b>x%s>", many);
    write_file("page.html", page, strlen(page));
    refuses("page.html", NULL, KV_EFORMAT, "page.html: a tag with more than 256 attributes, at offset 12");
    snprintf(page, sizeof page, "<!-- %s> --><script>%s></script><p title=\"%s\" alt = 'a b'>x", many, many, many);
    page_reads(page, "x");
    snprintf(page, sizeof page, "<!--><p \" %s>", many);
    write_file("page.html", page, strlen(page));
    refuses("page.html", NULL, KV_EFORMAT, "page.html: a tag with more than 256 attributes, at offset 5");
    const size_t n = (size_t)snprintf(xml, sizeof xml, "<d>%s/></d>", many);
    zip_refuses("a.docx", PARTS({"word/document.xml", xml, n}), KV_EFORMAT,
                "a.docx: word/document.xml: a tag with more than 256 attributes, at offset 3");
    char *spaces = malloc(1 << 16);
    size_t len = 0;
    assert_non_null(spaces);
    for (int i = 0; i < 1100; i++)
        len += (size_t)sprintf(spaces + len, "%s xmlns:n%d='u'%s", i % 10 ? "" : "<d", i, i % 10 == 9 ? ">" : "");
    zip_refuses("a.docx", PARTS({"word/document.xml", spaces, len}), KV_EFORMAT,
                "a.docx: word/document.xml, line 1: more than 1024 namespaces at a time");
    free(spaces);
}

/* What is named outside of the archive is not there, whatever is on the disk, and nothing is written. */
static void document_archive_stays_within_itself(void **state) {
    (void)state;
    needs("epub");
    write_file("secret.xhtml", BYTES("<p>secret"));
    static const char *const hrefs[] = {"../../secret.xhtml", "../../../../../../secret.xhtml", "%2e%2e/%2e%2e/secret.xhtml",
                                        "../%2e%2e/secret.xhtml"};
    for (size_t i = 0; i < sizeof hrefs / sizeof *hrefs; i++) {
        char opf[256];
        const int n = snprintf(opf, sizeof opf, "<p><item id='i' href='%s'/><itemref idref='i'/></p>", hrefs[i]);
        zip_refuses("a.epub", PARTS(CONTAINER, {"a/b.opf", opf, (size_t)n}, {"../../secret.xhtml", BYTES("<p>packed")}),
                    KV_EFORMAT, "a.epub: a/b.opf lists a page 'i' that is no file of the book");
    }
    zip_refuses("a.epub", PARTS({"META-INF/container.xml", BYTES("<c><rootfile full-path='../secret.xhtml'/></c>")}),
                KV_EFORMAT, "a.epub: there is no ../secret.xhtml in it, which should list its pages");
    assert_int_not_equal(access("../../secret.xhtml", F_OK), 0);
}

/* ---- PDF ---- */

/* A folder with a program called pdftotext that does this; the only one on the path. NULL: there is none. */
static void pdftotext_is(const char *script) {
    char path[5000];
    mkdir("bin", 0700);
    unlink("bin/pdftotext");
    if (script) {
        write_file("bin/pdftotext", script, strlen(script));
        assert_int_equal(chmod("bin/pdftotext", 0700), 0);
    }
    snprintf(path, sizeof path, "%s/bin", dir);
    assert_int_equal(setenv("PATH", path, 1), 0);
}

static void document_pdf_is_what_pdftotext_makes_of_it(void **state) {
    (void)state;
    if (system("pdftotext -v >/dev/null 2>&1")) {
        printf("skipped: there is no pdftotext (apt install poppler-utils)\n");
        skip();
    }
    reads(KV_TEST_DATA "/../documents/sample.pdf", NULL, "sample.pdf", "The ferry leaves at nine.\n\nPears come back.\n\n");
    document d;
    kv_err err = {0};
    write_file("broken.pdf", BYTES("%PDF-1.4\nnothing else"));
    assert_int_equal(document_read("broken.pdf", NULL, NULL, NULL, &d, &err), KV_EFORMAT);
    assert_non_null(strstr(err.msg, "broken.pdf: pdftotext says: Syntax "));
    assert_non_null(strstr(err.msg, "(exit code 1)"));
}

static void document_pdf_child_is_held_to_its_work(void **state) {
    (void)state;
    document d;
    kv_err err = {0};
    write_file("-x.pdf", BYTES("%PDF-1.4 the words"));
    pdftotext_is(NULL);
    refuses("-x.pdf", NULL, KV_EUNSUPP,
            "-x.pdf: PDF is read by the program pdftotext, which is not here (apt install poppler-utils)");
    /* the file comes on standard input, and no name is an argument */
    pdftotext_is("#!/bin/sh\nread -r words\necho \"$words\"\necho \"$@\"\n");
    reads("-x.pdf", NULL, "-x.pdf", "%PDF-1.4 the words\n-enc UTF-8 -eol unix -nopgbrk -- - -\n");
    pdftotext_is("#!/bin/sh\necho 'Error: \033[2Jbad' >&2\necho more >&2\nexit 3\n");
    refuses("-x.pdf", NULL, KV_EFORMAT, "-x.pdf: pdftotext says: Error: \\x1b[2Jbad (exit code 3)");
    pdftotext_is("#!/bin/sh\nkill -9 $$\n");
    refuses("-x.pdf", NULL, KV_EFORMAT, "-x.pdf: pdftotext was ended by signal 9 (Killed)");
    pdftotext_is("#!/bin/sh\nprintf ' \\014\\n'\n");
    refuses("-x.pdf", NULL, KV_EUNSUPP,
            "-x.pdf: there is no text in it; where pages are pictures, ocrmypdf adds what they say");
    pdftotext_is("#!/bin/sh\nprintf 'a\\000\\033b\\377c\\n'\n");
    reads("-x.pdf", NULL, "-x.pdf",
          "ab\xef\xbf\xbd"
          "c\n");
    /* more than is wanted, without end */
    pdftotext_is("#!/bin/sh\nwhile :; do echo 'a line and a line and a line and a line'; done\n");
    document_input in = {.where = "flood.pdf", .bytes = strdup("%PDF-"), .size = 5, .max = 1 << 16};
    assert_int_equal(document_parse(&in, "flood.pdf", NULL, &d, &err), KV_ERANGE);
    assert_string_equal(err.msg, "flood.pdf: comes to more than 65536 bytes of text");
    /* nothing, without end */
    int left = 3;
    pdftotext_is("#!/bin/sh\nexec /bin/sleep 600\n");
    assert_int_equal(document_read("-x.pdf", NULL, not_for_long, &left, &d, &err), KV_ECANCEL);
    assert_string_equal(err.msg, "-x.pdf: reading was stopped");
}

static int usual_path(void **state) {
    (void)state;
    return setenv("PATH", path_before, 1);
}

/* ---- any kind ---- */

static void document_says_what_cannot_be_opened(void **state) {
    (void)state;
    refuses("none.txt", NULL, KV_EIO, "none.txt: cannot open: No such file or directory");
    refuses(".", NULL, KV_EIO, ".: cannot read: Is a directory");
    refuses("a.txt", "word", KV_EINVAL, "no kind of document is called 'word'; there are " DOCUMENT_KIND_NAMES);
}

static void document_kind_is_known_by_its_beginning(void **state) {
    (void)state;
    static const struct {
        const char *name, *bytes, *message;
    } cases[] = {
        {"a.doc", "\xd0\xcf\x11\xe0", "a.doc: is a file of an old Office; save it as docx"},
        {"a.txt", "{\\rtf1", "a.txt: is an RTF file; save it as docx"},
        {"m", "GGUF", "m: is a model, and no document"},
        {"a.gz", "\x1f\x8b", "a.gz: is packed by gzip; unpack it (gzip -d)"},
        {"a.html", "\x89PNG", "a.html: is a picture, and no text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(cases[i].name, cases[i].bytes, strlen(cases[i].bytes));
        refuses(cases[i].name, NULL, KV_EUNSUPP, cases[i].message);
    }
    write_file("a.txt", BYTES("{\\rtf1"));
    reads("a.txt", "text", "a.txt", "{\\rtf1");
    write_file("page.c", BYTES("<html><p>x"));
    reads("page.c", NULL, "page.c", "<html><p>x");
    needs("docx");
    write_file("page", BYTES(" <!DOCTYPE HTML><p>x"));
    reads("page", NULL, "page", "x");
    write_file("page", BYTES("<htmlx><p>x"));
    reads("page", NULL, "page", "<htmlx><p>x");
    write_file("PAGE.XHTML", BYTES("<p>x"));
    reads("PAGE.XHTML", NULL, "PAGE.XHTML", "x");
    size_t n;
    char *zip = zip_make(PARTS({"word/document.xml", BYTES("<d><p><t>x</t></p></d>")}), &n);
    write_file("unnamed", zip, n);
    reads("unnamed", NULL, "unnamed", "x");
    refuses("unnamed", "epub", KV_EFORMAT, "unnamed: is no EPUB file: there is no META-INF/container.xml in it");
    free(zip);
}

static void document_read_can_be_stopped(void **state) {
    (void)state;
    document d;
    kv_err err = {0};
    double done = -1;
    write_file("a.txt", BYTES("one\n"));
    assert_int_equal(document_read("a.txt", NULL, never, &done, &d, &err), KV_ECANCEL);
    assert_string_equal(err.msg, "a.txt: reading was stopped");
    assert_true(done >= 0 && done <= 1);
    assert_null(d.text);
}

static int setup(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR"), *path = getenv("PATH");
    snprintf(path_before, sizeof path_before, "%s", path ? path : "/usr/bin:/bin");
    snprintf(dir, sizeof dir, "%s/kv-test-document-XXXXXX", tmp ? tmp : P_tmpdir);
    return !mkdtemp(dir) || chdir(dir);
}

static int teardown(void **state) {
    (void)state;
    char command[5000];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return chdir("/") || system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(document_text_is_taken_as_it_is),
        cmocka_unit_test(document_text_must_be_utf8),
        cmocka_unit_test(document_html_keeps_what_a_page_says),
        cmocka_unit_test(document_html_writes_tables_as_rows),
        cmocka_unit_test(document_html_has_a_title),
        cmocka_unit_test(document_html_is_read_in_its_encoding),
        cmocka_unit_test(document_html_of_any_depth_ends),
        cmocka_unit_test(document_docx_keeps_what_word_wrote),
        cmocka_unit_test(document_epub_is_read_in_its_order),
        cmocka_unit_test(document_archive_says_what_is_wrong),
        cmocka_unit_test(document_archive_may_be_broken_anywhere),
        cmocka_unit_test(document_archive_is_unpacked_up_to_a_limit),
        cmocka_unit_test(document_archive_stays_within_itself),
        cmocka_unit_test(document_archive_holds_so_many_files),
        cmocka_unit_test(document_xml_has_no_entities),
        cmocka_unit_test(document_xml_of_any_depth_ends),
        cmocka_unit_test(document_tags_have_limits),
        cmocka_unit_test(document_pdf_is_what_pdftotext_makes_of_it),
        cmocka_unit_test_teardown(document_pdf_child_is_held_to_its_work, usual_path),
        cmocka_unit_test(document_kind_is_known_by_its_beginning),
        cmocka_unit_test(document_says_what_cannot_be_opened),
        cmocka_unit_test(document_read_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
