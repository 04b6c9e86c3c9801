#include "grammar/schema_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_TEXT = 16 << 20 };

static const char basics[] =
    "ws ::= \" \"? | \"\\n\" [ \\t]{0,20}\n"
    "char ::= [^\"\\\\\\x00-\\x1F\\x7F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" ([0-9a-cA-Ce-fE-F] [0-9a-fA-F]{3} | [dD] [0-7] "
    "[0-9a-fA-F]{2}))\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "digits ::= \"0\" | [1-9] [0-9]{0,15}\n"
    "integer ::= \"-\"? digits\n"
    "number ::= integer (\".\" [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?\n"
    "boolean ::= \"true\" | \"false\"\n"
    "value ::= object | array | string | number | boolean | \"null\"\n"
    "object ::= \"{\" ws (string ws \":\" ws value ws (\",\" ws string ws \":\" ws value ws)*)? \"}\"\n"
    "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n";

/* ---- schemas ---- */

static const struct type {
    const char *name;
    void (*write)(writer *w, FILE *to, const json_t *schema);
} types[] = {{"object", schema_object},
             {"array", schema_array},
             {"string", schema_string},
             {"integer", schema_integer},
             {"number", schema_number}};
enum { TYPES = sizeof types / sizeof *types };

static void write_type(writer *w, FILE *to, const json_t *schema, const char *name) {
    static const char *const bare[] = {"type", NULL};
    for (int i = 0; i < TYPES; i++)
        if (!strcmp(name, types[i].name)) {
            types[i].write(w, to, schema);
            return;
        }
    if (!strcmp(name, "boolean") || !strcmp(name, "null")) {
        schema_check_keys(w, schema, bare);
        fputs(*name == 'b' ? "boolean " : "\"null\" ", to);
        return;
    }
    schema_fail(w, KV_EFORMAT, "there is no type '%.60s'", name);
}

/* Of several types, each takes the keywords that are about it. */
static void write_types(writer *w, FILE *to, const json_t *schema, const json_t *list) {
    if (json_object_size(schema) - (json_object_get(schema, "description") != NULL) -
            (json_object_get(schema, "title") != NULL) >
        1)
        schema_fail(w, KV_EUNSUPP, "several types with other keywords: say anyOf");
    for (size_t i = 0; i < json_array_size(list) && !w->st; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        fputs(i ? "| " : "", to);
        write_type(w, to, schema, name ? name : "");
    }
    if (!json_array_size(list))
        schema_fail(w, KV_EFORMAT, "a list of no types");
}

static const char *first_type(const json_t *schema) {
    const json_t *type = json_object_get(schema, "type");
    return json_is_string(type) ? json_string_value(type) : json_object_get(schema, "properties") ? "object" : NULL;
}

/* Whether two objects have a property, required in both, that must have different values. */
static bool told_apart(const json_t *a, const json_t *b) {
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(a, "properties"), key, value) {
        const json_t *x = json_object_get(value, "const"),
                     *y = json_object_get(json_object_get(json_object_get(b, "properties"), key), "const");
        if (x && y && !json_equal(x, y) && schema_requires(json_object_get(a, "required"), key) &&
            schema_requires(json_object_get(b, "required"), key))
            return true;
    }
    return false;
}

static void check_exclusive(writer *w, const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t k = i + 1; k < json_array_size(list); k++) {
            const json_t *a = json_array_get(list, i), *b = json_array_get(list, k);
            const char *x = first_type(a), *y = first_type(b);
            const bool numbers =
                x && y && (!strcmp(x, "number") || !strcmp(x, "integer")) && (!strcmp(y, "number") || !strcmp(y, "integer"));
            if (!x || !y || ((!strcmp(x, y) || numbers) && !told_apart(a, b)))
                schema_fail(w, KV_EUNSUPP, "alternatives %zu and %zu of oneOf may both hold: say anyOf", i, k);
        }
}

static void write_any(writer *w, FILE *to, const json_t *schema, const char *key) {
    const char *const known[] = {key, NULL};
    const json_t *list = json_object_get(schema, key);
    schema_check_keys(w, schema, known);
    if (!json_array_size(list))
        schema_fail(w, KV_EFORMAT, "'%s' is not a list of schemas", key);
    if (!strcmp(key, "oneOf"))
        check_exclusive(w, list);
    if (!strcmp(key, "allOf") && json_array_size(list) > 1)
        schema_fail(w, KV_EUNSUPP, "allOf of more than one schema");
    for (size_t i = 0; i < json_array_size(list) && !w->st; i++) {
        char part[32];
        snprintf(part, sizeof part, "%s/%zu", key, i);
        fputs(i ? " | " : "", to);
        schema_part(w, to, part, json_array_get(list, i));
    }
}

static void write_enum(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"enum", "type", NULL};
    const json_t *list = json_object_get(schema, "enum");
    schema_check_keys(w, schema, known);
    if (!json_array_size(list))
        schema_fail(w, KV_EFORMAT, "'enum' is not a list of values");
    for (size_t i = 0; i < json_array_size(list) && !w->st; i++) {
        fputs(i ? "| " : "", to);
        schema_literal(w, to, json_array_get(list, i));
        fputc(' ', to);
    }
}

