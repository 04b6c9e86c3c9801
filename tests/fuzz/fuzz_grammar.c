/* Grammars and JSON schemas, and texts that follow them or do not: grammar or schema, a NUL, a text. */
#include "fuzz/fuzz.h"

#include "grammar/schema.h"

/* Byte by byte and all at once is the same; and back to the beginning. */
static void follow(const grammar *g, const char *text, size_t len) {
    matcher *m;
    kv_status st = KV_OK;
    kv_err err;
    FUZZ_MUST(!matcher_new(g, &m, &err));
    const bool whole = matcher_take(m, text, len, &st);
    FUZZ_MUST(!(whole && st) && matcher_len(m) == (whole ? len : 0));
    const bool ends = whole && matcher_may_end(m);
    matcher_back(m, 0);
    size_t n = 0;
    while (n < len && matcher_take(m, text + n, 1, &st))
        n++;
    FUZZ_MUST(st || (n == len) == whole);
    FUZZ_MUST(st || !whole || matcher_may_end(m) == ends);
    matcher_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    const size_t len = strnlen(text, size), rest = len < size ? size - len - 1 : 0;
    const bool is_schema = len && (*text == '{' || *text == '[');
    grammar *g;
    kv_err err;
    const kv_status st = (is_schema ? grammar_of_schema : grammar_parse)(text, len, "grammar", &g, &err);
    fuzz_said(st, &err, "grammar");
    FUZZ_MUST(!st == (g != NULL));
    if (!st)
        follow(g, text + len + 1, rest < 2048 ? rest : 2048);
    grammar_free(g);
    return 0;
}
