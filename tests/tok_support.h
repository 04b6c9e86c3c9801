/* What the case files of tokenizers hold, as GGUF files. */
#ifndef TEST_TOK_SUPPORT_H
#define TEST_TOK_SUPPORT_H

#include "gguf_image.h"
#include "text/tok.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

/* The bytes of a string of the case files: a JSON string, or {"hex": ...} where it is no UTF-8. Caller frees. */
static inline char *text_bytes(const json_t *s, size_t *len) {
    const json_t *hex = json_object_get(s, "hex");
    const char *p = json_string_value(hex ? hex : s);
    *len = json_string_length(hex ? hex : s);
    char *out = malloc(*len + 1);
    if (!p || !out)
        abort();
    memcpy(out, p, *len);
    if (hex) {
        *len /= 2;
        for (size_t i = 0; i < *len; i++) {
            const char digits[3] = {p[2 * i], p[2 * i + 1], 0};
            out[i] = (char)strtoul(digits, NULL, 16);
        }
    }
    return out;
}

static inline void put_texts(file_image *f, const char *key, const json_t *list) {
    const json_t *s;
    size_t i;
    put_array(f, key, GGUF_STRING, json_array_size(list));
    json_array_foreach(list, i, s) put_text(f, json_string_value(s), json_string_length(s));
}

/* A vocabulary of a case file as a GGUF, without tokenizer.ggml.pre and flags. */
static inline file_image vocab_image(const json_t *vocab) {
    file_image f = {0};
    const json_t *scores = json_object_get(vocab, "scores"), *types = json_object_get(vocab, "types"), *x;
    size_t i;
    put_str(&f, "tokenizer.ggml.model", scores ? "llama" : "gpt2");
    put_texts(&f, "tokenizer.ggml.tokens", json_object_get(vocab, "tokens"));
    put_array(&f, "tokenizer.ggml.token_type", GGUF_I32, json_array_size(types));
    json_array_foreach(types, i, x) put_u32(&f, (uint32_t)json_integer_value(x));
    if (scores)
        put_array(&f, "tokenizer.ggml.scores", GGUF_F32, json_array_size(scores));
    json_array_foreach(scores, i, x) {
        const float v = (float)json_number_value(x);
        put(&f, &v, sizeof v);
    }
    if (!scores)
        put_texts(&f, "tokenizer.ggml.merges", json_object_get(vocab, "merges"));
    if (json_object_get(vocab, "bos"))
        put_id(&f, "tokenizer.ggml.bos_token_id", (uint32_t)json_integer_value(json_object_get(vocab, "bos")));
    put_id(&f, "tokenizer.ggml.eos_token_id", (uint32_t)json_integer_value(json_object_get(vocab, "eos")));
    return f;
}

/* Fails the running test where it cannot be opened. f: used up by open_image. */
static inline tok *open_tok(file_image *f) {
    gguf *g;
    tok *t = NULL;
    kv_err err = {0};
    if (open_image(f, &g, &err) || tok_new(g, &t, &err))
        fail_msg("%s", err.msg);
    gguf_close(g);
    return t;
}

#endif
