/* Templates from anywhere, with limits that keep a run short. Input: a template, and behind a NUL byte JSON for its values. */
#include "fuzz/fuzz.h"

#include "template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const own[] = {"role", NULL};
    static const char usual[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"<b> '\\u00e9' \\n\"}, {\"role\": \"assistant\", \"content\": \"a "
        "b\"}], "
        "\"tools\": [{\"name\": \"f\", \"n\": [1, 2.5, null]}], \"x\": \"text\", \"n\": 3, \"l\": [3, 1, 2]}";
    const tpl_cfg cfg = {.own = own, .max_steps = 20000, .max_bytes = 1 << 16, .max_memory = 1 << 22};
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    const size_t len = nul ? (size_t)(nul - data) : size, behind = nul ? size - len - 1 : 0;
    json_t *values = nul ? json_loadb((const char *)nul + 1, behind, 0, NULL) : json_loads(usual, 0, NULL);
    tpl *t = NULL;
    tpl_text out = {0};
    if (!tpl_new((const char *)data, len, &t, NULL) && !tpl_render(t, values, &cfg, &out, NULL)) {
        size_t sum = 0;
        for (size_t i = 0; i < out.n_spans; i++)
            sum += out.span[i].len;
        FUZZ_MUST(sum == out.len && strlen(out.s) <= out.len);
    }
    tpl_text_free(&out);
    tpl_free(t);
    json_decref(values);
    return 0;
}
