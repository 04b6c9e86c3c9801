/* Documents. The first byte says what the others are: 'h' a page of HTML, 'z' a ZIP archive, 'd' and 'e' the files of a docx
 * file and of an EPUB book with NUL bytes between them, which are put into an archive (so that what is changed is what is read,
 * and not its check sum), else anything but PDF, which another program reads.
 */
#include "document/document_internal.h"
#include "fuzz/fuzz.h"
#include "zip_make.h"

enum { MOST = 1 << 20, PARTS = 6 };

static const char container[] = "<c><rootfile full-path='b.opf'/></c>";
static const zip_part docx[PARTS] = {{.name = "word/document.xml"},  {.name = "word/styles.xml"},
                                     {.name = "word/footnotes.xml"}, {.name = "word/endnotes.xml"},
                                     {.name = "docProps/core.xml"},  {.name = "x"}};
static const zip_part epub[PARTS] = {{.name = "b.opf"},
                                     {.name = "1.xhtml"},
                                     {.name = "2.xhtml"},
                                     {.name = "META-INF/encryption.xml"},
                                     {.name = "META-INF/container.xml"}};

static char *pack(const zip_part *names, const uint8_t *data, size_t size, size_t *len) {
    zip_part parts[PARTS];
    size_t n = 0;
    for (const uint8_t *end; n < 5 && (n == 0 || size); n++) {
        end = size ? memchr(data, 0, size) : NULL;
        const size_t part = end ? (size_t)(end - data) : size;
        parts[n] = (zip_part){names[n].name, data, part};
        data += part + (end != NULL);
        size -= part + (end != NULL);
    }
    if (names == epub) {
        n = n < 4 ? n : 4;
        parts[n++] = (zip_part){epub[4].name, container, sizeof container - 1};
    }
    return zip_make(parts, n, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char what = size ? (char)data[0] : 't';
    const char *as = what == 'h' ? "html" : what == 'd' ? "docx" : what == 'e' ? "epub" : what == 'z' ? NULL : "text";
    document_input in = {.where = "input", .max = MOST};
    document d;
    kv_err err = {0};
    data += size > 0;
    size -= size > 0;
    if (what == 'd' || what == 'e')
        in.bytes = pack(what == 'd' ? docx : epub, data, size, &in.size);
    else if ((in.bytes = malloc(size + 1))) {
        memcpy(in.bytes, data, size);
        in.bytes[in.size = size] = '\0';
    }
    FUZZ_MUST(in.bytes);
    if (what == 'z' && in.size >= 5 && !memcmp(in.bytes, "%PDF-", 5))
        in.bytes[0] = '-';
    const kv_status st = document_parse(&in, "input", as, &d, &err);
    fuzz_said(st, &err, "input");
    if (!st) {
        FUZZ_MUST(strlen(d.text) == d.len && d.len <= MOST && document_utf8_end(d.text, d.len) == d.len);
        FUZZ_MUST(*d.title && !strchr(d.title, '\n'));
    }
    document_free(&d);
    return 0;
}
