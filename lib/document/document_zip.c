/* Files in ZIP archives, through libzip. What an archive says of names and sizes is compared with what was asked for and may be
 * taken; nothing is ever written to a disk. */
#include "document/document_internal.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

/* FILES: libzip hashes all names by a function that everybody knows, so that whoever chooses them can make it slow. */
enum { FILES = 1 << 13, END = 22, COMMENT = 1 << 16 };

static kv_status broken(const document_input *in, const char *part, zip_error_t *why, kv_err *err) {
    const kv_status st = zip_error_code_zip(why) == ZIP_ER_MEMORY ? KV_ENOMEM : KV_EFORMAT;
    kv_fail(err, st, "%s: %s: %s", in->where, part ? part : "the ZIP archive is broken or cut off", zip_error_strerror(why));
    zip_error_fini(why);
    return st;
}

/* How many files there are, as the records at the end say, before libzip takes memory for all of them. */
static kv_status check_count(const document_input *in, kv_err *err) {
    const unsigned char *s = (const unsigned char *)in->bytes;
    const size_t from = in->size > END + COMMENT ? in->size - END - COMMENT : 0;
    for (size_t i = from; in->size >= END && i <= in->size - END; i++) {
        if (!memcmp(s + i, "PK\6\7", 4))
            return kv_fail(err, KV_EUNSUPP, "%s: is a ZIP64 archive, for files of gigabytes; no document is one", in->where);
        if (!memcmp(s + i, "PK\5\6", 4) && (s[i + 8] | s[i + 9] << 8 | s[i + 10] | s[i + 11] << 8) > FILES)
            return kv_fail(err, KV_ERANGE, "%s: more than %d files in the archive", in->where, FILES);
    }
    return KV_OK;
}

/* *out: caller frees with zip_discard; NULL on failure. */
static kv_status open_archive(const document_input *in, zip_t **out, kv_err *err) {
    zip_error_t why;
    *out = NULL;
    kv_status st = check_count(in, err);
    if (st)
        return st;
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(in->bytes, in->size, 0, &why);
    if (source && !(*out = zip_open_from_source(source, ZIP_RDONLY, &why)))
        zip_source_free(source);
    return *out ? KV_OK : broken(in, NULL, &why, err);
}

static kv_status unpack(const document_input *in, zip_t *a, zip_uint64_t file, document_part *p, size_t *left, kv_err *err) {
    document_out out = {.max = *left};
    char room[1 << 16];
    kv_status st = KV_OK;
    zip_int64_t n = 1;
    zip_file_t *f = zip_fopen_index(a, file, 0);
    if (!f)
        return broken(in, p->name, zip_get_error(a), err);
    while (!st && !out.st && (n = zip_fread(f, room, sizeof room)) > 0) {
        document_add(&out, room, (size_t)n);
        st = document_go_on(in, 0, err);
    }
    if (!st && n < 0)
        st = broken(in, p->name, zip_file_get_error(f), err);
    else if (!st && out.st == KV_ERANGE)
        st = kv_fail(err, KV_ERANGE, "%s: more than %zu bytes are packed in it", in->where, in->max);
    zip_fclose(f);
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

/* Names are compared byte by byte: packages and their files are written by the same program. */
static kv_status unzip(const document_input *in, zip_t *a, document_part **sorted, size_t n, size_t *left, kv_err *err) {
    const zip_int64_t files = zip_get_num_entries(a, 0);
    kv_status st = KV_OK;
    for (zip_int64_t i = 0; i < files && !st; i++) {
        const char *name = zip_get_name(a, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (!name)
            return broken(in, NULL, zip_get_error(a), err);
        document_part **p = bsearch(name, sorted, n, sizeof *sorted, is_called);
        if (p && !(*p)->bytes)
            st = unpack(in, a, (zip_uint64_t)i, *p, left, err);
    }
    return st;
}

kv_status document_unzip(const document_input *in, document_part *parts, size_t n, size_t *left, kv_err *err) {
    zip_t *a = NULL;
    document_part **sorted = malloc((n + 1) * sizeof *sorted);
    if (!sorted)
        return kv_fail(err, KV_ENOMEM, "%s: out of memory for the archive", in->where);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &parts[i];
    qsort(sorted, n, sizeof *sorted, by_name);
    kv_status st = open_archive(in, &a, err);
    if (!st)
        st = unzip(in, a, sorted, n, left, err);
    if (a)
        zip_discard(a);
    free(sorted);
    return st;
}

void document_parts_free(document_part *parts, size_t n) {
    for (size_t i = 0; i < n; i++)
        free(parts[i].bytes);
}

kv_status document_zip_has(const document_input *in, const char *name, bool *found, kv_err *err) {
    zip_t *a;
    kv_status st = open_archive(in, &a, err);
    *found = !st && zip_name_locate(a, name, 0) >= 0;
    if (a)
        zip_discard(a);
    return st;
}