/* What a pointer leads to, "#/$defs/x" say. */
static const json_t *resolve(writer *w, const char *ref) {
    const json_t *at = w->root;
    if (*ref != '#' || (ref[1] && ref[1] != '/')) {
        schema_fail(w, KV_EUNSUPP, "$ref '%.100s' does not lead into this schema", ref);
        return NULL;
    }
    for (const char *p = ref + 1; *p == '/' && at;) {
        char key[256];
        size_t n = 0;
        for (p++; *p && *p != '/' && n + 1 < sizeof key; p++) {
            if (*p == '~' && (p[1] == '0' || p[1] == '1')) {
                key[n++] = p[1] == '0' ? '~' : '/';
                p++;
            } else {
                key[n++] = *p;
            }
        }
        key[n] = '\0';
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10)) : json_object_get(at, key);
    }
    if (!at)
        schema_fail(w, KV_EFORMAT, "$ref '%.100s' leads nowhere", ref);
    return at;
}

static void write_ref(writer *w, FILE *to, const json_t *schema) {
    static const char *const known[] = {"$ref", NULL};
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    schema_check_keys(w, schema, known);
    const json_t *there = ref ? resolve(w, ref) : NULL;
    if (!there) {
        schema_fail(w, KV_EFORMAT, "$ref is not a text");
        return;
    }
    unsigned i = 0;
    while (i < w->n_refs && w->refs[i] != there)
        i++;
    if (i == SCHEMA_REFS) {
        schema_fail(w, KV_ERANGE, "more than %d schemas that $ref leads to", SCHEMA_REFS);
        return;
    }
    if (i == w->n_refs)
        w->refs[w->n_refs++] = there; /* its rule is written at the end */
    fprintf(to, "ref%u ", i);
}

static void write_schema(writer *w, FILE *to, const json_t *schema) {
    static const char *const combined[] = {"anyOf", "oneOf", "allOf"};
    static const char *const bare[] = {NULL};
    const json_t *type = json_object_get(schema, "type"), *value;
    if (json_is_true(schema)) {
        fputs("value ", to);
        return;
    }
    if (!json_is_object(schema)) {
        schema_fail(w, KV_EFORMAT, json_is_false(schema) ? "false: no value is allowed" : "not a schema");
        return;
    }
    if (json_object_get(schema, "$ref")) {
        write_ref(w, to, schema);
        return;
    }
    for (int i = 0; i < 3; i++)
        if (json_object_get(schema, combined[i])) {
            write_any(w, to, schema, combined[i]);
            return;
        }
    if ((value = json_object_get(schema, "const"))) {
        static const char *const known[] = {"const", "type", NULL};
        schema_check_keys(w, schema, known);
        schema_literal(w, to, value);
    } else if (json_object_get(schema, "enum"))
        write_enum(w, to, schema);
    else if (json_is_array(type))
        write_types(w, to, schema, type);
    else if (json_is_string(type))
        write_type(w, to, schema, json_string_value(type));
    else if (type)
        schema_fail(w, KV_EFORMAT, "'type' is not a text");
    else if (json_object_get(schema, "properties"))
        schema_object(w, to, schema);
    else if (json_object_get(schema, "items") || json_object_get(schema, "prefixItems"))
        schema_array(w, to, schema);
    else {
        schema_check_keys(w, schema, bare);
        fputs("value ", to);
    }
}

static void write_all(writer *w) {
    text t;
    if (!schema_open(w, &t))
        return;
    write_schema(w, t.f, w->root);
    schema_close(&t);
    fprintf(w->rules.f, "root ::= %s\n", t.s ? t.s : "");
    schema_free(&t);
    for (; w->written < w->n_refs && !w->st; w->written++) {
        if (!schema_open(w, &t))
            return;
        write_schema(w, t.f, w->refs[w->written]);
        schema_close(&t);
        fprintf(w->rules.f, "ref%u ::= %s\n", w->written, t.s ? t.s : "");
        schema_free(&t);
        if (ftell(w->rules.f) > MOST_TEXT)
            schema_fail(w, KV_ERANGE, "the schema is too large");
    }
    fputs(basics, w->rules.f);
}

kv_status schema_to_gbnf(const char *json, size_t len, const char *where, char **out, kv_err *err) {
    json_error_t why;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    writer *w = calloc(1, sizeof *w);
    kv_status st = KV_OK;
    *out = NULL;
    if (!root || !w) {
        st = root ? kv_fail(err, KV_ENOMEM, "%s: out of memory", where)
                  : kv_fail(err, KV_EFORMAT, "%s:%d: not JSON: %s", where, why.line, why.text);
        goto done;
    }
    w->root = root;
    w->where = where;
    w->err = err;
    w->write = write_schema;
    if (schema_open(w, &w->rules))
        write_all(w);
    schema_close(&w->rules);
    if (!w->st && !w->rules.s)
        schema_fail(w, KV_ENOMEM, "out of memory");
    st = w->st;
    if (st)
        free(w->rules.s);
    else
        *out = w->rules.s;
done:
    json_decref(root);
    free(w);
    return st;
}

kv_status grammar_of_schema(const char *json, size_t len, const char *where, grammar **out, kv_err *err) {
    char *gbnf;
    *out = NULL;
    kv_status st = schema_to_gbnf(json, len, where, &gbnf, err);
    if (st)
        return st;
    st = grammar_parse(gbnf, strlen(gbnf), where, out, err);
    free(gbnf);
    return st;
}

kv_status grammar_of_json(grammar **out, kv_err *err) {
    static const char any[] = "{\"type\": \"object\"}";
    return grammar_of_schema(any, sizeof any - 1, "JSON", out, err);
}
