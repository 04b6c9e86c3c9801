/* Where results go. */
#include "kveval/eval_out.h"

#include "base/atomic_file.h"
#include "cli/cli_json.h"
#include "measure/eval_io.h"
#include "report/report_parts.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { DIGITS = 8 };

static bool is_stdout(const char *path) {
    return !strcmp(path, "-");
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
    cli_say(stdout, "%*s%s%*s  ", left ? 0 : (int)pad, "", s, left ? (int)pad : 0, "");
}

json_t *eval_json_join(json_t *a, json_t *b) {
    const bool good = a && b && !json_object_update(a, b);
    json_decref(b);
    if (good)
        return a;
    json_decref(a);
    return NULL;
}

json_t *eval_tally_json(json_t *j, ask_tally t) {
    double lo, hi;
    ask_wilson(t, &lo, &hi);
    return eval_json_join(j, json_pack("{s:i, s:i, s:o, s:f, s:f}", "n", (int)t.n, "hits", (int)t.hits, "share",
                                       t.n ? json_real(ask_share(t)) : json_null(), "lo", lo, "hi", hi));
}

report_origin eval_origin(const rt_model *m, const char *path, const char *tool, int argc, char **argv) {
    return (report_origin){.tool = tool,
                           .argc = argc,
                           .argv = argv,
                           .model_path = path,
                           .model_name = rt_model_hparams(m)->name,
                           .model_hash = rt_model_hash(m)};
}

json_t *eval_origin_json(const report_origin *o) {
    char *command = report_command(o), date[REPORT_DATE];
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:o, s:{s:o, s:o, s:o}}", "tool", o->tool, "version", KV_TOOL_VERSION, "date",
                  report_date(date), "command", command ? cli_json_text(command) : NULL, "model", "path",
                  cli_json_text(o->model_path), "name", cli_json_text(o->model_name), "hash", cli_json_text(o->model_hash));
    free(command);
    return j;
}

kv_status eval_write_json(json_t *j, const char *path, kv_err *err) {
    const size_t how = JSON_INDENT(1) | JSON_REAL_PRECISION(DIGITS);
    atomic_file *f = NULL;
    if (is_stdout(path))
        return cli_json_print(j, how, err);
    j = cli_json(j);
    kv_status st = j && !cli_json_lost() ? KV_OK : kv_fail(err, KV_ENOMEM, "%s: out of memory for the result", path);
    if (!st && !(st = atomic_file_open(path, &f, err))) {
        FILE *to = atomic_file_stream(f);
        if (json_dumpf(j, to, how) && !ferror(to)) /* what could not be written shows when the file is committed */
            st = kv_fail(err, KV_ENOMEM, "%s: out of memory for the result", path);
        fputc('\n', to);
        if (st)
            atomic_file_abort(f);
        else
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
