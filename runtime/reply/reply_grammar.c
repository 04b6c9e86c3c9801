/* Grammars of answers that are one call: an alternative for each tool, with its schema's grammar for the arguments. */
#include "grammar/schema.h"
#include "reply/reply_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct maker {
    const reply_format *f;
    FILE *root, *rules;
    unsigned n; /* grammars of schemas */
    kv_err *err;
} maker;

static void literal(FILE *o, const char *s) {
    putc('"', o);
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            fprintf(o, "\\%c", c);
        else if (c < ' ' || c == 0x7F)
            fprintf(o, "\\x%02X", c);
        else
            putc(c, o);
    }
    fputs("\" ", o);
}

/* The rules of a grammar under names of their own: what is no string, no class and no keyword of GBNF is the name of a rule. */
static void rename_rules(FILE *o, const char *gbnf, unsigned number) {
    char close = '\0';
    for (const char *s = gbnf; *s;) {
        if (close) {
            if (*s == '\\' && s[1])
                putc(*s++, o);
            else if (*s == close)
                close = '\0';
            putc(*s++, o);
        } else if (*s == '{') { /* numbers of repetitions */
            while (*s && *s != '}')
                putc(*s++, o);
        } else if (isalpha((unsigned char)*s)) {
            fprintf(o, "p%u-", number);
            while (isalnum((unsigned char)*s) || *s == '-' || *s == '_')
                putc(*s++, o);
        } else {
            close = *s == '"' ? '"' : *s == '[' ? ']' : '\0';
            putc(*s++, o);
        }
    }
}

/* Adds the rules of a schema, and their root where it is used. */
static kv_status put_schema(maker *m, const char *name, const json_t *schema) {
    char *gbnf = NULL, *text = json_dumps(schema, JSON_ENCODE_ANY), where[160];
    snprintf(where, sizeof where, "parameters of '%.100s'", name);
    kv_status st = text ? schema_to_gbnf(text, strlen(text), where, &gbnf, m->err)
                        : kv_fail(m->err, KV_ENOMEM, "out of memory for a grammar");
    if (!st) {
        rename_rules(m->rules, gbnf, m->n);
        fprintf(m->root, "p%u-root ", m->n++);
    }
    free(gbnf);
    free(text);
    return st;
}

static bool is_required(const json_t *parameters, const char *key) {
    const json_t *v;
    size_t i;
    json_array_foreach(json_object_get(parameters, "required"), i,
                       v) if (json_is_string(v) && !strcmp(json_string_value(v), key)) return true;
    return false;
}

/* Arguments between tags, in the schema's order. A text goes on until something looks like the tag that ends it. */
static kv_status put_tags(maker *m, const json_t *tools, const char *name, const json_t *parameters) {
    const char *key;
    json_t *schema;
    kv_status st = KV_OK;
    json_object_foreach(json_object_get(parameters, "properties"), key, schema) {
        fputs("(", m->root);
        literal(m->root, m->f->say_key);
        literal(m->root, key);
        literal(m->root, m->f->say_value);
        if (reply_is_text(tools, name, key) == 1 && !json_object_get(schema, "enum"))
            fputs("([^<] | \"<\" [^/])* ", m->root);
        else if (reply_is_text(tools, name, key) == 1) {
            const json_t *v;
            size_t i;
            fputs("(", m->root);
            json_array_foreach(json_object_get(schema, "enum"), i, v) {
                fputs(i ? "| " : "", m->root);
                literal(m->root, json_is_string(v) ? json_string_value(v) : "");
            }
            fputs(") ", m->root);
        } else if ((st = put_schema(m, name, schema)))
            return st;
        literal(m->root, m->f->say_value_end);
        fputs(is_required(parameters, key) ? ") " : ")? ", m->root);
    }
    return st;
}

/* key=value, ...: those that must be there first, then any of the others; where nothing must be there, each of them only behind
 * the one before it, so that commas come right. */
static kv_status put_python(maker *m, const char *name, const json_t *parameters) {
    const char *key;
    json_t *schema;
    kv_status st = KV_OK;
    unsigned n = 0, n_must = 0, open = 0;
    for (int must = 1; must >= 0; must--)
        json_object_foreach(json_object_get(parameters, "properties"), key, schema) {
            if (is_required(parameters, key) != must)
                continue;
            fputs(must ? "" : "(", m->root);
            fputs(n++ ? "\", \" " : "", m->root);
            literal(m->root, key);
            fputs("\"=\" ", m->root);
            if ((st = put_schema(m, name, schema)))
                return st;
            n_must += must;
            if (!must && n_must)
                fputs(")? ", m->root);
            open += !must && !n_must;
        }
    while (open--)
        fputs(")? ", m->root);
    return st;
}

static kv_status put_tool(maker *m, const json_t *tools, const json_t *function) {
    const reply_format *f = m->f;
    const char *name = json_string_value(json_object_get(function, "name"));
    const json_t *given = json_object_get(function, "parameters");
    json_t *any = json_is_object(given) ? json_incref((json_t *)given) : json_pack("{s:s}", "type", "object");
    char *quoted = json_dumps(json_object_get(function, "name"), JSON_ENCODE_ANY);
    kv_status st = quoted && any ? KV_OK : kv_fail(m->err, KV_ENOMEM, "out of memory for a grammar");
    if (!st) {
        literal(m->root, f->say_before);
        literal(m->root, f->shape == SHAPE_JSON || f->shape == SHAPE_SHORT ? quoted : name);
        literal(m->root, f->say_between);
        st = f->shape == SHAPE_TAGS     ? put_tags(m, tools, name, any)
             : f->shape == SHAPE_PYTHON ? put_python(m, name, any)
                                        : put_schema(m, name, any);
        literal(m->root, f->say_after);
    }
    free(quoted);
    json_decref(any);
    return st;
}

static kv_status put_tools(maker *m, const json_t *tools, const char *only) {
    const json_t *tool;
    size_t i, n = 0;
    kv_status st = KV_OK;
    fputs("root ::= ", m->root);
    json_array_foreach(tools, i, tool) {
        const json_t *inner = json_object_get(tool, "function"), *f = json_is_object(inner) ? inner : tool;
        const char *name = json_string_value(json_object_get(f, "name"));
        if (!name)
            return kv_fail(m->err, KV_EINVAL, "tool %zu: its function has no name", i);
        if (only && strcmp(only, name))
            continue;
        fputs(n++ ? "| " : "", m->root);
        if ((st = put_tool(m, tools, f)))
            return st;
    }
    if (!n)
        return only ? kv_fail(m->err, KV_EINVAL, "no tool is called '%s'", only)
                    : kv_fail(m->err, KV_EINVAL, "there is no tool that could be called");
    return KV_OK;
}

kv_status reply_grammar(const reply_format *f, const json_t *tools, const char *only, char **out, kv_err *err) {
    char *root = NULL, *rules = NULL;
    size_t n, n_rules;
    *out = NULL;
    maker m = {.f = f, .err = err, .root = open_memstream(&root, &n), .rules = open_memstream(&rules, &n_rules)};
    kv_status st = m.root && m.rules ? put_tools(&m, tools, only) : kv_fail(err, KV_ENOMEM, "out of memory for a grammar");
    const bool bad = (m.root && fclose(m.root)) | (m.rules && fclose(m.rules));
    if (!st && (bad || !root || !rules || !(*out = malloc(n + n_rules + 2))))
        st = kv_fail(err, KV_ENOMEM, "out of memory for a grammar");
    if (!st)
        sprintf(*out, "%s\n%s", root, rules);
    free(root);
    free(rules);
    return st;
}
