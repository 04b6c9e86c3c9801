/* Requests of clients: a chat template (empty: none, but a vocabulary), a NUL, and JSON: {"messages", "tools", "extra",
 * "open"}. */
#include "fuzz/fuzz.h"

#include "gguf_image.h"
#include "reply/reply.h"

static void render(const chat_format *f, const json_t *r) {
    const json_t *tools = json_object_get(r, "tools");
    const chat_request q = {.messages = json_object_get(r, "messages"),
                            .tools = tools,
                            .extra = json_object_get(r, "extra"),
                            .open = json_is_true(json_object_get(r, "open"))};
    tpl_text out;
    bool thinking = false;
    char *gbnf = NULL;
    kv_err err = {0};
    if (chat_render_request(f, &q, &out, &thinking, &err))
        FUZZ_MUST(*err.msg && !strchr(err.msg, '\n') && !out.s && !thinking);
    size_t n = 0;
    for (size_t i = 0; i < out.n_spans; i++)
        n += out.span[i].len;
    FUZZ_MUST(n == out.len);
    tpl_text_free(&out);
    if (reply_grammar(reply_format_of(f), tools, NULL, &gbnf, &err))
        FUZZ_MUST(*err.msg && !gbnf);
    free(gbnf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t len = strnlen((const char *)data, size);
    char *tmpl = strndup((const char *)data, len);
    json_t *r = len < size ? json_loadb((const char *)data + len + 1, size - len - 1, 0, NULL) : NULL;
    file_image image = {0};
    gguf *g;
    chat_format *f = NULL;
    kv_err err;
    if (*tmpl)
        put_str(&image, "tokenizer.chat_template", tmpl);
    put_array(&image, "tokenizer.ggml.tokens", GGUF_STRING, 2);
    put_text(&image, "</s>", 4);
    put_text(&image, "<|im_start|>", 12);
    put_id(&image, "tokenizer.ggml.eos_token_id", 0);
    FUZZ_MUST(!open_image(&image, &g, &err));
    if (r && !chat_open(g, NULL, NULL, &f, &err) && f)
        render(f, r);
    chat_free(f);
    gguf_close(g);
    json_decref(r);
    free(tmpl);
    return 0;
}
