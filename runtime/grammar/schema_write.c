/* Errors with their places, texts, rules, and keywords. */
#include "grammar/schema_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors and places ---- */

void schema_fail(writer *w, kv_status st, const char *format, ...) {
    char what[512];
    va_list args;
    if (w->st)
        return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    w->st = kv_fail(w->err, st, "%s: %s: %s", w->where, *w->path ? w->path : "/", what);
}

/* Further down; returns how to come back. */
size_t schema_enter(writer *w, const char *key) {
    const size_t before = w->path_len;
    const int n = snprintf(w->path + before, SCHEMA_PATH - before, "/%s", key);
    w->path_len = n > 0 && before + (size_t)n < SCHEMA_PATH ? before + (size_t)n : SCHEMA_PATH - 1;
    if (++w->depth > SCHEMA_DEPTH)
        schema_fail(w, KV_ERANGE, "nested too deep");
    return before;
}

void schema_leave(writer *w, size_t before) {
    w->depth--;
    w->path_len = before;
    w->path[before] = '\0';
}

bool schema_open(writer *w, text *t) {
    *t = (text){.f = NULL};
    if (!(t->f = open_memstream(&t->s, &t->len)))
        schema_fail(w, KV_ENOMEM, "out of memory");
    return t->f != NULL;
}

void schema_close(text *t) {
    if (t->f)
        fclose(t->f);
    t->f = NULL;
}

void schema_free(text *t) {
    schema_close(t);
    free(t->s);
}

/* Bytes as a string of GBNF. */
static void literal(FILE *to, const char *s, size_t len) {
    fputc('"', to);
    for (size_t i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            fprintf(to, "\\%c", c);
        else if (c < ' ' || c == 0x7F)
            fprintf(to, "\\x%02X", c);
        else
            fputc(c, to);
    }
    fputc('"', to);
}

void schema_literal(writer *w, FILE *to, const json_t *value) {
    char *s = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (s)
        literal(to, s, strlen(s));
    else
        schema_fail(w, KV_ENOMEM, "out of memory");
    free(s);
}

/* ---- keywords ---- */

static bool among(const char *key, const char *const *list) {
    for (; *list; list++)
        if (!strcmp(key, *list))
            return true;
    return false;
}

static const char *const notes[] = {"title",    "description", "default", "examples",    "$schema",
                                    "$id",      "$comment",    "$defs",   "definitions", "deprecated",
                                    "readOnly", "writeOnly",   "$anchor", "nullable",    NULL};

/* Every keyword is one of those, or an annotation. */
void schema_check_keys(writer *w, const json_t *schema, const char *const *known) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value) {
        if (!among(key, known) && !among(key, notes))
            schema_fail(w, KV_EUNSUPP, "the keyword '%s' is not understood here", key);
        if (!strcmp(key, "nullable") && json_is_true(value))
            schema_fail(w, KV_EUNSUPP, "'nullable' is no keyword of JSON schema: say \"type\": [..., \"null\"]");
    }
}

/* A count of something: low where it is absent. */
uint32_t schema_count(writer *w, const json_t *schema, const char *key, uint32_t absent) {
    const json_t *value = json_object_get(schema, key);
    if (!value)
        return absent;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        schema_fail(w, KV_EFORMAT, "'%s' is not a number of things", key);
    else if (json_integer_value(value) > SCHEMA_COUNT)
        schema_fail(w, KV_EUNSUPP, "'%s' is more than %d", key, SCHEMA_COUNT);
    return (uint32_t)json_integer_value(value);
}

/* A schema under a key of another, in brackets. */
void schema_part(writer *w, FILE *to, const char *key, const json_t *schema) {
    const size_t before = schema_enter(w, key);
    fputs("(", to);
    if (!w->st)
        w->write(w, to, schema);
    fputs(")", to);
    schema_leave(w, before);
}

/* The text becomes a rule; returns its number. */
unsigned schema_rule(writer *w, text *t) {
    schema_close(t);
    fprintf(w->rules.f, "r%u ::= %s\n", w->n_rules, t->s ? t->s : "\"\"");
    schema_free(t);
    return w->n_rules++;
}
