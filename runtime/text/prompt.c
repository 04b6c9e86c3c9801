#include "text/prompt.h"

#include "text/tok_internal.h"

kv_status tok_encode_open(const tok *t, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, kv_err *err) {
    kv_status st = tok_encode(t, text, len, flags, ids, n, err);
    if (!st && flags & TOK_BOS && t->add_eos)
        --*n;
    return st;
}
