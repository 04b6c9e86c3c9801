#include "text/prompt.h"

#include "text/tok_internal.h"

#include <stdlib.h>
#include <string.h>

static void drop_eos(const tok *t, unsigned flags, size_t *n) {
    *n -= flags & TOK_BOS && t->add_eos;
}

kv_status tok_encode_open(const tok *t, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, kv_err *err) {
    kv_status st = tok_encode(t, text, len, flags, ids, n, err);
    if (!st)
        drop_eos(t, flags, n);
    return st;
}

kv_status tok_encode_chat(const tok *t, const tpl_text *text, size_t from, unsigned flags, int32_t **ids, size_t *n,
                          kv_err *err) {
    uint8_t *input = malloc(text->len + 1);
    if (!input)
        return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu bytes", text->len);
    for (size_t i = 0, at = 0; i < text->n_spans; at += text->span[i++].len)
        memset(input + at, text->span[i].input, text->span[i].len);
    kv_status st = tok_encode_marked(t, text->s + from, text->len - from, flags | TOK_SPECIAL, input + from, ids, n, err);
    if (!st)
        drop_eos(t, flags, n);
    free(input);
    return st;
}
