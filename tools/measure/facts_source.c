/* Paragraphs of a text from outside, as filler. */
#include "measure/facts.h"

#include "base/text.h"
#include "measure/eval_io.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { MAX_TEXT = 1 << 28, LEAST_BYTES = 40 };

static bool is_utf8(const char *s, size_t len) {
    utf8proc_int32_t c;
    for (size_t at = 0; at < len;) {
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s + at, (utf8proc_ssize_t)(len - at), &c);
        if (n <= 0 || !c)
            return false;
        at += (size_t)n;
    }
    return true;
}

static kv_status add(facts_source *s, size_t *cap, size_t at, size_t len, kv_err *err) {
    if (len < LEAST_BYTES)
        return KV_OK;
    if (s->n == *cap) {
        *cap = 2 * *cap + 64;
        struct facts_span *grown = realloc(s->paragraph, *cap * sizeof *grown);
        if (!grown)
            return kv_fail(err, KV_ENOMEM, "out of memory for a text of %zu paragraphs", *cap);
        s->paragraph = grown;
    }
    s->paragraph[s->n++] = (struct facts_span){at, len};
    return KV_OK;
}

kv_status facts_source_load(const char *path, facts_source *out, kv_err *err) {
    facts_source s = {0};
    size_t len = 0, cap = 0;
    *out = s;
    kv_status st = text_read(path, MAX_TEXT, &s.text, &len, err);
    if (st)
        return st;
    eval_hash(s.text, len, s.hash);
    if (!is_utf8(s.text, len))
        st = kv_fail(err, KV_EFORMAT, "%s: not a text in UTF-8", path);
    for (size_t i = 0; i < len && !st; i++)
        s.text[i] = strchr("\t\r", s.text[i]) ? ' ' : s.text[i];
    const char *const gap = !st && strstr(s.text, "\n\n") ? "\n\n" : "\n";
    for (size_t at = 0; at < len && !st;) {
        const char *end = strstr(s.text + at, gap);
        const size_t n = end ? (size_t)(end - s.text) - at : len - at, blank = strspn(s.text + at, " \n");
        if (blank < n)
            st = add(&s, &cap, at + blank, n - blank, err);
        at += n + strlen(gap);
    }
    for (size_t i = 0; i < len && !st; i++)
        s.text[i] = s.text[i] == '\n' ? ' ' : s.text[i];
    if (!st && s.n < FACTS_LEAST_PARAGRAPHS)
        st = kv_fail(err, KV_EFORMAT, "%s: %zu paragraphs of at least %d bytes; %d are the least that filler is drawn from",
                     path, s.n, LEAST_BYTES, FACTS_LEAST_PARAGRAPHS);
    if (st) {
        facts_source_free(&s);
        return st;
    }
    *out = s;
    return KV_OK;
}

void facts_source_free(facts_source *s) {
    free(s->text);
    free(s->paragraph);
    *s = (facts_source){0};
}
