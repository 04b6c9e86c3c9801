/* Where results go. */
#include "eval_out.h"

#include "atomic_file.h"
#include "eval_io.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { DIGITS = 8 };

static bool is_stdout(const char *path) {
    return !strcmp(path, "-");
}

kv_status eval_check_writable(const char *const *paths, size_t n, kv_err *err) {
    for (size_t i = 0; i < n; i++) {
        atomic_file *f = NULL;
        kv_status st = paths[i] && !is_stdout(paths[i]) ? atomic_file_open(paths[i], &f, err) : KV_OK;
        if (st)
            return st;
        atomic_file_abort(f);
    }
    return KV_OK;
}

size_t eval_columns(const char *s) {
    size_t n = 0;
    utf8proc_int32_t c;
    for (utf8proc_ssize_t len; *s && (len = utf8proc_iterate((const utf8proc_uint8_t *)s, -1, &c)) > 0; s += len) {
        int w = utf8proc_charwidth(c);
        n += w > 0 ? (size_t)w : 0;
    }
    return n;
}

void eval_cell(const char *s, size_t width, bool left) {
    size_t n = eval_columns(s), pad = n < width ? width - n : 0;
    printf("%*s%s%*s  ", left ? 0 : (int)pad, "", s, left ? (int)pad : 0, "");
}

json_t *eval_json_text(const char *s) {
    char *clean = s ? eval_utf8(s) : NULL;
    json_t *j = clean ? json_string(clean) : json_null();
    free(clean);
    return j;
}

kv_status eval_write_json(json_t *j, const char *path, kv_err *err) {
    const size_t how = JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS);
    atomic_file *f = NULL;
    kv_status st = j ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory for the result", path);
    if (!st && is_stdout(path)) {
        if (json_dumpf(j, stdout, how) || putchar('\n') == EOF || fflush(stdout))
            st = kv_fail(err, KV_EIO, "cannot write the result: %m");
    } else if (!st && !(st = atomic_file_open(path, &f, err))) {
        /* What could not be written shows when the file is committed. */
        json_dumpf(j, atomic_file_stream(f), how);
        fputc('\n', atomic_file_stream(f));
        st = atomic_file_commit(f, err);
    }
    json_decref(j);
    return st;
}

void eval_csv_text(FILE *f, const char *s) {
    fputc('"', f);
    for (; *s; s++)
        fprintf(f, *s == '"' ? "\"\"" : "%c", *s);
    fputc('"', f);
}
