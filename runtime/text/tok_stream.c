/* UTF-8 safe streaming. Tokens may end in the middle of a character; what is handed out never does.
 *
 * Bytes that began a character and can still become one are held back (at most three). As soon as they cannot, each maximal
 * part of a character comes out as one U+FFFD, which is what Unicode (chapter 3.9) and WHATWG recommend.
 */
#include "text/tok.h"

#include <stdlib.h>
#include <string.h>

/* Can b follow the n bytes held? The second byte has a narrower range after E0, ED, F0 and F4 (overlong forms, surrogates,
 * beyond U+10FFFF). */
static bool fits(const unsigned char *held, unsigned n, unsigned char b) {
    unsigned char lo = 0x80, hi = 0xBF;
    if (n == 1) {
        lo = held[0] == 0xE0 ? 0xA0 : held[0] == 0xF0 ? 0x90 : lo;
        hi = held[0] == 0xED ? 0x9F : held[0] == 0xF4 ? 0x8F : hi;
    }
    return b >= lo && b <= hi;
}

/* Bytes of the character that starts with b; 0: no character does. */
static unsigned char_len(unsigned char b) {
    return b < 0x80 ? 1 : b < 0xC2 ? 0 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : b < 0xF5 ? 4 : 0;
}

static size_t replace(char *out) {
    memcpy(out, "\xEF\xBF\xBD", 3);
    return 3;
}

size_t tok_stream_push(tok_stream *s, const char *bytes, size_t len, char *out) {
    size_t n = 0;
    if (!len && s->n_held) {
        n = replace(out);
        s->n_held = 0;
    }
    for (size_t i = 0; i < len; i++) {
        const unsigned char b = (unsigned char)bytes[i];
        if (s->n_held && !fits(s->held, s->n_held, b)) {
            n += replace(out + n);
            s->n_held = 0;
        }
        if (!s->n_held && !char_len(b)) {
            n += replace(out + n);
            continue;
        }
        s->held[s->n_held++] = b;
        if (s->n_held == char_len(s->held[0])) {
            memcpy(out + n, s->held, s->n_held);
            n += s->n_held;
            s->n_held = 0;
        }
    }
    return n;
}

/* flush: whatever is held, instead of bytes. */
static kv_status push(tok_writer *t, const char *bytes, size_t len, bool flush, const char **text, size_t *n, kv_err *err) {
    const size_t cap = 3 * len + 4 + 1;
    if (t->cap < cap) {
        char *grown = realloc(t->out, cap);
        if (!grown)
            return kv_fail(err, KV_ENOMEM, "out of memory for a token of %zu bytes", len);
        t->out = grown;
        t->cap = cap;
    }
    const size_t got = len || flush ? tok_stream_push(&t->stream, bytes, len, t->out) : 0; /* no bytes would flush */
    t->out[got] = '\0';
    *text = t->out;
    if (n)
        *n = got;
    return KV_OK;
}

kv_status tok_writer_push(tok_writer *t, const char *bytes, size_t len, const char **text, size_t *n, kv_err *err) {
    return push(t, bytes, len, false, text, n, err);
}

kv_status tok_writer_end(tok_writer *t, const char **text, size_t *n, kv_err *err) {
    return push(t, NULL, 0, true, text, n, err);
}

void tok_writer_free(tok_writer *t) {
    free(t->out);
}
