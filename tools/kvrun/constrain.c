#include "kvrun/constrain.h"

#include "base/text.h"
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 4 << 20 };

typedef kv_status (*make)(const char *text, size_t len, const char *where, grammar **out, kv_err *err);

static kv_status of_file(const char *path, make how, grammar **out, kv_err *err) {
    char *text;
    size_t len;
    kv_status st = text_read(path, MOST_TEXT, &text, &len, err);
    if (st)
        return st;
    st = how(text, len, path, out, err);
    free(text);
    return st;
}

kv_status constrain_open(const constrain *c, grammar **out, kv_err *err) {
    const int given = (c->grammar != NULL) + (c->grammar_file != NULL) + (c->schema != NULL) + (c->schema_file != NULL);
    *out = NULL;
    if (given > 1)
        return kv_fail(err, KV_EINVAL, "--grammar, --grammar-file, --json-schema and --json-schema-file: only one of them");
    if (c->grammar)
        return grammar_parse(c->grammar, strlen(c->grammar), "--grammar", out, err);
    if (c->schema)
        return grammar_of_schema(c->schema, strlen(c->schema), "--json-schema", out, err);
    if (c->grammar_file)
        return of_file(c->grammar_file, grammar_parse, out, err);
    return c->schema_file ? of_file(c->schema_file, grammar_of_schema, out, err) : KV_OK;
}
