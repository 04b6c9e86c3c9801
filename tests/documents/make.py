#!/usr/bin/env python3
"""Makes the documents beside it, which tests/test_document.c and tests/documents.sh read. usage: tests/documents/make.py"""
import pathlib
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def write_zip(name, parts):
    """Packed parts, with the same bytes each time."""
    with zipfile.ZipFile(HERE / name, "w") as z:
        for part, text in parts:
            info = zipfile.ZipInfo(part, (2024, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_STORED if part == "mimetype" else zipfile.ZIP_DEFLATED
            z.writestr(info, text)


def p(text, style="", extra=""):
    properties = (f'<w:pStyle w:val="{style}"/>' if style else "") + extra
    run = text if text.startswith("<") else f"<w:r><w:t>{text}</w:t></w:r>"
    return f"<w:p>{f'<w:pPr>{properties}</w:pPr>' if properties else ''}{run}</w:p>"


def item(text, level):
    return p(text, "ListParagraph", f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="1"/></w:numPr>')


def row(*cells):
    return "<w:tr>" + "".join(f"<w:tc><w:tcPr/>{p(c) if c else '<w:p/>'}</w:tc>" for c in cells) + "</w:tr>"


def docx():
    body = [
        p("The ferry", "Titel"), p("Timetable", "berschrift1"),
        p('<w:r><w:t xml:space="preserve">It leaves </w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>at nine</w:t></w:r>'
          '<w:r><w:footnoteReference w:id="2"/></w:r><w:del w:id="9"><w:r><w:delText>at ten</w:delText></w:r></w:del>'
          '<w:r><w:t>, caf&#233; &amp; all</w:t><w:tab/><w:t>daily</w:t><w:br/><w:t>but Sundays</w:t></w:r>'
          '<w:r><w:endnoteReference w:id="3"/></w:r>'),
        item("pears", 0), item("green ones", 1), item("letters", 0),
        p("stamps", "ListBullet"), p("rare ones", "ListBullet2"),
        p("Prices", "berschrift2"),
        "<w:tbl><w:tblPr/>" + row("from", "to", "price") + row("north", "", "7") + "</w:tbl>",
        p('<w:r><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><mc:Choice>'
          "<w:txbxContent>" + p("in a box") + "</w:txbxContent></mc:Choice><mc:Fallback>" + p("in a box") + "</mc:Fallback>"
          "</mc:AlternateContent></w:r>"),
        p("The end."), "<w:sectPr/>",
    ]
    style = '<w:style w:type="paragraph" w:styleId="{}"><w:name w:val="{}"/></w:style>'
    names = [("Titel", "Title"), ("berschrift1", "heading 1"), ("berschrift2", "heading 2"), ("ListParagraph", "List Paragraph"), ("ListBullet2", "List Bullet 2")]
    styles = "".join(style.format(*s) for s in names)
    styles += '<w:style w:styleId="ListBullet"><w:name w:val="List Bullet"/><w:pPr><w:numPr><w:numId w:val="4"/></w:numPr></w:pPr></w:style>'
    note = '<w:{0} w:id="{1}"><w:p><w:r><w:t>{2}</w:t></w:r></w:p></w:{0}>'
    return [
        ("[Content_Types].xml", "<Types/>"),
        ("word/document.xml", f'<?xml version="1.0" encoding="UTF-8"?><w:document {W}><w:body>{"".join(body)}</w:body></w:document>'),
        ("word/styles.xml", f"<w:styles {W}>{styles}</w:styles>"),
        ("word/footnotes.xml", f"<w:footnotes {W}>{note.format('footnote', 0, 'a line')}{note.format('footnote', 2, 'By the clock of the pier.')}</w:footnotes>"),
        ("word/endnotes.xml", f"<w:endnotes {W}>{note.format('endnote', 3, 'Nor on holidays.')}</w:endnotes>"),
        ("docProps/core.xml", '<c:coreProperties xmlns:c="c" xmlns:dc="d"><dc:title>Ferry\n handbook</dc:title></c:coreProperties>'),
    ]


def epub():
    page = '<?xml version="1.0"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{}</body></html>'
    opf = ('<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The pears</dc:title>'
           '<dc:title>second title</dc:title></metadata><manifest><item id="b" href="text/two%20.xhtml" media-type="application/xhtml+xml"/>'
           '<item id="a" href="./text/../text/einsé.xhtml#top"/><item id="n" href="nav.xhtml"/><item id="x" href="gone.xhtml"/></manifest>'
           '<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/><itemref idref="a"/></spine></package>')
    return [
        ("mimetype", "application/epub+zip"),
        ("META-INF/container.xml", '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'),
        ("OEBPS/text/two .xhtml", page.format("<h1>Two</h1><p>The second.</p>")),
        ("OEBPS/text/einsé.xhtml", page.format("<h1>One</h1><p>The first,&#160;with <a id='x'/>an&nbsp;anchor.</p><ul><li>item</li></ul>")),
        ("OEBPS/nav.xhtml", page.format("<nav><ol><li>One</li></ol></nav>")),
        ("OEBPS/book.opf", opf),
    ]


def pdf():
    """Two pages, one line each; its offsets are right."""
    def page(text):
        stream = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET".encode()
        return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream)

    of_page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F1 7 0 R >> >> >>"
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 2 >>", of_page % 5, of_page % 6,
               page("The ferry leaves at nine."), page("Pears come back."), b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    out, offsets = b"%PDF-1.4\n", []
    for i, o in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (i, o)
    table = b"".join(b"%010d 00000 n \n" % o for o in offsets)
    return out + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table, len(objects) + 1, len(out))


write_zip("sample.docx", docx())
write_zip("sample.epub", epub())
write_zip("bomb.docx", [("word/document.xml", f"<w:document {W}>{' ' * (4 << 20)}</w:document>")])
(HERE / "sample.pdf").write_bytes(pdf())
