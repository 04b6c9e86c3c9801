/* Chat formats: a template, and behind a byte 0 each what the system, the user and the assistant say. */
#include "fuzz/fuzz.h"

#include "gguf_image.h"
#include "text/chat.h"

static char *next_text(const char **at, const char *end) {
    const char *stop = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
    stop = stop ? stop : end;
    char *out = strndup(*at, (size_t)(stop - *at));
    FUZZ_MUST(out);
    *at = stop < end ? stop + 1 : end;
    return out;
}

static void render(const chat_format *f, const chat_msg *msgs, size_t n) {
    for (int open = 0; open < 2; open++) {
        tpl_text out;
        kv_err err;
        if (chat_render(f, msgs, n, open, &out, &err))
            FUZZ_MUST(*err.msg);
        tpl_text_free(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *at = (const char *)data, *end = at + size;
    char *text[4];
    file_image f = {0};
    gguf *g;
    kv_err err;
    for (int i = 0; i < 4; i++)
        text[i] = next_text(&at, end);
    if (*text[0])
        put_str(&f, "tokenizer.chat_template", text[0]);
    put_array(&f, "tokenizer.ggml.tokens", GGUF_STRING, 3);
    put_text(&f, "<s>", 3);
    put_text(&f, "</s>", 4);
    put_text(&f, "<|im_start|>", 12);
    put_id(&f, "tokenizer.ggml.eos_token_id", 1);
    FUZZ_MUST(!open_image(&f, &g, &err));
    chat_format *format = NULL;
    if (chat_open(g, NULL, NULL, &format, &err))
        FUZZ_MUST(*err.msg);
    gguf_close(g);
    if (format) {
        const chat_msg msgs[] = {{"system", text[1]}, {"user", text[2]}, {"assistant", text[3]}, {"user", text[2]}};
        FUZZ_MUST(*chat_name(format));
        render(format, msgs, 4);
        render(format, msgs + 1, 3);
        render(format, msgs, 0);
        chat_free(format);
    }
    for (int i = 0; i < 4; i++)
        free(text[i]);
    return 0;
}
