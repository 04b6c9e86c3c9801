/* render TEMPLATE [NOW]: renders a template with every object of a JSON array on stdin, and writes an array of
 * {"text": ..., "input": [[from, to], ...]}, bytes that come from the values, or {"error": ...}. NOW: seconds since 1970.
 * For tests/templates and tests/make_template_cases.py. */
#include "base/text.h"
#include "template/template.h"

#include <stdlib.h>
#include <string.h>

static json_t *rendered(const tpl *t, const json_t *values, int64_t now) {
    static const char *const own[] = {"role", "bos_token", "eos_token", "unk_token", "pad_token", NULL};
    kv_err err = {0};
    tpl_text out;
    if (!t || tpl_render(t, values, &(tpl_cfg){.own = own, .now = now}, &out, &err))
        return json_pack("{s:s}", "error", err.msg);
    json_t *input = json_array();
    size_t at = 0;
    for (size_t i = 0; i < out.n_spans; at += out.span[i++].len)
        if (out.span[i].input)
            json_array_append_new(input, json_pack("[I,I]", (json_int_t)at, (json_int_t)(at + out.span[i].len)));
    json_t *text = json_stringn(out.s, out.len);
    json_t *r = json_pack("{s:o,s:o}", "text", text ? text : json_string("not UTF-8"), "input", input);
    tpl_text_free(&out);
    return r;
}

int main(int argc, char **argv) {
    kv_err err = {0};
    char *text = NULL;
    size_t len, i;
    tpl *t = NULL;
    json_error_t je;
    json_t *all, *values, *out = json_array();
    if (argc < 2 || text_read(argv[1], 1 << 24, &text, &len, &err) || !(all = json_loadf(stdin, JSON_ALLOW_NUL, &je))) {
        fprintf(stderr, "render: %s\n", err.msg[0] ? err.msg : "usage: render TEMPLATE [NOW] <ARRAY");
        return 2;
    }
    const kv_status st = tpl_new(text, len, &t, &err);
    json_array_foreach(all, i, values) json_array_append_new(out, st ? json_pack("{s:s}", "error", err.msg)
                                                                     : rendered(t, values, argc > 2 ? atoll(argv[2]) : 0));
    json_dumpf(out, stdout, JSON_ENSURE_ASCII);
    json_decref(out);
    json_decref(all);
    tpl_free(t);
    free(text);
    return 0;
}
