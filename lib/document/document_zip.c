/* Files in ZIP archives, through libarchive. What an archive says of names and sizes is compared with what was asked for and
 * may be taken; nothing is ever written to a disk. */
#include "document/document_internal.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 1 << 16 };

static kv_status broken(const document_input *in, struct archive *a, const char *part, kv_err *err) {
    const char *why = archive_error_string(a);
    const bool memory = archive_errno(a) == ENOMEM;
    return kv_fail(err, memory ? KV_ENOMEM : KV_EFORMAT, "%s: %s%s%s", in->where,
                   part ? part : "the ZIP archive is broken or cut off", why || part ? ": " : "",
                   why    ? why
                   : part ? "cannot be unpacked"
                          : "");
}

/* The archive, by the table at its end: what lies before that and is not in it is nobody's. */
static kv_status open_archive(const document_input *in, struct archive **out, kv_err *err) {
    struct archive *a = *out = archive_read_new();
    if (!a)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for the archive", in->where);
    if (archive_read_support_format_zip_seekable(a) != ARCHIVE_OK ||
        archive_read_open_memory(a, in->bytes, in->size) != ARCHIVE_OK)
        return broken(in, a, NULL, err);
    return KV_OK;
}

/* The next file; NULL: that was all. *count: of those so far. */
static kv_status next_entry(const document_input *in, struct archive *a, unsigned *count, struct archive_entry **e,
                            kv_err *err) {
    const int code = archive_read_next_header(a, e);
    if (code == ARCHIVE_EOF) {
        *e = NULL;
        return KV_OK;
    }
    if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
        return broken(in, a, NULL, err);
    if (++*count > ENTRIES)
        return kv_fail(err, KV_ERANGE, "%s: more than %d files in the archive", in->where, ENTRIES);
    return document_go_on(in, 0, err);
}

static kv_status unpack(const document_input *in, struct archive *a, document_part *p, size_t *left, kv_err *err) {
    document_out out = {.max = *left};
    char room[1 << 16];
    kv_status st = KV_OK;
    la_ssize_t n = 1;
    while (!st && !out.st && (n = archive_read_data(a, room, sizeof room)) > 0) {
        document_add(&out, room, (size_t)n);
        st = document_go_on(in, 0, err);
    }
    if (!st && n < 0)
        st = broken(in, a, p->name, err);
    else if (!st && out.st == KV_ERANGE)
        st = kv_fail(err, KV_ERANGE, "%s: more than %zu bytes are packed in it", in->where, in->max);
    if (!st) {
        *left -= out.len;
        st = document_out_take(&out, in->where, &p->bytes, &p->size, err);
    }
    document_out_free(&out);
    return st;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(document_part *const *)a)->name, (*(document_part *const *)b)->name);
}

static int is_called(const void *name, const void *part) {
    return strcmp(name, (*(document_part *const *)part)->name);
}

static kv_status unzip(const document_input *in, document_part *parts, size_t n, size_t *left, kv_err *err) {
    struct archive *a = NULL;
    struct archive_entry *e;
    unsigned count = 0;
    document_part **sorted = malloc((n + 1) * sizeof *sorted);
    kv_status st = sorted ? open_archive(in, &a, err) : kv_fail(err, KV_ENOMEM, "%s: out of memory for the archive", in->where);
    for (size_t i = 0; i < n && sorted; i++)
        sorted[i] = &parts[i];
    if (sorted)
        qsort(sorted, n, sizeof *sorted, by_name);
    while (!st && !(st = next_entry(in, a, &count, &e, err)) && e) {
        const char *name = archive_entry_pathname(e);
        document_part **p = name ? bsearch(name, sorted, n, sizeof *sorted, is_called) : NULL;
        if (p && !(*p)->bytes)
            st = unpack(in, a, *p, left, err);
    }
    free(sorted);
    archive_read_free(a);
    return st;
}

/* libarchive gives names in the encoding of the locale: in that of "C", those with letters beyond ASCII would be lost. */
kv_status document_unzip(const document_input *in, document_part *parts, size_t n, size_t *left, kv_err *err) {
    const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before = utf8 ? uselocale(utf8) : (locale_t)0;
    kv_status st = unzip(in, parts, n, left, err);
    if (utf8) {
        uselocale(before);
        freelocale(utf8);
    }
    return st;
}

void document_parts_free(document_part *parts, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(parts[i].bytes);
}

kv_status document_zip_has(const document_input *in, const char *name, bool *found, kv_err *err) {
    struct archive *a = NULL;
    struct archive_entry *e;
    unsigned count = 0;
    *found = false;
    kv_status st = open_archive(in, &a, err);
    while (!*found && !st && !(st = next_entry(in, a, &count, &e, err)) && e)
        *found = archive_entry_pathname(e) && !strcmp(archive_entry_pathname(e), name);
    archive_read_free(a);
    return st;
}
