/* Text that grows, up to a limit; and whether it is still wanted. */
#include "document/document_internal.h"

#include <stdlib.h>
#include <string.h>

kv_status document_go_on(const document_input *in, double done, kv_err *err) {
    return !in->progress || in->progress(in->user, done) ? KV_OK
                                                         : kv_fail(err, KV_ECANCEL, "%s: reading was stopped", in->where);
}

void document_add(document_out *o, const char *s, size_t n) {
    if (o->st || !n)
        return;
    if (n > o->max - o->len) {
        o->st = KV_ERANGE;
        return;
    }
    if (o->len + n >= o->cap) {
        const size_t cap = 2 * (o->len + n) + 256;
        char *grown = realloc(o->s, cap);
        if (!grown) {
            o->st = KV_ENOMEM;
            return;
        }
        o->s = grown;
        o->cap = cap;
    }
    memcpy(o->s + o->len, s, n);
    o->len += n;
    o->s[o->len] = '\0';
}

kv_status document_out_take(document_out *o, const char *where, char **text, size_t *len, kv_err *err) {
    kv_status st = o->st;
    if (!st && !o->s && !(o->s = calloc(1, 1)))
        st = KV_ENOMEM;
    if (st == KV_ERANGE)
        kv_fail(err, st, "%s: comes to more than %zu bytes of text", where, o->max);
    else if (st)
        kv_fail(err, st, "%s: out of memory for its text", where);
    else {
        *text = o->s;
        *len = o->len;
        o->s = NULL;
    }
    document_out_free(o);
    return st;
}

void document_out_free(document_out *o) {
    free(o->s);
    *o = (document_out){.max = o->max};
}
